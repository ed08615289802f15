// Dyadic requantization: (acc * m + 2^(c-1)) >> c, rounding half up, then saturation (hw/arithmetic.py is the definition).
#ifndef EDGEFLOW_REQUANTIZE_HPP
#define EDGEFLOW_REQUANTIZE_HPP

#include "ap_int.h"

namespace edgeflow {

typedef ap_int<18> Multiplier;  // signed 17-bit magnitude: one DSP48E2 operand
typedef ap_int<50> Product;     // a 32-bit accumulator times a multiplier

// value / 2^shift, rounded half up; shift 0 leaves the value.
inline Product round_shift(const Product& value, const ap_uint<6>& shift) {
#pragma HLS INLINE
    Product half = 0;
    if (shift != 0) {
        const ap_uint<6> position = shift - 1;
        half = Product(1) << position;
    }
    const Product sum = value + half;
    return sum >> shift;
}

inline Product requantize(const ap_int<32>& accumulator, const Multiplier& multiplier, const ap_uint<6>& shift) {
#pragma HLS INLINE
    const Product product = accumulator * multiplier;
    return round_shift(product, shift);
}

// Clips to `bits` (1 to 16) signed or unsigned bits.
inline ap_int<17> saturate(const Product& value, unsigned bits, bool is_signed) {
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
