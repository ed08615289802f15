"""The move unit, which concat, select, reshape and transpose share: strided copies in the scratchpad and their cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeflow.hw import field_widths, primitives
from edgeflow.hw.architecture import LINE_BYTES, NIBBLES, ROW_ELEMENTS, Architecture, ceil_div, round_up, row_lines, storage_bytes
from edgeflow.hw.arrays import Array, IntArray
from edgeflow.hw.cost import Cycles, Resources
from edgeflow.hw.cost import Loop as CostLoop
from edgeflow.hw.graph import Format
from edgeflow.hw.ops.base import (
    Constants,
    Instruction,
    InstructionLayout,
    LoweringContext,
    Operator,
    Register,
    VectorUnit,
    of_width,
)
from edgeflow.hw.ops.vector import SCRATCH_DEPTH, SCRATCH_WRITE_DEPTH, check_on_chip

COUNTERS = 4
ADDRESS_BITS = field_widths.BYTE_ADDRESS.bits
ROTATE_DEPTH = 3  # stages of the line's rotation

MOVE = InstructionLayout(
    "move",
    11,
    (
        *("source", "run", "constant", "steps"),
        *("y", "y_stride", "column", "columns"),
        *of_width(field_widths.COUNT, *(f"n{k}" for k in range(COUNTERS))),
        *(f"d{k}" for k in range(COUNTERS)),
    ),
    arguments=("stream", "scratch"),
)

Loop = tuple[int, int]  # count, stride in elements


@dataclass(frozen=True)
class Target:
    """The part of a tensor that is written: ``rows`` x ``columns`` from ``row`` and ``column`` on."""

    line: int
    format: Format
    rows: int
    columns: int
    row: int = 0
    column: int = 0

    @property
    def fields(self) -> dict[str, int]:
        """The descriptor's fields of the target, in bytes where not in lines."""
        width, stride = storage_bytes(self.format.bits), row_lines(self.format.channels, self.format.bits)
        return {
            "y": self.line + self.row * stride,
            "y_stride": stride * LINE_BYTES,
            "column": self.column * width,
            "columns": self.columns * width,
        }


def strides(format: Format) -> tuple[int, ...]:
    """Elements in memory from one index to the next, for every axis: rows are padded."""
    padded = (*format.shape[:-1], round_up(format.channels, ROW_ELEMENTS))
    return tuple(math.prod(padded[i + 1 :]) for i in range(len(format.shape)))


def merged(loops: Sequence[Loop]) -> list[Loop]:
    """The same addresses in the same order with as few loops as possible, at least one."""
    fewest: list[Loop] = []
    for count, stride in loops:
        if count == 1:
            continue
        if fewest and fewest[-1][1] == count * stride:
            fewest[-1] = (fewest[-1][0] * count, stride)
        else:
            fewest.append((count, stride))
    return fewest or [(1, 1)]


def pieces(starts: NDArray[np.int64], run: int, column: int, columns: int) -> int:
    """Cycles of a copy: pieces that end with a run, a row, a line of the source or a line of the target.

    ``starts``: the byte address of every run of ``run`` bytes; ``column``, ``columns``: first byte and bytes of every target row,
    which starts with a line.
    """
    done = np.arange(starts.size, dtype=np.int64)[:, None] * run + np.arange(run, dtype=np.int64)
    source = starts[:, None] + np.arange(run, dtype=np.int64)
    inside = done % columns
    first = inside == 0
    first[:, 0] = True
    first |= source % LINE_BYTES == 0
    first |= (column + inside) % LINE_BYTES == 0
    return int(np.count_nonzero(first))


def move(line: int, first: int, loops: Sequence[Loop], target: Target) -> Instruction:
    """The instruction that writes the elements which nested ``loops`` (outermost first) visit to the target in order.

    ``line``, ``first``: the source tensor, and the element of it to start from. ValueError if that takes too many loops.
    """
    width = storage_bytes(target.format.bits)
    nest = merged(loops)
    run = width
    if nest[-1][1] == 1:
        run *= nest.pop()[0]
    if len(nest) > COUNTERS:
        raise ValueError(f"a move has at most {COUNTERS} nested loops of runs, not {len(nest)}")
    steps = [(1, 0)] * (COUNTERS - len(nest)) + [(count, stride * width) for count, stride in nest]
    source = line * LINE_BYTES + first * width
    starts = np.array([source], dtype=np.int64)
    for count, stride in steps:
        starts = (starts[:, None] + np.arange(count, dtype=np.int64) * stride).reshape(-1)
    place = target.fields
    values = {
        "source": source,
        "run": run,
        "constant": 0,
        "steps": pieces(starts, run, place["column"], place["columns"]),
        **place,
    }
    inside = 0
    for k in reversed(range(COUNTERS)):
        count, stride = steps[k]
        values |= {f"n{k}": count, f"d{k}": stride - inside if count > 1 else 0}
        inside += (count - 1) * stride
    return Instruction(MOVE, values)


