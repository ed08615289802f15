"""Masks of rows, which the units that reduce rows read ahead of them (``row_mask.hpp``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgeflow.hw import primitives
from edgeflow.hw.architecture import LINE_BYTES, Architecture, ceil_div
from edgeflow.hw.arrays import Array, IntArray
from edgeflow.hw.cost import Loop
from edgeflow.hw.graph import Format
from edgeflow.hw.ops.base import Constants, LoweringContext
from edgeflow.hw.ops.vector import SCRATCH_READ_DEPTH

MASK_LINES = 64  # lines of 64 rows whose mask is held
TEMPLATE_ARGUMENTS = {"ROW_MASK_LINES": MASK_LINES}
COUNTER = "row mask"
X, MASK = range(2)  # where the operators have their operands


def check_mask(inputs: Sequence[Format], has_mask: bool) -> None:
    """ValueError unless ``inputs`` are rows ``(S, D)`` and, exactly if ``has_mask``, a mask ``(S,)`` of at most 8 bits."""
    x = inputs[X]
    if len(x.shape) != 2:
        raise ValueError(f"the input {x.shape} must have two axes: rows and channels")
    if len(inputs) != 1 + has_mask:
        raise ValueError("a pool takes a mask exactly when has_mask says so")
    if has_mask and (inputs[MASK].shape != x.shape[:1] or inputs[MASK].bits > 8):
        mask = inputs[MASK]
        raise ValueError(f"the mask must have {x.shape[0]} elements of at most 8 bits, not {mask.shape} of {mask.bits} bits")


def counted_rows(inputs: Sequence[Array], has_mask: bool) -> Array:
    """Which rows count: booleans ``(samples, S)``."""
    shape = inputs[X].shape[:2]
    return np.broadcast_to(inputs[MASK] != 0 if has_mask else np.True_, shape)


def mask_fields(
    inputs: Sequence[Format], constants: Constants, has_mask: bool, context: LoweringContext
) -> tuple[dict[str, int], tuple[int, int]]:
    """The fields of the mask, and its segment of the weight stream where it is constant."""
    if not has_mask:
        return {"mask": 0, "mask_lines": 0, "has_mask": 0, "mask_constant": 0}, (0, 0)
    rows = inputs[X].rows
    lines = ceil_div(rows, LINE_BYTES)
    context.require(lines <= MASK_LINES, f"a mask of {rows} rows exceeds the accelerator's {MASK_LINES * LINE_BYTES}")
    fixed = MASK in constants
    segment = context.stream("mask", (constants[MASK] != 0).astype(np.uint8)) if fixed else (0, 0)
    address = 0 if fixed else context.address(MASK)
    return {"mask": address, "mask_lines": lines, "has_mask": 1, "mask_constant": int(fixed)}, segment


def mask_loops(values: Mapping[str, int], architecture: Architecture) -> dict[str, Loop]:
    """The loop that reads it, if there is one: a line as it arrives, whose bytes are counted in a tree of six levels."""
    if not values["has_mask"]:
        return {}
    return {COUNTER: Loop(values["mask_lines"], 1, LINE_BYTES // architecture.stream_bytes, SCRATCH_READ_DEPTH + 6)}


def mask_luts(*, counts: bool) -> int:
    """LUTs of the mask's memory, of its 64 comparisons with zero and with the rows left (three LUTs), and of the tree that counts
    the rows, where the unit asks for their number."""
    tree = primitives.adder_tree_luts(LINE_BYTES, 1) if counts else 0
    return LINE_BYTES * 3 + tree + primitives.lutram_luts(LINE_BYTES, MASK_LINES)


def draw_mask(rng: np.random.Generator, samples: int, rows: int) -> IntArray:
    """Masks ``(samples, rows)`` of unsigned bytes for tests: of no row, of every row, then random ones."""
    chosen = rng.integers(0, 2, size=(samples, rows)) * rng.integers(1, 256, size=(samples, rows))
    chosen[0] = 0
    chosen[1] = 255
    return chosen
