"""Means over the tokens, plain and masked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter.pattern import MatchResult

from edgeflow.sw.rewrite.base import DOMAIN, Rule, batch_of, integers, produced_by, shape_of, typed
from edgeflow.sw.rewrite.view import make_view


def _reduced_tokens(node: ir.Node) -> bool:
    """Whether a reduction of a (batch, tokens, features) tensor is over the tokens alone."""
    source = node.inputs[0]
    return source is not None and len(shape_of(source)) == 3 and integers(node, "axes") in ((1,), (-2,))


def _pool(op: Any, x: ir.Value, mask: ir.Value | None, shape: tuple[int, ...]) -> ir.Value:
    value: ir.Value = op.MeanPool(*((x,) if mask is None else (x, mask)), _domain=DOMAIN)
    batch, _, width = shape_of(x)
    typed(value, (batch, width), x)
    node = value.producer()
    if mask is not None and node is not None:
        node.overload = "masked"
    return make_view(op, value, None, shape)


class MeanToMeanPool(Rule):
    """``ReduceMean`` over axes other than the batch, or ``GlobalAveragePool`` -> ``edgeflow::MeanPool`` of a view."""

    def __init__(self, op_type: str) -> None:
        super().__init__()
        self.op_type = op_type
        self.name = f"{op_type}ToMeanPool"

    def pattern(self, op: Any, x: Any) -> Any:
        return getattr(op, self.op_type)(x, _allow_other_inputs=True)

    def check(self, context: Any, x: ir.Value) -> MatchResult:
        node, shape = context.root, shape_of(x)
        axes = tuple(range(2, len(shape))) if self.op_type == "GlobalAveragePool" else integers(node, "axes")
        if axes is None or len(shape) < 3:
            return self.refuse("it is not over the tokens of (batch, tokens, features)", node)
        reduced = sorted(axis % len(shape) for axis in axes)
        rest = [axis for axis in range(len(shape)) if axis not in reduced]
        if not reduced or len(rest) < 2 or shape[rest[0]] != batch_of(context.graph_or_function):
            return self.refuse("it is not over the tokens of (batch, tokens, features)", node)
        if reduced == [len(shape) - 1] and produced_by(x, "View", DOMAIN) is None:
            return self.refuse("it is over the last axis, as in a LayerNormalization", node)
        self.order, self.reduced, self.rest = [rest[0], *reduced, *rest[1:]], reduced, rest
        self.shape = shape_of(node.outputs[0])
        return self.accept()

    def rewrite(self, op: Any, x: ir.Value) -> ir.Value:
        shape = shape_of(x)
        index = np.arange(math.prod(shape)).reshape(shape).transpose(self.order)
        tokens = math.prod(shape[axis] for axis in self.reduced)
        tokens_first = make_view(op, x, index, (shape[self.rest[0]], tokens, math.prod(shape[axis] for axis in self.rest[1:])))
        return _pool(op, tokens_first, None, self.shape)


def _mask_of(value: ir.Value | None, role: tuple[str, str]) -> ir.Value | None:
    """The mask input behind an internal KeyMask of the given kind and layout."""
    node = produced_by(value, "KeyMask", DOMAIN)
    if node is None or (node.attributes["kind"].as_string(), node.attributes["layout"].as_string()) != role:
        return None
    return node.inputs[0]


class MaskedMean(Rule):
    """``sum(x * m) / max(sum(m), eps)`` over the tokens with m from a mask input -> ``edgeflow::MeanPool(x, mask)``."""

    def pattern(self, op: Any, total: Any, count: Any) -> Any:
        return op.Div(total, count)

    def check(self, context: Any, total: ir.Value, count: ir.Value) -> MatchResult:
        node, divisor = produced_by(total, "ReduceSum"), _mask_of(count, ("count", "sample"))
        if node is None or divisor is None or not _reduced_tokens(node):
            return self.refuse("not a sum over tokens divided by a count of them")
        product = produced_by(node.inputs[0], "Mul")
        if product is None:
            return self.refuse("the summed tokens are not masked", context.root)
        for x, other in (product.inputs, product.inputs[::-1]):
            mask = _mask_of(other, ("factor", "tokens"))
            if x is not None and mask is divisor and len(shape_of(x)) == 3 and shape_of(x) == shape_of(product.outputs[0]):
                self.x, self.mask, self.shape = x, mask, shape_of(context.root.outputs[0])
                return self.accept()
        return self.refuse("sum and count use different masks", context.root)

    def rewrite(self, op: Any, total: ir.Value, count: ir.Value) -> ir.Value:
        return _pool(op, self.x, self.mask, self.shape)
