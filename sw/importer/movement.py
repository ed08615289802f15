"""Operators that only move data become views; operators that do nothing at inference disappear."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from edgeflow.hw.arrays import Array
from edgeflow.sw.rewrite.base import DOMAIN, constant, shape_of

_RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
_INTEGERS = (ir.DataType.INT32, ir.DataType.INT64)


def remove_inert(model: ir.Model) -> None:
    """Remove Identity, Dropout at inference, and casts that change no value."""
    graph = model.graph
    for node in list(graph):
        if node.domain == "" and _inert(node) and node.inputs[0] is not None:
            bypass(graph, node, node.inputs[0])


def _inert(node: ir.Node) -> bool:
    if node.op_type == "Identity":
        return True
    if node.op_type == "Dropout":
        training = constant(node.inputs[2]) if len(node.inputs) > 2 else None
        return (training is None or not training.any()) and not any(list(extra.uses()) for extra in node.outputs[1:])
    if node.op_type == "Cast" and node.inputs[0] is not None:
        before, after = node.inputs[0].dtype, node.outputs[0].dtype
        return before == after or (before in _INTEGERS and after in _INTEGERS)
    return False


def bypass(graph: ir.Graph, node: ir.Node, source: ir.Value) -> None:
    """Let every reader of ``node`` read ``source`` instead and remove the node.

    An output of the graph keeps its name: a source that is computed and not an output itself takes the name over; otherwise the
    node has to stay.
    """
    value = node.outputs[0]
    if value.is_graph_output():
        if source.producer() is None or source.is_graph_output():
            return
        source.name, value.name = value.name, f"{value.name}.removed"
        for position, output in enumerate(graph.outputs):
            if output is value:
                graph.outputs[position] = source
    ir.convenience.replace_all_uses_with(value, source)
    graph.remove(node, safe=True)


def widen_attention_masks(model: ir.Model) -> None:
    """Give the mask of every ONNX Attention one row for each query, as onnxruntime wants it; ONNX lets a single row serve all."""
    graph = model.graph
    for node in list(graph):
        if node.op_type != "Attention" or node.domain != "" or len(node.inputs) < 4 or node.inputs[3] is None:
            continue
        sizes = ir.node("Shape", [node.inputs[0]])
        place = ir.node("Constant", [], {"value": ir.tensor(np.array([-2], np.int64))})
        queries = ir.node("Gather", [sizes.outputs[0], place.outputs[0]])
        one = ir.node("Constant", [], {"value": ir.tensor(np.array([1], np.int64))})
        shape = ir.node("Concat", [queries.outputs[0], one.outputs[0]], {"axis": 0})
        wide = ir.node("Expand", [node.inputs[3], shape.outputs[0]])
        added = [sizes, place, queries, one, shape, wide]
        for position, extra in enumerate(added):
            extra.name = f"{node.name}/mask_{position}"
            extra.outputs[0].name = f"{extra.name}.out"
            extra.metadata_props.update(node.metadata_props)
        graph.insert_before(node, added)
        node.replace_input_with(3, wide.outputs[0])


def explicit_axes(model: ir.Model) -> None:
    """Write the axis of Softmax out: before opset 13 it defaulted to 1, later to the last axis."""
    default = -1 if model.opset_imports.get("", 13) >= 13 else 1
    for node in model.graph:
        if node.op_type == "Softmax" and node.domain == "" and node.inputs[0] is not None:
            rank = len(shape_of(node.inputs[0]))
            axis = node.attributes.get_int("axis", default) % rank
            node.attributes["axis"] = ir.AttrInt64("axis", -1 if axis == rank - 1 else axis)


def movement_to_views(model: ir.Model) -> None:
    """Replace every operator that only moves data of one float activation by a View."""
    graph = model.graph
    for node in list(graph):
        if node.domain != "" or not node.inputs or node.inputs[0] is None:
            continue
        if constant(node.inputs[0]) is not None or any(constant(entry) is None for entry in node.inputs[1:] if entry is not None):
            continue
        indices = _indices(node)
        if indices is None:
            continue
        for output, index in zip(list(node.outputs), indices, strict=True):
            attributes = {} if index is None else {"index": ir.tensor(np.ascontiguousarray(index))}
            view = ir.node("View", [node.inputs[0]], attributes, domain=DOMAIN)
            view.metadata_props.update(node.metadata_props)
            new = view.outputs[0]
            new.shape, new.type = output.shape, output.type
            graph.insert_before(node, view)
            name, output.name = output.name, None
            new.name = name
            ir.convenience.replace_all_uses_with(output, new, replace_graph_outputs=True)
        graph.remove(node, safe=True)


def _indices(node: ir.Node) -> list[Array | None] | None:
    """For each output the flat source index of every element (None for a plain reshape), or None if the node computes."""
    source = node.inputs[0]
    if source is None:
        return None
    if node.op_type in _RESHAPES:
        return [None]
    if node.op_type not in _MOVES:
        return None
    shape = shape_of(source)
    index = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
    if node.op_type == "Split":
        axis = node.attributes.get_int("axis", 0)
        ends = np.cumsum([shape_of(output)[axis] for output in node.outputs])[:-1]
        return list(np.split(index, ends, axis=axis))
    return [_MOVES[node.op_type](node, index)]


def _transpose(node: ir.Node, index: Array) -> Array:
    order = node.attributes["perm"].as_ints() if "perm" in node.attributes else range(index.ndim)[::-1]
    return index.transpose(tuple(order))


def _slice(node: ir.Node, index: Array) -> Array:
    parts = [constant(entry) for entry in node.inputs[1:]]
    starts, ends = ([int(number) for number in part] for part in parts[:2] if part is not None)
    axes = [int(number) for number in parts[2]] if len(parts) > 2 and parts[2] is not None else list(range(len(starts)))
    steps = [int(number) for number in parts[3]] if len(parts) > 3 and parts[3] is not None else [1] * len(starts)
    cuts = [slice(None)] * index.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = index.shape[axis]
        # Beyond-range ends are clamped by ONNX; a negative step may run to the very front, which Python spells None.
        stop: int | None = end
        if step < 0 and end < -size:
            stop = None
        cuts[axis] = slice(start, stop, step)
    return index[tuple(cuts)]


def _gather(node: ir.Node, index: Array) -> Array:
    picked = constant(node.inputs[1])
    if picked is None:
        raise AssertionError("a Gather with computed indices")
    return np.take(index, picked, axis=node.attributes.get_int("axis", 0), mode="wrap")


def _expand(node: ir.Node, index: Array) -> Array:
    return np.broadcast_to(index, shape_of(node.outputs[0]))


def _tile(node: ir.Node, index: Array) -> Array:
    repeats = constant(node.inputs[1])
    if repeats is None:
        raise AssertionError("a Tile with computed repeats")
    return np.tile(index, [int(number) for number in repeats])


_MOVES: dict[str, Callable[[ir.Node, Array], Array]] = {
    "Transpose": _transpose,
    "Slice": _slice,
    "Gather": _gather,
    "Expand": _expand,
    "Tile": _tile,
    "Split": lambda _, index: index,
}
