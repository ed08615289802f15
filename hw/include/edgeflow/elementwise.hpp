// Elementwise arithmetic on rows, C::VECTOR elements a cycle:
//   add         y = sat(rq(a, multiplier_a, shift_a) + rq(b, multiplier_b, shift_b))
//   multiply    y = sat(rq(a * b, multiplier_b, shift_b))
//   requantize  y = sat(rq(a * b, 1, shift_a) + offset), b a multiplier for each channel
//
// One pipelined loop over the chunks of all rows; an iteration reads at most one line of each memory and writes one. Where a and b lie
// in the same memory, a chunk takes two iterations. An activation with fewer rows than the output repeats them. Where b is a constant
// it comes from the weight stream: one row of int32 for all rows, loaded first; or a row for each row of the output in 16-bit elements,
// 32 to a line, which arrive along with the chunks (rows then count whole lines, and a chunk longer than a stream word takes as many
// iterations as it has words).
#ifndef EDGEFLOW_ELEMENTWISE_HPP
#define EDGEFLOW_ELEMENTWISE_HPP

#include "edgeflow/chunk.hpp"
#include "edgeflow/requantize.hpp"
#include "edgeflow/rounds.hpp"

namespace edgeflow {

template <class C>
struct Elementwise {
    static const int BANKS = C::VECTOR > Chunk<C>::INTEGERS ? C::VECTOR : Chunk<C>::INTEGERS;  // of the row of int32
    static const int DEPTH = C::MAX_CHANNELS / BANKS;
    static const int WORD_ELEMENTS = Memory<C>::STREAM_BYTES / 2;                              // 16-bit elements of a stream word
    static const int CHUNK_WORDS = C::VECTOR > WORD_ELEMENTS ? C::VECTOR / WORD_ELEMENTS : 1;
    static const int WORD_CHUNKS = WORD_ELEMENTS > C::VECTOR ? WORD_ELEMENTS / C::VECTOR : 1;
    static const int KEPT = C::VECTOR > WORD_ELEMENTS ? C::VECTOR : WORD_ELEMENTS;
};

template <class C, class S, class W>
void elementwise(const ElementwiseInstruction& ins, W& stream, S& scratch) {
#pragma HLS INLINE off
#pragma HLS DEPENDENCE variable=scratch.narrow inter false
#pragma HLS DEPENDENCE variable=scratch.wide inter false
    const int INTEGERS = Chunk<C>::INTEGERS;
    const int BANKS = Elementwise<C>::BANKS;
    const int BANK_CHUNKS = BANKS / C::VECTOR;
    const int WORD_ELEMENTS = Elementwise<C>::WORD_ELEMENTS;
    const int WORD_CHUNKS = Elementwise<C>::WORD_CHUNKS;

    Multiplier parameter[Elementwise<C>::DEPTH][BANKS];
#pragma HLS ARRAY_PARTITION variable=parameter complete dim=2
#pragma HLS BIND_STORAGE variable=parameter type=ram_s2p impl=lutram
    Element kept[Elementwise<C>::KEPT];  // of b, from an earlier iteration of the same chunk or an earlier chunk of the same word
#pragma HLS ARRAY_PARTITION variable=kept complete
    for (int n = 0; n < Elementwise<C>::KEPT; ++n) {
#pragma HLS UNROLL
        kept[n] = 0;
    }

    const bool adds = ins.operation == ELEMENTWISE_ADD;
    const bool multiplies = ins.operation == ELEMENTWISE_MULTIPLY;
    const bool requantizes = ins.operation == ELEMENTWISE_REQUANTIZE;
    const bool b_rows_stream = ins.b_source == OPERAND_ROWS;
    const bool b_row = ins.b_source == OPERAND_ROW;
    const bool b_scratch = ins.b_source == OPERAND_SCRATCH;
    const bool a_narrow = ins.a < unsigned(C::NARROW_LINES);
    const bool b_narrow = ins.b < unsigned(C::NARROW_LINES);
    const bool turns = b_scratch && a_narrow == b_narrow;
    const unsigned phases = turns ? 2u : b_rows_stream ? unsigned(Elementwise<C>::CHUNK_WORDS) : 1u;
    const unsigned chunks = b_rows_stream ? ((ins.columns + 31) >> 5) * unsigned(Chunk<C>::LINE_HALF_CHUNKS)
                                          : (ins.columns + C::VECTOR - 1) / unsigned(C::VECTOR);
    const unsigned a_stride = row_lines(ins.columns, ins.a_storage);
    const unsigned b_stride = row_lines(ins.columns, ins.b_storage);
    const unsigned y_stride = row_lines(ins.columns, ins.y_storage);

    if (b_row) {
        const unsigned words = ((ins.columns + 15) >> 4) * Memory<C>::LINE_STREAM_WORDS;
        EDGEFLOW_ENTER("parameters");
    parameters:
        for (unsigned w = 0; w < words; ++w) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_CHANNELS/16*Memory<C>::LINE_STREAM_WORDS
#pragma HLS PIPELINE II=1
            EDGEFLOW_TRIP("parameters");
            const StreamWord<C> word = stream.read();
            const unsigned first = w * INTEGERS;
            for (int bank = 0; bank < BANKS; ++bank) {
#pragma HLS UNROLL
                const int k = bank % INTEGERS;
                if (first % BANKS == unsigned(bank - k)) {
                    parameter[first / BANKS][bank] = Multiplier(stream_integer<C>(word, k));
                }
            }
        }
    }

