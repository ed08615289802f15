"""Rounding: both rules against exact rational arithmetic, in the definition, the compiled loops and real quantization."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from edgeflow.hw import compiled
from edgeflow.hw.arithmetic import dyadic, requantize, round_shift
from edgeflow.hw.cpp_widths import ACCUMULATOR_MULTIPLIER_BITS
from edgeflow.hw.graph import QType, Rounding

HALVES = pytest.mark.parametrize("half_even", [False, True])
FAR = (1 << 31) - 1


def exactly(value: Fraction, half_even: bool) -> int:
    """The nearest integer; Python's round takes a tie to the even one."""
    return round(value) if half_even else (value + Fraction(1, 2)).__floor__()


@HALVES
@pytest.mark.parametrize("shift", range(7))
def test_every_small_value_is_rounded_to_the_nearest(shift: int, half_even: bool) -> None:
    values = np.arange(-300, 301)
    expected = [exactly(Fraction(int(v), 1 << shift), half_even) for v in values]
    assert round_shift(values, shift, half_even).tolist() == expected


@HALVES
@pytest.mark.parametrize("shift", [0, 1, 5, 33, 50, 53])
@pytest.mark.parametrize("multiplier", [1, -3, 1 << 23, (1 << 24) - 1, 1 - (1 << 24)])
def test_loops_equal_the_definition_up_to_the_longest_products(shift: int, multiplier: int, half_even: bool) -> None:
    near = np.arange(-40, 41)
    accumulator = np.concatenate([near, near * 4097, FAR - np.abs(near), np.abs(near) - FAR - 1, near * (1 << 25)])
    expected = [exactly(Fraction(int(a) * multiplier, 1 << shift), half_even) for a in accumulator]
    assert requantize(accumulator, multiplier, shift, half_even).tolist() == expected
    low, high = -32768.0, 32767.0
    y, carried = np.empty((len(accumulator), 1)), np.abs(accumulator) * abs(multiplier) + (1 << shift >> 1) < 1 << 52
    rows, zero = accumulator[:, None].astype(np.float64), np.zeros(1, dtype=np.int64)
    compiled.requantize_wide(rows, zero, np.array([multiplier]), shift, half_even, rows, 0.0, low, high, y)
    clipped = np.clip(np.array(expected, dtype=np.float64), low, high)
    np.testing.assert_array_equal(y[:, 0], clipped)
    factor, offset = np.array([multiplier * 2.0**-shift]), np.array([0.0 if half_even else 0.5])
    compiled.requantize(rows, factor, offset, half_even, low, high, y)
    np.testing.assert_array_equal(y[carried, 0], clipped[carried])
    assert carried.any() == (shift < 53)


def test_real_values_are_rounded_by_the_format() -> None:
    up = QType(8, True, 0.5, zero_point=3)
    even = replace(up, rounding=Rounding.HALF_EVEN)
    steps = np.arange(-280, 281) / 2
    for qtype in (up, even):
        half_even = qtype is even
        expected = [exactly(Fraction(float(s)), half_even) + 3 for s in steps]
        np.testing.assert_array_equal(qtype.quantize(steps * 0.5), np.clip(expected, -128, 127))


def test_multipliers_of_accumulators_have_seven_more_bits() -> None:
    ratios = np.array([3e-5, 2.9e-6])
    error = [np.abs(m / 2.0**c - ratios).max() for m, c in (dyadic(ratios), dyadic(ratios, ACCUMULATOR_MULTIPLIER_BITS))]
    assert error[1] < error[0] / 60
    multiplier, shift = dyadic(2.0**-40, ACCUMULATOR_MULTIPLIER_BITS)
    assert (int(multiplier), shift) == (1 << 13, 53)
