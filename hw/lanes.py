"""What lanes of the units cost: LUTs, flip-flops and DSP slices of what is done with one element a cycle.

Each function counts the stages of its pipeline from the primitives of hw/primitives.py. The same structures stand as Verilog in
hw/synthesis/verilog/lanes.sv, which is synthesized to hold the counts (``scripts/check_resources.py``). ``wide`` is the wide
operand of the device's slices, as in :func:`edgeflow.hw.primitives.product`.
"""

from __future__ import annotations

from edgeflow.hw import cpp_widths as widths
from edgeflow.hw.architecture import LINE_BYTES, ceil_div
from edgeflow.hw.cost import Logic
from edgeflow.hw.cpp_widths import (
    ACCUMULATOR,
    ELEMENT,
    INTERPOLATED,
    KNOT,
    LONG_ELEMENT,
    LONG_MULTIPLIER,
    MAGNITUDE,
    MULTIPLIER,
    OPERAND_PRODUCT,
    PLACE,
    PRODUCT,
    SHIFT,
)
from edgeflow.hw.field_widths import BYTE, STORED
from edgeflow.hw.primitives import (
    DSP_A,
    adder_luts,
    adder_tree_luts,
    comparator_luts,
    delay,
    lutram_luts,
    mux_luts,
    product,
    rounding,
    saturation,
    shifter_luts,
    tree_registers,
)

COUNT_BITS = 4  # of a number of fraction or interpolation bits
DEVIATION_PLACES = 16  # by which fraction bits move an element; beyond, two bits of it are left


def epilogue_lane(entries: int, wide: int = DSP_A) -> Logic:
    """An output of a linear layer: two requantizations, the second of the residual or the table's entry, and their sum.

    The first one's result waits eight cycles for the second's; the residual and the output's factor wait nine for the first.
    """
    wide_product, index = widths.WIDE_PRODUCT.bits, widths.ACTIVATION_INDEX.bits
    return (
        product(widths.WIDE_MULTIPLIER.bits, ACCUMULATOR.bits, wide)
        + delay(SHIFT.bits, 4)
        + rounding(wide_product, ties=True)
        + saturation(wide_product, index)
        + Logic(index, 0)  # from the middle of the table
        + Logic(lutram_luts(STORED.bits, entries, wide), STORED.bits)
        + delay(ELEMENT.bits, 9)
        + delay(MULTIPLIER.bits, 9)
        + Logic(mux_luts(2, ELEMENT.bits) + mux_luts(2, MULTIPLIER.bits) + mux_luts(2, SHIFT.bits), 0)
        + product(ELEMENT.bits, MULTIPLIER.bits, wide)
        + rounding(OPERAND_PRODUCT.bits)
        + delay(wide_product, 8)
        + Logic(adder_luts(wide_product), wide_product)
        + saturation(wide_product, ELEMENT.bits)
    )


def exponent_lane(entries: int, wide: int = DSP_A) -> Logic:
    """The weight of a key in attention: a requantized distance, a table's entry and its rounded shift."""
    distance, entry, rounded = widths.DISTANCE.bits, widths.EXPONENT.bits, widths.ROUNDED_EXPONENT.bits
    scaled, count = distance + MULTIPLIER.bits, widths.EXPONENT_SHIFT.bits
    fraction = (entries - 1).bit_length()
    return (
        Logic(adder_luts(distance), distance)
        + product(distance, MULTIPLIER.bits, wide)
        + rounding(scaled)
        + Logic(shifter_luts(scaled, 1 << COUNT_BITS) + fraction, scaled + fraction)
        + Logic(comparator_luts(scaled), 1 + count)
        + Logic(lutram_luts(entry, entries, wide), entry)
        + Logic(adder_luts(rounded), rounded + count + 1)
        + Logic(shifter_luts(rounded, 1 << count), entry)
    )


def score_lane() -> Logic:
    """The largest score of a row so far."""
    score = widths.SCORE.bits
    return Logic(comparator_luts(score) + score, score)


