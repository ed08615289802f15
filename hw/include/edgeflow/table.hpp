// Table lookup on rows, C::VECTOR elements a cycle: y = entries[x - minimum], x of up to 10 bits.
//
// Weight stream: the entries, 2 bytes each, from the smallest x upwards, padded to whole lines. Two lanes share a memory of two ports.
#ifndef EDGEFLOW_TABLE_HPP
#define EDGEFLOW_TABLE_HPP

#include "edgeflow/chunk.hpp"
#include "edgeflow/rounds.hpp"

namespace edgeflow {

template <class C, class S, class W>
void table(const TableInstruction& ins, W& stream, S& scratch) {
#pragma HLS INLINE off
    const int LANES = C::VECTOR;
    const int COPIES = (LANES + 1) / 2;
    const unsigned PIECES = Memory<C>::STREAM_BYTES / 4;  // pairs of entries in a stream word

    Element entries[COPIES][C::TABLE_ENTRIES];
#pragma HLS ARRAY_PARTITION variable=entries complete dim=1
#pragma HLS BIND_STORAGE variable=entries type=ram_t2p impl=bram

    StreamWord<C> word;
#pragma HLS ARRAY_PARTITION variable=word.byte complete
    for (int b = 0; b < Memory<C>::STREAM_BYTES; ++b) {
#pragma HLS UNROLL
        word.byte[b] = 0;
    }
    Round<COUNT_BITS> piece = round_of(ap_uint<COUNT_BITS>(PIECES));
    ap_uint<1> fresh = 1;  // whether the pair is the first of its word
    EDGEFLOW_ENTER("table entries");
table_entries:
    for (unsigned pair = 0; pair < ins.pairs; ++pair) {
#pragma HLS LOOP_TRIPCOUNT min=16 max=C::TABLE_ENTRIES/2
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("table entries");
        if (fresh != 0) {
            word = stream.read();
        }
        for (int half = 0; half < 2; ++half) {
#pragma HLS UNROLL
            const ap_uint<16> raw = ap_uint<16>(word.byte[2 * half]) | (ap_uint<16>(word.byte[2 * half + 1]) << 8);
            const ap_int<16> negative = raw;
            for (int copy = 0; copy < COPIES; ++copy) {
#pragma HLS UNROLL
                entries[copy][2 * pair + half] = ins.y_signed ? Element(negative) : Element(raw);
            }
        }
        for (int b = 0; b + 4 < Memory<C>::STREAM_BYTES; ++b) {
#pragma HLS UNROLL
            word.byte[b] = word.byte[b + 4];
        }
        fresh = piece.last;
        turn(piece);
    }

    const unsigned x_lines = row_lines(ins.channels, ins.x_bytes);
    const unsigned y_lines = row_lines(ins.channels, ins.y_bytes);
    const Element minimum = ins.x_minimum;
    const bool narrow = lies_narrow<C>(ins.x);
    Round<COUNT_BITS> place = round_of(ap_uint<COUNT_BITS>(ins.chunks));
    unsigned chunk = 0;
    unsigned x_line = ins.x;
    unsigned y_line = ins.y;
    EDGEFLOW_ENTER("table");
table:
    for (unsigned trip = 0; trip < ins.trips; ++trip) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_TOKENS*(C::MAX_CHANNELS/C::VECTOR)
#pragma HLS PIPELINE II=1
#pragma HLS DEPENDENCE variable=scratch.narrow inter false
#pragma HLS DEPENDENCE variable=scratch.wide inter false
        // Inputs and outputs are different tensors.
        EDGEFLOW_TRIP("table");
        const bool last = place.last != 0;
        Element x[C::VECTOR];
#pragma HLS ARRAY_PARTITION variable=x complete
        Element y[C::VECTOR];
#pragma HLS ARRAY_PARTITION variable=y complete
        const Line line = read_line<C>(scratch, x_line + chunk_line<C>(chunk, ins.x_bytes), narrow);
        take_chunk<C>(line, chunk, ins.x_bytes, ins.x_signed, 0, x);
        for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
            // Lanes past the end of the row read whatever lies there: the index keeps them within the table.
            const LookupIndex index = x[lane] - minimum;
            y[lane] = entries[lane / 2][index];
        }
        write_chunk<C>(scratch, y_line, chunk, ins.y_bytes, 0, y);
        chunk = last ? 0u : chunk + 1;
        turn(place);
        if (last) {
            x_line += x_lines;
            y_line += y_lines;
        }
    }
}

}  // namespace edgeflow

#endif