def move_constant(what: str, value: IntArray, target: Target, context: LoweringContext) -> Instruction:
    """The instruction that writes a constant, whose bytes the weight stream brings in the lines that they will occupy."""
    place = target.fields
    column, columns = place["column"] % LINE_BYTES, place["columns"]
    lines = ceil_div(column + columns, LINE_BYTES)
    stored = np.asarray(value).reshape(target.rows, target.columns)
    raw = stored.astype("<i8").view(np.uint8).reshape(target.rows, target.columns, 8)[:, :, : storage_bytes(target.format.bits)]
    placed: Array = np.zeros((target.rows, lines * LINE_BYTES), dtype=np.uint8)
    placed[:, column : column + columns] = raw.reshape(target.rows, columns)
    values = dict.fromkeys(MOVE.names, 0) | place | {"constant": 1, "steps": target.rows * lines}
    return Instruction(MOVE, values, context.stream(what, placed))


class MoveOperator(VectorUnit, Operator):
    """What every operator of the move unit states alike: it computes nothing, and rows of any length pass."""

    header: ClassVar[str] = "move.hpp"
    instruction: ClassVar[InstructionLayout] = MOVE
    counters: ClassVar[tuple[str, ...]] = ("move", "move constant")
    codes: ClassVar[Mapping[str, int]] = {"MOVE_COUNT_BITS": MOVE.bits("n0")}

    def registers(self, inputs: Sequence[Format], constants: Constants) -> tuple[Register, ...]:
        return ()

    def macs(self, inputs: Sequence[Format]) -> int:
        return 0

    def demands(self, inputs: Sequence[Format]) -> dict[str, int]:
        return {}

    def movable(self, inputs: Sequence[Format], constants: Constants, context: LoweringContext) -> Format:
        """The output's format; refuses what the unit cannot copy: elements of more than two bytes, and halves of bytes."""
        out = self.infer(inputs)
        check_on_chip(context, out, "tensors")
        for i in range(len(inputs)):
            if i not in constants:
                context.require(context.storage(i) != NIBBLES, "only linear layers read two rows to a line")
        context.require(context.output_storage() != NIBBLES, "only layer normalization and linear layers write two rows to a line")
        return out

    @classmethod
    def template_arguments(cls, architecture: Architecture) -> dict[str, int]:
        return {}

    @classmethod
    def cycles(cls, values: Mapping[str, int], architecture: Architecture) -> Cycles:
        """A piece a cycle, or a line of the weight stream as it arrives.

        The pipeline reads a line, turns it in three stages and writes it.
        """
        steps = values["steps"]
        if values["constant"]:
            ii = LINE_BYTES // architecture.stream_bytes
            return Cycles({"move constant": CostLoop(steps, 1, ii, SCRATCH_WRITE_DEPTH)})
        return Cycles({"move": CostLoop(steps, 1, 1, SCRATCH_DEPTH + ROTATE_DEPTH)})

    @classmethod
    def resources(cls, architecture: Architecture) -> Resources:
        """No multiplier and no memory.

        LUTs: the rotation of a line by bytes; for each half, a byte address' adder and its choice of next start or next byte, the
        next start's adder with the choice of its step among the four counters, and the bytes left (16 bits, an adder, a choice and
        a comparison); an increment and a comparison of 16 bits for each counter; two comparisons with constants for every byte's
        write enable (a LUT each, six bits); the join of lines of the weight stream and of the scratchpad before the write.
        Registers: the line in each stage, the addresses, the counters, and their limits and steps.
        """
        count, length, byte = field_widths.COUNT.bits, field_widths.LINE_LENGTH.bits, field_widths.BYTE.bits
        line = byte * LINE_BYTES
        address = primitives.adder_luts(ADDRESS_BITS) + primitives.mux_luts(2, ADDRESS_BITS)
        start = primitives.adder_luts(ADDRESS_BITS)
        left = primitives.adder_luts(count) + primitives.mux_luts(2, count) + primitives.comparator_luts(count)
        counter = primitives.adder_luts(count) + primitives.comparator_luts(count)
        lut = primitives.rotator_luts(LINE_BYTES, byte) + 2 * (address + start + left) + primitives.mux_luts(COUNTERS, ADDRESS_BITS)
        lut += COUNTERS * counter + 3 * primitives.comparator_luts(count) + 3 * primitives.adder_luts(length)
        lut += 2 * LINE_BYTES + primitives.mux_luts(2, line)
        stages = SCRATCH_DEPTH + ROTATE_DEPTH
        ff = primitives.registers(line, ROTATE_DEPTH + 2) + primitives.registers(
            ADDRESS_BITS + field_widths.LINE_BYTE.bits + length, stages
        )
        ff += 2 * (2 * ADDRESS_BITS + count) + COUNTERS * (2 * count + ADDRESS_BITS)
        return Resources(0, lut, ff, 0, 0)
