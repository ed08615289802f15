// Elementwise arithmetic on rows, C::VECTOR elements a cycle:
//   add         y = sat(rq(a, multiplier_a, shift_a) + rq(b, multiplier_b, shift_b))
//   multiply    y = sat(rq(a * b, multiplier_a, shift_a))
//   requantize  y = sat(rq(a, multiplier[channel], shift_a) + offset)
//
// An operand with fewer rows than the output repeats them; one with a single row is loaded once. Operands come from the activation
// memory or, as constants, from the weight image. Weight image of requantize: an int32 multiplier a channel.
#ifndef EDGEFLOW_ELEMENTWISE_HPP
#define EDGEFLOW_ELEMENTWISE_HPP

#include "edgeflow/memory.hpp"
#include "edgeflow/requantize.hpp"

namespace edgeflow {

static const unsigned ELEMENTWISE_ADD = 0;
static const unsigned ELEMENTWISE_MULTIPLY = 1;
static const unsigned ELEMENTWISE_REQUANTIZE = 2;

template <class C>
void elementwise(const ElementwiseInstruction& ins, const typename Memory<C>::Word* weights, typename Memory<C>::Word* memory) {
#pragma HLS INLINE off
    Element a[C::MAX_CHANNELS];
#pragma HLS ARRAY_PARTITION variable=a cyclic factor=Memory<C>::BANKS
    Element b[C::MAX_CHANNELS];
#pragma HLS ARRAY_PARTITION variable=b cyclic factor=Memory<C>::BANKS
    Element y[C::MAX_CHANNELS];
#pragma HLS ARRAY_PARTITION variable=y cyclic factor=Memory<C>::BANKS
    ap_int<32> multiplier[C::MAX_CHANNELS];
#pragma HLS ARRAY_PARTITION variable=multiplier cyclic factor=Memory<C>::BANKS

    const unsigned a_lines = row_lines(ins.columns, ins.a_bytes);
    const unsigned b_lines = row_lines(ins.columns, ins.b_bytes);
    const unsigned y_lines = row_lines(ins.columns, ins.y_bytes);
    const bool has_b = ins.operation != ELEMENTWISE_REQUANTIZE;
    unsigned a_row = 0;
    unsigned b_row = 0;
    unsigned a_line = ins.a;
    unsigned b_line = ins.b;
    unsigned y_line = ins.y;

    if (ins.operation == ELEMENTWISE_REQUANTIZE) {
        load_int32<C>(weights, ins.multipliers, 0, ins.columns, multiplier);
    }

elementwise_rows:
    for (unsigned r = 0; r < ins.rows; ++r) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_TOKENS
        if (r == 0 || ins.a_rows > 1) {
            if (ins.a_constant) {
                load_row<C>(weights, a_line, ins.columns, ins.a_bytes, ins.a_signed, a);
            } else {
                load_row<C>(memory, a_line, ins.columns, ins.a_bytes, ins.a_signed, a);
            }
        }
        if (has_b && (r == 0 || ins.b_rows > 1)) {
            if (ins.b_constant) {
                load_row<C>(weights, b_line, ins.columns, ins.b_bytes, ins.b_signed, b);
            } else {
                load_row<C>(memory, b_line, ins.columns, ins.b_bytes, ins.b_signed, b);
            }
        }
        a_row = a_row + 1 == ins.a_rows ? 0 : a_row + 1;
        a_line = a_row == 0 ? ins.a : a_line + a_lines;
        b_row = b_row + 1 == ins.b_rows ? 0 : b_row + 1;
        b_line = b_row == 0 ? ins.b : b_line + b_lines;

    elementwise_compute:
        for (unsigned i = 0; i < ins.columns; i += C::VECTOR) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_CHANNELS/C::VECTOR
#pragma HLS PIPELINE II=1
            for (int lane = 0; lane < C::VECTOR; ++lane) {
#pragma HLS UNROLL
                const unsigned c = i + lane;
                if (c < ins.columns) {
                    ap_int<32> first = a[c];
                    ap_int<32> factor = ins.multiplier_a;
                    Product added = ap_int<32>(ins.offset);
                    if (ins.operation == ELEMENTWISE_ADD) {
                        added = requantize(b[c], Multiplier(ins.multiplier_b), ins.shift_b);
                    }
                    if (ins.operation == ELEMENTWISE_MULTIPLY) {
                        first = a[c] * b[c];
                    }
                    if (ins.operation == ELEMENTWISE_REQUANTIZE) {
                        factor = multiplier[c];
                    }
                    const Product scaled = requantize(first, Multiplier(factor), ins.shift_a);
                    const Product sum = scaled + added;
                    y[c] = saturate(sum, ins.y_bits, ins.y_signed);
                }
            }
        }
        store_row<C>(memory, y_line, ins.columns, ins.y_bytes, y);
        y_line += y_lines;
    }
}

}  // namespace edgeflow

#endif
