"""Lookup of narrow values in a table: any unary function, exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeflow.hw.architecture import Architecture, ceil_div, storage_bytes
from edgeflow.hw.cost import Cycles, Resources, Unknown
from edgeflow.hw.fast import WORK, blocked
from edgeflow.hw.graph import Format, IntArray
from edgeflow.hw.ops.base import (
    Array,
    Case,
    Constants,
    Instruction,
    InstructionLayout,
    Kernel,
    LoweringContext,
    Operator,
    Port,
    Register,
    draw,
    register,
)
from edgeflow.hw.ops.vector import (
    MEMORY_DEPTH,
    check_row_format,
    memory_halves,
    require_channels,
    row_buffer_halves,
    row_loop,
    vector_loop,
)

MAXIMUM_BITS = 10

TABLE = InstructionLayout(
    "table",
    8,
    (
        *("x", "rows", "columns", "x_bytes", "x_signed", "x_minimum"),
        *("table", "entries"),
        *("y", "y_bytes", "y_signed"),
    ),
)

X, ENTRIES = range(2)


@register
@dataclass(frozen=True)
class Table(Operator):
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
        return (Register("table entry", self.bits + (not self.signed), int(entries.min()), int(entries.max())),)

    def macs(self, inputs: Sequence[Format]) -> int:
        return 0

    def lower(self, inputs: Sequence[Format], constants: Constants, context: LoweringContext) -> list[Instruction]:
        x, out = inputs[X], self.infer(inputs)
        require_channels(context, x.channels)
        values = {
            "x": context.address(X),
            "rows": x.rows,
            "columns": x.channels,
            "x_bytes": storage_bytes(x.bits),
            "x_signed": int(x.signed),
            "x_minimum": self.minimum,
            "table": context.place_rows("table", constants[ENTRIES], Format(constants[ENTRIES].shape, out.bits, out.signed)),
            "entries": constants[ENTRIES].size,
            "y": context.output_address(),
            "y_bytes": storage_bytes(out.bits),
            "y_signed": int(out.signed),
        }
        return [Instruction(TABLE, values)]

    @classmethod
    def template_arguments(cls, architecture: Architecture) -> dict[str, int]:
        return {"TABLE_ENTRIES": 1 << MAXIMUM_BITS}

    @classmethod
    def cycles(cls, values: Mapping[str, int], architecture: Architecture) -> Cycles:
        rows, columns = values["rows"], values["columns"]
        return Cycles(
            {
                "load table": values["entries"] + MEMORY_DEPTH,
                "load": rows * row_loop(columns, values["x_bytes"], architecture),
                "look up": rows * vector_loop(columns, architecture),
                "store": rows * row_loop(columns, values["y_bytes"], architecture),
            }
        )

    @classmethod
    def resources(cls, architecture: Architecture) -> Resources:
        """No multiplier. Memories: a copy of the table (17 bit) for every lane and two banked rows of 17 bit."""
        halves = memory_halves(architecture.vector, 1 << MAXIMUM_BITS, 17) + 2 * row_buffer_halves(architecture)
        unknown = Unknown("no synthesis has been run for this unit")
        return Resources(0, unknown, unknown, ceil_div(halves, 2), 0)

    @classmethod
    def cases(cls, rng: np.random.Generator) -> list[Case]:
        """Every input value for several widths."""
        made = []
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
            made.append(Case(name, cls(x.minimum, bits, signed), formats, (data, table), frozenset({ENTRIES})))
        return made
