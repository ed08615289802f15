"""Softmax of rows as a layer of its own, such as the last one of a classifier.

The exponential is a power of two by table and shift (hw/exponent.py), its base folded into the requantization of the distances to
the row's maximum; one integer reciprocal a row normalises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeflow.hw import compiled
from edgeflow.hw.architecture import Architecture, ceil_div, storage_bytes
from edgeflow.hw.arithmetic import MULTIPLIER_BITS, dyadic, requantize, round_shift, saturate
from edgeflow.hw.cost import Cycles, Resources, Unknown
from edgeflow.hw.exponent import (
    MAXIMUM_FRACTION_BITS,
    check_exponent,
    check_table,
    exponent_table,
    reciprocal,
    reciprocal_rows,
    weight_lookup,
    weights,
)
from edgeflow.hw.fast import blocked
from edgeflow.hw.graph import Format, IntArray
from edgeflow.hw.ops.base import (
    Array,
    Case,
    Constants,
    Instruction,
    InstructionLayout,
    Kernel,
    LoweringContext,
    Operator,
    Port,
    Register,
    draw,
    register,
)

NUMERATOR_LIMIT = 1 << 46
PIPELINE_DEPTH = 10  # requantization, lookup and shift; or multiplication and rounding
DIVIDER_DEPTH = 52  # one quotient bit a stage

SOFTMAX = InstructionLayout(
    "softmax",
    4,
    (
        *("x", "rows", "channels", "x_bytes", "x_signed"),
        *("exponent", "fraction_bits", "probability_bits", "multiplier", "shift"),
        *("numerator_low", "numerator_high", "output_shift"),
        *("y", "y_bits", "y_bytes", "y_signed"),
    ),
)

X, EXPONENT = range(2)


@register
@dataclass(frozen=True)
class Softmax(Operator):
    """Inputs: ``x (..., D)`` up to 16 bits; ``exponent (2^F,)`` (see hw/exponent.py). Output ``(..., D)`` of ``bits``, ``signed``.

    ``t = rq(max x - x, multiplier, shift)`` with F fraction bits; ``p = 2^(P - t)``; ``r = (numerator + sum p / 2) / sum p``;
    ``y = sat(round_shift(p r, output_shift))``.
    """

    multiplier: int
    shift: int
    fraction_bits: int
    probability_bits: int
    numerator: int
    output_shift: int
    bits: int
    signed: bool

    name: ClassVar[str] = "softmax"
    header: ClassVar[str] = "softmax.hpp"
    instruction: ClassVar[InstructionLayout] = SOFTMAX
    ports: ClassVar[tuple[Port, ...]] = (Port("x"), Port("exponent", constant=True))

    def infer(self, inputs: Sequence[Format]) -> Format:
        if len(inputs) != 2:
            raise ValueError(f"softmax takes x and its exponent table, not {len(inputs)} inputs")
        check_exponent(self.fraction_bits, self.probability_bits)
        x, table = inputs
        if x.bits > 16:
            raise ValueError(f"the input of softmax must have at most 16 bits, not {x.bits}")
        if table.shape != (1 << self.fraction_bits,):
            raise ValueError(f"the exponent table must have {1 << self.fraction_bits} entries, not {table.shape}")
        if not 0 <= self.multiplier < 1 << MULTIPLIER_BITS or not 0 <= self.numerator < NUMERATOR_LIMIT:
            raise ValueError("softmax needs a multiplier of at most 17 bits and a numerator of at most 46 bits")
        return Format(x.shape, self.bits, self.signed)

    def reference(self, inputs: Sequence[IntArray]) -> IntArray:
        x, table = inputs
        t = requantize(x.max(axis=-1, keepdims=True) - x, self.multiplier, self.shift)
        p = weights(t, table, self.fraction_bits, self.probability_bits)
        r = reciprocal(p.sum(axis=-1, keepdims=True), self.numerator)
        return saturate(round_shift(p * r, self.output_shift), self.bits, self.signed)

    def kernel(self, inputs: Sequence[Format], constants: Constants) -> Kernel:
        x, out = inputs[X], self.infer(inputs)
        table = weight_lookup(
            self.multiplier, self.shift, constants[EXPONENT], self.fraction_bits, self.probability_bits, np.float64
        )
        unit = 2.0**-self.output_shift

        def run(activations: Sequence[Array]) -> Array:
            source = activations[0]
            rows = source.reshape(-1, x.channels)
            y = np.empty(rows.shape, dtype=np.float32)
            for block in blocked(*rows.shape):
                place = np.empty(rows[block].shape, dtype=np.int32)
                compiled.exponent_places(np.ascontiguousarray(rows[block]), table.factor, float(table.last), place)
                p = table.table[place]
                scale = reciprocal_rows(p.sum(axis=1, keepdims=True), float(self.numerator))
                value = np.floor(p * (scale * unit) + 0.5)
                np.clip(value, out.minimum, out.maximum, out=y[block], casting="unsafe")
            return y.reshape(source.shape)

        return run

    def registers(self, inputs: Sequence[Format], constants: Constants) -> tuple[Register, ...]:
        x, entries = inputs[X], constants[EXPONENT]
        check_table(entries, self.probability_bits)
        distance, total = x.maximum - x.minimum, x.channels * int(entries.max())
        return (
            Register("distance", 32, 0, distance),
            Register("multiplier", 18, 0, self.multiplier),
            Register("exponent", 50, 0, distance * self.multiplier + ((1 << self.shift) >> 1)),
            Register("weight", 17, 0, int(entries.max())),
            Register("sum of weights", 32, 0, total),
            Register("dividend", 50, 0, self.numerator + total // 2),
            Register("reciprocal", 48, 0, self.numerator),
            # A weight is at most the sum, so weight x reciprocal <= numerator + weight / 2.
            Register("product", 50, 0, self.numerator + int(entries.max()) // 2 + ((1 << self.output_shift) >> 1)),
        )

    def macs(self, inputs: Sequence[Format]) -> int:
        return 0

    def lower(self, inputs: Sequence[Format], constants: Constants, context: LoweringContext) -> list[Instruction]:
        x, out, a = inputs[X], self.infer(inputs), context.architecture
        context.require(
            x.channels <= a.max_channels,
            f"{x.channels} channels of softmax exceed the accelerator's {a.max_channels} (max_channels)",
        )
        table = Format((1 << self.fraction_bits,), 16, False)
        values = {
            "x": context.address(X),
            "rows": x.rows,
            "channels": x.channels,
            "x_bytes": storage_bytes(x.bits),
            "x_signed": int(x.signed),
            "exponent": context.place_rows("exponent", constants[EXPONENT], table),
            "fraction_bits": self.fraction_bits,
            "probability_bits": self.probability_bits,
            "multiplier": self.multiplier,
            "shift": self.shift,
            "numerator_low": self.numerator & 0xFFFFFFFF,
            "numerator_high": self.numerator >> 32,
            "output_shift": self.output_shift,
            "y": context.output_address(),
            "y_bits": out.bits,
            "y_bytes": storage_bytes(out.bits),
            "y_signed": int(out.signed),
        }
        return [Instruction(SOFTMAX, values)]

    @classmethod
    def template_arguments(cls, architecture: Architecture) -> dict[str, int]:
        return {"SOFTMAX_EXPONENTS": 1 << MAXIMUM_FRACTION_BITS}

    @classmethod
    def cycles(cls, values: Mapping[str, int], architecture: Architecture) -> Cycles:
        rows, channels = values["rows"], values["channels"]
        parts = {
            "load table": 1 << values["fraction_bits"],
            "load input": rows * ceil_div(channels * values["x_bytes"], architecture.word_bytes),
            "maximum": rows * (channels + 2),
            "weights": rows * (channels + PIPELINE_DEPTH),
            "reciprocal": rows * DIVIDER_DEPTH,
            "output": rows * (channels + PIPELINE_DEPTH),
            "store output": rows * ceil_div(channels * values["y_bytes"], architecture.word_bytes),
        }
        return Cycles(parts)

    @classmethod
    def resources(cls, architecture: Architecture) -> Resources:
        """DSPs: two for the requantization (32 x 18 bit), two for the output (17 x 48 bit). Memories, in halves of 18 kbit: input
        and output rows (17 bit) in banks of the AXI bytes (up to 1 kbit: LUT RAM), weights (17 bit x MAX_CHANNELS), exponent
        table."""
        a = architecture
        depth = ceil_div(a.max_channels, a.word_bytes)
        rows = 0 if depth * 17 <= 1024 else 2 * a.word_bytes * ceil_div(depth, 1024)
        halves = rows + ceil_div(a.max_channels, 1024) + ceil_div(1 << MAXIMUM_FRACTION_BITS, 1024)
        unknown = Unknown("no synthesis has been run for this unit")
        return Resources(4, unknown, unknown, ceil_div(halves, 2), 0)

    @classmethod
    def cases(cls, rng: np.random.Generator) -> list[Case]:
        return [
            _case(rng, (1, 1), 8, 6, 8, 8, "plain"),
            _case(rng, (3, 10), 16, 6, 16, 16, "plain"),
            _case(rng, (2, 2, 100), 16, 10, 16, 16, "plain"),
            _case(rng, (4, 33), 8, 0, 1, 4, "plain"),
            _case(rng, (1, 1000), 16, 8, 16, 16, "flat"),
            _case(rng, (2, 40), 16, 6, 12, 16, "unsigned"),
            _case(rng, (5, 17), 16, 6, 16, 16, "extreme"),
            _every_word(6, 8),
        ]


def softmax_parameters(input_scale: float, fraction_bits: int, probability_bits: int, bits: int) -> dict[str, int | bool]:
    """Attributes of a :class:`Softmax` of inputs with steps of ``input_scale``; an output step stands for ``1 / (2^bits - 1)``."""
    ratio, shift = dyadic(input_scale * np.log2(np.e) * 2.0**fraction_bits)
    output_shift = 45 - bits
    return {
        "multiplier": int(ratio),
        "shift": shift,
        "fraction_bits": fraction_bits,
        "probability_bits": probability_bits,
        "numerator": ((1 << bits) - 1) << output_shift,
        "output_shift": output_shift,
        "bits": bits,
        "signed": False,
    }


def _case(
    rng: np.random.Generator, shape: tuple[int, ...], bits: int, fraction: int, probability: int, out_bits: int, mode: str
) -> Case:
    unsigned = mode == "unsigned"
    format = Format(shape, bits, not unsigned)
    x = draw(rng, format, 2)
    if mode == "extreme":
        x = np.where(x < 0, format.minimum, format.maximum)
        x[:, 0], x[:, 1] = format.minimum, format.maximum
    step = 1e-6 if mode == "flat" else 8.0 / 2.0**bits
    op = Softmax(**softmax_parameters(step, fraction, probability, out_bits))  # type: ignore[arg-type]
    table = exponent_table(fraction, probability)
    name = f"{mode} {'x'.join(map(str, shape))}, {fraction}.{probability} bits"
    return Case(name, op, (format, Format(table.shape, 16, False)), (x, table), frozenset({EXPONENT}))


def _every_word(fraction: int, probability: int) -> Case:
    """All pairs of 8-bit elements."""
    pairs = np.stack(np.meshgrid(np.arange(-128, 128), np.arange(-128, 128), indexing="ij"), axis=-1).reshape(256, 256, 2)
    op = Softmax(**softmax_parameters(0.04, fraction, probability, 8))  # type: ignore[arg-type]
    table = exponent_table(fraction, probability)
    formats = (Format((256, 2), 8, True), Format(table.shape, 16, False))
    return Case("every pair of 8-bit elements", op, formats, (pairs, table), frozenset({EXPONENT}))
