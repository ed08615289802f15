"""Tables with linear interpolation: the exponential of a stand-alone softmax, and what smooth rectifiers take from ReLU.

A table has one entry more than segments. A fixed-point place ``t`` has ``I`` interpolation bits below the segment's number; the
value there has ``I`` fraction bits more than the entries and is exact: every result is rounded once, later.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgeflow.hw.arrays import IntArray, Real
from edgeflow.hw.cpp_widths import LONG_MULTIPLIER, LONG_WEIGHT, PLACE

MAXIMUM_TABLE_BITS = 7  # log2 of the segments of the exponential
MAXIMUM_INTERPOLATION_BITS = PLACE.bits
MAXIMUM_PROBABILITY_BITS = LONG_WEIGHT.bits
MULTIPLIER_BITS = LONG_MULTIPLIER.bits - 1  # with a distance of 17 bits, signed 27 x 18 bits: one DSP48E2


def check_interpolation(interpolation_bits: int) -> None:
    """ValueError unless the hardware interpolates with so many bits."""
    if not 0 <= interpolation_bits <= MAXIMUM_INTERPOLATION_BITS:
        raise ValueError(f"interpolation_bits must be 0 to {MAXIMUM_INTERPOLATION_BITS}, not {interpolation_bits}")


def interpolate(knots: IntArray, t: IntArray, interpolation_bits: int) -> IntArray:
    """``knots (S + 1,)`` at places ``t`` of any shape, ``0 <= t < S << interpolation_bits``, with as many fraction bits more."""
    segment = t >> interpolation_bits
    place = t & ((1 << interpolation_bits) - 1)
    start = knots[segment]
    value: IntArray = (start << interpolation_bits) - (start - knots[segment + 1]) * place
    return value


def exponent_knots(table_bits: int, probability_bits: int) -> IntArray:
    """``round((2^P - 1) * 2^(-k / 2^B))`` for ``k = 0 .. 2^B``, shape ``(2^B + 1,)``: one octave."""
    if not 0 <= table_bits <= MAXIMUM_TABLE_BITS:
        raise ValueError(f"table_bits must be 0 to {MAXIMUM_TABLE_BITS}, not {table_bits}")
    if not 1 <= probability_bits <= MAXIMUM_PROBABILITY_BITS:
        raise ValueError(f"probability_bits must be 1 to {MAXIMUM_PROBABILITY_BITS}, not {probability_bits}")
    places = np.arange((1 << table_bits) + 1) / 2.0**table_bits
    knots: IntArray = np.floor(((1 << probability_bits) - 1) * 2.0**-places + 0.5).astype(np.int64)
    return knots


def exponent_weights(t: IntArray, knots: IntArray, table_bits: int, interpolation_bits: int, probability_bits: int) -> IntArray:
    """``2^(P - t)`` of fixed-point exponents ``t >= 0`` (any shape): the octave's value shifted right by the whole part, rounded
    half up once; 0 where the whole part exceeds ``P``."""
    fraction_bits = table_bits + interpolation_bits
    whole = np.minimum(t >> fraction_bits, probability_bits + 1)
    value = interpolate(knots, t & ((1 << fraction_bits) - 1), interpolation_bits)
    shift = whole + interpolation_bits
    half = np.where(shift > 0, np.int64(1) << np.maximum(shift - 1, 0), 0)
    weights: IntArray = np.where(whole > probability_bits, 0, (value + half) >> shift)
    return weights


def smooth_knots(delta: Callable[[Real], Real], reach: float, segments: int) -> Real:
    """Real knots ``(segments + 1,)`` on ``[0, reach]`` for a piecewise linear ``delta`` with half the error of its chords.

    The chord of a segment of width h errs by up to ``h^2 |f''| / 8``, always to the same side; moved half of that way, which is a
    sixteenth of the second difference, it errs as much to either side. The first knot is exact, so that ``f(0)`` is.
    """
    exact = delta(np.linspace(0.0, reach, segments + 1))
    knots = exact.copy()
    knots[1:-1] -= (exact[2:] - 2.0 * exact[1:-1] + exact[:-2]) / 16.0
    return knots
