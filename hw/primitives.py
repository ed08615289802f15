"""What arithmetic and memories cost in primitives of an UltraScale+ device (and of 7 series, where it says so).

Every function is a count before logic optimisation and packing, from the primitives that AMD documents: a LUT has six inputs, or
five shared by two outputs (UG574); carry logic adds one bit for each LUT; DSP48E2 multiplies 27 x 18 bits, signed (UG579);
a RAMB36 is two RAMB18 and UltraRAM is 72 x 4096 (UG573). ``docs/hardware.md`` says how units add them up.
"""

from __future__ import annotations

from functools import cache

from edgeflow.hw.architecture import ceil_div
from edgeflow.hw.cost import Resources

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
    """LUTs of ``a < b``: two pairs of bits for each LUT and carry."""
    return ceil_div(bits, 2)


def saturate_luts(bits: int, kept: int) -> int:
    """LUTs of clipping a signed number of ``bits`` to ``kept`` bits.

    The bits above are compared with the sign (six to a LUT, then one more level), and each kept bit is forced in half a LUT.
    """
    above = max(0, bits - kept)
    return ceil_div(above, 5) + 1 + ceil_div(kept, 2) if above else 0


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


def rotator_luts(lanes: int, bits: int) -> int:
    """LUTs of rotating ``lanes`` words of ``bits`` by any number of lanes."""
    return shifter_luts(lanes * bits, lanes)


def divider_luts(dividend_bits: int, divisor_bits: int) -> int:
    """LUTs of an unsigned division at one result a cycle: a non-restoring stage (add or subtract the divisor) a quotient bit."""
    return dividend_bits * adder_luts(divisor_bits + 1)


def divider_registers(dividend_bits: int, divisor_bits: int) -> int:
    """Flip-flops of the same division: each stage keeps the remainder, the divisor, and dividend and quotient in one shift."""
    return dividend_bits * ((divisor_bits + 1) + divisor_bits + dividend_bits)


def registers(bits: int, stages: int = 1) -> int:
    """Flip-flops that delay ``bits`` by ``stages`` cycles. Long delays are cheaper as shift registers: ``delay_luts``."""
    return bits * stages


def delay_luts(bits: int, stages: int) -> int:
    """LUTs of a delay in shift registers: 32 stages of a bit in a LUT (SRLC32E), or 16 stages of two bits (two SRL16E)."""
    return ceil_div(bits, 2) if stages <= 16 else bits * ceil_div(stages, 32)


def rom_luts(bits: int, depth: int) -> int:
    """LUTs of a constant table: 64 x 1 or 32 x 2 a LUT, up to 512 words joined by the F7 to F9 multiplexers."""
    if depth <= 32:
        return ceil_div(bits, 2)
    return bits * ceil_div(depth, 64) + mux_luts(ceil_div(depth, 512), bits)


def lutram_luts(bits: int, depth: int, copies: int = 1) -> int:
    """LUTs of a small memory with one write port and, per copy, one read port.

    RAM32M16 holds 14 bits of 32 words and RAM64M8 7 bits of 64 in eight LUTs of a SLICEM, one of which carries the write
    address; deeper memories join several with a read multiplexer. Word counts are not rounded to whole slices.
    """
    if depth <= 32:
        return copies * (ceil_div(bits, 2) + ceil_div(bits, 14))
    blocks = ceil_div(depth, 64)
    return copies * (blocks * (bits + ceil_div(bits, 7)) + mux_luts(blocks, bits))


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
    both ways and block memory this says 562 LUTs, 640 flip-flops and 2 RAMB18, where synthesis reports of Vitis HLS that people
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
