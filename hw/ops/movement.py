"""The move unit, which concat, select, reshape, transpose and patches share: strided copies, their cycles and resources."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from edgeflow.hw.architecture import LINE_BYTES, ROW_ELEMENTS, Architecture, ceil_div, round_up, row_lines, storage_bytes
from edgeflow.hw.cost import Cycles, Resources, Unknown
from edgeflow.hw.graph import Format
from edgeflow.hw.ops.base import Constants, Instruction, InstructionLayout, Operator, Register
from edgeflow.hw.ops.vector import MEMORY_DEPTH

COUNTERS = 5

MOVE = InstructionLayout(
    "move",
    11,
    (
        *("source", "source_constant", "offset", "bytes", "words"),
        *("y", "y_stride", "column", "rows", "columns"),
        *(f"n{k}" for k in range(COUNTERS)),
        *(f"d{k}" for k in range(COUNTERS)),
    ),
)

Loop = tuple[int, int]  # count, stride in elements


@dataclass(frozen=True)
class Source:
    """Where elements come from: a line of the activation memory or of the weight image, and the element to start from."""

    line: int
    constant: bool
    first: int = 0


@dataclass(frozen=True)
class Target:
    """The part of a tensor that is written: ``rows`` x ``columns`` from ``row`` and ``column`` on."""

    line: int
    format: Format
    rows: int
    columns: int
    row: int = 0
    column: int = 0


def strides(format: Format) -> tuple[int, ...]:
    """Elements in memory from one index to the next, for every axis: rows are padded."""
    padded = (*format.shape[:-1], round_up(format.channels, ROW_ELEMENTS))
    return tuple(math.prod(padded[i + 1 :]) for i in range(len(format.shape)))


def merged(loops: Sequence[Loop]) -> list[Loop]:
    """The same addresses in the same order with as few loops as possible, at least one."""
    found: list[Loop] = []
    for count, stride in loops:
        if count == 1:
            continue
        if found and found[-1][1] == count * stride:
            found[-1] = (found[-1][0] * count, stride)
        else:
            found.append((count, stride))
    return found or [(1, 1)]


def move(source: Source, loops: Sequence[Loop], target: Target, architecture: Architecture) -> Instruction:
    """The instruction that writes the elements which nested ``loops`` (outermost first) visit to the target in order.

    Whole words are moved where runs of elements begin and end with words on both sides.
    """
    width, word = storage_bytes(target.format.bits), architecture.word_bytes
    nest = merged(loops)
    run, stride = nest[-1]
    aligned = all(s * width % word == 0 for s in (source.first, target.column, *(s for _, s in nest[:-1])))
    whole = run == target.columns or (run * width % word == 0 and target.columns * width % word == 0)
    by_word = aligned and whole and (stride == 1 or run == 1)
    columns = target.columns
    steps = [(count, s * width) for count, s in nest]
    if by_word:
        columns = ceil_div(columns * width, word)
        steps[-1] = (ceil_div(run * width, word), word)
    if len(steps) > COUNTERS:
        raise ValueError(f"a move has at most {COUNTERS} nested loops, not {len(steps)}")
    values = {
        "source": source.line,
        "source_constant": int(source.constant),
        "offset": source.first * width,
        "bytes": width,
        "words": target.rows * columns if by_word else 0,
        "y": target.line + target.row * row_lines(target.format.channels, target.format.bits),
        "y_stride": row_lines(target.format.channels, target.format.bits) * LINE_BYTES,
        "column": target.column * width,
        "rows": target.rows,
        "columns": columns,
    }
    steps = [(1, 0)] * (COUNTERS - len(steps)) + steps
    inside = 0
    for k in reversed(range(COUNTERS)):
        count, stride = steps[k]
        values |= {f"n{k}": count, f"d{k}": stride - inside if count > 1 else 0}
        inside += (count - 1) * stride
    return Instruction(MOVE, values)


class MoveOperator(Operator):
    """What every operator of the move unit states alike: it computes nothing, and rows of any length pass."""

    header: ClassVar[str] = "move.hpp"
    instruction: ClassVar[InstructionLayout] = MOVE

    def registers(self, inputs: Sequence[Format], constants: Constants) -> tuple[Register, ...]:
        return ()

    def macs(self, inputs: Sequence[Format]) -> int:
        return 0

    def demands(self, inputs: Sequence[Format]) -> dict[str, int]:
        return {}

    @classmethod
    def template_arguments(cls, architecture: Architecture) -> dict[str, int]:
        return {}

    @classmethod
    def cycles(cls, values: Mapping[str, int], architecture: Architecture) -> Cycles:
        """A unit a cycle. Element by element every row is a loop of its own; one that starts inside a word reads that word
        first."""
        if values["words"]:
            return Cycles({"words": values["words"] + MEMORY_DEPTH})
        parts = {"elements": values["rows"] * (values["columns"] + MEMORY_DEPTH)}
        if values["column"] % architecture.word_bytes:
            parts["first words"] = values["rows"] * MEMORY_DEPTH
        return Cycles(parts)

    @classmethod
    def resources(cls, architecture: Architecture) -> Resources:
        """Counters, adders and shifters only: no multiplier and no memory."""
        unknown = Unknown("no synthesis has been run for this unit")
        return Resources(0, unknown, unknown, 0, 0)
