"""What arithmetic and memories cost in primitives of an UltraScale+ device (and of 7 series, where it says so).

Every function is a count from the primitives that AMD documents, held to what yosys makes of the same structure
(``scripts/check_resources.py``): a LUT has six inputs, or
five shared by two outputs (UG574); carry logic adds one bit for each LUT; DSP48E2 multiplies 27 x 18 bits, signed (UG579);
a RAMB36 is two RAMB18 and UltraRAM is 72 x 4096 (UG573). ``docs/hardware.md`` says how units add them up.
"""

from __future__ import annotations

from functools import cache

from edgeflow.hw.architecture import ceil_div
from edgeflow.hw.cost import Logic, Resources

DSP_A, DSP_B = 27, 18  # signed operands of a DSP48E2
DSP_A_7_SERIES = 25  # wide operand of a DSP48E1
# RAMB18: width to depth. The widest mode reads on one port and writes on the other, so it serves no true dual-port memory.
_RAMB18 = ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))


def multiplier_dsps(a_bits: int, b_bits: int, wide: int = DSP_A) -> int:
    """DSP slices, which multiply ``wide`` x 18 bits, of a product of two signed operands.

    An operand wider than its port is cut into tiles; all but the highest tile are unsigned and lose the sign bit of the port: 17
    bits on the 18-bit port, 26 on the 27-bit port. The better of both orientations counts. Partial products are added in the
    slices' own post-adders. An unsigned operand of n bits is a signed one of n + 1.
    """
    return min(_tiles(a_bits, wide) * _tiles(b_bits, DSP_B), _tiles(b_bits, wide) * _tiles(a_bits, DSP_B))


