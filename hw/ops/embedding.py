"""Embedding: rows of an int8 table, gathered by id and requantized."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeflow.hw import cpp_widths as widths
from edgeflow.hw import field_widths, primitives
from edgeflow.hw.architecture import LINE_BYTES, NIBBLES, WORDS, Architecture, ceil_div, round_up, storage_bytes
from edgeflow.hw.arithmetic import requantize, saturate
from edgeflow.hw.arrays import Array, IntArray
from edgeflow.hw.cost import Cycles, Logic, Loop, Resources
from edgeflow.hw.exact_float import WORK, blocked, requantize_rows
from edgeflow.hw.field_widths import holding
from edgeflow.hw.graph import Format
from edgeflow.hw.lanes import embedding_lane
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
    element_register,
    of_width,
    register,
)
from edgeflow.hw.ops.rows import RowSplit
from edgeflow.hw.ops.vector import (
    AXI_DEPTH,
    REQUANTIZE_DEPTH,
    SCRATCH_WRITE_DEPTH,
    check_row_format,
    check_shift,
    requantized,
)

BLOCK_BYTES = 256  # of ids that are read at a time
HEAD_BYTES = 16  # before a row's elements; holds the row's multiplier
ID_SHIFT = holding(WORDS // 2, "bytes of an id: 2 to the power of it")

EMBEDDING = InstructionLayout(
    "embedding",
    9,
    (
        *("ids", "tokens", "table", "vocabulary", "y", "before", "padding"),
        *of_width(field_widths.COUNT, "columns", "row_words"),
        *of_width(ID_SHIFT, "id_shift"),
        *of_width(widths.SHIFT, "shift"),
        *of_width(field_widths.RESULT_BITS, "y_bits"),
        *of_width(field_widths.STORAGE, "y_bytes"),
        *of_width(field_widths.FLAG, "y_signed", "counted"),
    ),
    arguments=("constants", "memory", "scratch"),
)

# Of a row's number and of the words of a row: their product is one DSP slice.
ROW_BITS = EMBEDDING.bits("row_words")

IDS, TABLE, MULTIPLIER = range(3)


@register
@dataclass(frozen=True)
class Embedding(VectorUnit, Operator):
    """Inputs: ``ids (S,)`` unsigned, up to 32 bits, in external memory; ``table (V, D)`` int8; ``multiplier (V,)``. Output
    ``(S, D)`` of ``bits``, ``signed``.

    ``i = min(id, V - 1)``, ``y = sat(rq(table[i], multiplier[i], shift))``.
    """

    shift: int
    bits: int
    signed: bool

    name: ClassVar[str] = "embedding"
    header: ClassVar[str] = "embedding.hpp"
    reads_lines: ClassVar[bool] = False
    instruction: ClassVar[InstructionLayout] = EMBEDDING
    counters: ClassVar[tuple[str, ...]] = ("embedding ids", "embedding row")
    codes: ClassVar[Mapping[str, int]] = {"EMBEDDING_ROW_WORDS_BITS": ROW_BITS}
    ports: ClassVar[tuple[Port, ...]] = (
        Port("ids", external=True),
        Port("table", constant=True),
        Port("multiplier", constant=True),
    )

    def infer(self, inputs: Sequence[Format]) -> Format:
        ids, table, multiplier = inputs
        check_row_format(self.bits, "output")
        check_shift(self.shift)
        if len(ids.shape) != 1 or ids.signed or ids.bits > 32:
            kind = "signed" if ids.signed else "unsigned"
            raise ValueError(f"ids must be one row of up to 32 unsigned bits, not {ids.bits} {kind} bits of shape {ids.shape}")
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
        return (
            Register("id", widths.TOKEN_ID, 0, max(inputs[IDS].maximum, table.shape[0])),
            Register("row", widths.TABLE_ROW, 0, table.shape[0] - 1),
            Register("table entry", widths.ACCUMULATOR, int(table.min()), int(table.max())),
            *requantized("scaled", int(table.min()), int(table.max()), constants[MULTIPLIER], self.shift)[0],
            element_register("output", self.infer(inputs)),
        )

    def macs(self, inputs: Sequence[Format]) -> int:
        return 0

    def demands(self, inputs: Sequence[Format]) -> dict[str, int]:
        return {}

    def row_split(self, inputs: Sequence[Format], constants: Collection[int]) -> RowSplit | None:
        return RowSplit(self.infer(inputs).rows, (), period=LINE_BYTES // storage_bytes(inputs[0].bits), elements=0)

    def lower(self, inputs: Sequence[Format], constants: Constants, context: LoweringContext) -> list[Instruction]:
        out, table = self.infer(inputs), inputs[TABLE]
        context.require(IDS not in constants, "the ids are a constant: fold the embedding")
        context.require(context.output_storage() != NIBBLES, "only linear layers write two rows to a line")
        row_bytes = HEAD_BYTES + round_up(table.channels, HEAD_BYTES)
        row_words = row_bytes // context.architecture.word_bytes
        context.require(
            table.rows <= widths.TABLE_ROW.maximum,
            f"a table of {table.rows} rows exceeds the accelerator's {widths.TABLE_ROW.maximum}",
        )
        context.require(row_words < 1 << ROW_BITS, f"rows of {table.channels} channels exceed the addresses of the unit")
        image = np.zeros((table.rows, row_bytes), dtype=np.uint8)
        image[:, :4] = constants[MULTIPLIER].astype("<i4").view(np.uint8).reshape(table.rows, 4)
        image[:, HEAD_BYTES : HEAD_BYTES + table.channels] = constants[TABLE].astype(np.int8).view(np.uint8)
        values = {
            **self.rows_read(inputs[IDS], context),
            "id_shift": storage_bytes(inputs[IDS].bits) // 2,
            "columns": out.channels,
            "table": context.place("table", image),
            "row_words": row_words,
            "vocabulary": table.rows,
            "shift": self.shift,
            "y": context.output_address(),
            "y_bits": out.bits,
            "y_bytes": storage_bytes(out.bits),
            "y_signed": int(out.signed),
        }
        return [Instruction(EMBEDDING, values)]

    def rows_read(self, ids: Format, context: LoweringContext) -> dict[str, int]:
        """Where the ids are, how many, and how a row of the table follows from them: here each names its row itself."""
        return {"ids": context.address(IDS), "tokens": ids.channels, "before": 0, "counted": 0, "padding": 0}

    @classmethod
    def template_arguments(cls, architecture: Architecture) -> dict[str, int]:
        return {}

    @classmethod
    def cycles(cls, values: Mapping[str, int], architecture: Architecture) -> Cycles:
        """A word a cycle, the ids of a block first, then the row of each of its tokens: a burst for each. The ``before`` first
        tokens have no row."""
        tokens, shift = values["tokens"], values["id_shift"]
        rows = tokens - values["before"]
        blocks, rest = divmod(tokens << shift, BLOCK_BYTES)
        words = blocks * (BLOCK_BYTES // architecture.word_bytes) + ceil_div(rest, architecture.word_bytes)
        return Cycles(
            {
                "embedding ids": Loop(words, blocks + (rest > 0), 1, AXI_DEPTH, "read"),
                "embedding row": Loop(
                    rows * values["row_words"], rows, 1, AXI_DEPTH + REQUANTIZE_DEPTH + SCRATCH_WRITE_DEPTH, "constants"
                ),
            }
        )

    @classmethod
    def resources(cls, architecture: Architecture) -> Resources:
        """A lane for each byte of a word; a lane multiplies 8 x 18 bits (one DSP), the address of a row is one product.

        LUTs of a lane: half is added to the product (26 bits), which is shifted (any distance, sign extended) and saturated, and a
        choice of storage; besides, the memory of a block of ids, the choice of an id in a word, counters (of positions, too), and
        the write enables of a line. Registers: product, shift and result of every lane, and a word.
        """
        a = architecture
        stored, identity = field_widths.STORED.bits, widths.TOKEN_ID.bits
        lanes = (embedding_lane(a.dsp_bits) + Logic(primitives.mux_luts(2, stored), stored)) * a.word_bytes
        ids = primitives.lutram_luts(a.axi_bits, BLOCK_BYTES // a.word_bytes, a.dsp_bits) + primitives.mux_luts(
            a.word_bytes, identity
        )
        control = (
            7 * primitives.adder_luts(identity)
            + 6 * primitives.comparator_luts(identity)
            + primitives.mux_luts(3, identity)
            + 2 * LINE_BYTES
        )
        ff = lanes.ff + 2 * a.axi_bits + 10 * identity
        address = primitives.multiplier_dsps(widths.TABLE_ROW.bits + 1, ROW_BITS + 1)
        return Resources(lanes.dsp + address, lanes.lut + ids + control, ff, 0, 0)

    @classmethod
    def cases(cls, rng: np.random.Generator) -> list[Case]:
        cases = []
        for name, tokens, vocabulary, columns, id_bits, bits, signed in [
            ("one token", 1, 1, 1, 32, 16, True),
            ("two blocks", 67, 300, 96, 32, 16, True),
            ("blocks of bytes", 260, 200, 33, 8, 16, True),
            ("ids of two bytes", 131, 301, 64, 16, 8, True),
            ("saturated", 64, 17, 130, 24, 8, True),
            ("unsigned", 5, 1000, 40, 32, 12, False),
        ]:
            ids = rng.integers(0, vocabulary, size=(2, tokens))
            ids[:, 0] = (vocabulary - 1, (1 << id_bits) - 1)  # the last row, and beyond it
            ids[:, -1] = vocabulary
            table = rng.integers(-128, 128, size=(vocabulary, columns))
            multiplier = rng.integers(1 << 10, 1 << 17, size=vocabulary)
            formats = (Format((tokens,), id_bits, False), Format(table.shape, 8, True), Format((vocabulary,), 32, True))
            op = cls(16 if bits == 8 else 10, bits, signed)
            cases.append(Case(name, op, formats, (ids, table, multiplier), frozenset({TABLE, MULTIPLIER})))
        return cases
