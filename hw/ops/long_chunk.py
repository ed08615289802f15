"""What units with results of up to 24 bits have in common: lanes, loops, costs (long_chunk.hpp and interpolate.hpp)."""

from __future__ import annotations

from dataclasses import dataclass

from edgeflow.hw.architecture import LINE_BYTES, WORDS, Architecture, ceil_div
from edgeflow.hw.cost import Loop
from edgeflow.hw.cpp_widths import ELEMENT, KNOT, LONG_ELEMENT
from edgeflow.hw.field_widths import BYTE, STORED, WORD
from edgeflow.hw.primitives import adder_luts, lutram_luts, mux_luts, registers

MAXIMUM_BITS = LONG_ELEMENT.bits - 1  # of a result, whether signed or not
LINE_INTEGERS = LINE_BYTES // 4
SEGMENT_DEPTH = 4  # stages of the loop that fills a table: queue, word before, difference, write
ADDRESS_BITS = WORD.bits


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
    table = banks * lutram_luts(KNOT.bits, ceil_div(segments, banks)) + mux_luts(banks, KNOT.bits)
    return 2 * architecture.vector * table + banks * adder_luts(KNOT.bits)


@dataclass(frozen=True)
class Logic:
    """LUTs and flip-flops of a part of a unit."""

    lut: int
    ff: int


def chunk_ends(architecture: Architecture) -> Logic:
    """The ways between the scratchpad and the lanes.

    In: the line registered twice, then for each lane a choice of chunk and of storage. Out: each byte chooses among three storages;
    enables of 64 bytes; the line registered. An address each.
    """
    choices = LINE_BYTES // common_lanes(architecture)
    into = architecture.vector * (
        mux_luts(choices, BYTE.bits) + mux_luts(max(choices // 2, 1), STORED.bits) + mux_luts(2, ELEMENT.bits)
    )
    back = LINE_BYTES * (mux_luts(3, BYTE.bits) + 1)
    ff = registers(BYTE.bits * LINE_BYTES, 2) + ELEMENT.bits * architecture.vector + registers((BYTE.bits + 1) * LINE_BYTES)
    return Logic(into + back + 4 * adder_luts(ADDRESS_BITS), ff)
