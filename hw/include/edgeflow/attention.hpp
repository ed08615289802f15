// Attention of all heads: y = softmax(q . k^T) . v per head, the scores never leave the chip.
//
// Keys and values of one head are on chip. LANES queries are held stationary; keys are streamed one vector a cycle while every lane
// keeps its scores and their maximum; then the values are streamed and weighted by powers of two of the distance to the maximum. One
// multiplier array of LANES x MAX_HEAD serves both passes. A row is normalised once, by an integer reciprocal of the sum of its weights.
//
// Parameters: for each head int32 multiplier, int32 numerator and two unused words. Exponent table: 2-byte entries.
#ifndef EDGEFLOW_ATTENTION_HPP
#define EDGEFLOW_ATTENTION_HPP

#include "edgeflow/exponent.hpp"
#include "edgeflow/memory.hpp"
#include "edgeflow/requantize.hpp"

namespace edgeflow {

template <class C>
void attention(const AttentionInstruction& ins, const typename Memory<C>::Word* weights, typename Memory<C>::Word* memory) {
#pragma HLS INLINE off
    typedef typename Memory<C>::Word Word;
    const int WORD_BYTES = Memory<C>::WORD_BYTES;
    const int SLICES = C::MAX_HEAD / WORD_BYTES;

    ap_int<8> q[C::LANES][C::MAX_HEAD];
#pragma HLS ARRAY_PARTITION variable=q complete dim=0
    // A slice holds one AXI word of every token, so that a word is written and a whole vector read in one cycle.
    ap_int<8> k[SLICES][C::MAX_TOKENS][WORD_BYTES];
#pragma HLS ARRAY_PARTITION variable=k complete dim=1
#pragma HLS ARRAY_RESHAPE variable=k complete dim=3
#pragma HLS BIND_STORAGE variable=k type=ram_2p
    ap_int<8> v[SLICES][C::MAX_TOKENS][WORD_BYTES];
#pragma HLS ARRAY_PARTITION variable=v complete dim=1
#pragma HLS ARRAY_RESHAPE variable=v complete dim=3
#pragma HLS BIND_STORAGE variable=v type=ram_2p
    ap_int<32> score[C::LANES][C::MAX_TOKENS];
#pragma HLS ARRAY_PARTITION variable=score complete dim=1
#pragma HLS BIND_STORAGE variable=score type=ram_2p
    Exponent table[C::LANES][C::ATTENTION_EXPONENTS];
#pragma HLS ARRAY_PARTITION variable=table complete dim=1
#pragma HLS BIND_STORAGE variable=table type=ram_2p
    ap_uint<1> attended[C::MAX_TOKENS];
    ap_int<32> maximum[C::LANES];
#pragma HLS ARRAY_PARTITION variable=maximum complete
    ap_int<32> total[C::LANES];
#pragma HLS ARRAY_PARTITION variable=total complete
    ap_int<32> scale[C::LANES];
#pragma HLS ARRAY_PARTITION variable=scale complete
    ap_int<32> sum[C::LANES][C::MAX_HEAD];
#pragma HLS ARRAY_PARTITION variable=sum complete dim=0
    ap_int<32> parameter[4];
#pragma HLS ARRAY_PARTITION variable=parameter complete

    const unsigned channels = ins.heads * ins.head_channels;
    const unsigned lines = row_lines(channels, 1);
    const unsigned words = ins.head_channels / WORD_BYTES;
    const unsigned y_lines = row_lines(channels, ins.y_bytes);
    const unsigned y_words = words * ins.y_bytes;
    const unsigned y_lanes = word_lanes<C>(ins.y_bytes);

    load_exponents<C, C::LANES, C::ATTENTION_EXPONENTS>(weights, ins.exponent, 1u << ins.fraction_bits, table);

    Word mask_word = 0;
attention_mask:
    for (unsigned j = 0; j < ins.keys; ++j) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_TOKENS
#pragma HLS PIPELINE II=1
        if (ins.has_mask && j % WORD_BYTES == 0) {
            const unsigned index = ins.mask * Memory<C>::LINE_WORDS + j / WORD_BYTES;
            mask_word = read_word<C>(ins.mask_constant, weights, memory, index);
        }
        const Element value = get_element<C>(mask_word, j % WORD_BYTES, 1, false);
        attended[j] = (!ins.has_mask || value != 0) ? 1 : 0;
    }

attention_heads:
    for (unsigned h = 0; h < ins.heads; ++h) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_CHANNELS/16
        load_int32<C>(weights, ins.parameters, 4 * h, 4, parameter);
    attention_tokens:
        for (unsigned j = 0; j < ins.keys; ++j) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_TOKENS
        attention_token_words:
            for (unsigned w = 0; w < words; ++w) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_HEAD*8/C::AXI_BITS
#pragma HLS PIPELINE II=2
                const unsigned k_index = (ins.k + j * lines) * Memory<C>::LINE_WORDS + h * words + w;
                const unsigned v_index = (ins.v + j * lines) * Memory<C>::LINE_WORDS + h * words + w;
                const Word k_word = read_word<C>(ins.k_constant, weights, memory, k_index);
                const Word v_word = read_word<C>(ins.v_constant, weights, memory, v_index);
                for (int b = 0; b < WORD_BYTES; ++b) {
#pragma HLS UNROLL
                    k[w][j][b] = ap_int<8>(get_element<C>(k_word, b, 1, true));
                    v[w][j][b] = ap_int<8>(get_element<C>(v_word, b, 1, true));
                }
            }
        }

    attention_blocks:
        for (unsigned first = 0; first < ins.queries; first += C::LANES) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=(C::MAX_TOKENS+C::LANES-1)/C::LANES
            const unsigned left = ins.queries - first;
            const unsigned rows = left < unsigned(C::LANES) ? left : unsigned(C::LANES);
        attention_queries:
            for (int l = 0; l < C::LANES; ++l) {
            attention_query_words:
                for (unsigned w = 0; w < words; ++w) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_HEAD*8/C::AXI_BITS
#pragma HLS PIPELINE II=1
                    Word word = 0;
                    if (unsigned(l) < rows) {
                        const unsigned index = (ins.q + (first + l) * lines) * Memory<C>::LINE_WORDS + h * words + w;
                        word = read_word<C>(ins.q_constant, weights, memory, index);
                    }
                    for (int b = 0; b < WORD_BYTES; ++b) {
#pragma HLS UNROLL
                        q[l][w * WORD_BYTES + b] = ap_int<8>(get_element<C>(word, b, 1, true));
                    }
                }
            }
        attention_reset:
            for (int l = 0; l < C::LANES; ++l) {
#pragma HLS UNROLL
                maximum[l] = -2147483647;
                total[l] = 0;
                for (int d = 0; d < C::MAX_HEAD; ++d) {
#pragma HLS UNROLL
                    sum[l][d] = 0;
                }
            }

            // Pass 0 streams the keys, pass 1 the values.
        attention_passes:
            for (int pass = 0; pass < 2; ++pass) {
            attention_stream:
                for (unsigned j = 0; j < ins.keys; ++j) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_TOKENS
#pragma HLS PIPELINE II=1
                    ap_int<8> streamed[C::MAX_HEAD];
#pragma HLS ARRAY_PARTITION variable=streamed complete
                    for (int d = 0; d < C::MAX_HEAD; ++d) {
#pragma HLS UNROLL
                        streamed[d] = 0;
                        if (unsigned(d) < ins.head_channels) {
                            if (pass == 0) {
                                streamed[d] = k[d / WORD_BYTES][j][d % WORD_BYTES];
                            } else {
                                streamed[d] = v[d / WORD_BYTES][j][d % WORD_BYTES];
                            }
                        }
                    }
                    for (int l = 0; l < C::LANES; ++l) {
#pragma HLS UNROLL
                        Weight weight = 0;
                        if (pass == 1 && attended[j] != 0) {
                            const ap_int<32> distance = maximum[l] - score[l][j];
                            const Product t = requantize(distance, Multiplier(parameter[0]), ins.shift);
                            weight = power_of_two(t, ins.fraction_bits, ins.probability_bits, table[l]);
                            total[l] += weight;
                        }
                        ap_int<32> dot = 0;
                        for (int d = 0; d < C::MAX_HEAD; ++d) {
#pragma HLS UNROLL
                            Weight operand = weight;
                            if (pass == 0) {
                                operand = unsigned(d) < ins.head_channels ? Weight(q[l][d]) : Weight(0);
                            }
                            const ap_int<25> product = operand * streamed[d];
                            dot += product;
                            if (pass == 1) {
                                sum[l][d] += product;
                            }
                        }
                        if (pass == 0) {
                            score[l][j] = dot;
                            if (attended[j] != 0 && dot > maximum[l]) {
                                maximum[l] = dot;
                            }
                        }
                    }
                }
            }

        attention_reciprocals:
            for (int l = 0; l < C::LANES; ++l) {
#pragma HLS PIPELINE II=1
                scale[l] = ap_int<32>(reciprocal(parameter[1], total[l]));
            }
        attention_rows:
            for (unsigned l = 0; l < rows; ++l) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::LANES
            attention_row_words:
                for (unsigned w = 0; w < y_words; ++w) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_HEAD*16/C::AXI_BITS
#pragma HLS PIPELINE II=1
                    Word word = 0;
                    for (int lane = 0; lane < WORD_BYTES; ++lane) {
#pragma HLS UNROLL
                        if (unsigned(lane) < y_lanes) {
                            const Product product = sum[l][w * y_lanes + lane] * scale[l];
                            const Product value = round_shift(product, ins.output_shift);
                            set_element<C>(word, lane, ins.y_bytes, saturate(value, ins.y_bits, ins.y_signed));
                        }
                    }
                    memory[(ins.y + (first + l) * y_lines) * Memory<C>::LINE_WORDS + h * y_words + w] = word;
                }
            }
        }
    }
}

}  // namespace edgeflow

#endif
