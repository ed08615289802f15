// Embedding gather: y[t] = sat(rq(table[id[t]], multiplier[id[t]], shift)).
//
// Ids are 32-bit and clamped to the last row, so nothing outside the table is ever read. They are taken in blocks of
// C::EMBEDDING_IDS, whose multipliers are fetched first. Weight image: the table's rows of int8, each starting at a line; an int32
// multiplier a row.
#ifndef EDGEFLOW_EMBEDDING_HPP
#define EDGEFLOW_EMBEDDING_HPP

#include "edgeflow/memory.hpp"
#include "edgeflow/requantize.hpp"

namespace edgeflow {

template <class C>
void embedding(const EmbeddingInstruction& ins, const typename Memory<C>::Word* weights, typename Memory<C>::Word* memory) {
#pragma HLS INLINE off
    typedef typename Memory<C>::Word Word;

    ap_int<32> ids[C::EMBEDDING_IDS];
#pragma HLS ARRAY_PARTITION variable=ids cyclic factor=Memory<C>::INTEGERS
    Multiplier multiplier[C::EMBEDDING_IDS];
    Element row[C::MAX_CHANNELS];
#pragma HLS ARRAY_PARTITION variable=row cyclic factor=Memory<C>::BANKS
    Element y[C::MAX_CHANNELS];
#pragma HLS ARRAY_PARTITION variable=y cyclic factor=Memory<C>::BANKS

    const unsigned row_stride = row_lines(ins.columns, 1);
    const unsigned y_lines = row_lines(ins.columns, ins.y_bytes);
    unsigned y_line = ins.y;

embedding_blocks:
    for (unsigned first = 0; first < ins.tokens; first += C::EMBEDDING_IDS) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=(C::MAX_TOKENS+C::EMBEDDING_IDS-1)/C::EMBEDDING_IDS
        const unsigned left = ins.tokens - first;
        const unsigned count = left < unsigned(C::EMBEDDING_IDS) ? left : unsigned(C::EMBEDDING_IDS);
        load_int32<C>(memory, ins.ids, first, count, ids);
    embedding_multipliers:
        for (unsigned t = 0; t < count; ++t) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::EMBEDDING_IDS
#pragma HLS PIPELINE II=1
            const unsigned id = ap_uint<32>(ids[t]);
            const unsigned known = id < ins.vocabulary ? id : ins.vocabulary - 1;
            const Word word = weights[ins.multipliers * Memory<C>::LINE_WORDS + known / Memory<C>::INTEGERS];
            const int lane = known % Memory<C>::INTEGERS;
            ids[t] = known;
            multiplier[t] = ap_uint<32>(word.range(32 * lane + 31, 32 * lane));
        }
    embedding_tokens:
        for (unsigned t = 0; t < count; ++t) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::EMBEDDING_IDS
            const unsigned known = ap_uint<32>(ids[t]);
            load_row<C>(weights, ins.table + known * row_stride, ins.columns, 1, true, row);
        embedding_scale:
            for (unsigned i = 0; i < ins.columns; i += C::VECTOR) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_CHANNELS/C::VECTOR
#pragma HLS PIPELINE II=1
                for (int lane = 0; lane < C::VECTOR; ++lane) {
#pragma HLS UNROLL
                    const unsigned c = i + lane;
                    if (c < ins.columns) {
                        const Product value = requantize(row[c], multiplier[t], ins.shift);
                        y[c] = saturate(value, ins.y_bits, ins.y_signed);
                    }
                }
            }
            store_row<C>(memory, y_line, ins.columns, ins.y_bytes, y);
            y_line += y_lines;
        }
    }
}

}  // namespace edgeflow

#endif
