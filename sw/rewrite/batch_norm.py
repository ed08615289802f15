"""BatchNormalization at inference: a factor and a constant for each channel."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter.pattern import MatchResult

from edgeflow.sw.rewrite.base import Rule, constant, consumers, initializer, shape_of, typed


class BatchNorm(Rule):
    """``BatchNormalization(x)`` with constant statistics -> ``x * k + c``, which a Linear above it takes in."""

    def pattern(self, op: Any, x: Any) -> Any:
        return op.BatchNormalization(x, _allow_other_inputs=True)

    def check(self, context: Any, x: ir.Value) -> MatchResult:
        node = context.root
        arrays = [constant(value) for value in node.inputs[1:5]]
        if len(arrays) < 4 or any(array is None for array in arrays):
            return self.refuse("its statistics are not constant", node)
        if any(consumers(value) for value in node.outputs[1:]):
            return self.refuse("its statistics are read", node)
        scale, bias, mean, variance = (array.astype(np.float64) for array in arrays if array is not None)
        factor = scale / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
        trailing = (1,) * (len(shape_of(x)) - 2)
        self.factor = factor.reshape(-1, *trailing).astype(np.float32)
        self.offset = (bias - mean * factor).reshape(-1, *trailing).astype(np.float32)
        return self.accept()

    def rewrite(self, op: Any, x: ir.Value) -> ir.Value:
        scaled = typed(op.Mul(x, initializer(self.factor)), shape_of(x), x)
        return typed(op.Add(scaled, initializer(self.offset)), shape_of(x), x)
