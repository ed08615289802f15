"""Attention written as matrix product, scale, mask, softmax, matrix product."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter.pattern import MatchResult

from edgeflow.hw.arrays import Array
from edgeflow.sw.rewrite.base import DOMAIN, Rule, batch_of, constant, origin_of, produced_by, scalar, shape_of
from edgeflow.sw.rewrite.heads import Operand, attention, resolve
from edgeflow.sw.rewrite.score_bias import too_wide
from edgeflow.sw.rewrite.view import is_plain

MASKED = -1e4
"""An additive mask at or below this value removes a key: exp(-1e4) is zero in float32."""


@dataclasses.dataclass
class _Scores:
    """The product of queries and keys below scale and mask."""

    product: ir.Node
    factor: float
    mask: ir.Value | None
    bias: Array | None
    """Constant, over the scores of all heads of all samples."""


@dataclasses.dataclass
class _Step:
    """One operator between scores and softmax: what is above it, and what it does."""

    value: ir.Value
    factor: float = 1.0
    mask: ir.Value | None = None
    bias: Array | None = None


def _regroups(node: ir.Node) -> bool:
    """Whether a View only merges or splits the leading axes of (..., queries, keys)."""
    source = node.inputs[0]
    return is_plain(node) and source is not None and shape_of(source)[-2:] == shape_of(node.outputs[0])[-2:]


def key_mask(value: ir.Value | None, *kinds: str) -> ir.Value | None:
    """The (batch, keys) mask input behind an internal KeyMask of one of the given kinds."""
    node = produced_by(value, "KeyMask", DOMAIN)
    if node is None or node.attributes["kind"].as_string() not in kinds or node.attributes["layout"].as_string() != "keys":
        return None
    return node.inputs[0]


def _scores(value: ir.Value) -> _Scores | str:
    """Walk from the input of the softmax to the product of queries and keys, or say what stands in the way."""
    factor, mask, bias = 1.0, None, None
    while True:
        node = value.producer()
        if node is None:
            return "its scores are not computed by a matrix product"
        if node.op_type == "MatMul" and node.domain == "":
            return _Scores(node, factor, mask, bias)
        step: _Step | str
        if node.op_type == "View" and node.domain == DOMAIN and _regroups(node) and node.inputs[0] is not None:
            step = _Step(node.inputs[0])
        elif node.op_type in ("Mul", "Div", "Add", "Where") and node.domain == "":
            step = _one_step(node)
        else:
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


def is_bias(array: Array) -> bool:
    """Whether constants added to scores are a bias, and not a mask that removes keys."""
    return array.dtype.kind == "f" and bool(np.all(array > MASKED))


def _one_step(node: ir.Node) -> _Step | str:
    """What one operator between scores and softmax does, or why it is not understood."""
    shape = shape_of(node.outputs[0])
    if node.op_type == "Where":
        condition, chosen, other = node.inputs
        for kept, fill, kind in ((chosen, other, "keep"), (other, chosen, "drop")):
            array, mask = constant(fill), key_mask(condition, kind)
            if kept is not None and array is not None and mask is not None and np.all(array <= MASKED):
                return _Step(kept, mask=mask)
        return "its scores are masked by something that is not a padding mask of the keys given as an input"
    left, right = node.inputs
    for kept, other in ((left, right), (right, left)):
        if kept is None or other is None or shape_of(kept) != shape:
            continue
        number = scalar(other)
        if node.op_type == "Mul" and number is not None:
            return _Step(kept, number)
        if node.op_type == "Div" and number and kept is left:
            return _Step(kept, 1.0 / number)
        if node.op_type == "Add":
            mask, array = key_mask(other, "additive"), constant(other)
            if mask is not None:
                return _Step(kept, mask=mask)
            if array is not None and is_bias(array):
                return _Step(kept, bias=np.broadcast_to(array, shape))
            if array is not None and array.size > 1:
                return "its scores get a constant mask added (a causal one, say): keys can only be masked by an input"
    if node.op_type == "Add":
        return "its scores get a bias or mask added that is neither constant nor a padding mask of the keys given as an input"
    return "its scores are scaled by something that is not a number"


def _spread(value: ir.Value, lead: tuple[int, ...], batch: int) -> Array | None:
    """Indices of ``value`` (..., rows, columns), broadcast over ``lead``, as (batch, heads, rows, columns)."""
    shape = shape_of(value)
    index = np.broadcast_to(np.arange(math.prod(shape)).reshape(shape), (*lead, *shape[-2:]))
    groups = math.prod(lead)
    return None if groups % batch else index.reshape(batch, groups // batch, *shape[-2:])


class SoftmaxAttention(Rule):
    """``softmax(scale * Q K^T + mask) V`` in any layout of batch and heads -> ``edgeflow::Attention``."""

    def pattern(self, op: Any, p: Any, v: Any) -> Any:
        return op.MatMul(p, v)

    def check(self, context: Any, p: ir.Value, v: ir.Value) -> MatchResult:
        node = p.producer()
        while node is not None and node.op_type == "View" and node.domain == DOMAIN and _regroups(node):
            node = node.inputs[0].producer() if node.inputs[0] is not None else None
        if node is None or node.op_type != "Softmax" or node.inputs[0] is None or constant(v) is not None:
            return self.refuse("its first factor is not a softmax")
        if node.attributes.get_int("axis", -1) % len(shape_of(node.outputs[0])) != len(shape_of(node.outputs[0])) - 1:
            return self.refuse("its softmax is not over the keys", node)
        scores = _scores(node.inputs[0])
        if isinstance(scores, str):
            return self.refuse(scores, node)
        return self._operands(context, scores, node, p, v)

    def _operands(self, context: Any, scores: _Scores, softmax: ir.Node, p: ir.Value, v: ir.Value) -> MatchResult:
        left, right = scores.product.inputs
        if left is None or right is None:
            raise AssertionError("a MatMul without two inputs")
        batch = batch_of(context.graph_or_function)
        if min(len(shape_of(value)) for value in (left, right, v)) < 2:
            return self.refuse("its operands are not matrices", softmax)
        lead = np.broadcast_shapes(shape_of(left)[:-2], shape_of(right)[:-2])
        if math.prod(lead) != math.prod(shape_of(p)[:-2]):
            return self.refuse("scores and probabilities have different numbers of heads", softmax)
        index_q, index_k = _spread(left, lead, batch), _spread(right, lead, batch)
        lead_v = np.broadcast_shapes(shape_of(p)[:-2], shape_of(v)[:-2])
        index_v = _spread(v, lead_v, batch)
        if index_q is None or index_k is None or index_v is None or math.prod(lead_v) != math.prod(lead):
            return self.refuse("its heads do not divide among the samples of the batch", softmax)
        bias = scores.bias
        if bias is not None:
            bias = bias.reshape(*index_q.shape[:2], *bias.shape[-2:])
            if np.any(bias != bias[:1]):
                return self.refuse("its scores get a constant added that differs between samples", softmax)
            bias = bias[0]
            reason = too_wide(bias, index_q.shape[-1])
            if reason is not None:
                return self.refuse(reason, softmax)
        self.bias = bias
        operands = []
        for value, index in ((left, index_q), (right, index_k.swapaxes(-1, -2)), (v, index_v)):
            operand = resolve(value, index, batch)
            if isinstance(operand, str):
                return self.refuse(operand, softmax)
            operands.append(operand)
        self.operands: tuple[Operand, Operand, Operand] = (operands[0], operands[1], operands[2])
        self.heads, self.scores, self.softmax, self.root = index_q.shape[1], scores, softmax, context.root
        return self.accept()

    def rewrite(self, op: Any, p: ir.Value, v: ir.Value) -> ir.Value:
        origin = origin_of(self.softmax.outputs[0])
        shape = shape_of(self.root.outputs[0])
        return attention(op, self.operands, self.scores.mask, self.heads, self.scores.factor, shape, origin, self.bias)
