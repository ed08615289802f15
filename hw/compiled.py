"""The executor's inner loops, compiled by Numba: one pass over an array where NumPy takes one for every arithmetic operation.

Values are integers carried in float32 or float64; every product and sum stays below 2^52, so each step is exact and its order does
not matter (``requantize_wide``, where products may be longer, multiplies in int64). That is what the reordering that ``fastmath``
allows relies on; nothing here handles NaN or infinity. Two-dimensional arguments are C-contiguous. The loops release the GIL.
"""

from __future__ import annotations

import numpy as np

from edgeflow.hw.arrays import Array
from edgeflow.hw.loop_cache import compiled_loop

_loop = compiled_loop(fastmath={"nnan", "ninf", "nsz", "reassoc"})


@_loop
def requantize(accumulator: Array, factor: Array, offset: Array, half_even: bool, low: float, high: float, y: Array) -> None:
    """``y[r, c] = clip(floor(accumulator[r, c] * factor[c] + offset[c]))``, where the offset contains the rounding's half; or
    rounded half to even, where it does not."""
    for r in range(accumulator.shape[0]):
        for c in range(accumulator.shape[1]):
            value = np.float64(accumulator[r, c]) * factor[c] + offset[c]
            value = np.rint(value) if half_even else np.floor(value)
            y[r, c] = min(max(value, low), high)


@_loop
def requantize_add(
    accumulator: Array, factor: Array, offset: Array, half_even: bool, added: Array, scale: float, low: float, high: float, y: Array
) -> None:
    """As :func:`requantize` with ``floor(added[r, c] * scale + 1/2)`` added before the clip."""
    for r in range(accumulator.shape[0]):
        for c in range(accumulator.shape[1]):
            value = np.float64(accumulator[r, c]) * factor[c] + offset[c]
            value = np.rint(value) if half_even else np.floor(value)
            value += np.floor(np.float64(added[r, c]) * scale + 0.5)
            y[r, c] = min(max(value, low), high)


@_loop
def requantize_wide(
    accumulator: Array,
    bias: Array,
    multiplier: Array,
    shift: int,
    half_even: bool,
    added: Array,
    scale: float,
    low: float,
    high: float,
    y: Array,
) -> None:
    """As :func:`requantize_add` for products of up to 2^62: ``bias`` and ``multiplier`` are int64. ``scale`` 0 adds nothing."""
    half = np.int64(1) << (shift - 1) if shift > 0 else np.int64(0)
    dropped = (np.int64(1) << shift) - 1 if half_even and shift > 0 else np.int64(-1)  # a tie has none of these bits
    for r in range(accumulator.shape[0]):
        for c in range(accumulator.shape[1]):
            total = (np.int64(accumulator[r, c]) + bias[c]) * multiplier[c] + half
            rounded = total >> shift
            if total & dropped == 0:
                rounded &= -2
            # A float64 may round a result of more than 53 bits, which is far outside the range all the same.
            value = np.float64(rounded) + np.floor(np.float64(added[r, c]) * scale + 0.5)
            y[r, c] = min(max(value, low), high)


@_loop
def requantize_lookup(
    accumulator: Array, factor: Array, offset: Array, table: Array, scale: Array, low: float, high: float, y: Array
) -> None:
    """``y[r, c] = clip(floor(table[i] * scale[c] + 1/2))``, ``i = floor(accumulator[r, c] * factor[c] + offset[c])`` clipped."""
    rows, channels = accumulator.shape
    last = np.float64(table.shape[0] - 1)
    index = np.empty(channels, dtype=np.int32)
    for r in range(rows):
        for c in range(channels):
            # Not negative after the clip: truncation is the floor.
            index[c] = np.int32(min(max(np.float64(accumulator[r, c]) * factor[c] + offset[c], 0.0), last))
        for c in range(channels):
            value = np.floor(np.float64(table[index[c]]) * scale[c] + 0.5)
            y[r, c] = min(max(value, low), high)


@_loop
def exponent_places(score: Array, factor: float, last: float, place: Array) -> None:
    """``place[r, j] = min(floor((highest score of row r - score[r, j]) * factor + 1/2), last)``."""
    for r in range(score.shape[0]):
        highest = score[r, 0]
        for j in range(1, score.shape[1]):
            highest = max(highest, score[r, j])
        start = np.float64(highest) * factor + 0.5
        for j in range(score.shape[1]):
            place[r, j] = np.int32(min(start - np.float64(score[r, j]) * factor, last))


@_loop
def lookup(table: Array, place: Array, y: Array) -> None:
    """``y[r, c] = table[place[r, c]]``."""
    for r in range(place.shape[0]):
        for c in range(place.shape[1]):
            y[r, c] = table[place[r, c]]


@_loop
def sums(x: Array, total: Array, squares: Array) -> None:
    """Sum and sum of squares of every row, in float64."""
    for r in range(x.shape[0]):
        a = 0.0
        b = 0.0
        for c in range(x.shape[1]):
            value = np.float64(x[r, c])
            a += value
            b += value * value
        total[r] = a
        squares[r] = b


@_loop
def signed_sums(weight: Array, positive: Array, negative: Array) -> None:
    """Sums of the positive and of the negative elements of every row, all of them int64."""
    for r in range(weight.shape[0]):
        above = np.int64(0)
        below = np.int64(0)
        for c in range(weight.shape[1]):
            value = weight[r, c]
            above += max(value, 0)
            below += min(value, 0)
        positive[r] = above
        negative[r] = below


@_loop
def normalize(x: Array, scale: Array, shift: Array, gain: Array, offset: Array, low: float, high: float, y: Array) -> None:
    """``y[r, c] = clip(floor(floor(x[r, c] * scale[r] + shift[r]) * gain[c] + offset[c]))``; halves are in the offsets."""
    for r in range(x.shape[0]):
        for c in range(x.shape[1]):
            z = np.floor(np.float64(x[r, c]) * scale[r] + shift[r])
            y[r, c] = min(max(np.floor(z * gain[c] + offset[c]), low), high)
