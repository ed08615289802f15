"""Range choice: what each observer promises, on drawn data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeflow.hw.arithmetic import MAXIMUM_SHIFT, dyadic
from edgeflow.hw.graph import QType
from edgeflow.quant.formats.config import ObserverName, QuantizationConfig
from edgeflow.quant.formats.ranges import (
    SCALE_SPREAD,
    affine,
    asymmetric,
    balanced,
    channel_groups,
    head_groups,
    joined,
    shifted,
    stream_scale,
    symmetric,
    tensor_groups,
)
from edgeflow.quant.formats.statistics import Statistics

reals = st.floats(-1e4, 1e4, allow_nan=False)
seeds = st.integers(0, 2**32 - 1)


def statistics(rows: NDArray[Any]) -> Statistics:
    rows = rows.astype(np.float32)
    as64 = rows.astype(np.float64)
    ends = as64.min(axis=0), as64.max(axis=0), as64.mean(axis=0)
    return Statistics(rows.shape[1:], len(rows), *ends, rows, samples=len(rows), lows=rows, highs=rows)


def observer(name: ObserverName, **options: Any) -> QuantizationConfig:
    return QuantizationConfig(observer=name, **options)


def heavy_tailed(seed: int, shape: tuple[int, int] = (200, 8)) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return rng.standard_t(2, size=shape) * rng.uniform(0.1, 10, size=shape[1])


@given(low=reals, high=reals, bits=st.integers(2, 16))
def test_affine_covers_its_range_and_has_an_exact_zero(low: float, high: float, bits: int) -> None:
    low, high = min(low, high, 0.0), max(low, high, 0.0)
    scale, zero_point = affine(low, high, bits)
    kind = QType(bits, True, scale, zero_point)
    assert kind.minimum <= zero_point <= kind.maximum
    assert kind.dequantize(kind.quantize(np.array(0.0))) == 0.0
    ends = kind.dequantize(np.array([kind.minimum, kind.maximum]))
    assert ends[0] <= low + scale / 2 * (1 + 1e-9)
    assert ends[1] >= high - scale / 2 * (1 + 1e-9)


@given(seed=seeds)
@settings(max_examples=25, deadline=None)
def test_minmax_saturates_nothing(seed: int) -> None:
    rows = heavy_tailed(seed)
    for groups in (tensor_groups(8), channel_groups(8), head_groups(8, 2)):
        chosen = symmetric(statistics(rows), 8, groups, observer("minmax"))
        kind = QType(8, True, tuple(chosen.scale[groups]))
        error = np.abs(kind.dequantize(kind.quantize(rows)) - rows)
        assert (error <= kind.scales * 0.5 * (1 + 1e-6)).all()


@given(seed=seeds)
@settings(max_examples=25, deadline=None)
def test_mse_has_no_larger_error_than_the_others(seed: int) -> None:
    stats = statistics(heavy_tailed(seed))
    for groups in (tensor_groups(8), channel_groups(8)):
        errors = {name: symmetric(stats, 8, groups, observer(name)).error for name in ("minmax", "mse", "auto")}
        assert errors["mse"] <= errors["minmax"]
        assert errors["auto"] <= errors["minmax"]
    both = {name: asymmetric(stats, 8, observer(name)).error for name in ("minmax", "mse", "auto")}
    assert both["mse"] <= both["minmax"]
    assert both["auto"] <= both["minmax"]


def test_reported_error_is_the_error_of_quantizing() -> None:
    rows = heavy_tailed(1)
    chosen = symmetric(statistics(rows), 8, tensor_groups(8), observer("minmax"))
    kind = QType(8, True, float(chosen.scale[0]))
    expected = np.mean((kind.dequantize(kind.quantize(rows.astype(np.float32))) - rows.astype(np.float32)) ** 2)
    assert chosen.error == pytest.approx(expected, rel=1e-3)


def test_auto_keeps_minmax_until_clipping_clearly_pays() -> None:
    rng = np.random.default_rng(0)
    even = statistics(rng.uniform(-1, 1, size=(500, 4)))
    assert symmetric(even, 8, tensor_groups(4), observer("auto")).method == "minmax"
    spiked = rng.normal(size=(50_000, 4))
    spiked[0, 0] = 12.0
    chosen = symmetric(statistics(spiked), 8, tensor_groups(4), observer("auto"))
    assert chosen.method in ("mse", "percentile")
    assert float(chosen.scale[0]) * 127 < 9.0


def test_percentile_keeps_the_percentage() -> None:
    rows = np.abs(heavy_tailed(3, (1000, 1)))
    chosen = symmetric(statistics(rows), 8, tensor_groups(1), observer("percentile", percentile=90.0))
    kept = np.mean(rows <= float(chosen.scale[0]) * 127 * (1 + 1e-6))
    assert kept == pytest.approx(0.9, abs=0.002)


def test_extremes_that_the_sample_missed_still_count() -> None:
    rows = np.random.default_rng(0).normal(size=(100, 1)).astype(np.float32)
    seen = statistics(rows)
    wider = replace(seen, maximum=seen.maximum * 0 + 50.0)
    chosen = symmetric(wider, 8, tensor_groups(1), observer("minmax", allowance=False))
    assert chosen.scale[0] == pytest.approx(50 / 127)


def test_unsigned_range_uses_all_codes() -> None:
    rows = np.linspace(0, 51.0, 256)[:, None]
    chosen = symmetric(statistics(rows), 8, tensor_groups(1), observer("minmax", allowance=False), signed=False)
    assert chosen.scale[0] == pytest.approx(51.0 / 255)
    assert chosen.error == pytest.approx(0.0, abs=1e-9)


def test_constant_zero_tensor_has_a_positive_scale() -> None:
    stats = statistics(np.zeros((10, 3)))
    assert (symmetric(stats, 8, channel_groups(3), observer("auto")).scale > 0).all()
    assert asymmetric(stats, 8, observer("auto")).scale > 0
    assert stream_scale(stats, 16, observer("auto")) > 0


def test_shifting_and_joining_describe_the_same_numbers_as_numpy() -> None:
    a, b = heavy_tailed(5), heavy_tailed(6)
    offset, factor = np.arange(8.0), np.linspace(0.5, 2, 8)
    moved = shifted(statistics(a), offset, factor)
    expected = (a.astype(np.float32) - offset) * factor
    np.testing.assert_allclose(moved.maximum, expected.max(axis=0), rtol=1e-6)
    np.testing.assert_allclose(moved.mean, expected.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(moved.rows, expected, rtol=1e-5, atol=1e-5)
    both = joined(statistics(a), statistics(b))
    whole = statistics(np.concatenate([a, b]))
    np.testing.assert_array_equal(both.minimum, whole.minimum)
    np.testing.assert_array_equal(both.rows, whole.rows)
    np.testing.assert_allclose(both.mean, whole.mean, rtol=1e-9, atol=1e-12)


def test_balanced_scales_beat_both_extremes_where_channels_differ() -> None:
    """One hot channel with small weights: neither one scale for all nor the channels' own ranges are best."""
    rng = np.random.default_rng(2)
    rows = np.abs(rng.normal(size=(400, 32)))
    rows[:, 0] *= 60
    weight = rng.normal(size=(32, 16))
    weight[0] *= 0.3
    stats, low = statistics(rows), rows.min()

    def error(scale: NDArray[np.float64]) -> float:
        q = np.clip(np.floor((rows - low) / scale + 0.5), 0, 255)
        folded = weight * scale[:, None]
        step = np.abs(folded).max(axis=0) / 127
        return float(np.mean((q @ (np.floor(folded / step + 0.5) * step) - (rows - low) @ weight) ** 2))

    chosen = balanced(stats, weight, QType(8, False, 1.0), 8, observer("auto", allowance=False), low).scale
    span = rows.max(axis=0) - low
    assert error(chosen) < error(span / 255)
    assert error(chosen) < error(np.full(32, span.max() / 255))
    assert chosen.max() <= chosen.min() * SCALE_SPREAD * (1 + 1e-9)


@given(ratios=st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=8), bits=st.integers(8, 17))
def test_dyadic_multipliers_fit_and_are_nearest(ratios: list[float], bits: int) -> None:
    multiplier, shift = dyadic(np.array(ratios), bits)
    assert 0 <= shift <= MAXIMUM_SHIFT
    assert (multiplier < 1 << bits).all()
    assert (np.abs(multiplier / 2.0**shift - ratios) <= 0.5 / 2.0**shift).all()
    assert shift == MAXIMUM_SHIFT or np.floor(max(ratios) * 2.0 ** (shift + 1) + 0.5) >= 1 << bits
