"""What is added to ranges from few samples: what more data adds; less the more samples there are, nothing where they suffice."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeflow.quant.canonical.inputs import check_inputs, decode_outputs, encode_inputs, model_inputs
from edgeflow.quant.canonical.session import FloatSession
from edgeflow.quant.formats.allowance import ENOUGH, expected_reach, growth_of_maximum, moderated
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.formats.ranges import asymmetric, channel_groups, symmetric, tensor_groups
from edgeflow.quant.formats.statistics import Statistics
from edgeflow.quant.ptq import quantize
from edgeflow.quant.techniques.sqnr import signal_to_noise
from edgeflow.sim.executor import Executor
from edgeflow.sw.importer import import_model

CASES = Path(__file__).resolve().parent.parent / "cases"


def statistics(values: NDArray[Any]) -> Statistics:
    """Of values ``(samples, tokens, channels)``."""
    values = values.astype(np.float32)
    rows = values.reshape(-1, values.shape[-1])
    as64 = rows.astype(np.float64)
    ends = as64.min(axis=0), as64.max(axis=0), as64.mean(axis=0)
    return Statistics(values.shape[1:], len(rows), *ends, rows, len(values), values.min(axis=1), values.max(axis=1))


def normal(samples: int, tokens: int = 1, channels: int = 64, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(samples, tokens, channels))


def test_growth_shrinks_with_the_number_of_values_and_ends() -> None:
    growth = [growth_of_maximum(n, ENOUGH, n - 1) for n in (2, 4, 8, 16, 32, 64, 128, 256, ENOUGH - 1, ENOUGH, 10 * ENOUGH)]
    assert all(more > less for more, less in pairwise(growth[:10]))
    assert growth[-2:] == [0.0, 0.0]


def test_enough_samples_are_taken_as_they_are() -> None:
    stats = statistics(normal(ENOUGH, tokens=3))
    for groups in (channel_groups(64), tensor_groups(64)):
        low, high = expected_reach(stats, groups)
        np.testing.assert_array_equal(low, stats.minimum)
        np.testing.assert_array_equal(high, stats.maximum)
    on, off = QuantizationConfig(), QuantizationConfig(allowance=False)
    assert symmetric(stats, 8, channel_groups(64), on).scale.tolist() == symmetric(stats, 8, channel_groups(64), off).scale.tolist()
    assert asymmetric(stats, 8, on) == asymmetric(stats, 8, off)


@pytest.mark.parametrize("samples", [1, 4, 16, 64, 256])
@pytest.mark.parametrize("tokens", [1, 20])
def test_the_expected_reach_is_near_that_of_enough_samples(samples: int, tokens: int) -> None:
    """Tokens of a sample have most in common, so that their number alone would promise too much."""
    shared = normal(ENOUGH, 1, seed=1) + 0.3 * normal(ENOUGH, tokens, seed=2)
    few, enough = statistics(shared[:samples]), statistics(shared)
    _, high = expected_reach(few, channel_groups(64))
    short_before = np.mean(enough.maximum - few.maximum)
    short = np.mean(enough.maximum - high)
    assert short < short_before
    if samples >= 4:  # one sample of alike tokens does not tell how samples differ
        assert -1.2 < short < 0.35 * short_before + 0.1
    low, high = expected_reach(few, tensor_groups(64))
    assert high.max() <= 2.0 * enough.maximum.max()
    assert low.min() >= 2.0 * enough.minimum.min()


def test_a_bound_that_every_sample_meets_is_one() -> None:
    pixels = np.clip(normal(16, 50, 8), 0.0, 1.0)
    stats = statistics(pixels)
    low, high = expected_reach(stats, tensor_groups(8))
    assert low.min() == 0.0
    assert high.max() == 1.0


def test_what_was_never_negative_stays_so() -> None:
    stats = statistics(np.abs(normal(16)))
    low, _ = expected_reach(stats, channel_groups(64))
    assert low.min() == 0.0


def test_a_channel_that_hardly_moved_follows_the_others_where_these_are_alike() -> None:
    values = normal(8)
    values[:, :, 0] *= 1e-3
    _, high = expected_reach(statistics(values), channel_groups(64))
    assert high[0] > 0.25 * np.median(high)


def test_channels_of_unlike_size_keep_their_own() -> None:
    size = 10.0 ** np.random.default_rng(3).uniform(-2, 2, 64)
    stats = statistics(normal(16) * size)
    _, high = expected_reach(stats, channel_groups(64))
    assert np.median(high / np.maximum(stats.maximum, 0.1 * size)) < 4.0


def test_rare_events_of_some_channels_are_expected_of_all() -> None:
    """A logit that is large for one word in fifty: at 16 samples most channels have not seen theirs."""
    rng = np.random.default_rng(4)
    values = rng.normal(size=(16, 1, 50))
    values[np.arange(16), 0, rng.integers(0, 50, 16)] += 20
    stats = statistics(values)
    _, high = expected_reach(stats, channel_groups(50))
    assert np.mean(stats.maximum > 15) < 0.5
    assert np.mean(high > 13) > 0.9


def test_variances_are_shrunk_as_far_as_they_are_alike() -> None:
    rng = np.random.default_rng(5)
    alike = rng.normal(size=(8, 500)).var(axis=0, ddof=1)
    shrunk, freedom = moderated(alike, 7)
    assert np.log(shrunk).std() < 0.2 * np.log(alike).std()
    assert freedom > 50
    unlike = alike * 100.0 ** rng.normal(size=500)
    kept, freedom = moderated(unlike, 7)
    assert np.corrcoef(np.log(kept), np.log(unlike))[0, 1] > 0.95
    assert freedom < 10


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_few_bits_take_the_allowance_back(bits: int) -> None:
    """Rounding costs more than the values that few samples have missed: the range stays below that of eight bits."""
    stats = statistics(normal(16, 4))
    few, many = (symmetric(stats, b, tensor_groups(64), QuantizationConfig()) for b in (bits, 8))
    assert few.scale[0] * ((1 << (bits - 1)) - 1) < 0.9 * many.scale[0] * 127


def decibels(case: str, samples: int, unseen: Mapping[str, NDArray[Any]], **options: Any) -> dict[str, float]:
    """Signal-to-noise ratio of every output on unseen data, after calibration on the case's first samples."""
    with np.load(CASES / f"{case}.npz") as archive:
        calibration = {name: archive[name][:samples] for name in archive.files}
    model = import_model(CASES / f"{case}.onnx", shapes={name: array.shape for name, array in calibration.items()})
    graph = quantize(model, calibration, QuantizationConfig(**options)).graph
    arrays = check_inputs(model_inputs(model), unseen)
    actual = decode_outputs(graph, Executor(graph).run(encode_inputs(graph, arrays)))
    expected = FloatSession(model, list(graph.outputs)).run(arrays)
    return {name: signal_to_noise(expected[name], actual[name]) for name in graph.outputs}


