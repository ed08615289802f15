"""Views move below the operators they commute with, so that chains of them meet, compose and cancel.

A view that takes every element exactly once commutes with everything elementwise, and one that also keeps the last axis whole
commutes with Linear and LayerNormalization. Sequence-first models, Gemms on flattened tokens and transposed residuals all come
out batch-first this way.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import pattern

from edgeflow.hw.arrays import Array
from edgeflow.quant.canonical.base import Commutes, registry
from edgeflow.sw.rewrite.base import Refused, Rule, constant, either_order, initializer, operand, shape_of, shrink, typed
from edgeflow.sw.rewrite.view import index_of, is_bijective, is_plain, make_view, row_index, view_above


def _moving(value: ir.Value) -> ir.Node | None:
    """The View that makes a value, if it takes every element of its source once."""
    view = view_above(value)
    return view if view is not None and is_bijective(view) else None


def _applied(op: Any, root: ir.Node, x: ir.Value, *others: ir.Value, shape: tuple[int, ...]) -> ir.Value:
    """The operator of ``root`` applied to other operands."""
    attributes = {name: attribute.value for name, attribute in root.attributes.items()}
    return typed(getattr(op, root.op_type)(x, *others, _domain=root.domain, **attributes), shape, x)


def _view_again(op: Any, value: ir.Value, view: ir.Node) -> ir.Value:
    return make_view(op, value, None if is_plain(view) else index_of(view), shape_of(view.outputs[0]))


def rules(beside: Collection[str]) -> Iterator[pattern.RewriteRule]:
    """A rule for every operator that commutes with views; constants are carried along only of the operators ``beside``."""
    operators = registry().values()
    for op in operators:
        if op.commutes is Commutes.ROWS:
            yield SinkBelowRowwise.rule(op.name, op.domain)
    for op in operators:
        if op.commutes is Commutes.ELEMENTS and len(op.operands) == 1:
            yield SinkBelowUnary.rule(op.name, op.domain)
    pairs = [op.name for op in operators if op.commutes is Commutes.ELEMENTS and len(op.operands) == 2]
    yield from (SinkBelowConstant.rule(name) for name in pairs if name in beside)
    yield from (SinkBelowBinary.rule(name) for name in pairs)


@dataclasses.dataclass(frozen=True)
class Rowwise:
    """``root`` of a View that takes ``rows`` of ``source``."""

    root: ir.Node
    source: ir.Value
    rows: Array


class SinkBelowRowwise(Rule[Rowwise]):
    """``f(View(x))`` -> ``View'(f(x))`` for f Linear or LayerNormalization over the last axis."""

    def __init__(self, op_type: str, domain: str) -> None:
        super().__init__(f"SinkBelow{op_type}")
        self.op_type, self.domain = op_type, domain

    def pattern(self, op: Any, x: Any, w: Any, b: Any) -> Any:
        return getattr(op, self.op_type)(x, w, b, _domain=self.domain)

    def check(self, root: ir.Node, x: ir.Value, w: ir.Value, b: ir.Value) -> Rowwise | Refused:
        view = _moving(x)
        if view is None or len(shape_of(operand(view, 0))) < 2:
            return self.refuse("not applied to a view that takes everything once")
        if root.attributes.get_int("axis", -1) != -1:
            return self.refuse("not over the last axis")
        rows = row_index(view)
        return self.refuse("the view breaks up the last axis") if rows is None else Rowwise(root, operand(view, 0), rows)

    def rewrite(self, op: Any, match: Rowwise) -> ir.Value:
        root, source, shape = match.root, match.source, shape_of(match.root.outputs[0])
        width = shape[-1]
        value = _applied(op, root, source, operand(root, 1), operand(root, 2), shape=(*shape_of(source)[:-1], width))
        return make_view(op, value, match.rows[..., None] * width + np.arange(width), shape)


