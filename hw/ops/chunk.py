"""What the units that work on chunks of ``vector`` elements have in common (``chunk.hpp``): sizes, and the cost of reaching the
scratchpad."""

from __future__ import annotations

from edgeflow.hw.architecture import LINE_BYTES, Architecture, ceil_div
from edgeflow.hw.cost import Logic
from edgeflow.hw.field_widths import BYTE
from edgeflow.hw.lanes import lay_chunk, take_chunk
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


def read_logic(architecture: Architecture) -> Logic:
    """What takes a chunk out of a line of either memory: the line's memory and a register, then its place and storage."""
    line = BYTE.bits * LINE_BYTES
    return Logic(mux_luts(2, line), line) + take_chunk(architecture.vector)


def write_logic(architecture: Architecture) -> Logic:
    """What puts a chunk into a line: the byte of each lane in three storages, a write enable for each byte and each half byte."""
    return lay_chunk(architecture.vector) + Logic(LINE_BYTES, 0)
