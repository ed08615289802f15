// Mean over rows: with n counted rows, r = (numerator + n / 2) / n (0 for n = 0) and y = sat(round(sum * r / 2^shift)).
//
// The mask is a row of bytes, nonzero where a row counts; masked rows are read all the same, so the time does not depend on it.
#ifndef EDGEFLOW_POOL_HPP
#define EDGEFLOW_POOL_HPP

#include "edgeflow/memory.hpp"
#include "edgeflow/requantize.hpp"

namespace edgeflow {

template <class C>
void pool(const PoolInstruction& ins, const typename Memory<C>::Word* weights, typename Memory<C>::Word* memory) {
#pragma HLS INLINE off
    Element x[C::MAX_CHANNELS];
#pragma HLS ARRAY_PARTITION variable=x cyclic factor=Memory<C>::BANKS
    Element y[C::MAX_CHANNELS];
#pragma HLS ARRAY_PARTITION variable=y cyclic factor=Memory<C>::BANKS
    ap_int<32> sum[C::MAX_CHANNELS];
#pragma HLS ARRAY_PARTITION variable=sum cyclic factor=C::VECTOR
    Element mask[64];
#pragma HLS ARRAY_PARTITION variable=mask complete

    const unsigned x_lines = row_lines(ins.columns, ins.x_bytes);
    ap_uint<32> counted = 0;
    unsigned x_line = ins.x;

pool_rows:
    for (unsigned r = 0; r < ins.rows; ++r) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_TOKENS
        if (ins.has_mask && r % 64 == 0) {
            const unsigned left = ins.rows - r;
            const unsigned count = left < 64 ? left : 64;
            if (ins.mask_constant) {
                load_row<C>(weights, ins.mask + r / 64, count, 1, ins.mask_signed, mask);
            } else {
                load_row<C>(memory, ins.mask + r / 64, count, 1, ins.mask_signed, mask);
            }
        }
        load_row<C>(memory, x_line, ins.columns, ins.x_bytes, ins.x_signed, x);
        x_line += x_lines;
        bool counts = true;
        if (ins.has_mask) {
            counts = mask[r % 64] != 0;
        }
        if (counts) {
            ++counted;
        }
    pool_sum:
        for (unsigned i = 0; i < ins.columns; i += C::VECTOR) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_CHANNELS/C::VECTOR
#pragma HLS PIPELINE II=1
#pragma HLS DEPENDENCE variable=sum inter false
            for (int lane = 0; lane < C::VECTOR; ++lane) {
#pragma HLS UNROLL
                const unsigned c = i + lane;
                if (c < ins.columns) {
                    const ap_int<32> before = r == 0 ? ap_int<32>(0) : sum[c];
                    const ap_int<32> term = counts ? ap_int<32>(x[c]) : ap_int<32>(0);
                    sum[c] = before + term;
                }
            }
        }
    }

    ap_int<32> reciprocal = 0;
    if (counted != 0) {
        const ap_uint<32> dividend = ap_uint<32>(ins.numerator) + (counted >> 1);
        reciprocal = dividend / counted;
    }

pool_scale:
    for (unsigned i = 0; i < ins.columns; i += C::VECTOR) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_CHANNELS/C::VECTOR
#pragma HLS PIPELINE II=1
        for (int lane = 0; lane < C::VECTOR; ++lane) {
#pragma HLS UNROLL
            const unsigned c = i + lane;
            if (c < ins.columns) {
                const Product product = sum[c] * reciprocal;
                const Product value = round_shift(product, ins.shift);
                y[c] = saturate(value, ins.y_bits, ins.y_signed);
            }
        }
    }
    store_row<C>(memory, ins.y, ins.columns, ins.y_bytes, y);
}

}  // namespace edgeflow

#endif
