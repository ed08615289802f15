"""Reductions over the tokens, plain and masked."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter.pattern import RewriteRule

from edgeflow.quant.canonical.base import Reduction, registry
from edgeflow.quant.canonical.extreme_pool import MaxPool, MinPool
from edgeflow.sw.rewrite.attention import MASKED
from edgeflow.sw.rewrite.base import (
    DOMAIN,
    Kept,
    Refused,
    Rule,
    bound_batch,
    constant,
    either_order,
    produced_by,
    reduced_axes,
    shape_of,
    typed,
)
from edgeflow.sw.rewrite.view import make_view, view_above


def _reduced_tokens(node: ir.Node) -> bool:
    """Whether a reduction of a (batch, tokens, features) tensor is over the tokens alone."""
    source = node.inputs[0]
    return source is not None and len(shape_of(source)) == 3 and reduced_axes(node) == (1,)


def _pool(op: Any, name: str, x: ir.Value, mask: ir.Value | None, shape: tuple[int, ...]) -> ir.Value:
    value: ir.Value = getattr(op, name)(*((x,) if mask is None else (x, mask)), _domain=DOMAIN)
    batch, _, width = shape_of(x)
    typed(value, (batch, width), x)
    node = value.producer()
    if mask is not None and node is not None:
        node.overload = "masked"
    return make_view(op, value, None, shape)


@dataclasses.dataclass(frozen=True)
class Reduced:
    """A reduction of x over the axes ``reduced``; ``rest``: the others, the batch first; ``shape``: of the result."""

    x: ir.Value
    reduced: tuple[int, ...]
    rest: list[int]
    shape: tuple[int, ...]


class ReductionToPool(Rule[Reduced]):
    """A reduction over axes other than the batch -> the canonical operator ``pool`` of a view."""

    def __init__(self, reduction: Reduction, pool: str) -> None:
        super().__init__(f"{reduction.name}To{pool}")
        self.reduction, self.pool = reduction, pool

    def pattern(self, op: Any, x: Any) -> Any:
        return getattr(op, self.reduction.name)(x, _allow_other_inputs=True)

    def check(self, node: ir.Node, x: ir.Value) -> Reduced | Refused:
        shape = shape_of(x)
        reduced = tuple(range(2, len(shape))) if self.reduction.whole_map else reduced_axes(node)
        if reduced is None or len(shape) < 3:
            return self.refuse("it is not over the tokens of (batch, tokens, features)", node)
        rest = [axis for axis in range(len(shape)) if axis not in reduced]
        if not reduced or len(rest) < 2 or shape[rest[0]] != bound_batch(node):
            return self.refuse("it is not over the tokens of (batch, tokens, features)", node)
        if self.reduction.normalizes and reduced == (len(shape) - 1,) and view_above(x) is None:
            return self.refuse("it is over the last axis, as in a LayerNormalization", node)
        return Reduced(x, reduced, rest, shape_of(node.outputs[0]))

    def rewrite(self, op: Any, match: Reduced) -> ir.Value:
        x, (batch, *features) = match.x, match.rest
        shape = shape_of(x)
        index = np.arange(math.prod(shape)).reshape(shape).transpose([batch, *match.reduced, *features])
        tokens, width = (math.prod(shape[axis] for axis in axes) for axes in (match.reduced, features))
        return _pool(op, self.pool, make_view(op, x, index, (shape[batch], tokens, width)), None, match.shape)


def _mask_of(value: ir.Value | None, role: tuple[str, str]) -> ir.Value | None:
    """The mask input behind an internal KeyMask of the given kind and layout."""
    node = produced_by(value, "KeyMask", domain=DOMAIN)
    if node is None or (node.attributes["kind"].as_string(), node.attributes["layout"].as_string()) != role:
        return None
    return node.inputs[0]


@dataclasses.dataclass(frozen=True)
class Masked:
    """A reduction of x over the tokens that a mask lets through; ``shape``: of the result."""

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
        return _pool(op, "MeanPool", match.x, match.mask, match.shape)


class MaskedExtreme(Rule[Masked]):
    """The largest over the tokens of ``where(mask, x, -1e9)`` or ``x + mask * -1e9`` -> ``edgeflow::MaxPool(x, mask)``.

    The smallest of ``where(mask, x, 1e9)`` -> ``edgeflow::MinPool(x, mask)``."""

    def __init__(self, reduction: Reduction, pool: type[MaxPool] | type[MinPool]) -> None:
        super().__init__(f"Masked{reduction.name}")
        self.reduction, self.pool = reduction, pool

    def pattern(self, op: Any, x: Any) -> Any:
        return getattr(op, self.reduction.name)(x, _allow_other_inputs=True)

    def check(self, root: ir.Node, x: ir.Value) -> Masked | Refused:
        if not _reduced_tokens(root):
            return self.refuse("it is not over the tokens of (batch, tokens, features)")
        shape = shape_of(root.outputs[0])
        chosen = produced_by(x, "Where")
        if chosen is not None:
            condition, first, second = chosen.inputs
            for role, tokens, fill in (("keep", first, second), ("drop", second, first)):
                mask, number = _mask_of(condition, (role, "tokens")), constant(fill)
                if mask is None or number is None or tokens is None or shape_of(tokens) != shape_of(x):
                    continue
                if np.all(number <= MASKED) if self.pool.largest else np.all(number >= -MASKED):
                    return Masked(tokens, mask, shape)
        for tokens, other in either_order(produced_by(x, "Add")) if self.pool.largest else ():
            mask = _mask_of(other, ("additive", "tokens"))
            if mask is not None and shape_of(tokens) == shape_of(x):
                return Masked(tokens, mask, shape)
        return self.refuse("the tokens are not masked")

    def rewrite(self, op: Any, match: Masked) -> ir.Value:
        return _pool(op, self.pool.name, match.x, match.mask, match.shape)


class BoundedExtreme(Rule[Kept]):
    """The masked maximum of x, or the minimum of all of its tokens if that is more -> the masked maximum; and the other way round.

    So a masked pool is written where a sample may have no counted token."""

    def __init__(self, pool: type[MaxPool] | type[MinPool], opposite: type[MaxPool] | type[MinPool], larger: str) -> None:
        super().__init__(f"Bounded{pool.name}")
        self.pool, self.opposite, self.larger = pool, opposite, larger

    def pattern(self, op: Any, a: Any, b: Any) -> Any:
        return getattr(op, self.larger)(a, b)

    def check(self, root: ir.Node, a: ir.Value, b: ir.Value) -> Kept | Refused:
        for value, bound in either_order(root):
            masked = produced_by(value, self.pool.name, domain=DOMAIN)
            plain = produced_by(bound, self.opposite.name, domain=DOMAIN)
            if masked is not None and plain is not None and len(masked.inputs) == 2 and masked.inputs[0] is plain.inputs[0]:
                return Kept(value)
        return self.refuse("no masked pool and its bound")

    def rewrite(self, op: Any, match: Kept) -> ir.Value:
        value: ir.Value = op.Identity(match.value)
        return value


def rules() -> list[RewriteRule]:
    """Masked forms first: what masks the tokens is no operator of its own."""
    return [
        MaskedMean.rule(),
        *(MaskedExtreme.rule(reduction, pool) for pool in (MaxPool, MinPool) for reduction in pool.reductions),
        BoundedExtreme.rule(MaxPool, MinPool, "Max"),
        BoundedExtreme.rule(MinPool, MaxPool, "Min"),
        *(ReductionToPool.rule(reduction, pool.name) for pool in registry().values() for reduction in pool.reductions),
    ]
