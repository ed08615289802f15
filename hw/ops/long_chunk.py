"""What units with results of up to 24 bits have in common: lanes, loops, costs (long_chunk.hpp and interpolate.hpp)."""

from __future__ import annotations

from edgeflow.hw.architecture import LINE_BYTES, Architecture, ceil_div
from edgeflow.hw.cost import Loop, Resources
from edgeflow.hw.primitives import adder_luts, lutram_luts, mux_luts, registers

MAXIMUM_BITS = 24
WORDS = 4  # storage of an element: four bytes (hw/program.py)
LINE_INTEGERS = LINE_BYTES // 4
KNOT_BITS = 24
SEGMENT_DEPTH = 4  # stages of the loop that fills a table: queue, word before, difference, write
ADDRESS_BITS = 32


def common_lanes(architecture: Architecture) -> int:
    """Lanes at work where results take four bytes: what one line holds, at most."""
    return min(architecture.vector, LINE_INTEGERS)


def lanes(storage: int, architecture: Architecture) -> int:
    """Elements a trip of a unit that writes results in ``storage``."""
    return common_lanes(architecture) if storage == WORDS else architecture.vector


def segment_loop(knots: int, architecture: Architecture) -> Loop:
    """The loop that takes a table of ``knots`` 32-bit integers from the weight stream, a word a trip and one more."""
    line_words = LINE_BYTES // architecture.stream_bytes
    return Loop(ceil_div(knots, LINE_INTEGERS) * line_words + 1, depth=SEGMENT_DEPTH)


def segment_tables(segments: int, architecture: Architecture) -> int:
    """LUTs of the tables: an entry and a difference for each segment in memories of LUTs, one pair a lane, with a bank for each
    integer of a stream word and a choice of bank."""
    banks = architecture.stream_bytes // 4
    table = banks * lutram_luts(KNOT_BITS, ceil_div(segments, banks)) + mux_luts(banks, KNOT_BITS)
    return 2 * architecture.vector * table + banks * adder_luts(KNOT_BITS)


def chunk_read(architecture: Architecture) -> Resources:
    """The way from a line to the lanes: the line registered twice, then for each lane a choice of chunk and of storage."""
    choices = LINE_BYTES // common_lanes(architecture)
    lut = architecture.vector * (mux_luts(choices, 8) + mux_luts(max(choices // 2, 1), 16) + mux_luts(2, 17))
    return Resources(0, lut + 2 * adder_luts(ADDRESS_BITS), registers(8 * LINE_BYTES, 2) + 17 * architecture.vector, 0, 0)


def chunk_write() -> Resources:
    """The way from the lanes to a line: each byte chooses among three storages; enables of 64 bytes; the line registered."""
    lut = LINE_BYTES * (mux_luts(3, 8) + 1) + 2 * adder_luts(ADDRESS_BITS)
    return Resources(0, lut, registers(9 * LINE_BYTES), 0, 0)
