"""Addition on the grid of the output: both operands are requantized, so a negative multiplier subtracts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeflow.hw import cpp_widths as widths
from edgeflow.hw.arithmetic import requantize, saturate
from edgeflow.hw.arrays import Array, IntArray
from edgeflow.hw.exact_float import WORK, requantize_rows
from edgeflow.hw.graph import Format
from edgeflow.hw.ops.base import Case, Constants, Instruction, Kernel, LoweringContext, Port, Register, draw, register
from edgeflow.hw.ops.elementwise import (
    ADD,
    ElementwiseOperator,
    lower_elementwise,
    operand_registers,
    pair_format,
    pair_kernel,
)
from edgeflow.hw.ops.vector import check_shift, requantized, value_range


@register
@dataclass(frozen=True)
class Add(ElementwiseOperator):
    """Inputs ``a (..., D)`` and ``b (..., D)`` up to 16 bits, either a constant; one may repeat along leading axes of the other (an
    activation then has leading axes of size 1). Output of ``bits``, ``signed``.

    ``y = sat(rq(a, multiplier_a, shift_a) + rq(b, multiplier_b, shift_b))``.
    """

    multiplier_a: int
    shift_a: int
    multiplier_b: int
    shift_b: int
    bits: int
    signed: bool

    name: ClassVar[str] = "add"
    ports: ClassVar[tuple[Port, ...]] = (Port("a"), Port("b"))

    def infer(self, inputs: Sequence[Format]) -> Format:
        check_shift(self.shift_a)
        check_shift(self.shift_b)
        return pair_format(inputs[0], inputs[1], self.bits, self.signed)

    def reference(self, inputs: Sequence[IntArray]) -> IntArray:
        a = requantize(inputs[0], self.multiplier_a, self.shift_a)
        b = requantize(inputs[1], self.multiplier_b, self.shift_b)
        return saturate(a + b, self.bits, self.signed)

    def kernel(self, inputs: Sequence[Format], constants: Constants) -> Kernel:
        out = self.infer(inputs)
        scaling = ((self.multiplier_a, self.shift_a), (self.multiplier_b, self.shift_b))
        factors = [m * 2.0**-shift for m, shift in scaling]
        fixed = {i: requantize(value, *scaling[i]).astype(np.float64) for i, value in constants.items()}

        def block(operands: Sequence[Array], result: Array) -> None:
            total = WORK.get("total", result.shape, np.float64)
            if 0 in fixed or 1 in fixed:
                free = 0 if 1 in fixed else 1
                requantize_rows(operands[free], factors[free], total)
                np.add(total, operands[1 - free], out=total)
            else:
                other = WORK.get("other", result.shape, np.float64)
                requantize_rows(operands[0], factors[0], total)
                requantize_rows(operands[1], factors[1], other)
                np.add(total, other, out=total)
            np.clip(total, out.minimum, out.maximum, out=result, casting="unsafe")

        return pair_kernel(inputs, constants, fixed, out, block)

    def registers(self, inputs: Sequence[Format], constants: Constants) -> tuple[Register, ...]:
        operands = [value_range(inputs[i], constants.get(i)) for i in range(2)]
        a, low_a, high_a = requantized("a", *operands[0], self.multiplier_a, self.shift_a)
        b, low_b, high_b = requantized("b", *operands[1], self.multiplier_b, self.shift_b)
        ends = [end * m for ends, m in zip(operands, (self.multiplier_a, self.multiplier_b), strict=True) for end in ends]
        return (
            *operand_registers(inputs, constants, self.infer(inputs)),
            *a,
            *b,
            Register("first product", widths.OPERAND_PRODUCT, min(ends), max(ends)),
            Register("sum", widths.PRODUCT, low_a + low_b, high_a + high_b),
        )

    def lower(self, inputs: Sequence[Format], constants: Constants, context: LoweringContext) -> list[Instruction]:
        scaling = [(self.multiplier_a, self.shift_a), (self.multiplier_b, self.shift_b)]
        if 0 in constants:
            scaling.reverse()
        (multiplier_a, shift_a), (multiplier_b, shift_b) = scaling
        extra = {"multiplier_a": multiplier_a, "shift_a": shift_a, "multiplier_b": multiplier_b, "shift_b": shift_b}
        return lower_elementwise(ADD, inputs, constants, self.infer(inputs), extra, context)

    @classmethod
    def cases(cls, rng: np.random.Generator) -> list[Case]:
        def multiplier() -> int:
            return int(rng.integers(1 << 14, 1 << 17))

        wide, residual, narrow = Format((33, 64), 16, True), Format((5, 100), 16, True), Format((5, 100), 8, True)
        words = np.arange(1 << 16).reshape(1, 512, 128)
        pair = Format((512, 128), 8, True)
        row, plane = Format((100,), 8, True), Format((1, 100), 16, True)
        deep, period = Format((3, 5, 20), 8, False), Format((5, 20), 8, True)
        ends = np.where(draw(rng, wide, 2) < 0, wide.minimum, wide.maximum)
        tiny = Format((1, 1), 4, True)
        return [
            Case(
                "every pair of bytes",
                cls(multiplier(), 16, multiplier(), 17, 8, True),
                (pair, pair),
                ((words >> 8) - 128, (words & 255) - 128),
                frozenset(),
            ),
            Case(
                "residual",
                cls(multiplier(), 16, multiplier(), 16, 16, True),
                (wide, wide),
                (draw(rng, wide, 2), draw(rng, wide, 2)),
                frozenset(),
            ),
            Case("ends", cls(multiplier(), 16, (1 << 17) - 1, 16, 16, True), (wide, wide), (ends, ends), frozenset()),
            Case(
                "difference",
                cls(multiplier(), 16, -multiplier(), 12, 16, True),
                (residual, narrow),
                (draw(rng, residual, 2), draw(rng, narrow, 2)),
                frozenset(),
            ),
            Case(
                "constant row",
                cls(3, 1, -5, 2, 16, True),
                (residual, row),
                (draw(rng, residual, 2), draw(rng, row)),
                frozenset({1}),
            ),
            Case(
                "constant plane",
                cls(multiplier(), 17, multiplier(), 15, 16, True),
                (residual, narrow),
                (draw(rng, residual), draw(rng, narrow, 3)),
                frozenset({0}),
            ),
            Case(
                "row of an activation",
                cls(1, 0, 1, 0, 16, True),
                (plane, residual),
                (draw(rng, plane, 2), draw(rng, residual, 2)),
                frozenset(),
            ),
            Case(
                "constant repeated",
                cls(multiplier(), 17, multiplier(), 17, 8, False),
                (deep, period),
                (draw(rng, deep, 2), draw(rng, period)),
                frozenset({1}),
            ),
            Case("one element", cls(7, 3, 1, 1, 3, False), (tiny, tiny), (draw(rng, tiny, 4), draw(rng, tiny, 4)), frozenset()),
        ]
