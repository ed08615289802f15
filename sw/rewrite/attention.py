"""Attention written as matrix product, scale, mask, softmax, matrix product."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeflow.hw.arrays import Array
from edgeflow.sw.rewrite.base import (
    DOMAIN,
    Refused,
    Rule,
    bound_batch,
    constant,
    either_order,
    operand,
    origin_of,
    produced_by,
    shape_of,
    times_number,
)
from edgeflow.sw.rewrite.heads import Operands, attention, resolve_all
from edgeflow.sw.rewrite.score_bias import too_wide
from edgeflow.sw.rewrite.view import is_plain, view_above

MASKED = -1e4
"""An additive mask at or below this value removes a key: exp(-1e4) is zero in float32."""


@dataclasses.dataclass(frozen=True)
class Scores:
    """The product of queries and keys below scale and mask."""

    product: ir.Node
    factor: float
    mask: ir.Value | None
    bias: Array | None
    """Constant, over the scores of all heads of all samples."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One operator between scores and softmax: what is above it, and what it does."""

    value: ir.Value
    factor: float = 1.0
    mask: ir.Value | None = None
    bias: Array | None = None


def regrouped(value: ir.Value) -> ir.Value | None:
    """The source of a View that only merges or splits the leading axes of (..., queries, keys); None for any other value."""
    view = view_above(value)
    source = None if view is None or not is_plain(view) else operand(view, 0)
    return source if source is not None and shape_of(source)[-2:] == shape_of(value)[-2:] else None


def key_mask(value: ir.Value | None, *kinds: str) -> ir.Value | None:
    """The (batch, keys) mask input behind an internal KeyMask of one of the given kinds."""
    node = produced_by(value, "KeyMask", domain=DOMAIN)
    if node is None or node.attributes["kind"].as_string() not in kinds or node.attributes["layout"].as_string() != "keys":
        return None
    return node.inputs[0]


def is_bias(array: Array) -> bool:
    """Whether constants added to scores are a bias, and not a mask that removes keys."""
    return array.dtype.kind == "f" and bool(np.all(array > MASKED))


def _scores(value: ir.Value) -> Scores | str:
    """Walk from the input of the softmax to the product of queries and keys, or say what stands in the way."""
    factor, mask, bias = 1.0, None, None
    while True:
        node = value.producer()
        if node is None:
            return "its scores are not computed by a matrix product"
        product = produced_by(value, "MatMul")
        if product is not None:
            return Scores(product, factor, mask, bias)
        step = next((taken for reader in (_regrouped, _scaled, _added, _chosen) if (taken := reader(value)) is not None), None)
        if step is None:
            return f"{node.op_type} between the scores and the softmax is not understood"
        if isinstance(step, str):
            return step
        if step.bias is not None:
            added = (factor * step.bias.astype(np.float64)).reshape(-1, *step.bias.shape[-2:])
            bias = added if bias is None else bias + added
        if step.mask is not None:
            if mask is not None and mask is not step.mask:
                return "its scores have two different masks"
            mask = step.mask
        value, factor = step.value, factor * step.factor


# What one operator between scores and softmax does, or why that is not understood; None for another operator.


def _regrouped(value: ir.Value) -> Step | None:
    source = regrouped(value)
    return None if source is None else Step(source)


def _scaled(value: ir.Value) -> Step | str | None:
    scaled = times_number(value)
    if scaled is not None:
        return Step(*scaled)
    return "its scores are scaled by something that is not a number" if produced_by(value, "Mul", "Div") else None


def _added(value: ir.Value) -> Step | str | None:
    node, shape = produced_by(value, "Add"), shape_of(value)
    if node is None:
        return None
    for kept, other in either_order(node):
        if shape_of(kept) != shape:
            continue
        mask, array = key_mask(other, "additive"), constant(other)
        if mask is not None:
            return Step(kept, mask=mask)
        if array is not None and is_bias(array):
            return Step(kept, bias=np.broadcast_to(array, shape))
        if array is not None and array.size > 1:
            return "its scores get a constant mask added (a causal one, say): keys can only be masked by an input"
    return "its scores get a bias or mask added that is neither constant nor a padding mask of the keys given as an input"


