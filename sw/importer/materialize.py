"""The views that rules could not remove become canonical operators, each proven to keep the samples of the batch apart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeflow.hw.arrays import Array
from edgeflow.quant.canonical.base import Constants, find
from edgeflow.sw.importer.functions import constant_shape
from edgeflow.sw.rewrite.base import DOMAIN, REFUSED, batch_of, constant, initializer, produced_by, shape_of, shrink
from edgeflow.sw.rewrite.view import index_of


def per_sample(view: ir.Node, batch: int) -> Array | str:
    """The index array of one sample, shape of the output without batch; or the reason why the view mixes samples."""
    source = view.inputs[0]
    if source is None:
        raise AssertionError("a View without input")
    shape, sources = shape_of(view.outputs[0]), shape_of(source)
    if not shape or not sources or shape[0] != batch or sources[0] != batch:
        return "its first axis is not the batch"
    size = math.prod(sources[1:])
    index = index_of(view)
    first: Array = index[0]
    offsets = np.arange(batch).reshape(-1, *[1] * (index.ndim - 1)) * size
    if not np.array_equal(index, first[None] + offsets) or first.min(initial=0) < 0 or first.max(initial=0) >= size:
        return "it mixes samples of the batch"
    return first


def digits(index: Array) -> list[tuple[int, int]] | None:
    """Mixed-radix form of a flat permutation: (length, stride) of nested loops, outermost first; None if it has none."""
    flat = index.reshape(-1)
    loops: list[tuple[int, int]] = []
    if flat.size == 0 or flat[0] != 0:
        return None
    while flat.size > 1:
        stride = int(flat[1] - flat[0])
        breaks = np.nonzero(np.diff(flat) != stride)[0]
        length = int(breaks[0]) + 1 if breaks.size else flat.size
        if flat.size % length or stride <= 0:
            return None
        table = flat.reshape(-1, length)
        if not np.array_equal(table, table[:, :1] + np.arange(length) * stride):
            return None
        loops.insert(0, (length, stride))
        flat = table[:, 0]
    return loops


class _Chain:
    """Canonical nodes that replace one View, in order."""

    def __init__(self, view: ir.Node, batch: int) -> None:
        source = view.inputs[0]
        if source is None:
            raise AssertionError("a View without input")
        self.nodes: list[ir.Node] = []
        self.value, self.view, self.batch = source, view, batch

    def add(self, op_type: str, domain: str, shape: tuple[int, ...], overload: str = "", **options: Any) -> None:
        """Append a node that turns the current value into one of per-sample ``shape``."""
        operands = [self.value, *options.pop("operands", ())]
        node = ir.node(op_type, operands, options, domain=domain, overload=overload)
        node.metadata_props.update(self.view.metadata_props)
        node.outputs[0].shape, node.outputs[0].type = ir.Shape((self.batch, *shape)), self.value.type
        self.nodes.append(node)
        self.value = node.outputs[0]

    def reshape(self, shape: tuple[int, ...]) -> None:
        """Append a Reshape unless the shape is there already."""
        if shape_of(self.value)[1:] != shape:
            self.add("Reshape", "", shape, operands=(initializer(constant_shape(shape), "shape"),))


def _select(chain: _Chain, index: Array, shape: tuple[int, ...]) -> Array:
    """Cut the source down to the contiguous tokens or channels that are used, and renumber ``index`` accordingly."""
    sources = shape_of(chain.value)[1:]
    if index.size == 0 or not sources:
        return index
    width = sources[-1]
    if len(sources) == 2:
        tokens = index // width
        start, stop = int(tokens.min()), int(tokens.max()) + 1
        if (start, stop) != (0, sources[0]):
            squeeze = stop - start == 1 and shape == (width,)
            kept: tuple[int, ...] = (width,) if squeeze else (stop - start, width)
            chain.add("SelectTokens", DOMAIN, kept, "squeeze" if squeeze else "", start=start, stop=stop, squeeze=int(squeeze))
            index = index - start * width
    channels = index % width
    start, stop = int(channels.min()), int(channels.max()) + 1
    if (start, stop) != (0, width):
        cut = (*shape_of(chain.value)[1:-1], stop - start)
        chain.add("SelectChannels", DOMAIN, cut, start=start, stop=stop)
        index = index // width * (stop - start) + channels - start
    return index


def materialize_views(model: ir.Model) -> None:
    """Replace every View by SelectTokens, SelectChannels, Reshape and Transpose; a View without such a form keeps the reason."""
    graph = model.graph
    batch = batch_of(graph)
    for node in list(graph):
        if produced_by(node.outputs[0], "Identity") is not None and node.inputs[0] is not None:
            _identity_to_view(graph, node, node.inputs[0])
    for view in [node for node in graph if node.op_type == "View" and node.domain == DOMAIN]:
        index = per_sample(view, batch)
        if isinstance(index, str):
            view.metadata_props[REFUSED] = index
            continue
        chain = _build(view, index, batch)
        if isinstance(chain, str):
            view.metadata_props[REFUSED] = chain
            continue
        old = view.outputs[0]
        graph.insert_before(view, chain.nodes)
        name, old.name = old.name, None
        chain.value.name = name
        ir.convenience.replace_all_uses_with(old, chain.value, replace_graph_outputs=True)
        graph.remove(view, safe=True)


def _identity_to_view(graph: ir.Graph, node: ir.Node, source: ir.Value) -> None:
    """An Identity that is left makes one tensor two outputs, or an input an output: a view that moves nothing."""
    view = ir.node("View", [source], domain=DOMAIN)
    view.metadata_props.update(node.metadata_props)
    old, new = node.outputs[0], view.outputs[0]
    new.shape, new.type = source.shape, source.type
    graph.insert_before(node, view)
    name, old.name = old.name, None
    new.name = name
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _build(view: ir.Node, index: Array, batch: int) -> _Chain | str:
    shape = index.shape
    chain = _Chain(view, batch)
    moved = _select(chain, index, shape)
    size = math.prod(shape_of(chain.value)[1:])
    if moved.size != size or not np.array_equal(np.sort(moved.reshape(-1)), np.arange(size)):
        return "it repeats elements or picks tokens or channels that are not contiguous"
    if not np.array_equal(moved.reshape(-1), np.arange(size)):
        loops = digits(moved)
        if loops is None:
            return "it shuffles elements in an irregular order"
        order = sorted(range(len(loops)), key=lambda loop: -loops[loop][1])
        chain.reshape(tuple(loops[loop][0] for loop in order))
        perm = [0, *(order.index(loop) + 1 for loop in range(len(loops)))]
        chain.add("Transpose", "", tuple(length for length, _ in loops), perm=perm)
    chain.reshape(shape)
    if not chain.nodes:
        chain.add("Reshape", "", shape, operands=(initializer(constant_shape(shape), "shape"),))
    return chain


def spread_constants(model: ir.Model) -> None:
    """Constants beside activations lose the bound batch; constant operands of Concat become ConstantTokens.

    A constant whose slices along an axis are all equal (the batch, above all) is kept once; one that really differs between samples
    is left, for the verifier to name.
    """
    graph = model.graph
    for node in list(graph):
        op = find(node)
        if op is None or op.constants not in (Constants.BROADCAST, Constants.JOINED):
            continue
        rank, joined = len(shape_of(node.outputs[0])), op.constants is Constants.JOINED
        if joined:
            _join_constants(node)
        for position, value in enumerate(node.inputs):
            array = constant(value)
            if array is None:
                continue
            full = array.reshape((1,) * (rank - array.ndim) + array.shape)
            if joined:
                _constant_tokens(graph, node, position, full)
            elif array.size > 1:
                kept = shrink(full)
                while kept.ndim > 1 and kept.shape[0] == 1:
                    kept = kept[0]
                node.replace_input_with(position, initializer(kept))
            elif array.size == 1:
                node.replace_input_with(position, initializer(array.reshape(())))


def _join_constants(node: ir.Node) -> None:
    """Join neighbouring constants of a Concat (the class and the distillation token of DeiT)."""
    axis = node.attributes.get_int("axis", 1)
    operands: list[ir.Value | None] = []
    for value in node.inputs:
        before, array = constant(operands[-1]) if operands else None, constant(value)
        if before is not None and array is not None:
            operands[-1] = initializer(np.concatenate([before, array], axis=axis))
        else:
            operands.append(value)
    for position in range(len(node.inputs)):
        node.replace_input_with(position, operands[position] if position < len(operands) else None)
    node.resize_inputs(len(operands))


def _constant_tokens(graph: ir.Graph, node: ir.Node, position: int, array: Array) -> None:
    reference = next((value for value in node.inputs if value is not None and constant(value) is None), None)
    axis = node.attributes.get_int("axis", 1)
    if reference is None or axis % array.ndim == 0:
        node.metadata_props[REFUSED] = "it joins along the batch"
        return
    first = array[:1]
    if not np.array_equal(np.broadcast_to(first, array.shape), array):
        node.metadata_props[REFUSED] = "it joins a constant that differs between samples"
        return
    tokens = ir.node("ConstantTokens", [reference, initializer(first, "tokens")], domain=DOMAIN)
    tokens.metadata_props.update(node.metadata_props)
    tokens.outputs[0].shape = ir.Shape(array.shape)
    tokens.outputs[0].type = reference.type
    graph.insert_before(node, tokens)
    node.replace_input_with(position, tokens.outputs[0])
