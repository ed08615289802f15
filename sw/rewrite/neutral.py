"""Arithmetic that changes nothing: adding zeros (an all-zero attention mask, say), multiplying by ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgeflow.sw.rewrite.base import Kept, Refused, Rule, constant, either_order, shape_of


class Neutral(Rule[Kept]):
    """``x + 0`` and ``x * 1`` (either order, broadcasting that does not enlarge ``x``) -> ``x``."""

    def __init__(self, op_type: str, neutral: float) -> None:
        super().__init__(f"Neutral{op_type}")
        self.op_type, self.neutral = op_type, neutral

    def pattern(self, op: Any, a: Any, b: Any) -> Any:
        return getattr(op, self.op_type)(a, b)

    def check(self, root: ir.Node, a: ir.Value, b: ir.Value) -> Kept | Refused:
        for x, other in either_order(root):
            array = constant(other)
            if array is None or constant(x) is not None:
                continue
            if np.all(array == self.neutral) and shape_of(x) == shape_of(root.outputs[0]):
                return Kept(x)
        return self.refuse("neither operand is neutral")

    def rewrite(self, op: Any, match: Kept) -> ir.Value:
        value: ir.Value = op.Identity(match.value)
        return value
