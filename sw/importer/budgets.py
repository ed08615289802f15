"""Files of a few bytes that would take gigabytes or minutes, refused before they do: nested functions and huge tensors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx import helper

from edgeflow.hw.errors import ModelError, UnsupportedError
from edgeflow.hw.reading import reading
from edgeflow.sw.importer.bind import Shapes
from edgeflow.sw.importer.onnx_operators import traits

MOST_NODES = 2_000
"""Nodes of a model whose functions are written out, besides :data:`TIMES_FILE` times those of the file."""
TIMES_FILE = 16
DEEPEST = 100
"""Functions that call one another."""
LARGEST_COMPUTED = 512 << 20
"""Bytes that a computed tensor may take, besides :data:`TIMES_WEIGHTS` times what the file's own tensors take."""
TIMES_WEIGHTS = 8
_KEPT = 1024  # elements up to which a constant may say a size

_Key = tuple[str, str, str]


def check_functions(file: Path, proto: onnx.ModelProto) -> None:
    """UnsupportedError where the functions of a model, written out wherever they are called, make too many nodes
    (:data:`MOST_NODES`); ModelError where they call themselves, or one another deeper than :data:`DEEPEST`."""
    bodies = {(entry.domain, entry.name, entry.overload): entry.node for entry in proto.functions}
    sizes: dict[_Key, int] = {}
    depths: dict[_Key, int] = {}
    for key in bodies:
        _write_out(file, key, bodies, sizes, depths)
    total = _count(proto.graph.node, sizes)
    in_file = sum(1 for nodes in (proto.graph.node, *bodies.values()) for _ in _inside(nodes))
    limit = MOST_NODES + TIMES_FILE * in_file
    if total > limit:
        raise UnsupportedError(
            f"{file}: its functions, written out, make {_power(total)} nodes; at most {limit:,} are supported: export it"
            " without nested functions"
        )


def _write_out(
    file: Path, first: _Key, bodies: Mapping[_Key, Sequence[onnx.NodeProto]], sizes: dict[_Key, int], depths: dict[_Key, int]
) -> None:
    """Fill in the nodes of a function and of those that it calls, and how deep calls go."""
    path = [(first, _calls(bodies[first], bodies))] if first not in sizes else []
    while path:
        key, called = path[-1]
        ahead = next((entry for entry in called if entry not in sizes), None)
        if ahead is None:
            sizes[key], depths[key] = _count(bodies[key], sizes), 1 + max((depths[entry] for entry in called), default=0)
            if depths[key] > DEEPEST:
                raise ModelError(f"{file}: functions call one another more than {DEEPEST} deep; export the model without them")
            path.pop()
        elif any(ahead == entry for entry, _ in path):
            raise ModelError(f"{file}: function {ahead[1]!r} calls itself; export the model again")
        else:
            path.append((ahead, _calls(bodies[ahead], bodies)))


def _calls(nodes: Sequence[onnx.NodeProto], bodies: Mapping[_Key, object]) -> list[_Key]:
    return [key for node in _inside(nodes) if (key := (node.domain, node.op_type, node.overload)) in bodies]


def _count(nodes: Sequence[onnx.NodeProto], sizes: Mapping[_Key, int]) -> int:
    return sum(sizes.get((node.domain, node.op_type, node.overload), 1) for node in _inside(nodes))


def _inside(nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Nodes, and those of their branches."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _inside(graph.node)


def check_sizes(proto: onnx.ModelProto, shapes: Shapes | None = None) -> None:
    """UnsupportedError naming a value of a model without functions that would take more than :data:`LARGEST_COMPUTED` bytes and
    :data:`TIMES_WEIGHTS` times the model's own tensors, as far as the inference of shapes tells; ``shapes`` are those of inputs."""
    light = onnx.ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import)
    graph = light.graph
    graph.name, stored = "sizes", 0
    graph.node.extend(proto.graph.node)
    graph.output.extend(proto.graph.output)
    for value in proto.graph.input:
        if shapes is None or value.name not in shapes:
            graph.input.append(value)
        else:
            graph.input.append(helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, shapes[value.name]))
    for tensor in proto.graph.initializer:
        stored += _bytes(tensor.data_type, tensor.dims)
        if math.prod(tensor.dims) <= _KEPT:
            graph.initializer.append(tensor)
        else:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    limit = LARGEST_COMPUTED + TIMES_WEIGHTS * stored
    known = _inferred(light, values=False)
    _refuse_beyond(limit, known, proto)
    _refuse_places(limit, [*known, *graph.input], proto)
    # Large values say no sizes of others, and are not to be followed element by element.
    large = [value for value in known if math.prod(dim.dim_value for dim in value.type.tensor_type.shape.dim) > _KEPT]
    names = {value.name for value in large}
    nodes = [node for node in graph.node if names.isdisjoint(node.output)]
    graph.input.extend(large)
    del graph.node[:], graph.output[:]
    graph.node.extend(nodes)
    _refuse_beyond(limit, _inferred(light, values=True), proto)


def _inferred(model: onnx.ModelProto, values: bool) -> list[onnx.ValueInfoProto]:
    """The computed values whose type and whole shape inference tells, with the ``values`` of small integers or without."""
    with reading("the model is inconsistent", "export it again", ModelError):
        graph = onnx.shape_inference.infer_shapes(model, data_prop=values).graph
    kinds = [(value, value.type.tensor_type) for value in (*graph.value_info, *graph.output)]
    return [value for value, kind in kinds if kind.elem_type and all(dim.HasField("dim_value") for dim in kind.shape.dim)]


def _refuse_beyond(limit: int, values: Sequence[onnx.ValueInfoProto], proto: onnx.ModelProto) -> None:
    for value in values:
        sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        needed = _bytes(value.type.tensor_type.elem_type, sizes)
        if needed > limit:
            node = next((node for node in proto.graph.node if value.name in node.output), None)
            where = f"value {value.name!r}" if node is None else f"{node.name or value.name} ({node.op_type})"
            raise UnsupportedError(
                f"{where}: a tensor of shape {sizes} takes {_power(needed)} bytes; at most {limit >> 20:,} MiB are supported"
                f" (512 MiB and {TIMES_WEIGHTS} times the model's own tensors): export a smaller model"
            )


def _refuse_places(limit: int, values: Sequence[onnx.ValueInfoProto], proto: onnx.ModelProto) -> None:
    """As :func:`_refuse_beyond`, for the places that NonZero lists, of which no shape says how many there are."""
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}
    shapes |= {tensor.name: list(tensor.dims) for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        shape = shapes.get(node.input[0]) if traits(node).lists_places and node.input else None
        if shape is not None and (needed := 8 * max(len(shape), 1) * math.prod(shape)) > limit:
            raise UnsupportedError(
                f"{node.name or node.output[0]} ({node.op_type}): the places of a tensor of shape {shape} may take"
                f" {_power(needed)} bytes, and at most {limit >> 20:,} MiB are supported; export a smaller model"
            )


def _bytes(data_type: int, sizes: Sequence[int]) -> int:
    bits = 8 if data_type in (0, onnx.TensorProto.STRING) else int(ir.DataType(data_type).bitwidth)
    return -(-math.prod(sizes) * bits // 8)


def _power(count: int) -> str:
    """A number that may have any number of digits."""
    return f"{count:,}" if count < 10**12 else f"about 2^{count.bit_length() - 1}"
