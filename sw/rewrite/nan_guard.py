"""The guard that exporters put around softmax: where a row is wholly masked, zeros instead of NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter.pattern import MatchResult

from edgeflow.sw.rewrite.base import DOMAIN, Rule, constant, shape_of

_CONDITIONS = {
    "IsNaN",
    "IsInf",
    "Equal",
    "Not",
    "ReduceMax",
    "ReduceMin",
    "ReduceSum",
    "Cast",
    "Greater",
    "GreaterOrEqual",
    "Or",
    "And",
    "View",
    "Abs",
    "Identity",
    "Less",
    "LessOrEqual",
}


def _rests_on(value: ir.Value | None, allowed: set[ir.Value]) -> bool:
    """Whether a condition is computed from the allowed values and constants alone."""
    if value is None or value in allowed or constant(value) is not None:
        return True
    node = value.producer()
    if node is None or node.op_type not in _CONDITIONS:
        return False
    return all(_rests_on(operand, allowed) for operand in node.inputs)


class NanGuard(Rule):
    """``Where(condition on p, 0, softmax(s) = p)`` or with swapped branches -> ``p``.

    The guard acts only on rows without a single key to attend to, whose result means nothing.
    """

    def pattern(self, op: Any, condition: Any, a: Any, b: Any) -> Any:
        return op.Where(condition, a, b)

    def check(self, context: Any, condition: ir.Value, a: ir.Value, b: ir.Value) -> MatchResult:
        for zeros, kept in ((a, b), (b, a)):
            array = constant(zeros)
            if array is None or np.any(array != 0) or shape_of(kept) != shape_of(context.root.outputs[0]):
                continue
            node = kept.producer()
            while node is not None and node.op_type == "View" and node.domain == DOMAIN:
                node = node.inputs[0].producer() if node.inputs[0] is not None else None
            if node is None or node.op_type != "Softmax" or node.inputs[0] is None:
                continue
            if constant(condition) is None and _rests_on(condition, {kept, node.outputs[0], node.inputs[0]}):
                self.kept = kept
                return self.accept()
        return self.refuse("not a guard around a softmax")

    def rewrite(self, op: Any, condition: ir.Value, a: ir.Value, b: ir.Value) -> ir.Value:
        value: ir.Value = op.Identity(self.kept)
        return value
