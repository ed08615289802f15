"""GELU, SiLU and their kin, in every spelling: a product of x with an erf, tanh or sigmoid of x.

The product is flattened into a number and factors, and what is inside the function is read as a polynomial in x, so the order of
the operations and the placing of the constants do not matter.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter.pattern import MatchResult

from edgeflow.sw.rewrite.base import DOMAIN, Rule, constant, initializer, origin_of, produced_by, scalar, shape_of, typed

TOLERANCE = 2e-3
"""Relative deviation of a written-out constant (0.7071, 1.4142, 1.702) from its exact value."""


def factors(value: ir.Value) -> tuple[float, list[ir.Value]]:
    """Flatten a tree of Mul (and Div by a number) into a number and the factors that are not numbers."""
    node = value.producer()
    if node is not None and node.domain == "" and node.op_type in ("Mul", "Div"):
        left, right = node.inputs
        if left is not None and right is not None:
            divisor = scalar(right)
            if node.op_type == "Div" and divisor:
                number, rest = factors(left)
                return number / divisor, rest
            if node.op_type == "Mul" and all(scalar(side) is not None or constant(side) is None for side in (left, right)):
                parts = [(scalar(side) or 0.0, []) if scalar(side) is not None else factors(side) for side in (left, right)]
                return parts[0][0] * parts[1][0], [*parts[0][1], *parts[1][1]]
    return 1.0, [value]


def polynomial(value: ir.Value, base: ir.Value, depth: int = 8) -> dict[int, float] | None:
    """``value`` as a polynomial {degree: coefficient} in ``base``, or None if it is none."""
    if value is base:
        return {1: 1.0}
    number = scalar(value)
    if number is not None:
        return {0: number}
    node = value.producer()
    if node is None or depth == 0 or node.domain != "" or len(node.inputs) != 2:
        return None
    left, right = node.inputs
    if left is None or right is None or node.op_type not in ("Add", "Sub", "Mul", "Div", "Pow"):
        return None
    first, second = polynomial(left, base, depth - 1), polynomial(right, base, depth - 1)
    if first is None or second is None:
        return None
    return _combine(node.op_type, first, second)


def _combine(op_type: str, first: dict[int, float], second: dict[int, float]) -> dict[int, float] | None:
    if op_type in ("Add", "Sub"):
        sign = 1.0 if op_type == "Add" else -1.0
        return {key: first.get(key, 0.0) + sign * second.get(key, 0.0) for key in {*first, *second}}
    if op_type == "Mul":
        product: dict[int, float] = {}
        for one, a in first.items():
            for two, b in second.items():
                product[one + two] = product.get(one + two, 0.0) + a * b
        return product
    if set(second) != {0}:
        return None
    number = second[0]
    if op_type == "Div":
        return {key: entry / number for key, entry in first.items()} if number else None
    if number not in (1.0, 2.0, 3.0):
        return None
    result = first
    for _ in range(int(number) - 1):
        result = _combine("Mul", result, first) or {}
    return result


def close(value: float, target: float) -> bool:
    """Whether a written-out constant stands for ``target``."""
    return abs(value - target) <= TOLERANCE * abs(target)


def _multiplies_by_number(node: ir.Node) -> bool:
    return node.domain == "" and node.op_type in ("Mul", "Div") and any(scalar(operand) is not None for operand in node.inputs)


class _Product(Rule):
    """A product with exactly two factors, x and something of x."""

    def pattern(self, op: Any, a: Any, b: Any) -> Any:
        return op.Mul(a, b)

    def check(self, context: Any, a: ir.Value, b: ir.Value) -> MatchResult:
        users = list(context.root.outputs[0].uses())
        if len(users) == 1 and _multiplies_by_number(users[0].node):
            return self.refuse("the product goes on below")
        number, parts = factors(context.root.outputs[0])
        if len(parts) != 2:
            return self.refuse("not a product of two tensors")
        for x, gate in (parts, parts[::-1]):
            if shape_of(x) == shape_of(gate) == shape_of(context.root.outputs[0]) and self.found(x, gate, number):
                return self.accept()
        return self.refuse("no activation function is spelt here")

    @abstractmethod
    def found(self, x: ir.Value, gate: ir.Value, number: float) -> bool:
        """Whether ``number * x * gate`` is the activation; keeps ``x`` and the scales before and after."""

    def keep(self, x: ir.Value, inner: float, slope: float, gate: ir.Value) -> bool:
        """Remember that the product is ``slope / inner * activation(inner * x)``, named after the node that computes ``gate``."""
        self.inner = 1.0 if close(inner, 1.0) else inner
        self.outer = slope / self.inner
        self.x, self.gate_origin = x, origin_of(gate)
        return True

    def emit(self, op: Any, op_type: str, domain: str, **attributes: Any) -> ir.Value:
        """``outer * op_type(inner * x)``, without multiplications by one."""
        shape, x = shape_of(self.x), self.x
        if self.inner != 1.0:
            x = typed(op.Mul(x, initializer(np.array(self.inner, np.float32))), shape, x)
        value = typed(getattr(op, op_type)(x, _domain=domain, **attributes), shape, x, self.gate_origin)
        if not close(self.outer, 1.0):
            value = typed(op.Mul(value, initializer(np.array(self.outer, np.float32))), shape, x)
        return value


def _one_plus(gate: ir.Value, op_type: str) -> tuple[ir.Value, ir.Value] | None:
    """``op_type(u)`` and u of a gate ``1 + op_type(u)``."""
    node = produced_by(gate, "Add")
    if node is None:
        return None
    for one, other in (node.inputs, node.inputs[::-1]):
        inner = produced_by(other, op_type)
        if scalar(one) == 1.0 and inner is not None and inner.inputs[0] is not None:
            return inner.outputs[0], inner.inputs[0]
    return None


class GeluErf(_Product):
    """``x/2 * (1 + erf(x / sqrt 2))`` -> ``Gelu(approximate=none)`` (Hendrycks and Gimpel, 2016)."""

    def found(self, x: ir.Value, gate: ir.Value, number: float) -> bool:
        spelt = _one_plus(gate, "Erf")
        terms = None if spelt is None else polynomial(spelt[1], x)
        if spelt is None or terms is None or {key for key, entry in terms.items() if entry} != {1}:
            return False
        inner = terms[1] * math.sqrt(2.0)
        return inner > 0 and self.keep(x, inner, 2.0 * number, spelt[0])

    def rewrite(self, op: Any, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.emit(op, "Gelu", "", approximate="none")


class GeluTanh(_Product):
    """``x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))`` -> ``Gelu(approximate=tanh)``."""

    def found(self, x: ir.Value, gate: ir.Value, number: float) -> bool:
        spelt = _one_plus(gate, "Tanh")
        terms = None if spelt is None else polynomial(spelt[1], x)
        if spelt is None or terms is None or {key for key, entry in terms.items() if entry} != {1, 3}:
            return False
        inner = terms[1] / math.sqrt(2.0 / math.pi)
        if not close(terms[3], 0.044715 * math.sqrt(2.0 / math.pi) * inner**3):
            return False
        return inner > 0 and self.keep(x, inner, 2.0 * number, spelt[0])

    def rewrite(self, op: Any, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.emit(op, "Gelu", "", approximate="tanh")


class SigmoidGate(_Product):
    """``x * sigmoid(x)`` -> ``edgeflow::Silu``; ``x * sigmoid(1.702 x)`` -> ``edgeflow::QuickGelu``."""

    def found(self, x: ir.Value, gate: ir.Value, number: float) -> bool:
        node = produced_by(gate, "Sigmoid")
        terms = None if node is None or node.inputs[0] is None else polynomial(node.inputs[0], x)
        if terms is None or {key for key, entry in terms.items() if entry} != {1} or terms[1] <= 0:
            return False
        self.quick = close(terms[1], 1.702)
        return self.keep(x, 1.0 if self.quick else terms[1], number, gate)

    def rewrite(self, op: Any, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.emit(op, "QuickGelu" if self.quick else "Silu", DOMAIN)


class HardSwishProduct(_Product):
    """``x * clip(x + 3, 0, 6) / 6`` or ``x * HardSigmoid(x; 1/6, 1/2)`` -> ``HardSwish``."""

    def found(self, x: ir.Value, gate: ir.Value, number: float) -> bool:
        node = produced_by(gate, "HardSigmoid")
        if node is not None and node.inputs[0] is x:
            alpha, beta = node.attributes.get_float("alpha", 0.2), node.attributes.get_float("beta", 0.5)
            return close(alpha, 1 / 6) and close(beta, 0.5) and self.keep(x, 1.0, number, gate)
        node = produced_by(gate, "Clip")
        if node is None or len(node.inputs) != 3 or node.inputs[0] is None:
            return False
        terms = polynomial(node.inputs[0], x)
        if terms != {0: 3.0, 1: 1.0} or scalar(node.inputs[1]) != 0.0 or scalar(node.inputs[2]) != 6.0:
            return False
        return self.keep(x, 1.0, number * 6.0, gate)

    def rewrite(self, op: Any, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.emit(op, "HardSwish", "")
