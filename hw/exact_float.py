"""Exact integer arithmetic on floating-point units, for the NumPy executor.

Integer matrix products run through float32 BLAS where the bound on every partial sum is below 2^24, else the inner axis is split
into pieces that are, added in float64 (exact below 2^53). Requantization runs in float64.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator

import numpy as np

from edgeflow.hw.arrays import Array, IntArray
from edgeflow.hw.compiled import signed_sums
from edgeflow.hw.graph import Format

FLOAT32_EXACT = 1 << 24
BLOCK_ELEMENTS = 1 << 16  # results requantized at a time: what one block needs stays in a second-level cache


class Scratch(threading.local):
    """Named work arrays of each thread, kept between calls: fresh memory would be paged in again every time."""

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, type[np.generic]], Array] = {}

    def get(self, name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> Array:
        """An array of the given shape with arbitrary contents, cut from one that is large enough."""
        size = math.prod(shape)
        held = self._arrays.get((name, dtype))
        if held is None or held.size < size:
            held = self._arrays[name, dtype] = np.empty(size, dtype=dtype)
        return held[:size].reshape(shape)


WORK = Scratch()


def blocked(rows: int, columns: int, elements: int = BLOCK_ELEMENTS) -> Iterator[slice]:
    """Row slices of about ``elements`` elements."""
    step = max(1, elements // max(columns, 1))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def sums_by_sign(weight: IntArray) -> tuple[IntArray, IntArray]:
    """Sums of the positive and of the negative elements of each row of ``weight (N, K)``, ``(N,)`` each."""
    positive, negative = (np.empty(weight.shape[0], dtype=np.int64) for _ in range(2))
    signed_sums(np.ascontiguousarray(weight), positive, negative)
    return positive, negative


def split_inner(weight: IntArray, magnitude: int) -> list[slice]:
    """Slices of the inner axis of ``weight (N, K)`` whose partial sums stay below 2^24 for inputs up to ``magnitude``."""
    pieces, start, total = [], 0, np.zeros(weight.shape[0], dtype=np.int64)
    for k, column in enumerate(np.ascontiguousarray(weight.T)):
        cost = np.abs(column) * magnitude
        total += cost
        if total.max(initial=0) >= FLOAT32_EXACT:
            pieces.append(slice(start, k))
            start, total = k, cost
    pieces.append(slice(start, weight.shape[1]))
    return pieces


def matrix_product(weight: IntArray, x: Format) -> Callable[[Array], Array]:
    """``rows (R, K) -> rows @ weight.T (R, N)`` exactly; the result lives in :data:`WORK` until its next use."""
    magnitude = x.magnitude
    positive, negative = sums_by_sign(weight)
    whole = ((positive - negative) * magnitude).max(initial=0) < FLOAT32_EXACT
    pieces = [slice(0, weight.shape[1])] if whole else split_inner(weight, magnitude)
    matrices = [np.ascontiguousarray(weight[:, piece].T.astype(np.float32)) for piece in pieces]
    n = weight.shape[0]

    def run(rows: Array) -> Array:
        part = WORK.get("accumulator", (rows.shape[0], n), np.float32)
        if whole:
            return np.matmul(rows, matrices[0], out=part)
        total = WORK.get("total", part.shape, np.float64)
        total.fill(0.0)
        for piece, matrix in zip(pieces, matrices, strict=True):
            np.add(total, np.matmul(rows[:, piece], matrix, out=part), out=total)
        return total

    return run


def requantize_rows(values: Array, factor: Array | float, out: Array) -> None:
    """``floor(values * factor + 1/2)`` into the float64 ``out``, with ``factor = m * 2^-c``.

    Equal to the integer requantization while the products stay below 2^52: every step is then exact.
    """
    np.copyto(out, values)  # NumPy multiplies mixed types more slowly than it converts and multiplies
    np.multiply(out, factor, out=out)
    np.add(out, 0.5, out=out)
    np.floor(out, out=out)
