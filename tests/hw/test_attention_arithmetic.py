"""Accuracy and invariants of the arithmetic behind attention, layer normalization and softmax."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from operator_harness import case_graph, operator_cases

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.arithmetic import dyadic, requantize
from edgeflow.hw.arrays import IntArray
from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.exponent import exponent_table, weight_lookup, weights
from edgeflow.hw.graph import Attribute, Format
from edgeflow.hw.ops.attention import Attention, normalized_reciprocal, row_scales
from edgeflow.hw.ops.base import Operator
from edgeflow.hw.ops.layernorm import LayerNorm, layernorm_parameters, normalizer, reciprocal_root, reciprocal_root_seeds
from edgeflow.sw.compiler.lowering import lower
from edgeflow.sw.compiler.network import Network

RNG_SEED = 20240607


def float_softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


class TestExponent:
    @pytest.mark.parametrize(("fraction", "probability"), [(0, 1), (6, 8), (4, 12), (10, 16)])
    def test_weights_follow_the_definition_one_by_one(self, fraction: int, probability: int) -> None:
        table = exponent_table(fraction, probability)
        t = np.arange((probability + 3) << fraction)
        expected = []
        for value in t.tolist():
            whole, entry = value >> fraction, int(table[value & ((1 << fraction) - 1)])
            if whole == 0:
                expected.append(entry)
            else:
                expected.append((entry + (1 << (whole - 1))) >> whole if whole <= probability else 0)
        actual = weights(t, table, fraction, probability)
        np.testing.assert_array_equal(actual, expected)
        assert (np.diff(actual) <= 0).all()

    @pytest.mark.parametrize(("fraction", "probability"), [(6, 8), (10, 16)])
    def test_weights_are_powers_of_two_within_one(self, fraction: int, probability: int) -> None:
        t = np.arange((probability + 1) << fraction)
        exact = ((1 << probability) - 1) * 2.0 ** (-t / 2.0**fraction)
        assert np.abs(weights(t, exponent_table(fraction, probability), fraction, probability) - exact).max() <= 0.75

    @pytest.mark.parametrize("multiplier", [0, 1, 3, 40_000, 131_071])
    @pytest.mark.parametrize("shift", [0, 7, 20, 34])
    def test_lookup_equals_the_definition(self, multiplier: int, shift: int) -> None:
        table, farthest = exponent_table(6, 8), 1 << 21
        lookup = weight_lookup(multiplier, shift, table, 6, 8, np.float32)
        distance = np.unique(np.concatenate([np.arange(5_000), np.linspace(0, farthest, 20_000).astype(np.int64)]))
        steps = np.floor(distance * lookup.factor + 0.5).astype(np.int64)
        looked_up = lookup.table[np.minimum(steps, lookup.last)]
        np.testing.assert_array_equal(looked_up, weights(requantize(distance, multiplier, shift), table, 6, 8))


class TestAttention:
    @staticmethod
    def make(mask: bool, probability: int = 8) -> tuple[Attention, list[IntArray], float, float]:
        rng = np.random.default_rng(RNG_SEED)
        heads, dh, keys = 3, 32, 129
        q, k, v = (
            np.clip(np.floor(rng.normal(0, 40, size=(2, keys, heads * dh)) + 0.5), -128, 127).astype(np.int64) for _ in "qkv"
        )
        logit = 2.0 / (40.0 * 40.0 * np.sqrt(dh))  # of one unit of score: a standard deviation of 2
        multiplier, shift = dyadic(np.full(heads, logit * np.log2(np.e) * 64))
        output_scale = 1.0 / 16.0
        op = Attention(heads, 6, probability, shift, 11, 16, True, mask)
        numerator = np.full(heads, int(2**11 / output_scale))
        inputs = [q, k, v, exponent_table(6, probability), multiplier, numerator]
        if mask:
            inputs.append((rng.random((2, keys)) < 0.5).astype(np.int64))
        return op, inputs, logit, output_scale

    @pytest.mark.parametrize("mask", [False, True])
    @pytest.mark.parametrize(("probability", "error"), [(5, 0.2), (7, 0.05), (8, 0.025)])
    def test_close_to_float(self, probability: int, error: float, mask: bool) -> None:
        op, inputs, logit, output_scale = self.make(mask, probability)
        q, k, v = (x.reshape(2, 129, 3, 32).swapaxes(1, 2).astype(np.float64) for x in inputs[:3])
        score = q @ k.swapaxes(-1, -2) * logit
        if mask:
            score = np.where(inputs[6][:, None, None, :] != 0, score, -np.inf)
        expected = (float_softmax(score) @ v).swapaxes(1, 2).reshape(2, 129, 96)
        difference = op.reference(inputs) * output_scale - expected
        assert np.sqrt(np.mean(difference**2)) < error * expected.std()

    def test_reciprocals_are_rounded_quotients_of_seventeen_bits(self) -> None:
        rng = np.random.default_rng(RNG_SEED)
        powers = 1 << np.arange(24)
        total = np.unique(np.concatenate([np.arange(2048), *(powers + d for d in (-1, 0, 1)), rng.integers(1, 1 << 24, 20_000)]))
        total = total[total < 1 << 24]
        for numerator in (1, 2, 3, 32_767, 32_768, 65_535, *rng.integers(1, 1 << 16, 10).tolist()):
            r, k = normalized_reciprocal(total, numerator)
            for reciprocal, bits, n in zip(r.tolist(), k.tolist(), total.tolist(), strict=True):
                assert bits == n.bit_length()
                assert reciprocal == (0 if n == 0 else ((numerator << (bits + 1)) + n) // (2 * n))  # numerator 2^k / total, half up
            assert r[total > 0].min() >= numerator
            assert r.max() <= 2 * numerator < 1 << 17
            scales = row_scales(total.astype(np.float64), np.array(float(numerator)), 22)
            np.testing.assert_array_equal(scales, r / 2.0 ** (22 + k))

    @pytest.mark.parametrize("keys", [514, 515, 1300])
    def test_kernel_equals_the_definition_beyond_one_exact_product(self, keys: int) -> None:
        """Equal weights of 255 and values of -128: the largest sums that there are."""
        rng = np.random.default_rng(RNG_SEED)
        op = Attention(2, 6, 8, 46, 14, 8, True, False)
        q, k = np.zeros((1, 3, 32), np.int64), rng.integers(-128, 128, size=(1, keys, 32))
        v = np.where(np.arange(32) < 20, -128, rng.integers(-128, 128, size=(1, keys, 32)))
        constants = {3: exponent_table(6, 8), 4: np.array([0, 1]), 5: np.array([16_384, 65_535])}
        formats = [Format(x.shape[1:], 8, True) for x in (q, k, v)]
        formats += [Format((64,), 16, False), Format((2,), 32, True), Format((2,), 32, True)]
        actual = op.kernel(formats, constants)([x.astype(np.float32) for x in (q, k, v)])
        np.testing.assert_array_equal(actual, op.reference([q, k, v, *constants.values()]))
        assert (actual[..., :16] == -128).all()

    @pytest.mark.parametrize("numerator", [1, 65_535])
    def test_registers_bound_what_occurs(self, numerator: int) -> None:
        """Largest and least words of a row whose keys all get the largest weight, against the stated ranges."""
        keys, heads = 65_793, 1  # (2^24 - 1) / 255
        op = Attention(heads, 0, 8, 0, 22, 16, True, False)
        formats = [Format((1, 16), 8, True), Format((keys, 16), 8, True), Format((keys, 16), 8, True)]
        formats += [Format((1,), 16, False), Format((heads,), 32, True), Format((heads,), 32, True)]
        constants = {3: exponent_table(0, 8), 4: np.array([0]), 5: np.array([numerator])}
        op.infer(formats)
        registers = {r.name: r for r in op.registers(formats, constants)}
        assert all(r.fits for r in registers.values())
        assert registers["sum of weights"].maximum == (1 << 24) - 1
        # Every sum of weights has a reciprocal; products are largest where the sum has one bit more than a power of two needs.
        total = np.concatenate([np.arange(1, 1 << 12), (1 << 24) - np.arange(1, 1 << 12), (1 << 23) + np.arange(1 << 12)])
        r, k = normalized_reciprocal(total, numerator)
        assert r.max() <= registers["reciprocal"].maximum
        product = total * 128 * r
        assert product.max() <= -registers["product"].minimum
        assert (product + (1 << (21 + k))).max() <= registers["product"].maximum
        normalized = total << (24 - k)
        assert ((numerator << 24) + (normalized >> 1)).max() <= registers["dividend"].maximum

    def test_order_of_the_keys_does_not_matter(self) -> None:
        op, inputs, _, _ = self.make(True)
        order = np.random.default_rng(RNG_SEED).permutation(129)
        permuted = [inputs[0], inputs[1][:, order], inputs[2][:, order], *inputs[3:6], inputs[6][:, order]]
        np.testing.assert_array_equal(op.reference(permuted), op.reference(inputs))

    def test_masked_keys_are_as_absent(self) -> None:
        op, inputs, _, _ = self.make(True)
        kept = np.flatnonzero(inputs[6][0])
        without = [inputs[0][:1], inputs[1][:1, kept], inputs[2][:1, kept], *inputs[3:6]]
        unmasked = dataclasses.replace(op, has_mask=False)
        np.testing.assert_array_equal(unmasked.reference(without), op.reference(inputs)[:1])

    def test_a_row_without_keys_is_zero(self) -> None:
        op, inputs, _, _ = self.make(True)
        inputs[6][1] = 0
        assert not op.reference(inputs)[1].any()
        assert op.reference(inputs)[0].any()

    def test_lowering_refuses_heads_that_are_too_wide(self) -> None:
        case = next(c for c in operator_cases("attention") if "heads of 128" in c.name)
        with pytest.raises(UnsupportedError, match=r"channels of a head exceed .*max_head"):
            lower(Network(case_graph(case)), Architecture(units=("attention", "dma"), max_head=64))


class TestLayerNorm:
    def test_reciprocal_root_is_accurate(self) -> None:
        rng = np.random.default_rng(RNG_SEED)
        edges = (np.arange(64, 256, dtype=np.int64) << 22)[:, None] + np.array([0, 1, (1 << 22) - 1])
        w = np.concatenate([rng.integers(1 << 28, 1 << 30, size=1_000_000), edges.ravel()])
        roots = reciprocal_root(w, reciprocal_root_seeds())
        assert np.abs(roots * np.sqrt(w) / 2.0**38 - 1.0).max() < 2.0**-22

    def test_normalizer_covers_every_magnitude(self) -> None:
        variance = np.concatenate([np.arange(1, 4096), *((1 << np.arange(12, 53)) + d for d in (-1, 0, 1))])
        root, shift = normalizer(variance, reciprocal_root_seeds())
        factor = root / 2.0**shift
        assert np.abs(factor * np.sqrt(variance) / 2.0**20 - 1.0).max() < 2.0**-22
        assert normalizer(np.array([0]), reciprocal_root_seeds())[0] == 0

    @pytest.mark.parametrize(("in_bits", "out_bits"), [(16, 8), (16, 16), (8, 8), (12, 16)])
    @pytest.mark.parametrize("n", [3, 192, 1000])
    def test_close_to_float(self, in_bits: int, out_bits: int, n: int) -> None:
        rng = np.random.default_rng(RNG_SEED)
        x = np.floor(rng.normal(100.0, 2.0 ** (in_bits - 4), size=(20, n))).clip(-(2 ** (in_bits - 1)), 2 ** (in_bits - 1) - 1)
        gamma, beta = rng.normal(1, 0.5, size=n), rng.normal(0, 0.5, size=n)
        input_scale, epsilon = 0.003, 1e-5
        real = x * input_scale
        normalized = (real - real.mean(1, keepdims=True)) / np.sqrt(real.var(1, keepdims=True) + epsilon)
        expected = normalized * gamma + beta
        scales = np.abs(expected).max(axis=0 if out_bits == 8 else None) / (2 ** (out_bits - 1) - 1)
        attributes, gain, offset, seed = layernorm_parameters(gamma, beta, epsilon, n, input_scale, scales, in_bits, out_bits)
        op = LayerNorm(**attributes)  # type: ignore[arg-type]
        actual = op.reference([x.astype(np.int64), gain, offset, seed])
        # Half a step is the output's own rounding; then the mean's, half of its last fraction bit; then the gain's 17 bits.
        mean_step = 2.0**-op.fraction_bits * input_scale * np.abs(gamma) / scales / real.std(1, keepdims=True)
        allowed = 0.51 + 0.55 * mean_step + (2.0**out_bits) * 2.0**-17
        assert (np.abs(actual - expected / scales) <= allowed).all()

    @pytest.mark.parametrize(("change", "message"), [({"gamma": np.nan}, "fit"), ({"beta": 1e30}, "too large")])
    def test_parameters_that_do_not_fit_are_refused(self, change: dict[str, float], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            self.extreme(change)

    @pytest.mark.parametrize("change", [{"gamma": 1e30}, {"epsilon": 1e20}])
    def test_extreme_parameters_keep_every_register(self, change: dict[str, float]) -> None:
        attributes, gain, offset, seed = self.extreme(change)
        op = LayerNorm(**attributes)  # type: ignore[arg-type]
        formats = [Format((4, 8), 16, True), Format((8,), 18, True), Format((8,), 32, True), Format(seed.shape, 32, True)]
        assert all(register.fits for register in op.registers(formats, {1: gain, 2: offset, 3: seed}))

    @staticmethod
    def extreme(change: dict[str, float]) -> tuple[dict[str, Attribute], IntArray, IntArray, IntArray]:
        values = {"gamma": 1.0, "beta": 0.0, "epsilon": 1e-5} | change
        gamma, beta = np.full(8, values["gamma"]), np.full(8, values["beta"])
        return layernorm_parameters(gamma, beta, values["epsilon"], 8, 0.01, 0.02, 16, 8)

    def test_other_seeds_are_refused(self) -> None:
        case = operator_cases("layernorm")[0]
        constants = {i: np.asarray(case.inputs[i]) for i in case.constants}
        constants[3] = constants[3] + 1
        with pytest.raises(ValueError, match="seeds"):
            case.operator.registers(case.formats, constants)


def q8(*shape: int) -> Format:
    return Format(shape, 8, True)


ATTENTION = Attention(2, 2, 8, 10, 20, 8, True, False)
ATTENTION_INPUTS = (q8(5, 32), q8(7, 32), q8(7, 32), Format((4,), 16, False), Format((2,), 32, True), Format((2,), 32, True))
LAYERNORM = LayerNorm(1, 100, 10, 0, 10, 0, 8, True)
LAYERNORM_INPUTS = (Format((4, 8), 16, True), Format((8,), 18, True), Format((8,), 32, True), Format((192,), 32, True))


@pytest.mark.parametrize(
    ("op", "inputs", "change", "message"),
    [
        (ATTENTION, ATTENTION_INPUTS, {0: Format((5, 32), 16, True)}, "at most 8 bits"),
        (ATTENTION, ATTENTION_INPUTS, {0: Format((5, 32), 8, False)}, "signed"),
        (ATTENTION, ATTENTION_INPUTS, {1: q8(6, 32)}, "do not fit together"),
        (
            ATTENTION,
            ATTENTION_INPUTS,
            {0: q8(5, 48), 1: q8(7, 48), 2: q8(7, 48)},
            "48 channels are not 2 heads of 16, 32 or a mult",
        ),
        (ATTENTION, ATTENTION_INPUTS, {0: q8(5, 192), 1: q8(7, 192), 2: q8(7, 192)}, "192 channels are not 2 heads of 16, 32 or"),
        (ATTENTION, ATTENTION_INPUTS, {0: q8(5, 33), 1: q8(7, 33), 2: q8(7, 33)}, "33 channels are not 2 heads"),
        (ATTENTION, ATTENTION_INPUTS, {0: q8(5, 1024), 1: q8(7, 1024), 2: q8(7, 1024)}, "at most 448 channels, not 512"),
        (ATTENTION, ATTENTION_INPUTS, {1: q8(65_794, 32), 2: q8(65_794, 32)}, "takes at most 65793 keys, not 65794"),
        (ATTENTION, ATTENTION_INPUTS, {3: Format((5,), 16, False)}, "4 entries"),
        (ATTENTION, ATTENTION_INPUTS, {4: Format((3,), 32, True)}, "one multiplier"),
        (dataclasses.replace(ATTENTION, fraction_bits=11), ATTENTION_INPUTS, {}, "fraction_bits must be 0 to 10"),
        (dataclasses.replace(ATTENTION, probability_bits=17), ATTENTION_INPUTS, {}, "probability_bits must be 1 to 16"),
        (
            dataclasses.replace(ATTENTION, probability_bits=9),
            ATTENTION_INPUTS,
            {},
            "weights of attention have at most 8 bits, not 9",
        ),
        (
            dataclasses.replace(ATTENTION, output_shift=23),
            ATTENTION_INPUTS,
            {},
            "output shift of attention must be 0 to 22, not 23",
        ),
        (dataclasses.replace(ATTENTION, has_mask=True), ATTENTION_INPUTS, {}, "mask"),
        (dataclasses.replace(ATTENTION, has_mask=True), (*ATTENTION_INPUTS, q8(5)), {}, "each of 7 keys"),
        (LAYERNORM, LAYERNORM_INPUTS, {1: Format((9,), 18, True)}, "do not fit 8 channels"),
        (dataclasses.replace(LAYERNORM, fraction_bits=2), LAYERNORM_INPUTS, {}, "fraction_bits must be 0 to 1"),
        (dataclasses.replace(LAYERNORM, epsilon=1 << 52), LAYERNORM_INPUTS, {}, "epsilon"),
        (dataclasses.replace(LAYERNORM, mean_multiplier=1 << 12), LAYERNORM_INPUTS, {}, "mean multiplier"),
    ],
)
def test_wrong_inputs_are_refused(op: Operator, inputs: Sequence[Format], change: dict[int, Format], message: str) -> None:
    formats = [change.get(i, f) for i, f in enumerate(inputs)]
    with pytest.raises(ValueError, match=message) as refused:
        op.infer(formats)
    assert "\n" not in str(refused.value)
