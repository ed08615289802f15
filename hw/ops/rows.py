"""How an operator's output falls into blocks of rows that can be computed apart, for operands that exceed the scratchpad."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RowSplit:
    """How a node falls into blocks of output rows.

    ``inputs``: those of which a block needs the rows of the same numbers only. ``repeated``: operands whose rows repeat; the block
    needs them, as all others, whole. ``period``: a block has a multiple of so many rows, after which an operand repeats.
    ``elements``: an input in external memory of which a row needs the element of the same number. ``copies``: the rows are those of
    the inputs one after another, so that no unit runs.
    """

    rows: int
    inputs: tuple[int, ...]
    repeated: tuple[int, ...] = ()
    period: int = 1
    elements: int | None = None
    copies: bool = False
