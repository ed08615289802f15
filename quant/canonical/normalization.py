"""Layer normalization and the final softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.graph import Node, QType
from edgeflow.hw.interpolation import MAXIMUM_INTERPOLATION_BITS, MAXIMUM_PROBABILITY_BITS, MAXIMUM_TABLE_BITS, exponent_knots
from edgeflow.hw.ops.layernorm import layernorm_parameters
from edgeflow.hw.ops.softmax import softmax_parameters, widest_probability
from edgeflow.quant.canonical.base import Commutes, Operand, Scaling, Shape, parameter, register
from edgeflow.quant.canonical.contexts import Conversion, Export, Formats, Wanted
from edgeflow.quant.canonical.sketch import Sketch
from edgeflow.quant.canonical.stream import StreamOperator
from edgeflow.quant.formats.interpretation import Interpretation

if TYPE_CHECKING:
    from torch import Tensor


@register
class LayerNormalization(StreamOperator):
    """Over the last axis, with scale and bias ``(D,)``."""

    name = "LayerNormalization"
    description = "over the last axis, scale and bias (D,)"
    operands = (Operand("x"), parameter("scale"), parameter("bias"))
    attributes = ("axis", "epsilon")
    commutes = Commutes.ROWS
    scaling = Scaling.AFFINE
    signed_only = True

    def make(self, plan: Formats, wanted: Wanted) -> Interpretation:
        if not wanted.narrow:
            return Interpretation(plan.stream(wanted.name))
        return plan.uniform(wanted.name) if wanted.one_scale else plan.per_channel(wanted.name)

    def provides(self, plan: Formats, qtype: QType) -> bool:
        return True

    def export(self, export: Export, maker: Node | None) -> list[str] | str:
        return [export.operand(self.node, 0), export.operand(self.node, 1), export.shifted_bias(self.node, 2)]

    @classmethod
    def example(cls, sketch: Sketch) -> None:
        x = sketch.input(6, 24)
        scale, bias = sketch.constant((sketch.rng.random(24) + 0.5).astype(np.float32)), sketch.normal(24, scale=0.3)
        normal = sketch.node(cls.name, x, scale, bias, axis=-1, epsilon=1e-5)
        sketch.output(sketch.node("Add", x, normal), 6, 24)
        sketch.output(sketch.linear(sketch.node(cls.name, x, bias, scale, axis=-1, epsilon=1e-6), 24, 9), 6, 9)

    def torch(self, *operands: Tensor) -> Tensor:
        from torch.nn import functional

        x, scale, bias = operands
        return functional.layer_norm(x, x.shape[-1:], scale, bias, self.number("epsilon", 1e-5))

    def convert(self, context: Conversion) -> None:
        """Normalization of a stream; the output's scales, one per channel where linear layers fold them, are in its affine part."""
        output = self.output
        chosen = context.chosen(output)
        out, beta = chosen.qtype, context.parameter(self.node, 2)
        if chosen.offset is not None:
            beta = beta - chosen.offset
        beta = beta + out.zero_point * out.scales
        stream = context.stream(self.input(0), self.node)
        source = context.type(stream)
        channels = source.shape[-1]
        try:
            attributes, gain, offset, seed = layernorm_parameters(
                context.parameter(self.node, 1),
                beta,
                self.number("epsilon", 1e-5),
                channels,
                float(source.qtype.scales),
                np.broadcast_to(out.scales, (channels,)),
                source.qtype.bits,
                out.bits,
            )
        except ValueError as error:
            raise UnsupportedError(f"{self.origin}: {error}") from error
        inputs = [
            stream,
            context.add_constant(f"{output}/gain", gain, 18),
            context.add_constant(f"{output}/offset", offset, 32),
            context.add_constant(f"{output}/seed", seed, 17),
        ]
        context.set(output, context.add_node("layernorm", inputs, output, out, self.origin, attributes))


@register
class Softmax(StreamOperator):
    """Over the last axis, at the end of the network."""

    name = "Softmax"
    description = "over the last axis, at the end of the network only"
    attributes = ("axis",)
    operands = (Operand("x"),)
    classifies = True
    logits = 0

    def check(self, shape: Shape) -> str | None:
        if self.integer("axis", -1) != -1:
            return "it is not over the last axis"
        used = list(self.node.outputs[0].uses())
        return f"a softmax over {shape} inside the network is supported only as part of an attention" if used else None

    def make(self, plan: Formats, wanted: Wanted) -> Interpretation:
        return _probabilities(plan.config.softmax_bits if wanted.leaves else plan.config.residual_bits)

    def make_apart(self, plan: Formats, name: str) -> Interpretation:
        return _probabilities(plan.config.residual_bits)

    def provides(self, plan: Formats, qtype: QType) -> bool:
        return False

    @classmethod
    def example(cls, sketch: Sketch) -> None:
        sketch.output(sketch.node(cls.name, sketch.linear(sketch.input(24), 24, 9), axis=-1), 9)

    def torch(self, *operands: Tensor) -> Tensor:
        return operands[0].softmax(-1)

    def convert(self, context: Conversion) -> None:
        """Probabilities as unsigned words, of which the largest stands for just under 1."""
        output = self.output
        stream, out = context.stream(self.input(0), self.node), context.chosen(output).qtype
        source = context.type(stream)
        # The layer runs once: as exact as its operator goes.
        probability = min(MAXIMUM_PROBABILITY_BITS, widest_probability(source.shape[-1], out.bits))
        setting = (MAXIMUM_TABLE_BITS, MAXIMUM_INTERPOLATION_BITS, probability)
        attributes = softmax_parameters(float(source.qtype.scales), *setting, out.bits)
        table = exponent_knots(MAXIMUM_TABLE_BITS, probability)
        inputs = [stream, context.add_constant(f"{output}/exponent", table, 24)]
        context.set(output, context.add_node("softmax", inputs, output, out, self.origin, attributes))


def _probabilities(bits: int) -> Interpretation:
    return Interpretation(QType(bits, False, 1.0 / ((1 << bits) - 1)))
