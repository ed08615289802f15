"""What would end the process instead of raising, in the libraries that run a model: refused before they see it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from edgeflow.hw.arrays import Array
from edgeflow.hw.errors import ModelError
from edgeflow.hw.reading import reading
from edgeflow.sw.importer.onnx_operators import stored_tensors, traits

# They divide by these.
POSITIVE = frozenset(
    ("blocksize", "dilations", "group", "kv_num_heads", "num_groups", "num_heads", "num_outputs", "q_num_heads", "strides")
)
INTEGERS = frozenset(
    getattr(onnx.TensorProto, name) for name in ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
)


def check_traps(file: Path, proto: onnx.ModelProto) -> None:
    """ModelError for an attribute that is divided by and is not positive, and for integers that a constant divides in a way that
    processors trap: by 0, and the least of a type by -1."""
    for nodes, constants in _scopes(proto):
        for node in nodes:
            where = f"{file}: node {node.name or (node.output[0] if node.output else '')!r} ({node.op_type})"
            for attribute in node.attribute:
                values = [attribute.i] if attribute.type == onnx.AttributeProto.INT else list(attribute.ints)
                if attribute.name in POSITIVE and any(value <= 0 for value in values):
                    raise ModelError(f"{where}: its {attribute.name} must be positive, not {min(values)}; export the model again")
            if traits(node).divides and len(node.input) == 2:
                _check_division(where, *(constants.get(name) for name in node.input))


def _check_division(where: str, dividend: Array | None, divisor: Array | None) -> None:
    if divisor is None or divisor.dtype.kind not in "iu":
        return
    if (divisor == 0).any():
        raise ModelError(f"{where}: it divides integers by 0; export the model again")
    least = None if divisor.dtype.kind == "u" else np.iinfo(divisor.dtype).min
    if least is not None and (divisor == -1).any() and dividend is not None and (dividend == least).any():
        raise ModelError(f"{where}: {least:,} divided by -1 is no number of {divisor.dtype}; export the model again")


def _scopes(proto: onnx.ModelProto) -> Iterator[tuple[Iterable[onnx.NodeProto], dict[str, Array]]]:
    """The nodes of the graph, of every branch and function, each with the small constants that it may read."""
    graphs: list[tuple[onnx.GraphProto, dict[str, Array]]] = [(proto.graph, {})]
    for function in proto.functions:
        constants = _constants(function.node, ())
        yield function.node, constants
        graphs += [(inner, constants) for node in function.node for inner in _branches(node)]
    while graphs:
        graph, outer = graphs.pop()
        constants = outer | _constants(graph.node, graph.initializer)
        yield graph.node, constants
        graphs += [(inner, constants) for node in graph.node for inner in _branches(node)]


def _branches(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    return [
        graph for attribute in node.attribute for graph in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs)
    ]


def _constants(nodes: Iterable[onnx.NodeProto], initializers: Iterable[onnx.TensorProto]) -> dict[str, Array]:
    constants = {}
    for name, tensor in stored_tensors(nodes, initializers).items():
        if tensor.data_type in INTEGERS and tensor.data_location != onnx.TensorProto.EXTERNAL:
            with reading(f"initializer {name!r}", "export the model again", ModelError):
                constants[name] = numpy_helper.to_array(tensor)
    return constants
