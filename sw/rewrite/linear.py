"""Matrix products with a constant become ``edgeflow::Linear``; biases and scales beside it are folded into it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter.pattern import MatchResult

from edgeflow.hw.arrays import Array
from edgeflow.sw.rewrite.base import DOMAIN, Rule, constant, consumers, origin_of, produced_by, shape_of
from edgeflow.sw.rewrite.view import linear


class MatMulToLinear(Rule):
    """``MatMul(x, W)`` with a constant matrix W -> ``Linear(x, W, 0)``."""

    def pattern(self, op: Any, x: Any, w: Any) -> Any:
        return op.MatMul(x, w)

    def check(self, context: Any, x: ir.Value, w: ir.Value) -> MatchResult:
        if constant(x) is not None:
            return self.refuse("the constant matrix is on the left of the product", context.root)
        weight = constant(w)
        if weight is None:
            return self.refuse("both factors depend on the input and the product is not part of an attention")
        while weight.ndim > 2 and weight.shape[0] == 1:
            weight = weight[0]
        if weight.ndim != 2 or len(shape_of(x)) < 2:
            return self.refuse(f"the constant factor has shape {weight.shape}, a matrix is needed", context.root)
        if len(shape_of(context.root.outputs[0])) != len(shape_of(x)):
            return self.refuse("the constant factor adds axes to the product", context.root)
        self.weight = weight
        return self.accept()

    def rewrite(self, op: Any, x: ir.Value, w: ir.Value) -> ir.Value:
        return linear(op, x, self.weight, np.zeros(self.weight.shape[1]))


class GemmToLinear(Rule):
    """``Gemm(x, B, C)`` with constant B and C -> ``Linear``; transposition, alpha and beta go into weight and bias."""

    def pattern(self, op: Any, x: Any, b: Any) -> Any:
        return op.Gemm(x, b, _allow_other_inputs=True)

    def check(self, context: Any, x: ir.Value, b: ir.Value) -> MatchResult:
        node = context.root
        weight = constant(b)
        if weight is None or constant(x) is not None:
            return self.refuse("its second factor is not constant", node)
        if node.attributes.get_int("transA", 0):
            return self.refuse("transA is set", node)
        if node.attributes.get_int("transB", 0):
            weight = weight.T
        self.weight = weight * node.attributes.get_float("alpha", 1.0)
        self.bias = np.zeros(weight.shape[1])
        if len(node.inputs) > 2 and node.inputs[2] is not None:
            bias = constant(node.inputs[2])
            if bias is None or bias.size not in (1, weight.shape[1]) or bias.shape[-1:] not in ((), (1,), self.bias.shape):
                return self.refuse("its bias is not a constant vector", node)
            self.bias = np.broadcast_to(bias.reshape(-1), self.bias.shape) * node.attributes.get_float("beta", 1.0)
        return self.accept()

    def rewrite(self, op: Any, x: ir.Value, b: ir.Value) -> ir.Value:
        return linear(op, x, self.weight, self.bias)


def per_channel(array: Array | None, width: int) -> Array | None:
    """A constant that is one number or one number a channel of the last axis, as a vector (width,); else None."""
    if array is None or array.dtype.kind != "f":
        return None
    if array.size == 1:
        return np.broadcast_to(array.reshape(-1), (width,))
    if array.size == width and array.shape[-1] == width:
        return array.reshape(-1)
    return None


class FoldIntoLinear(Rule):
    """``Linear(x) + c`` and ``Linear(x) * c``, c a number or one a channel, and no other user -> one Linear."""

    def __init__(self, op_type: str) -> None:
        super().__init__()
        self.op_type = op_type
        self.name = f"FoldIntoLinear{op_type}"

    def pattern(self, op: Any, a: Any, b: Any) -> Any:
        return getattr(op, self.op_type)(a, b)

    def check(self, context: Any, a: ir.Value, b: ir.Value) -> MatchResult:
        for value, other in ((a, b), (b, a)):
            node = produced_by(value, "Linear", DOMAIN)
            if node is None or consumers(value) != 1 or shape_of(value) != shape_of(context.root.outputs[0]):
                continue
            vector = per_channel(constant(other), shape_of(value)[-1])
            if vector is not None:
                self.node, self.vector = node, vector.astype(np.float64)
                return self.accept()
        return self.refuse("no operand is a Linear used once with a constant for each channel beside it")

    def rewrite(self, op: Any, a: ir.Value, b: ir.Value) -> ir.Value:
        x, weight, bias = self.node.inputs[0], constant(self.node.inputs[1]), constant(self.node.inputs[2])
        if x is None or weight is None or bias is None:
            raise AssertionError("a Linear without constant weight and bias")
        origin = origin_of(self.node.outputs[0])
        if self.op_type == "Add":
            return linear(op, x, weight, bias + self.vector, origin)
        return linear(op, x, weight * self.vector, bias * self.vector, origin)
