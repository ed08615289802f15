"""What the vector units have in common: checks of their formats, the ranges of requantized values, stages of their pipelines."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgeflow.hw import cpp_widths as widths
from edgeflow.hw.arithmetic import round_shift
from edgeflow.hw.arrays import IntArray
from edgeflow.hw.exact_float import BLOCK_ELEMENTS, blocked
from edgeflow.hw.field_widths import COUNT, ROWS
from edgeflow.hw.graph import Format
from edgeflow.hw.ops.base import LoweringContext, Register

SCRATCH_READ_DEPTH = 4  # stages that read a line: address, memory, its output register, choice of memory
SCRATCH_WRITE_DEPTH = 3  # stages that write one: choice of storage, byte enables, memory
SCRATCH_DEPTH = SCRATCH_READ_DEPTH + SCRATCH_WRITE_DEPTH
REQUANTIZE_DEPTH = 8  # multiply in a DSP slice with its registers (4), add half, shift (2), saturate
MAXIMUM_SHIFT = widths.PRODUCT.bits - 2  # the sign and a bit stay
AXI_DEPTH = 3  # stages of a word's way from an AXI port besides the memory's latency: address, request, data register


def check_row_format(bits: int, what: str) -> None:
    """ValueError unless ``bits`` is a width that rows of the vector units can have."""
    if not 1 <= bits <= 16:
        raise ValueError(f"the {what} must have 1 to 16 bits, not {bits}")


def check_shift(shift: int) -> None:
    """ValueError unless a product can be shifted by ``shift``."""
    if not 0 <= shift <= MAXIMUM_SHIFT:
        raise ValueError(f"a shift must lie between 0 and {MAXIMUM_SHIFT}, not {shift}")


def require_channels(context: LoweringContext, channels: int) -> None:
    """Refuse rows that are longer than the accelerator's row buffers, or than instructions can say."""
    limit = min(context.architecture.max_channels, COUNT.maximum)
    context.require(channels <= limit, f"rows of {channels} channels exceed the accelerator's {limit} (max_channels)")


def require_rows(context: LoweringContext, rows: int) -> None:
    """Refuse more rows than an instruction can say."""
    context.require(rows <= ROWS.maximum, f"{rows} rows exceed the {ROWS.maximum} of an instruction")


def check_on_chip(context: LoweringContext, format: Format, what: str) -> None:
    """Refuse elements that the scratchpad cannot hold."""
    context.require(format.bits <= 16, f"{what} of {format.bits} bits do not fit the scratchpad, whose elements have at most 16")


def value_range(format: Format, constant: IntArray | None) -> tuple[int, int]:
    """Smallest and largest value of an operand: those of the constant, or of the format."""
    if constant is None or constant.size == 0:
        return format.minimum, format.maximum
    return int(constant.min()), int(constant.max())


def requantized(name: str, low: int, high: int, multiplier: IntArray | int, shift: int) -> tuple[list[Register], int, int]:
    """Registers of ``rq(v, multiplier, shift)`` for ``low <= v <= high``, and the range of the result."""
    m = np.asarray(multiplier, dtype=np.int64)
    ends = np.stack([m * low, m * high])
    least, most = int(ends.min(initial=0)), int(ends.max(initial=0))
    half = 1 << (shift - 1) if shift else 0
    registers = [
        Register(f"{name} multiplier", widths.MULTIPLIER, int(m.min(initial=0)), int(m.max(initial=0))),
        Register(f"{name} product", widths.PRODUCT, least, most + half),
        Register(f"{name} shift", widths.SHIFT, 0, shift),
    ]
    result = round_shift(np.array([least, most], dtype=np.int64), shift)
    return registers, int(result[0]), int(result[1])


def plane_blocks(planes: int, rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    """Slices of the first two axes of ``(planes, rows, columns)``, about ``BLOCK_ELEMENTS`` elements each."""
    if rows * columns >= BLOCK_ELEMENTS:
        for plane in range(planes):
            for block in blocked(rows, columns):
                yield slice(plane, plane + 1), block
    else:
        for block in blocked(planes, rows * columns):
            yield block, slice(0, rows)
