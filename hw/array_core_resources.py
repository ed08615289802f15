"""What the array core (:mod:`edgeflow.hw.array_core`) takes of a device, counted from the structure of its Verilog.

LUTs are functions, as a mapper counts them before two small ones share a LUT, and those of whole memory primitives. DSP slices and
memory primitives are exact; ``docs/accelerator.md`` compares the rest with synthesis by yosys, which the tests hold within 10 %.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeflow.hw.architecture import ceil_div
from edgeflow.hw.array_core import CASCADE, ArrayCore
from edgeflow.hw.cpp_widths import ACCUMULATOR, CASCADE_SUM, QUAD_SUM, WEIGHT
from edgeflow.hw.field_widths import BYTE
from edgeflow.hw.primitives import adder_luts, mux_luts

PAIR = 2 * WEIGHT.bits  # two weights
COUNT_BITS, LOAD_COUNT_BITS = 16, 20  # of a command's rows and steps, and of its words
OPERAND_BITS = {True: 14, False: 9}  # of an operand that travel, with and without the 4-bit mode


@dataclass(frozen=True)
class Part:
    """``lutram``: those of ``lut`` that are memory or shift registers."""

    dsp: int
    lut: int
    ff: int
    lutram: int

    def __add__(self, other: Part) -> Part:
        return Part(self.dsp + other.dsp, self.lut + other.lut, self.ff + other.ff, self.lutram + other.lutram)

    def __mul__(self, copies: int) -> Part:
        return Part(self.dsp * copies, self.lut * copies, self.ff * copies, self.lutram * copies)


def resources(core: ArrayCore) -> Part:
    """The whole core."""
    return entry(core) + column(core) * (core.po // 2)


def process(core: ArrayCore) -> Part:
    """The process around the core, with it: commands, the place of each step, the kinds of rows, notices."""
    slot, row, count = (core.slots - 1).bit_length(), (core.rows - 1).bit_length(), core.rows.bit_length()
    counters = 2 * COUNT_BITS + LOAD_COUNT_BITS  # rows, steps of a row, words
    memory = memory_luts(core, counters + slot + 5, 2) + memory_luts(core, 1, core.rows)
    source = BYTE.bits * core.pi + 4  # a step from one of two streams
    compared = 3 * ceil_div(counters, 5)  # with 0 when a command comes, with 1 when it begins, with 2 while it runs
    queues = 2 * (count + row) + 6
    lut = source + 2 * (counters + slot) + compared + queues + 2 * count + 20
    ff = counters + COUNT_BITS + 2 * slot + queues + count + 12
    return resources(core) + Part(0, lut + memory, ff, memory)


def column(core: ArrayCore) -> Part:
    """One column: two outputs."""
    groups, levels = core.pi // CASCADE, core.levels
    bank = min(core.load_bytes // 2, groups)
    sums = 2 * (1 + core.quad)  # of a step
    low, odd, high = CASCADE_SUM.bits, QUAD_SUM.bits, high_bits(core)
    slot, row = (core.slots - 1).bit_length(), (core.rows - 1).bit_length()

    weights = core.pi // bank * memory_luts(core, PAIR * bank, core.slots)
    queue = memory_luts(core, sums * ACCUMULATOR.bits, core.rows)
    trees = [low, high, *((odd, odd) if core.quad else ())]
    word, field = low + levels, odd + levels
    lut = sum(tree_luts(groups, bits) for bits in trees) + 2 * row
    lut += sums * 2 * adder_luts(ACCUMULATOR.bits)  # an addition, and before it the choice of nothing where new sums start
    ff = sum(tree_flip_flops(groups, bits) for bits in trees) + sums * ACCUMULATOR.bits + 2 * row
    delays = 2 * (7 + levels + 3 * core.quad)
    if core.quad:
        lut += (field + 1) + (high + levels if core.packed else 0) + 2 * max(levels, 1)
        lut += 2 * word - odd + 1
        # Words and fields wait for two differences and the choice.
        ff += (field + 1 + word + high + levels + 2 * field) + (high + 2 * levels + word + 2 * field) + 2 * (word + field)
    travels = (
        core.pi * OPERAND_BITS[core.quad] + 8 * slot + PAIR * lanes(core) + (core.pi * core.po // core.load_bytes).bit_length() + 6
    )
    dsp = core.pi * (1 if core.packed else 2)
    # Bits that three stages leave as they are become shift registers, two to a LUT: lower ones of fields, and modes beside them.
    waiting = 6 + (1 if core.packed else 2) * (odd - 1 + field) if core.quad else 4
    shifts = ceil_div(waiting, 2)
    ff += delays + travels + 2 * core.pi // bank - 3 * waiting * core.quad
    return Part(dsp, lut + weights + queue + shifts, ff, weights + queue + shifts)


def entry(core: ArrayCore) -> Part:
    """What stands once: operands are formed, words of weights decoded, rows counted; and which banks of a column a word writes."""
    slot = (core.slots - 1).bit_length()
    # A function a bit chooses the form of a weight; another the place of the upper weight of a packed pair in the 4-bit mode.
    decoder = PAIR + WEIGHT.bits * (core.quad and core.packed)
    banks = core.po // 2 * core.pi // min(core.load_bytes // 2, core.pi // CASCADE)
    credits = 2 * core.rows.bit_length()
    step = slot + 4 + 2 * core.pi  # of a class
    word = slot + 4 + BYTE.bits * core.load_bytes
    lut = decoder * lanes(core) + OPERAND_BITS[core.quad] * core.pi + banks + 2 * credits
    ff = CASCADE * word + 3 * step + PAIR * lanes(core) + OPERAND_BITS[core.quad] * core.pi + 8 * slot + credits + 16
    return Part(0, lut + step, ff, step)  # two classes of four wait in shift registers


def lanes(core: ArrayCore) -> int:
    """Pairs of weights that travel from column to column: those of a word, or, where a column has more, one for each of them."""
    of_word = (4 if core.quarters else 2) * core.load_bytes // 2
    return CASCADE * min(of_word, core.pi // CASCADE) if of_word < core.pi else of_word


def high_bits(core: ArrayCore) -> int:
    """Bits of a cascade's upper word that are added: those of its sum; enough of field 3 to tell the sum of field 2 from it."""
    return max(CASCADE_SUM.bits, 15 + core.levels) if core.quad and core.packed else CASCADE_SUM.bits


def tree_luts(inputs: int, bits: int) -> int:
    """LUTs of a tree over ``inputs`` numbers of ``bits``: an adder's highest bit is its carry and takes none."""
    return sum((inputs >> level + 1) * adder_luts(bits + level) for level in range(inputs.bit_length() - 1))


def tree_flip_flops(inputs: int, bits: int) -> int:
    """Flip-flops of the same tree with a register a level."""
    return sum((inputs >> level + 1) * (bits + level + 1) for level in range(inputs.bit_length() - 1))


def memory_luts(core: ArrayCore, bits: int, words: int) -> int:
    """LUTs of a memory of one write and one read port. Of eight LUTs (7 series: four) that share a write address seven (three) hold
    data, 32 words of two bits or 64 words of one; deeper memories are several, and a choice."""
    size = 8 if core.packed else 4
    blocks = ceil_div(words, 64)
    return blocks * size * ceil_div(bits, (size - 1) * (2 if words <= 32 else 1)) + mux_luts(blocks, bits)