def multiplier_luts(a_bits: int, b_bits: int) -> int:
    """LUTs of a product without DSP slices.

    A LUT and its carry bit add two partial products (four inputs), so pairs of rows of the shorter operand make numbers of
    ``long + 2`` bits, which a binary tree adds two positions apart, four, and so on.
    """
    long, short = max(a_bits, b_bits), min(a_bits, b_bits)
    if short <= 1:
        return ceil_div(long, 2) if short else 0  # an AND for each bit, two to a LUT
    count, width, step = ceil_div(short, 2), long + 2, 2
    luts = count * width
    while count > 1:
        luts += (count // 2) * width
        count, width, step = ceil_div(count, 2), width + step, 2 * step
    return luts


def adder_luts(bits: int) -> int:
    """LUTs of a sum or difference: one for each bit, with the carry chain beside it. A choice of add or subtract is free."""
    return bits


def adder_tree_luts(inputs: int, bits: int) -> int:
    """LUTs of the sum of ``inputs`` numbers in a binary tree that grows by one bit a level."""
    luts = 0
    while inputs > 1:
        bits += 1
        luts += (inputs // 2) * adder_luts(bits)
        inputs = ceil_div(inputs, 2)
    return luts


def tree_registers(inputs: int, bits: int) -> int:
    """Flip-flops of the same tree with a register after every level."""
    count = 0
    while inputs > 1:
        bits += 1
        inputs = ceil_div(inputs, 2)
        count += inputs * bits
    return count


def comparator_luts(bits: int) -> int:
    """LUTs of ``a < b``: two for three pairs of bits, with the carry chain beside them."""
    return ceil_div(2 * bits, 3)


def saturation(bits: int, kept: int) -> Logic:
    """Clipping a signed number of ``bits`` to a format of up to ``kept`` bits that a mask says (requantize.hpp: clip), with its
    register.

    The bits above are compared with the sign (three to a LUT, the levels that join them included), those of the format with the
    sign and the mask (one), and each is forced in a LUT.
    """
    return Logic(2 * kept + ceil_div(bits - kept, 3) + 2, kept)


def rounding(bits: int, *, kept: int = 0, ties: bool = False) -> Logic:
    """A shift by up to 63 places, rounded half up or with ``ties`` half to even (requantize.hpp: round_shift), with its registers.

    The doubled value is shifted in two stages of 16:1 and 4:1, and half of the last place is added in a third. Where only the
    lowest ``kept`` bits of the result are wanted, the second stage needs one more and the first four.
    """
    wanted = kept or bits
    coarse, fine = min(bits + 1, wanted + 4), min(bits + 1, wanted + 1)
    lut = shifter_luts(coarse, 16) + shifter_luts(fine, 4) + adder_luts(wanted) + (tie_luts(bits) if ties else 0)
    return Logic(lut, coarse + fine + wanted + 2 + 2 * ties)


def tie_luts(bits: int) -> int:
    """LUTs of telling whether those of ``bits`` that a mask picks are all zero: three with their mask to a LUT, then up to 36."""
    compared = ceil_div(bits, 3)
    return compared + ceil_div(compared, 6) + 1


def mux_luts(inputs: int, bits: int) -> int:
    """LUTs of choosing one of ``inputs`` words.

    A LUT chooses one of four; the F7, F8 and F9 multiplexers behind the LUTs join 2, 4 and 8 of them at no cost, so 32 inputs take
    8 LUTs a bit. Two 2:1 multiplexers with one select share a LUT.
    """
    if inputs <= 1:
        return 0
    if inputs == 2:
        return ceil_div(bits, 2)
    return bits * ceil_div(inputs, 4) + mux_luts(ceil_div(inputs, 32), bits)


def shifter_luts(bits: int, positions: int) -> int:
    """LUTs of shifting by 0 to ``positions - 1``: a stage for each bit of the distance, two stages (a 4:1 multiplexer) in a LUT."""
    stages = max(0, positions - 1).bit_length()
    return (stages // 2) * mux_luts(4, bits) + (stages % 2) * mux_luts(2, bits)


def rotator_luts(lanes: int, bits: int, kept: int = 0) -> int:
    """LUTs of rotating ``lanes`` words of ``bits`` by any number of lanes, if ``kept`` where only the first so many are wanted.

    A stage of 4:1 multiplexers for each base-4 digit of the distance, the highest first (rotate.hpp): of it only the words count
    that later stages can move to those wanted. The highest digit has one bit where ``lanes`` is no power of four; its 2:1
    multiplexers have no inputs in common with others.
    """
    luts, wanted, hop = 0, kept or lanes, 1
    while hop < lanes:
        luts += min(wanted, lanes) * bits
        wanted += 3 * hop
        hop *= 4
    return luts


def divider_luts(dividend_bits: int, divisor_bits: int) -> int:
    """LUTs of an unsigned division at one result a cycle.

    A stage a quotient bit subtracts the divisor; the choice of the difference or what it was taken from shares the LUTs of the
    subtraction. Bits of the dividend that wait for their stage, and those of the quotient for the last one, do so in shift
    registers, two of equal lengths to a LUT.
    """
    waiting = sum(delay_luts(2, cycles) for cycles in range(3, dividend_bits))
    return dividend_bits * (divisor_bits + 1) + waiting


def divider_registers(dividend_bits: int, divisor_bits: int) -> int:
    """Flip-flops of the same division: behind each stage but the last the remainder and the divisor; bits that wait for a stage or
    two."""
    return 2 * divisor_bits * (dividend_bits - 1) + 2 * (1 + 2) + 2


def product(a_bits: int, b_bits: int, wide: int = DSP_A) -> Logic:
    """A product of two signed operands in registered slices (:func:`multiplier_dsps`).

    Where two slices share the work, the low 17 bits wait a cycle for the rest. Of four, each starts a cycle after the one before,
    whose sum it takes: operands of the third and fourth wait in flip-flops, and low bits in shift registers.
    """
    slices = multiplier_dsps(a_bits, b_bits, wide)
    low = DSP_B - 1
    if slices == 1:
        return Logic(0, 0, 1)
    if slices == 2:
        return Logic(0, low, 2)
    return Logic(delay_luts(low, 3), 2 * low + 2 * (a_bits - low) + 2 * (b_bits - low), slices)


def delay(bits: int, cycles: int) -> Logic:
    """A delay: flip-flops for a cycle or two, else shift registers (:func:`delay_luts`)."""
    return Logic(0, bits * cycles) if cycles <= 2 else Logic(delay_luts(bits, cycles), 0)


def queue(bits: int, depth: int, wide: int = DSP_A, *, block_memory: bool = False) -> Logic:
    """A queue: its memory, a pointer to each end and the number of words, with what compares it with both ends."""
    pointer = (depth - 1).bit_length()
    control = Logic(5 * pointer + 5, 3 * pointer + 1)
    if block_memory:
        return control + Logic(0, 0, bram18=bram18(bits, depth))
    return control + Logic(lutram_luts(bits, depth, wide), bits)


def registers(bits: int, stages: int = 1) -> int:
    """Flip-flops that delay ``bits`` by ``stages`` cycles. Long delays are cheaper as shift registers: ``delay_luts``."""
    return bits * stages


def delay_luts(bits: int, stages: int) -> int:
    """LUTs of a delay in shift registers: 32 stages of a bit in a LUT (SRLC32E), or 16 stages of two bits (two SRL16E)."""
    whole, rest = divmod(stages, 32)
    return bits * whole + (0 if rest == 0 else ceil_div(bits, 2) if rest <= 16 else bits)


def rom_luts(bits: int, depth: int) -> int:
    """LUTs of a constant table: 64 x 1 or 32 x 2 a LUT, and a multiplexer behind them."""
    if depth <= 32:
        return ceil_div(bits, 2)
    blocks = ceil_div(depth, 64)
    return bits * blocks + mux_luts(blocks, bits)


def lutram_luts(bits: int, depth: int, wide: int = DSP_A) -> int:
    """LUTs of a small memory with one write and one read port, of a device whose slices have operands of ``wide`` bits.

    RAM32M16 holds 14 bits of 32 words and RAM64M8 7 bits of 64 in eight LUTs of a SLICEM, one of which takes the write address; in
    7 series RAM32M holds 6 and RAM64M 3 bits in four. Deeper memories join several with a read multiplexer, and decode which is
    written. LUTs of a slice that hold nothing are not counted.
    """
    words = 3 if wide == DSP_A_7_SERIES else 7
    if depth <= 32:
        return ceil_div(bits, 2) + ceil_div(bits, 2 * words)
    blocks = ceil_div(depth, 64)
    return blocks * (bits + ceil_div(bits, words)) + mux_luts(blocks, bits) + (blocks if blocks > 1 else 0)


@cache
def bram18(width: int, depth: int, *, dual: bool = False) -> int:
    """RAMB18 of one memory, two to a RAMB36. ``dual``: both ports read or write (else one reads, the other writes).

    The width is filled with columns of the modes 36 x 512 (not ``dual``), 18 x 1024, 9 x 2048, 4 x 4096, 2 x 8192 and 1 x 16384,
    whichever mixture takes fewest; RAMB36 modes are twice as deep and so equal two RAMB18 of the same mode.
    """
    modes = [(w, ceil_div(depth, d)) for w, d in _RAMB18 if not (dual and w == 36)]
    whole = max(0, ceil_div(width, 36) - 2)  # the cheapest columns by bits; only what they leave needs a search
    best_width, best = min(modes, key=lambda mode: (mode[1] / mode[0], mode[0]))
    used = whole * 36 // best_width
    rest = width - used * best_width
    least = [0] * (rest + 1)
    for bits in range(1, rest + 1):
        least[bits] = min(count + least[max(0, bits - w)] for w, count in modes)
    return used * best + least[rest]


def ram_bram36(width: int, depth: int, banks: int = 1, *, dual: bool = False) -> int:
    """RAMB36 of ``banks`` equal memories; RAMB18 of different banks share one."""
    return ceil_div(banks * bram18(width, depth, dual=dual), 2)


def ram_uram(width: int, depth: int, banks: int = 1) -> int:
    """UltraRAM blocks of ``banks`` equal memories: 72 x 4096, two ports that each read or write, byte enables of 9 (or 8) bits."""
    return banks * ceil_div(width, 72) * ceil_div(depth, 4096)


def axi_master(data_bits: int, burst_words: int = 64, *, writes: bool = True, block_memory: bool = False) -> Resources:
    """An AXI master port as Vitis HLS builds it, estimated from its structure.

    Each direction has a data queue of two bursts (one direction for a port that only reads), in LUT memory or, with
    ``block_memory``, in block memory (``config_interface -m_axi_buffer_impl``); addresses (64 bits) and lengths are counted and
    compared, with a queue of 16 requests in LUT memory, and each data word is registered on both sides of its queue. For 32 bits
    both ways and block memory this says 566 LUTs, 640 flip-flops and 2 RAMB18, where synthesis reports of Vitis HLS that people
    have published read 580 to 774, 512 to 705, and 1 to 4.
    """
    directions = 1 + writes
    width, depth = data_bits + data_bits // 8, 2 * burst_words
    queue = 0 if block_memory else lutram_luts(width, depth)
    requests = lutram_luts(64 + 32, 16)
    counters = 3 * adder_luts(64) + comparator_luts(12) + adder_luts(12)
    return Resources(
        dsp=0,
        lut=directions * (queue + requests + counters + mux_luts(2, data_bits)),
        ff=directions * (2 * data_bits + 3 * 64 + 2 * 32),
        bram36=ceil_div(directions * bram18(width, depth), 2) if block_memory else 0,
        uram=0,
    )


def _tiles(bits: int, port: int) -> int:
    return 1 if bits <= port else 1 + ceil_div(bits - port, port - 1)