@pytest.fixture(scope="module")
def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def test_a_class_token_after_few_samples(rng: np.random.Generator) -> None:
    """onnxruntime's int8 reaches 30 dB; without the allowance it is 17."""
    unseen = {"x": rng.standard_normal((256, 65, 12)).astype(np.float32)}
    assert decibels("few_calibration_class_token", 16, unseen)["y"] > 31.0
    assert decibels("few_calibration_class_token", 16, unseen, allowance=False)["y"] < 22.0


def test_two_towers_after_few_samples(rng: np.random.Generator) -> None:
    """The text tower has a logit for each of 50 words, of which 32 samples show about half."""
    images, ids = rng.standard_normal((256, 3, 16, 16)).astype(np.float32), rng.integers(0, 50, (256, 9))
    ratios = decibels("clip_two_tower", 32, {"x": images, "ids": ids})
    assert ratios["v"] > 29.0  # onnxruntime's int8: 26
    assert ratios["t"] > 26.0  # without the allowance 13.5


def test_one_sample(rng: np.random.Generator) -> None:
    """onnxruntime's int8 reaches 14 dB; without the allowance it is 4."""
    unseen = {"x": rng.standard_normal((256, 9, 12)).astype(np.float32)}
    assert decibels("calib_one_sample", 1, unseen)["y"] > 14.0
