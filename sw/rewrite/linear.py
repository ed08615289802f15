"""Matrix products with a constant become ``edgeflow::Linear``; biases and scales beside it are folded into it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeflow.hw.arrays import Array
from edgeflow.sw.rewrite.base import (
    DOMAIN,
    Refused,
    Rule,
    constant,
    consumers,
    either_order,
    operand,
    origin_of,
    produced_by,
    shape_of,
)
from edgeflow.sw.rewrite.view import linear


@dataclasses.dataclass(frozen=True)
class Affine:
    """``x @ weight + bias``."""

    x: ir.Value
    weight: Array
    bias: Array


class MatMulToLinear(Rule[Affine]):
    """``MatMul(x, W)`` with a constant matrix W -> ``Linear(x, W, 0)``."""

    def pattern(self, op: Any, x: Any, w: Any) -> Any:
        return op.MatMul(x, w)

    def check(self, root: ir.Node, x: ir.Value, w: ir.Value) -> Affine | Refused:
        if constant(x) is not None:
            return self.refuse("the constant matrix is on the left of the product", root)
        weight = constant(w)
        if weight is None:
            return self.refuse("both factors depend on the input and the product is not part of an attention")
        while weight.ndim > 2 and weight.shape[0] == 1:
            weight = weight[0]
        if weight.ndim != 2 or len(shape_of(x)) < 2:
            return self.refuse(f"the constant factor has shape {weight.shape}, a matrix is needed", root)
        if len(shape_of(root.outputs[0])) != len(shape_of(x)):
            return self.refuse("the constant factor adds axes to the product", root)
        return Affine(x, weight, np.zeros(weight.shape[1]))

    def rewrite(self, op: Any, match: Affine) -> ir.Value:
        return linear(op, match.x, match.weight, match.bias)


class GemmToLinear(Rule[Affine]):
    """``Gemm(x, B, C)`` with constant B and C -> ``Linear``; transposition, alpha and beta go into weight and bias."""

    def pattern(self, op: Any, x: Any, b: Any) -> Any:
        return op.Gemm(x, b, _allow_other_inputs=True)

    def check(self, node: ir.Node, x: ir.Value, b: ir.Value) -> Affine | Refused:
        weight = constant(b)
        if weight is None or constant(x) is not None:
            return self.refuse("its second factor is not constant", node)
        if node.attributes.get_int("transA", 0):
            return self.refuse("transA is set", node)
        if node.attributes.get_int("transB", 0):
            weight = weight.T
        bias = np.zeros(weight.shape[1])
        if len(node.inputs) > 2 and node.inputs[2] is not None:
            vector = per_channel(constant(node.inputs[2]), weight.shape[1])
            if vector is None:
                return self.refuse("its bias is not a constant vector", node)
            bias = vector * node.attributes.get_float("beta", 1.0)
        return Affine(x, weight * node.attributes.get_float("alpha", 1.0), bias)

    def rewrite(self, op: Any, match: Affine) -> ir.Value:
        return linear(op, match.x, match.weight, match.bias)


def per_channel(array: Array | None, width: int) -> Array | None:
    """A constant that is one number or one number a channel of the last axis, as a vector (width,); else None."""
    if array is None or array.dtype.kind != "f":
        return None
    if array.size == 1:
        return np.broadcast_to(array.reshape(-1), (width,))
    if array.size == width and array.shape[-1] == width:
        return array.reshape(-1)
    return None


@dataclasses.dataclass(frozen=True)
class Beside:
    """What stands beside a layer with a weight and a bias for each channel, and goes into them: ``op_type`` of its output and a
    constant, and ``fold`` of weight, bias and that constant, which gives the new weight and bias."""

    op_type: str
    fold: Callable[[Array, Array, Array], tuple[Array, Array]]


ADDED = Beside("Add", lambda weight, bias, vector: (weight, bias + vector))
MULTIPLIED = Beside("Mul", lambda weight, bias, vector: (weight * vector, bias * vector))


@dataclasses.dataclass(frozen=True)
class Layer:
    """A node with x, constant weight and constant bias, and the constant of each channel beside it, in float64."""

    node: ir.Node
    vector: Array

    @property
    def x(self) -> ir.Value:
        return operand(self.node, 0)

    @property
    def weight_and_bias(self) -> tuple[Array, Array]:
        weight, bias = constant(operand(self.node, 1)), constant(operand(self.node, 2))
        if weight is None or bias is None:
            raise AssertionError(f"a {self.node.op_type} without constant weight and bias")
        return weight, bias


def layer_beside(root: ir.Node, op_type: str, domain: str = "") -> Layer | None:
    """The layer with weight and bias that ``root`` alone reads, with one constant a channel as the other operand."""
    for value, other in either_order(root):
        node = produced_by(value, op_type, domain=domain)
        if node is None or consumers(value) != 1 or shape_of(value) != shape_of(root.outputs[0]):
            continue
        vector = per_channel(constant(other), shape_of(value)[-1])
        if vector is not None and len(node.inputs) == 3:
            return Layer(node, vector.astype(np.float64))
    return None


class FoldIntoLinear(Rule[Layer]):
    """``Linear(x) + c`` and ``Linear(x) * c``, c a number or one a channel, and no other user -> one Linear."""

    def __init__(self, beside: Beside) -> None:
        super().__init__(f"FoldIntoLinear{beside.op_type}")
        self.beside = beside

    def pattern(self, op: Any, a: Any, b: Any) -> Any:
        return getattr(op, self.beside.op_type)(a, b)

    def check(self, root: ir.Node, a: ir.Value, b: ir.Value) -> Layer | Refused:
        reason = "no operand is a Linear used once with a constant for each channel beside it"
        return layer_beside(root, "Linear", DOMAIN) or self.refuse(reason)

    def rewrite(self, op: Any, match: Layer) -> ir.Value:
        weight, bias = self.beside.fold(*match.weight_and_bias, match.vector)
        return linear(op, match.x, weight, bias, origin_of(match.node.outputs[0]))
