"""Widths of the integers that the C++ computes with: the one place that states them.

``edgeflow_types.hpp`` is generated from :data:`WIDTHS`: a type and a constant ``..._BITS`` for each, which the headers use. A
register of the overflow proof (``Operator.registers``) names the width of the C++ variable that it describes, so a width that is
narrowed here narrows both; the proof then fails for every network whose stated registers need more.
That every operator states what its C++ holds, ``scripts/check_widths.py`` tries: it narrows, compiles and compares words.

Multipliers are sized for the DSP slice: 27 x 18 bits signed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class Width:
    """An integer type of the C++: its name, bits, what it holds, and whether it is signed."""

    name: str
    bits: int
    holds: str
    signed: bool = True

    @property
    def minimum(self) -> int:
        """The smallest value."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def maximum(self) -> int:
        """The largest value."""
        return (1 << (self.bits - self.signed)) - 1

    @property
    def cpp(self) -> str:
        """The C++ type."""
        return f"{'ap_int' if self.signed else 'ap_uint'}<{self.bits}>"

    @property
    def constant(self) -> str:
        """Name of the C++ constant that holds the bits."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", self.name).upper() + "_BITS"

    def needed(self, minimum: int, maximum: int) -> int:
        """Bits that the numbers from ``minimum`` to ``maximum`` take in a type as this one, signed or not."""
        return self.signed + max((-1 - minimum).bit_length() if minimum < 0 else 0, max(maximum, 0).bit_length())


def _unsigned(name: str, bits: int, holds: str) -> Width:
    return Width(name, bits, holds, signed=False)


# Elements and their requantization.
ELEMENT = Width("Element", 17, "a stored activation of up to 16 bits, signed or unsigned")
ACCUMULATOR = Width("Accumulator", 32, "a sum of products, or an integer of the weight stream")
MULTIPLIER = Width("Multiplier", 18, "signed 17-bit magnitude: one operand of a DSP slice")
PRODUCT = Width("Product", 50, "an accumulator times a multiplier")
WIDE_MULTIPLIER = Width("WideMultiplier", 25, "signed 24-bit magnitude: with 32 bits two DSP slices, 27 x 18 or 25 x 18")
MULTIPLIER_BITS = MULTIPLIER.bits - 1  # magnitude: with a 27-bit operand the product is one DSP48E2 (27 x 18 signed)
ACCUMULATOR_MULTIPLIER_BITS = WIDE_MULTIPLIER.bits - 1  # of a linear layer's accumulator: two slices
WIDE_PRODUCT = Width("WideProduct", 57, "an accumulator times a wide multiplier")
SHIFT = _unsigned("Shift", 6, "places that a requantization drops, or the length of a number")
OPERAND_PRODUCT = Width("OperandProduct", 35, "an element times an element or a multiplier")

# The array.
WEIGHT = Width("Weight", 9, "a weight, or the weight of a key in attention")
PACKED = Width("Packed", 27, "two weights in the wide operand of one multiplier")
OPERAND = Width("Operand", 18, "one input, or two of the 4-bit mode")
CHAIN = Width("Chain", 48, "the sum of a cascade of products")
CASCADE_SUM = Width("CascadeSum", 18, "the part of it that belongs to one of two outputs")
QUAD_SUM = Width("QuadSum", 11, "the part of it that belongs to one of two outputs and two rows, in the 4-bit mode")
ACTIVATION_INDEX = Width("ActivationIndex", 12, "an index of a linear layer's table, from its middle or from its start")

# Attention.
SCORE = Width("Score", 24, "query times key")
DISTANCE = Width("Distance", 25, "a score's distance from the largest of its row")
EXPONENT = _unsigned("Exponent", 8, "an entry of the exponent table")
EXPONENT_SHIFT = _unsigned("ExponentShift", 4, "places by which an entry is shifted")
ROUNDED_EXPONENT = _unsigned("RoundedExponent", 10, "an entry with half of the last place that the shift keeps")
FRACTION = _unsigned("Fraction", 20, "the fraction bits of an exponent, here and in softmax")
WEIGHT_TOTAL = _unsigned("WeightTotal", 24, "the sum of a row's weights")
DIGITS = _unsigned("Digits", 5, "binary digits of that sum, or base-4 digits of a variance")
RECIPROCAL_NUMERATOR = _unsigned("ReciprocalNumerator", 16, "numerator of its reciprocal")
RECIPROCAL_DIVIDEND = _unsigned("ReciprocalDividend", 42, "that numerator as many places up as the sum has bits")

# Softmax, smooth rectifiers and tables.
MAGNITUDE = Width("Magnitude", 18, "the magnitude of an element, or the difference of two")
LONG_MULTIPLIER = Width("LongMultiplier", 27, "with a magnitude the product is one DSP slice")
KNOT = Width("Knot", 24, "an entry of a table with interpolation, or the difference of two")
PLACE = _unsigned("Place", 10, "a place between two entries")
INTERPOLATED = Width("Interpolated", 40, "an entry with the bits of a place below it")
SEGMENT = _unsigned("Segment", 12, "number of an entry that interpolation starts from")
LONG_ELEMENT = Width("LongElement", 25, "a result of up to 24 bits, signed or unsigned")
LONG_WEIGHT = _unsigned("LongWeight", 22, "weight of an element in softmax")
WEIGHT_SUM = _unsigned("WeightSum", 40, "sum of a row's weights")
SOFTMAX_NUMERATOR = _unsigned("SoftmaxNumerator", 24, "numerator of its reciprocal")
SOFTMAX_DIVISOR = _unsigned("SoftmaxDivisor", 28, "significant bits of the sum that the division sees")
RECIPROCAL = _unsigned("Reciprocal", 26, "the reciprocal")
LOOKUP_INDEX = _unsigned("LookupIndex", 10, "an index of a table of all values of an element")

# Layer normalization.
DEVIATION = Width("Deviation", 18, "element, or element minus mean, with fraction bits: one operand of a DSP slice")
MEAN = Width("Mean", 20, "mean of a row")
SQUARE = Width("Square", 36, "square of an element with fraction bits")
VARIANCE = Width("Variance", 54, "sum of squares")
MEAN_TOTAL = Width("MeanTotal", 37, "channels times mean")
BALANCE = Width("Balance", 35, "twice the sum, minus channels times mean")
CROSS = Width("Cross", 54, "that times the mean")
ROOT = Width("Root", 26, "2^38 / sqrt(w) for w in [2^28, 2^30)")
ROOT_SQUARE = Width("RootSquare", 52, "of a root")
SCALED_SQUARE = Width("ScaledSquare", 34, "18 places down")
ROOT_PRODUCT = Width("RootProduct", 62, "w times that")
ROOT_FACTOR = Width("RootFactor", 30, "what a Newton step multiplies a root by")
NEXT_ROOT = Width("NextRoot", 58, "the root that follows, 26 places up")
NORMALIZED = Width("Normalized", 22, "a deviation in units of the standard deviation, with 20 fraction bits")

# Pool and embedding.
POOL_NUMBER = _unsigned("PoolNumber", 32, "counted rows, and what is divided by them")
TOKEN_ID = _unsigned("TokenId", 32, "id of a token, or a position counted from ids")
TABLE_ROW = _unsigned("TableRow", 24, "a row of an embedding's table: times the words of a row one DSP slice")

WIDTHS: tuple[Width, ...] = tuple(value for value in globals().values() if isinstance(value, Width))
