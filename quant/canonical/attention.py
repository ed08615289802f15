"""Attention: integer queries, keys and values, and the factors from scores to exponents and from sums to outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeflow.hw.arithmetic import dyadic
from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.exponent import exponent_table
from edgeflow.hw.graph import Node, QType
from edgeflow.quant.canonical.base import Operand, Role, register
from edgeflow.quant.canonical.contexts import Conversion, Formats, Wanted
from edgeflow.quant.canonical.sketch import Sketch
from edgeflow.quant.canonical.stream import StreamOperator
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.formats.interpretation import Correspondence, Demand, HeadPadding, Interpretation
from edgeflow.quant.integers.heads import numerators, pad_qtype
from edgeflow.quant.integers.parameters import plain_attributes
from edgeflow.quant.nodes import DOMAIN, input_name

if TYPE_CHECKING:
    from torch import Tensor

COPY_BITS = 8  # of weights that only carry channels on, all 0 or 1
MASKED = -3.0e38  # scores of keys that take no part

_BODY = """{operands} => (y) {{
            zero = Constant <value_ints = [0, 0]> ()
            split = Constant <value_int: int = @heads> ()
            rest = Constant <value_ints = [-1]> ()
            one = Constant <value_ints = [1]> ()
            split1 = Reshape (split, one)
            apart = Concat <axis = 0> (zero, split1, rest)
            together = Constant <value_ints = [0, 0, -1]> ()
            q4 = Reshape (q, apart)
            k4 = Reshape (k, apart)
            v4 = Reshape (v, apart)
            qh = Transpose <perm = [0, 2, 1, 3]> (q4)
            kh = Transpose <perm = [0, 2, 3, 1]> (k4)
            vh = Transpose <perm = [0, 2, 1, 3]> (v4)
            raw = MatMul (qh, kh)
            factor = Constant <value_float: float = @scale> ()
            scores = Mul (raw, factor)
            {softmax}
            out = MatMul (p, vh)
            back = Transpose <perm = [0, 2, 1, 3]> (out)
            y = Reshape (back, together)
        }}"""
_MASKED_SOFTMAX = """attend = Cast <to = 9> (mask)
            axes = Constant <value_ints = [1, 2]> ()
            wide = Unsqueeze (attend, axes)
            never = Constant <value_float = -3.0e38> ()
            kept = Where (wide, scores, never)
            p = Softmax <axis = -1> (kept)"""


@register
class Attention(StreamOperator):
    """``softmax(scale q k^T) v`` by head."""

    name = "Attention"
    domain = DOMAIN
    description = (
        "softmax(scale q k^T) v by head; q, k, v (batch, tokens, heads * head size), features head-major, v's heads of any size;"
        " mask (batch, keys), nonzero = attend"
    )
    operands = (
        Operand("q", Demand.ATTENTION),
        Operand("k", Demand.ATTENTION),
        Operand("v", Demand.ATTENTION),
        Operand("mask", Demand.CONTROL, Role.MASK, constant=None, optional=True),
    )
    attributes = ("heads", "scale")
    bodies: ClassVar[Mapping[str, str]] = {
        "": "<heads, scale> " + _BODY.format(operands="(q, k, v)", softmax="p = Softmax <axis = -1> (scores)"),
        "masked": "<heads, scale> " + _BODY.format(operands="(q, k, v, mask)", softmax=_MASKED_SOFTMAX),
    }
    signed_only = True
    places_operands = True
    rescales = True

    def make(self, plan: Formats, wanted: Wanted) -> Interpretation:
        return plan.attention(self.node).output

    def make_apart(self, plan: Formats, name: str) -> Interpretation:
        return plan.attention(self.node).output

    def provides(self, plan: Formats, qtype: QType) -> bool:
        return qtype == plan.attention(self.node).output.qtype

    @classmethod
    def example(cls, sketch: Sketch) -> None:
        """Heads that fit and heads that are padded, with a mask and without, behind linear layers and behind anything else."""
        x = sketch.input(7, 24)
        q, k, v = (sketch.linear(x, 24, 32) for _ in range(3))
        fitting = sketch.node(cls.name, q, k, v, sketch.mask(7), overload="masked", heads=2, scale=0.25)
        y = sketch.linear(fitting, 32, 24)
        operands = (sketch.linear(y, 24, 24) for _ in range(3))
        padded = sketch.node(cls.name, *operands, heads=4, scale=0.4)
        sketch.output(sketch.linear(sketch.node("Add", padded, x), 24, 9), 7, 9)

    def torch(self, *operands: Tensor) -> Tensor:
        q, k, v = operands[:3]
        batch, tokens = q.shape[:2]
        qh, kh, vh = (t.reshape(batch, t.shape[1], self.integer("heads"), -1).transpose(1, 2) for t in (q, k, v))
        scores = qh @ kh.transpose(2, 3) * self.number("scale")
        if len(operands) > 3:
            scores = scores.masked_fill((operands[3] == 0)[:, None, None, :], MASKED)
        return (scores.softmax(-1) @ vh).transpose(1, 2).reshape(batch, tokens, -1)

    def bit_operations(self, shapes: Sequence[tuple[int, ...]], config: QuantizationConfig) -> int:
        (tokens, channels), (keys, _) = shapes[0][-2:], shapes[1][-2:]
        return tokens * keys * channels * config.attention_bits * (config.attention_bits + config.probability_bits)

    def held_values(self, shape: tuple[int, ...]) -> int:
        return 2 * self.integer("heads") * shape[0] ** 2  # scores and probabilities

    def integer_maker(self, producer: Node, makers: Mapping[str, Node]) -> Node:
        return producer if producer.op == "attention" else makers[producer.inputs[0]]  # padded heads: a copy without the padding

    def integer_operand(self, index: int, maker: Node, makers: Mapping[str, Node]) -> str | None:
        return maker.inputs[index] if index < 3 else None

    def convert(self, context: Conversion) -> None:
        """Operands get the formats of the plan, by a copy where the producer could not provide them."""
        config, output = context.config, self.output
        formats = context.attention(self.node)
        factor = float(np.float32(self.number("scale")))  # as a file holds it
        if factor <= 0:
            raise UnsupportedError(f"{self.origin}: the scale of attention must be positive, not {factor:g}")
        paddings = [context.head_padding(self.node, i) for i in range(3)]
        wanted = (formats.query, formats.key, formats.value)
        operands = [self._operand(i, wanted[i], paddings[i], context) for i in range(3)]

        # Weights are powers of two: exp(x) = 2^(x log2 e), with F fraction bits of the exponent.
        exponent = formats.score_scale * factor * math.log2(math.e) * 2.0**config.exponent_fraction_bits
        # Where one step of the score already makes a weight vanish, more changes nothing, but would cost other heads their
        # precision.
        exponent = np.minimum(exponent, (config.probability_bits + 2) << config.exponent_fraction_bits)
        multiplier, shift = dyadic(exponent, config.short_multiplier_bits)
        table = exponent_table(config.exponent_fraction_bits, config.probability_bits)
        inputs = [
            *operands,
            context.add_constant(f"{output}/exponent", table, 17),
            context.add_constant(f"{output}/multiplier", multiplier, 32),
            context.add_constant(f"{output}/numerator", formats.numerator, 32),
        ]
        mask = input_name(self.node, 3)
        if mask is not None:
            inputs.append(context.mask(mask, f"{output}/mask"))
        attributes: dict[str, Any] = {
            "heads": self.integer("heads"),
            "fraction_bits": config.exponent_fraction_bits,
            "probability_bits": config.probability_bits,
            "shift": shift,
            "output_shift": formats.output_shift,
            "has_mask": mask is not None,
        }
        padding, out = paddings[2], formats.output.qtype
        if padding is None:
            context.set(output, context.add_node("attention", inputs, output, out, self.origin, attributes))
        elif isinstance(out.scale, tuple):  # only linear layers read it: they skip the padding
            padded = pad_qtype(out, padding)
            context.set(output, context.add_node("attention", inputs, output, padded, self.origin, attributes), padding.positions)
        else:
            # Something else reads it: 8 bits with the padding, then a copy without.
            size = len(padding.positions)
            steps = ((1 << (out.bits - 1)) - 1) / 127.0
            narrow = QType(8, True, float(out.scale) * steps)
            words, shift = numerators(formats.numerator / 2.0**formats.output_shift / steps)
            inputs[5] = context.add_constant(f"{output}/numerator", words, 32)
            attributes["output_shift"] = shift
            whole = context.add_node("attention", inputs, f"{output}/padded", narrow, self.origin, attributes)
            context.set(output, identity(context, whole, out, padding.positions, np.arange(size), size, output, self.origin))

    def _operand(self, index: int, wanted: Interpretation, padding: HeadPadding | None, context: Conversion) -> str:
        name = self.input(index)
        tensor = context.tensor(name)
        if context.chosen(name) is wanted and (context.channels(name) is None) == (padding is None):
            return tensor
        qtype = wanted.qtype
        narrow = context.copy(name, qtype, f"{name}/attention", self.node)
        if padding is None:
            return narrow
        size = context.type(narrow).shape[-1]
        padded = pad_qtype(qtype, padding)
        where = f"{name}/padded"
        copy = identity(context, narrow, padded, np.arange(size), padding.positions, padding.size, where, self.origin)
        context.stands_for(copy, Correspondence(name, padding.positions))
        return copy


def identity(
    context: Conversion,
    tensor: str,
    out: QType,
    source: NDArray[np.int64],
    target: NDArray[np.int64],
    size: int,
    name: str,
    where: str,
) -> str:
    """A linear layer that carries channel ``source[i]`` of an 8-bit tensor to channel ``target[i]`` of ``size`` and requantizes it.

    ``out`` is the format of the ``size`` output channels.
    """
    kind = context.type(tensor)
    weight = np.zeros((size, kind.shape[-1]), dtype=np.int64)
    weight[target, source] = 1
    x_scales = np.broadcast_to(kind.qtype.scales, (kind.shape[-1],))
    out_scales = np.broadcast_to(out.scales, (size,))
    factor = np.zeros(size)
    factor[target] = x_scales[source] / out_scales[target]
    multiplier, shift = dyadic(factor, context.config.multiplier_bits)
    inputs = [
        tensor,
        context.add_constant(f"{name}/weight", weight, COPY_BITS),
        context.add_constant(f"{name}/bias", np.zeros(size, dtype=np.int64), 32),
        context.add_constant(f"{name}/multiplier", multiplier, 32),
    ]
    return context.add_node("linear", inputs, name, out, where, plain_attributes(shift))


@register
class Attends(StreamOperator):
    """Whether values of a mask ``(batch, keys)`` lie in one of the intervals ``low (n,)`` to ``high (n,)``; the host computes
    it."""

    name = "Attends"
    domain = DOMAIN
    description = "whether values of a mask (batch, keys) lie in one of the intervals low (n,) to high (n,)"
    operands = (
        Operand("mask", Demand.CONTROL, Role.RAW_MASK),
        Operand("low", Demand.CONTROL, Role.SETTING, constant=True),
        Operand("high", Demand.CONTROL, Role.SETTING, constant=True),
    )
    bodies: ClassVar[Mapping[str, str]] = {
        "": """(m, low, high) => (y) {
            real = Cast <to = 1> (m)
            last = Constant <value_ints = [-1]> ()
            column = Unsqueeze (real, last)
            above = GreaterOrEqual (column, low)
            below = LessOrEqual (column, high)
            inside = And (above, below)
            number = Cast <to = 1> (inside)
            largest = ReduceMax <keepdims = 0> (number, last)
            y = Cast <to = 9> (largest)
        }"""
    }

    @classmethod
    def example(cls, sketch: Sketch) -> None:
        x, mask = sketch.linear(sketch.input(7, 16), 16, 24), sketch.mask(7)
        ends = sketch.constant(np.array([1.0], np.float32)), sketch.constant(np.array([3.0], np.float32))
        kept = sketch.node(cls.name, mask, *ends)
        sketch.output(sketch.linear(sketch.node("MeanPool", x, kept, overload="masked"), 24, 9), 9)

    def torch(self, *operands: Tensor) -> Tensor:
        mask, low, high = operands
        column = mask.to(low.dtype)[..., None]
        return ((column >= low) & (column <= high)).any(-1)

    def convert(self, context: Conversion) -> None:
        """The integer input is the mask of zeros and ones already."""
        context.set(self.output, context.tensor(self.input(0)))
