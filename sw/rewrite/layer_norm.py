"""LayerNormalization over the last axis: fused, or decomposed into mean, variance and reciprocal square root."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter.pattern import MatchResult

from edgeflow.sw.rewrite.base import (
    Rule,
    constant,
    consumers,
    initializer,
    integers,
    origin_of,
    produced_by,
    scalar,
    shape_of,
    typed,
)
from edgeflow.sw.rewrite.linear import per_channel


def layer_normalization(
    op: Any, x: ir.Value, scale: Any, bias: Any, epsilon: float, origin: dict[str, str] | None = None
) -> ir.Value:
    """LayerNormalization of ``x`` over its last axis with constant vectors ``scale`` and ``bias``."""
    value: ir.Value = op.LayerNormalization(
        x,
        initializer(np.asarray(scale, np.float32), "scale"),
        initializer(np.asarray(bias, np.float32), "bias"),
        axis=-1,
        epsilon=epsilon,
    )
    return typed(value, shape_of(x), x, origin)


def _mean_over_last(value: ir.Value | None) -> ir.Value | None:
    """x of ``ReduceMean(x, last axis, keepdims=1)``."""
    node = produced_by(value, "ReduceMean")
    if node is None or node.inputs[0] is None or not node.attributes.get_int("keepdims", 1):
        return None
    rank = len(shape_of(node.inputs[0]))
    axes = integers(node, "axes")
    return node.inputs[0] if axes in ((-1,), (rank - 1,)) else None


def _centred(value: ir.Value | None) -> ir.Value | None:
    """x of ``x - mean(x)``; also in the form ``x + (-1) * mean(x)``."""
    node = produced_by(value, "Sub")
    if node is not None and node.inputs[0] is not None and _mean_over_last(node.inputs[1]) is node.inputs[0]:
        return node.inputs[0]
    return None


def _squared(value: ir.Value | None) -> ir.Value | None:
    """d of ``d * d`` or ``d ** 2``."""
    node = produced_by(value, "Mul")
    if node is not None and node.inputs[0] is node.inputs[1]:
        return node.inputs[0]
    node = produced_by(value, "Pow")
    return node.inputs[0] if node is not None and scalar(node.inputs[1]) == 2.0 else None


def _deviation(value: ir.Value | None) -> tuple[ir.Value, float] | None:
    """(x, epsilon) of ``sqrt(mean((x - mean(x))**2) + epsilon)``."""
    root = produced_by(value, "Sqrt")
    if root is None:
        power = produced_by(value, "Pow")
        root = power if power is not None and scalar(power.inputs[1]) == 0.5 else None
    return None if root is None else _variance(root.inputs[0])


def _variance(value: ir.Value | None) -> tuple[ir.Value, float] | None:
    total = produced_by(value, "Add")
    if total is None:
        return None
    for variance, other in (total.inputs, total.inputs[::-1]):
        epsilon = scalar(other)
        squares = _mean_over_last(variance) if epsilon is not None else None
        x = None if squares is None else _centred(_squared(squares))
        if x is not None and epsilon is not None:
            return x, epsilon
    return None


class DecomposedLayerNorm(Rule):
    """``(x - mean) / sqrt(var + eps)``, or times the reciprocal of it -> LayerNormalization with unit scale, zero bias."""

    def __init__(self, op_type: str) -> None:
        super().__init__()
        self.op_type = op_type
        self.name = f"DecomposedLayerNorm{op_type}"

    def pattern(self, op: Any, a: Any, b: Any) -> Any:
        return getattr(op, self.op_type)(a, b)

    def check(self, context: Any, a: ir.Value, b: ir.Value) -> MatchResult:
        for centred, other in ((a, b),) if self.op_type == "Div" else ((a, b), (b, a)):
            x = _centred(centred)
            if x is None:
                continue
            found = _deviation(other) if self.op_type == "Div" else self._reciprocal(other)
            if found is not None and found[0] is x:
                self.x, self.epsilon = found
                return self.accept()
        return self.refuse("not a decomposed LayerNormalization")

    @staticmethod
    def _reciprocal(value: ir.Value) -> tuple[ir.Value, float] | None:
        node = produced_by(value, "Reciprocal")
        if node is not None:
            return _deviation(node.inputs[0])
        node = produced_by(value, "Pow")
        if node is not None and scalar(node.inputs[1]) == -0.5:
            return _variance(node.inputs[0])
        node = produced_by(value, "Div")
        return _deviation(node.inputs[1]) if node is not None and scalar(node.inputs[0]) == 1.0 else None

    def rewrite(self, op: Any, a: ir.Value, b: ir.Value) -> ir.Value:
        width = shape_of(self.x)[-1]
        return layer_normalization(op, self.x, np.ones(width), np.zeros(width), self.epsilon)


class FusedLayerNorm(Rule):
    """LayerNormalization with its axis written otherwise or without bias -> axis -1, scale and bias vectors."""

    def pattern(self, op: Any, x: Any, scale: Any) -> Any:
        return op.LayerNormalization(x, scale, _allow_other_inputs=True)

    def check(self, context: Any, x: ir.Value, scale: ir.Value) -> MatchResult:
        node = context.root
        shape = shape_of(x)
        axis = node.attributes.get_int("axis", -1)
        if axis % len(shape) != len(shape) - 1:
            return self.refuse("it normalizes over more than the last axis", node)
        if len(node.outputs) > 1 and any(consumers(extra) for extra in node.outputs[1:]):
            return self.refuse("its mean or deviation output is used", node)
        gain = per_channel(constant(scale), shape[-1])
        has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
        bias = per_channel(constant(node.inputs[2]), shape[-1]) if has_bias else np.zeros(shape[-1])
        if gain is None or bias is None:
            return self.refuse("its scale or bias is not a constant vector", node)
        canonical = has_bias and axis == -1 and len(node.outputs) == 1 and {"axis", "epsilon"} == set(node.attributes)
        if canonical and gain.shape == shape_of(scale) and node.inputs[2] is not None and bias.shape == shape_of(node.inputs[2]):
            return self.refuse("already canonical")
        self.gain, self.bias, self.epsilon = gain, bias, node.attributes.get_float("epsilon", 1e-5)
        return self.accept()

    def rewrite(self, op: Any, x: ir.Value, scale: ir.Value) -> ir.Value:
        return layer_normalization(op, x, self.gain, self.bias, self.epsilon)


class FoldIntoLayerNorm(Rule):
    """``LayerNormalization(x) * c`` and ``+ c`` with one constant a channel and no other user -> its scale and bias."""

    def __init__(self, op_type: str) -> None:
        super().__init__()
        self.op_type = op_type
        self.name = f"FoldIntoLayerNorm{op_type}"

    def pattern(self, op: Any, a: Any, b: Any) -> Any:
        return getattr(op, self.op_type)(a, b)

    def check(self, context: Any, a: ir.Value, b: ir.Value) -> MatchResult:
        for value, other in ((a, b), (b, a)):
            node = produced_by(value, "LayerNormalization")
            if node is None or consumers(value) != 1 or shape_of(value) != shape_of(context.root.outputs[0]):
                continue
            vector = per_channel(constant(other), shape_of(value)[-1])
            if vector is not None and len(node.inputs) == 3:
                self.node, self.vector = node, vector.astype(np.float64)
                return self.accept()
        return self.refuse("no operand is a LayerNormalization used once with a constant for each channel beside it")

    def rewrite(self, op: Any, a: ir.Value, b: ir.Value) -> ir.Value:
        x, scale, bias = self.node.inputs[0], constant(self.node.inputs[1]), constant(self.node.inputs[2])
        if x is None or scale is None or bias is None:
            raise AssertionError("a LayerNormalization without constant scale and bias")
        if self.op_type == "Mul":
            scale, bias = scale * self.vector, bias * self.vector
        else:
            bias = bias + self.vector
        epsilon = self.node.attributes.get_float("epsilon", 1e-5)
        return layer_normalization(op, x, scale, bias, epsilon, origin_of(self.node.outputs[0]))
