"""Smooth rectifiers of wide activations: ``f(x) = relu(x) - delta(|x|)``, such as GELU, SiLU or softplus.

The form is Edge-MoE's (arXiv 2305.18691). Only delta is in a table: it is even, small, and 0 beyond some reach.
Narrow activations have exact tables (hw/ops/table.py).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeflow.hw import cpp_widths as widths
from edgeflow.hw import field_widths
from edgeflow.hw.architecture import NIBBLES, Architecture, ceil_div
from edgeflow.hw.arithmetic import dyadic, requantize, round_shift, saturate
from edgeflow.hw.arrays import Array, IntArray, Real
from edgeflow.hw.cost import Cycles, Loop, Resources
from edgeflow.hw.exact_float import blocked
from edgeflow.hw.field_widths import holding
from edgeflow.hw.graph import Format
from edgeflow.hw.interpolation import (
    MAXIMUM_INTERPOLATION_BITS,
    MULTIPLIER_BITS,
    check_interpolation,
    interpolate,
    smooth_knots,
)
from edgeflow.hw.lanes import smooth_lane
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
    lanes,
    segment_banks,
    segment_load,
    segment_loop,
)
from edgeflow.hw.ops.rows import RowSplit
from edgeflow.hw.ops.vector import MAXIMUM_SHIFT, require_channels

SEGMENTS = 176  # 177 entries, as in the original
MAXIMUM_SEGMENTS = 256
ENTRY_BITS = 21  # with sign
# Stages of the loop: scratchpad 3, choice of the chunk 2, magnitude 1, multiplier 4, rounding and shift 3, table 2,
# interpolation 4, difference 1, rounding and shift 3, saturation 1, write 2.
DEPTH = 26

SEGMENT_COUNT = holding(MAXIMUM_SEGMENTS, "segments of a table")
INTERPOLATION_BITS = holding(MAXIMUM_INTERPOLATION_BITS, "bits of a place between two entries")

SMOOTH = InstructionLayout(
    "smooth",
    7,
    (
        *("x", "trips"),
        *of_width(field_widths.COUNT, "channels"),
        *of_width(SEGMENT_COUNT, "segments"),
        *("multiplier", "slope", "zero_point"),
        *of_width(widths.SHIFT, "shift"),
        *of_width(INTERPOLATION_BITS, "interpolation_bits"),
        *of_width(widths.SHIFT, "output_shift"),
        *("y",),
        *of_width(field_widths.LONG_STORAGE, "x_bytes"),
        *of_width(field_widths.FLAG, "x_signed"),
        *of_width(field_widths.LONG_STORAGE, "y_bytes"),
        *of_width(field_widths.FLAG, "y_signed"),
        *of_width(field_widths.RESULT_BITS, "y_bits"),
    ),
    ("stream", "scratch"),
)

X, TABLE = range(2)


@functools.lru_cache(maxsize=64)
def _evaluated(operator: Smooth, minimum: int, maximum: int, table: bytes) -> Array:
    """The function of all its operands, at most 2^16, evaluated once for all nodes that agree."""
    values = operator.reference([np.arange(minimum, maximum + 1), np.frombuffer(table, np.int64)]).astype(np.float32)
    values.flags.writeable = False
    return values


@register
@dataclass(frozen=True)
class Smooth(VectorUnit, Operator):
    """Inputs: ``x (..., D)`` up to 16 bits; ``table (S + 1,)``, delta at the ends of S segments in units of ``2^-(s - I)`` output
    steps. Output ``(..., D)`` of ``bits`` (up to 24), ``signed``.

    ``t = rq(|x|, multiplier, shift)`` with I = ``interpolation_bits`` below the segment's number; ``d`` by interpolation at ``t``,
    0 beyond the table; ``y = sat(round_shift(max(x, 0) slope - d, s) + zero_point)`` with s = ``output_shift``.
    """

    multiplier: int
    shift: int
    interpolation_bits: int
    slope: int
    output_shift: int
    zero_point: int
    bits: int
    signed: bool

    name: ClassVar[str] = "smooth"
    header: ClassVar[str] = "smooth.hpp"
    writes_long: ClassVar[bool] = True
    instruction: ClassVar[InstructionLayout] = SMOOTH
    counters: ClassVar[tuple[str, ...]] = ("segments", "smooth")
    ports: ClassVar[tuple[Port, ...]] = (Port("x"), Port("table", constant=True))

    def infer(self, inputs: Sequence[Format]) -> Format:
        x, table = inputs
        check_interpolation(self.interpolation_bits)
        if x.bits > 16 or not 1 <= self.bits <= MAXIMUM_BITS:
            raise ValueError(f"smooth takes up to 16 bits and makes up to {MAXIMUM_BITS}, not {x.bits} and {self.bits}")
        if len(table.shape) != 1 or not 2 <= table.shape[0] <= MAXIMUM_SEGMENTS + 1:
            raise ValueError(f"the table must have 2 to {MAXIMUM_SEGMENTS + 1} entries, not {table.shape}")
        if not 0 <= self.multiplier < 1 << MULTIPLIER_BITS or not 0 <= self.slope < 1 << MULTIPLIER_BITS:
            raise ValueError(f"smooth needs a multiplier and a slope below 2^{MULTIPLIER_BITS}")
        if not 0 <= self.shift <= MAXIMUM_SHIFT or not 0 <= self.output_shift <= MAXIMUM_SHIFT:
            raise ValueError(f"smooth shifts by 0 to {MAXIMUM_SHIFT} bits, not {self.shift} and {self.output_shift}")
        if not -(1 << (MAXIMUM_BITS - 1)) <= self.zero_point < 1 << MAXIMUM_BITS:
            raise ValueError(f"the zero point {self.zero_point} of smooth has more than {MAXIMUM_BITS} bits")
        return Format(x.shape, self.bits, self.signed)

    def reference(self, inputs: Sequence[IntArray]) -> IntArray:
        x, table = inputs
        t = requantize(np.abs(x), self.multiplier, self.shift)
        end = (table.size - 1) << self.interpolation_bits
        delta = np.where(t < end, interpolate(table, np.minimum(t, end - 1), self.interpolation_bits), 0)
        y = round_shift(np.maximum(x, 0) * self.slope - delta, self.output_shift) + self.zero_point
        return saturate(y, self.bits, self.signed)

    def kernel(self, inputs: Sequence[Format], constants: Constants) -> Kernel:
        x = inputs[X]
        table = _evaluated(self, x.minimum, x.maximum, np.asarray(constants[TABLE], np.int64).tobytes())
        least = float(x.minimum)

        def run(activations: Sequence[Array]) -> Array:
            rows = activations[0].reshape(-1, x.channels)
            y = np.empty(rows.shape, dtype=np.float32)
            for block in blocked(*rows.shape):
                np.take(table, (rows[block] - least).astype(np.int32), out=y[block], mode="clip")
            return y.reshape(activations[0].shape)

        return run

    def registers(self, inputs: Sequence[Format], constants: Constants) -> tuple[Register, ...]:
        x, table, out = inputs[X], constants[TABLE], self.infer(inputs)
        low, high = int(table.min()), int(table.max())
        drop = -np.diff(table)
        place_drop = np.array([drop.min(), drop.max()]) << self.interpolation_bits
        product = x.magnitude * self.multiplier + ((1 << self.shift) >> 1)
        least, most = (min(low, 0) << self.interpolation_bits, max(high, 0) << self.interpolation_bits)
        half = (1 << self.output_shift) >> 1
        top, bottom = max(x.maximum, 0) * self.slope - least + half, -most + half
        return (
            element_register("element", x),
            Register("magnitude", widths.MAGNITUDE, 0, x.magnitude),
            Register("multiplier", widths.LONG_MULTIPLIER, 0, self.multiplier),
            Register("place", widths.PRODUCT, 0, product),
            Register("table entry", widths.KNOT, low, high),
            Register("drop", widths.KNOT, int(drop.min()), int(drop.max())),
            Register("delta", widths.INTERPOLATED, least, most),
            Register("drop by a place", widths.INTERPOLATED, *(int(end) for end in place_drop)),
            Register("slope", widths.LONG_MULTIPLIER, 0, self.slope),
            Register("difference", widths.PRODUCT, bottom, top),
            Register("position", widths.PLACE, 0, (1 << self.interpolation_bits) - 1),
            Register("segment", widths.SEGMENT, 0, table.size - 2),
            Register("zero point", widths.LONG_ELEMENT, self.zero_point, self.zero_point),
            Register("shift", widths.SHIFT, 0, max(self.shift, self.output_shift)),
            Register(
                "result",
                widths.PRODUCT,
                (bottom >> self.output_shift) + self.zero_point,
                (top >> self.output_shift) + self.zero_point,
            ),
            Register("output", widths.LONG_ELEMENT, out.minimum, out.maximum),
        )

    def macs(self, inputs: Sequence[Format]) -> int:
        return 0

    def row_split(self, inputs: Sequence[Format], constants: Collection[int]) -> RowSplit | None:
        return RowSplit(self.infer(inputs).rows, (0,))

    def lower(self, inputs: Sequence[Format], constants: Constants, context: LoweringContext) -> list[Instruction]:
        x, out = inputs[X], self.infer(inputs)
        require_channels(context, x.channels)
        context.require(context.storage(X) != NIBBLES, "smooth cannot read pairs of 4-bit rows")
        storage = context.output_storage()
        values = {
            "x": context.address(X),
            "trips": x.rows * ceil_div(x.channels, lanes(storage, context.architecture)),
            "channels": x.channels,
            "segments": constants[TABLE].size - 1,
            "multiplier": self.multiplier,
            "slope": self.slope,
            "zero_point": self.zero_point,
            "shift": self.shift,
            "interpolation_bits": self.interpolation_bits,
            "output_shift": self.output_shift,
            "y": context.output_address(),
            "x_bytes": context.storage(X),
            "x_signed": int(x.signed),
            "y_bytes": storage,
            "y_signed": int(out.signed),
            "y_bits": out.bits,
        }
        return [Instruction(SMOOTH, values, context.stream("table", constants[TABLE].astype("<i4")))]

    @classmethod
    def template_arguments(cls, architecture: Architecture) -> dict[str, int]:
        return {"SMOOTH_SEGMENTS": MAXIMUM_SEGMENTS}

    @classmethod
    def cycles(cls, values: Mapping[str, int], architecture: Architecture) -> Cycles:
        loops = {"segments": segment_loop(values["segments"] + 1, architecture), "smooth": Loop(values["trips"], depth=DEPTH)}
        return Cycles(loops)

    @classmethod
    def resources(cls, architecture: Architecture) -> Resources:
        """The lanes (hw/lanes.py): three products, two tables in LUTs; the ways between them and the scratchpad."""
        a = architecture
        unit = smooth_lane(MAXIMUM_SEGMENTS, a.dsp_bits, segment_banks(a)) * a.vector + segment_load(a) + chunk_ends(a)
        return Resources(unit.dsp, unit.lut, unit.ff, 0, 0)

    @classmethod
    def cases(cls, rng: np.random.Generator) -> list[Case]:
        """Every word of 16 bits through GELU and SiLU, and random parameters."""
        cases = [
            _every_word("gelu", gelu_delta, 5.5, (16, 16, 256), 16, True),
            _every_word("gelu to 8 bits", gelu_delta, 5.5, (4, 128, 128), 8, False),
            _every_word("gelu to 24 bits", gelu_delta, 5.5, (64, 1024), 24, True),
            _every_word("silu", silu_delta, 16.0, (128, 512), 16, False),
        ]
        drawn = [((3, 7), 16, True, 16, True), ((1, 200), 12, False, 9, False), ((9, 33), 9, True, 20, True)]
        for shape, x_bits, x_signed, bits, signed in drawn:
            x, table = Format(shape, x_bits, x_signed), Format((int(rng.integers(2, MAXIMUM_SEGMENTS + 2)),), ENTRY_BITS, True)
            op = cls(
                multiplier=int(rng.integers(1 << MULTIPLIER_BITS)),
                shift=int(rng.integers(MULTIPLIER_BITS - 2, MULTIPLIER_BITS + 4)),
                interpolation_bits=int(rng.integers(MAXIMUM_INTERPOLATION_BITS + 1)),
                slope=int(rng.integers(1 << MULTIPLIER_BITS)),
                output_shift=int(rng.integers(18, 27)),
                zero_point=int(rng.integers(-100, 100)),
                bits=bits,
                signed=signed,
            )
            data = draw(rng, x, 2), draw(rng, table)
            cases.append(Case(f"random {'x'.join(map(str, shape))}", op, (x, table), data, frozenset({TABLE})))
        return cases


def smooth_parameters(
    delta: Callable[[Real], Real],
    reach: float,
    input_scale: float,
    output_scale: float,
    output: tuple[int, bool, int],
    segments: int = SEGMENTS,
) -> tuple[dict[str, int | bool], IntArray]:
    """Attributes and table of a :class:`Smooth` of inputs with steps of ``input_scale``; ``output`` is bits, signed, zero point.

    ``delta`` is tabulated on ``[0, reach]`` in ``segments`` segments, with as many fraction bits as entries of :data:`ENTRY_BITS`
    and the slope have room for. ValueError if the scales leave no room at all.
    """
    bits, signed, zero_point = output
    knots = smooth_knots(delta, reach, segments) / output_scale
    interpolation = MAXIMUM_INTERPOLATION_BITS
    ratio, shift = dyadic(input_scale * segments / reach * 2.0**interpolation, MULTIPLIER_BITS)
    largest = float(np.abs(knots).max()) or 1.0
    slope = input_scale / output_scale
    # Fraction bits of the entries: their size, and below the interpolation bits that of the slope, both leave as many.
    room = min(
        int(np.floor(np.log2(((1 << (ENTRY_BITS - 1)) - 1) / largest))),
        int(np.floor(np.log2(((1 << MULTIPLIER_BITS) - 1) / slope))) - interpolation,
        MAXIMUM_SHIFT - interpolation,
    )
    if room < 0:
        raise ValueError(f"an output step of {output_scale:g} is too fine for input steps of {input_scale:g}")
    output_shift = room + interpolation
    attributes: dict[str, int | bool] = {
        "multiplier": int(ratio),
        "shift": shift,
        "interpolation_bits": interpolation,
        "slope": int(np.floor(slope * 2.0**output_shift + 0.5)),
        "output_shift": output_shift,
        "zero_point": zero_point,
        "bits": bits,
        "signed": signed,
    }
    return attributes, np.floor(knots * 2.0**room + 0.5).astype(np.int64)


def gelu_delta(a: Real) -> Real:
    """``a (1 - Phi(a))`` for ``a >= 0``: what GELU takes from ReLU."""
    from math import erfc, sqrt

    half: Real = np.vectorize(lambda v: 0.5 * erfc(v / sqrt(2.0)))(a)
    return a * half


def silu_delta(a: Real) -> Real:
    """``a / (1 + e^a)`` for ``a >= 0``: what SiLU takes from ReLU."""
    return a / (1.0 + np.exp(a))


def _every_word(name: str, delta: Callable[[Real], Real], reach: float, shape: tuple[int, ...], bits: int, signed: bool) -> Case:
    x = Format(shape, 16, True)
    scale = 8.0 / 32768
    step = 8.0 / (1 << (bits - 1)) if signed else 9.0 / ((1 << bits) - 1)
    zero_point = 0 if signed else int(0.25 / step)
    attributes, table = smooth_parameters(delta, reach, scale, step, (bits, signed, zero_point))
    formats = (x, Format(table.shape, ENTRY_BITS, True))
    words = np.arange(-32768, 32768).reshape(1, *shape)
    return Case(f"{name}, every word", Smooth(**attributes), formats, (words, table), frozenset({TABLE}))  # type: ignore[arg-type]
