"""The guard that exporters put around softmax: where a row is wholly masked, zeros instead of NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgeflow.sw.rewrite.base import Kept, Refused, Rule, constant, operand, produced_by, shape_of
from edgeflow.sw.rewrite.view import VIEW, view_above

_CONDITIONS = {
    "IsNaN", "IsInf", "Equal", "Not", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Or", "And", "Abs", "ReduceMax",
    "ReduceMin", "ReduceSum", "Cast", "Identity", VIEW,
}  # fmt: skip
"""What exporters write the condition of such a guard with."""


def _rests_on(value: ir.Value | None, allowed: set[ir.Value]) -> bool:
    """Whether a condition is computed from the allowed values and constants alone."""
    if value is None or value in allowed or constant(value) is not None:
        return True
    node = value.producer()
    if node is None or node.op_type not in _CONDITIONS:
        return False
    return all(_rests_on(operand, allowed) for operand in node.inputs)


class NanGuard(Rule[Kept]):
    """``Where(condition on p, 0, softmax(s) = p)`` or with swapped branches -> ``p``.

    The guard acts only on rows without a single key to attend to, whose result means nothing.
    """

    def pattern(self, op: Any, condition: Any, a: Any, b: Any) -> Any:
        return op.Where(condition, a, b)

    def check(self, root: ir.Node, condition: ir.Value, a: ir.Value, b: ir.Value) -> Kept | Refused:
        for zeros, kept in ((a, b), (b, a)):
            array = constant(zeros)
            if array is None or np.any(array != 0) or shape_of(kept) != shape_of(root.outputs[0]):
                continue
            source = kept
            while (view := view_above(source)) is not None:
                source = operand(view, 0)
            softmax = produced_by(source, "Softmax")
            if softmax is None or constant(condition) is not None:
                continue
            if _rests_on(condition, {kept, source, operand(softmax, 0)}):
                return Kept(kept)
        return self.refuse("not a guard around a softmax")

    def rewrite(self, op: Any, match: Kept) -> ir.Value:
        value: ir.Value = op.Identity(match.value)
        return value
