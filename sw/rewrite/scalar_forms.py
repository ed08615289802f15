"""Division, subtraction and negation by constants, written as Mul and Add with a constant."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter.pattern import MatchResult

from edgeflow.sw.rewrite.base import Rule, constant, consumers, initializer, produced_by, scalar, shape_of, typed


def _is_float(value: ir.Value) -> bool:
    return value.dtype == ir.DataType.FLOAT


class DivideByConstant(Rule):
    """``x / c`` -> ``x * (1 / c)`` for float32."""

    def pattern(self, op: Any, x: Any, c: Any) -> Any:
        return op.Div(x, c)

    def check(self, context: Any, x: ir.Value, c: ir.Value) -> MatchResult:
        divisor = constant(c)
        if divisor is None or not _is_float(x):
            return self.refuse("the divisor is not a float constant")
        if np.any(divisor == 0):
            return self.refuse("division by zero", context.root)
        self.reciprocal = 1.0 / divisor.astype(np.float64)
        return self.accept()

    def rewrite(self, op: Any, x: ir.Value, c: ir.Value) -> ir.Value:
        shape = np.broadcast_shapes(shape_of(x), shape_of(c))
        return typed(op.Mul(x, initializer(self.reciprocal.astype(np.float32))), shape, x)


class SubtractConstant(Rule):
    """``x - c`` -> ``x + (-c)``."""

    def pattern(self, op: Any, x: Any, c: Any) -> Any:
        return op.Sub(x, c)

    def check(self, context: Any, x: ir.Value, c: ir.Value) -> MatchResult:
        if constant(c) is None or not _is_float(x):
            return self.refuse("the subtrahend is not a float constant")
        return self.accept()

    def rewrite(self, op: Any, x: ir.Value, c: ir.Value) -> ir.Value:
        shape = np.broadcast_shapes(shape_of(x), shape_of(c))
        array = constant(c)
        return typed(op.Add(x, initializer(-np.asarray(array))), shape, x)


class SubtractFromConstant(Rule):
    """``c - x`` -> ``(x * -1) + c``."""

    def pattern(self, op: Any, c: Any, x: Any) -> Any:
        return op.Sub(c, x)

    def check(self, context: Any, c: ir.Value, x: ir.Value) -> MatchResult:
        if constant(c) is None or not _is_float(x):
            return self.refuse("the minuend is not a float constant")
        return self.accept()

    def rewrite(self, op: Any, c: ir.Value, x: ir.Value) -> ir.Value:
        negative = typed(op.Mul(x, initializer(np.array(-1.0, np.float32))), shape_of(x), x)
        return typed(op.Add(negative, c), np.broadcast_shapes(shape_of(x), shape_of(c)), x)


class SubtractActivation(Rule):
    """``x - y`` of two activations of equal shape -> ``x + (y * -1)``; left alone inside a decomposed LayerNormalization."""

    def pattern(self, op: Any, x: Any, y: Any) -> Any:
        return op.Sub(x, y)

    def check(self, context: Any, x: ir.Value, y: ir.Value) -> MatchResult:
        if constant(x) is not None or constant(y) is not None or not _is_float(x) or shape_of(x) != shape_of(y):
            return self.refuse("not two float activations of equal shape")
        return self.accept()

    def rewrite(self, op: Any, x: ir.Value, y: ir.Value) -> ir.Value:
        negative = typed(op.Mul(y, initializer(np.array(-1.0, np.float32))), shape_of(y), y)
        return typed(op.Add(x, negative), shape_of(x), x)


class Negate(Rule):
    """``-x`` -> ``x * -1``."""

    def pattern(self, op: Any, x: Any) -> Any:
        return op.Neg(x)

    def check(self, context: Any, x: ir.Value) -> MatchResult:
        return self.accept() if _is_float(x) else self.refuse("not float")

    def rewrite(self, op: Any, x: ir.Value) -> ir.Value:
        return typed(op.Mul(x, initializer(np.array(-1.0, np.float32))), shape_of(x), x)


class MergeNumbers(Rule):
    """``(x * a) * b`` with numbers a and b and no other user of the first product -> ``x * (a b)``."""

    def pattern(self, op: Any, left: Any, right: Any) -> Any:
        return op.Mul(left, right)

    def check(self, context: Any, left: ir.Value, right: ir.Value) -> MatchResult:
        for product, other in ((left, right), (right, left)):
            inner, number = produced_by(product, "Mul"), scalar(other)
            if inner is None or number is None or consumers(product) != 1:
                continue
            if shape_of(product) != shape_of(context.root.outputs[0]):
                continue
            for x, factor in (inner.inputs, inner.inputs[::-1]):
                first = scalar(factor)
                if x is not None and first is not None and shape_of(x) == shape_of(product):
                    self.x, self.number = x, first * number
                    return self.accept()
        return self.refuse("not two multiplications by numbers")

    def rewrite(self, op: Any, left: ir.Value, right: ir.Value) -> ir.Value:
        number = initializer(np.array(self.number, np.float32))
        return typed(op.Mul(self.x, number), shape_of(self.x), self.x)