def interpolation(segments: int, wide: int = DSP_A, banks: int = 1) -> Logic:
    """An entry of a table with interpolation: two tables, a product beside which the entry is shifted, a difference.

    Tables have a bank for each integer of a stream word, so that a word is written at once.
    """
    table = banks * lutram_luts(KNOT.bits, ceil_div(segments, banks), wide) + mux_luts(banks, KNOT.bits)
    moved = KNOT.bits + PLACE.bits  # the entry with its fraction bits; the bits above are its sign
    return (
        Logic(2 * table, KNOT.bits)
        + Logic(0, PLACE.bits)
        + product(KNOT.bits, PLACE.bits + 1, wide)
        + delay(KNOT.bits, 3)  # the entry's own register, and what the product takes longer
        + Logic(shifter_luts(moved, 1 << COUNT_BITS), moved)
        + Logic(adder_luts(moved + 1), moved + 1)
    )


def smooth_lane(segments: int, wide: int = DSP_A, banks: int = 1) -> Logic:
    """An element of a smooth rectifier: its magnitude's place in a table, and the difference from what a slope makes of it."""
    scaled = MAGNITUDE.bits + LONG_MULTIPLIER.bits
    return (
        Logic(adder_luts(MAGNITUDE.bits) + ceil_div(ELEMENT.bits, 2), MAGNITUDE.bits + ELEMENT.bits)
        + _long_product(MAGNITUDE.bits, wide) * 2
        + rounding(scaled)
        + Logic(shifter_luts(scaled, 1 << COUNT_BITS) + PLACE.bits, scaled + PLACE.bits)
        + interpolation(segments, wide, banks)
        + Logic(comparator_luts(scaled), 1)
        + delay(1, 4)
        + delay(scaled, 9)
        + Logic(adder_luts(scaled + 1), scaled + 1)
        + rounding(scaled + 1)
        + Logic(adder_luts(scaled + 1), scaled + 1)
        + saturation(scaled + 1, LONG_ELEMENT.bits)
    )


def _long_product(bits: int, wide: int) -> Logic:
    """By a long multiplier, on whose side of a slice there is room for it."""
    return product(LONG_MULTIPLIER.bits, bits, wide) if wide >= LONG_MULTIPLIER.bits else product(bits, LONG_MULTIPLIER.bits, wide)


def softmax_weight_lane(segments: int, wide: int = DSP_A, banks: int = 1) -> Logic:
    """The weight of an element in softmax: a requantized distance, an interpolated power, its rounded shift."""
    scaled, weight, index = MAGNITUDE.bits + LONG_MULTIPLIER.bits, widths.LONG_WEIGHT.bits, (segments - 1).bit_length()
    return (
        Logic(adder_luts(MAGNITUDE.bits), MAGNITUDE.bits)
        + _long_product(MAGNITUDE.bits, wide)
        + rounding(scaled)
        + Logic(shifter_luts(scaled, 32) + shifter_luts(index, 1 << COUNT_BITS) + index + PLACE.bits, scaled + index + PLACE.bits)
        + interpolation(segments, wide, banks)
        + Logic(comparator_luts(scaled) + adder_luts(SHIFT.bits), 1 + SHIFT.bits)
        + delay(1, 7)
        + delay(SHIFT.bits, 4)
        + rounding(INTERPOLATED.bits, kept=weight)
        + Logic(ceil_div(weight, 2), weight)
    )


def softmax_output_lane(wide: int = DSP_A) -> Logic:
    """An output of softmax: a weight times its row's reciprocal."""
    weight = widths.LONG_WEIGHT.bits + 1
    scaled = weight + LONG_MULTIPLIER.bits
    return _long_product(weight, wide) + rounding(scaled) + saturation(scaled, LONG_ELEMENT.bits)


def maximum_lanes(lanes: int) -> Logic:
    """The largest of a chunk, one comparison and choice after another."""
    return Logic((lanes - 1) * (comparator_luts(ELEMENT.bits) + ELEMENT.bits), ELEMENT.bits)


def layernorm_read_lane(wide: int = DSP_A) -> Logic:
    """An element with its fraction bits, and its square."""
    deviation = widths.DEVIATION.bits
    return Logic(shifter_luts(deviation, DEVIATION_PLACES), deviation) + product(deviation, deviation, wide)


