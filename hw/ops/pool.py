"""Mean over tokens, with an optional mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeflow.hw import cpp_widths as widths
from edgeflow.hw import field_widths, primitives
from edgeflow.hw.architecture import LINE_BYTES, NIBBLES, Architecture, ceil_div, row_lines, storage_bytes
from edgeflow.hw.arithmetic import round_shift, saturate
from edgeflow.hw.arrays import Array, IntArray
from edgeflow.hw.cost import Cycles, Logic, Loop, Resources
from edgeflow.hw.exact_float import FLOAT32_EXACT
from edgeflow.hw.graph import Format
from edgeflow.hw.lanes import pool_lane
from edgeflow.hw.ops import row_mask
from edgeflow.hw.ops.base import (
    Case,
    Constants,
    Instruction,
    InstructionLayout,
    Kernel,
    LoweringContext,
    Operator,
    Port,
    Register,
    VectorUnit,
    draw,
    element_register,
    of_width,
    register,
)
from edgeflow.hw.ops.row_mask import MASK, X, check_mask, counted_rows, draw_mask, mask_fields, mask_loops, mask_luts
from edgeflow.hw.ops.vector import (
    REQUANTIZE_DEPTH,
    SCRATCH_DEPTH,
    SCRATCH_READ_DEPTH,
    check_row_format,
    check_shift,
    require_channels,
)

DIVISION_BITS = widths.POOL_NUMBER.bits  # a bit of the quotient a cycle
PRODUCT_STAGES = 4  # more than a narrow product has: the sum's and the reciprocal's halves are multiplied one after another

POOL = InstructionLayout(
    "pool",
    10,
    (
        *("x", "x_stride", "rows", "steps", "mask", "numerator", "y"),
        *of_width(field_widths.COUNT, "columns", "mask_lines"),
        *of_width(field_widths.STORAGE, "x_bytes"),
        *of_width(field_widths.FLAG, "x_signed", "has_mask", "mask_constant"),
        *of_width(widths.SHIFT, "shift"),
        *of_width(field_widths.RESULT_BITS, "y_bits"),
        *of_width(field_widths.STORAGE, "y_bytes"),
        *of_width(field_widths.FLAG, "y_signed"),
    ),
    arguments=("stream", "scratch"),
)


@register
@dataclass(frozen=True)
class Pool(VectorUnit, Operator):
    """Inputs: ``x (S, D)`` up to 16 bits; if ``has_mask``, ``mask (S,)`` up to 8 bits, nonzero where a row counts. Output ``(D,)``
    of ``bits``, ``signed``.

    With ``n`` counted rows and their sum ``s``: ``r = (numerator + floor(n / 2)) // n`` (0 if ``n`` is 0),
    ``y = sat(round_shift(s * r, shift))``.
    """

    numerator: int
    shift: int
    bits: int
    signed: bool
    has_mask: bool

    name: ClassVar[str] = "pool"
    header: ClassVar[str] = "pool.hpp"
    instruction: ClassVar[InstructionLayout] = POOL
    counters: ClassVar[tuple[str, ...]] = (row_mask.COUNTER, "pool divide", "pool sum", "pool scale")
    ports: ClassVar[tuple[Port, ...]] = (Port("x"), Port("mask", optional=True))

    def infer(self, inputs: Sequence[Format]) -> Format:
        x = inputs[X]
        check_row_format(x.bits, "input")
        check_row_format(self.bits, "output")
        check_shift(self.shift)
        check_mask(inputs, self.has_mask)
        if not 0 <= self.numerator < 1 << 31:
            raise ValueError(f"the numerator must lie between 0 and 2^31 - 1, not {self.numerator}")
        return Format(x.shape[1:], self.bits, self.signed)

    def reciprocal(self, count: IntArray) -> IntArray:
        """``r`` for a number of counted rows."""
        return np.where(count > 0, (self.numerator + (count >> 1)) // np.maximum(count, 1), 0)

    def reference(self, inputs: Sequence[IntArray]) -> IntArray:
        x = inputs[X]
        counted = counted_rows(inputs, self.has_mask)
        total = (x * counted[..., None]).sum(axis=1)
        r = self.reciprocal(counted.sum(axis=1))
        return saturate(round_shift(total * r[:, None], self.shift), self.bits, self.signed)

    def kernel(self, inputs: Sequence[Format], constants: Constants) -> Kernel:
        x = inputs[X]
        exact = x.rows * x.magnitude <= FLOAT32_EXACT
        fixed = constants[MASK] if MASK in constants else np.ones(x.rows, dtype=np.int64)

        def run(activations: Sequence[Array]) -> Array:
            rows = activations[0]
            mask = activations[1] if self.has_mask and MASK not in constants else fixed
            weights = np.broadcast_to(mask != 0, rows.shape[:2]).astype(rows.dtype if exact else np.float64)
            total = np.matmul(weights[:, None, :], rows if exact else rows.astype(np.float64))[:, 0].astype(np.int64)
            r = self.reciprocal(weights.sum(axis=1).astype(np.int64))
            return saturate(round_shift(total * r[:, None], self.shift), self.bits, self.signed).astype(np.float32)

        return run

    def registers(self, inputs: Sequence[Format], constants: Constants) -> tuple[Register, ...]:
        x = inputs[X]
        if not self.has_mask:
            counts = np.array([x.rows])
        elif MASK in constants:
            counts = np.array([np.count_nonzero(constants[MASK])])
        else:
            counts = np.arange(x.rows + 1)
        r = self.reciprocal(counts)
        most = int((counts * r).max())
        half = 1 << (self.shift - 1) if self.shift else 0
        rows = int(counts.max())
        return (
            element_register("element", x),
            Register("counted rows", widths.POOL_NUMBER, 0, x.rows),
            Register("sum", widths.ACCUMULATOR, rows * min(x.minimum, 0), rows * x.maximum),
            Register("reciprocal", widths.ACCUMULATOR, 0, int(r.max())),
            Register("product", widths.PRODUCT, most * min(x.minimum, 0), most * x.maximum + half),
            Register("dividend", widths.POOL_NUMBER, 0, self.numerator + x.rows // 2),
            Register("shift", widths.SHIFT, 0, self.shift),
            element_register("output", self.infer(inputs)),
        )

    def macs(self, inputs: Sequence[Format]) -> int:
        return 0

    def lower(self, inputs: Sequence[Format], constants: Constants, context: LoweringContext) -> list[Instruction]:
        x, out = inputs[X], self.infer(inputs)
        require_channels(context, x.channels)
        context.require(X not in constants, "the input is a constant: fold the pool")
        for i in range(len(inputs)):
            context.require(i in constants or context.storage(i) != NIBBLES, "only linear layers read two rows to a line")
        context.require(context.output_storage() != NIBBLES, "only linear layers write two rows to a line")
        mask, segment = mask_fields(inputs, constants, self.has_mask, context)
        values = mask | {
            "x": context.address(X),
            "x_stride": row_lines(x.channels, x.bits),
            "rows": x.rows,
            "steps": x.rows * ceil_div(x.channels, context.architecture.vector),
            "columns": x.channels,
            "x_bytes": storage_bytes(x.bits),
            "x_signed": int(x.signed),
            "numerator": self.numerator,
            "shift": self.shift,
            "y": context.output_address(),
            "y_bits": out.bits,
            "y_bytes": storage_bytes(out.bits),
            "y_signed": int(out.signed),
        }
        return [Instruction(POOL, values, segment)]

    @classmethod
    def template_arguments(cls, architecture: Architecture) -> dict[str, int]:
        return row_mask.TEMPLATE_ARGUMENTS

    @classmethod
    def cycles(cls, values: Mapping[str, int], architecture: Architecture) -> Cycles:
        """``vector`` columns of a row a cycle; then a bit of the division, and at the end an element, a cycle.

        Depths: a line is read and added to the sums; an element is multiplied, requantized and written.
        """
        loops = mask_loops(values, architecture) | {
            "pool divide": Loop(DIVISION_BITS, 1, 1, 1),
            "pool sum": Loop(values["steps"], 1, 1, SCRATCH_READ_DEPTH + 4),
            "pool scale": Loop(values["columns"], 1, 1, SCRATCH_DEPTH + PRODUCT_STAGES + REQUANTIZE_DEPTH),
        }
        return Cycles(loops)

    @classmethod
    def resources(cls, architecture: Architecture) -> Resources:
        """One multiplier of 32 x 32 bits, whatever ``vector`` is.

        Block memory: the sums, a bank a lane. LUTs: each lane's 32-bit accumulator, the choice of its element in a line (16 bits,
        one of the ``64 / vector`` places that its column takes, for both storages); the mask; the division's subtraction, choice
        and shifts; rounding, shift and saturation of one product; the write enables of a line. Registers: the sums, a line, the
        product in each stage.
        """
        a, line = architecture, field_widths.BYTE.bits * LINE_BYTES
        accumulator, product, stored = widths.ACCUMULATOR.bits, widths.PRODUCT.bits, field_widths.STORED.bits
        count = field_widths.COUNT.bits
        lane = pool_lane() + Logic(primitives.mux_luts(LINE_BYTES // a.vector, stored) + primitives.mux_luts(2, stored), stored)
        division = primitives.adder_luts(widths.POOL_NUMBER.bits + 1) + primitives.mux_luts(2, widths.POOL_NUMBER.bits + 1)
        scaling = (
            primitives.product(accumulator, accumulator, a.dsp_bits)
            + primitives.rounding(product)
            + primitives.saturation(product, widths.ELEMENT.bits)
            + Logic(primitives.mux_luts(a.vector, accumulator), accumulator)
        )
        control = 6 * primitives.adder_luts(count) + 4 * primitives.comparator_luts(count) + 2 * LINE_BYTES
        unit = lane * a.vector + scaling
        ff = unit.ff + 2 * line + 4 * widths.POOL_NUMBER.bits + 6 * count
        sums = primitives.ram_bram36(accumulator, ceil_div(a.max_channels, a.vector), a.vector)
        return Resources(unit.dsp, unit.lut + mask_luts(counts=True) + division + control, ff, sums, 0)

    @classmethod
    def cases(cls, rng: np.random.Generator) -> list[Case]:
        cases = []
        for name, rows, columns, x_bits, x_signed, bits, signed, mask in [
            ("mean", 50, 96, 16, True, 16, True, ""),
            ("one row", 1, 1, 8, True, 8, True, ""),
            ("bytes", 130, 33, 8, False, 8, False, ""),
            ("ends", 197, 20, 16, True, 16, True, ""),
            ("float64 sums", 300, 5, 16, False, 16, False, ""),
            ("masked", 70, 40, 16, True, 16, True, "activation"),
            ("masked ends", 64, 65, 8, True, 8, True, "activation"),
            ("constant mask", 20, 64, 12, True, 8, True, "constant"),
        ]:
            x = Format((rows, columns), x_bits, x_signed)
            data = draw(rng, x, 3)
            if name.endswith("ends"):
                data = np.where(rng.random(data.shape) < rng.random((3, 1, columns)), x.minimum, x.maximum)
            op = cls(1 << 22, 22 + max(x_bits - bits, 0), bits, signed, bool(mask))
            inputs, formats, constants = [data], [x], set()
            if mask:
                chosen = draw_mask(rng, 3, rows)
                fixed = mask == "constant"
                inputs.append(chosen[2] if fixed else chosen)
                formats.append(Format((rows,), 8, False))
                constants |= {MASK} if fixed else set()
            cases.append(Case(name, op, tuple(formats), tuple(inputs), frozenset(constants)))
        return cases
