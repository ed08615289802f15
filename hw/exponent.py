"""Powers of two by table and shift: the integer exponential of attention.

A distance from the row maximum is requantized to a fixed-point exponent ``t`` with ``F`` fraction bits. The weight ``2^(P-t)`` is
one table entry ``E[t mod 2^F]`` shifted right by the whole part, rounded half up; it is 0 once the whole part exceeds ``P``. The
softmax of a row is then ``weight / sum of weights``: the base of the exponential is folded into the requantization.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeflow.hw.arrays import IntArray

MAXIMUM_FRACTION_BITS = 10
MAXIMUM_PROBABILITY_BITS = 16


def exponent_table(fraction_bits: int, probability_bits: int) -> IntArray:
    """``E[f] = round((2^P - 1) * 2^(-f / 2^F))``, shape ``(2^F,)``."""
    check_exponent(fraction_bits, probability_bits)
    fractions = np.arange(1 << fraction_bits) / 2.0**fraction_bits
    table: IntArray = np.floor(((1 << probability_bits) - 1) * 2.0**-fractions + 0.5).astype(np.int64)
    return table


def check_exponent(fraction_bits: int, probability_bits: int) -> None:
    """ValueError unless the hardware has tables and weights of these widths."""
    if not 0 <= fraction_bits <= MAXIMUM_FRACTION_BITS:
        raise ValueError(f"fraction_bits must be 0 to {MAXIMUM_FRACTION_BITS}, not {fraction_bits}")
    if not 1 <= probability_bits <= MAXIMUM_PROBABILITY_BITS:
        raise ValueError(f"probability_bits must be 1 to {MAXIMUM_PROBABILITY_BITS}, not {probability_bits}")


def check_table(table: IntArray, probability_bits: int) -> None:
    """ValueError unless every entry is a weight of ``probability_bits`` bits."""
    if table.min() < 0 or table.max() >= 1 << probability_bits:
        raise ValueError(f"the entries of the exponent table must lie in [0, {(1 << probability_bits) - 1}]")


def weights(t: IntArray, table: IntArray, fraction_bits: int, probability_bits: int) -> IntArray:
    """The definition: weights of fixed-point exponents ``t >= 0`` (any shape)."""
    whole = np.minimum(t >> fraction_bits, probability_bits + 1)
    entry = table[t & ((1 << fraction_bits) - 1)]
    half = np.where(whole > 0, np.int64(1) << np.maximum(whole - 1, 0), 0)
    return np.where(whole > probability_bits, 0, (entry + half) >> whole)


@dataclass(frozen=True)
class WeightLookup:
    """Weights by exponent: entry ``min(floor(d * factor + 1/2), last)`` is the weight of distance ``d``."""

    table: NDArray[np.floating]
    factor: float

    @property
    def last(self) -> int:
        """Index of the last entry, a weight of 0."""
        return self.table.size - 1


def weight_lookup(
    multiplier: int, shift: int, table: IntArray, fraction_bits: int, probability_bits: int, dtype: type[np.floating]
) -> WeightLookup:
    """The lookup of one head; exact for distances whose product with the multiplier stays below 2^52."""
    end = (probability_bits + 1) << fraction_bits  # the first exponent from which on every weight is 0
    exponents = np.arange(end + 1, dtype=np.int64)
    return WeightLookup(weights(exponents, table, fraction_bits, probability_bits).astype(dtype), multiplier * 2.0**-shift)