    const ap_uint<ELEMENTWISE_ROWS_BITS + ELEMENTWISE_COLUMNS_BITS> row_chunks =
        ap_uint<ELEMENTWISE_ROWS_BITS>(ins.rows) * ap_uint<ELEMENTWISE_COLUMNS_BITS>(chunks);
    const unsigned trips = unsigned(row_chunks) * phases;
    Round<COUNT_BITS> phase_place = round_of(ap_uint<COUNT_BITS>(phases));
    Round<ELEMENTWISE_COLUMNS_BITS> chunk_place = round_of(ap_uint<ELEMENTWISE_COLUMNS_BITS>(chunks));
    Round<ELEMENTWISE_ROWS_BITS> a_place = round_of(ap_uint<ELEMENTWISE_ROWS_BITS>(ins.a_rows));
    Round<ELEMENTWISE_ROWS_BITS> b_place = round_of(ap_uint<ELEMENTWISE_ROWS_BITS>(ins.b_rows));
    ap_uint<1> opens_word = 1;  // whether the chunk is the first of a word of the stream
    unsigned phase = 0, chunk = 0;
    unsigned a_line = ins.a, b_line = ins.b, y_line = ins.y;

    EDGEFLOW_ENTER("elementwise");
elementwise:
    for (unsigned n = 0; n < trips; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_TOKENS*C::MAX_CHANNELS/C::VECTOR*2
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("elementwise");
        const bool last = phase_place.last != 0;
        const bool takes_b = b_scratch && (!turns || phase == 0);
        const unsigned a_at = a_line + chunk_line<C>(chunk, ins.a_storage);
        const unsigned b_from = b_line + chunk_line<C>(chunk, ins.b_storage);

        // One read of each memory: what of a and b lies there now.
        Line narrow, wide;
#pragma HLS ARRAY_PARTITION variable=narrow.byte complete
#pragma HLS ARRAY_PARTITION variable=wide.byte complete
        for (int b = 0; b < LINE_BYTES; ++b) {
#pragma HLS UNROLL
            narrow.byte[b] = 0;
            wide.byte[b] = 0;
        }
        if ((takes_b && b_narrow) || (last && a_narrow)) {
            narrow = read_narrow<C>(scratch, takes_b && b_narrow ? b_from : a_at);
        }
        if ((takes_b && !b_narrow) || (last && !a_narrow)) {
            wide = read_wide<C>(scratch, takes_b && !b_narrow ? b_from : a_at);
        }

        if (takes_b) {
            Element value[C::VECTOR];
#pragma HLS ARRAY_PARTITION variable=value complete
            take_chunk<C>(b_narrow ? narrow : wide, chunk, ins.b_storage, ins.b_signed, 0, value);
            for (int lane = 0; lane < C::VECTOR; ++lane) {
#pragma HLS UNROLL
                kept[lane] = value[lane];
            }
        }
        if (b_rows_stream && opens_word != 0) {
            const StreamWord<C> word = stream.read();
            for (int p = 0; p < Elementwise<C>::CHUNK_WORDS; ++p) {
#pragma HLS UNROLL
                if (phase == unsigned(p)) {
                    for (int e = 0; e < WORD_ELEMENTS; ++e) {
#pragma HLS UNROLL
                        const ap_uint<16> raw = ap_uint<16>(word.byte[2 * e]) | (ap_uint<16>(word.byte[2 * e + 1]) << 8);
                        const ap_int<16> negative = raw;
                        kept[p * WORD_ELEMENTS + e] = ins.b_signed ? Element(negative) : Element(raw);
                    }
                }
            }
        }

        if (last) {
            Element a[C::VECTOR];
#pragma HLS ARRAY_PARTITION variable=a complete
            Element y[C::VECTOR];
#pragma HLS ARRAY_PARTITION variable=y complete
            take_chunk<C>(a_narrow ? narrow : wide, chunk, ins.a_storage, ins.a_signed, 0, a);
            const Product ties = tie_places<PRODUCT_BITS>(ins.shift_a, ins.half_even);
            for (int lane = 0; lane < C::VECTOR; ++lane) {
#pragma HLS UNROLL
                Multiplier b = 0;
                if (b_row) {
                    for (int p = 0; p < BANK_CHUNKS; ++p) {
#pragma HLS UNROLL
                        if (chunk % BANK_CHUNKS == unsigned(p)) {
                            b = parameter[chunk / BANK_CHUNKS][p * C::VECTOR + lane];
                        }
                    }
                } else {
                    for (int p = 0; p < WORD_CHUNKS; ++p) {
#pragma HLS UNROLL
                        if (b_scratch ? p == 0 : chunk % WORD_CHUNKS == unsigned(p)) {
                            b = kept[p * C::VECTOR + lane];
                        }
                    }
                }
                // Two products for three operations: a by b or by its factor; then b, or the product, by the other factor.
                const Multiplier factor = adds ? Multiplier(ins.multiplier_a) : b;
                const OperandProduct first = a[lane] * factor;
                const Accumulator second = multiplies ? Accumulator(first) : Accumulator(b);
                Product scaled = 0;
                if (!multiplies) {
                    scaled = round_ties<PRODUCT_BITS>(Product(first), ins.shift_a, ties);
                }
                Product added = Accumulator(ins.offset);
                if (!requantizes) {
                    added = requantize(second, Multiplier(ins.multiplier_b), ins.shift_b);
                }
                const Product sum = scaled + added;
                y[lane] = saturate(sum, ins.y_bits, ins.y_signed);
            }
            write_chunk<C>(scratch, y_line, chunk, ins.y_storage, 0, y);
        }

        phase = last ? 0u : phase + 1;
        if (last) {
            const bool whole = chunk_place.last != 0;
            opens_word = whole || chunk % WORD_CHUNKS == unsigned(WORD_CHUNKS - 1) ? 1 : 0;
            chunk = whole ? 0u : chunk + 1;
            if (whole) {
                const unsigned next_a = a_line + a_stride;
                const unsigned next_b = b_line + b_stride;
                a_line = a_place.last != 0 ? unsigned(ins.a) : next_a;
                b_line = b_place.last != 0 ? unsigned(ins.b) : next_b;
                y_line += y_stride;
                turn(a_place);
                turn(b_place);
            }
            turn(chunk_place);
        }
        turn(phase_place);
    }
}

}  // namespace edgeflow

#endif
