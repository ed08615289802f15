"""Layer normalization on integers: exact sums, a reciprocal square root by table and Newton steps, one gain per channel.

``y = gamma * (x - mean) / sqrt(variance + epsilon) + beta``. Deviations carry fraction bits so that they fill 18 bits. With their
sum of squares ``V``, ``(x - mean) / sqrt(variance) = sqrt(n) * d / sqrt(V)``; ``sqrt(n)`` joins gamma and the output scale in the
gain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeflow.hw import compiled
from edgeflow.hw.architecture import Architecture, ceil_div, storage_bytes
from edgeflow.hw.arithmetic import MULTIPLIER_BITS, dyadic, requantize, round_shift, saturate
from edgeflow.hw.cost import Cycles, Resources, Unknown
from edgeflow.hw.graph import Attribute, Format, IntArray
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

DEVIATION_BITS = 18  # a deviation from the mean: one DSP48E2 operand
Z_BITS = 20  # fraction bits of d / sqrt(V)
ROOT_BITS = 23  # fraction bits of the reciprocal square root of w / 2^30, which lies in (1, 2]
SEEDS = 192
EPSILON_LIMIT = 1 << 52
NEWTON_STEPS = 2
PIPELINE_DEPTH = 16  # adder tree, squares, or two multiplications and roundings
ROOT_CYCLES = 40  # normalization, lookup and two Newton steps, not pipelined

LAYERNORM = InstructionLayout(
    "layernorm",
    3,
    (
        *("x", "rows", "channels", "x_bytes", "x_signed", "fraction_bits"),
        *("gain", "offset", "seed"),
        *("mean_multiplier", "mean_shift", "epsilon_low", "epsilon_high", "shift", "offset_shift"),
        *("y", "y_bits", "y_bytes", "y_signed"),
    ),
)

X, GAIN, OFFSET, SEED = range(4)


def reciprocal_root_seeds() -> IntArray:
    """First estimates ``2^15 / sqrt(w / 2^30)``, shape ``(192,)``, for the middles of the intervals ``w >> 22 = 64 .. 255``."""
    middle = (np.arange(64, 256) + 0.5) / 256.0
    seeds: IntArray = np.floor(2.0**15 / np.sqrt(middle) + 0.5).astype(np.int64)
    return seeds


def reciprocal_root(w: IntArray, seed: IntArray) -> IntArray:
    """``2^38 / sqrt(w)`` for ``w`` in ``[2^28, 2^30)``, relative error below ``2^-22``: a seed and two Newton steps
    ``r (3 - w r^2) / 2`` in fixed point."""
    root: IntArray = seed[(w >> 22) - 64] << 8
    for _ in range(NEWTON_STEPS):
        factor = ((3 << 58) - w * ((root * root) >> 18)) >> 33
        root = (root * factor + (1 << 25)) >> 26
    return root


def normalizer(variance: IntArray, seed: IntArray) -> tuple[IntArray, IntArray]:
    """``r`` and ``s`` with ``d / sqrt(V) = d * r / 2^s`` in Z_BITS fraction bits; ``r = 0`` where V is 0.

    ``V`` is scaled by an even power of two into ``w`` in ``[2^28, 2^30)``: ``2^30 / 4^count`` with ``V < 4^count``.
    """
    count = np.searchsorted(_POWERS_OF_FOUR, variance, side="right").astype(np.int64)
    w = (variance << np.maximum(30 - 2 * count, 0)) >> np.maximum(2 * count - 30, 0)
    root = np.where(variance == 0, 0, reciprocal_root(np.maximum(w, 1 << 28), seed))
    return root, count + (ROOT_BITS - Z_BITS)


_POWERS_OF_FOUR = np.int64(1) << (2 * np.arange(27, dtype=np.int64))


@register
@dataclass(frozen=True)
class LayerNorm(Operator):
    """Inputs: ``x (..., D)`` up to 16 bits; ``gain (D,)`` of 18 bits, ``offset (D,)`` of 32 bits, ``seed (192,)`` as
    :func:`reciprocal_root_seeds`. Output ``(..., D)`` of ``bits``, ``signed``.

    ``mu = rq(sum x, mean_multiplier, mean_shift)`` with ``fraction_bits`` F; ``d = x 2^F - mu``; ``V = sum d^2 + epsilon``;
    ``z = d / sqrt(V)`` with 20 fraction bits, 0 if V is 0; ``y = sat(round_shift(z gain + offset 2^offset_shift, shift))``.
    """

    fraction_bits: int
    mean_multiplier: int
    mean_shift: int
    epsilon: int
    shift: int
    offset_shift: int
    bits: int
    signed: bool

    name: ClassVar[str] = "layernorm"
    header: ClassVar[str] = "layernorm.hpp"
    instruction: ClassVar[InstructionLayout] = LAYERNORM
    ports: ClassVar[tuple[Port, ...]] = (
        Port("x"),
        Port("gain", constant=True),
        Port("offset", constant=True),
        Port("seed", constant=True),
    )

    def infer(self, inputs: Sequence[Format]) -> Format:
        if len(inputs) != 4:
            raise ValueError(f"layer normalization takes x, gain, offset and seed, not {len(inputs)} inputs")
        x, gain, offset, seed = inputs
        if not 0 <= self.fraction_bits <= DEVIATION_BITS - 1 - x.bits:
            raise ValueError(f"fraction_bits must be 0 to {DEVIATION_BITS - 1 - x.bits} for an input of {x.bits} bits")
        if gain.shape != (x.channels,) or offset.shape != (x.channels,) or seed.shape != (SEEDS,):
            raise ValueError(f"gain {gain.shape}, offset {offset.shape} and seed {seed.shape} do not fit {x.channels} channels")
        if not 0 <= self.mean_multiplier <= 1 << (self.fraction_bits + self.mean_shift):
            raise ValueError("the mean multiplier must stand for a factor between 0 and 2^fraction_bits")
        if not 0 <= self.epsilon < EPSILON_LIMIT:
            raise ValueError(f"epsilon must be 0 to 2^52 - 1, not {self.epsilon}")
        return Format(x.shape, self.bits, self.signed)

    def reference(self, inputs: Sequence[IntArray]) -> IntArray:
        x, gain, offset, seed = inputs
        mean = requantize(x.sum(axis=-1, keepdims=True), self.mean_multiplier, self.mean_shift)
        d = (x << self.fraction_bits) - mean
        root, shift = normalizer((d * d).sum(axis=-1, keepdims=True) + self.epsilon, seed)
        z = (d * root + (np.int64(1) << (shift - 1))) >> shift
        return saturate(round_shift(z * gain + (offset << self.offset_shift), self.shift), self.bits, self.signed)

    def kernel(self, inputs: Sequence[Format], constants: Constants) -> Kernel:
        out, seed, n = self.infer(inputs), constants[SEED], inputs[X].channels
        one = 2.0**self.fraction_bits
        mean_factor = self.mean_multiplier * 2.0**-self.mean_shift
        gain = constants[GAIN] * 2.0**-self.shift
        offset = np.ldexp(constants[OFFSET].astype(np.float64), self.offset_shift - self.shift) + 0.5
        low, high = float(out.minimum), float(out.maximum)

        def run(activations: Sequence[Array]) -> Array:
            source = activations[0]
            rows = np.ascontiguousarray(source).reshape(-1, n)
            y = np.empty((rows.shape[0], n), dtype=np.float32)
            total, squares = np.empty(rows.shape[0]), np.empty(rows.shape[0])
            compiled.sums(rows, total, squares)
            mean = np.floor(total * mean_factor + 0.5)
            # sum (x 2^F - mu)^2, expanded: every term is an integer below 2^53.
            variance = squares * (one * one) - 2.0 * one * mean * total + n * mean * mean
            root, shift = normalizer(variance.astype(np.int64) + self.epsilon, seed)
            factor = np.ldexp(root.astype(np.float64), -shift)
            compiled.normalize(rows, factor * one, 0.5 - mean * factor, gain, offset, low, high, y)
            return y.reshape(source.shape)

        return run

    def registers(self, inputs: Sequence[Format], constants: Constants) -> tuple[Register, ...]:
        x, n = inputs[X], inputs[X].channels
        gain, offset, seed = constants[GAIN], constants[OFFSET], constants[SEED]
        if not np.array_equal(seed, reciprocal_root_seeds()):
            raise ValueError("the seeds of layer normalization are not those of its reciprocal square root")
        low, high = n * x.minimum, n * x.maximum
        means = requantize(np.array([low, high]), self.mean_multiplier, self.mean_shift)
        # A deviation grows with its own element (the mean's factor is at most 2^F) and falls with every other one.
        others = np.array([x.minimum + (n - 1) * x.maximum, x.maximum + (n - 1) * x.minimum])
        ends = (np.array([x.minimum, x.maximum]) << self.fraction_bits) - requantize(others, self.mean_multiplier, self.mean_shift)
        largest = int(np.abs(ends).max())
        rooted, z = _root_registers(seed)
        product = largest * rooted[-1].maximum + (1 << 34)
        affine = z * np.abs(gain) + (np.abs(offset) << self.offset_shift)
        half = (1 << self.shift) >> 1
        return (
            Register("sum", 32, low, high),
            Register("mean multiplier", 18, 0, self.mean_multiplier),
            Register("mean product", 50, low * self.mean_multiplier, high * self.mean_multiplier + ((1 << self.mean_shift) >> 1)),
            Register("mean", 20, int(means.min()), int(means.max())),
            Register("deviation", DEVIATION_BITS, int(ends.min()), int(ends.max())),
            Register("variance", 54, 0, n * largest**2 + self.epsilon),
            *rooted,
            Register("normalized product", 50, -product, product),
            Register("normalized", 22, -z, z),
            Register("gain", 18, int(gain.min()), int(gain.max())),
            Register("offset", 32, int(offset.min()), int(offset.max())),
            Register("affine", 50, -int(affine.max()), int(affine.max()) + half),
        )

    def macs(self, inputs: Sequence[Format]) -> int:
        return 0

    def lower(self, inputs: Sequence[Format], constants: Constants, context: LoweringContext) -> list[Instruction]:
        x, out, a = inputs[X], self.infer(inputs), context.architecture
        context.require(
            x.channels <= a.max_channels,
            f"{x.channels} channels of layer normalization exceed the accelerator's {a.max_channels} (max_channels)",
        )
        values = {
            "x": context.address(X),
            "rows": x.rows,
            "channels": x.channels,
            "x_bytes": storage_bytes(x.bits),
            "x_signed": int(x.signed),
            "fraction_bits": self.fraction_bits,
            "gain": context.place("gain", constants[GAIN].astype(np.int32)),
            "offset": context.place("offset", constants[OFFSET].astype(np.int32)),
            "seed": context.place("seed", constants[SEED].astype(np.int32)),
            "mean_multiplier": self.mean_multiplier,
            "mean_shift": self.mean_shift,
            "epsilon_low": self.epsilon & 0xFFFFFFFF,
            "epsilon_high": self.epsilon >> 32,
            "shift": self.shift,
            "offset_shift": self.offset_shift,
            "y": context.output_address(),
            "y_bits": out.bits,
            "y_bytes": storage_bytes(out.bits),
            "y_signed": int(out.signed),
        }
        return [Instruction(LAYERNORM, values)]

    @classmethod
    def template_arguments(cls, architecture: Architecture) -> dict[str, int]:
        return {"LAYERNORM_SEEDS": SEEDS}

    @classmethod
    def cycles(cls, values: Mapping[str, int], architecture: Architecture) -> Cycles:
        a = architecture
        rows, channels = values["rows"], values["channels"]
        steps = ceil_div(channels, a.vector)
        words = a.word_bytes // 4
        parts = {
            "load parameters": ceil_div(SEEDS, words) + 2 * ceil_div(channels, words),
            "load input": rows * ceil_div(channels * values["x_bytes"], a.word_bytes),
            "sum": rows * (steps + PIPELINE_DEPTH),
            "squares": rows * (steps + PIPELINE_DEPTH),
            "reciprocal root": rows * ROOT_CYCLES,
            "output": rows * (steps + PIPELINE_DEPTH),
            "store output": rows * ceil_div(channels * values["y_bytes"], a.word_bytes),
        }
        return Cycles(parts)

    @classmethod
    def resources(cls, architecture: Architecture) -> Resources:
        """DSPs: each of VECTOR lanes has one for the square (18 x 18 bit), one for the normalization (18 x 26 bit) and one for the
        gain (22 x 18 bit); the mean has two (32 x 18 bit); the Newton step has two for the square (26 x 26 bit) and four for each
        of its products (32 x 34 and 26 x 30 bit). Memories, in halves of 18 kbit: input and output rows (17 bit) in banks of the
        wider of VECTOR and AXI bytes, gains and offsets (32 bit) in VECTOR banks, the seeds; banks up to 1 kbit are LUT RAM."""
        a = architecture
        banks = max(a.vector, a.word_bytes)
        halves = sum(
            count * _ram_halves(ceil_div(elements, count), width)
            for count, elements, width in (
                (banks, a.max_channels, 17),
                (banks, a.max_channels, 17),
                (a.vector, a.max_channels, 32),
                (a.vector, a.max_channels, 32),
                (1, SEEDS, 32),
            )
        )
        unknown = Unknown("no synthesis has been run for this unit")
        return Resources(3 * a.vector + 2 + 2 + 4 + 4, unknown, unknown, ceil_div(halves, 2), 0)

    @classmethod
    def cases(cls, rng: np.random.Generator) -> list[Case]:
        return [
            _case(rng, (1, 1), 8, 8, "plain"),
            _case(rng, (5, 7), 8, 8, "plain"),
            _case(rng, (4, 64), 16, 8, "plain"),
            _case(rng, (3, 2, 192), 16, 16, "plain"),
            _case(rng, (3, 100), 12, 4, "plain"),
            _case(rng, (4, 33), 16, 16, "unsigned"),
            _case(rng, (5, 48), 16, 8, "extreme"),
            _case(rng, (2, 1000), 16, 16, "extreme"),
            _case(rng, (6, 40), 16, 16, "constant rows"),
            _case(rng, (6, 40), 16, 8, "constant rows without epsilon"),
            _case(rng, (3, 16), 16, 8, "large epsilon"),
        ]


ROW_ELEMENTS = 2048  # inner loop of the affine in the fast kernel


def _ram_halves(depth: int, width: int) -> int:
    if depth * width <= 1024:
        return 0
    return ceil_div(depth, 512) if width > 18 else ceil_div(depth, 1024)


def _root_registers(seed: IntArray) -> tuple[tuple[Register, ...], int]:
    """Intermediates of the Newton steps over all ``w``, by intervals of ``w >> 22``, the root last; and the largest |z|."""
    w = np.arange(64, 256, dtype=np.int64) << 22
    low_w, high_w = w, w + (1 << 22) - 1
    low = high = seed << 8
    square = product = factor = following = 0
    for _ in range(NEWTON_STEPS):
        square = max(square, int((high * high).max()))
        product = max(product, int((high_w * ((high * high) >> 18)).max()))
        low_factor = ((3 << 58) - high_w * ((high * high) >> 18)) >> 33
        high_factor = ((3 << 58) - low_w * ((low * low) >> 18)) >> 33
        factor = max(factor, int(high_factor.max()))
        following = max(following, int((high * high_factor).max()) + (1 << 25))
        low, high = (low * low_factor + (1 << 25)) >> 26, (high * high_factor + (1 << 25)) >> 26
    registers = (
        Register("w", 32, 0, (1 << 30) - 1),
        Register("seed", 26, 0, int(seed.max()) << 8),
        Register("root square", 52, 0, square),
        Register("root product", 62, 0, product),
        Register("root rest", 62, 0, 3 << 58),
        Register("root factor", 30, 0, factor),
        Register("next root", 58, 0, following),
        Register("root", 26, 0, int(high.max())),
    )
    # |d| <= sqrt(V) < sqrt(w + 1) times the power of two that V was scaled by.
    largest = float((high * np.sqrt(high_w + 1.0)).max()) * 2.0 ** (Z_BITS - ROOT_BITS - 15)
    return registers, int(np.ceil(largest)) + 1


def layernorm_parameters(
    gamma: NDArray[Any],
    beta: NDArray[Any],
    epsilon: float,
    n: int,
    input_scale: float,
    output_scales: NDArray[Any] | float,
    input_bits: int,
    output_bits: int,
) -> tuple[dict[str, Attribute], IntArray, IntArray, IntArray]:
    """Attributes, gain, offset and seed of a :class:`LayerNorm` with signed output.

    ``gamma (n,)``, ``beta (n,)`` and ``epsilon`` are the float layer's; ``input_scale`` is the real value of one input step,
    ``output_scales`` that of an output step, one or per channel. ValueError if the values do not fit the integers.
    """
    fraction_bits = DEVIATION_BITS - 1 - input_bits
    scales = np.broadcast_to(np.asarray(output_scales, dtype=np.float64), (n,))
    factor = np.asarray(gamma, dtype=np.float64) * np.sqrt(n) / scales * 2.0**-Z_BITS
    constant = np.asarray(beta, dtype=np.float64) / scales
    mean_multiplier, mean_shift = dyadic(2.0**fraction_bits / n)
    squared = epsilon * n * (2.0**fraction_bits / input_scale) ** 2
    if squared >= EPSILON_LIMIT:  # an epsilon that swamps any variance: the largest that fits, its size moved into the gain
        factor = factor * np.sqrt((EPSILON_LIMIT - 1) / squared)
        squared = EPSILON_LIMIT - 1
    if not (np.all(np.isfinite(factor)) and np.all(np.isfinite(constant)) and squared >= 0):
        raise ValueError("the parameters of the layer normalization do not fit its integer form")
    _, shift = dyadic(factor)
    largest = float(np.max(np.abs(constant), initial=0.0))
    # The affine's register has 50 bits; offset, the larger part, must leave room for the other.
    while shift > 0 and largest * 2.0**shift >= 2.0**47:
        shift -= 1
    offset_shift = 0
    while largest * 2.0 ** (shift - offset_shift) >= 2.0**31 - 1:
        offset_shift += 1
    gain_limit = (1 << MULTIPLIER_BITS) - 1  # beyond it a z other than 0 saturates, as in dyadic
    gain = np.clip(np.floor(factor * 2.0**shift + 0.5), -gain_limit, gain_limit).astype(np.int64)
    offset = np.floor(constant * 2.0 ** (shift - offset_shift) + 0.5).astype(np.int64)
    if largest * 2.0**shift >= 2.0**47:
        raise ValueError("the offset of the layer normalization is too large for its output's range")
    attributes: dict[str, Attribute] = {
        "fraction_bits": fraction_bits,
        "mean_multiplier": int(mean_multiplier),
        "mean_shift": mean_shift,
        "epsilon": int(np.floor(squared + 0.5)),
        "shift": shift,
        "offset_shift": offset_shift,
        "bits": output_bits,
        "signed": True,
    }
    return attributes, gain, offset, reciprocal_root_seeds()


def _case(rng: np.random.Generator, shape: tuple[int, ...], bits: int, out_bits: int, mode: str) -> Case:
    n, unsigned = shape[-1], mode == "unsigned"
    x_format = Format(shape, bits, not unsigned)
    x = draw(rng, x_format, 2)
    epsilon = {"constant rows without epsilon": 0.0, "large epsilon": 1e10}.get(mode, 1e-5)
    if mode == "extreme":  # both ends; one element against all others, either way
        x = np.where(x < 0, x_format.minimum, x_format.maximum)
        x[:, 0], x[:, 1] = x_format.minimum, x_format.maximum
        x[:, 0, 0], x[:, 1, -1] = x_format.maximum, x_format.minimum
    if mode.startswith("constant"):  # no variance, nearly none, small ones
        x[0] = rng.integers(-3000, 3000, size=(*shape[:-1], 1))
        x[1] = x[0] + (rng.random(shape) < np.arange(shape[0])[:, None] / shape[0])
    gamma, beta = rng.normal(1.0, 0.4, size=n), rng.normal(0.0, 0.5, size=n)
    scales = rng.uniform(2.0, 6.0, size=n) / 2.0 ** (out_bits - 1)
    attributes, gain, offset, seed = layernorm_parameters(gamma, beta, epsilon, n, 1.0, scales, bits, out_bits)
    op = LayerNorm(**(attributes | {"signed": not unsigned}))  # type: ignore[arg-type]
    formats = (x_format, Format((n,), 18, True), Format((n,), 32, True), Format((SEEDS,), 32, True))
    name = f"{mode} {'x'.join(map(str, shape))}, {bits} to {out_bits} bits"
    return Case(name, op, formats, (x, gain, offset, seed), frozenset({GAIN, OFFSET, SEED}))
