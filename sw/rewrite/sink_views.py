"""Views move below the operators they commute with, so that chains of them meet, compose and cancel.

A view that takes every element exactly once commutes with everything elementwise, and one that also keeps the last axis whole
commutes with Linear and LayerNormalization. Sequence-first models, Gemms on flattened tokens and transposed residuals all come
out batch-first this way.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter.pattern import MatchResult

from edgeflow.hw.arrays import Array
from edgeflow.sw.rewrite.base import DOMAIN, Rule, constant, initializer, produced_by, shape_of, shrink, typed
from edgeflow.sw.rewrite.view import index_of, is_bijective, is_plain, make_view, row_index


class SinkBelowRowwise(Rule):
    """``f(View(x))`` -> ``View'(f(x))`` for f Linear or LayerNormalization over the last axis."""

    def __init__(self, op_type: str, domain: str) -> None:
        super().__init__()
        self.op_type, self.domain = op_type, domain
        self.name = f"SinkBelow{op_type}"

    def pattern(self, op: Any, x: Any, w: Any, b: Any) -> Any:
        return getattr(op, self.op_type)(x, w, b, _domain=self.domain)

    def check(self, context: Any, x: ir.Value, w: ir.Value, b: ir.Value) -> MatchResult:
        view = produced_by(x, "View", DOMAIN)
        if view is None or not is_bijective(view) or view.inputs[0] is None or len(shape_of(view.inputs[0])) < 2:
            return self.refuse("not applied to a view that takes everything once")
        if self.op_type == "LayerNormalization" and context.root.attributes.get_int("axis", -1) != -1:
            return self.refuse("not over the last axis")
        rows = row_index(view)
        if rows is None:
            return self.refuse("the view breaks up the last axis")
        self.source, self.rows, self.root = view.inputs[0], rows, context.root
        return self.accept()

    def rewrite(self, op: Any, x: ir.Value, w: ir.Value, b: ir.Value) -> ir.Value:
        shape = shape_of(self.root.outputs[0])
        width = shape[-1]
        attributes = {name: attribute.value for name, attribute in self.root.attributes.items()}
        value = getattr(op, self.op_type)(self.source, w, b, _domain=self.domain, **attributes)
        typed(value, (*shape_of(self.source)[:-1], width), x)
        return make_view(op, value, self.rows[..., None] * width + np.arange(width), shape)


class SinkBelowUnary(Rule):
    """``f(View(x))`` -> ``View(f(x))`` for an elementwise function f of one tensor."""

    def __init__(self, op_type: str, domain: str) -> None:
        super().__init__()
        self.op_type, self.domain = op_type, domain
        self.name = f"SinkBelow{op_type}"

    def pattern(self, op: Any, x: Any) -> Any:
        return getattr(op, self.op_type)(x, _domain=self.domain)

    def check(self, context: Any, x: ir.Value) -> MatchResult:
        view = produced_by(x, "View", DOMAIN)
        if view is None or not is_bijective(view):
            return self.refuse("not applied to a view that takes everything once")
        self.view, self.root = view, context.root
        return self.accept()

    def rewrite(self, op: Any, x: ir.Value) -> ir.Value:
        source = self.view.inputs[0]
        if source is None:
            raise AssertionError("a View without input")
        attributes = {name: attribute.value for name, attribute in self.root.attributes.items()}
        value = getattr(op, self.op_type)(source, _domain=self.domain, **attributes)
        typed(value, shape_of(source), x)
        return make_view(op, value, _index(self.view), shape_of(x))


def _index(view: ir.Node) -> Array | None:
    return None if is_plain(view) else index_of(view)


class SinkBelowConstant(Rule):
    """``View(x) + c`` and ``View(x) * c`` -> ``View(x + c')``, ``View(x * c')`` with the constant carried back."""

    def __init__(self, op_type: str) -> None:
        super().__init__()
        self.op_type = op_type
        self.name = f"SinkBelowConstant{op_type}"

    def pattern(self, op: Any, a: Any, b: Any) -> Any:
        return getattr(op, self.op_type)(a, b)

    def check(self, context: Any, a: ir.Value, b: ir.Value) -> MatchResult:
        for x, other in ((a, b), (b, a)):
            view, array = produced_by(x, "View", DOMAIN), constant(other)
            if view is None or array is None or shape_of(x) != shape_of(context.root.outputs[0]):
                continue
            if is_bijective(view):
                self.view, self.array = view, array
                return self.accept()
        return self.refuse("no operand is a view that takes everything once with a constant beside it")

    def rewrite(self, op: Any, a: ir.Value, b: ir.Value) -> ir.Value:
        source = self.view.inputs[0]
        if source is None:
            raise AssertionError("a View without input")
        shape, array = shape_of(self.view.outputs[0]), self.array
        if array.size > 1:
            carried = np.empty(math.prod(shape), array.dtype)
            carried[index_of(self.view).reshape(-1)] = np.broadcast_to(array, shape).reshape(-1)
            array = shrink(carried.reshape(shape_of(source)))
        value = typed(getattr(op, self.op_type)(source, initializer(array)), shape_of(source), source)
        return make_view(op, value, _index(self.view), shape)


class SinkBelowBinary(Rule):
    """``View1(x) + View2(y)`` -> ``View1(x + View(y))`` with View = inverse of View1 after View2 (nothing if both are equal)."""

    def __init__(self, op_type: str) -> None:
        super().__init__()
        self.op_type = op_type
        self.name = f"SinkBelowBinary{op_type}"

    def pattern(self, op: Any, a: Any, b: Any) -> Any:
        return getattr(op, self.op_type)(a, b)

    def check(self, context: Any, a: ir.Value, b: ir.Value) -> MatchResult:
        first, second = produced_by(a, "View", DOMAIN), produced_by(b, "View", DOMAIN)
        if first is None or second is None or shape_of(a) != shape_of(b):
            return self.refuse("not two views of one shape")
        if not is_bijective(first) or not is_bijective(second):
            return self.refuse("a view does not take everything once")
        self.first, self.second = first, second
        return self.accept()

    def rewrite(self, op: Any, a: ir.Value, b: ir.Value) -> ir.Value:
        x, y = self.first.inputs[0], self.second.inputs[0]
        if x is None or y is None:
            raise AssertionError("a View without input")
        forward = index_of(self.first).reshape(-1)
        moved = np.empty_like(forward)
        moved[forward] = index_of(self.second).reshape(-1)
        other = make_view(op, y, moved, shape_of(x))
        value = typed(getattr(op, self.op_type)(x, other), shape_of(x), x)
        return make_view(op, value, _index(self.first), shape_of(a))
