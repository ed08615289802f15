"""The largest or the smallest over tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgeflow.quant.canonical.base import Operand, Reduction, Role, register
from edgeflow.quant.canonical.contexts import Conversion
from edgeflow.quant.canonical.movement import Movement
from edgeflow.quant.canonical.sketch import Sketch
from edgeflow.quant.formats.interpretation import Demand
from edgeflow.quant.nodes import DOMAIN, input_name

if TYPE_CHECKING:
    from torch import Tensor

FARTHEST = float(np.finfo(np.float32).max)  # of a number that no token counts against


def _bodies(*, largest: bool) -> dict[str, str]:
    """The plain and the masked form. A sample without any counted token gets the opposite extreme of all of its tokens, so that
    statistics stay those of the data."""
    (name, opposite), farthest = ("Max", "Min") if largest else ("Min", "Max"), -FARTHEST if largest else FARTHEST
    return {
        "": f"""(x) => (y) {{
            axes = Constant <value_ints = [1]> ()
            y = Reduce{name} <keepdims = 0> (x, axes)
        }}""",
        "masked": f"""(x, mask) => (y) {{
            attend = Cast <to = 9> (mask)
            last = Constant <value_ints = [2]> ()
            tokens = Constant <value_ints = [1]> ()
            column = Unsqueeze (attend, last)
            farthest = Constant <value_float = {farthest!r}> ()
            kept = Where (column, x, farthest)
            reached = Reduce{name} <keepdims = 0> (kept, tokens)
            bound = Reduce{opposite} <keepdims = 0> (x, tokens)
            y = {name} (reached, bound)
        }}""",
    }


class ExtremePool(Movement):
    """What both share. Each is monotone: the words of its result are among those of its operand, in the operand's format, which may
    be whatever the result's readers want. So nothing is rounded."""

    domain = DOMAIN
    operands = (Operand("x", Demand.BEHIND), Operand("mask", Demand.CONTROL, Role.MASK, constant=None, optional=True))
    keeps_channels = True
    largest: ClassVar[bool]

    @classmethod
    def example(cls, sketch: Sketch) -> None:
        """Of a layer's output, plain, masked and of a residual stream."""
        x = sketch.input(6, 16)
        sketch.output(sketch.linear(sketch.node(cls.name, sketch.linear(x, 16, 24)), 24, 9), 9)
        kept = sketch.mask(6)
        sketch.output(sketch.linear(sketch.node(cls.name, sketch.linear(x, 16, 24), kept, overload="masked"), 24, 5), 5)
        sketch.output(sketch.node(cls.name, sketch.node("Add", x, sketch.linear(x, 16, 16)), kept, overload="masked"), 16)

    def torch(self, *operands: Tensor) -> Tensor:
        x, *mask = operands
        if not mask:
            return x.amax(1) if self.largest else x.amin(1)
        counted = (mask[0] != 0)[:, :, None]
        if self.largest:
            return x.masked_fill(~counted, -FARTHEST).amax(1).maximum(x.amin(1))
        return x.masked_fill(~counted, FARTHEST).amin(1).minimum(x.amax(1))

    def convert(self, context: Conversion) -> None:
        source, output, mask = self.input(0), self.output, input_name(self.node, 1)
        tensor = context.tensor(source)
        inputs = [tensor] if mask is None else [tensor, context.mask(mask, f"{output}/mask")]
        attributes = {"largest": self.largest, "has_mask": mask is not None}
        pooled = context.add_node("extreme", inputs, output, context.qtype(tensor), self.origin, attributes)
        context.set(output, pooled, context.channels(source))


@register
class MaxPool(ExtremePool):
    """The largest of each channel."""

    name = "MaxPool"
    description = "largest over axis 1 of (batch, tokens, D); mask (batch, tokens), nonzero = counted"
    bodies: ClassVar[Mapping[str, str]] = _bodies(largest=True)
    reductions = (Reduction("ReduceMax"), Reduction("GlobalMaxPool", whole_map=True))
    largest = True


@register
class MinPool(ExtremePool):
    """The smallest of each channel."""

    name = "MinPool"
    description = "smallest over axis 1 of (batch, tokens, D); mask (batch, tokens), nonzero = counted"
    bodies: ClassVar[Mapping[str, str]] = _bodies(largest=False)
    reductions = (Reduction("ReduceMin"),)
    largest = False
