// Dyadic requantization: (acc * m + 2^(c-1)) >> c, rounding half up, then saturation (hw/arithmetic.py is the definition). The
// accumulator of a linear layer has a longer multiplier. It, and a requantization on its own, may round half to even.
#ifndef EDGEFLOW_REQUANTIZE_HPP
#define EDGEFLOW_REQUANTIZE_HPP

#include "edgeflow_types.hpp"

namespace edgeflow {

// value / 2^shift, rounded half up. Of the doubled value the shift leaves half of the last place, to which one more half is added: no
// place has to be decoded, and a shift of 0 is no case of its own.
template <int W>
inline ap_int<W> round_shift(const ap_int<W>& value, const Shift& shift) {
#pragma HLS INLINE
    const ap_int<W + 1> doubled = ap_int<W + 1>(value) << 1;
    const ap_int<W + 1> kept = doubled >> shift;
    return (kept + 1) >> 1;
}

inline Product requantize(const Accumulator& accumulator, const Multiplier& multiplier, const Shift& shift) {
#pragma HLS INLINE
    const Product product = accumulator * multiplier;
    return round_shift<PRODUCT_BITS>(product, shift);
}

// The places below the half of the last place that a shift keeps, where a row rounds half to even, else all. A value with such a half
// is a tie where it has none of them.
template <int W>
inline ap_int<W> tie_places(const Shift& shift, bool half_even) {
#pragma HLS INLINE
    ap_int<W> places = -1;
    if (half_even && shift != 0) {
        const Shift position = shift - 1;
        places = (ap_int<W>(1) << position) - 1;
    }
    return places;
}

// As round_shift; `ties` are the tie_places.
template <int W>
inline ap_int<W> round_ties(const ap_int<W>& value, const Shift& shift, const ap_int<W>& ties) {
#pragma HLS INLINE
    const ap_int<W + 1> doubled = ap_int<W + 1>(value) << 1;
    const ap_int<W + 1> kept = doubled >> shift;
    const ap_int<W> below = value & ties;
    const unsigned last = unsigned(kept & 3);  // the last place, and its half
    const bool up = last == 3 || (last == 1 && below != 0);
    return (kept >> 1) + (up ? 1 : 0);
}

// Requantization of a linear layer's accumulator; `ties` are its tie_places.
inline WideProduct requantize_wide(
    const Accumulator& accumulator, const WideMultiplier& multiplier, const Shift& shift, const WideProduct& ties) {
#pragma HLS INLINE
    const WideProduct product = accumulator * multiplier;
    return round_ties<WIDE_PRODUCT_BITS>(product, shift, ties);
}

// Clips to `bits` (1 to R - 1) signed or unsigned bits. The places above those that are kept are the same for all lanes of a row; a
// value fits where it has its sign in all of them.
template <int R, int W>
inline ap_int<R> clip(const ap_int<W>& value, unsigned bits, bool is_signed) {
#pragma HLS INLINE
    const Shift kept = is_signed ? bits - 1 : bits;
    const ap_int<R> above = ap_int<R>(-1) << kept;
    const bool negative = value < 0;
    const ap_int<W> places = above;
    const ap_int<W> sign = negative ? -1 : 0;
    const ap_int<W> differing = (value ^ sign) & places;
    const ap_int<R> low = is_signed ? above : ap_int<R>(0);
    const ap_int<R> high = ~above;
    ap_int<R> clipped = ap_int<R>(value);
    if (differing != 0 || (negative && !is_signed)) {
        clipped = negative ? low : high;
    }
    return clipped;
}

// Clips to `bits` (1 to 16) signed or unsigned bits.
template <int W>
inline Element saturate(const ap_int<W>& value, unsigned bits, bool is_signed) {
#pragma HLS INLINE
    return clip<ELEMENT_BITS, W>(value, bits, is_signed);
}

}  // namespace edgeflow

#endif
