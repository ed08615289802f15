// Table lookup on rows, C::VECTOR elements a cycle: y = entries[x - minimum], x of up to 10 bits.
//
// Weight image: the entries, 1 or 2 bytes each, from the smallest x upwards. Every lane has its own copy of the table.
#ifndef EDGEFLOW_TABLE_HPP
#define EDGEFLOW_TABLE_HPP

#include "edgeflow/memory.hpp"

namespace edgeflow {

template <class C>
void table(const TableInstruction& ins, const typename Memory<C>::Word* weights, typename Memory<C>::Word* memory) {
#pragma HLS INLINE off
    typedef typename Memory<C>::Word Word;

    Element entries[C::VECTOR][C::TABLE_ENTRIES];
#pragma HLS ARRAY_PARTITION variable=entries complete dim=1
    Element x[C::MAX_CHANNELS];
#pragma HLS ARRAY_PARTITION variable=x cyclic factor=Memory<C>::BANKS
    Element y[C::MAX_CHANNELS];
#pragma HLS ARRAY_PARTITION variable=y cyclic factor=Memory<C>::BANKS

    const unsigned x_lines = row_lines(ins.columns, ins.x_bytes);
    const unsigned y_lines = row_lines(ins.columns, ins.y_bytes);
    const unsigned base = ins.table * Memory<C>::LINE_WORDS;
    const unsigned lanes = word_lanes<C>(ins.y_bytes);

    Word word = 0;
    unsigned next = 0;
    unsigned position = 0;
table_entries:
    for (unsigned e = 0; e < ins.entries; ++e) {
#pragma HLS LOOP_TRIPCOUNT min=2 max=C::TABLE_ENTRIES
#pragma HLS PIPELINE II=1
        if (position == 0) {
            word = weights[base + next];
            ++next;
        }
        const Element entry = get_element<C>(word, position, ins.y_bytes, ins.y_signed);
        for (int lane = 0; lane < C::VECTOR; ++lane) {
#pragma HLS UNROLL
            entries[lane][e] = entry;
        }
        position = position + 1 == lanes ? 0 : position + 1;
    }

    unsigned x_line = ins.x;
    unsigned y_line = ins.y;
table_rows:
    for (unsigned r = 0; r < ins.rows; ++r) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_TOKENS
        load_row<C>(memory, x_line, ins.columns, ins.x_bytes, ins.x_signed, x);
    table_lookup:
        for (unsigned i = 0; i < ins.columns; i += C::VECTOR) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_CHANNELS/C::VECTOR
#pragma HLS PIPELINE II=1
            for (int lane = 0; lane < C::VECTOR; ++lane) {
#pragma HLS UNROLL
                const unsigned c = i + lane;
                if (c < ins.columns) {
                    const ap_int<32> minimum = ins.x_minimum;
                    const ap_uint<16> index = x[c] - minimum;
                    y[c] = entries[lane][index];
                }
            }
        }
        store_row<C>(memory, y_line, ins.columns, ins.y_bytes, y);
        x_line += x_lines;
        y_line += y_lines;
    }
}

}  // namespace edgeflow

#endif
