"""What the array costs: multipliers, adders, stationary operands, epilogue and the buffers of attention.

Every figure is a count of primitives (hw/primitives.py) before optimisation. ``docs/hardware.md`` repeats the reasoning.
"""

from __future__ import annotations

from edgeflow.hw.architecture import LINE_BYTES, Architecture, ceil_div
from edgeflow.hw.cost import Resources
from edgeflow.hw.cpp_widths import (
    ACCUMULATOR,
    ACTIVATION_INDEX,
    CASCADE_SUM,
    DISTANCE,
    ELEMENT,
    EXPONENT,
    MULTIPLIER,
    OPERAND,
    PACKED,
    PRODUCT,
    QUAD_SUM,
    RECIPROCAL_DIVIDEND,
    ROUNDED_EXPONENT,
    SCORE,
    SHIFT,
    WEIGHT,
    WEIGHT_TOTAL,
    WIDE_MULTIPLIER,
    WIDE_PRODUCT,
)
from edgeflow.hw.exponent import MAXIMUM_FRACTION_BITS
from edgeflow.hw.field_widths import BYTE, LINE_ADDRESS, NIBBLE, STORED
from edgeflow.hw.primitives import (
    adder_luts,
    adder_tree_luts,
    bram18,
    comparator_luts,
    divider_luts,
    divider_registers,
    lutram_luts,
    multiplier_dsps,
    mux_luts,
    registers,
    rotator_luts,
    saturate_luts,
    shifter_luts,
    tie_luts,
    tree_registers,
)

CASCADE = 4  # multipliers whose products are added inside the DSP slices (array.hpp)
EXPONENT_ENTRIES = 1 << MAXIMUM_FRACTION_BITS
ADDRESS_BITS = LINE_ADDRESS.bits


