"""Layer normalization on integers: exact sums, a reciprocal square root by table and Newton steps, one gain per channel.

``y = gamma * (x - mean) / sqrt(variance + epsilon) + beta``. Deviations carry fraction bits so that they fill 18 bits. With their
sum of squares ``V``, ``(x - mean) / sqrt(variance) = sqrt(n) * d / sqrt(V)``; ``sqrt(n)`` joins gamma and the output scale in the
gain.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeflow.hw import compiled, field_widths
from edgeflow.hw import cpp_widths as widths
from edgeflow.hw.architecture import LINE_BYTES, Architecture
from edgeflow.hw.arithmetic import dyadic, requantize, round_shift, saturate
from edgeflow.hw.arrays import Array, IntArray
from edgeflow.hw.commands import Command
from edgeflow.hw.cost import Logic, Resources
from edgeflow.hw.cpp_widths import MULTIPLIER_BITS
from edgeflow.hw.field_widths import holding
from edgeflow.hw.graph import Attribute, Format
from edgeflow.hw.lanes import layernorm_read_lane, layernorm_write_lane
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
    draw,
    element_register,
    of_width,
    register,
)
from edgeflow.hw.ops.chunk import parameter_banks, read_logic, write_logic
from edgeflow.hw.ops.layernorm_schedule import (
    NEWTON_STAGES,
    NEWTON_STEPS,
    layernorm_commands,
    layernorm_sizes,
)
from edgeflow.hw.ops.rows import RowSplit
from edgeflow.hw.ops.vector import require_rows
from edgeflow.hw.primitives import (
    adder_luts,
    adder_tree_luts,
    delay_luts,
    lutram_luts,
    multiplier_dsps,
    mux_luts,
    ram_bram36,
    registers,
    rom_luts,
    rounding,
    shifter_luts,
    tree_registers,
)
from edgeflow.hw.process_depths import most_stages

DEVIATION_BITS = widths.DEVIATION.bits  # a deviation from the mean: one DSP48E2 operand
Z_BITS = 20  # fraction bits of d / sqrt(V)
ROOT_BITS = 23  # fraction bits of the reciprocal square root of w / 2^30, which lies in (1, 2]
SEEDS = 192
SEED_BITS = 16
EPSILON_LIMIT = 1 << 52
STATISTICS = 4  # rows whose sums, and whose statistics, wait in streams (hw/process_network.py)
FRACTION_BITS = holding(DEVIATION_BITS - 2, "fraction bits of a deviation, beside a bit of the element and the sign")

# Rows that each notice of the pass before reports, which the unit runs beside; 0: its rows are there.
TOGETHER = holding(2, "rows that a pass of the array completes at once")

LAYERNORM = InstructionLayout(
    "layernorm",
    3,
    (
        *("x", "y"),
        *of_width(field_widths.ROWS, "rows"),
        *of_width(field_widths.STORAGE, "x_storage"),
        *of_width(field_widths.FLAG, "x_signed"),
        *of_width(FRACTION_BITS, "fraction_bits"),
        *of_width(field_widths.CHANNELS, "channels"),
        *of_width(field_widths.STORAGE, "y_storage"),
        *of_width(field_widths.FLAG, "y_signed"),
        *of_width(field_widths.RESULT_BITS, "y_bits"),
        *of_width(widths.SHIFT, "mean_shift"),
        *of_width(widths.MULTIPLIER, "mean_multiplier"),
        *of_width(widths.SHIFT, "shift", "offset_shift"),
        *("epsilon_low", "epsilon_high"),
        *of_width(TOGETHER, "together"),
    ),
    (),  # the array runs it
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
    header: ClassVar[str] = "network/sequence.hpp"
    widens: ClassVar[bool] = True
    writes_pairs: ClassVar[bool] = True
    instruction: ClassVar[InstructionLayout] = LAYERNORM
    counters: ClassVar[tuple[str, ...]] = (
        *("load", "norm lines", "norm sums", "norm rows", "norm parameters", "norm chunks"),
        *("products", "epilogue", "outputs"),
    )
    on_array: ClassVar[bool] = True
    process: ClassVar[str] = "norm_write"
    codes: ClassVar[Mapping[str, int]] = {"NEWTON_STEPS": NEWTON_STEPS, "LAYERNORM_CHANNELS_BITS": LAYERNORM.bits("channels")}
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
        # The unit computes V from the sums of x 2^F and of its squares: sum squares - mu (2 sum - n mu) + epsilon.
        total = max(-low, high) << self.fraction_bits
        mean = int(np.abs(means).max())
        square = (max(-x.minimum, x.maximum) << self.fraction_bits) ** 2
        balance = 2 * total + n * mean
        affine = z * np.abs(gain) + (np.abs(offset) << self.offset_shift)
        half = (1 << self.shift) >> 1
        return (
            element_register("element", x),
            Register("scaled element", widths.DEVIATION, x.minimum << self.fraction_bits, x.maximum << self.fraction_bits),
            Register("sum", widths.ACCUMULATOR, low << self.fraction_bits, high << self.fraction_bits),
            Register("square", widths.SQUARE, 0, square),
            Register("squares", widths.VARIANCE, 0, n * square),
            Register("mean total", widths.MEAN_TOTAL, -n * mean, n * mean),
            Register("balance", widths.BALANCE, -balance, balance),
            Register("cross", widths.CROSS, -mean * balance, mean * balance),
            Register("mean multiplier", widths.MULTIPLIER, 0, self.mean_multiplier),
            Register(
                "mean product",
                widths.PRODUCT,
                low * self.mean_multiplier,
                high * self.mean_multiplier + ((1 << self.mean_shift) >> 1),
            ),
            Register("mean", widths.MEAN, int(means.min()), int(means.max())),
            Register("deviation", widths.DEVIATION, int(ends.min()), int(ends.max())),
            Register("variance", widths.VARIANCE, 0, n * largest**2 + self.epsilon),
            Register("digits", widths.DIGITS, 0, widths.VARIANCE.bits // 2),
            Register(
                "shift",
                widths.SHIFT,
                0,
                max(self.shift, self.mean_shift, self.offset_shift, widths.VARIANCE.bits // 2 + ROOT_BITS - Z_BITS),
            ),
            *rooted,
            Register("normalized product", widths.PRODUCT, -product, product),
            Register("normalized", widths.NORMALIZED, -z, z),
            Register("gain", widths.MULTIPLIER, int(gain.min()), int(gain.max())),
            Register("gain as an integer", widths.ACCUMULATOR, int(gain.min()), int(gain.max())),
            Register("offset", widths.ACCUMULATOR, int(offset.min()), int(offset.max())),
            Register("affine", widths.PRODUCT, -int(affine.max()), int(affine.max()) + half),
            element_register("output", self.infer(inputs)),
        )

    def macs(self, inputs: Sequence[Format]) -> int:
        return 0

    def row_split(self, inputs: Sequence[Format], constants: Collection[int]) -> RowSplit | None:
        return RowSplit(self.infer(inputs).rows, (0,))

    def overwritable(self, inputs: Sequence[Format]) -> tuple[int, ...]:
        return (0,)

    def lower(self, inputs: Sequence[Format], constants: Constants, context: LoweringContext) -> list[Instruction]:
        x, out, a = inputs[X], self.infer(inputs), context.architecture
        context.require(
            x.channels <= a.max_channels,
            f"{x.channels} channels of layer normalization exceed the accelerator's {a.max_channels} (max_channels)",
        )
        require_rows(context, x.rows)
        own_seeds = np.array_equal(constants[SEED], reciprocal_root_seeds())
        context.require(own_seeds, "the seeds of layer normalization are not those of the accelerator")
        parameters = np.stack([constants[GAIN], constants[OFFSET]], axis=1).astype(np.int32)
        values = {
            "x": context.address(X),
            "y": context.output_address(),
            "rows": x.rows,
            "x_storage": context.storage(X),
            "x_signed": int(x.signed),
            "fraction_bits": self.fraction_bits,
            "channels": x.channels,
            "y_storage": context.output_storage(),
            "y_signed": int(out.signed),
            "y_bits": out.bits,
            "mean_shift": self.mean_shift,
            "mean_multiplier": self.mean_multiplier,
            "shift": self.shift,
            "offset_shift": self.offset_shift,
            "epsilon_low": self.epsilon & 0xFFFFFFFF,
            "epsilon_high": self.epsilon >> 32,
            "together": 0,
        }
        return [Instruction(LAYERNORM, values, context.stream("gain and offset", parameters))]

    @classmethod
    def template_arguments(cls, architecture: Architecture) -> dict[str, int]:
        return layernorm_sizes(architecture)

    @classmethod
    def commands(cls, values: Mapping[str, int], architecture: Architecture, words: int) -> tuple[Command, ...]:
        return layernorm_commands(values, architecture)

    @classmethod
    def resources(cls, architecture: Architecture) -> Resources:
        """DSP slices: a lane squares 18 bit, normalizes (18 x 26 bit) and scales (22 x 18 bit), one each; a row's statistics take
        those of six kinds of products, the Newton steps one set each because rows of one chunk follow every cycle.

        LUTs of a lane: choice of the chunk and of its storage, fraction shift, difference, rounding and shift of z and of the
        affine, saturation, placing in the line; of all: both adder trees, statistics, address counters, and a second source for the
        words and addresses of both memories, which the array shares. A gain of 18 and an offset of 50 bit for each channel lie in
        LUT memory, and so do the sums and statistics of a row (170 bit). Flip-flops: a register behind every stage of a lane and of
        the trees, and a number of 62 bit in every stage of the statistics. Block memory: the ring, a chunk to a word.
        """
        wide = architecture.dsp_bits
        v, rows, channels = architecture.vector, field_widths.ROWS.bits, field_widths.CHANNELS.bits
        multiplier, product = widths.MULTIPLIER.bits, widths.PRODUCT.bits
        total, deviation, mean, root = widths.ACCUMULATOR.bits, widths.DEVIATION.bits, widths.MEAN.bits, widths.ROOT.bits
        square, variance, digits = widths.SQUARE.bits, widths.VARIANCE.bits, widths.DIGITS.bits
        line = field_widths.BYTE.bits * LINE_BYTES
        sizes = cls.template_arguments(architecture)
        banks, word_channels = parameter_banks(architecture, 8)
        newton = multiplier_dsps(root, root) + multiplier_dsps(total, widths.SCALED_SQUARE.bits)
        newton += multiplier_dsps(root, widths.ROOT_FACTOR.bits)
        row_dsp = multiplier_dsps(total, multiplier) + multiplier_dsps(channels + 1, mean)
        row_dsp += multiplier_dsps(mean, widths.BALANCE.bits) + NEWTON_STEPS * newton
        lane = layernorm_read_lane(wide) + layernorm_write_lane(wide) + Logic(mux_luts(banks // v, multiplier + product), 0)
        sums = adder_tree_luts(v, deviation) + adder_tree_luts(v, square) + adder_luts(total) + adder_luts(variance)
        row = (
            shifter_luts(total, deviation - 1)
            + rounding(product).lut
            + (adder_luts(widths.BALANCE.bits) + 2 * adder_luts(widths.CROSS.bits))
            + (variance // 2 + mux_luts(variance // 2, digits))
            + 2 * shifter_luts(total, total - 1)
            + rom_luts(SEED_BITS - 1, SEEDS)  # the highest bit of every one is set
            + NEWTON_STEPS
            * (adder_luts(widths.ROOT_PRODUCT.bits) + adder_luts(widths.NEXT_ROOT.bits) + delay_luts(total, NEWTON_STAGES))
            + lutram_luts(total + variance + mean + widths.SHIFT.bits + total + root, STATISTICS, wide)
        )
        parameters = banks * lutram_luts(multiplier + product, architecture.max_channels // banks, wide) + word_channels * (
            shifter_luts(product, product - 1) + adder_luts(product)
        )
        counters = 12 * adder_luts(rows) + 2 * mux_luts(2, line) + 4 * mux_luts(2, rows)
        unit = lane * v + read_logic(architecture) + write_logic(architecture)
        return Resources(
            dsp=unit.dsp + row_dsp + multiplier_dsps(rows + 1, channels + 1),
            lut=unit.lut + sums + row + parameters + counters,
            ff=unit.ff
            + tree_registers(v, deviation)
            + tree_registers(v, square)
            + registers(widths.ROOT_PRODUCT.bits, most_stages("norm_rows"))
            + 12 * rows,
            bram36=ram_bram36(deviation * v, sizes["LAYERNORM_RING"]),
            uram=0,
        )

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
        Register("w", widths.ACCUMULATOR, 0, (1 << 30) - 1),
        Register("seed", widths.ROOT, 0, int(seed.max()) << 8),
        Register("root square", widths.ROOT_SQUARE, 0, square),
        Register("scaled square", widths.SCALED_SQUARE, 0, square >> 18),
        Register("root product", widths.ROOT_PRODUCT, 0, product),
        Register("root rest", widths.ROOT_PRODUCT, 0, 3 << 58),
        Register("root factor", widths.ROOT_FACTOR, 0, factor),
        Register("next root", widths.NEXT_ROOT, 0, following),
        Register("root", widths.ROOT, 0, int(high.max())),
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
