"""Mean over tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgeflow.hw.arithmetic import dyadic
from edgeflow.quant.canonical.base import Operand, Reduction, Role, register
from edgeflow.quant.canonical.contexts import Conversion
from edgeflow.quant.canonical.sketch import Sketch
from edgeflow.quant.canonical.stream import StreamOperator
from edgeflow.quant.formats.interpretation import Demand
from edgeflow.quant.nodes import DOMAIN, input_name

if TYPE_CHECKING:
    from torch import Tensor

NUMERATOR_BITS = 22  # precision of the reciprocal of the token count
LEAST_COUNT = 1e-9  # of tokens that a masked mean divides by


@register
class MeanPool(StreamOperator):
    """The mean over all tokens, or over those of a key mask."""

    name = "MeanPool"
    domain = DOMAIN
    description = "mean over axis 1 of (batch, tokens, D); mask (batch, tokens), nonzero = counted"
    operands = (Operand("x"), Operand("mask", Demand.CONTROL, Role.MASK, constant=None, optional=True))
    bodies: ClassVar[Mapping[str, str]] = {
        "": """(x) => (y) {
            axes = Constant <value_ints = [1]> ()
            y = ReduceMean <keepdims = 0> (x, axes)
        }""",
        "masked": """(x, mask) => (y) {
            attend = Cast <to = 9> (mask)
            weight = Cast <to = 1> (attend)
            last = Constant <value_ints = [2]> ()
            tokens = Constant <value_ints = [1]> ()
            column = Unsqueeze (weight, last)
            kept = Mul (x, column)
            total = ReduceSum <keepdims = 0> (kept, tokens)
            found = ReduceSum <keepdims = 0> (column, tokens)
            least = Constant <value_float = 1.0e-9> ()
            count = Max (found, least)
            y = Div (total, count)
        }""",
    }
    reductions = (Reduction("ReduceMean", normalizes=True), Reduction("GlobalAveragePool", whole_map=True))
    signed_only = True

    @classmethod
    def example(cls, sketch: Sketch) -> None:
        x = sketch.linear(sketch.input(6, 16), 16, 24)
        sketch.output(sketch.linear(sketch.node(cls.name, x), 24, 9), 9)
        sketch.output(sketch.linear(sketch.node(cls.name, x, sketch.mask(6), overload="masked"), 24, 5), 5)

    def torch(self, *operands: Tensor) -> Tensor:
        x = operands[0]
        if len(operands) == 1:
            return x.mean(1)
        weight = (operands[1] != 0).to(x.dtype)[:, :, None]
        return (x * weight).sum(1) / weight.sum(1).clamp(min=LEAST_COUNT)

    def convert(self, context: Conversion) -> None:
        """The output's scale is in the numerator of the reciprocal."""
        output = self.output
        out = context.chosen(output).qtype
        stream = context.stream(self.input(0), self.node)
        ratio = float(context.qtype(stream).scales) / float(out.scales)
        numerator, shift = dyadic(np.float64(ratio), NUMERATOR_BITS)
        inputs, mask = [stream], input_name(self.node, 1)
        if mask is not None:
            inputs.append(context.mask(mask, f"{output}/mask"))
        attributes = {"numerator": int(numerator), "shift": shift, "has_mask": mask is not None}
        context.set(output, context.add_node("pool", inputs, output, out, self.origin, attributes))
