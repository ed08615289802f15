"""Requantization onto another grid, one multiplier per channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeflow.hw import compiled
from edgeflow.hw import cpp_widths as widths
from edgeflow.hw.arithmetic import requantize, saturate
from edgeflow.hw.arrays import Array, IntArray
from edgeflow.hw.graph import Format
from edgeflow.hw.ops.base import Case, Constants, Instruction, Kernel, LoweringContext, Port, Register, draw, register
from edgeflow.hw.ops.elementwise import REQUANTIZE, ElementwiseOperator, lower_elementwise, operand_registers
from edgeflow.hw.ops.vector import check_row_format, check_shift, requantized

X, MULTIPLIER = range(2)


@register
@dataclass(frozen=True)
class Requantize(ElementwiseOperator):
    """Inputs: ``x (..., D)`` up to 16 bits; ``multiplier (D,)``. Output ``(..., D)`` of ``bits``, ``signed``.

    ``y = sat(rq(x, multiplier, shift) + zero_point)``, where ``rq`` rounds half to even if ``half_even``.
    """

    shift: int
    zero_point: int
    bits: int
    signed: bool
    half_even: bool

    name: ClassVar[str] = "requantize"
    ports: ClassVar[tuple[Port, ...]] = (Port("x"), Port("multiplier", constant=True))

    def infer(self, inputs: Sequence[Format]) -> Format:
        x, multiplier = inputs
        check_row_format(x.bits, "input")
        check_row_format(self.bits, "output")
        check_shift(self.shift)
        if multiplier.shape != (x.channels,):
            raise ValueError(f"the multiplier {multiplier.shape} must have one element for each of {x.channels} channels")
        return Format(x.shape, self.bits, self.signed)

    def reference(self, inputs: Sequence[IntArray]) -> IntArray:
        x, multiplier = inputs
        return saturate(requantize(x, multiplier, self.shift, self.half_even) + self.zero_point, self.bits, self.signed)

    def kernel(self, inputs: Sequence[Format], constants: Constants) -> Kernel:
        out = self.infer(inputs)
        factor = constants[MULTIPLIER] * 2.0**-self.shift
        # A zero point among the sums would turn ties round.
        after = self.zero_point if self.half_even else 0
        offset = np.full(out.channels, 0.0 if self.half_even else self.zero_point + 0.5)
        low, high = float(out.minimum - after), float(out.maximum - after)
        exact = np.float32 if max(abs(low), abs(high)) <= 1 << np.finfo(np.float32).nmant else np.float64

        def run(activations: Sequence[Array]) -> Array:
            rows = np.ascontiguousarray(activations[0]).reshape(-1, out.channels)
            y = np.empty(rows.shape, dtype=exact)
            compiled.requantize(rows, factor, offset, self.half_even, low, high, y)
            if after:
                y += after
            return y.reshape(activations[0].shape).astype(np.float32, copy=False)

        return run

    def registers(self, inputs: Sequence[Format], constants: Constants) -> tuple[Register, ...]:
        x = inputs[X]
        scaled, low, high = requantized("scaled", x.minimum, x.maximum, constants[MULTIPLIER], self.shift)
        ends = np.outer([x.minimum, x.maximum], constants[MULTIPLIER])
        return (
            *operand_registers(inputs, constants, self.infer(inputs)),
            *scaled,
            Register("first product", widths.OPERAND_PRODUCT, int(ends.min()), int(ends.max())),
            Register("zero point", widths.ACCUMULATOR, self.zero_point, self.zero_point),
            Register("sum", widths.PRODUCT, low + self.zero_point, high + self.zero_point),
        )

    def lower(self, inputs: Sequence[Format], constants: Constants, context: LoweringContext) -> list[Instruction]:
        extra = {"shift_a": self.shift, "offset": self.zero_point, "half_even": int(self.half_even)}
        return lower_elementwise(REQUANTIZE, inputs, {MULTIPLIER: constants[MULTIPLIER]}, self.infer(inputs), extra, context)

    @classmethod
    def cases(cls, rng: np.random.Generator) -> list[Case]:
        cases = []
        every = np.arange(1 << 16)
        for name, shape, x_bits, x_signed, op in [
            ("every signed word", (1024, 64), 16, True, cls(24, 0, 8, True, False)),
            ("every unsigned word", (512, 128), 16, False, cls(25, -128, 8, True, False)),
            ("bytes", (7, 50), 8, True, cls(16, 3, 8, False, False)),
            ("widen", (2, 3, 130), 8, False, cls(9, -1000, 16, True, False)),
            ("shift zero", (1, 5), 6, True, cls(0, 0, 16, True, False)),
            ("shift zero to even", (1, 5), 6, True, cls(0, 1, 16, True, True)),
            ("every signed word to even", (1024, 64), 16, True, cls(24, 0, 8, True, True)),
            ("every tie to even", (1024, 64), 16, True, cls(12, 7, 16, True, True)),
            ("every signed word far away", (1024, 64), 16, True, cls(6, (1 << 25) + 1, 16, True, False)),
            ("every signed word far away to even", (1024, 64), 16, True, cls(6, (1 << 25) + 1, 16, True, True)),
        ]:
            x = Format(shape, x_bits, x_signed)
            data = draw(rng, x, 2)
            if name.startswith("every"):
                data = (every + x.minimum).reshape(1, *shape)
            multiplier = rng.integers(1 << 14, 1 << 17, size=x.channels)
            if "tie" in name:  # one product in two, four or eight lies halfway between two integers
                multiplier = 2 * rng.integers(2, size=x.channels) + 1 << rng.integers(9, 12, size=x.channels)
            multiplier[1::3] *= -1
            formats = (x, Format((x.channels,), 32, True))
            cases.append(Case(name, op, formats, (data, multiplier), frozenset({MULTIPLIER})))
        return cases
