// Softmax of rows, one element a cycle: powers of two of the distance to the maximum, times one reciprocal a row.
#ifndef EDGEFLOW_SOFTMAX_HPP
#define EDGEFLOW_SOFTMAX_HPP

#include "edgeflow/exponent.hpp"
#include "edgeflow/memory.hpp"
#include "edgeflow/requantize.hpp"

namespace edgeflow {

template <class C>
void softmax(const SoftmaxInstruction& ins, const typename Memory<C>::Word* weights, typename Memory<C>::Word* memory) {
#pragma HLS INLINE off
    Element x[C::MAX_CHANNELS];
#pragma HLS ARRAY_PARTITION variable=x cyclic factor=Memory<C>::WORD_BYTES
    Weight weight[C::MAX_CHANNELS];
    Element y[C::MAX_CHANNELS];
#pragma HLS ARRAY_PARTITION variable=y cyclic factor=Memory<C>::WORD_BYTES
    Exponent table[1][C::SOFTMAX_EXPONENTS];

    const unsigned x_lines = row_lines(ins.channels, ins.x_bytes);
    const unsigned y_lines = row_lines(ins.channels, ins.y_bytes);
    const Product numerator = (Product(ins.numerator_high) << 32) + ins.numerator_low;

    load_exponents<C, 1, C::SOFTMAX_EXPONENTS>(weights, ins.exponent, 1u << ins.fraction_bits, table);

softmax_rows:
    for (unsigned r = 0; r < ins.rows; ++r) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_TOKENS
        load_row<C>(memory, ins.x + r * x_lines, ins.channels, ins.x_bytes, ins.x_signed, x);

        Element maximum = -65536;
    softmax_maximum:
        for (unsigned c = 0; c < ins.channels; ++c) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_CHANNELS
#pragma HLS PIPELINE II=1
            if (x[c] > maximum) {
                maximum = x[c];
            }
        }

        ap_int<32> total = 0;
    softmax_weights:
        for (unsigned c = 0; c < ins.channels; ++c) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_CHANNELS
#pragma HLS PIPELINE II=1
            const ap_int<32> distance = maximum - x[c];
            const Product t = requantize(distance, Multiplier(ins.multiplier), ins.shift);
            const Weight p = power_of_two(t, ins.fraction_bits, ins.probability_bits, table[0]);
            weight[c] = p;
            total += p;
        }

        const ap_int<48> scale = reciprocal(numerator, total);
    softmax_output:
        for (unsigned c = 0; c < ins.channels; ++c) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_CHANNELS
#pragma HLS PIPELINE II=1
            const Product product = weight[c] * scale;
            y[c] = saturate(round_shift(product, ins.output_shift), ins.y_bits, ins.y_signed);
        }
        store_row<C>(memory, ins.y + r * y_lines, ins.channels, ins.y_bytes, y);
    }
}

}  // namespace edgeflow

#endif
