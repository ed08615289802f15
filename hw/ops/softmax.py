"""Softmax of rows as a layer of its own, such as the last one of a classifier.

The exponential is a power of two by a table with linear interpolation and a shift (hw/interpolation.py), its base folded into the
requantization of the distances to the row's maximum; one integer reciprocal a row normalises. Results have up to 24 bits: a
probability of a row of 129 is 0.008 on average, and a step of 2^-16 would be a fiftieth of a percent of that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeflow.hw import compiled, field_widths
from edgeflow.hw import cpp_widths as widths
from edgeflow.hw.architecture import NIBBLES, Architecture, ceil_div
from edgeflow.hw.arithmetic import dyadic, requantize
from edgeflow.hw.arrays import Array, IntArray
from edgeflow.hw.cost import Cycles, Logic, Loop, Resources
from edgeflow.hw.exact_float import blocked
from edgeflow.hw.field_widths import holding
from edgeflow.hw.graph import Format
from edgeflow.hw.interpolation import (
    MAXIMUM_INTERPOLATION_BITS,
    MAXIMUM_PROBABILITY_BITS,
    MAXIMUM_TABLE_BITS,
    MULTIPLIER_BITS,
    check_interpolation,
    exponent_knots,
    exponent_weights,
)
from edgeflow.hw.lanes import maximum_lanes, softmax_output_lane, softmax_weight_lane
from edgeflow.hw.ops.base import (
    Case,
    Constants,
    Instruction,
    InstructionLayout,
    Kernel,
    LoweringContext,
    Operator,
    Port,
    Register,
    VectorUnit,
    draw,
    element_register,
    of_width,
    register,
)
from edgeflow.hw.ops.long_chunk import (
    MAXIMUM_BITS,
    chunk_ends,
    common_lanes,
    lanes,
    segment_banks,
    segment_load,
    segment_loop,
)
from edgeflow.hw.ops.rows import RowSplit
from edgeflow.hw.ops.vector import MAXIMUM_SHIFT, require_channels
from edgeflow.hw.primitives import (
    adder_luts,
    adder_tree_luts,
    bram18,
    comparator_luts,
    divider_luts,
    divider_registers,
    lutram_luts,
    mux_luts,
    shifter_luts,
    tree_registers,
)

NUMERATOR_BITS = widths.SOFTMAX_NUMERATOR.bits
DIVISOR_BITS = widths.SOFTMAX_DIVISOR.bits  # significant bits of a row's sum that the division sees

# Trips (cycles, at II = 1) between the stage that reads a line and the last one that writes a row's maximum: scratchpad 3,
# choice of the chunk 2, tree of at most 5 comparisons, comparison with the chunks before, write.
MAXIMUM_LAG = 16
# The same between a row's first weight and its reciprocal: ring 2, distance 1, multiplier 4, rounding and shift 3, table 2,
# interpolation 4, shift 3, sum 6 and its bit length 3 and normalisation 2, division 27, write.
TOTAL_LAG = 64
# Stages of the last trip, which only makes output: ring 2, multiplier 5, rounding and shift 3, saturation 1, write 2.
DEPTH = 13

TABLE_BITS = holding(MAXIMUM_TABLE_BITS, "bits of a segment's number")
INTERPOLATION_BITS = holding(MAXIMUM_INTERPOLATION_BITS, "bits of a place between two entries")
PROBABILITY_BITS = holding(MAXIMUM_PROBABILITY_BITS, "bits of an element's weight")

SOFTMAX = InstructionLayout(
    "softmax",
    4,
    (
        *("x", "rows", "trips"),
        *of_width(field_widths.COUNT, "channels"),
        *of_width(field_widths.PART, "maximum_lag", "total_lag"),
        *of_width(TABLE_BITS, "table_bits"),
        *of_width(INTERPOLATION_BITS, "interpolation_bits"),
        *of_width(PROBABILITY_BITS, "probability_bits"),
        *of_width(widths.SHIFT, "shift", "output_shift"),
        *("multiplier", "numerator"),
        *("y",),
        *of_width(field_widths.LONG_STORAGE, "x_bytes"),
        *of_width(field_widths.FLAG, "x_signed"),
        *of_width(field_widths.LONG_STORAGE, "y_bytes"),
        *of_width(field_widths.FLAG, "y_signed"),
        *of_width(field_widths.RESULT_BITS, "y_bits"),
    ),
    ("stream", "scratch"),
)

X, EXPONENT = range(2)


@register
@dataclass(frozen=True)
class Softmax(VectorUnit, Operator):
    """Inputs: ``x (..., D)`` up to 16 bits; ``exponent (2^B + 1,)``, one octave (hw/interpolation.py). Output ``(..., D)`` of
    ``bits`` (up to 24), ``signed``.

    ``t = rq(max x - x, multiplier, shift)`` with B + I fraction bits; ``p = 2^(P - t)`` by interpolation; the row's sum ``L`` has
    ``k`` bits; ``r = (floor(numerator 2^30 / floor(L 2^(28-k))) + 1) >> 1``; ``y = sat(round_shift(p r, output_shift + k))``.
    """

    multiplier: int
    shift: int
    table_bits: int
    interpolation_bits: int
    probability_bits: int
    numerator: int
    output_shift: int
    bits: int
    signed: bool

    name: ClassVar[str] = "softmax"
    header: ClassVar[str] = "softmax.hpp"
    writes_long: ClassVar[bool] = True
    instruction: ClassVar[InstructionLayout] = SOFTMAX
    counters: ClassVar[tuple[str, ...]] = ("segments", "softmax")
    ports: ClassVar[tuple[Port, ...]] = (Port("x"), Port("exponent", constant=True))

    def infer(self, inputs: Sequence[Format]) -> Format:
        if len(inputs) != 2:
            raise ValueError(f"softmax takes x and its exponent table, not {len(inputs)} inputs")
        x, table = inputs
        check_interpolation(self.interpolation_bits)
        if not 0 <= self.table_bits <= MAXIMUM_TABLE_BITS or not 1 <= self.probability_bits <= MAXIMUM_PROBABILITY_BITS:
            raise ValueError(
                f"softmax has tables of up to {MAXIMUM_TABLE_BITS} bits and weights of up to {MAXIMUM_PROBABILITY_BITS}, "
                f"not {self.table_bits} and {self.probability_bits}"
            )
        if x.bits > 16 or not 1 <= self.bits <= MAXIMUM_BITS:
            raise ValueError(f"softmax takes up to 16 bits and makes up to {MAXIMUM_BITS}, not {x.bits} and {self.bits}")
        if table.shape != ((1 << self.table_bits) + 1,):
            raise ValueError(f"the exponent table must have {(1 << self.table_bits) + 1} entries, not {table.shape}")
        if not 0 <= self.multiplier < 1 << MULTIPLIER_BITS or not 0 <= self.numerator < 1 << NUMERATOR_BITS:
            raise ValueError(f"softmax needs a multiplier below 2^{MULTIPLIER_BITS} and a numerator below 2^{NUMERATOR_BITS}")
        widest = self.output_shift + (x.channels * ((1 << self.probability_bits) - 1)).bit_length()
        if self.output_shift < 0 or widest > MAXIMUM_SHIFT or not 0 <= self.shift <= MAXIMUM_SHIFT:
            raise ValueError(
                f"softmax of {x.channels} channels shifts by up to {max(widest, self.shift)} bits, more than {MAXIMUM_SHIFT}: "
                f"use fewer than {self.probability_bits} probability_bits"
            )
        return Format(x.shape, self.bits, self.signed)

    def reference(self, inputs: Sequence[IntArray]) -> IntArray:
        x, table = inputs
        p = self._weights(x.max(axis=-1, keepdims=True) - x, table)
        r, shift = self._scale(p.sum(axis=-1, keepdims=True))
        y = (p * r + ((np.int64(1) << shift) >> 1)) >> shift
        clipped: IntArray = np.minimum(y, Format((), self.bits, self.signed).maximum)
        return clipped

    def _weights(self, distance: IntArray, table: IntArray) -> IntArray:
        t = requantize(distance, self.multiplier, self.shift)
        return exponent_weights(t, table, self.table_bits, self.interpolation_bits, self.probability_bits)

    def _scale(self, total: IntArray) -> tuple[IntArray, IntArray]:
        """Reciprocal and shift of sums below 2^34."""
        length = np.frexp(total.astype(np.float64))[1].astype(np.int64)
        divisor = (total << DIVISOR_BITS) >> length
        quotient = (np.int64(self.numerator) << (DIVISOR_BITS + 2)) // np.maximum(divisor, 1)
        return np.where(total == 0, 0, (quotient + 1) >> 1), self.output_shift + length

    def kernel(self, inputs: Sequence[Format], constants: Constants) -> Kernel:
        x, out = inputs[X], self.infer(inputs)
        table = self._weights(np.arange(x.maximum - x.minimum + 1), constants[EXPONENT]).astype(np.float64)  # by distance
        last = float(table.size - 1)

        def run(activations: Sequence[Array]) -> Array:
            source = activations[0]
            rows = source.reshape(-1, x.channels)
            y = np.empty(rows.shape, dtype=np.float32)
            for block in blocked(*rows.shape):
                place = np.empty(rows[block].shape, dtype=np.int32)
                compiled.exponent_places(np.ascontiguousarray(rows[block]), 1.0, last, place)
                p = table[place]
                scale, shift = self._scale(p.sum(axis=1, keepdims=True).astype(np.int64))
                value = np.floor(p * np.ldexp(scale.astype(np.float64), -shift) + 0.5)
                np.minimum(value, out.maximum, out=y[block], casting="unsafe")
            return y.reshape(source.shape)

        return run

    def registers(self, inputs: Sequence[Format], constants: Constants) -> tuple[Register, ...]:
        x, entries = inputs[X], constants[EXPONENT]
        if entries.min() < 0 or entries.max() >= 1 << self.probability_bits or np.any(np.diff(entries) > 0):
            raise ValueError(f"the entries of the exponent table must fall within [0, {(1 << self.probability_bits) - 1}]")
        distance, most = x.maximum - x.minimum, int(entries.max())
        total = x.channels * most
        reciprocal = (self.numerator << (DIVISOR_BITS + 2)) // (1 << (DIVISOR_BITS - 1))
        shift = self.output_shift + total.bit_length()
        return (
            element_register("element", x),
            Register("distance", widths.MAGNITUDE, 0, distance),
            Register("multiplier", widths.LONG_MULTIPLIER, 0, self.multiplier),
            Register("exponent", widths.PRODUCT, 0, distance * self.multiplier + ((1 << self.shift) >> 1)),
            Register("table entry", widths.KNOT, 0, most),
            Register("interpolation", widths.INTERPOLATED, 0, most << self.interpolation_bits),
            Register("rounded interpolation", widths.PRODUCT, 0, (most + (1 << self.probability_bits)) << self.interpolation_bits),
            Register("fraction", widths.FRACTION, 0, (1 << (self.table_bits + self.interpolation_bits)) - 1),
            Register("position", widths.PLACE, 0, (1 << self.interpolation_bits) - 1),
            Register("numerator", widths.SOFTMAX_NUMERATOR, 0, self.numerator),
            Register("divisor", widths.SOFTMAX_DIVISOR, 0, (1 << DIVISOR_BITS) - 1),
            Register("shift", widths.SHIFT, 0, max(self.shift, shift, self.interpolation_bits + self.probability_bits)),
            Register("shift of the sum", widths.SHIFT, 0, DIVISOR_BITS),
            Register("output", widths.LONG_ELEMENT, 0, (1 << self.bits) - 1),
            Register("weight", widths.LONG_WEIGHT, 0, most),
            Register("sum of weights", widths.WEIGHT_SUM, 0, total),
            Register("quotient", widths.SOFTMAX_DIVISOR, 0, reciprocal + 1),
            Register("reciprocal", widths.RECIPROCAL, 0, (reciprocal + 1) >> 1),
            Register("reciprocal as a factor", widths.LONG_MULTIPLIER, 0, (reciprocal + 1) >> 1),
            Register("product", widths.PRODUCT, 0, most * ((reciprocal + 1) >> 1) + ((1 << shift) >> 1)),
        )

    def macs(self, inputs: Sequence[Format]) -> int:
        return 0

    def row_split(self, inputs: Sequence[Format], constants: Collection[int]) -> RowSplit | None:
        return RowSplit(self.infer(inputs).rows, (0,))

    def lower(self, inputs: Sequence[Format], constants: Constants, context: LoweringContext) -> list[Instruction]:
        x, out = inputs[X], self.infer(inputs)
        require_channels(context, x.channels)
        context.require(context.storage(X) != NIBBLES, "softmax cannot read pairs of 4-bit rows")
        storage = context.output_storage()
        chunks = ceil_div(x.channels, lanes(storage, context.architecture))
        lags = ceil_div(MAXIMUM_LAG, chunks), ceil_div(TOTAL_LAG, chunks)
        values = {
            "x": context.address(X),
            "rows": x.rows,
            "trips": (x.rows + sum(lags)) * chunks,
            "channels": x.channels,
            "maximum_lag": lags[0],
            "total_lag": lags[1],
            "table_bits": self.table_bits,
            "interpolation_bits": self.interpolation_bits,
            "probability_bits": self.probability_bits,
            "multiplier": self.multiplier,
            "shift": self.shift,
            "numerator": self.numerator,
            "output_shift": self.output_shift,
            "y": context.output_address(),
            "x_bytes": context.storage(X),
            "x_signed": int(x.signed),
            "y_bytes": storage,
            "y_bits": out.bits,
            "y_signed": int(out.signed),
        }
        return [Instruction(SOFTMAX, values, context.stream("exponent", constants[EXPONENT].astype("<i4")))]

    @classmethod
    def template_arguments(cls, architecture: Architecture) -> dict[str, int]:
        return {"SOFTMAX_SEGMENTS": 1 << MAXIMUM_TABLE_BITS, "SOFTMAX_MAXIMUM_LAG": MAXIMUM_LAG, "SOFTMAX_TOTAL_LAG": TOTAL_LAG}

    @classmethod
    def cycles(cls, values: Mapping[str, int], architecture: Architecture) -> Cycles:
        """All three stages are one loop: chunks of the rows and of the lags."""
        chunks = ceil_div(values["channels"], lanes(values["y_bytes"], architecture))
        trips = (values["rows"] + values["maximum_lag"] + values["total_lag"]) * chunks
        return Cycles(
            {"segments": segment_loop((1 << values["table_bits"]) + 1, architecture), "softmax": Loop(trips, depth=DEPTH)}
        )

    @classmethod
    def resources(cls, architecture: Architecture) -> Resources:
        """The lanes (hw/lanes.py): a distance, an interpolation with two tables in LUTs, an output, whose products take a slice,
        one and two. Rings of inputs (17 bits) and of weights (22 bits), which hold a row and the lag, lie in block memory. One
        divider of 27 stages serves the row, whose sum is brought to its bits by two shifts in a stage each."""
        a = architecture
        width, wide = a.vector, architecture.dsp_bits
        element, weight, total, divisor = (
            widths.ELEMENT.bits,
            widths.LONG_WEIGHT.bits,
            widths.WEIGHT_SUM.bits,
            widths.SOFTMAX_DIVISOR.bits,
        )
        length, quotient = widths.SHIFT.bits, widths.RECIPROCAL.bits + 1
        lanes = softmax_weight_lane(1 << MAXIMUM_TABLE_BITS, wide, segment_banks(a)) + softmax_output_lane(wide)
        maximum = maximum_lanes(width) + Logic(comparator_luts(element) + element, element)
        sums = Logic(adder_tree_luts(width, weight) + adder_luts(total), tree_registers(width, weight) + total)
        row = (
            Logic(mux_luts(8, length) * 5, length)  # bit length
            + Logic(2 * shifter_luts(total, total), total + divisor)
            + Logic(divider_luts(quotient, divisor), divider_registers(quotient, divisor))
            + Logic(lutram_luts(element, MAXIMUM_LAG + 1, wide), element)
            + Logic(lutram_luts(widths.RECIPROCAL.bits + length, TOTAL_LAG + 1, wide), widths.RECIPROCAL.bits + length)
        )
        chunks = a.max_channels // common_lanes(a)
        rings = width * (bram18(element, chunks + MAXIMUM_LAG) + bram18(weight, chunks + TOTAL_LAG))
        unit = lanes * width + maximum + sums + row + segment_load(a) + chunk_ends(a)
        return Resources(unit.dsp, unit.lut, unit.ff, ceil_div(rings, 2), 0)

    @classmethod
    def cases(cls, rng: np.random.Generator) -> list[Case]:
        return [
            _case(rng, (1, 1), 8, (4, 4, 12), 8, "plain"),
            _case(rng, (3, 10), 16, (7, 10, 22), 24, "plain"),
            _case(rng, (2, 3, 100), 16, (7, 9, 22), 16, "plain"),
            _case(rng, (4, 33), 8, (0, 0, 1), 4, "plain"),
            _case(rng, (90, 5), 12, (5, 0, 10), 8, "plain"),
            _case(rng, (5, 129), 16, (7, 9, 22), 24, "plain"),
            _case(rng, (1, 1000), 16, (6, 8, 18), 16, "flat"),
            _case(rng, (2, 40), 16, (7, 3, 14), 12, "unsigned"),
            _case(rng, (5, 17), 16, (7, 9, 22), 24, "extreme"),
            _every_word(),
        ]


def widest_probability(channels: int, bits: int) -> int:
    """The most ``probability_bits`` with which rows of ``channels`` can become results of ``bits`` bits (it may be above or below
    what there is)."""
    return MAXIMUM_SHIFT - (NUMERATOR_BITS + 1 - bits) - channels.bit_length()


def softmax_parameters(
    input_scale: float, table_bits: int, interpolation_bits: int, probability_bits: int, bits: int
) -> dict[str, int | bool]:
    """Attributes of a :class:`Softmax` of inputs with steps of ``input_scale``; an output step stands for ``1 / (2^bits - 1)``."""
    fraction = 2.0 ** (table_bits + interpolation_bits)
    # A distance of 16 bits whose weight is 0 whatever the multiplier needs no larger one.
    ratio, shift = dyadic(min(input_scale * np.log2(np.e) * fraction, 2.0 * (probability_bits + 1) * fraction), MULTIPLIER_BITS)
    return {
        "multiplier": int(ratio),
        "shift": shift,
        "table_bits": table_bits,
        "interpolation_bits": interpolation_bits,
        "probability_bits": probability_bits,
        "numerator": ((1 << bits) - 1) << (NUMERATOR_BITS - bits),
        "output_shift": NUMERATOR_BITS + 1 - bits,
        "bits": bits,
        "signed": False,
    }


def _case_of(format: Format, x: IntArray, step: float, setting: tuple[int, int, int], out_bits: int, name: str) -> Case:
    op = Softmax(**softmax_parameters(step, *setting, out_bits))  # type: ignore[arg-type]
    table = exponent_knots(setting[0], setting[2])
    return Case(name, op, (format, Format(table.shape, 24, True)), (x, table), frozenset({EXPONENT}))


def _case(
    rng: np.random.Generator, shape: tuple[int, ...], bits: int, setting: tuple[int, int, int], out_bits: int, mode: str
) -> Case:
    format = Format(shape, bits, mode != "unsigned")
    x = draw(rng, format, 2)
    if mode == "extreme":
        x = np.where(x < 0, format.minimum, format.maximum)
        x[:, 0], x[:, 1] = format.minimum, format.maximum
    step = 1e-6 if mode == "flat" else 8.0 / 2.0**bits
    name = f"{mode} {'x'.join(map(str, shape))}, {'.'.join(map(str, setting))} to {out_bits} bits"
    return _case_of(format, x, step, setting, out_bits, name)


def _every_word() -> Case:
    """All pairs of 8-bit elements."""
    pairs = np.stack(np.meshgrid(np.arange(-128, 128), np.arange(-128, 128), indexing="ij"), axis=-1).reshape(256, 256, 2)
    return _case_of(Format((256, 2), 8, True), pairs, 0.04, (4, 4, 16), 8, "every pair of 8-bit elements")
