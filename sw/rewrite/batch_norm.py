"""BatchNormalization at inference: a factor and a constant for each channel."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeflow.hw.arrays import Array
from edgeflow.sw.rewrite.base import Refused, Rule, constant, consumers, initializer, shape_of, typed


@dataclasses.dataclass(frozen=True)
class Affine:
    """``x * factor + offset``, both broadcast to x."""

    x: ir.Value
    factor: Array
    offset: Array


class BatchNorm(Rule[Affine]):
    """``BatchNormalization(x)`` with constant statistics -> ``x * k + c``, which a Linear above it takes in."""

    def pattern(self, op: Any, x: Any) -> Any:
        return op.BatchNormalization(x, _allow_other_inputs=True)

    def check(self, node: ir.Node, x: ir.Value) -> Affine | Refused:
        arrays = [constant(value) for value in node.inputs[1:5]]
        if len(arrays) < 4 or any(array is None for array in arrays):
            return self.refuse("its statistics are not constant", node)
        if any(consumers(value) for value in node.outputs[1:]):
            return self.refuse("its statistics are read", node)
        scale, bias, mean, variance = (array.astype(np.float64) for array in arrays if array is not None)
        factor = scale / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
        trailing = (1,) * (len(shape_of(x)) - 2)
        offset = bias - mean * factor
        return Affine(x, *(array.reshape(-1, *trailing).astype(np.float32) for array in (factor, offset)))

    def rewrite(self, op: Any, match: Affine) -> ir.Value:
        x = match.x
        scaled = typed(op.Mul(x, initializer(match.factor)), shape_of(x), x)
        return typed(op.Add(scaled, initializer(match.offset)), shape_of(x), x)
