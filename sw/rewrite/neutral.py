"""Arithmetic that changes nothing: adding zeros (an all-zero attention mask, say), multiplying by ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter.pattern import MatchResult

from edgeflow.sw.rewrite.base import Rule, constant, shape_of


class Neutral(Rule):
    """``x + 0`` and ``x * 1`` (either order, broadcasting that does not enlarge ``x``) -> ``x``."""

    def __init__(self, op_type: str) -> None:
        super().__init__()
        self.op_type = op_type
        self.name = f"Neutral{op_type}"

    def pattern(self, op: Any, a: Any, b: Any) -> Any:
        return getattr(op, self.op_type)(a, b)

    def check(self, context: Any, a: ir.Value, b: ir.Value) -> MatchResult:
        neutral = 0.0 if self.op_type == "Add" else 1.0
        for x, other in ((a, b), (b, a)):
            array = constant(other)
            if array is None or constant(x) is not None:
                continue
            if np.all(array == neutral) and shape_of(x) == shape_of(context.root.outputs[0]):
                self.kept = x
                return self.accept()
        return self.refuse("neither operand is neutral")

    def rewrite(self, op: Any, a: ir.Value, b: ir.Value) -> ir.Value:
        value: ir.Value = op.Identity(self.kept)
        return value
