"""The scalar arithmetic that every operator is built from: dyadic requantization, its rounding, saturation.

Requantization (HAWQ-V3, arXiv 2011.10680, section 3) is ``(acc * m + 2^(c-1)) >> c``: an integer multiplier ``m`` and a shift ``c``
stand for the real factor ``m / 2^c``; rounding is half up. ``c = 0`` means no rounding term. Linear layers and the operator
``requantize`` may round half to even instead, as the quantizers of imported models do: a tie, a sum whose ``c`` dropped bits are
all zero, gives the even neighbour.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeflow.hw.arrays import IntArray
from edgeflow.hw.cpp_widths import MULTIPLIER_BITS
from edgeflow.hw.graph import Format

MAXIMUM_SHIFT = 46


def round_shift(value: IntArray, shift: int, half_even: bool = False) -> IntArray:
    """``value / 2^shift`` rounded half up, or half to even."""
    if shift == 0:
        return value
    total = value + (1 << (shift - 1))
    if not half_even:
        return total >> shift
    tie = total & ((1 << shift) - 1) == 0
    return np.where(tie, (total >> shift) & ~1, total >> shift)


def requantize(accumulator: IntArray, multiplier: IntArray | int, shift: int, half_even: bool = False) -> IntArray:
    """``(acc * m + 2^(c-1)) >> c``, not saturated; half to even where it says so."""
    return round_shift(accumulator * multiplier, shift, half_even)


def saturate(value: IntArray, bits: int, signed: bool) -> IntArray:
    """Clip to the range of an integer format."""
    f = Format((), bits, signed)
    return np.clip(value, f.minimum, f.maximum)


def dyadic(ratio: float | NDArray[np.float64], bits: int = MULTIPLIER_BITS) -> tuple[NDArray[np.int64], int]:
    """Multipliers below ``2^bits`` in magnitude and their one common shift with ``m / 2^shift`` nearest to ``ratio``.

    The shift is the largest that fits every multiplier, at most ``MAXIMUM_SHIFT`` (one more for each bit of multipliers beyond
    ``MULTIPLIER_BITS``). At shift 0 multipliers may have ``MULTIPLIER_BITS`` bits; a ratio beyond that gets the largest, with which
    every word but 0 saturates 16 bits all the same.
    ValueError if a ratio is not finite.
    """
    ratio = np.asarray(ratio, dtype=np.float64)
    largest = float(np.max(np.abs(ratio), initial=0.0))
    if not np.isfinite(largest):
        raise ValueError("requantization ratios must be finite")
    limit = (1 << bits) - 1
    shift = MAXIMUM_SHIFT + max(bits - MULTIPLIER_BITS, 0)
    while shift > 0 and np.floor(largest * 2.0**shift + 0.5) > limit:
        shift -= 1
    if shift == 0:
        limit = max(limit, (1 << MULTIPLIER_BITS) - 1)
    multiplier = np.clip(np.floor(ratio * 2.0**shift + 0.5), -limit, limit)
    return multiplier.astype(np.int64), shift
