"""Linear layers: products with constant weights, with the activation function or the addition that the layer absorbs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import onnx_ir as ir

from edgeflow.hw.arrays import Array, Real
from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.graph import Attribute, Node, QType
from edgeflow.quant.canonical.base import (
    Commutes,
    Constants,
    FloatOperator,
    Operand,
    Shape,
    Training,
    operator,
    parameter,
    register,
)
from edgeflow.quant.canonical.contexts import Conversion, Export, Formats, Wanted
from edgeflow.quant.canonical.sketch import Sketch
from edgeflow.quant.formats.interpretation import Demand, HeadPadding, Interpretation
from edgeflow.quant.formats.prequantized import fixed_format, words
from edgeflow.quant.formats.statistics import Statistics
from edgeflow.quant.integers.heads import pad_outputs, pad_qtype
from edgeflow.quant.integers.parameters import fixed_parameters, linear_parameters, plain_attributes
from edgeflow.quant.nodes import DOMAIN

if TYPE_CHECKING:
    from torch import Tensor


class LinearLayer(FloatOperator):
    """What linear layers share: ``y = rows(x) matrix(weight)^T + bias``, in the array."""

    domain = DOMAIN
    constants = Constants.FIXED
    training = Training.LAYER
    weighted = True
    output_axis: ClassVar[int]
    """Axis of the weight along which its output channels lie."""

    @staticmethod
    @abstractmethod
    def matrix(weight: Array) -> Array:
        """The weight as a matrix ``(K, N)``."""

    @staticmethod
    @abstractmethod
    def weight_of(matrix: Array, shape: tuple[int, ...]) -> Array:
        """A matrix ``(K, N)`` as a weight of ``shape``."""

    @abstractmethod
    def torch_rows(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """What is multiplied with the matrix of a weight of ``shape``: rows ``(batch, n, K)`` of the input."""

    @abstractmethod
    def source(self, context: Conversion, name: str) -> tuple[str, Interpretation]:
        """The integer tensor whose rows the array reads, and what it stands for; ``name`` is the layer's output."""

    @abstractmethod
    def input_mean(self, statistics: Mapping[str, Statistics], columns: int) -> Real:
        """Mean ``(K,)`` of each of the columns of the real input."""

    @abstractmethod
    def input_power(self, statistics: Mapping[str, Statistics], columns: int) -> Real:
        """Mean square ``(K,)`` of each of the columns of the real input."""

    def torch_matrix(self, weight: Tensor) -> Tensor:
        """The weight as a matrix ``(K, N)``, differentiable."""
        return weight if weight.ndim == 2 else weight.reshape(weight.shape[0], -1).T

    def torch(self, *operands: Tensor) -> Tensor:
        x, weight, bias = operands
        return self.torch_product(self.torch_rows(x, tuple(weight.shape)), weight, bias)

    def torch_product(self, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The product of rows ``(batch, n, K)`` with a weight, plus the bias."""
        return rows @ self.torch_matrix(weight) + bias

    def check(self, shape: Shape) -> str | None:
        return None

    def make(self, plan: Formats, wanted: Wanted) -> Interpretation:
        if not wanted.narrow:
            return Interpretation(plan.stream(wanted.name))
        return plan.uniform(wanted.name) if wanted.one_scale else plan.per_channel(wanted.name)

    def make_apart(self, plan: Formats, name: str) -> Interpretation:
        return Interpretation(plan.stream(name))

    def provides(self, plan: Formats, qtype: QType) -> bool:
        return True

    def export(self, export: Export, maker: Node | None) -> list[str] | str:
        if maker is None:
            return [export.operand(self.node, index) for index in range(3)]
        return [export.operand(self.node, 0), *export.layer_parameters(self.node, maker)]

    def convert(self, context: Conversion) -> None:
        """A layer that nothing absorbs."""
        if context.absorbed(self.output):
            return
        chosen, padding, use = context.chosen(self.output), None, context.reader(self.output)
        if use is not None and operator(use.node).demand(use.index) is Demand.ATTENTION:
            formats = context.attention(use.node)
            if (formats.query, formats.key, formats.value)[use.index] is chosen:  # or attention makes a copy, and pads that
                padding = context.head_padding(use.node, use.index)
        inputs, attributes = self.integer_layer(context, self.output, chosen, padding=padding)
        out = chosen.qtype if padding is None else pad_qtype(chosen.qtype, padding)
        positions = None if padding is None else padding.positions
        context.set(self.output, context.add_node("linear", inputs, self.output, out, self.origin, attributes), positions)

    def integer_layer(
        self,
        context: Conversion,
        name: str,
        out: Interpretation,
        extra: Real | None = None,
        padding: HeadPadding | None = None,
        residual: tuple[str, str] | None = None,
        table: bool = False,
    ) -> tuple[list[str], dict[str, Attribute]]:
        """Inputs and attributes of the integer layer; ``extra`` is added to its bias, ``padding`` spreads its outputs, ``residual``
        is the tensor that is added to them and the float value that it stands for; ``table``: ``out`` describes indices of a
        table."""
        weight, bias = self.matrix(context.parameter(self.node, 1)), context.parameter(self.node, 2)
        if extra is not None:
            bias = bias + extra
        x, operand = self.source(context, name)
        bits, weight_format, options = context.weight_bits(self.node), fixed_format(self.node, 1), context.config.at(self.output)
        seen = context.moments(self.node, x, operand, out, extra, residual)
        if weight_format is not None:
            folded = weight * operand.qtype.scales[:, None] if isinstance(operand.qtype.scale, tuple) else weight
            parameters = fixed_parameters(
                words(folded, weight_format, 1, self.origin), weight_format, bias, operand, out, options, table
            )
            if not parameters.multiplier.all():
                raise UnsupportedError(
                    f"{self.origin}: the scales of its weights reach from {weight_format.scales.min():g} to"
                    f" {weight_format.scales.max():g}, too far apart for multipliers with one shift"
                )
        else:
            columns, statistics = len(weight), context.statistics
            power = self.input_mean(statistics, columns), self.input_power(statistics, columns)
            parameters = linear_parameters(weight, bias, operand, power, out, bits, options, seen, table)
        if parameters.errors is not None:
            context.note_layer(self.output, parameters.errors)
        integers, offsets, multiplier = parameters.weight, parameters.bias, parameters.multiplier
        positions = context.channels(self.input(0))
        if positions is not None:
            integers = np.zeros((len(parameters.weight), context.type(x).shape[-1]), dtype=np.int64)
            integers[:, positions] = parameters.weight
        if padding is not None:
            integers, offsets, multiplier = pad_outputs(integers, offsets, multiplier, padding)
        inputs = [
            x,
            context.add_constant(f"{name}/weight", integers, bits),
            context.add_constant(f"{name}/bias", offsets, 32),
            context.add_constant(f"{name}/multiplier", multiplier, 32),
        ]
        return inputs, plain_attributes(parameters.shift, out.qtype.rounding)


def linear_layer(node: ir.Node) -> LinearLayer:
    """The linear layer that a node is."""
    layer = operator(node)
    assert isinstance(layer, LinearLayer)
    return layer


@register
class Linear(LinearLayer):
    """``x (batch, ..., K)`` times ``weight (K, N)`` plus ``bias (N,)``."""

    name = "Linear"
    description = "x (batch, ..., K) times weight (K, N) plus bias (N,)"
    operands = (Operand("x", Demand.NARROW), parameter("weight"), parameter("bias"))
    attributes = ()
    bodies: ClassVar[Mapping[str, str]] = {
        "": """(x, weight, bias) => (y) {
            product = MatMul(x, weight)
            y = Add(product, bias)
        }"""
    }
    commutes = Commutes.ROWS
    any_scales = True
    classifies = True
    output_axis = 1

    @staticmethod
    def matrix(weight: Array) -> Array:
        return weight

    @staticmethod
    def weight_of(matrix: Array, shape: tuple[int, ...]) -> Array:
        return matrix

    def demand(self, index: int) -> Demand:
        if index == 0 and fixed_format(self.node, 1) is not None:  # given weights cannot fold scales
            return Demand.NARROW_UNIFORM
        return super().demand(index)

    def torch_rows(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        return x

    @classmethod
    def example(cls, sketch: Sketch) -> None:
        x = sketch.linear(sketch.input(7, 24), 24, 40)
        sketch.output(sketch.linear(x, 40, 9), 7, 9)

    def source(self, context: Conversion, name: str) -> tuple[str, Interpretation]:
        return context.narrow(self.input(0), self.node)

    def input_mean(self, statistics: Mapping[str, Statistics], columns: int) -> Real:
        return statistics[self.input(0)].mean

    def input_power(self, statistics: Mapping[str, Statistics], columns: int) -> Real:
        power: Real = np.square(statistics[self.input(0)].rows).mean(axis=0, dtype=np.float64)
        return power


@register
class PatchEmbed(LinearLayer):
    """``image (batch, C, H, W)`` by ``weight (D, C, kh, kw)``, whose kernel is its stride, plus ``bias (D,)``."""

    name = "PatchEmbed"
    description = (
        "image (batch, C, H, W) by weight (D, C, kh, kw), stride = kernel, plus bias (D,): (batch, tokens, D), tokens row by row"
    )
    operands = (Operand("image", Demand.NARROW_UNIFORM), parameter("weight"), parameter("bias"))
    attributes = ("kernel",)
    bodies: ClassVar[Mapping[str, str]] = {
        "": """<kernel> (image, weight, bias) => (y) {
            grid = Conv <strides: ints = @kernel> (image, weight, bias)
            shape = Constant <value_ints = [0, 0, -1]> ()
            flat = Reshape (grid, shape)
            y = Transpose <perm = [0, 2, 1]> (flat)
        }"""
    }
    commutes = Commutes.NO
    output_axis = 0

    @staticmethod
    def matrix(weight: Array) -> Array:
        """Rows in the order (channel, ky, kx) of the patches."""
        return weight.reshape(len(weight), -1).T

    @staticmethod
    def weight_of(matrix: Array, shape: tuple[int, ...]) -> Array:
        return matrix.T.reshape(shape)

    def torch_rows(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        return patches(x, *shape[2:])

    @classmethod
    def example(cls, sketch: Sketch) -> None:
        weight, bias = sketch.normal(20, 2, 4, 3, scale=24**-0.5), sketch.normal(20, scale=0.3)
        tokens = sketch.node(cls.name, sketch.input(2, 8, 12), weight, bias, kernel=[4, 3])
        sketch.output(sketch.linear(tokens, 20, 9), 8, 9)

    def source(self, context: Conversion, name: str) -> tuple[str, Interpretation]:
        """Patches of the image, which has one scale."""
        source, kernel = self.input(0), context.parameter(self.node, 1).shape[2:]
        image, image_format = context.tensor(source), fixed_format(self.node, 0)
        if image_format is not None:
            image = (
                image if context.qtype(image) == image_format else context.copy(source, image_format, f"{source}/given", self.node)
            )
        elif context.qtype(image).bits > 8 or not isinstance(context.qtype(image).scale, float):
            qtype = QType(context.activation_bits(source), True, 1.0)
            scale = float(context.statistics[source].magnitude.max()) / qtype.maximum or 1.0
            image = context.copy(source, replace(qtype, scale=scale), f"{source}/narrow", self.node)
        attributes: dict[str, Attribute] = {"kernel_h": int(kernel[0]), "kernel_w": int(kernel[1])}
        patches = context.add_node("patches", [image], f"{name}/patches", context.qtype(image), self.origin, attributes)
        return patches, Interpretation(context.qtype(patches))

    def input_mean(self, statistics: Mapping[str, Statistics], columns: int) -> Real:
        return np.full(columns, statistics[self.input(0)].mean.mean())

    def input_power(self, statistics: Mapping[str, Statistics], columns: int) -> Real:
        return np.full(columns, float(np.square(statistics[self.input(0)].rows).mean()))


def patches(image: Tensor, kh: int, kw: int) -> Tensor:
    """Patches ``(batch, tokens, C * kh * kw)`` of ``image (batch, C, H, W)``, row by row."""
    batch, c, height, width = image.shape
    rows, columns = height // kh, width // kw
    x = image[:, :, : rows * kh, : columns * kw].reshape(batch, c, rows, kh, columns, kw)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows * columns, c * kh * kw)