def _chosen(value: ir.Value) -> Step | str | None:
    node = produced_by(value, "Where")
    if node is None:
        return None
    condition, chosen, other = node.inputs
    for kept, fill, kind in ((chosen, other, "keep"), (other, chosen, "drop")):
        array, mask = constant(fill), key_mask(condition, kind)
        if kept is not None and array is not None and mask is not None and np.all(array <= MASKED):
            return Step(kept, mask=mask)
    return "its scores are masked by something that is not a padding mask of the keys given as an input"


def _spread(value: ir.Value, lead: tuple[int, ...], batch: int) -> Array | None:
    """Indices of ``value`` (..., rows, columns), broadcast over ``lead``, as (batch, heads, rows, columns)."""
    shape = shape_of(value)
    index = np.broadcast_to(np.arange(math.prod(shape)).reshape(shape), (*lead, *shape[-2:]))
    groups = math.prod(lead)
    return None if groups % batch else index.reshape(batch, groups // batch, *shape[-2:])


@dataclasses.dataclass(frozen=True)
class Heads:
    """An attention whose operands are found; ``shape``: of the value that it replaces, ``softmax``: the node that names it."""

    operands: Operands
    heads: int
    scores: Scores
    bias: Array | None
    softmax: ir.Node
    shape: tuple[int, ...]


class SoftmaxAttention(Rule[Heads]):
    """``softmax(scale * Q K^T + mask) V`` in any layout of batch and heads -> ``edgeflow::Attention``."""

    def pattern(self, op: Any, p: Any, v: Any) -> Any:
        return op.MatMul(p, v)

    def check(self, root: ir.Node, p: ir.Value, v: ir.Value) -> Heads | Refused:
        weights: ir.Value | None = p
        while weights is not None and (above := regrouped(weights)) is not None:
            weights = above
        node = produced_by(weights, "Softmax")
        if node is None or constant(v) is not None:
            return self.refuse("its first factor is not a softmax")
        if node.attributes.get_int("axis", -1) % len(shape_of(node.outputs[0])) != len(shape_of(node.outputs[0])) - 1:
            return self.refuse("its softmax is not over the keys", node)
        scores = _scores(operand(node, 0))
        heads = scores if isinstance(scores, str) else self._heads(root, scores, node, p, v)
        return self.refuse(heads, node) if isinstance(heads, str) else heads

    def _heads(self, root: ir.Node, scores: Scores, softmax: ir.Node, p: ir.Value, v: ir.Value) -> Heads | str:
        left, right = operand(scores.product, 0), operand(scores.product, 1)
        batch = bound_batch(root)
        if min(len(shape_of(value)) for value in (left, right, v)) < 2:
            return "its operands are not matrices"
        lead = np.broadcast_shapes(shape_of(left)[:-2], shape_of(right)[:-2])
        if math.prod(lead) != math.prod(shape_of(p)[:-2]):
            return "scores and probabilities have different numbers of heads"
        index_q, index_k = _spread(left, lead, batch), _spread(right, lead, batch)
        lead_v = np.broadcast_shapes(shape_of(p)[:-2], shape_of(v)[:-2])
        index_v = _spread(v, lead_v, batch)
        if index_q is None or index_k is None or index_v is None or math.prod(lead_v) != math.prod(lead):
            return "its heads do not divide among the samples of the batch"
        bias = scores.bias
        if bias is not None:
            bias = bias.reshape(*index_q.shape[:2], *bias.shape[-2:])
            if np.any(bias != bias[:1]):
                return "its scores get a constant added that differs between samples"
            bias = bias[0]
            reason = too_wide(bias, index_q.shape[-1])
            if reason is not None:
                return reason
        operands = resolve_all(((left, index_q), (right, index_k.swapaxes(-1, -2)), (v, index_v)), batch)
        if isinstance(operands, str):
            return operands
        return Heads(operands, index_q.shape[1], scores, bias, softmax, shape_of(root.outputs[0]))

    def rewrite(self, op: Any, match: Heads) -> ir.Value:
        origin, scores = origin_of(match.softmax.outputs[0]), match.scores
        return attention(op, match.operands, scores.mask, match.heads, scores.factor, match.shape, origin, match.bias)
