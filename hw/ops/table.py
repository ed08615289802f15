"""Lookup of narrow values in a table: any unary function, exactly."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeflow.hw import cpp_widths as widths
from edgeflow.hw import field_widths
from edgeflow.hw.architecture import NIBBLES, Architecture, ceil_div, round_up
from edgeflow.hw.arrays import Array, IntArray
from edgeflow.hw.cost import Cycles, Loop, Resources
from edgeflow.hw.exact_float import WORK, blocked
from edgeflow.hw.graph import Format
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
from edgeflow.hw.ops.long_chunk import chunk_ends
from edgeflow.hw.ops.rows import RowSplit
from edgeflow.hw.ops.vector import check_row_format, require_channels
from edgeflow.hw.primitives import adder_luts, mux_luts, ram_bram36, registers

MAXIMUM_BITS = widths.LOOKUP_INDEX.bits
LINE_ENTRIES = 32  # entries of two bytes in a line of the weight stream
ENTRIES_DEPTH = 4  # stages of the loop that fills the tables: queue, word, entry, write
DEPTH = 11  # scratchpad 3, choice of the chunk 2, index 1, table 2, write 3

TABLE = InstructionLayout(
    "table",
    8,
    (
        *("x", "trips"),
        *of_width(field_widths.COUNT, "channels", "chunks", "pairs", "x_minimum"),
        *("y",),
        *of_width(field_widths.LONG_STORAGE, "x_bytes"),
        *of_width(field_widths.FLAG, "x_signed"),
        *of_width(field_widths.LONG_STORAGE, "y_bytes"),
        *of_width(field_widths.FLAG, "y_signed"),
    ),
    ("stream", "scratch"),
)

X, ENTRIES = range(2)


@register
@dataclass(frozen=True)
class Table(VectorUnit, Operator):
    """Inputs: ``x (..., D)`` up to 10 bits; ``table (2^bits of x,)`` of the output's format, its first entry for ``minimum``, the
    smallest value of x's format. Output ``(..., D)`` of ``bits``, ``signed``.

    ``y = table[x - minimum]``.
    """

    minimum: int
    bits: int
    signed: bool

    name: ClassVar[str] = "table"
    header: ClassVar[str] = "table.hpp"
    instruction: ClassVar[InstructionLayout] = TABLE
    counters: ClassVar[tuple[str, ...]] = ("table entries", "table")
    ports: ClassVar[tuple[Port, ...]] = (Port("x"), Port("table", constant=True))

    def infer(self, inputs: Sequence[Format]) -> Format:
        x, entries = inputs
        check_row_format(self.bits, "output")
        if x.bits > MAXIMUM_BITS:
            raise ValueError(f"the input of a table must have at most {MAXIMUM_BITS} bits, not {x.bits}")
        if entries.shape != (1 << x.bits,):
            raise ValueError(f"the table {entries.shape} must have an entry for each of the {1 << x.bits} input values")
        if (entries.bits, entries.signed) != (self.bits, self.signed):
            raise ValueError(f"the table's format must be the output's {self.bits} bits, signed or not as that is")
        if self.minimum != x.minimum:
            raise ValueError(f"the table must start at the input's smallest value {x.minimum}, not {self.minimum}")
        return Format(x.shape, self.bits, self.signed)

    def reference(self, inputs: Sequence[IntArray]) -> IntArray:
        return inputs[ENTRIES][inputs[X] - self.minimum]

    def kernel(self, inputs: Sequence[Format], constants: Constants) -> Kernel:
        minimum = float(self.minimum)
        table = constants[ENTRIES].astype(np.float32)

        def run(activations: Sequence[Array]) -> Array:
            rows = activations[0].reshape(-1, activations[0].shape[-1])
            y = np.empty(rows.shape, dtype=np.float32)
            for block in blocked(*rows.shape):
                index = WORK.get("index", rows[block].shape, np.intp)
                np.subtract(rows[block], minimum, out=index, casting="unsafe")
                np.take(table, index, out=y[block], mode="clip")
            return y.reshape(activations[0].shape)

        return run

    def registers(self, inputs: Sequence[Format], constants: Constants) -> tuple[Register, ...]:
        entries = constants[ENTRIES]
        output = widths.Width("Output", self.bits, "what the output's format holds: nothing saturates", self.signed)
        return (
            Register("table entry", output, int(entries.min()), int(entries.max())),
            Register("stored entry", widths.ELEMENT, int(entries.min()), int(entries.max())),
            element_register("element", inputs[X]),
            Register("smallest element", widths.ELEMENT, self.minimum, self.minimum),
            Register("index", widths.LOOKUP_INDEX, 0, entries.size - 1),
        )

    def macs(self, inputs: Sequence[Format]) -> int:
        return 0

    def row_split(self, inputs: Sequence[Format], constants: Collection[int]) -> RowSplit | None:
        return RowSplit(self.infer(inputs).rows, (0,))

    def lower(self, inputs: Sequence[Format], constants: Constants, context: LoweringContext) -> list[Instruction]:
        x, out = inputs[X], self.infer(inputs)
        require_channels(context, x.channels)
        context.require(NIBBLES not in (context.storage(X), context.output_storage()), "a table cannot take pairs of 4-bit rows")
        chunks = ceil_div(x.channels, context.architecture.vector)
        entries = constants[ENTRIES]
        values = {
            "x": context.address(X),
            "trips": x.rows * chunks,
            "channels": x.channels,
            "chunks": chunks,
            "pairs": round_up(entries.size, LINE_ENTRIES) // 2,
            "x_minimum": self.minimum,
            "y": context.output_address(),
            "x_bytes": context.storage(X),
            "x_signed": int(x.signed),
            "y_bytes": context.output_storage(),
            "y_signed": int(out.signed),
        }
        stored = entries.astype("<i2" if out.signed else "<u2")
        return [Instruction(TABLE, values, context.stream("table", stored))]

    @classmethod
    def template_arguments(cls, architecture: Architecture) -> dict[str, int]:
        return {"TABLE_ENTRIES": 1 << MAXIMUM_BITS}

    @classmethod
    def cycles(cls, values: Mapping[str, int], architecture: Architecture) -> Cycles:
        """Two entries a trip, then a chunk a trip."""
        return Cycles({"table entries": Loop(values["pairs"], depth=ENTRIES_DEPTH), "table": Loop(values["trips"], depth=DEPTH)})

    @classmethod
    def resources(cls, architecture: Architecture) -> Resources:
        """No multiplier. A table of 17 bits, in a memory of two ports for every two lanes."""
        a, element = architecture, widths.ELEMENT.bits
        tables = ram_bram36(element, 1 << MAXIMUM_BITS, ceil_div(a.vector, 2), dual=True)
        ends = chunk_ends(a)
        word = field_widths.BYTE.bits * a.stream_bytes
        lut = a.vector * adder_luts(element + 1) + mux_luts(2, word) + mux_luts(2, 2 * element) + ends.lut
        ff = a.vector * registers(widths.LOOKUP_INDEX.bits + element) + registers(word) + ends.ff
        return Resources(0, lut, ff, tables, 0)

    @classmethod
    def cases(cls, rng: np.random.Generator) -> list[Case]:
        """Every input value for several widths."""
        cases = []
        for shape, x_bits, x_signed, bits, signed in [
            ((2, 128), 8, True, 8, True),
            ((4, 64), 8, False, 16, False),
            ((8, 128), 10, True, 16, True),
            ((3, 7, 49), 10, False, 4, False),
            ((2,), 1, False, 16, True),
            ((1, 8), 3, True, 1, False),
        ]:
            x = Format(shape, x_bits, x_signed)
            data = np.resize(rng.permutation(1 << x_bits), (1, *shape)) + x.minimum
            formats = (x, Format((1 << x_bits,), bits, signed))
            table = draw(rng, formats[1])
            name = f"{'' if x_signed else 'u'}int{x_bits} to {'' if signed else 'u'}int{bits}"
            cases.append(Case(name, cls(x.minimum, bits, signed), formats, (data, table), frozenset({ENTRIES})))
        return cases
