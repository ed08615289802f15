"""Embedding: rows of an int8 table, gathered by id and requantized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeflow.hw.architecture import Architecture, ceil_div, storage_bytes
from edgeflow.hw.arithmetic import requantize, saturate
from edgeflow.hw.cost import Cycles, Resources, Unknown
from edgeflow.hw.fast import WORK, blocked, requantize_rows
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
    register,
)
from edgeflow.hw.ops.vector import (
    MEMORY_DEPTH,
    check_row_format,
    check_shift,
    memory_halves,
    requantized,
    require_channels,
    row_buffer_halves,
    row_loop,
    vector_loop,
)

BLOCK = 64  # ids taken at a time

EMBEDDING = InstructionLayout(
    "embedding",
    9,
    (
        *("ids", "tokens", "columns"),
        *("table", "vocabulary", "multipliers", "shift"),
        *("y", "y_bits", "y_bytes", "y_signed"),
    ),
)

IDS, TABLE, MULTIPLIER = range(3)


@register
@dataclass(frozen=True)
class Embedding(Operator):
    """Inputs: ``ids (S,)`` unsigned, 17 to 32 bits; ``table (V, D)`` int8; ``multiplier (V,)``. Output ``(S, D)`` of ``bits``,
    ``signed``.

    ``i = min(id, V - 1)``, ``y = sat(rq(table[i], multiplier[i], shift))``.
    """

    shift: int
    bits: int
    signed: bool

    name: ClassVar[str] = "embedding"
    header: ClassVar[str] = "embedding.hpp"
    instruction: ClassVar[InstructionLayout] = EMBEDDING
    ports: ClassVar[tuple[Port, ...]] = (Port("ids"), Port("table", constant=True), Port("multiplier", constant=True))

    def infer(self, inputs: Sequence[Format]) -> Format:
        ids, table, multiplier = inputs
        check_row_format(self.bits, "output")
        check_shift(self.shift)
        if len(ids.shape) != 1 or ids.signed or storage_bytes(ids.bits) != 4:
            raise ValueError(f"ids must be one row of unsigned integers of 17 to 32 bits, not {ids.bits} bits of shape {ids.shape}")
        if len(table.shape) != 2 or table.bits > 8 or not table.signed:
            raise ValueError(
                f"the table must have two axes and at most 8 signed bits, not {table.bits} bits of shape {table.shape}"
            )
        if multiplier.shape != table.shape[:1]:
            raise ValueError(f"the multiplier {multiplier.shape} must have one element for each of {table.shape[0]} table rows")
        return Format((*ids.shape, table.channels), self.bits, self.signed)

    def reference(self, inputs: Sequence[IntArray]) -> IntArray:
        ids, table, multiplier = inputs
        known = np.minimum(ids, table.shape[0] - 1)
        return saturate(requantize(table[known], multiplier[known][..., None], self.shift), self.bits, self.signed)

    def kernel(self, inputs: Sequence[Format], constants: Constants) -> Kernel:
        out = self.infer(inputs)
        table = constants[TABLE].astype(np.int8)
        factor = constants[MULTIPLIER] * 2.0**-self.shift
        last = table.shape[0] - 1

        def run(activations: Sequence[Array]) -> Array:
            ids = np.minimum(activations[0].astype(np.int64), last)
            flat = ids.reshape(-1)
            y = np.empty((flat.size, out.channels), dtype=np.float32)
            for block in blocked(*y.shape):
                known = flat[block]
                value = WORK.get("value", y[block].shape, np.float64)
                requantize_rows(np.take(table, known, axis=0), factor[known][:, None], value)
                np.clip(value, out.minimum, out.maximum, out=y[block], casting="unsafe")
            return y.reshape(*ids.shape, out.channels)

        return run

    def registers(self, inputs: Sequence[Format], constants: Constants) -> tuple[Register, ...]:
        table = constants[TABLE]
        return tuple(requantized("scaled", int(table.min()), int(table.max()), constants[MULTIPLIER], self.shift)[0])

    def macs(self, inputs: Sequence[Format]) -> int:
        return 0

    def lower(self, inputs: Sequence[Format], constants: Constants, context: LoweringContext) -> list[Instruction]:
        out, table = self.infer(inputs), inputs[TABLE]
        require_channels(context, out.channels)
        context.require(IDS not in constants, "the ids are a constant: fold the embedding")
        values = {
            "ids": context.address(IDS),
            "tokens": out.rows,
            "columns": out.channels,
            "table": context.place_rows("table", constants[TABLE], table),
            "vocabulary": table.rows,
            "multipliers": context.place("multiplier", constants[MULTIPLIER].astype(np.int32)),
            "shift": self.shift,
            "y": context.output_address(),
            "y_bits": out.bits,
            "y_bytes": storage_bytes(out.bits),
            "y_signed": int(out.signed),
        }
        return [Instruction(EMBEDDING, values)]

    @classmethod
    def template_arguments(cls, architecture: Architecture) -> dict[str, int]:
        return {"EMBEDDING_IDS": BLOCK}

    @classmethod
    def cycles(cls, values: Mapping[str, int], architecture: Architecture) -> Cycles:
        tokens, columns = values["tokens"], values["columns"]
        blocks, rest = divmod(tokens, BLOCK)
        return Cycles(
            {
                "load ids": blocks * row_loop(BLOCK, 4, architecture) + (row_loop(rest, 4, architecture) if rest else 0),
                "load multipliers": tokens + ceil_div(tokens, BLOCK) * MEMORY_DEPTH,
                "load rows": tokens * row_loop(columns, 1, architecture),
                "compute": tokens * vector_loop(columns, architecture),
                "store": tokens * row_loop(columns, values["y_bytes"], architecture),
            }
        )

    @classmethod
    def resources(cls, architecture: Architecture) -> Resources:
        """A lane multiplies 17 x 18 bit (one DSP); the address of a table row is a 32-bit product (three). Memories: two banked
        rows of 17 bit, a block's ids (32 bit, a bank an integer of a word) and its multipliers (18 bit)."""
        integers = architecture.word_bytes // 4
        halves = 2 * row_buffer_halves(architecture) + memory_halves(integers, ceil_div(BLOCK, integers), 32)
        halves += memory_halves(1, BLOCK, 18)
        unknown = Unknown("no synthesis has been run for this unit")
        return Resources(architecture.vector + 3, unknown, unknown, ceil_div(halves, 2), 0)

    @classmethod
    def cases(cls, rng: np.random.Generator) -> list[Case]:
        made = []
        for name, tokens, vocabulary, columns, bits, signed in [
            ("one token", 1, 1, 1, 16, True),
            ("two blocks", 67, 300, 96, 16, True),
            ("saturated", 64, 17, 130, 8, True),
            ("unsigned", 5, 1000, 40, 12, False),
        ]:
            ids = rng.integers(0, vocabulary, size=(2, tokens))
            ids[:, 0] = (vocabulary - 1, (1 << 32) - 1)  # the last row, and beyond it
            ids[:, -1] = vocabulary
            table = rng.integers(-128, 128, size=(vocabulary, columns))
            multiplier = rng.integers(1 << 10, 1 << 17, size=vocabulary)
            formats = (Format((tokens,), 32, False), Format(table.shape, 8, True), Format((vocabulary,), 32, True))
            op = cls(16 if bits == 8 else 10, bits, signed)
            made.append(Case(name, op, formats, (ids, table, multiplier), frozenset({TABLE, MULTIPLIER})))
        return made
