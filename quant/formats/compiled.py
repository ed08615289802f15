"""Inner loops of the range search, compiled by Numba: one pass over an array where NumPy takes one for every arithmetic operation.

Each computes what its NumPy expression does, bit for bit: the same operations in the same order and precision (no fast-math), so
that no choice of a range depends on which of the two has run. The loops release the GIL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from edgeflow.hw.arrays import Array, Real
from edgeflow.hw.host import processors
from edgeflow.hw.loop_cache import compiled_loop

COLUMNS = 256  # of a matrix that are worked on at a time: what one block needs stays in a second-level cache
PARALLEL = 1 << 18  # elements from which a loop is spread over threads


_loop = compiled_loop()


def largest_products(weight: Real, scales: Real) -> Real:
    """``max over c of |weight[c, n] * scales[k, c]|`` as ``(K, N)``, for ``weight (C, N)`` and ``scales (K, C)`` not below 0."""
    result = np.zeros((len(scales), weight.shape[1]))
    by_row = np.ascontiguousarray(scales.T)
    spread(weight.shape[1], weight.size, lambda part: _largest_products(weight, by_row, part.start, part.stop, result))
    return result


def mean_square_errors(rows: NDArray[np.float32], scale: Real, low: int, high: int) -> Real:
    """The mean over ``rows (n, C)`` of the squared difference between a value and what its integer, from ``low`` to ``high`` times
    ``scale (C,)``, stands for, as ``(C,)``. Differences and squares are in single precision."""
    if rows.shape[1] == 1:  # NumPy adds a single column up in pairs
        steps = rows * (1.0 / scale).astype(np.float32)
        nearest = np.clip(np.floor(steps + np.float32(0.5)), np.float32(low), np.float32(high))
        return np.asarray(np.square(nearest * scale.astype(np.float32) - rows).mean(axis=0, dtype=np.float64), dtype=np.float64)
    total = np.zeros(rows.shape[1])
    ends = np.float32(low), np.float32(high)
    _square_errors(np.ascontiguousarray(rows), (1.0 / scale).astype(np.float32), scale.astype(np.float32), *ends, total)
    return np.asarray(total / len(rows), dtype=np.float64)


def square_errors(weight: NDArray[np.float32], step: NDArray[np.float32], low: int, high: int, out: NDArray[np.float32]) -> None:
    """Squared differences between ``weight (N, K)`` and the nearest multiples of ``step (N,)`` from ``low`` to ``high`` of them."""
    ends = np.float32(low), np.float32(high)
    spread(len(weight), weight.size, lambda part: _weight_errors(weight, step, *ends, part.start, part.stop, out))


def nearest_integers(weight: Real, step: Real, low: int, high: int) -> Real:
    """``weight (N, K)`` in multiples of ``step (N,)``, rounded half up to integers from ``low`` to ``high``."""
    out = np.empty_like(weight)
    spread(len(weight), weight.size, lambda part: _nearest(weight, step, float(low), float(high), part.start, part.stop, out))
    return out


def spread(count: int, elements: int, work: Callable[[range], None]) -> None:
    """Do ``work`` on all of ``range(count)``: in parts, one a processor, where there are many ``elements``."""
    parts = list(_parts(count, processors() if elements >= PARALLEL else 1))
    if len(parts) == 1:
        work(parts[0])
        return
    with ThreadPoolExecutor(len(parts)) as pool:
        for _ in pool.map(work, parts):
            pass


def _parts(count: int, parts: int) -> Iterator[range]:
    size = max(1, -(-count // parts))
    for start in range(0, max(count, 1), size):
        yield range(start, min(start + size, count))


@_loop
def _largest_products(weight: Array, scales: Array, first: int, end: int, result: Array) -> None:
    """``scales (C, K)``."""
    for start in range(first, end, COLUMNS):
        stop = min(start + COLUMNS, end)
        block = np.zeros((scales.shape[1], stop - start))
        for c in range(weight.shape[0]):
            row = np.abs(weight[c, start:stop])
            for k in range(scales.shape[1]):
                scale = scales[c, k]
                most = block[k]
                for n in range(row.shape[0]):
                    most[n] = max(most[n], row[n] * scale)
        result[:, start:stop] = block


@_loop
def _square_errors(rows: Array, inverse: Array, step: Array, low: np.float32, high: np.float32, total: Array) -> None:
    half = np.float32(0.5)
    for r in range(rows.shape[0]):
        row = rows[r]
        for c in range(rows.shape[1]):
            value = row[c]
            q = np.float32(np.floor(np.float32(np.float32(value * inverse[c]) + half)))
            q = low if q < low else high if q > high else q
            q = np.float32(np.float32(q * step[c]) - value)
            total[c] += np.float64(np.float32(q * q))


@_loop
def _weight_errors(weight: Array, step: Array, low: np.float32, high: np.float32, first: int, end: int, out: Array) -> None:
    half = np.float32(0.5)
    for r in range(first, end):
        size = step[r]
        for c in range(weight.shape[1]):
            value = weight[r, c]
            q = np.float32(np.floor(np.float32(np.float32(value / size) + half)))
            q = low if q < low else high if q > high else q
            q = np.float32(np.float32(q * size) - value)
            out[r, c] = np.float32(q * q)


@_loop
def _nearest(weight: Array, step: Array, low: float, high: float, first: int, end: int, out: Array) -> None:
    for r in range(first, end):
        size = step[r]
        for c in range(weight.shape[1]):
            q = np.floor(weight[r, c] / size + 0.5)
            out[r, c] = low if q < low else high if q > high else q
