"""Means over the tokens, plain and masked."""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeflow.sw.rewrite.base import DOMAIN, Refused, Rule, bound_batch, either_order, integers, produced_by, shape_of, typed
from edgeflow.sw.rewrite.view import make_view, view_above


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


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean of x over the axes ``reduced``; ``rest``: the others, the batch first; ``shape``: of the result."""

    x: ir.Value
    reduced: list[int]
    rest: list[int]
    shape: tuple[int, ...]


class _MeanToMeanPool(Rule[Mean]):
    """A mean over axes other than the batch -> ``edgeflow::MeanPool`` of a view."""

    @abstractmethod
    def axes(self, node: ir.Node, rank: int) -> tuple[int, ...] | None:
        """The axes of a mean of a tensor of that rank; None where they are not constant."""

    def check(self, node: ir.Node, x: ir.Value) -> Mean | Refused:
        shape = shape_of(x)
        axes = self.axes(node, len(shape))
        if axes is None or len(shape) < 3:
            return self.refuse("it is not over the tokens of (batch, tokens, features)", node)
        reduced = sorted(axis % len(shape) for axis in axes)
        rest = [axis for axis in range(len(shape)) if axis not in reduced]
        if not reduced or len(rest) < 2 or shape[rest[0]] != bound_batch(node):
            return self.refuse("it is not over the tokens of (batch, tokens, features)", node)
        if reduced == [len(shape) - 1] and view_above(x) is None:
            return self.refuse("it is over the last axis, as in a LayerNormalization", node)
        return Mean(x, reduced, rest, shape_of(node.outputs[0]))

    def rewrite(self, op: Any, match: Mean) -> ir.Value:
        x, (batch, *features) = match.x, match.rest
        shape = shape_of(x)
        index = np.arange(math.prod(shape)).reshape(shape).transpose([batch, *match.reduced, *features])
        tokens, width = (math.prod(shape[axis] for axis in axes) for axes in (match.reduced, features))
        return _pool(op, make_view(op, x, index, (shape[batch], tokens, width)), None, match.shape)


class MeanToMeanPool(_MeanToMeanPool):
    """``ReduceMean``."""

    def __init__(self) -> None:
        super().__init__("ReduceMeanToMeanPool")

    def pattern(self, op: Any, x: Any) -> Any:
        return op.ReduceMean(x, _allow_other_inputs=True)

    def axes(self, node: ir.Node, rank: int) -> tuple[int, ...] | None:
        return integers(node, "axes")


class GlobalAverageToMeanPool(_MeanToMeanPool):
    """``GlobalAveragePool``."""

    def __init__(self) -> None:
        super().__init__("GlobalAveragePoolToMeanPool")

    def pattern(self, op: Any, x: Any) -> Any:
        return op.GlobalAveragePool(x, _allow_other_inputs=True)

    def axes(self, node: ir.Node, rank: int) -> tuple[int, ...] | None:
        return tuple(range(2, rank))


def _mask_of(value: ir.Value | None, role: tuple[str, str]) -> ir.Value | None:
    """The mask input behind an internal KeyMask of the given kind and layout."""
    node = produced_by(value, "KeyMask", domain=DOMAIN)
    if node is None or (node.attributes["kind"].as_string(), node.attributes["layout"].as_string()) != role:
        return None
    return node.inputs[0]


@dataclasses.dataclass(frozen=True)
class Masked:
    """A mean of x over the tokens that a mask lets through; ``shape``: of the result."""

    x: ir.Value
    mask: ir.Value
    shape: tuple[int, ...]


class MaskedMean(Rule[Masked]):
    """``sum(x * m) / max(sum(m), eps)`` over the tokens with m from a mask input -> ``edgeflow::MeanPool(x, mask)``."""

    def pattern(self, op: Any, total: Any, count: Any) -> Any:
        return op.Div(total, count)

    def check(self, root: ir.Node, total: ir.Value, count: ir.Value) -> Masked | Refused:
        node, divisor = produced_by(total, "ReduceSum"), _mask_of(count, ("count", "sample"))
        if node is None or divisor is None or not _reduced_tokens(node):
            return self.refuse("not a sum over tokens divided by a count of them")
        product = produced_by(node.inputs[0], "Mul")
        if product is None:
            return self.refuse("the summed tokens are not masked", root)
        for x, other in either_order(product):
            mask = _mask_of(other, ("factor", "tokens"))
            if mask is divisor and len(shape_of(x)) == 3 and shape_of(x) == shape_of(product.outputs[0]):
                return Masked(x, divisor, shape_of(root.outputs[0]))
        return self.refuse("sum and count use different masks", root)

    def rewrite(self, op: Any, match: Masked) -> ir.Value:
        return _pool(op, match.x, match.mask, match.shape)
