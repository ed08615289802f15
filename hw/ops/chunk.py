"""What the units that work on chunks of ``vector`` elements have in common (``chunk.hpp``): sizes, and the cost of reaching the
scratchpad."""

from __future__ import annotations

from edgeflow.hw.architecture import LINE_BYTES, Architecture, ceil_div
from edgeflow.hw.cpp_widths import ELEMENT
from edgeflow.hw.field_widths import BYTE, NIBBLE, STORED
from edgeflow.hw.primitives import mux_luts


def power_of_two(least: int) -> int:
    """The smallest power of two that is not below ``least``."""
    return 1 << (least - 1).bit_length()


def stream_words(count: int, architecture: Architecture) -> int:
    """Words of the weight stream in the whole lines that hold ``count`` bytes: cycles to read them."""
    return ceil_div(count, LINE_BYTES) * LINE_BYTES // architecture.stream_bytes


def parameter_banks(architecture: Architecture, channel_bytes: int) -> tuple[int, int]:
    """Banks of a memory of parameters that is written a stream word and read a chunk at a time; and channels of a stream word."""
    word_channels = max(1, architecture.stream_bytes // channel_bytes)
    return max(architecture.vector, word_channels), word_channels


def read_luts(architecture: Architecture) -> int:
    """LUTs that take a chunk out of a line of either memory: the line's memory, then for each lane its place among the chunks of
    bytes and of pairs of bytes, which of two half bytes, and which of the three storages."""
    v = architecture.vector
    lane = (
        mux_luts(LINE_BYTES // v, BYTE.bits)
        + mux_luts(LINE_BYTES // 2 // v, STORED.bits)
        + mux_luts(2, NIBBLE.bits)
        + mux_luts(3, ELEMENT.bits)
    )
    return mux_luts(2, BYTE.bits * LINE_BYTES) + v * lane


def write_luts(architecture: Architecture) -> int:
    """LUTs that put a chunk into a line: the byte of each lane in three storages, and a write enable for each half byte of the
    narrow and each byte of the wide memory."""
    return architecture.vector * mux_luts(3, BYTE.bits) + 3 * LINE_BYTES
