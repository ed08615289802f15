"""Multi-head attention on integers: scores, softmax and the weighted sum of the values in one operator.

Per head and query: ``s_j = q . k_j``; the distance to the row's maximum becomes a fixed-point exponent; ``p_j`` is a power of two
from a small table and a shift (hw/exponent.py); ``y = (sum p_j v_j) / (sum p_j)``. The row is never normalised element by element
but by one reciprocal, and the result does not depend on the order of the keys (Edge-MoE, arXiv 2305.18691, reordered attention).
Weights have at most 8 bits, as the array multiplies them like any other 8-bit operand; the reciprocal is a 17-bit multiplier and a
shift for each row, as in the array's requantization of linear layers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeflow.hw import compiled
from edgeflow.hw import cpp_widths as widths
from edgeflow.hw.architecture import LINE_BYTES, Architecture, round_up, slots_of
from edgeflow.hw.arithmetic import MAXIMUM_SHIFT, requantize, saturate
from edgeflow.hw.array_resources import array_constants, array_resources
from edgeflow.hw.arrays import Array, IntArray
from edgeflow.hw.commands import Command
from edgeflow.hw.cost import Resources
from edgeflow.hw.exact_float import FLOAT32_EXACT, WORK, blocked
from edgeflow.hw.exponent import (
    WeightLookup,
    check_exponent,
    check_table,
    exponent_table,
    weight_lookup,
    weights,
)
from edgeflow.hw.graph import Format
from edgeflow.hw.ops.attention_commands import attention_commands
from edgeflow.hw.ops.attention_schedule import (
    ATTENTION,
    VALUES,
    Operands,
    output_lines,
    passes,
    stationary,
)
from edgeflow.hw.ops.attention_schedule import SCORES as PASS_SCORES
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
    element_register,
    register,
)
from edgeflow.hw.ops.layernorm_schedule import layernorm_sizes
from edgeflow.hw.ops.linear import array_registers
from edgeflow.hw.ops.rows import RowSplit

LINE_CHANNELS = 64  # no head straddles two lines of the scratchpad
MAXIMUM_HEAD = 448  # channels: the scores of 512 would leave their 24-bit register
MAXIMUM_WEIGHT_BITS = widths.EXPONENT.bits
TOTAL_BITS = widths.WEIGHT_TOTAL.bits  # of the sum of a row's weights
NUMERATOR_BITS = widths.RECIPROCAL_NUMERATOR.bits
MAXIMUM_OUTPUT_SHIFT = MAXIMUM_SHIFT - TOTAL_BITS
SCORES = 1 << 16  # taken at a time in the simulator

Q, K, V, EXPONENT, MULTIPLIER, NUMERATOR, MASK = range(7)


def padded_head(size: int) -> int:
    """Channels that a head of ``size`` channels takes: 16, 32 or a multiple of 64, so that lines hold whole heads or heads whole
    lines."""
    return 16 if size <= 16 else 32 if size <= 32 else round_up(size, LINE_CHANNELS)


def normalized_reciprocal(total: IntArray, numerator: IntArray | int) -> tuple[IntArray, IntArray]:
    """``(r, k)`` with ``r / 2^k`` next to ``numerator / total``: the definition of a row's normalisation.

    ``k`` is the bit length of ``total < 2^24``; ``r = floor((numerator 2^24 + n / 2) / n)`` with ``n = total 2^(24 - k)``, so that
    ``numerator <= r <= 2 numerator``. Where ``total`` is 0, both are 0.
    """
    k = np.frexp(total.astype(np.float64))[1].astype(np.int64)
    normalized = total << (TOTAL_BITS - k)
    r = ((numerator << TOTAL_BITS) + (normalized >> 1)) // np.maximum(normalized, 1)
    return np.where(total == 0, 0, r), k


def row_scales(total: Array, numerator: Array, output_shift: int) -> Array:
    """``r / 2^(output_shift + k)`` of :func:`normalized_reciprocal` for float64 integers; 0 where ``total`` is 0.

    Exact: the mantissa of a total is its normalised value, and a correctly rounded quotient of a dividend below 2^41 has the floor
    of the quotient.
    """
    mantissa, k = np.frexp(total)
    normalized = mantissa * 2.0**TOTAL_BITS
    quotient = np.floor((numerator * 2.0**TOTAL_BITS + np.floor(normalized * 0.5)) / np.maximum(normalized, 1.0))
    scales: Array = np.ldexp(np.where(total == 0.0, 0.0, quotient), -(k + output_shift))
    return scales


@register
@dataclass(frozen=True)
class Attention(Operator):
    """Inputs: ``q (Sq, H*dh)``, ``k (Sk, H*dh)``, ``v (Sk, H*dh)`` signed up to 8 bits, heads one after another, ``dh`` 16, 32
    or a multiple of 64; ``exponent (2^F,)`` (see hw/exponent.py), ``multiplier (H,)`` up to 17 bits and ``numerator (H,)`` from 1
    to 2^16 - 1; a ``mask (Sk,)`` up to 8 bits if ``has_mask``, in which nonzero means attend. Output ``(Sq, H*dh)`` of ``bits``,
    ``signed``.

    ``t_j = rq(max s - s_j, multiplier, shift)`` with F fraction bits; ``p_j = 2^(P - t_j)``, P up to 8, 0 for masked keys;
    ``L = sum p_j``; ``r`` and ``k`` from :func:`normalized_reciprocal` of L and the head's numerator;
    ``y_c = sat(rq(sum p_j v_jc, r, output_shift + k))``, about ``numerator / 2^output_shift`` times the weighted mean of the
    values; 0 if L is 0.
    """

    heads: int
    fraction_bits: int
    probability_bits: int
    shift: int
    output_shift: int
    bits: int
    signed: bool
    has_mask: bool

    name: ClassVar[str] = "attention"
    header: ClassVar[str] = "network/sequence.hpp"
    instruction: ClassVar[InstructionLayout] = ATTENTION
    counters: ClassVar[tuple[str, ...]] = (
        *("load", "weigh table", "weigh keys", "query lines", "transpose keys", "divide lanes", "feed lines", "feed steps"),
        *("value lines", "values", "products", "track mask", "track keys", "epilogue", "outputs"),
    )
    on_array: ClassVar[bool] = True
    process: ClassVar[str] = "multiply"
    codes: ClassVar[Mapping[str, int]] = {
        "ATTENTION_SCORES": PASS_SCORES,
        "ATTENTION_VALUES": VALUES,
    }
    ports: ClassVar[tuple[Port, ...]] = (
        Port("q"),
        Port("k"),
        Port("v"),
        Port("exponent", constant=True),
        Port("multiplier", constant=True),
        Port("numerator", constant=True),
        Port("mask", optional=True),
    )

    def infer(self, inputs: Sequence[Format]) -> Format:
        if len(inputs) != 6 + self.has_mask:
            raise ValueError("attention takes a mask as seventh input exactly when it says so")
        check_exponent(self.fraction_bits, self.probability_bits)
        if self.probability_bits > MAXIMUM_WEIGHT_BITS:
            raise ValueError(f"the weights of attention have at most {MAXIMUM_WEIGHT_BITS} bits, not {self.probability_bits}")
        if not 0 <= self.output_shift <= MAXIMUM_OUTPUT_SHIFT:
            raise ValueError(f"the output shift of attention must be 0 to {MAXIMUM_OUTPUT_SHIFT}, not {self.output_shift}")
        q, k, v = inputs[Q], inputs[K], inputs[V]
        for what, x in (("queries", q), ("keys", k), ("values", v)):
            if len(x.shape) != 2 or x.bits > 8 or not x.signed:
                raise ValueError(f"the {what} of attention must be two-dimensional, signed and of at most 8 bits, not {x}")
        if k.shape != v.shape or q.channels != k.channels:
            raise ValueError(f"queries {q.shape}, keys {k.shape} and values {v.shape} do not fit together")
        if self.heads < 1 or q.channels % self.heads or (q.channels // self.heads) != padded_head(q.channels // self.heads):
            raise ValueError(
                f"{q.channels} channels are not {self.heads} heads of 16, 32 or a multiple of {LINE_CHANNELS} channels"
            )
        if q.channels // self.heads > MAXIMUM_HEAD:
            raise ValueError(f"a head of attention has at most {MAXIMUM_HEAD} channels, not {q.channels // self.heads}")
        most = ((1 << TOTAL_BITS) - 1) // ((1 << self.probability_bits) - 1)
        if k.shape[0] > most:
            raise ValueError(f"attention with weights of {self.probability_bits} bits takes at most {most} keys, not {k.shape[0]}")
        if inputs[EXPONENT].shape != (1 << self.fraction_bits,):
            raise ValueError(f"the exponent table must have {1 << self.fraction_bits} entries, not {inputs[EXPONENT].shape}")
        if inputs[MULTIPLIER].shape != (self.heads,) or inputs[NUMERATOR].shape != (self.heads,):
            raise ValueError(f"attention needs one multiplier and one numerator for each of its {self.heads} heads")
        if self.has_mask and (inputs[MASK].shape != k.shape[:1] or inputs[MASK].bits > 8):
            raise ValueError(f"the mask {inputs[MASK].shape} must have one element of at most 8 bits for each of {k.shape[0]} keys")
        return Format(q.shape, self.bits, self.signed)

    def reference(self, inputs: Sequence[IntArray]) -> IntArray:
        q, k, v = (self._split(x) for x in inputs[:3])
        multiplier = inputs[MULTIPLIER][:, None, None]
        score = q @ k.swapaxes(-1, -2)
        attended = np.ones(k.shape[-2], dtype=bool) if not self.has_mask else inputs[MASK] != 0
        attended = attended[..., None, None, :]  # over heads and queries
        lowest = score.min() - 1
        highest = np.where(attended, score, lowest).max(axis=-1, keepdims=True)
        t = requantize(np.maximum(highest - score, 0), multiplier, self.shift)
        p = np.where(attended, weights(t, inputs[EXPONENT], self.fraction_bits, self.probability_bits), 0)
        r, k_bits = normalized_reciprocal(p.sum(axis=-1, keepdims=True), inputs[NUMERATOR][:, None, None])
        shift = self.output_shift + np.maximum(k_bits, 1)  # without weights the product is 0 whatever the shift
        y = ((p @ v) * r + (np.int64(1) << (shift - 1))) >> shift
        merged = saturate(y, self.bits, self.signed).swapaxes(-2, -3)
        return merged.reshape(*merged.shape[:-2], -1)

    def _split(self, x: IntArray) -> IntArray:
        return x.reshape(*x.shape[:-1], self.heads, -1).swapaxes(-2, -3)

    def kernel(self, inputs: Sequence[Format], constants: Constants) -> Kernel:
        out = self.infer(inputs)
        (queries, channels), keys = out.shape, inputs[K].shape[0]
        heads, dh = self.heads, channels // self.heads
        low, high = self._scores(inputs)
        farthest, entries = high - low, constants[EXPONENT]
        # Differences of scores and positions in the lookup are exact in float32 up to 2^24; so are sums of weights, and the sums of
        # weighted values over `piece` keys: at least 514, enough for the matrix product.
        score_type = np.float32 if 2 * farthest < FLOAT32_EXACT else np.float64
        piece = min(keys, FLOAT32_EXACT // max(1, int(entries.max()) * inputs[V].magnitude))
        lookups = [
            weight_lookup(int(m), self.shift, entries, self.fraction_bits, self.probability_bits, np.float32)
            for m in constants[MULTIPLIER]
        ]
        numerator = constants[NUMERATOR].astype(np.float64)
        ones = np.ones(keys, dtype=np.float32)
        places = [slice(h * dh, (h + 1) * dh) for h in range(heads)]
        activation_inputs = [i for i in (Q, K, V, MASK)[: 3 + self.has_mask] if i not in constants]

        def run(activations: Sequence[Array]) -> Array:
            samples = activations[0].shape[0]
            source = dict(zip(activation_inputs, activations, strict=True))
            for i in set(constants) & {Q, K, V, MASK}:
                source[i] = np.broadcast_to(constants[i].astype(np.float32), (samples, *constants[i].shape))
            y = np.empty((samples, *out.shape), dtype=np.float32)
            for n in range(samples):
                q, k = (source[i][n].astype(score_type, copy=False) for i in (Q, K))
                v = source[V][n].astype(np.float32, copy=False)
                if self.has_mask:
                    attended = np.flatnonzero(source[MASK][n])
                    if attended.size < keys:
                        k, v = k[attended], v[attended]
                    if attended.size == 0:
                        y[n] = 0.0
                        continue
                weighted = WORK.get("weighted", (queries, channels), np.float32 if piece == keys else np.float64)
                total = WORK.get("total", (heads, queries), np.float32)
                for h, place in enumerate(places):
                    transposed = k[:, place].T
                    for block in blocked(queries, keys, SCORES):
                        score = WORK.get("score", (block.stop - block.start, k.shape[0]), score_type)
                        np.matmul(q[block, place], transposed, out=score)
                        p = _weigh(score, lookups[h])
                        if piece == keys:
                            np.matmul(p, v[:, place], out=weighted[block, place])
                        else:
                            weighted[block, place] = sum(
                                np.matmul(p[:, i : i + piece], v[i : i + piece, place]).astype(np.float64)
                                for i in range(0, k.shape[0], piece)
                            )
                        np.matmul(p, ones[: k.shape[0]], out=total[h, block])
                scale = row_scales(total.astype(np.float64).T, numerator, self.output_shift)
                value = WORK.get("value", (queries, heads, dh), np.float64)
                np.multiply(weighted.reshape(queries, heads, dh), scale[:, :, None], out=value)
                np.add(value, 0.5, out=value)
                np.floor(value, out=value)
                np.clip(value.reshape(queries, channels), out.minimum, out.maximum, out=y[n], casting="unsafe")
            return y

        return run

    def _scores(self, inputs: Sequence[Format]) -> tuple[int, int]:
        """Lowest and highest score that the formats allow."""
        q, k, dh = inputs[Q], inputs[K], inputs[Q].channels // self.heads
        return (
            dh * min(q.minimum * k.maximum, q.maximum * k.minimum),
            dh * max(q.minimum * k.minimum, q.maximum * k.maximum),
        )

    def registers(self, inputs: Sequence[Format], constants: Constants) -> tuple[Register, ...]:
        entries, multiplier, numerator = constants[EXPONENT], constants[MULTIPLIER], constants[NUMERATOR]
        check_table(entries, self.probability_bits)
        if multiplier.min() < 0 or numerator.min() < 1:
            raise ValueError("the multipliers of attention must not be negative, its numerators must be positive")
        v, keys = inputs[V], inputs[K].shape[0]
        low, high = self._scores(inputs)
        total, largest = keys * int(entries.max()), int(numerator.max())
        k = total.bit_length()
        # r <= (numerator 2^24 + n / 2) / n with n >= 2^23: at most 2 numerator. A weighted sum is at most L times the largest
        # value, and L r <= L (numerator 2^k / L + 1/2) <= 2^k (numerator + 1/2).
        scaled = (v.magnitude * (2 * largest + 1) << k) // 2
        half = (1 << (self.output_shift + k)) >> 1
        return (
            Register("score", widths.SCORE, low, high),
            Register("distance", widths.DISTANCE, 0, high - low),
            Register("distance as an integer", widths.ACCUMULATOR, 0, high - low),
            Register("multiplier", widths.MULTIPLIER, 0, int(multiplier.max())),
            Register("exponent", widths.PRODUCT, 0, (high - low) * int(multiplier.max()) + ((1 << self.shift) >> 1)),
            Register("exponent shift", widths.EXPONENT_SHIFT, 0, self.probability_bits),
            Register("table entry", widths.EXPONENT, 0, int(entries.max())),
            Register("rounded entry", widths.ROUNDED_EXPONENT, 0, int(entries.max()) + ((1 << self.probability_bits) >> 1)),
            Register("fraction", widths.FRACTION, 0, entries.size - 1),
            # The largest score of a row has the weight of the first entry; the sum is moved up to the bits of its type.
            Register("digits", widths.DIGITS, 0, max(k, TOTAL_BITS - int(entries[0]).bit_length())),
            Register("shift", widths.SHIFT, 0, max(self.shift, self.output_shift + k)),
            *array_registers(inputs[Q], inputs[K]),
            *array_registers(Format((), MAXIMUM_WEIGHT_BITS, False), v),
            Register("weight", widths.WEIGHT, 0, int(entries.max())),
            Register("sum of weights", widths.WEIGHT_TOTAL, 0, total),
            Register("running sum of weights", widths.ACCUMULATOR, 0, total),
            Register("weighted values", widths.ACCUMULATOR, total * v.minimum, total * v.maximum),
            Register("numerator", widths.RECIPROCAL_NUMERATOR, 0, largest),
            Register("dividend", widths.RECIPROCAL_DIVIDEND, 0, (largest << TOTAL_BITS) + (1 << (TOTAL_BITS - 1)) - 1),
            Register("reciprocal", widths.MULTIPLIER, 0, 2 * largest),
            Register("reciprocal as a factor", widths.WIDE_MULTIPLIER, 0, 2 * largest),
            Register("product", widths.WIDE_PRODUCT, -scaled, scaled + half),
            element_register("output", self.infer(inputs)),
        )

    def macs(self, inputs: Sequence[Format]) -> int:
        return 2 * inputs[Q].rows * inputs[K].rows * inputs[Q].channels

    def demands(self, inputs: Sequence[Format]) -> dict[str, int]:
        channels = inputs[Q].channels
        return {"max_channels": channels, "max_tokens": inputs[K].shape[0], "max_head": channels // self.heads}

    def stationary(self, inputs: Sequence[Format], max_tokens: int) -> tuple[int, ...]:
        return stationary(inputs[Q].channels // self.heads, inputs[K].shape[0], max_tokens)

    def row_split(self, inputs: Sequence[Format], constants: Collection[int]) -> RowSplit | None:
        return RowSplit(self.infer(inputs).rows, (0,))

    def on_chip_constant(self, index: int) -> bool:
        return index in (Q, K, V, MASK)

    def lower(self, inputs: Sequence[Format], constants: Constants, context: LoweringContext) -> list[Instruction]:
        """The passes of hw/ops/attention_schedule.py."""
        out, a = self.infer(inputs), context.architecture
        dh, keys = out.channels // self.heads, inputs[K].shape[0]
        context.require(
            out.channels <= a.max_channels,
            f"{out.channels} channels of attention exceed the accelerator's {a.max_channels} (max_channels)",
        )
        context.require(dh <= a.max_head, f"{dh} channels of a head exceed the accelerator's {a.max_head} (max_head)")
        needed = slots_of(self.stationary(inputs, a.max_tokens), a.pi)
        context.require(needed <= a.slots // 2, f"attention needs {needed} slots of weights, half of the accelerator's {a.slots}")
        table = context.stream("exponent", constants[EXPONENT].astype(np.uint8))
        operands = Operands(
            queries=inputs[Q].rows,
            keys=keys,
            heads=self.heads,
            head_channels=dh,
            q=context.address(Q),
            k=context.address(K),
            v=context.address(V),
            o=context.output_address(),
            mask=context.address(MASK) if self.has_mask else None,
            stride=output_lines(out.channels, context.storage(Q)),
            o_stride=output_lines(out.channels, context.output_storage()),
            o_storage=context.output_storage(),
            o_bits=out.bits,
            o_signed=out.signed,
            multiplier=tuple(int(m) for m in constants[MULTIPLIER]),
            numerator=tuple(int(n) for n in constants[NUMERATOR]),
            shift=self.shift,
            output_shift=self.output_shift,
            fraction_bits=self.fraction_bits,
            probability_bits=self.probability_bits,
            table_words=table[1] * LINE_BYTES // a.stream_bytes,
        )
        schedule = passes(operands, a)
        return [Instruction(ATTENTION, values, table if n == 0 else (0, 0)) for n, values in enumerate(schedule)]

    @classmethod
    def template_arguments(cls, architecture: Architecture) -> dict[str, int]:
        return array_constants(architecture) | layernorm_sizes(architecture)

    @classmethod
    def commands(cls, values: Mapping[str, int], architecture: Architecture, words: int) -> tuple[Command, ...]:
        return attention_commands(values, architecture)

    @classmethod
    def resources(cls, architecture: Architecture) -> Resources:
        """Attention runs on the array, which counts its buffers (hw/array_resources.py)."""
        return Resources(0, 0, 0, 0, 0, part_of="linear") if "linear" in architecture.units else array_resources(architecture)

    @classmethod
    def cases(cls, rng: np.random.Generator) -> list[Case]:
        return [
            _case(rng, 1, 1, 1, 16, 6, 8, 8, "plain"),
            _case(rng, 9, 9, 2, 32, 6, 8, 8, "plain"),
            _case(rng, 17, 23, 3, 16, 6, 8, 8, "mask"),
            _case(rng, 5, 12, 1, 64, 6, 8, 16, "constant mask"),
            _case(rng, 6, 7, 2, 16, 0, 1, 8, "plain"),
            _case(rng, 4, 33, 2, 128, 10, 8, 16, "plain"),
            _case(rng, 5, 150, 2, 16, 6, 7, 8, "mask"),
            _case(rng, 3, 100, 1, 32, 6, 5, 12, "plain"),
            _case(rng, 3, 40, 2, 16, 4, 4, 4, "constant query"),
            _case(rng, 7, 10, 1, 16, 6, 8, 8, "constant memory"),
            _case(rng, 8, 16, 2, 64, 6, 8, 8, "corner"),
            _case(rng, 5, 20, 1, 32, 6, 8, 8, "flat"),
            _case(rng, 3, 6, 2, 16, 6, 8, 8, "zero multiplier"),
            _case(rng, 19, 65, 3, 64, 6, 8, 8, "plain"),
            _case(rng, 2, 5, 5, 32, 6, 8, 16, "whole shift"),
            _case(rng, 2, 5, 1, 64, 6, 8, 8, "longest shift"),
        ]


def _weigh(score: Array, weights: WeightLookup) -> Array:
    """Weights of a block of scores; the last axis runs over the keys."""
    place = WORK.get("place", score.shape, np.int32)
    compiled.exponent_places(score, weights.factor, float(weights.last), place)
    p = WORK.get("p", score.shape, weights.table.dtype.type)
    compiled.lookup(weights.table, place, p)
    return p


def _case(
    rng: np.random.Generator, queries: int, keys: int, heads: int, dh: int, fraction: int, probability: int, bits: int, mode: str
) -> Case:
    channels = heads * dh
    format = [Format((n, channels), 8, True) for n in (queries, keys, keys)]
    q, k, v = (rng.integers(-128, 128, size=(2, *f.shape)) for f in format)
    if mode == "corner":  # extreme scores of either sign, rows whose values all saturate
        q, k = (np.where(x < 0, -128, 127) for x in (q, k))
        q[0, 0], q[0, 1], k[0], v[0] = -128, 127, -128, -128
    multiplier = rng.integers(1 << 15, 1 << 17, size=heads)
    # Distances of a standard deviation span about two powers of two; "flat" leaves every weight near the largest.
    spread = 128.0**2 / 3.0 * np.sqrt(dh)
    shift = int(np.clip(np.ceil(np.log2(spread * 2.0**16 / 2.0 ** (fraction + 1))), 0, 40))
    if mode == "flat":
        multiplier, shift = rng.integers(1, 4, size=heads), 12
    if mode == "zero multiplier":
        multiplier = np.zeros(heads, dtype=np.int64)
    # Means of the values fill a few steps of the output, or more than its range.
    output_shift = {"whole shift": 0, "longest shift": MAXIMUM_OUTPUT_SHIFT}.get(mode, 15 - max(bits - 9, 0))
    numerator = rng.integers(1 << 13, 1 << NUMERATOR_BITS, size=heads)
    numerator[-1] = {"corner": (1 << NUMERATOR_BITS) - 1, "whole shift": 1}.get(mode, numerator[-1])
    inputs: list[IntArray] = [q, k, v, exponent_table(fraction, probability), multiplier, numerator]
    format += [Format((1 << fraction,), 16, False), Format((heads,), 32, True), Format((heads,), 32, True)]
    constants = {EXPONENT, MULTIPLIER, NUMERATOR}
    if mode.endswith("mask"):
        mask = (rng.random((2, keys)) < 0.6).astype(np.int64) * rng.integers(1, 256, size=(2, keys))
        mask[1] = 0
        inputs.append(mask[0] if mode.startswith("constant") else mask)
        format.append(Format((keys,), 8, False))
        constants |= {MASK} if mode.startswith("constant") else set()
    fixed = {"constant query": {Q}, "constant memory": {K, V}}.get(mode, set())
    for index in fixed:
        inputs[index] = inputs[index][0]
    op = Attention(heads, fraction, probability, shift, output_shift, bits, True, mode.endswith("mask"))
    name = f"{mode} {queries}x{keys} {heads} heads of {dh}, {fraction}.{probability} bits"
    return Case(name, op, tuple(format), tuple(inputs), frozenset(constants | fixed))
