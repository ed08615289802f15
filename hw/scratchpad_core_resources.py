"""What the scratchpad core (:mod:`edgeflow.hw.scratchpad_core`) takes of a device, counted from the structure of its Verilog.

Flip-flops and block memories are exactly those of synthesis by yosys, LUTs within 15 % (``scripts/check_scratchpad.py``). The
register behind each block memory counts as flip-flops; vendors' tools take it into the memory.
"""

from __future__ import annotations

from edgeflow.hw.cost import Logic
from edgeflow.hw.field_widths import BYTE
from edgeflow.hw.primitives import adder_luts, comparator_luts, lutram_luts, mux_luts
from edgeflow.hw.scratchpad_core import ScratchpadCore


def resources(core: ScratchpadCore) -> Logic:
    """The whole core."""
    return bank(core) * core.banks + reader(core) * core.readers + writer(core) * core.writers


def bank(core: ScratchpadCore) -> Logic:
    """Who is first (of each client whether it waits, and its part of the number chosen); the choice of row and write; for each byte
    two comparisons with its place, and an enable a lane; the register behind the memory. Of memories for lines of both kinds, which
    one a row is in, its place in the second, and whose word comes."""
    halves = 2 if core.half_lines else 0
    row, line = (core.lines // core.banks - 1).bit_length(), BYTE.bits * core.line_bytes
    write = line + 2 * core.place_bits + 1 + row + halves
    first = 2 * (core.readers + core.writers)
    enables = core.line_bytes * (2 + 2 * (core.half_lines > 0) + (core.half_lines < core.lines))
    lut = first + mux_luts(core.readers, row) + mux_luts(core.writers, write) + enables
    both, rows = 0 < core.half_lines < core.lines, core.half_lines // core.banks
    if both:
        high = row - (rows & -rows).bit_length() + 1  # lower bits are the same in both memories
        lut += 2 * (comparator_luts(high) + adder_luts(high)) + mux_luts(2, line)
    return Logic(lut, 1 + row + 1 + write + line + both, bram18=core.block_memories // core.banks)


def reader(core: ScratchpadCore) -> Logic:
    """Which bank it wants; the bank that answers, three cycles later; the queue."""
    select = (core.banks - 1).bit_length()
    line = BYTE.bits * core.line_bytes
    return queue(line, core.queue) + Logic(core.banks + 2 + mux_luts(core.banks, line), 3 * (1 + select))


def writer(core: ScratchpadCore) -> Logic:
    """Which bank it wants; the byte behind the last; the queue of notices."""
    return queue(2, core.notices) + Logic(core.banks + 3 + adder_luts(core.place_bits + 1), 0)


def queue(bits: int, words: int) -> Logic:
    """Its memory, a pointer to each end, what is free and what is stored, and whether these are 0."""
    pointer = (words - 1).bit_length()
    counters = 2 * pointer + 2 * (pointer + 1)
    return Logic(counters + 2 + lutram_luts(bits, words), counters)
