"""What the formulas say of a block beside what synthesis takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgeflow.hw.cost import Logic
from edgeflow.hw.primitives import DSP_A, DSP_A_7_SERIES
from edgeflow.hw.synthesis import yosys
from edgeflow.hw.synthesis.array_blocks import array_blocks
from edgeflow.hw.synthesis.block import Block
from edgeflow.hw.synthesis.function_blocks import function_blocks
from edgeflow.hw.synthesis.memory_blocks import memory_blocks
from edgeflow.hw.synthesis.netlist import Counts
from edgeflow.hw.synthesis.primitive_blocks import primitive_blocks
from edgeflow.hw.synthesis.row_blocks import row_blocks

MARGIN = 0.15  # of what synthesis takes, by which a formula for LUTs or flip-flops may differ
SLACK = 2  # LUTs or flip-flops that any block may differ by
WIDE = {"xcup": DSP_A, "xc7": DSP_A_7_SERIES}


@dataclass(frozen=True)
class Row:
    """A block, what its formula says, and what synthesis takes."""

    block: Block
    formula: Logic
    counts: Counts

    @property
    def holds(self) -> bool:
        """Whether LUTs and flip-flops are within :data:`MARGIN`, and DSP slices and block memories equal."""
        pairs = ((self.formula.lut, self.counts.lut), (self.formula.ff, self.counts.ff))
        near = all(abs(said - taken) <= max(SLACK, MARGIN * taken) for said, taken in pairs)
        return near and (self.formula.dsp, self.formula.bram18) == (self.counts.dsp, self.counts.bram18)


def blocks(family: str) -> list[Block]:
    """Every block of a family of devices."""
    kinds = (primitive_blocks, memory_blocks, array_blocks, function_blocks, row_blocks)
    every = [block for kind in kinds for block in kind(WIDE[family])]
    return [block for block in every if family in block.families]


def compare(chosen: Sequence[Block], family: str) -> list[Row]:
    """Synthesize blocks and set their formulas beside."""
    return [Row(block, block.formula(), counts) for block, counts in zip(chosen, yosys.synthesize(chosen, family), strict=True)]


def markdown(rows: Iterable[Row]) -> list[str]:
    """Lines of a table: the formula, what synthesis takes, and their quotient."""
    lines = [
        "| block | LUTs: formula | yosys | quotient | of it memory | FFs: formula | yosys | quotient | DSP | RAMB18 |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        said, taken = row.formula, row.counts
        figures = (
            *(said.lut, taken.lut, _quotient(said.lut, taken.lut), taken.lutram or ""),
            *(said.ff, taken.ff, _quotient(said.ff, taken.ff)),
            *(_equal(said.dsp, taken.dsp), _equal(said.bram18, taken.bram18)),
        )
        lines.append(f"| {row.block.name} | " + " | ".join(str(figure) for figure in figures) + " |")
    return lines


def _quotient(said: int, taken: int) -> str:
    return f"{said / taken:.2f}" if taken else "" if not said else "none taken"


def _equal(said: int, taken: int) -> str:
    return (str(taken) if taken else "") if said == taken else f"{said} said, {taken} taken"
