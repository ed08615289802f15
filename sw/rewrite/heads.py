"""From per-head tensors back to the features they come from: the view analysis behind every attention rule."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeflow.sw.rewrite.base import DOMAIN, Array, constant, initializer, origin_of, produced_by, shape_of, typed
from edgeflow.sw.rewrite.view import linear, make_view, trace


@dataclasses.dataclass(frozen=True)
class Operand:
    """Queries, keys or values: ``factor * source[batch, tokens, columns]``, columns in head-major order."""

    source: ir.Value
    tokens: Array
    columns: Array
    factor: float


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


def emit(op: Any, operand: Operand) -> ir.Value:
    """Build the operand as (batch, tokens, heads * head size), pushing the columns into the Linear that produces it."""
    value, columns = operand.source, operand.columns
    shape = shape_of(value)
    if not np.array_equal(columns, np.arange(shape[-1])):
        node = produced_by(value, "Linear", DOMAIN)
        weight, bias = (constant(node.inputs[1]), constant(node.inputs[2])) if node is not None else (None, None)
        if node is not None and node.inputs[0] is not None and weight is not None and bias is not None:
            value = linear(op, node.inputs[0], weight[:, columns], bias[columns], origin_of(value))
            columns = np.arange(len(columns))
            shape = shape_of(value)
    batch, rows, width = shape[0], math.prod(shape[1:-1]), shape[-1]
    tokens = operand.tokens
    index = (np.arange(batch)[:, None, None] * rows + tokens[None, :, None]) * width + columns
    return make_view(op, value, index, (batch, len(tokens), len(columns)), origin_of(value))


def attention(
    op: Any,
    operands: tuple[Operand, Operand, Operand],
    mask: ir.Value | None,
    heads: int,
    scale: float,
    shape: tuple[int, ...],
    origin: dict[str, str],
) -> ir.Value:
    """``edgeflow::Attention`` of three operands, seen as (batch, heads, tokens, head size) and reshaped to ``shape``."""
    query, key, value = (emit(op, operand) for operand in operands)
    total = scale * operands[0].factor * operands[1].factor
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
