"""The compiled loops in the cache: taken from it by later processes, checked, and made anew where it cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeflow.hw import cache
from edgeflow.hw.exact_float import sums_by_sign
from edgeflow.hw.loop_cache import compiled_loop


def twice(x: Any, y: Any) -> None:
    for i in range(x.size):
        y[i] = 2 * x[i]


def stored() -> list[Path]:
    place = cache.folder("loops")
    return [] if place is None else sorted(place.iterdir())


def doubled(x: Any) -> list[float]:
    """As a process that has not compiled the loop yet does it."""
    y = np.empty(x.shape)
    compiled_loop()(twice)(x, y)
    return [float(value) for value in y]


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEFLOW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_loop_is_kept_by_its_types() -> None:
    assert doubled(np.arange(3.0)) == [0.0, 2.0, 4.0]
    first = stored()
    assert len(first) == 1
    assert doubled(np.arange(3.0)) == [0.0, 2.0, 4.0]
    assert stored() == first
    assert doubled(np.arange(3, dtype=np.int32)) == [0.0, 2.0, 4.0]
    assert len(stored()) == 2


def test_a_kept_loop_is_not_compiled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from numba.core import compiler

    doubled(np.arange(3.0))
    monkeypatch.setattr(compiler, "compile_extra", lambda *_, **__: pytest.fail("compiled again"))
    assert doubled(np.arange(4.0)) == [0.0, 2.0, 4.0, 6.0]


@pytest.mark.parametrize("damage", [b"", b"half", None])
def test_a_damaged_loop_is_compiled_again(damage: bytes | None) -> None:
    doubled(np.arange(3.0))
    (file,) = stored()
    good = file.read_bytes()
    file.write_bytes(good[: len(good) // 2] + bytes(len(good) - len(good) // 2) if damage is None else damage)
    assert doubled(np.arange(3.0)) == [0.0, 2.0, 4.0]
    assert len(stored()) == 1


def test_loops_compile_without_a_cache(root: Path) -> None:
    root.write_text("no folder")
    assert doubled(np.arange(3.0)) == [0.0, 2.0, 4.0]


@pytest.mark.parametrize("shape", [(1, 1), (3, 0), (7, 300), (300, 7)])
def test_sums_by_sign(shape: tuple[int, int]) -> None:
    weight = np.random.default_rng(list(shape)).integers(-(1 << 40), 1 << 40, shape)
    for form in (weight, np.asfortranarray(weight)):
        positive, negative = sums_by_sign(form)
        np.testing.assert_array_equal(positive, np.maximum(weight, 0).sum(axis=1))
        np.testing.assert_array_equal(negative, np.minimum(weight, 0).sum(axis=1))
