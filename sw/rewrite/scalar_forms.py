"""Division, subtraction and negation by constants, written as Mul and Add with a constant."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeflow.hw.arrays import Array
from edgeflow.sw.rewrite.base import Refused, Rule, constant, consumers, initializer, produced_by, shape_of, times_number, typed


def _is_float(value: ir.Value) -> bool:
    return value.dtype == ir.DataType.FLOAT


def _product(op: Any, x: ir.Value, factor: Any) -> ir.Value:
    array = np.asarray(factor, np.float32)
    return typed(op.Mul(x, initializer(array)), np.broadcast_shapes(shape_of(x), array.shape), x)


def _sum(op: Any, x: ir.Value, y: ir.Value, like: ir.Value) -> ir.Value:
    return typed(op.Add(x, y), np.broadcast_shapes(shape_of(x), shape_of(y)), like)


@dataclasses.dataclass(frozen=True)
class Scaled:
    """``x * factor``, broadcast."""

    x: ir.Value
    factor: Array


class _Scaling(Rule[Scaled]):
    def rewrite(self, op: Any, match: Scaled) -> ir.Value:
        return _product(op, match.x, match.factor)


class DivideByConstant(_Scaling):
    """``x / c`` -> ``x * (1 / c)`` for float32."""

    def pattern(self, op: Any, x: Any, c: Any) -> Any:
        return op.Div(x, c)

    def check(self, root: ir.Node, x: ir.Value, c: ir.Value) -> Scaled | Refused:
        divisor = constant(c)
        if divisor is None or not _is_float(x):
            return self.refuse("the divisor is not a float constant")
        if np.any(divisor == 0):
            return self.refuse("division by zero", root)
        return Scaled(x, 1.0 / divisor.astype(np.float64))


class Negate(_Scaling):
    """``-x`` -> ``x * -1``."""

    def pattern(self, op: Any, x: Any) -> Any:
        return op.Neg(x)

    def check(self, root: ir.Node, x: ir.Value) -> Scaled | Refused:
        return Scaled(x, np.array(-1.0)) if _is_float(x) else self.refuse("not float")


class MergeNumbers(_Scaling):
    """``(x * a) * b`` with numbers a and b and no other user of the first product -> ``x * (a b)``."""

    def pattern(self, op: Any, left: Any, right: Any) -> Any:
        return op.Mul(left, right)

    def check(self, root: ir.Node, left: ir.Value, right: ir.Value) -> Scaled | Refused:
        outer = times_number(root.outputs[0])
        product = None if outer is None else produced_by(outer[0], "Mul")
        inner = None if product is None else times_number(product.outputs[0])
        if outer is None or inner is None or consumers(outer[0]) != 1:
            return self.refuse("not two multiplications by numbers")
        return Scaled(inner[0], np.array(inner[1] * outer[1]))


@dataclasses.dataclass(frozen=True)
class Difference:
    """``x - y``."""

    x: ir.Value
    y: ir.Value


class SubtractConstant(Rule[Difference]):
    """``x - c`` -> ``x + (-c)``."""

    def pattern(self, op: Any, x: Any, c: Any) -> Any:
        return op.Sub(x, c)

    def check(self, root: ir.Node, x: ir.Value, c: ir.Value) -> Difference | Refused:
        if constant(c) is None or not _is_float(x):
            return self.refuse("the subtrahend is not a float constant")
        return Difference(x, c)

    def rewrite(self, op: Any, match: Difference) -> ir.Value:
        return _sum(op, match.x, initializer(-np.asarray(constant(match.y))), match.x)


class SubtractFromConstant(Rule[Difference]):
    """``c - x`` -> ``(x * -1) + c``."""

    def pattern(self, op: Any, c: Any, x: Any) -> Any:
        return op.Sub(c, x)

    def check(self, root: ir.Node, c: ir.Value, x: ir.Value) -> Difference | Refused:
        if constant(c) is None or not _is_float(x):
            return self.refuse("the minuend is not a float constant")
        return Difference(c, x)

    def rewrite(self, op: Any, match: Difference) -> ir.Value:
        return _sum(op, _product(op, match.y, -1.0), match.x, match.y)


class SubtractActivation(Rule[Difference]):
    """``x - y`` of two activations of equal shape -> ``x + (y * -1)``; left alone inside a decomposed LayerNormalization."""

    def pattern(self, op: Any, x: Any, y: Any) -> Any:
        return op.Sub(x, y)

    def check(self, root: ir.Node, x: ir.Value, y: ir.Value) -> Difference | Refused:
        if constant(x) is not None or constant(y) is not None or not _is_float(x) or shape_of(x) != shape_of(y):
            return self.refuse("not two float activations of equal shape")
        return Difference(x, y)

    def rewrite(self, op: Any, match: Difference) -> ir.Value:
        return _sum(op, match.x, _product(op, match.y, -1.0), match.x)
