"""Additions and multiplications of two tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgeflow.hw.arithmetic import dyadic
from edgeflow.hw.graph import Node, QType
from edgeflow.quant.canonical.base import Commutes, Constants, FloatOperator, Operand, Shape, register, sizes
from edgeflow.quant.canonical.contexts import Conversion, Export
from edgeflow.quant.canonical.linear import LinearLayer
from edgeflow.quant.canonical.sketch import Sketch
from edgeflow.quant.canonical.stream import StreamOperator
from edgeflow.quant.formats.interpretation import Interpretation
from edgeflow.quant.integers.parameters import ratio

if TYPE_CHECKING:
    from torch import Tensor


class Pair(StreamOperator):
    """What elementwise operators of two tensors share."""

    description = "two activations of one shape, or one and a constant broadcast to it"
    operands = (Operand("a", constant=None), Operand("b", constant=None))
    commutes = Commutes.ELEMENTS
    constants = Constants.BROADCAST

    @classmethod
    def example(cls, sketch: Sketch) -> None:
        """Of two activations, of one that a linear layer makes, and with constants: of tokens, of channels, a number."""
        x, y = sketch.input(6, 16), sketch.input(6, 16)
        z = sketch.node(cls.name, x, y)
        z = sketch.node(cls.name, z, sketch.linear(z, 16, 16))
        z = sketch.node(cls.name, z, sketch.normal(6, 16))
        z = sketch.node(cls.name, sketch.normal(16), z)
        sketch.output(sketch.node(cls.name, z, sketch.constant(np.array(0.7, np.float32))), 6, 16)

    def check(self, shape: Shape) -> str | None:
        shapes = [() if value is None or value.shape is None else sizes(value.shape) for value in self.node.inputs]
        for value, operand_shape in zip(self.node.inputs, shapes, strict=True):
            if value is None:
                continue
            if value.const_value is None:
                if operand_shape != shape:
                    return f"its operands have shapes {shapes[0]} and {shapes[1]}"
            elif len(value.const_value.shape) >= len(shape) and value.const_value.shape[0] != 1:
                return "its constant differs between samples"
        return None


@register
class Add(Pair):
    """``a + b``."""

    name = "Add"
    fuses = True
    sums = True

    def torch(self, *operands: Tensor) -> Tensor:
        a, b = operands
        return a + b

    def export(self, export: Export, maker: Node | None) -> list[str] | str:
        if maker is None or maker.op != "linear":
            return super().export(export, maker)
        kept = [i for i in range(2) if export.absorbed(self.input(i)) or maker.attributes["has_residual"]]
        operands = [export.exact(name) if export.absorbed(name := self.input(i)) else export.operand(self.node, i) for i in kept]
        return operands if len(operands) > 1 else operands[0]  # the constant is in the layer's bias

    def convert(self, context: Conversion) -> None:
        """An addition that no linear layer absorbed: both operands are requantized onto the output's grid."""
        (name, out), shape = context.sum_format(self.output), context.statistics[self.output].shape
        bits = context.config.short_multiplier_bits
        a, b = (context.operand(self.input(i), shape, self.node, f"{self.output}/operand") for i in range(2))
        if context.words(a) is not None:
            a, b = b, a
        multiplier_a, shift_a = ratio(context.qtype(a), out, bits)
        multiplier_b, shift_b = ratio(context.qtype(b), out, bits)
        attributes = {"multiplier_a": multiplier_a, "shift_a": shift_a, "multiplier_b": multiplier_b, "shift_b": shift_b}
        tensor = context.add_node("add", [a, b], name, out, self.origin, attributes)
        context.set(self.output, context.rounded_sum(self.output, tensor, self.node))

    def convert_fused(self, layer: FloatOperator, context: Conversion) -> None:
        """An addition in the epilogue of the linear layer that makes one operand."""
        assert isinstance(layer, LinearLayer)
        value = self.output
        other = next(name for i in range(2) if (name := self.input(i)) != layer.output)
        shape = context.statistics[value].shape
        array = context.constant(other, shape)
        name, out = value, context.chosen(value).qtype
        if array is not None and array.ndim <= 1:
            # The same for every row: part of the bias.
            inputs, attributes = layer.integer_layer(context, value, Interpretation(out), array)
        else:
            residual = context.operand(other, shape, self.node, f"{value}/residual", whole=True)
            fixed = context.words(residual) is not None
            name, out = context.sum_format(value)
            pair = None if fixed else (residual, other)
            inputs, attributes = layer.integer_layer(context, value, Interpretation(out), residual=pair)
            multiplier, shift = ratio(context.qtype(residual), out, context.config.short_multiplier_bits)
            inputs.append(residual)
            attributes |= {"has_residual": True, "residual_multiplier": multiplier, "residual_shift": shift}
        tensor = context.add_node("linear", inputs, name, out, layer.origin, attributes)
        context.set(value, context.rounded_sum(value, tensor, self.node))


