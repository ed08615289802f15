"""What the array costs: multipliers, adders, stationary operands, epilogue and the buffers of attention.

Every figure is a count of primitives (hw/primitives.py, hw/lanes.py). ``docs/hardware.md`` repeats the reasoning.
"""

from __future__ import annotations

from edgeflow.hw.architecture import LINE_BYTES, Architecture, ceil_div
from edgeflow.hw.cost import Logic, Resources
from edgeflow.hw.cpp_widths import (
    ACCUMULATOR,
    ACTIVATION_INDEX,
    MULTIPLIER,
    OPERAND,
    PACKED,
    RECIPROCAL_DIVIDEND,
    SCORE,
    SHIFT,
    WEIGHT,
    WEIGHT_TOTAL,
    WIDE_MULTIPLIER,
    WIDE_PRODUCT,
)
from edgeflow.hw.exponent import MAXIMUM_FRACTION_BITS
from edgeflow.hw.field_widths import BYTE, LINE_ADDRESS, NIBBLE, STORED
from edgeflow.hw.lanes import array_column, epilogue_lane, exponent_lane, score_lane
from edgeflow.hw.primitives import (
    adder_luts,
    bram18,
    comparator_luts,
    divider_luts,
    divider_registers,
    lutram_luts,
    multiplier_dsps,
    mux_luts,
    registers,
    rotator_luts,
    shifter_luts,
)

CASCADE = 4  # multipliers whose products are added inside the DSP slices (network/multiply.hpp)
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
    """Compile-time constants of the array's processes."""
    modes = {"QUAD": int(4 in a.precisions), "QUARTERS": int(2 in a.precisions), "HAS_ATTENTION": int("attention" in a.units)}
    return {"LINEAR_TABLE": 1 << (ACTIVATION_INDEX.bits - 1), "LOAD_BYTES": a.load_bytes} | modes | attention_sizes(a)


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
    tree of its own. Each tree adds PI / 4 sums and feeds an accumulator of 32 bits (hw/lanes.py), which is copied when a row is
    done.
    """
    pairs = a.po // 2
    quad = 4 in a.precisions
    columns = array_column(a.pi, quad=quad) * pairs
    results = a.po * registers(ACCUMULATOR.bits) * (1 + quad)
    return pairs * a.pi * multiplier_dsps(PACKED.bits, OPERAND.bits, a.dsp_bits), columns.lut, columns.ff + results, 0


def stationary(a: Architecture) -> Counts:
    """The packed weights: a LUT memory of 27 bits and as many words as slots beside every multiplier; the packers that fill it from
    the stream (a 9-bit borrow and a choice of two places each; for weights four to a byte twice as many, which choose both of their
    weights among bytes, half bytes and quarter bytes), and the operand that every column of multipliers shares."""
    memory = a.pi * (a.po // 2) * lutram_luts(PACKED.bits, a.slots, a.dsp_bits)
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
    rounding shift of each; the lane's copy of the activation table; saturation (hw/lanes.py); and the choice of the lane's result
    and parameters among PO / EPILOGUE. Which places decide a tie is decoded once for all lanes."""
    groups = a.po // a.epilogue
    rows = 2 if 4 in a.precisions else 1
    choose = mux_luts(groups * rows, ACCUMULATOR.bits) + mux_luts(2 * groups, WIDE_MULTIPLIER.bits + MULTIPLIER.bits)
    lanes = (epilogue_lane(array_constants(a)["LINEAR_TABLE"], a.dsp_bits) + Logic(choose, 0)) * a.epilogue
    place = LINE_BYTES * (mux_luts(3, BYTE.bits) + 2)  # each byte of the line: its lane in three storages, write enables
    ff = lanes.ff + 2 * a.po * ACCUMULATOR.bits + BYTE.bits * LINE_BYTES * 2
    residual = a.epilogue * mux_luts(32 // a.epilogue, STORED.bits)
    return lanes.dsp, lanes.lut + WIDE_PRODUCT.bits + place + residual, ff, 0


def control() -> Counts:
    """The pass: descriptors (two of 1024 bits), about twelve counters and addresses of 16 bits with their comparisons, and the
    products of row numbers and strides (16 x 16 bits) for the lines of output and residual."""
    counters = 12 * (adder_luts(ADDRESS_BITS) + comparator_luts(ADDRESS_BITS) + mux_luts(2, ADDRESS_BITS))
    return 4 * multiplier_dsps(ADDRESS_BITS + 1, ADDRESS_BITS + 1), counters + 400, 2 * 1024 + 24 * ADDRESS_BITS, 0


def attention(a: Architecture) -> Counts:
    """Attention beside the products. For each lane: a requantization of distances (25 x 18 bits), the exponent table, the shift to
    the weight, the sum, the maximum, two score buffers; once: the divider, the values' and the outputs' rotators and memories."""
    groups, wide = a.po // a.epilogue, a.dsp_bits
    total = WEIGHT_TOTAL.bits
    sizes = attention_sizes(a)
    lanes = (exponent_lane(EXPONENT_ENTRIES, wide) + score_lane() + Logic(adder_luts(total), total + SCORE.bits)) * a.po
    normalise = (
        Logic(divider_luts(RECIPROCAL_DIVIDEND.bits, total), divider_registers(RECIPROCAL_DIVIDEND.bits, total))
        + Logic(2 * shifter_luts(total, total), 2 * total)
        + Logic(0, 2 * (MULTIPLIER.bits + SHIFT.bits)) * a.po
    )
    scores = SCORE.bits, 2 * a.max_tokens
    values = BYTE.bits, sizes["ATTENTION_VALUES"]
    blocks = a.block_buffers * (a.po * bram18(*scores) + LINE_BYTES * bram18(*values))
    buffers = (not a.block_buffers) * (a.po * lutram_luts(*scores, wide) + LINE_BYTES * lutram_luts(*values, wide))
    rotators = (
        rotator_luts(LINE_BYTES, BYTE.bits) + rotator_luts(LINE_BYTES, BYTE.bits, a.pi) + 2 * rotator_luts(a.epilogue, STORED.bits)
    )
    output = a.epilogue * groups * lutram_luts(STORED.bits, 2 * sizes["ATTENTION_HEAD"], wide)
    partial = a.po * lutram_luts(ACCUMULATOR.bits, sizes["ATTENTION_HEAD"], wide)
    unit = lanes + normalise + Logic(rotators + output + partial + buffers, sizes["ATTENTION_KEYS"])
    return unit.dsp, unit.lut, unit.ff, blocks