def layernorm_write_lane(wide: int = DSP_A) -> Logic:
    """A normalized element: its deviation times the reciprocal root, then gain and offset, which wait for it."""
    deviation, root, normal = widths.DEVIATION.bits, widths.ROOT.bits, widths.NORMALIZED.bits
    first = product(root, deviation, wide) if wide >= root else product(deviation, root, wide)
    return (
        Logic(adder_luts(deviation), deviation)
        + first
        + rounding(deviation + root, kept=normal)
        + delay(MULTIPLIER.bits, 6 + first.dsp)
        + delay(PRODUCT.bits, 9 + first.dsp)
        + product(normal, MULTIPLIER.bits, wide)
        + Logic(adder_luts(PRODUCT.bits), PRODUCT.bits)
        + Logic(shifter_luts(PRODUCT.bits, 64), 2 * PRODUCT.bits)
        + saturation(PRODUCT.bits, ELEMENT.bits)
    )


def elementwise_lane(wide: int = DSP_A) -> Logic:
    """An element of the elementwise unit: two products with their roundings, of which the first waits six cycles for the second."""
    return (
        Logic(mux_luts(2, MULTIPLIER.bits), 0)
        + product(ELEMENT.bits, MULTIPLIER.bits, wide)
        + delay(MULTIPLIER.bits, 3)
        + Logic(mux_luts(2, ACCUMULATOR.bits), ACCUMULATOR.bits)
        + product(MULTIPLIER.bits, ACCUMULATOR.bits, wide)
        + rounding(OPERAND_PRODUCT.bits, ties=True)
        + delay(OPERAND_PRODUCT.bits, 6)
        + rounding(PRODUCT.bits)
        + Logic(mux_luts(2, PRODUCT.bits), PRODUCT.bits)
        + Logic(adder_luts(PRODUCT.bits), PRODUCT.bits)
        + saturation(PRODUCT.bits, ELEMENT.bits)
    )


def pool_lane() -> Logic:
    """A sum over rows, which starts again after the last one."""
    return Logic(adder_luts(ACCUMULATOR.bits), 2 * ACCUMULATOR.bits)


def extreme_lane() -> Logic:
    """The largest or smallest of rows."""
    return Logic(comparator_luts(ELEMENT.bits) + ELEMENT.bits + 3, 2 * ELEMENT.bits + 1)


def embedding_lane(wide: int = DSP_A) -> Logic:
    """An entry of a table times its row's factor."""
    scaled = BYTE.bits + MULTIPLIER.bits
    return product(BYTE.bits, MULTIPLIER.bits, wide) + rounding(scaled) + saturation(scaled, ELEMENT.bits)


def take_chunk(vector: int) -> Logic:
    """A chunk out of a line: its bytes and pairs of bytes picked, then the storage chosen."""
    parts = LINE_BYTES // vector
    pick = vector * (mux_luts(parts, BYTE.bits) + mux_luts(max(parts // 2, 1), STORED.bits))
    return Logic(pick + vector * ELEMENT.bits, vector * (BYTE.bits + STORED.bits + ELEMENT.bits) + 1)


def lay_chunk(vector: int) -> Logic:
    """A chunk all over a line: a byte's choice of storage, an enable for each byte by two comparisons of its place.

    Bytes that always hold the same are one: two for each element.
    """
    distinct = min(2 * vector, LINE_BYTES) * BYTE.bits
    return Logic(distinct + 3 * LINE_BYTES // 2, distinct + LINE_BYTES)


def array_column(pi: int, *, quad: bool) -> Logic:
    """Two outputs of the array: the cascades' sums corrected, added and accumulated; with ``quad`` those of a second row, too.

    The upper sum of a cascade gets the lower one's sign back. In the 4-bit mode three fields do, one after another, and the first
    row's sums take the place of the others.
    """
    cascades, total, row = pi // 4, widths.CASCADE_SUM.bits, widths.QUAD_SUM.bits
    trees = Logic(adder_tree_luts(cascades, total), tree_registers(cascades, total)) * 2
    column = (
        trees + Logic(cascades * adder_luts(total), 0) + Logic(adder_luts(ACCUMULATOR.bits), ACCUMULATOR.bits) * 2 + Logic(0, 0, pi)
    )
    if quad:
        rows = Logic(adder_tree_luts(cascades, row), tree_registers(cascades, row)) * 2
        fields = Logic(cascades * (3 * (adder_luts(row) + 1) + mux_luts(2, total - row) + total), 0)
        column = column + rows + fields + Logic(adder_luts(ACCUMULATOR.bits), ACCUMULATOR.bits) * 2
    return column
