// Layer normalization of rows, VECTOR elements a cycle: y = gain * (x - mean) / sqrt(variance) + offset, in integers.
//
// Three passes over a row on chip: sum; squared deviations; output. The reciprocal square root is a table entry and two Newton steps,
// once a row (hw/ops/layernorm.py is the definition).
#ifndef EDGEFLOW_LAYERNORM_HPP
#define EDGEFLOW_LAYERNORM_HPP

#include "edgeflow/memory.hpp"
#include "edgeflow/requantize.hpp"

namespace edgeflow {

typedef ap_int<18> Deviation;  // element minus mean, with fraction bits: one DSP48E2 operand
typedef ap_int<26> Root;       // 2^38 / sqrt(w) for w in [2^28, 2^30)

// Smallest count with value < 4^count.
inline ap_uint<5> base4_digits(const ap_int<54>& value) {
#pragma HLS INLINE
    ap_uint<5> count = 0;
    for (int digit = 0; digit < 27; ++digit) {
#pragma HLS UNROLL
        if ((value >> (2 * digit)) != 0) {
            count = digit + 1;
        }
    }
    return count;
}

// 2^38 / sqrt(w) for the value scaled by an even power of two into w.
template <class C>
Root reciprocal_root(const ap_int<54>& value, const ap_uint<5>& count, const ap_int<32> (&seed)[C::LAYERNORM_SEEDS]) {
#pragma HLS INLINE off
    ap_int<32> w = 0;
    if (count <= 15) {
        w = ap_int<32>(value) << (30 - 2 * int(count));
    } else {
        w = value >> (2 * int(count) - 30);
    }
    const unsigned entry = unsigned(w >> 22) - 64u;
    Root root = Root(seed[entry]) << 8;
reciprocal_root_steps:
    for (int step = 0; step < 2; ++step) {
        const ap_int<52> square = root * root;
        const ap_int<34> scaled = square >> 18;
        const ap_int<62> product = w * scaled;
        const ap_int<62> rest = (ap_int<62>(3) << 58) - product;
        const ap_int<30> factor = rest >> 33;
        const ap_int<58> next = root * factor + (1 << 25);
        root = next >> 26;
    }
    return root;
}

template <class C>
void layernorm(const LayernormInstruction& ins, const typename Memory<C>::Word* weights, typename Memory<C>::Word* memory) {
#pragma HLS INLINE off
    Element x[C::MAX_CHANNELS];
#pragma HLS ARRAY_PARTITION variable=x cyclic factor=Memory<C>::BANKS
    Element y[C::MAX_CHANNELS];
#pragma HLS ARRAY_PARTITION variable=y cyclic factor=Memory<C>::BANKS
    ap_int<32> gain[C::MAX_CHANNELS];
#pragma HLS ARRAY_PARTITION variable=gain cyclic factor=C::VECTOR
    ap_int<32> offset[C::MAX_CHANNELS];
#pragma HLS ARRAY_PARTITION variable=offset cyclic factor=C::VECTOR
    ap_int<32> seed[C::LAYERNORM_SEEDS];

    const unsigned steps = ceil_div(ins.channels, C::VECTOR);
    const unsigned x_lines = row_lines(ins.channels, ins.x_bytes);
    const unsigned y_lines = row_lines(ins.channels, ins.y_bytes);
    const ap_int<54> epsilon = (ap_int<54>(ins.epsilon_high) << 32) + ins.epsilon_low;

    load_int32<C>(weights, ins.seed, 0, C::LAYERNORM_SEEDS, seed);
    load_int32<C>(weights, ins.gain, 0, ins.channels, gain);
    load_int32<C>(weights, ins.offset, 0, ins.channels, offset);

layernorm_rows:
    for (unsigned r = 0; r < ins.rows; ++r) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_TOKENS
        load_row<C>(memory, ins.x + r * x_lines, ins.channels, ins.x_bytes, ins.x_signed, x);

        ap_int<32> sum = 0;
    layernorm_sum:
        for (unsigned s = 0; s < steps; ++s) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_CHANNELS/C::VECTOR
#pragma HLS PIPELINE II=1
            ap_int<32> part = 0;
            for (int lane = 0; lane < C::VECTOR; ++lane) {
#pragma HLS UNROLL
                const unsigned c = s * C::VECTOR + lane;
                if (c < ins.channels) {
                    part += x[c];
                }
            }
            sum += part;
        }
        const ap_int<20> mean = requantize(sum, Multiplier(ins.mean_multiplier), ins.mean_shift);

        ap_int<54> variance = epsilon;
    layernorm_squares:
        for (unsigned s = 0; s < steps; ++s) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_CHANNELS/C::VECTOR
#pragma HLS PIPELINE II=1
            ap_int<54> part = 0;
            for (int lane = 0; lane < C::VECTOR; ++lane) {
#pragma HLS UNROLL
                const unsigned c = s * C::VECTOR + lane;
                if (c < ins.channels) {
                    const Deviation d = (ap_int<34>(x[c]) << ins.fraction_bits) - mean;
                    const ap_int<36> square = d * d;
                    part += square;
                }
            }
            variance += part;
        }

        const ap_uint<5> count = base4_digits(variance);
        const ap_uint<6> shift = count + 3;
        Root root = 0;
        if (count != 0) {
            root = reciprocal_root<C>(variance, count, seed);
        }
    layernorm_output:
        for (unsigned s = 0; s < steps; ++s) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_CHANNELS/C::VECTOR
#pragma HLS PIPELINE II=1
            for (int lane = 0; lane < C::VECTOR; ++lane) {
#pragma HLS UNROLL
                const unsigned c = s * C::VECTOR + lane;
                if (c < ins.channels) {
                    const Deviation d = (ap_int<34>(x[c]) << ins.fraction_bits) - mean;
                    const Product scaled = d * root;
                    const ap_int<22> z = round_shift(scaled, shift);
                    const Product affine = z * Multiplier(gain[c]) + (Product(offset[c]) << ins.offset_shift);
                    y[c] = saturate(round_shift(affine, ins.shift), ins.y_bits, ins.y_signed);
                }
            }
        }
        store_row<C>(memory, ins.y + r * y_lines, ins.channels, ins.y_bytes, y);
    }
}

}  // namespace edgeflow

#endif