@register
class Mul(Pair):
    """``a * b``."""

    name = "Mul"

    def torch(self, *operands: Tensor) -> Tensor:
        a, b = operands
        return a * b

    def convert(self, context: Conversion) -> None:
        """A product: by one number or one number a channel it is a requantization, else elementwise."""
        output = self.output
        out, shape = context.chosen(output).qtype, context.statistics[output].shape
        names = [self.input(i) for i in range(2)]
        constants = [context.constant(name, shape) for name in names]
        for factor, other in zip(constants, reversed(names), strict=True):
            if factor is not None and (factor.size == 1 or factor.shape == shape[-1:]):
                stream = context.stream(other, self.node)
                context.set(output, context.requantize(stream, out, output, self.origin, factor.reshape(-1)))
                return
        a, b = (context.operand(name, shape, self.node, f"{output}/operand") for name in names)
        if context.words(a) is not None:
            a, b = b, a
        product = float(context.qtype(a).scales) * float(context.qtype(b).scales)
        multiplier, shift = dyadic(np.float64(product / float(out.scales)), context.config.short_multiplier_bits)
        attributes = {"multiplier": int(multiplier), "shift": shift}
        context.set(output, context.add_node("multiply", [a, b], output, out, self.origin, attributes))


class Extreme(Pair):
    """What the larger and the smaller of two tensors share: ``max(a, b) = b + relu(a - b)``, ``min(a, b) = b - relu(b - a)``.

    The rectifier is the saturation of an unsigned format, on the grid of the output."""

    places_operands = True
    larger: ClassVar[bool]

    def convert(self, context: Conversion) -> None:
        (name, out), shape = context.sum_format(self.output), context.statistics[self.output].shape
        a, b = (context.operand(self.input(i), shape, self.node, f"{self.output}/operand") for i in range(2))
        if context.words(a) is not None:
            a, b = b, a
        bits, sign = context.config.short_multiplier_bits, 1 if self.larger else -1
        (multiplier_a, shift_a), (multiplier_b, shift_b) = (ratio(context.qtype(tensor), out, bits) for tensor in (a, b))
        excess = {"multiplier_a": sign * multiplier_a, "shift_a": shift_a, "multiplier_b": -sign * multiplier_b, "shift_b": shift_b}
        apart = QType(out.bits, False, float(out.scales))
        above = context.add_node("add", [a, b], f"{self.output}/excess", apart, self.origin, excess)
        unit, shift = ratio(apart, out, bits)
        total = {"multiplier_a": sign * unit, "shift_a": shift, "multiplier_b": multiplier_b, "shift_b": shift_b}
        tensor = context.add_node("add", [above, b], name, out, self.origin, total)
        context.set(self.output, context.rounded_sum(self.output, tensor, self.node))

    def integer_operand(self, index: int, maker: Node, makers: Mapping[str, Node]) -> str | None:
        first = self.node.inputs[0]
        swapped = first is not None and first.const_value is not None
        return maker.inputs[1] if (index == 1) != swapped else makers[maker.inputs[0]].inputs[0]


@register
class Max(Extreme):
    """The larger of two."""

    name = "Max"
    larger = True

    def torch(self, *operands: Tensor) -> Tensor:
        return operands[0].maximum(operands[1])


@register
class Min(Extreme):
    """The smaller of two."""

    name = "Min"
    larger = False

    def torch(self, *operands: Tensor) -> Tensor:
        return operands[0].minimum(operands[1])
