// Dyadic requantization: (acc * m + 2^(c-1)) >> c, rounding half up, then saturation (hw/arithmetic.py is the definition). The
// accumulator of a linear layer has a longer multiplier. It, and a requantization on its own, may round half to even.
#ifndef EDGEFLOW_REQUANTIZE_HPP
#define EDGEFLOW_REQUANTIZE_HPP

#include "ap_int.h"

namespace edgeflow {

typedef ap_int<18> Multiplier;  // signed 17-bit magnitude: one DSP48E2 operand
typedef ap_int<50> Product;     // a 32-bit accumulator times a multiplier
typedef ap_int<25> WideMultiplier;  // signed 24-bit magnitude: with 32 bits two DSP slices, of 27 x 18 bits or of 25 x 18
typedef ap_int<57> WideProduct;

// Half of the last place that a shift keeps; 0 where it drops none.
template <int W>
inline ap_int<W> half_place(const ap_uint<6>& shift) {
#pragma HLS INLINE
    ap_int<W> half = 0;
    if (shift != 0) {
        const ap_uint<6> position = shift - 1;
        half = ap_int<W>(1) << position;
    }
    return half;
}

// value / 2^shift, rounded half up; shift 0 leaves the value.
inline Product round_shift(const Product& value, const ap_uint<6>& shift) {
#pragma HLS INLINE
    const Product sum = value + half_place<50>(shift);
    return sum >> shift;
}

inline Product requantize(const ap_int<32>& accumulator, const Multiplier& multiplier, const ap_uint<6>& shift) {
#pragma HLS INLINE
    const Product product = accumulator * multiplier;
    return round_shift(product, shift);
}

// The places that a shift drops where a row rounds half to even, else all: a sum with the rounding's half is a tie where it has none.
template <int W>
inline ap_int<W> tie_places(const ap_uint<6>& shift, bool half_even) {
#pragma HLS INLINE
    ap_int<W> places = -1;
    if (half_even) {
        places = (half_place<W>(shift) << 1) - 1;
    }
    return places;
}

// As round_shift; `ties` are the tie_places.
template <int W>
inline ap_int<W> round_ties(const ap_int<W>& value, const ap_uint<6>& shift, const ap_int<W>& ties) {
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
    const ap_int<32>& accumulator, const WideMultiplier& multiplier, const ap_uint<6>& shift, const WideProduct& ties) {
#pragma HLS INLINE
    const WideProduct product = accumulator * multiplier;
    return round_ties<57>(product, shift, ties);
}

// Clips to `bits` (1 to 16) signed or unsigned bits.
template <int W>
inline ap_int<17> saturate(const ap_int<W>& value, unsigned bits, bool is_signed) {
#pragma HLS INLINE
    const ap_int<18> high = is_signed ? (1 << (bits - 1)) - 1 : (1 << bits) - 1;
    const ap_int<18> low = is_signed ? -(1 << (bits - 1)) : 0;
    ap_int<17> clipped = ap_int<17>(value);
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