@dataclasses.dataclass(frozen=True)
class OneView:
    """A View above ``root``, and the constant that is the other operand, if there is one."""

    root: ir.Node
    view: ir.Node
    array: Array | None = None


class SinkBelowUnary(Rule[OneView]):
    """``f(View(x))`` -> ``View(f(x))`` for an elementwise function f of one tensor."""

    def __init__(self, op_type: str, domain: str) -> None:
        super().__init__(f"SinkBelow{op_type}")
        self.op_type, self.domain = op_type, domain

    def pattern(self, op: Any, x: Any) -> Any:
        return getattr(op, self.op_type)(x, _domain=self.domain)

    def check(self, root: ir.Node, x: ir.Value) -> OneView | Refused:
        view = _moving(x)
        return self.refuse("not applied to a view that takes everything once") if view is None else OneView(root, view)

    def rewrite(self, op: Any, match: OneView) -> ir.Value:
        source = operand(match.view, 0)
        return _view_again(op, _applied(op, match.root, source, shape=shape_of(source)), match.view)


class SinkBelowConstant(Rule[OneView]):
    """``View(x) + c`` and ``View(x) * c`` -> ``View(x + c')``, ``View(x * c')`` with the constant carried back."""

    def __init__(self, op_type: str) -> None:
        super().__init__(f"SinkBelowConstant{op_type}")
        self.op_type = op_type

    def pattern(self, op: Any, a: Any, b: Any) -> Any:
        return getattr(op, self.op_type)(a, b)

    def check(self, root: ir.Node, a: ir.Value, b: ir.Value) -> OneView | Refused:
        for x, other in either_order(root):
            array = constant(other)
            view = None if array is None or shape_of(x) != shape_of(root.outputs[0]) else _moving(x)
            if view is not None:
                return OneView(root, view, array)
        return self.refuse("no operand is a view that takes everything once with a constant beside it")

    def rewrite(self, op: Any, match: OneView) -> ir.Value:
        view, array = match.view, np.asarray(match.array)
        source, shape = operand(view, 0), shape_of(view.outputs[0])
        if array.size > 1:
            carried = np.empty(math.prod(shape), array.dtype)
            carried[index_of(view).reshape(-1)] = np.broadcast_to(array, shape).reshape(-1)
            array = shrink(carried.reshape(shape_of(source)))
        return _view_again(op, _applied(op, match.root, source, initializer(array), shape=shape_of(source)), view)


@dataclasses.dataclass(frozen=True)
class TwoViews:
    """Both operands of ``root`` are Views."""

    root: ir.Node
    first: ir.Node
    second: ir.Node


class SinkBelowBinary(Rule[TwoViews]):
    """``View1(x) + View2(y)`` -> ``View1(x + View(y))`` with View = inverse of View1 after View2 (nothing if both are equal)."""

    def __init__(self, op_type: str) -> None:
        super().__init__(f"SinkBelowBinary{op_type}")
        self.op_type = op_type

    def pattern(self, op: Any, a: Any, b: Any) -> Any:
        return getattr(op, self.op_type)(a, b)

    def check(self, root: ir.Node, a: ir.Value, b: ir.Value) -> TwoViews | Refused:
        if view_above(a) is None or view_above(b) is None or shape_of(a) != shape_of(b):
            return self.refuse("not two views of one shape")
        first, second = _moving(a), _moving(b)
        if first is None or second is None:
            return self.refuse("a view does not take everything once")
        return TwoViews(root, first, second)

    def rewrite(self, op: Any, match: TwoViews) -> ir.Value:
        x, y = operand(match.first, 0), operand(match.second, 0)
        forward = index_of(match.first).reshape(-1)
        moved = np.empty_like(forward)
        moved[forward] = index_of(match.second).reshape(-1)
        other = make_view(op, y, moved, shape_of(x))
        return _view_again(op, _applied(op, match.root, x, other, shape=shape_of(x)), match.first)
