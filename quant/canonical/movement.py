"""Data movement: the integers stay as they are, so input and output have the same format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.graph import Attribute, Node, QType
from edgeflow.quant.canonical.base import (
    Constants,
    Operand,
    Role,
    Shape,
    register,
)
from edgeflow.quant.canonical.contexts import Conversion, Export, Formats, Wanted
from edgeflow.quant.canonical.sketch import Sketch
from edgeflow.quant.canonical.stream import StreamOperator
from edgeflow.quant.formats.interpretation import Demand, Interpretation
from edgeflow.quant.nodes import DOMAIN

if TYPE_CHECKING:
    from torch import Tensor


class Movement(StreamOperator):
    """What operators share that move one tensor whole or in part: its format stays."""

    operands: ClassVar[tuple[Operand, ...]] = (Operand("x", Demand.BEHIND),)
    moves = True
    keeps_format = True

    def make(self, plan: Formats, wanted: Wanted) -> Interpretation:
        return plan.chosen(self.input(0))  # a shared value that is moved: the move keeps its format

    def make_apart(self, plan: Formats, name: str) -> Interpretation:
        source = self.input(0)
        if plan.read_once(source):
            return Interpretation(plan.stream(name))  # which is then the format of the source, too
        return plan.chosen(source)

    def provides(self, plan: Formats, qtype: QType) -> bool:
        """Moved and nothing else: what is moved has the same format."""
        source = self.input(0)
        fits = self.keeps_channels or not isinstance(qtype.scale, tuple)
        return fits and plan.read_once(source) and plan.provided(source, qtype)

    def move(self, context: Conversion, op: str, attributes: Mapping[str, Attribute]) -> None:
        """Add the integer node ``op``."""
        source, output = self.input(0), self.output
        tensor, channels = context.tensor(source), context.channels(source)
        qtype = context.qtype(tensor)
        if not self.keeps_channels and (channels is not None or isinstance(qtype.scale, tuple)):
            raise UnsupportedError(f"{self.origin}: {op} of a tensor with a scale per channel")
        context.set(output, context.add_node(op, [tensor], output, qtype, self.origin, attributes), channels)

    def range(self) -> dict[str, Attribute]:
        """The attributes of a selection."""
        return {"start": self.integer("start"), "stop": self.integer("stop")}


@register
class Reshape(Movement):
    """Regroups the axes of each sample."""

    name = "Reshape"
    description = "regroups the axes of each sample; its shape starts with 0 (the batch)"
    operands = (Operand("x", Demand.BEHIND), Operand("shape", role=Role.SETTING, constant=True))

    @classmethod
    def example(cls, sketch: Sketch) -> None:
        x = sketch.linear(sketch.input(6, 16), 16, 24)
        flat = sketch.node(cls.name, x, sketch.constant(np.array([0, 144], np.int64)))
        sketch.output(sketch.linear(flat, 144, 9), 9)

    def torch(self, *operands: Tensor) -> Tensor:
        x, shape = operands
        return x.reshape(x.shape[0], *(int(size) for size in shape[1:]))

    def convert(self, context: Conversion) -> None:
        self.move(context, "reshape", {"shape": context.statistics[self.output].shape})


@register
class Transpose(Movement):
    """Permutes the axes of each sample."""

    name = "Transpose"
    description = "permutes the axes of each sample"
    attributes = ("perm",)

    @classmethod
    def example(cls, sketch: Sketch) -> None:
        x = sketch.node(cls.name, sketch.linear(sketch.input(6, 16), 16, 24), perm=[0, 2, 1])
        sketch.output(sketch.linear(x, 6, 9), 24, 9)

    def torch(self, *operands: Tensor) -> Tensor:
        return operands[0].permute(*self.integers("perm"))

    def convert(self, context: Conversion) -> None:
        self.move(context, "transpose", {"permutation": tuple(axis - 1 for axis in self.integers("perm")[1:])})


@register
class SelectTokens(Movement):
    """A range of tokens; a single token may lose its axis."""

    name = "SelectTokens"
    domain = DOMAIN
    description = "tokens start to stop of axis 1; squeeze drops the axis of a single token"
    attributes = ("start", "stop", "squeeze")
    bodies: ClassVar[Mapping[str, str]] = {
        overload: """<start, stop, squeeze> (x) => (y) {
            one = Constant <value_ints = [1]> ()
            first = Constant <value_int: int = @start> ()
            last = Constant <value_int: int = @stop> ()
            first1 = Reshape (first, one)
            last1 = Reshape (last, one)
"""
        + end
        + "\n        }"
        for overload, end in (
            ("", "            y = Slice (x, first1, last1, one)"),
            ("squeeze", "            cut = Slice (x, first1, last1, one)\n            y = Squeeze (cut, one)"),
        )
    }
    keeps_channels = True

    @classmethod
    def example(cls, sketch: Sketch) -> None:
        x = sketch.linear(sketch.input(6, 16), 16, 24)
        first = sketch.node(cls.name, x, overload="squeeze", start=0, stop=1, squeeze=1)
        sketch.output(sketch.linear(first, 24, 9), 9)
        sketch.output(sketch.linear(sketch.node(cls.name, x, start=2, stop=5, squeeze=0), 24, 5), 3, 5)

    def torch(self, *operands: Tensor) -> Tensor:
        part = operands[0][:, self.integer("start") : self.integer("stop")]
        return part.squeeze(1) if self.integer("squeeze", 0) else part

    def convert(self, context: Conversion) -> None:
        self.move(context, "select", {"axis": 0, **self.range(), "squeeze": bool(self.integer("squeeze", 0))})


@register
class SelectChannels(Movement):
    """A range of channels of a tensor with one scale."""

    name = "SelectChannels"
    domain = DOMAIN
    description = "channels start to stop of the last axis"
    operands = (Operand("x", Demand.STREAM),)
    attributes = ("start", "stop")
    bodies: ClassVar[Mapping[str, str]] = {
        "": """<start, stop> (x) => (y) {
            one = Constant <value_ints = [1]> ()
            axis = Constant <value_ints = [-1]> ()
            first = Constant <value_int: int = @start> ()
            last = Constant <value_int: int = @stop> ()
            first1 = Reshape (first, one)
            last1 = Reshape (last, one)
            y = Slice (x, first1, last1, axis)
        }"""
    }
    moves = False  # it needs the stream: several read it, each a part

    def make_apart(self, plan: Formats, name: str) -> Interpretation:
        return plan.chosen(self.input(0))

    def provides(self, plan: Formats, qtype: QType) -> bool:
        return False

    @classmethod
    def example(cls, sketch: Sketch) -> None:
        x = sketch.input(6, 24)
        stream = sketch.node("Add", x, sketch.linear(x, 24, 24))
        for start, stop in ((0, 8), (8, 24)):
            sketch.output(sketch.node(cls.name, stream, start=start, stop=stop), 6, stop - start)

    def torch(self, *operands: Tensor) -> Tensor:
        return operands[0][..., self.integer("start") : self.integer("stop")]

    def convert(self, context: Conversion) -> None:
        tensor, output = context.stream(self.input(0), self.node), self.output
        axis = len(context.type(tensor).shape) - 1
        attributes: dict[str, Attribute] = {"axis": axis, **self.range(), "squeeze": False}
        context.set(output, context.add_node("select", [tensor], output, context.qtype(tensor), self.origin, attributes))


@register
class Concat(StreamOperator):
    """Activations and constants, joined along tokens or channels."""

    name = "Concat"
    description = "activations joined along an axis other than the batch"
    operands = (
        Operand("first", Demand.BEHIND),
        Operand("second", Demand.BEHIND, constant=None),
        Operand("more", Demand.BEHIND, constant=None, repeated=True),
    )
    attributes = ("axis",)
    constants = Constants.JOINED
    moves = True
    places_operands = True

    def check(self, shape: Shape) -> str | None:
        return "it joins along the batch" if self.integer("axis", 0) % len(shape) == 0 else None

    def provides(self, plan: Formats, qtype: QType) -> bool:
        return not isinstance(qtype.scale, tuple)

    @classmethod
    def example(cls, sketch: Sketch) -> None:
        x = sketch.input(6, 16)
        tokens = sketch.node("ConstantTokens", x, sketch.normal(1, 2, 16))
        joined = sketch.node(cls.name, tokens, sketch.node("Add", x, x), sketch.linear(x, 16, 16), axis=1)
        sketch.output(sketch.linear(joined, 16, 9), 14, 9)

    def torch(self, *operands: Tensor) -> Tensor:
        import torch

        batch = max(part.shape[0] for part in operands)
        return torch.cat([part.expand(batch, *part.shape[1:]) for part in operands], dim=self.integer("axis"))

    def convert(self, context: Conversion) -> None:
        """Operands that have another format are requantized, constants are quantized on the output's."""
        output = self.output
        out, shape = context.chosen(output).qtype, context.statistics[output].shape
        axis = self.integer("axis")
        axis = axis - 1 if axis > 0 else axis + len(shape)
        operands = []
        for i in range(len(self.node.inputs)):
            name = self.input(i)
            constant = context.initializer(name)
            if constant is None:
                tensor = context.tensor(name)
                operands.append(tensor if context.qtype(tensor) == out else context.copy(name, out, f"{output}/operand", self.node))
            else:
                operands.append(context.add_operand(f"{output}/operand", out.quantize(constant.reshape(constant.shape[1:])), out))
        context.set(output, context.add_node("concat", operands, output, out, self.origin, {"axis": axis}))


@register
class ConstantTokens(StreamOperator):
    """Constant tokens of every sample."""

    name = "ConstantTokens"
    domain = DOMAIN
    description = "constant tokens (1, ...) for every sample; of x only the batch size is read"
    operands = (Operand("x", Demand.CONTROL, Role.BATCH), Operand("tokens", role=Role.PARAMETER, constant=True))
    bodies: ClassVar[Mapping[str, str]] = {
        "": """(x, tokens) => (y) {
            batch = Shape <start = 0, end = 1> (x)
            rest = Shape <start = 1> (tokens)
            shape = Concat <axis = 0> (batch, rest)
            y = Expand (tokens, shape)
        }"""
    }
    constants = Constants.REPEATED

    @classmethod
    def example(cls, sketch: Sketch) -> None:
        x = sketch.input(6, 16)
        tokens = sketch.node(cls.name, x, sketch.normal(1, 1, 16))
        sketch.output(sketch.linear(sketch.node("Concat", tokens, x, axis=1), 16, 9), 7, 9)

    def torch(self, *operands: Tensor) -> Tensor:
        x, tokens = operands
        return tokens.expand(x.shape[0], *tokens.shape[1:])

    def convert(self, context: Conversion) -> None:
        """They are constant operands where they are read."""

    def export(self, export: Export, maker: Node | None) -> list[str] | str:
        return export.operand(self.node, 1)
