"""Compiled loops of the range search: the same numbers as the NumPy expressions that they replace, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeflow.quant.formats import compiled
from edgeflow.quant.formats.compiled import largest_products, mean_square_errors, nearest_integers, square_errors


def drawn(*shape: int) -> NDArray[np.float64]:
    """Values of very different sizes, zeros among them."""
    rng = np.random.default_rng(list(shape))
    values = rng.standard_normal(shape) * 10.0 ** rng.integers(-4, 4, shape)
    return np.where(rng.random(shape) < 0.1, 0.0, values)


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (7, 300), (64, 257), (130, 1000)])
@pytest.mark.parametrize("candidates", [1, 9])
def test_largest_products(shape: tuple[int, int], candidates: int) -> None:
    weight, scales = drawn(*shape), np.abs(drawn(candidates, shape[0]))
    expected = np.stack([np.abs(weight * scale[:, None]).max(axis=0) for scale in scales])
    np.testing.assert_array_equal(largest_products(weight, scales), expected)
    np.testing.assert_array_equal(largest_products(np.asfortranarray(weight), scales), expected)


@pytest.mark.parametrize("shape", [(1, 1), (9000, 1), (9000, 3), (300, 64), (5, 700)])
@pytest.mark.parametrize(("low", "high"), [(-128, 127), (0, 15)])
def test_mean_square_errors(shape: tuple[int, int], low: int, high: int) -> None:
    rows, scale = drawn(*shape).astype(np.float32), np.abs(drawn(shape[1])) + 1e-3
    q = np.clip(np.floor(rows * (1.0 / scale).astype(np.float32) + np.float32(0.5)), np.float32(low), np.float32(high))
    expected = np.square(q * scale.astype(np.float32) - rows).mean(axis=0, dtype=np.float64)
    np.testing.assert_array_equal(mean_square_errors(rows, scale, low, high), expected)
    twice = np.repeat(rows, 2, axis=0)[::2]
    np.testing.assert_array_equal(mean_square_errors(twice, scale, low, high), expected)


@pytest.mark.parametrize("shape", [(1, 1), (5, 700), (700, 5), (520, 520)])
@pytest.mark.parametrize(("low", "high"), [(-127, 127), (-2, 1)])
def test_weights(shape: tuple[int, int], low: int, high: int) -> None:
    weight, step = drawn(*shape), np.abs(drawn(shape[0])) + 1e-3
    np.testing.assert_array_equal(
        nearest_integers(weight, step, low, high), np.clip(np.floor(weight / step[:, None] + 0.5), low, high)
    )
    single, size = weight.astype(np.float32), step.astype(np.float32)[:, None]
    q = np.clip(np.floor(single / size + np.float32(0.5)), np.float32(low), np.float32(high))
    errors = np.empty_like(single)
    square_errors(single, step.astype(np.float32), low, high, errors)
    np.testing.assert_array_equal(errors, np.square(q * size - single))


@pytest.mark.parametrize("count", [0, 1, 5, 64])
@pytest.mark.parametrize("processors", [1, 2, 7])
def test_work_is_spread_over_all(count: int, processors: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "processors", lambda: processors)
    parts: list[range] = []
    compiled.spread(count, compiled.PARALLEL, parts.append)
    assert sorted(i for part in parts for i in part) == list(range(count))
    assert len(parts) <= processors
