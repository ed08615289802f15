"""Weights that are fitted to their input and whose rounding errors compensate each other: on drawn data, against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgeflow.hw.arrays import Array
from edgeflow.quant.integers.compensate import BLOCK, RIDGE, InputMoments, fitted, input_moments, moments, rounded


def correlated(seed: int, rows: int, channels: int) -> Array:
    """Rows whose channels share a few causes."""
    rng = np.random.default_rng(seed)
    causes = rng.normal(size=(rows, max(2, channels // 4)))
    return (causes @ rng.normal(size=(causes.shape[1], channels)) + 0.3 * rng.normal(size=(rows, channels)) + 2).astype(np.float32)


def loss(errors: Array, covariance: Array) -> Array:
    return np.asarray(np.einsum("nk,kl,nl->n", errors, covariance, errors))


def test_moments_give_the_error_of_any_weights() -> None:
    rng = np.random.default_rng(0)
    u, weight, bias = correlated(1, 500, 24), rng.normal(size=(7, 24)), rng.normal(size=7)
    y = (u @ rng.normal(size=(24, 7)) + rng.normal(size=7)).astype(np.float32)
    seen = moments(input_moments(u), y)
    direct = np.square(u.astype(np.float64) @ weight.T + bias - y).mean()
    assert seen.error(weight, bias) == pytest.approx(direct, rel=1e-4)
    assert seen.power == pytest.approx(np.square(y.astype(np.float64)).mean(), rel=1e-5)


@pytest.mark.parametrize(("channels", "bits"), [(20, 4), (BLOCK + 9, 4), (3 * BLOCK, 3), (1, 4)])
def test_compensated_rounding_beats_the_nearest(channels: int, bits: int) -> None:
    rng = np.random.default_rng(channels)
    u = correlated(2, 800, channels)
    inputs = input_moments(u)
    weight = rng.normal(size=(16, channels))
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    step = np.abs(weight).max(axis=1) / high
    integers = rounded(weight, step, (low, high), inputs)
    assert integers.min() >= low
    assert integers.max() <= high
    assert (integers == np.round(integers)).all()
    nearest = np.clip(np.floor(weight / step[:, None] + 0.5), low, high)
    ours, theirs = (loss(q * step[:, None] - weight, inputs.covariance).sum() for q in (integers, nearest))
    assert ours == theirs if channels == 1 else ours < 0.6 * theirs


def test_where_inputs_are_independent_the_nearest_is_kept() -> None:
    rng = np.random.default_rng(3)
    weight, step = rng.normal(size=(5, 30)), np.full(5, 0.4)
    integers = rounded(
        weight, step, (-8, 7), InputMoments(np.zeros(30), np.diag(rng.uniform(0.1, 9, 30)), np.zeros((0, 30), np.float32))
    )
    np.testing.assert_array_equal(integers, np.clip(np.floor(weight / 0.4 + 0.5), -8, 7))


def test_rounding_lies_between_the_optimum_and_the_nearest() -> None:
    inputs = input_moments(correlated(4, 300, 6))
    covariance = inputs.covariance
    rng = np.random.default_rng(5)
    every = np.array(list(itertools.product(range(-2, 2), repeat=6)), dtype=np.float64)
    ours, best, nearest = 0.0, 0.0, 0.0
    for _ in range(20):
        weight = rng.uniform(-1, 0.5, size=(1, 6))
        step = np.array([0.5])
        best += loss(every * 0.5 - weight, covariance).min()
        ours += loss(rounded(weight, step, (-2, 1), inputs) * 0.5 - weight, covariance)[0]
        nearest += loss(np.clip(np.floor(weight / 0.5 + 0.5), -2, 1) * 0.5 - weight, covariance)[0]
    assert best <= ours < best + 0.5 * (nearest - best)


def test_weights_that_are_best_already_stay() -> None:
    u, weight = correlated(6, 400, 12), np.random.default_rng(6).normal(size=(3, 12))
    seen = moments(input_moments(u), (u @ weight.T.astype(np.float32)).astype(np.float32))
    np.testing.assert_allclose(fitted(weight, seen), weight, atol=1e-4)


def test_fitted_weights_make_up_for_noise_at_the_input() -> None:
    rng = np.random.default_rng(7)
    x, weight = correlated(8, 4000, 16), rng.normal(size=(4, 16))
    step = 2.0
    u = (np.floor(x / step + 0.5) * step).astype(np.float32)
    seen = moments(input_moments(u), (x @ weight.T.astype(np.float32)).astype(np.float32))
    moved = fitted(weight, seen)
    bias = seen.mean - weight @ seen.inputs.mean
    moved_bias = seen.mean - moved @ seen.inputs.mean
    assert seen.error(moved, moved_bias) < 0.9 * seen.error(weight, bias)
    # The ridge regression's own optimality: the gradient of the penalised error is zero.
    ridge = RIDGE * np.trace(seen.inputs.covariance) / 16
    np.testing.assert_allclose(seen.inputs.covariance @ moved.T - seen.cross + ridge * (moved - weight).T, 0, atol=1e-6)


def test_channels_that_never_move_do_no_harm() -> None:
    u = correlated(9, 200, 10)
    u[:, 3] = 1.5
    integers = rounded(np.ones((2, 10)) * 0.3, np.full(2, 0.1), (-8, 7), input_moments(u))
    np.testing.assert_array_equal(integers[:, 3], 3)
    still = moments(input_moments(np.zeros((50, 10), np.float32)), np.ones((50, 2), np.float32))
    np.testing.assert_array_equal(fitted(np.ones((2, 10)), still), 1)
