"""Views: every operator that only moves data, as one operator.

``edgeflow::View(x; index)`` has output element ``o = x.flat[index[o]]`` with ``index`` of the output's shape; without ``index``
it is a plain reshape. Reshape, Transpose, Slice, Gather, Split and the rest all become views, chains of them compose exactly,
and whatever layout an exporter chose, the index array says which element of the source ends up where. Views exist only while
rules run: :mod:`edgeflow.sw.importer.materialize` turns what is left of them into canonical operators.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import onnx_ir as ir

from edgeflow.hw.arrays import Array
from edgeflow.sw.rewrite.base import DOMAIN, initializer, operand, origin_of, produced_by, shape_of, times_number, typed

__all__ = [
    "Source",
    "index_of",
    "is_bijective",
    "is_view",
    "make_view",
    "row_index",
    "trace",
    "view_above",
]

VIEW = "View"
"""Operator type of views, in EdgeFlow's domain."""


def is_view(node: ir.Node | None) -> bool:
    """Whether a node is a View."""
    return node is not None and node.op_type == VIEW and node.domain == DOMAIN


def view_above(value: ir.Value | None) -> ir.Node | None:
    """The View that makes a value, else None."""
    return produced_by(value, VIEW, domain=DOMAIN)


def index_of(node: ir.Node) -> Array:
    """The index array (shape of the output, flat indices into the source) of a View node."""
    shape = shape_of(node.outputs[0])
    if "index" not in node.attributes:
        return np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
    return node.attributes["index"].as_tensor().numpy().reshape(shape)


def is_plain(node: ir.Node) -> bool:
    """Whether a View node is only a reshape."""
    return "index" not in node.attributes


def is_bijective(node: ir.Node) -> bool:
    """Whether a View node takes every element of its source exactly once."""
    size = math.prod(shape_of(node.outputs[0]))
    source = node.inputs[0]
    if source is None or math.prod(shape_of(source)) != size:
        return False
    return is_plain(node) or bool((np.bincount(index_of(node).reshape(-1), minlength=size) == 1).all())


def make_view(
    op: object, source: ir.Value, index: Array | None, shape: tuple[int, ...], origin: dict[str, str] | None = None
) -> ir.Value:
    """A View of ``source`` with the given index array (None for a reshape); ``source`` itself when nothing moves.

    ``op`` is the builder that a rule's ``rewrite`` gets.
    """
    if index is not None:
        size = math.prod(shape_of(source))
        if index.size == size and np.array_equal(index.reshape(-1), np.arange(size)):
            index = None
    if index is None and shape == shape_of(source):
        return source
    attributes = {} if index is None else {"index": ir.tensor(index.reshape(shape))}
    value: ir.Value = op.View(source, _domain=DOMAIN, **attributes)  # type: ignore[attr-defined]
    return typed(value, shape, source, origin)


def row_index(node: ir.Node) -> Array | None:
    """For a View that keeps the last axis whole and in order: the source row of every output row, else None."""
    source = node.inputs[0]
    if source is None:
        return None
    width, shape = shape_of(source)[-1:], shape_of(node.outputs[0])
    if not width or shape[-1:] != width:
        return None
    if is_plain(node):
        return np.arange(math.prod(shape[:-1]), dtype=np.int64).reshape(shape[:-1])
    index = index_of(node)
    rows = index[..., 0] // width[0]
    if not np.array_equal(index, rows[..., None] * width[0] + np.arange(width[0])):
        return None
    return rows


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a value comes from: ``value = factor * source.flat[index]``, ``index`` of the value's shape."""

    value: ir.Value
    index: Array
    factor: float
    origin: dict[str, str]


def trace(value: ir.Value) -> Source:
    """Follow views and multiplications by a number upwards from ``value`` to what computes it."""
    shape = shape_of(value)
    index = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
    factor = 1.0
    origin = origin_of(value)
    while True:
        view = view_above(value)
        if view is not None:
            if not is_plain(view):
                index = index_of(view).reshape(-1)[index]
            value = operand(view, 0)
            continue
        step = times_number(value)
        if step is None:
            return Source(value, index, factor, origin)
        value, number = step
        factor *= number


def linear(op: object, x: ir.Value, weight: Array, bias: Array, origin: dict[str, str] | None = None) -> ir.Value:
    """``edgeflow::Linear`` of ``x`` (..., K) with weight (K, N) and bias (N,), float32."""
    value: ir.Value = op.Linear(  # type: ignore[attr-defined]
        x,
        initializer(weight.astype(np.float32), "weight"),
        initializer(bias.astype(np.float32), "bias"),
        _domain=DOMAIN,
    )
    return typed(value, (*shape_of(x)[:-1], weight.shape[1]), x, origin)
