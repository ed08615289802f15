"""The largest or the smallest of each channel over the tokens, with an optional mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeflow.hw import cpp_widths as widths
from edgeflow.hw import field_widths
from edgeflow.hw.architecture import NIBBLES, ROW_ELEMENTS, Architecture, ceil_div
from edgeflow.hw.arrays import Array, IntArray
from edgeflow.hw.cost import Cycles, Loop, Resources
from edgeflow.hw.graph import Format
from edgeflow.hw.lanes import extreme_lane
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
    of_width,
    register,
)
from edgeflow.hw.ops.chunk import read_logic, write_logic
from edgeflow.hw.ops.row_mask import MASK, X, check_mask, counted_rows, draw_mask, mask_fields, mask_loops, mask_luts
from edgeflow.hw.ops.vector import SCRATCH_DEPTH, check_row_format, require_channels
from edgeflow.hw.primitives import adder_luts, comparator_luts

STEP_DEPTH = SCRATCH_DEPTH + 3  # the chunk is chosen in two stages, compared in one

EXTREME = InstructionLayout(
    "extreme",
    14,
    (
        *("x", "x_stride", "rows", "steps", "mask", "y"),
        *of_width(field_widths.COUNT, "mask_lines"),
        *of_width(field_widths.STORAGE, "x_bytes"),
        *of_width(field_widths.FLAG, "x_signed"),
        *of_width(field_widths.STORAGE, "y_bytes"),
        *of_width(field_widths.FLAG, "has_mask", "mask_constant", "largest"),
    ),
    arguments=("stream", "scratch"),
)


@register
@dataclass(frozen=True)
class Extreme(VectorUnit, Operator):
    """Inputs: ``x (S, D)`` up to 16 bits; if ``has_mask``, ``mask (S,)`` up to 8 bits, nonzero where a row counts. Output ``(D,)``
    of the format of ``x``: of each column the largest of the counted rows, or the smallest unless ``largest``; 0 if none counts.
    """

    largest: bool
    has_mask: bool

    name: ClassVar[str] = "extreme"
    header: ClassVar[str] = "extreme.hpp"
    instruction: ClassVar[InstructionLayout] = EXTREME
    counters: ClassVar[tuple[str, ...]] = (row_mask.COUNTER, "extreme")
    ports: ClassVar[tuple[Port, ...]] = (Port("x"), Port("mask", optional=True))

    def infer(self, inputs: Sequence[Format]) -> Format:
        x = inputs[X]
        check_row_format(x.bits, "input")
        check_mask(inputs, self.has_mask)
        return Format(x.shape[1:], x.bits, x.signed)

    def reference(self, inputs: Sequence[IntArray]) -> IntArray:
        x, counted = inputs[X], counted_rows(inputs, self.has_mask)
        sign = 1 if self.largest else -1
        least = np.iinfo(np.int64).min
        y = sign * np.where(counted[..., None], sign * x, least).max(axis=1)
        return np.where(counted.any(axis=1, keepdims=True), y, 0)

    def kernel(self, inputs: Sequence[Format], constants: Constants) -> Kernel:
        reduce, never = (np.max, -np.inf) if self.largest else (np.min, np.inf)
        fixed = constants[MASK] != 0 if MASK in constants else None

        def run(activations: Sequence[Array]) -> Array:
            rows = activations[0]
            if not self.has_mask:
                return np.asarray(reduce(rows, axis=1), dtype=np.float32)
            counted = np.broadcast_to(activations[1] != 0 if fixed is None else fixed, rows.shape[:2])
            y = reduce(np.where(counted[..., None], rows, np.float32(never)), axis=1)
            return np.asarray(np.where(counted.any(axis=1, keepdims=True), y, 0), dtype=np.float32)

        return run

    def registers(self, inputs: Sequence[Format], constants: Constants) -> tuple[Register, ...]:
        x = inputs[X]
        return (Register("best", widths.ELEMENT, min(x.minimum, 0), x.maximum),)

    def macs(self, inputs: Sequence[Format]) -> int:
        return 0

    def lower(self, inputs: Sequence[Format], constants: Constants, context: LoweringContext) -> list[Instruction]:
        x, out = inputs[X], self.infer(inputs)
        require_channels(context, x.channels)
        context.require(X not in constants, "the input is a constant: fold it")
        for i in range(len(inputs)):
            context.require(i in constants or context.storage(i) != NIBBLES, "only linear layers read two rows to a line")
        context.require(context.output_storage() != NIBBLES, "only linear layers write two rows to a line")
        mask, segment = mask_fields(inputs, constants, self.has_mask, context)
        values = mask | {
            "x": context.address(X),
            "x_stride": ceil_div(x.channels, ROW_ELEMENTS) * context.storage(X),
            "rows": x.rows,
            "steps": x.rows * ceil_div(out.channels, context.architecture.vector),
            "x_bytes": context.storage(X),
            "x_signed": int(x.signed),
            "largest": int(self.largest),
            "y": context.output_address(),
            "y_bytes": context.output_storage(),
        }
        return [Instruction(EXTREME, values, segment)]

    @classmethod
    def template_arguments(cls, architecture: Architecture) -> dict[str, int]:
        return row_mask.TEMPLATE_ARGUMENTS

    @classmethod
    def cycles(cls, values: Mapping[str, int], architecture: Architecture) -> Cycles:
        """``vector`` columns of a row a cycle."""
        return Cycles(mask_loops(values, architecture) | {"extreme": Loop(values["steps"], depth=STEP_DEPTH)})

    @classmethod
    def resources(cls, architecture: Architecture) -> Resources:
        """No multiplier and no block memory.

        LUTs: a chunk's way out of and into a line; for each lane a comparison, whose result is turned around for the smallest, and
        the choice of the element or what was best so far, or 0; the mask, without the tree that counts; four counters and addresses
        of 16 bits with two comparisons. Registers: a line read and one written, the element, what is best, and the result of every
        lane, the counters.
        """
        count = field_widths.COUNT.bits
        unit = read_logic(architecture) + extreme_lane() * architecture.vector + write_logic(architecture)
        control = 4 * adder_luts(count) + 2 * comparator_luts(count)
        return Resources(
            dsp=0,
            lut=unit.lut + mask_luts(counts=False) + control,
            ff=unit.ff + 6 * count,
            bram36=0,
            uram=0,
        )

    @classmethod
    def cases(cls, rng: np.random.Generator) -> list[Case]:
        cases = []
        for name, rows, columns, bits, signed, mask in [
            ("words", 50, 96, 16, True, ""),
            ("one row", 1, 1, 8, True, ""),
            ("bytes", 130, 33, 8, False, ""),
            ("a long row", 7, 1000, 16, False, ""),
            ("few bits", 197, 20, 3, True, ""),
            ("all below zero", 9, 40, 12, True, ""),
            ("masked", 70, 40, 16, True, "activation"),
            ("masked bytes", 64, 65, 8, True, "activation"),
            ("masked words without sign", 129, 5, 16, False, "activation"),
            ("constant mask", 20, 64, 12, True, "constant"),
        ]:
            x = Format((rows, columns), bits, signed)
            for largest in (True, False):
                data = draw(rng, x, 3)
                if name == "all below zero":
                    data = -1 - np.abs(data // 2) if largest else 1 + np.abs(data // 2)
                inputs, formats, constants = [data], [x], set()
                if mask:
                    chosen = draw_mask(rng, 3, rows)
                    inputs.append(chosen[2] if mask == "constant" else chosen)
                    formats.append(Format((rows,), 8, False))
                    constants |= {MASK} if mask == "constant" else set()
                op = cls(largest, bool(mask))
                title = f"{name}, {'largest' if largest else 'smallest'}"
                cases.append(Case(title, op, tuple(formats), tuple(inputs), frozenset(constants)))
        return cases
