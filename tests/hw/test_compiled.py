"""The compiled loops where compiled code cannot be kept: neither the installation nor the user's cache can be written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba.core import caching

from edgeflow.hw import compiled


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
