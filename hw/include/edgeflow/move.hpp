// Strided copy, to which concatenation, slicing, reshaping, transposition and patch extraction lower.
//
// The destination is written in order: `rows` rows of `columns` units, row r from byte y * 64 + column + r * y_stride on. The source
// address starts at byte source * 64 + offset and follows five nested counters n0 .. n4 (n4 fastest); d0 .. d4 are the bytes that it
// advances when counter 0 .. 4 steps and the faster ones restart. A unit is an element of 1, 2 or 4 bytes, or a whole word (then `words`
// counts all units, else it is 0), one a cycle. A row that starts inside a word keeps what precedes it there; what follows a row's end
// in its last word is undefined afterwards. Source and destination must not overlap.
#ifndef EDGEFLOW_MOVE_HPP
#define EDGEFLOW_MOVE_HPP

#include "edgeflow/memory.hpp"

namespace edgeflow {

// The source address of the next unit.
inline unsigned advance(unsigned address, const unsigned count[5], const unsigned step[5], unsigned index[5]) {
#pragma HLS INLINE
    bool carry = true;
    for (int k = 4; k >= 0; --k) {
#pragma HLS UNROLL
        if (carry) {
            if (index[k] + 1 < count[k]) {
                ++index[k];
                address += step[k];
                carry = false;
            } else {
                index[k] = 0;
            }
        }
    }
    return address;
}

template <class C>
void move(const MoveInstruction& ins, const typename Memory<C>::Word* weights, typename Memory<C>::Word* memory) {
#pragma HLS INLINE off
    typedef typename Memory<C>::Word Word;
    const unsigned WORD_BYTES = Memory<C>::WORD_BYTES;

    const unsigned count[5] = {ins.n0, ins.n1, ins.n2, ins.n3, ins.n4};
#pragma HLS ARRAY_PARTITION variable=count complete
    const unsigned step[5] = {ins.d0, ins.d1, ins.d2, ins.d3, ins.d4};
#pragma HLS ARRAY_PARTITION variable=step complete
    unsigned index[5] = {0, 0, 0, 0, 0};
#pragma HLS ARRAY_PARTITION variable=index complete
    unsigned address = ins.source * 64 + ins.offset;
    unsigned row = ins.y * 64 + ins.column;

    if (ins.words != 0) {
        unsigned position = row;
        unsigned c = 0;
    move_words:
        for (unsigned n = 0; n < ins.words; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_TOKENS*C::MAX_CHANNELS*8/C::AXI_BITS
#pragma HLS PIPELINE II=1
#pragma HLS DEPENDENCE variable=memory inter false
            const unsigned from = address / WORD_BYTES;
            memory[position / WORD_BYTES] = read_word<C>(ins.source_constant, weights, memory, from);
            address = advance(address, count, step, index);
            ++c;
            if (c == ins.columns) {
                c = 0;
                row += ins.y_stride;
                position = row;
            } else {
                position += WORD_BYTES;
            }
        }
    } else {
    move_rows:
        for (unsigned r = 0; r < ins.rows; ++r) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_TOKENS
            unsigned position = row;
            Word out = 0;
            if (position % WORD_BYTES != 0) {
                out = memory[position / WORD_BYTES];
            }
        move_elements:
            for (unsigned c = 0; c < ins.columns; ++c) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_CHANNELS
#pragma HLS PIPELINE II=1
#pragma HLS DEPENDENCE variable=memory inter false
                const unsigned from = address / WORD_BYTES;
                const Word word = read_word<C>(ins.source_constant, weights, memory, from);
                const int low = 8 * (address % WORD_BYTES);
                const int target = 8 * (position % WORD_BYTES);
                if (ins.bytes == 1) {
                    out.range(target + 7, target) = ap_uint<8>(word.range(low + 7, low));
                } else if (ins.bytes == 2) {
                    out.range(target + 15, target) = ap_uint<16>(word.range(low + 15, low));
                } else {
                    out.range(target + 31, target) = ap_uint<32>(word.range(low + 31, low));
                }
                const unsigned next = position + ins.bytes;
                if (next % WORD_BYTES == 0 || c + 1 == ins.columns) {
                    memory[position / WORD_BYTES] = out;
                    out = 0;
                }
                position = next;
                address = advance(address, count, step, index);
            }
            row += ins.y_stride;
        }
    }
}

}  // namespace edgeflow

#endif
