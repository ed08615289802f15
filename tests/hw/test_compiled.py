"""The compiled loops where compiled code cannot be kept: neither the installation nor the user's cache can be written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba.core import caching

from edgeflow.hw import compiled
from edgeflow.hw.exact_float import sums_by_sign


def twice(x: Any, y: Any) -> None:
    for i in range(x.size):
        y[i] = 2 * x[i]


def test_loops_compile_without_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise OSError("read-only file system")

    monkeypatch.setattr(caching._CacheLocator, "ensure_cache_path", refuse)
    y = np.empty(3)
    compiled._loop(twice)(np.arange(3.0), y)
    assert y.tolist() == [0.0, 2.0, 4.0]


@pytest.mark.parametrize("shape", [(1, 1), (3, 0), (7, 300), (300, 7)])
def test_sums_by_sign(shape: tuple[int, int]) -> None:
    weight = np.random.default_rng(list(shape)).integers(-(1 << 40), 1 << 40, shape)
    for form in (weight, np.asfortranarray(weight)):
        positive, negative = sums_by_sign(form)
        np.testing.assert_array_equal(positive, np.maximum(weight, 0).sum(axis=1))
        np.testing.assert_array_equal(negative, np.minimum(weight, 0).sum(axis=1))
