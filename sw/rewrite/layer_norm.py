"""LayerNormalization over the last axis: fused, or decomposed into mean, variance and reciprocal square root."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeflow.hw.arrays import Array
from edgeflow.sw.rewrite.base import (
    Refused,
    Rule,
    constant,
    consumers,
    either_order,
    initializer,
    operands,
    origin_of,
    plus_number,
    produced_by,
    reduced_axes,
    scalar,
    shape_of,
    typed,
)
from edgeflow.sw.rewrite.linear import Beside, Layer, layer_beside, per_channel


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
    return node.inputs[0] if reduced_axes(node) == (len(shape_of(node.inputs[0])) - 1,) else None


def _centred(value: ir.Value | None) -> ir.Value | None:
    """x of ``x - mean(x)``."""
    both = operands(produced_by(value, "Sub"))
    return both[0] if both is not None and _mean_over_last(both[1]) is both[0] else None


def _power(value: ir.Value | None, exponent: float) -> ir.Value | None:
    """x of ``x ** exponent``."""
    both = operands(produced_by(value, "Pow"))
    return both[0] if both is not None and scalar(both[1]) == exponent else None


def _squared(value: ir.Value | None) -> ir.Value | None:
    """d of ``d * d`` or ``d ** 2``."""
    both = operands(produced_by(value, "Mul"))
    return both[0] if both is not None and both[0] is both[1] else _power(value, 2.0)


def _variance(value: ir.Value | None) -> tuple[ir.Value, float] | None:
    """(x, epsilon) of ``mean((x - mean(x))**2) + epsilon``."""
    total = plus_number(value)
    x = None if total is None else _centred(_squared(_mean_over_last(total[0])))
    return None if total is None or x is None else (x, total[1])


def _deviation(value: ir.Value | None) -> tuple[ir.Value, float] | None:
    """(x, epsilon) of the square root of such a variance."""
    root = produced_by(value, "Sqrt")
    return _variance(_power(value, 0.5) if root is None else root.inputs[0])


def _reciprocal(value: ir.Value | None) -> tuple[ir.Value, float] | None:
    """(x, epsilon) of one over such a root."""
    node = produced_by(value, "Reciprocal")
    if node is not None:
        return _deviation(node.inputs[0])
    both = operands(produced_by(value, "Div"))
    if both is not None:
        return _deviation(both[1]) if scalar(both[0]) == 1.0 else None
    return _variance(_power(value, -0.5))


@dataclasses.dataclass(frozen=True)
class Normalization:
    """LayerNormalization of x over its last axis, with what follows it for each channel."""

    x: ir.Value
    scale: Array
    bias: Array
    epsilon: float


class _Decomposed(Rule[Normalization]):
    """A form of ``(x - mean) / sqrt(var + eps)`` -> LayerNormalization with unit scale, zero bias."""

    def check(self, root: ir.Node, a: ir.Value, b: ir.Value) -> Normalization | Refused:
        for centred, deviation in self.readings(root):
            if deviation is not None and _centred(centred) is deviation[0]:
                x, epsilon = deviation
                width = shape_of(x)[-1]
                return Normalization(x, np.ones(width), np.zeros(width), epsilon)
        return self.refuse("not a decomposed LayerNormalization")

    @abstractmethod
    def readings(self, root: ir.Node) -> Iterator[tuple[ir.Value, tuple[ir.Value, float] | None]]:
        """Candidates for ``x - mean``, each with the (x, epsilon) of its divisor."""

    def rewrite(self, op: Any, match: Normalization) -> ir.Value:
        return layer_normalization(op, match.x, match.scale, match.bias, match.epsilon)


class DividedLayerNorm(_Decomposed):
    """Divided by the deviation."""

    def __init__(self) -> None:
        super().__init__("DecomposedLayerNormDiv")

    def pattern(self, op: Any, a: Any, b: Any) -> Any:
        return op.Div(a, b)

    def readings(self, root: ir.Node) -> Iterator[tuple[ir.Value, tuple[ir.Value, float] | None]]:
        both = operands(root)
        if both is not None:
            yield both[0], _deviation(both[1])


class MultipliedLayerNorm(_Decomposed):
    """Times the reciprocal of the deviation."""

    def __init__(self) -> None:
        super().__init__("DecomposedLayerNormMul")

    def pattern(self, op: Any, a: Any, b: Any) -> Any:
        return op.Mul(a, b)

    def readings(self, root: ir.Node) -> Iterator[tuple[ir.Value, tuple[ir.Value, float] | None]]:
        return ((centred, _reciprocal(other)) for centred, other in either_order(root))


class FusedLayerNorm(Rule[Normalization]):
    """LayerNormalization with its axis written otherwise or without bias -> axis -1, scale and bias vectors."""

    def pattern(self, op: Any, x: Any, scale: Any) -> Any:
        return op.LayerNormalization(x, scale, _allow_other_inputs=True)

    def check(self, node: ir.Node, x: ir.Value, scale: ir.Value) -> Normalization | Refused:
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
        return Normalization(x, gain, bias, node.attributes.get_float("epsilon", 1e-5))

    def rewrite(self, op: Any, match: Normalization) -> ir.Value:
        return layer_normalization(op, match.x, match.scale, match.bias, match.epsilon)


class FoldIntoLayerNorm(Rule[Layer]):
    """``LayerNormalization(x) * c`` and ``+ c`` with one constant a channel and no other user -> its scale and bias."""

    def __init__(self, beside: Beside) -> None:
        super().__init__(f"FoldIntoLayerNorm{beside.op_type}")
        self.beside = beside

    def pattern(self, op: Any, a: Any, b: Any) -> Any:
        return getattr(op, self.beside.op_type)(a, b)

    def check(self, root: ir.Node, a: ir.Value, b: ir.Value) -> Layer | Refused:
        reason = "no operand is a LayerNormalization used once with a constant for each channel beside it"
        return layer_beside(root, "LayerNormalization") or self.refuse(reason)

    def rewrite(self, op: Any, match: Layer) -> ir.Value:
        scale, bias = self.beside.fold(*match.weight_and_bias, match.vector)
        epsilon = match.node.attributes.get_float("epsilon", 1e-5)
        return layer_normalization(op, match.x, scale, bias, epsilon, origin_of(match.node.outputs[0]))
