"""Operators that only move data become views; operators that do nothing at inference disappear."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeflow.sw.importer.onnx_operators import moved_indices, traits
from edgeflow.sw.rewrite.base import DOMAIN, constant, shape_of


def remove_inert(model: ir.Model) -> None:
    """Remove Identity, Dropout at inference, and casts that change no value."""
    graph = model.graph
    for node in list(graph):
        if traits(node).inert(node) and node.inputs[0] is not None:
            bypass(graph, node, node.inputs[0])


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
        position = traits(node).mask
        mask = None if position is None or len(node.inputs) <= position else node.inputs[position]
        if position is None or mask is None:
            continue
        sizes = ir.node("Shape", [node.inputs[0]])
        place = ir.node("Constant", [], {"value": ir.tensor(np.array([-2], np.int64))})
        queries = ir.node("Gather", [sizes.outputs[0], place.outputs[0]])
        one = ir.node("Constant", [], {"value": ir.tensor(np.array([1], np.int64))})
        shape = ir.node("Concat", [queries.outputs[0], one.outputs[0]], {"axis": 0})
        wide = ir.node("Expand", [mask, shape.outputs[0]])
        added = [sizes, place, queries, one, shape, wide]
        for number, extra in enumerate(added):
            extra.name = f"{node.name}/mask_{number}"
            extra.outputs[0].name = f"{extra.name}.out"
            extra.metadata_props.update(node.metadata_props)
        graph.insert_before(node, added)
        node.replace_input_with(position, wide.outputs[0])


def explicit_axes(model: ir.Model) -> None:
    """Write the axis of Softmax out: before opset 13 it defaulted to 1, later to the last axis."""
    for node in model.graph:
        since = traits(node).last_axis_since
        if since is not None and node.inputs[0] is not None:
            default = -1 if model.opset_imports.get("", since) >= since else 1
            rank = len(shape_of(node.inputs[0]))
            axis = node.attributes.get_int("axis", default) % rank
            node.attributes["axis"] = ir.AttrInt64("axis", -1 if axis == rank - 1 else axis)


def is_movement(node: ir.Node) -> bool:
    """Whether a node moves elements of one activation to fixed places."""
    if traits(node).view is None or not node.inputs or node.inputs[0] is None or constant(node.inputs[0]) is not None:
        return False
    return all(constant(entry) is not None for entry in node.inputs[1:] if entry is not None)


def movement_to_views(model: ir.Model) -> None:
    """Replace every operator that only moves data of one float activation by a View."""
    graph = model.graph
    for node in list(graph):
        indices = moved_indices(node) if is_movement(node) else None
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
