"""GELU, SiLU and their kin, in every spelling: a product of x with an erf, tanh or sigmoid of x.

The product is flattened into a number and factors, and what is inside the function is read as a polynomial in x, so the order of
the operations and the placing of the constants do not matter.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeflow.sw.rewrite.base import (
    DOMAIN,
    Refused,
    Rule,
    constant,
    initializer,
    operand,
    operands,
    origin_of,
    plus_number,
    produced_by,
    scalar,
    shape_of,
    times_number,
    typed,
)

TOLERANCE = 2e-3
"""Relative deviation of a written-out constant (0.7071, 1.4142, 1.702) from its exact value."""


Polynomial = dict[int, float]
"""Coefficients by degree."""


def factors(value: ir.Value) -> tuple[float, list[ir.Value]]:
    """Flatten a tree of products (and quotients by a number) into a number and the factors that are not numbers."""
    scaled = times_number(value)
    if scaled is not None:
        number, rest = factors(scaled[0])
        return number * scaled[1], rest
    sides = operands(produced_by(value, "Mul"))
    if sides is None or any(constant(side) is not None for side in sides):
        return 1.0, [value]
    (first, left), (second, right) = map(factors, sides)
    return first * second, [*left, *right]


def polynomial(value: ir.Value, base: ir.Value, depth: int = 8) -> Polynomial | None:
    """``value`` as a polynomial {degree: coefficient} in ``base``, or None if it is none."""
    if value is base:
        return {1: 1.0}
    number = scalar(value)
    if number is not None:
        return {0: number}
    if depth == 0:
        return None
    for op_type, combine in _FORMULAS.items():
        sides = operands(produced_by(value, op_type))
        if sides is not None:
            first, second = (polynomial(side, base, depth - 1) for side in sides)
            return None if first is None or second is None else combine(first, second)
    return None


def _sum(first: Polynomial, second: Polynomial) -> Polynomial:
    return {key: first.get(key, 0.0) + second.get(key, 0.0) for key in {*first, *second}}


def _difference(first: Polynomial, second: Polynomial) -> Polynomial:
    return _sum(first, {key: -entry for key, entry in second.items()})


def _product(first: Polynomial, second: Polynomial) -> Polynomial:
    result: Polynomial = {}
    for one, a in first.items():
        for two, b in second.items():
            result[one + two] = result.get(one + two, 0.0) + a * b
    return result


def _quotient(first: Polynomial, second: Polynomial) -> Polynomial | None:
    number = second[0] if set(second) == {0} else 0.0
    return {key: entry / number for key, entry in first.items()} if number else None


def _power(first: Polynomial, second: Polynomial) -> Polynomial | None:
    """Squares and cubes."""
    if second not in ({0: 1.0}, {0: 2.0}, {0: 3.0}):
        return None
    return functools.reduce(_product, [first] * int(second[0]))


_FORMULAS: Mapping[str, Callable[[Polynomial, Polynomial], Polynomial | None]] = {
    "Add": _sum, "Sub": _difference, "Mul": _product, "Div": _quotient, "Pow": _power,
}  # fmt: skip


def close(value: float, target: float) -> bool:
    """Whether a written-out constant stands for ``target``."""
    return abs(value - target) <= TOLERANCE * abs(target)


@dataclasses.dataclass(frozen=True)
class Scaled:
    """``outer * f(inner * x)``, of an activation function f and the node that computes it; ``origin``: that of the gate."""

    x: ir.Value
    inner: float
    outer: float
    origin: dict[str, str]
    op_type: str
    domain: str = ""
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)


def _scaled(x: ir.Value, inner: float, slope: float, gate: ir.Value, op_type: str, domain: str = "", **attributes: str) -> Scaled:
    """``slope / inner * f(inner * x)``, named after the node that computes ``gate``."""
    inner = 1.0 if close(inner, 1.0) else inner
    return Scaled(x, inner, slope / inner, origin_of(gate), op_type, domain, attributes)


class _Product(Rule[Scaled]):
    """A product with exactly two factors, x and something of x."""

    def pattern(self, op: Any, a: Any, b: Any) -> Any:
        return op.Mul(a, b)

    def check(self, root: ir.Node, a: ir.Value, b: ir.Value) -> Scaled | Refused:
        result = root.outputs[0]
        users = list(result.uses())
        if len(users) == 1 and times_number(users[0].node.outputs[0]) is not None:
            return self.refuse("the product goes on below")
        number, parts = factors(result)
        if len(parts) != 2:
            return self.refuse("not a product of two tensors")
        for x, gate in (parts, parts[::-1]):
            spelt = self.activation(x, gate, number) if shape_of(x) == shape_of(gate) == shape_of(result) else None
            if spelt is not None:
                return spelt
        return self.refuse("no activation function is spelt here")

    @abstractmethod
    def activation(self, x: ir.Value, gate: ir.Value, number: float) -> Scaled | None:
        """The activation function that equals ``number * x * gate``; None if there is none."""

    def rewrite(self, op: Any, match: Scaled) -> ir.Value:
        """The function without multiplications by one."""
        shape, x = shape_of(match.x), match.x
        if match.inner != 1.0:
            x = typed(op.Mul(x, initializer(np.array(match.inner, np.float32))), shape, x)
        value = typed(getattr(op, match.op_type)(x, _domain=match.domain, **match.attributes), shape, x, match.origin)
        if not close(match.outer, 1.0):
            value = typed(op.Mul(value, initializer(np.array(match.outer, np.float32))), shape, x)
        return value


def _one_plus(gate: ir.Value, op_type: str) -> tuple[ir.Value, ir.Value] | None:
    """``op_type(u)`` and u of a gate ``1 + op_type(u)``."""
    total = plus_number(gate)
    inner = None if total is None or total[1] != 1.0 else produced_by(total[0], op_type)
    return None if inner is None else (inner.outputs[0], operand(inner, 0))


def _degrees(terms: Polynomial) -> set[int]:
    """Degrees with a coefficient other than 0."""
    return {key for key, entry in terms.items() if entry}


class GeluErf(_Product):
    """``x/2 * (1 + erf(x / sqrt 2))`` -> ``Gelu(approximate=none)`` (Hendrycks and Gimpel, 2016)."""

    def activation(self, x: ir.Value, gate: ir.Value, number: float) -> Scaled | None:
        spelt = _one_plus(gate, "Erf")
        terms = None if spelt is None else polynomial(spelt[1], x)
        if spelt is None or terms is None or _degrees(terms) != {1}:
            return None
        inner = terms[1] * math.sqrt(2.0)
        return _scaled(x, inner, 2.0 * number, spelt[0], "Gelu", approximate="none") if inner > 0 else None


class GeluTanh(_Product):
    """``x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))`` -> ``Gelu(approximate=tanh)``."""

    def activation(self, x: ir.Value, gate: ir.Value, number: float) -> Scaled | None:
        spelt = _one_plus(gate, "Tanh")
        terms = None if spelt is None else polynomial(spelt[1], x)
        if spelt is None or terms is None or _degrees(terms) != {1, 3}:
            return None
        inner = terms[1] / math.sqrt(2.0 / math.pi)
        if inner <= 0 or not close(terms[3], 0.044715 * math.sqrt(2.0 / math.pi) * inner**3):
            return None
        return _scaled(x, inner, 2.0 * number, spelt[0], "Gelu", approximate="tanh")


class SigmoidGate(_Product):
    """``x * sigmoid(x)`` -> ``edgeflow::Silu``; ``x * sigmoid(1.702 x)`` -> ``edgeflow::QuickGelu``."""

    def activation(self, x: ir.Value, gate: ir.Value, number: float) -> Scaled | None:
        node = produced_by(gate, "Sigmoid")
        terms = None if node is None else polynomial(operand(node, 0), x)
        if terms is None or _degrees(terms) != {1} or terms[1] <= 0:
            return None
        if close(terms[1], 1.702):
            return _scaled(x, 1.0, number, gate, "QuickGelu", DOMAIN)
        return _scaled(x, terms[1], number, gate, "Silu", DOMAIN)


class HardSwishProduct(_Product):
    """``x * clip(x + 3, 0, 6) / 6`` or ``x * HardSigmoid(x; 1/6, 1/2)`` -> ``HardSwish``."""

    def activation(self, x: ir.Value, gate: ir.Value, number: float) -> Scaled | None:
        node = produced_by(gate, "HardSigmoid")
        if node is not None and node.inputs[0] is x:
            alpha, beta = node.attributes.get_float("alpha", 0.2), node.attributes.get_float("beta", 0.5)
            return _scaled(x, 1.0, number, gate, "HardSwish") if close(alpha, 1 / 6) and close(beta, 0.5) else None
        node = produced_by(gate, "Clip")
        if node is None or len(node.inputs) != 3 or polynomial(operand(node, 0), x) != {0: 3.0, 1: 1.0}:
            return None
        ends = scalar(node.inputs[1]), scalar(node.inputs[2])
        return _scaled(x, 1.0, number * 6.0, gate, "HardSwish") if ends == (0.0, 6.0) else None
