"""From per-head tensors back to the features they come from: the view analysis behind every attention rule."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeflow.hw.arrays import Array
from edgeflow.hw.ops.attention import padded_head
from edgeflow.sw.rewrite.base import DOMAIN, constant, initializer, origin_of, produced_by, shape_of, typed
from edgeflow.sw.rewrite.score_bias import score_channels
from edgeflow.sw.rewrite.view import linear, make_view, trace


@dataclasses.dataclass(frozen=True)
class Operand:
    """Queries, keys or values: ``factor * source[batch, tokens, columns]``, columns in head-major order.

    ``constant`` (tokens, columns): of queries that do not depend on the input, these instead; of the source they have the batch."""

    source: ir.Value
    tokens: Array
    columns: Array
    factor: float
    constant: Array | None = None


def resolve(value: ir.Value, index: Array, batch: int) -> Operand | str:
    """Find where head tensors come from, or say why that cannot be expressed.

    ``index`` (batch, heads, tokens, head size) holds flat indices into ``value``. The answer holds if, for every head, token and
    sample, the features come from the same row of the source, from columns that depend on the head alone.
    """
    source = trace(value)
    shape = shape_of(source.value)
    if constant(source.value) is not None:
        return "an operand does not depend on the input"
    if len(shape) < 2 or shape[0] != batch:
        return f"an operand comes from a tensor of shape {shape} whose first axis is not the batch"
    flat = source.index.reshape(-1)[index]
    sample, width = math.prod(shape[1:]), shape[-1]
    samples, tokens, columns = flat // sample, flat % sample // width, flat % width
    token_of = tokens[0, 0, :, 0]
    column_of = columns[0, :, 0, :]
    if not np.array_equal(samples, np.broadcast_to(np.arange(batch)[:, None, None, None], flat.shape)):
        return "an operand mixes samples of the batch"
    if not np.array_equal(tokens, np.broadcast_to(token_of[None, None, :, None], flat.shape)):
        return "an operand does not keep the tokens of its source"
    if not np.array_equal(columns, np.broadcast_to(column_of[None, :, None, :], flat.shape)):
        return "an operand takes different features for different tokens"
    return Operand(source.value, token_of, column_of.reshape(-1), source.factor)


Operands = tuple[Operand, Operand, Operand]
"""Queries, keys and values."""


def resolve_all(values: Sequence[tuple[ir.Value, Array]], batch: int) -> Operands | str:
    """Queries, keys and values, each a value and the indices of its head tensors, as :func:`resolve` finds them; queries may be
    constant."""
    operands: list[Operand] = []
    for value, index in reversed(values):
        array = constant(trace(value).value)
        if array is None or len(operands) < 2:
            operand = resolve(value, index, batch)
        else:
            operand = _constant_queries(value, index, array, operands[1])
        if isinstance(operand, str):
            return operand
        operands.append(operand)
    return operands[2], operands[1], operands[0]


def _constant_queries(value: ir.Value, index: Array, array: Array, keys: Operand) -> Operand | str:
    """Queries out of a constant, beside keys that are computed."""
    source = trace(value)
    heads = array.reshape(-1)[source.index.reshape(-1)[index]]
    if np.any(heads != heads[:1]):
        return "its queries are constant and differ between samples"
    rows = heads[0].transpose(1, 0, 2).reshape(heads.shape[2], -1)
    if len(rows) > len(keys.tokens):
        return f"its queries are constant, and {len(rows)} of them more than its {len(keys.tokens)} keys"
    layer = produced_by(keys.source, "Linear", domain=DOMAIN)
    read = keys.source if layer is None or layer.inputs[0] is None else layer.inputs[0]
    return Operand(read, keys.tokens[: len(rows)], np.arange(rows.shape[1]), source.factor, rows)


def emit(op: Any, operand: Operand, places: Array | None = None, width: int = 0) -> ir.Value:
    """Build the operand as (batch, tokens, heads * head size), pushing the columns into the Linear that produces it.

    With ``places``, the features stand there among ``width`` ones, the others of which are 0.
    """
    value, columns = operand.source, operand.columns
    if operand.constant is not None:
        return _emit_constant(op, operand, operand.constant if places is None else _at(places, width, operand.constant))
    shape = shape_of(value)
    if places is not None or not np.array_equal(columns, np.arange(shape[-1])):
        node = produced_by(value, "Linear", domain=DOMAIN)
        weight, bias = (constant(node.inputs[1]), constant(node.inputs[2])) if node is not None else (None, None)
        if node is not None and node.inputs[0] is not None and weight is not None and bias is not None:
            weight, bias = weight[:, columns], bias[columns]
            if places is not None:
                weight, bias = _at(places, width, weight), _at(places, width, bias)
            value = linear(op, node.inputs[0], weight, bias, origin_of(value))
            columns = np.arange(shape_of(value)[-1])
        elif places is not None:
            value = linear(op, value, _at(places, width, np.eye(shape[-1])[:, columns]), np.zeros(width), origin_of(value))
            columns = np.arange(width)
        shape = shape_of(value)
    batch, rows, width = shape[0], math.prod(shape[1:-1]), shape[-1]
    tokens = operand.tokens
    index = (np.arange(batch)[:, None, None] * rows + tokens[None, :, None]) * width + columns
    return make_view(op, value, index, (batch, len(tokens), len(columns)), origin_of(value))


def _emit_constant(op: Any, operand: Operand, rows: Array) -> ir.Value:
    """Constant ``rows`` (tokens, channels) for every sample: a layer of no weights, whose bias they are, and an addition of what
    differs between them."""
    batch, *_, width = shape_of(operand.source)
    tokens = math.prod(shape_of(operand.source)[1:-1])
    index = (np.arange(batch)[:, None, None] * tokens + operand.tokens[None, :, None]) * width + np.arange(width)
    origin = origin_of(operand.source)
    read = make_view(op, operand.source, index, (batch, len(rows), width), origin)
    one = bool(np.all(rows == rows[:1]))
    bias = rows[0] if one else np.zeros(rows.shape[1])
    value = linear(op, read, np.zeros((width, rows.shape[1])), bias, origin)
    return value if one else typed(op.Add(value, initializer(rows.astype(np.float32))), shape_of(value), value, origin)


def _at(places: Array, width: int, array: Array) -> Array:
    """Zeros (..., width) with the columns of ``array`` at ``places``."""
    wide: Array = np.zeros((*array.shape[:-1], width), np.float32)
    wide[..., places] = array
    return wide


def _negated(op: Any, value: ir.Value) -> ir.Value:
    """Minus the value: a number that the Linear above takes in."""
    return typed(op.Mul(value, initializer(np.array(-1.0, np.float32))), shape_of(value), value, origin_of(value))


def _with_channels(op: Any, operand: Operand, channels: Array, negative: bool) -> ir.Value:
    """The operand with constant ``channels`` (heads, tokens, count) behind those of each head, then zeros up to a size of heads
    that needs no padding. ``negative``: minus the operand, but not minus the channels."""
    heads, tokens, count = channels.shape
    size = len(operand.columns) // heads
    wide = padded_head(size + count)
    places = (np.arange(heads)[:, None] * wide + np.arange(size)).reshape(-1)
    value = emit(op, operand, places, heads * wide)
    if negative:
        value = _negated(op, value)
    constants = np.zeros((tokens, heads, wide), np.float32)
    constants[:, :, size : size + count] = channels.transpose(1, 0, 2)
    return typed(op.Add(value, initializer(constants.reshape(tokens, -1))), shape_of(value), value, origin_of(value))


def attention(
    op: Any,
    operands: Operands,
    mask: ir.Value | None,
    heads: int,
    scale: float,
    shape: tuple[int, ...],
    origin: dict[str, str],
    bias: Array | None = None,
) -> ir.Value:
    """``edgeflow::Attention`` of three operands, seen as (batch, heads, tokens, head size) and reshaped to ``shape``.

    A constant ``bias`` (heads, queries, keys) of the scores becomes more channels of queries and keys (see score_bias.py). The sign
    of a negative scale goes into the queries.
    """
    total = scale * operands[0].factor * operands[1].factor
    negative, total = total < 0, abs(total)
    if bias is None:
        query, key = emit(op, operands[0]), emit(op, operands[1])
        query = _negated(op, query) if negative else query
    else:
        left, right = score_channels(bias / total, len(operands[0].columns) // heads)
        query = _with_channels(op, operands[0], left, negative)
        key = _with_channels(op, operands[1], right, False)
    value = emit(op, operands[2])
    inputs = (query, key, value) if mask is None else (query, key, value, mask)
    keywords: dict[str, Any] = {"heads": heads, "scale": float(total), "_domain": DOMAIN}
    batch, rows, width = shape_of(query)[0], shape_of(query)[1], shape_of(value)[2]
    result = typed(op.Attention(*inputs, **keywords), (batch, rows, width), query, origin)
    if mask is not None:
        node = result.producer()
        if node is None:
            raise AssertionError("a new value without producer")
        node.overload = "masked"
    if operands[2].factor != 1.0:
        result = typed(op.Mul(result, initializer(np.array(operands[2].factor, np.float32))), shape_of(result), query)
    size = width // heads
    index = np.arange(batch * rows * width).reshape(batch, rows, heads, size).transpose(0, 2, 1, 3)
    return make_view(op, result, index, shape, origin)
