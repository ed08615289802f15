"""Clip between constants, such as ReLU6, as an elementwise function; Max and Min with a number are clips with one end."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeflow.sw.rewrite.base import DOMAIN, Refused, Rule, constant, either_order, scalar, shape_of, typed

LARGEST = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True)
class Ends:
    """x between two numbers; the largest of float32 stands for no end."""

    x: ir.Value
    low: float
    high: float


class _Clips(Rule[Ends]):
    """Rules that find ends and put the function in their place."""

    def rewrite(self, op: Any, match: Ends) -> ir.Value:
        x = match.x
        if (match.low, match.high) == (0.0, LARGEST):
            return typed(op.Relu(x), shape_of(x), x)
        return typed(op.Clip(x, minimum=match.low, maximum=match.high, _domain=DOMAIN), shape_of(x), x)


class ClipToFunction(_Clips):
    """``Clip(x, minimum, maximum)`` with constant ends -> ``edgeflow::Clip(x)``, or ``Relu(x)`` where it has only the minimum 0."""

    def pattern(self, op: Any, x: Any) -> Any:
        return op.Clip(x, _allow_other_inputs=True)

    def check(self, node: ir.Node, x: ir.Value) -> Ends | Refused:
        if x.dtype != ir.DataType.FLOAT or constant(x) is not None:
            return self.refuse("it does not clip a float32 activation", node)
        ends = []
        for position, default in ((1, -LARGEST), (2, LARGEST)):
            end = node.inputs[position] if len(node.inputs) > position else None
            number = default if end is None else scalar(end)
            if number is None or np.isnan(number):
                return self.refuse("its ends are not constant numbers", node)
            ends.append(float(np.clip(number, -LARGEST, LARGEST)))
        return Ends(x, *ends)


class MaxToFunction(_Clips):
    """``Max(x, c)`` or ``Max(c, x)`` with a number c -> x clipped below."""

    def pattern(self, op: Any, a: Any, b: Any) -> Any:
        return op.Max(a, b)

    def check(self, node: ir.Node, a: ir.Value, b: ir.Value) -> Ends | Refused:
        pair = _beside_number(node)
        return self.refuse("neither operand is a number") if pair is None else Ends(pair[0], pair[1], LARGEST)


class MinToFunction(_Clips):
    """``Min(x, c)`` or ``Min(c, x)`` with a number c -> x clipped above."""

    def pattern(self, op: Any, a: Any, b: Any) -> Any:
        return op.Min(a, b)

    def check(self, node: ir.Node, a: ir.Value, b: ir.Value) -> Ends | Refused:
        pair = _beside_number(node)
        return self.refuse("neither operand is a number") if pair is None else Ends(pair[0], -LARGEST, pair[1])


def _beside_number(node: ir.Node) -> tuple[ir.Value, float] | None:
    """The activation beside a number that the node compares it with, and the number."""
    for x, other in either_order(node):
        number = scalar(other)
        same = shape_of(x) == shape_of(node.outputs[0])
        if number is not None and not np.isnan(number) and constant(x) is None and same and x.dtype == ir.DataType.FLOAT:
            return x, float(np.clip(number, -LARGEST, LARGEST))
    return None


RULES = (ClipToFunction, MaxToFunction, MinToFunction)