def attention_sizes(a: Architecture) -> dict[str, int]:
    """Compile-time sizes of attention's buffers; the smallest that compile where the overlay has no attention."""
    used = "attention" in a.units
    keys, head = (a.max_tokens, a.max_head) if used else (LINE_BYTES, LINE_BYTES)
    return {
        "ATTENTION_KEYS": keys,
        "ATTENTION_HEAD": head,
        "ATTENTION_VALUES": 2 * head * (keys // LINE_BYTES),
        "ATTENTION_EXPONENTS": EXPONENT_ENTRIES,
    }


def array_constants(a: Architecture) -> dict[str, int]:
    """Compile-time constants of array.hpp and attention.hpp."""
    modes = {"QUAD": int(4 in a.precisions), "QUARTERS": int(2 in a.precisions), "HAS_ATTENTION": int("attention" in a.units)}
    return {"LINEAR_TABLE": 1 << (ACTIVATION_INDEX.bits - 1)} | modes | attention_sizes(a)


def array_resources(a: Architecture) -> Resources:
    """Resources of the array, with attention's share if the overlay has it."""
    parts = [products(a), stationary(a), epilogue(a), control()]
    if "attention" in a.units:
        parts.append(attention(a))
    dsp, lut, ff, halves = (sum(part[i] for part in parts) for i in range(4))
    return Resources(dsp, lut, ff, ceil_div(halves, 2), 0)


Counts = tuple[int, int, int, int]  # DSP, LUT, FF, RAMB18


def products(a: Architecture) -> Counts:
    """PI x PO / 2 multipliers of 27 x 18 bits in cascades of four, and what adds their sums.

    The lower of the two sums in a cascade is its low 18 bits; the upper one has the lower's sign added back: an 18-bit increment
    (the correction of the packed product). In the 4-bit mode three fields of 11 bits are corrected, and a second row has an adder
    tree of its own. Each tree adds PI / 4 sums and feeds an accumulator of 32 bits.
    """
    cascades = a.pi // CASCADE
    pairs = a.po // 2
    corrections = pairs * cascades * adder_luts(CASCADE_SUM.bits)
    trees = a.po * (adder_tree_luts(cascades, CASCADE_SUM.bits) + adder_luts(ACCUMULATOR.bits))
    # Each multiplier registers its operand, product and sum inside the slice; trees have a register a level.
    ff = a.po * (tree_registers(cascades, CASCADE_SUM.bits) + 2 * registers(ACCUMULATOR.bits))
    if 4 in a.precisions:
        corrections += pairs * cascades * (3 * adder_luts(QUAD_SUM.bits) + mux_luts(2, CASCADE_SUM.bits))
        trees += a.po * (
            adder_tree_luts(cascades, QUAD_SUM.bits) + adder_luts(ACCUMULATOR.bits) + mux_luts(2, CASCADE_SUM.bits) * cascades
        )
        ff += a.po * (tree_registers(cascades, QUAD_SUM.bits) + 2 * registers(ACCUMULATOR.bits))
    dsp = pairs * a.pi * multiplier_dsps(PACKED.bits, OPERAND.bits, a.dsp_bits)
    return dsp, corrections + trees, ff, 0


def stationary(a: Architecture) -> Counts:
    """The packed weights: a LUT memory of 27 bits and as many words as slots beside every multiplier; the packers that fill it from
    the stream (a 9-bit borrow and a choice of two places each; for weights four to a byte twice as many, which choose both of their
    weights among bytes, half bytes and quarter bytes), and the operand that every column of multipliers shares."""
    memory = a.pi * (a.po // 2) * lutram_luts(PACKED.bits, a.slots)
    packer = adder_luts(WEIGHT.bits) + mux_luts(2, PACKED.bits)
    packers = 2 * a.stream_bytes * (packer + 2 * mux_luts(3, BYTE.bits)) if 2 in a.precisions else a.stream_bytes * packer
    packers += (a.po // 2) * (adder_luts(WEIGHT.bits)) if "attention" in a.units else 0
    # An operand is a byte of a line (64 / PI places), a half byte, or two half bytes with a borrow.
    operands = a.pi * (mux_luts(LINE_BYTES // a.pi, BYTE.bits) + mux_luts(4, OPERAND.bits) + adder_luts(NIBBLE.bits + 1))
    parameters = 2 * a.po * (ACCUMULATOR.bits + WIDE_MULTIPLIER.bits + MULTIPLIER.bits)
    ff = a.pi * OPERAND.bits * (1 + a.po // 16) + parameters + BYTE.bits * a.stream_bytes
    return 0, memory + packers + operands + a.po * mux_luts(2, ACCUMULATOR.bits), ff, 0


def epilogue(a: Architecture) -> Counts:
    """EPILOGUE lanes, each with two requantizations: 32 x 25 bits for the sum, 17 x 18 for the residual or the table entry; with a
    rounding addition and a shift of 57 and of 50 bits; for half to even the comparison of the places that the shift drops with zero
    (which places is decoded once for all lanes); the lane's copy of the
    activation table; saturation; and the choice of the lane's result and parameters among PO / EPILOGUE."""
    groups = a.po // a.epilogue
    rows = 2 if 4 in a.precisions else 1
    dsp = multiplier_dsps(ACCUMULATOR.bits, WIDE_MULTIPLIER.bits, a.dsp_bits) + multiplier_dsps(ELEMENT.bits, MULTIPLIER.bits)
    choose = mux_luts(groups * rows, ACCUMULATOR.bits) + mux_luts(2 * groups, WIDE_MULTIPLIER.bits + MULTIPLIER.bits)
    round_shift = sum(2 * adder_luts(bits) + shifter_luts(bits, bits) for bits in (WIDE_PRODUCT.bits, PRODUCT.bits))
    table = lutram_luts(STORED.bits, array_constants(a)["LINEAR_TABLE"])
    lane = (
        choose
        + round_shift
        + tie_luts(WIDE_PRODUCT.bits)
        + adder_luts(WIDE_PRODUCT.bits)
        + 2 * saturate_luts(WIDE_PRODUCT.bits, STORED.bits)
        + table
    )
    place = LINE_BYTES * (mux_luts(3, BYTE.bits) + 2)  # each byte of the line: its lane in three storages, write enables
    ff = a.epilogue * 3 * (WIDE_PRODUCT.bits + PRODUCT.bits) + 2 * a.po * ACCUMULATOR.bits + BYTE.bits * LINE_BYTES * 2
    residual = a.epilogue * mux_luts(32 // a.epilogue, STORED.bits)
    return a.epilogue * dsp, a.epilogue * lane + WIDE_PRODUCT.bits + place + residual, ff, 0


def control() -> Counts:
    """The pass: descriptors (two of 1024 bits), about twelve counters and addresses of 16 bits with their comparisons, and the
    products of row numbers and strides (16 x 16 bits) for the lines of output and residual."""
    counters = 12 * (adder_luts(ADDRESS_BITS) + comparator_luts(ADDRESS_BITS) + mux_luts(2, ADDRESS_BITS))
    return 4 * multiplier_dsps(ADDRESS_BITS + 1, ADDRESS_BITS + 1), counters + 400, 2 * 1024 + 24 * ADDRESS_BITS, 0


def attention(a: Architecture) -> Counts:
    """Attention beside the products. For each lane: a requantization of distances (25 x 18 bits), the exponent table, the shift to
    the weight, the sum, the maximum, two score buffers; once: the divider, the values' and the outputs' rotators and memories."""
    groups = a.po // a.epilogue
    lane_dsp = multiplier_dsps(DISTANCE.bits, MULTIPLIER.bits)
    distance = adder_luts(DISTANCE.bits) + adder_luts(PRODUCT.bits) + shifter_luts(PRODUCT.bits, PRODUCT.bits)
    weight = (
        adder_luts(ROUNDED_EXPONENT.bits) + shifter_luts(ROUNDED_EXPONENT.bits, EXPONENT.bits + 1) + comparator_luts(PRODUCT.bits)
    )
    running = comparator_luts(SCORE.bits) + mux_luts(2, SCORE.bits) + adder_luts(WEIGHT_TOTAL.bits)
    sizes = attention_sizes(a)
    table = lutram_luts(EXPONENT.bits, EXPONENT_ENTRIES)
    normalise = divider_luts(RECIPROCAL_DIVIDEND.bits, WEIGHT_TOTAL.bits) + 2 * shifter_luts(WEIGHT_TOTAL.bits, WEIGHT_TOTAL.bits)
    scores = SCORE.bits, 2 * a.max_tokens
    values = BYTE.bits, sizes["ATTENTION_VALUES"]
    blocks = a.block_buffers * (a.po * bram18(*scores) + LINE_BYTES * bram18(*values))
    buffers = (not a.block_buffers) * (a.po * lutram_luts(*scores) + LINE_BYTES * lutram_luts(*values))
    rotators = 2 * rotator_luts(LINE_BYTES, BYTE.bits) + 2 * rotator_luts(a.epilogue, STORED.bits)
    output = a.epilogue * groups * lutram_luts(STORED.bits, 2 * sizes["ATTENTION_HEAD"])
    partial = a.po * lutram_luts(ACCUMULATOR.bits, sizes["ATTENTION_HEAD"])
    lut = a.po * (distance + weight + running + table) + normalise + rotators + output + partial + buffers
    ff = a.po * (2 * SCORE.bits + WEIGHT_TOTAL.bits + 4 * PRODUCT.bits + 2 * (MULTIPLIER.bits + SHIFT.bits))
    ff += divider_registers(RECIPROCAL_DIVIDEND.bits, WEIGHT_TOTAL.bits) + sizes["ATTENTION_KEYS"]
    return a.po * lane_dsp, lut, ff, blocks
