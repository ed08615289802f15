"""Integers that are divided by computed ones.

Processors trap a division by 0, and of the least of a type by -1, and onnxruntime does not ask before it divides. So a divisor
must be a constant, which is looked at, or be positive whatever the samples are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx.inliner
import onnx.shape_inference

from edgeflow.hw.errors import ModelError
from edgeflow.hw.reading import reading
from edgeflow.sw.importer.onnx_operators import Pieces, stored_tensors, traits

INTEGERS = frozenset(
    getattr(onnx.TensorProto, name) for name in ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
)
HOLDS_SIZES = frozenset((onnx.TensorProto.INT32, onnx.TensorProto.INT64))
"""Types that a size of a tensor is converted to without becoming 0."""
SMALL = 1024
"""Elements of a constant that type inference is shown."""


@dataclass(frozen=True)
class Scope:
    """What the nodes of a graph may read, by name: what makes values, element types as far as known, constants, and inputs of the
    model."""

    producers: dict[str, onnx.NodeProto]
    kinds: dict[str, int]
    constants: frozenset[str]
    entries: frozenset[str]

    def inside(self, graph: onnx.GraphProto, weights: frozenset[str] = frozenset(), entries: frozenset[str] = frozenset()) -> Scope:
        """The scope of a graph in this one; of the outermost, ``weights`` and ``entries`` are constants and inputs."""
        kinds = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.value_info, *graph.output)}
        stored = stored_tensors(graph.node, graph.initializer)
        own = {entry.name for entry in graph.input} | {tensor.name for tensor in graph.initializer}
        return Scope(
            {name: node for name, node in self.producers.items() if name not in own}
            | {name: node for node in graph.node for name in node.output},
            self.kinds | kinds | {name: tensor.data_type for name, tensor in stored.items()},
            (self.constants - {entry.name for entry in graph.input}) | frozenset(stored) | weights,
            (self.entries - own) | entries,
        )

    def is_size(self, name: str) -> bool:
        """Whether a value holds nothing but sizes of the model's inputs."""
        while (node := self.producers.get(name)) is not None and node.input:
            operator = traits(node)
            if operator.reads_shape:
                return node.input[0] in self.entries
            if operator.pieces is Pieces.CONVERTED:
                if not any(a.name == "to" and a.i in HOLDS_SIZES for a in node.attribute):
                    return False
            elif not operator.moves:
                return False
            name = node.input[0]
        return False


def check_computed_divisors(file: Path, proto: onnx.ModelProto) -> None:
    """ModelError for a division of integers by what is neither a constant nor sizes of the model's inputs, which are positive."""
    if not any(_computed(node, frozenset()) for node in _nodes(proto)):
        return
    with reading(f"{file}: the model is inconsistent", "export it again", ModelError):
        light = _without_weights(proto)
        if light.functions:
            light = onnx.inliner.inline_local_functions(light)
        light = onnx.shape_inference.infer_shapes(light)
    weights = frozenset(tensor.name for tensor in proto.graph.initializer)
    entries = frozenset(entry.name for entry in proto.graph.input) - weights
    graphs = [(light.graph, Scope({}, {}, frozenset(), frozenset()).inside(light.graph, weights, entries))]
    while graphs:
        graph, scope = graphs.pop()
        for node in graph.node:
            kinds = {scope.kinds.get(name, 0) for name in (*node.input, *node.output)}
            if _computed(node, scope.constants) and kinds & INTEGERS and not scope.is_size(node.input[1]):
                raise ModelError(
                    f"{file}: node {node.name or node.output[0]!r} ({node.op_type}): it divides integers by {node.input[1]!r},"
                    " which is computed and might be 0; divide by a constant, or as floats, and export again"
                )
            graphs += [(inner, scope.inside(inner)) for inner in branches(node)]


def branches(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The graphs in a node's attributes."""
    return [
        graph for attribute in node.attribute for graph in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs)
    ]


def _nodes(proto: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    nodes = [*proto.graph.node, *(node for function in proto.functions for node in function.node)]
    while nodes:
        node = nodes.pop()
        yield node
        nodes += [inner for graph in branches(node) for inner in graph.node]


def _computed(node: onnx.NodeProto, constants: frozenset[str]) -> bool:
    """Whether a node divides by something that is no constant."""
    return traits(node).divides and len(node.input) == 2 and node.input[1] not in constants


def _without_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that only declares its large initializers, and those in other files."""
    light = onnx.ModelProto(ir_version=max(proto.ir_version, 4), opset_import=proto.opset_import, functions=proto.functions)
    graph = light.graph
    graph.name = proto.graph.name or "graph"
    graph.node.extend(proto.graph.node)
    graph.output.extend(proto.graph.output)
    entries = {entry.name: entry for entry in proto.graph.input}
    for tensor in proto.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL and math.prod(tensor.dims) <= SMALL:
            graph.initializer.append(tensor)
        else:
            entries[tensor.name] = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
    graph.input.extend(entries.values())
    return light
