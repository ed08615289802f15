"""What units with results of up to 24 bits have in common: lanes, loops, costs (long_chunk.hpp and interpolate.hpp)."""

from __future__ import annotations

from edgeflow.hw.architecture import LINE_BYTES, WORDS, Architecture, ceil_div
from edgeflow.hw.cost import Logic, Loop
from edgeflow.hw.cpp_widths import KNOT, LONG_ELEMENT
from edgeflow.hw.field_widths import BYTE, WORD
from edgeflow.hw.lanes import lay_chunk, take_chunk
from edgeflow.hw.primitives import adder_luts, mux_luts, registers

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


def segment_banks(architecture: Architecture) -> int:
    """Banks of a table: one for each integer of a stream word."""
    return architecture.stream_bytes // (WORD.bits // BYTE.bits)


def segment_load(architecture: Architecture) -> Logic:
    """What fills the tables: the differences of a word's integers from those that follow, which wait a cycle."""
    return Logic(adder_luts(KNOT.bits), 2 * KNOT.bits) * segment_banks(architecture)


def chunk_ends(architecture: Architecture) -> Logic:
    """The ways between the scratchpad and the lanes.

    In: the line's memory chosen and registered, then for each lane a choice of chunk and of storage. Out: each byte chooses among
    three storages; enables of 64 bytes; the line registered. An address each.
    """
    line = BYTE.bits * LINE_BYTES
    into = Logic(mux_luts(2, line), registers(line)) + take_chunk(architecture.vector)
    return into + lay_chunk(architecture.vector) + Logic(4 * adder_luts(ADDRESS_BITS), 0)
