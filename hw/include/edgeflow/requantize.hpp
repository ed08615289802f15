// Dyadic requantization: (acc * m + 2^(c-1)) >> c, rounding half up, then saturation (hw/arithmetic.py is the definition). The
// accumulator of a linear layer has a longer multiplier. It, and a requantization on its own, may round half to even.
#ifndef EDGEFLOW_REQUANTIZE_HPP
#define EDGEFLOW_REQUANTIZE_HPP

#include "edgeflow_types.hpp"

namespace edgeflow {

// Half of the last place that a shift keeps; 0 where it drops none.
template <int W>
inline ap_int<W> half_place(const Shift& shift) {
#pragma HLS INLINE
    ap_int<W> half = 0;
    if (shift != 0) {
        const Shift position = shift - 1;
        half = ap_int<W>(1) << position;
    }
    return half;
}

// value / 2^shift, rounded half up; shift 0 leaves the value.
inline Product round_shift(const Product& value, const Shift& shift) {
#pragma HLS INLINE
    const Product sum = value + half_place<PRODUCT_BITS>(shift);
    return sum >> shift;
}

inline Product requantize(const Accumulator& accumulator, const Multiplier& multiplier, const Shift& shift) {
#pragma HLS INLINE
    const Product product = accumulator * multiplier;
    return round_shift(product, shift);
}

// The places that a shift drops where a row rounds half to even, else all: a sum with the rounding's half is a tie where it has none.
template <int W>
inline ap_int<W> tie_places(const Shift& shift, bool half_even) {
#pragma HLS INLINE
    ap_int<W> places = -1;
    if (half_even) {
        places = (half_place<W>(shift) << 1) - 1;
    }
    return places;
}

// As round_shift; `ties` are the tie_places.
template <int W>
inline ap_int<W> round_ties(const ap_int<W>& value, const Shift& shift, const ap_int<W>& ties) {
#pragma HLS INLINE
    const ap_int<W> sum = value + half_place<W>(shift);
    const ap_int<W> dropped = sum & ties;
    ap_int<W> rounded = sum >> shift;
    if (dropped == 0) {
        const ap_int<W> even = -2;
        rounded &= even;
    }
    return rounded;
}

// Requantization of a linear layer's accumulator; `ties` are its tie_places.
inline WideProduct requantize_wide(
    const Accumulator& accumulator, const WideMultiplier& multiplier, const Shift& shift, const WideProduct& ties) {
#pragma HLS INLINE
    const WideProduct product = accumulator * multiplier;
    return round_ties<WIDE_PRODUCT_BITS>(product, shift, ties);
}

// Clips to `bits` (1 to 16) signed or unsigned bits.
template <int W>
inline Element saturate(const ap_int<W>& value, unsigned bits, bool is_signed) {
#pragma HLS INLINE
    const Element high = is_signed ? (1 << (bits - 1)) - 1 : (1 << bits) - 1;
    const Element low = is_signed ? -(1 << (bits - 1)) : 0;
    Element clipped = Element(value);
    if (value > high) {
        clipped = high;
    }
    if (value < low) {
        clipped = low;
    }
    return clipped;
}

}  // namespace edgeflow

#endif
