"""Elementwise product, requantized."""

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
    MULTIPLY,
    ElementwiseOperator,
    lower_elementwise,
    operand_registers,
    pair_format,
    pair_kernel,
)
from edgeflow.hw.ops.vector import check_shift, requantized, value_range


@register
@dataclass(frozen=True)
class Multiply(ElementwiseOperator):
    """Inputs ``a (..., D)`` and ``b (..., D)`` up to 16 bits (not both unsigned 16), either a constant; one may repeat along
    leading axes of the other (an activation then has leading axes of size 1). Output of ``bits``, ``signed``.

    ``y = sat(rq(a * b, multiplier, shift))``.
    """

    multiplier: int
    shift: int
    bits: int
    signed: bool

    name: ClassVar[str] = "multiply"
    ports: ClassVar[tuple[Port, ...]] = (Port("a"), Port("b"))

    def infer(self, inputs: Sequence[Format]) -> Format:
        check_shift(self.shift)
        return pair_format(inputs[0], inputs[1], self.bits, self.signed)

    def reference(self, inputs: Sequence[IntArray]) -> IntArray:
        return saturate(requantize(inputs[0] * inputs[1], self.multiplier, self.shift), self.bits, self.signed)

    def kernel(self, inputs: Sequence[Format], constants: Constants) -> Kernel:
        out = self.infer(inputs)
        factor = self.multiplier * 2.0**-self.shift
        fixed = {i: value.astype(np.float64) for i, value in constants.items()}

        def block(operands: Sequence[Array], result: Array) -> None:
            product = WORK.get("product", result.shape, np.float64)
            np.multiply(operands[0], operands[1], out=product, dtype=np.float64)
            requantize_rows(product, factor, product)
            np.clip(product, out.minimum, out.maximum, out=result, casting="unsafe")

        return pair_kernel(inputs, constants, fixed, out, block)

    def registers(self, inputs: Sequence[Format], constants: Constants) -> tuple[Register, ...]:
        a, b = (value_range(inputs[i], constants.get(i)) for i in range(2))
        corners = [x * y for x in a for y in b]
        scaled, _, _ = requantized("scaled", min(corners), max(corners), self.multiplier, self.shift)
        return (
            *operand_registers(inputs, constants, self.infer(inputs)),
            Register("a x b", widths.OPERAND_PRODUCT, min(corners), max(corners)),
            Register("kept a x b", widths.ACCUMULATOR, min(corners), max(corners)),
            *scaled,
        )

    def lower(self, inputs: Sequence[Format], constants: Constants, context: LoweringContext) -> list[Instruction]:
        scaling = {"multiplier_b": self.multiplier, "shift_b": self.shift}
        return lower_elementwise(MULTIPLY, inputs, constants, self.infer(inputs), scaling, context)

    @classmethod
    def cases(cls, rng: np.random.Generator) -> list[Case]:
        def multiplier() -> int:
            return int(rng.integers(1 << 14, 1 << 17))

        words = np.arange(1 << 16).reshape(1, 512, 128)
        pair, unsigned = Format((512, 128), 8, True), Format((512, 128), 8, False)
        wide, gate = Format((9, 70), 16, True), Format((9, 70), 16, False)
        row, plane = Format((70,), 12, True), Format((1, 70), 8, True)
        deep, period = Format((4, 3, 33), 8, True), Format((3, 33), 8, True)
        ends = np.where(draw(rng, wide, 2) < 0, wide.minimum, wide.maximum)
        return [
            Case(
                "every pair of bytes",
                cls(multiplier(), 23, 8, True),
                (pair, unsigned),
                ((words >> 8) - 128, words & 255),
                frozenset(),
            ),
            Case(
                "signed by unsigned",
                cls(multiplier(), 32, 16, True),
                (wide, gate),
                (draw(rng, wide, 2), draw(rng, gate, 2)),
                frozenset(),
            ),
            Case("ends", cls((1 << 17) - 1, 31, 16, True), (wide, wide), (ends, ends[::-1].copy()), frozenset()),
            Case(
                "constant row", cls(-multiplier(), 28, 16, True), (wide, row), (draw(rng, wide, 2), draw(rng, row)), frozenset({1})
            ),
            Case(
                "row of an activation",
                cls(multiplier(), 24, 8, False),
                (plane, wide),
                (draw(rng, plane, 2), draw(rng, wide, 2)),
                frozenset(),
            ),
            Case("constant repeated", cls(1, 0, 16, True), (period, deep), (draw(rng, period), draw(rng, deep, 2)), frozenset({0})),
        ]
