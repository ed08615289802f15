// Strided copy inside the scratchpad, to which concatenation, slicing, reshaping and transposition lower.
//
// Bytes leave the source in runs of `run` bytes, whose starts follow four nested counters n0 .. n3 (n3 fastest; d0 .. d3 are the bytes
// from one run's start to the next when counter 0 .. 3 steps and the faster ones restart). They arrive in rows of `columns` bytes, from
// byte y * 64 + column on, `y_stride` bytes apart. Each cycle moves as many bytes as lie together on both sides: up to the end of the
// run, of the row, of the source's line and of the target's line. `steps` counts those pieces, so a copy between aligned lines takes a
// line a cycle, and every other one as few cycles as its breaks allow.
//
// A constant source is laid out in the weight stream as the lines that it will occupy, and only written.
// Source and target must not overlap.
#ifndef EDGEFLOW_MOVE_HPP
#define EDGEFLOW_MOVE_HPP

#include "edgeflow/memory.hpp"
#include "edgeflow/rotate.hpp"

namespace edgeflow {

// The start of the run after the one that starts at `address`.
inline unsigned next_run(unsigned address, const ap_uint<MOVE_COUNT_BITS> count[4], const unsigned step[4], ap_uint<MOVE_COUNT_BITS> index[4]) {
#pragma HLS INLINE
    bool carry = true;
    for (int k = 3; k >= 0; --k) {
#pragma HLS UNROLL
        if (carry) {
            const ap_uint<MOVE_COUNT_BITS> following = index[k] + 1;
            if (following < count[k]) {
                index[k] = following;
                address += step[k];
                carry = false;
            } else {
                index[k] = 0;
            }
        }
    }
    return address;
}

template <class C, class S, class W>
void move_constant(const MoveInstruction& ins, W& stream, S& scratch) {
#pragma HLS INLINE off
    unsigned row = ins.y * LINE_BYTES + ins.column;
    unsigned target = row;
    unsigned left = ins.columns;
    EDGEFLOW_ENTER("move constant");
move_constant_lines:
    for (unsigned n = 0; n < ins.steps; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=Memory<C>::LINES
#pragma HLS PIPELINE II=Memory<C>::LINE_STREAM_WORDS
        EDGEFLOW_TRIP("move constant");
        const Line line = pop_line<C>(stream);
        const unsigned first = target % LINE_BYTES;
        const unsigned room = LINE_BYTES - first;
        const unsigned count = left < room ? left : room;
        write_line<C>(scratch, target / LINE_BYTES, first, count, 3, line);
        if (count == left) {
            row += ins.y_stride;
            target = row;
            left = ins.columns;
        } else {
            target += count;
            left -= count;
        }
    }
}

template <class C, class S>
void move_rows(const MoveInstruction& ins, S& scratch) {
#pragma HLS INLINE off
    const ap_uint<MOVE_COUNT_BITS> count[4] = {ap_uint<MOVE_COUNT_BITS>(ins.n0), ap_uint<MOVE_COUNT_BITS>(ins.n1), ap_uint<MOVE_COUNT_BITS>(ins.n2), ap_uint<MOVE_COUNT_BITS>(ins.n3)};
#pragma HLS ARRAY_PARTITION variable=count complete
    const unsigned step[4] = {ins.d0, ins.d1, ins.d2, ins.d3};
#pragma HLS ARRAY_PARTITION variable=step complete
    ap_uint<MOVE_COUNT_BITS> index[4] = {0, 0, 0, 0};
#pragma HLS ARRAY_PARTITION variable=index complete

    // The starts of the next run and of the next row are known before they are needed: their adders are off the path that decides how
    // many bytes a cycle moves.
    unsigned source = ins.source;
    unsigned source_next = next_run(source, count, step, index);
    unsigned source_left = ins.run;
    unsigned target = ins.y * LINE_BYTES + ins.column;
    unsigned target_next = target + ins.y_stride;
    unsigned target_left = ins.columns;

    EDGEFLOW_ENTER("move");
move_pieces:
    for (unsigned n = 0; n < ins.steps; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=Memory<C>::LINES*LINE_BYTES
#pragma HLS PIPELINE II=1
#pragma HLS DEPENDENCE variable=scratch.narrow inter false
#pragma HLS DEPENDENCE variable=scratch.wide inter false
        EDGEFLOW_TRIP("move");
        const unsigned from = source % LINE_BYTES;
        const unsigned to = target % LINE_BYTES;
        const unsigned room = LINE_BYTES - (from > to ? from : to);
        const unsigned left = source_left < target_left ? source_left : target_left;
        const unsigned bytes = left < room ? left : room;
        Line line = read_line<C>(scratch, source / LINE_BYTES);
#pragma HLS ARRAY_PARTITION variable=line.byte complete
        rotate(line.byte, from - to);
        write_line<C>(scratch, target / LINE_BYTES, to, bytes, 3, line);
        if (bytes == source_left) {
            source = source_next;
            source_next = next_run(source_next, count, step, index);
            source_left = ins.run;
        } else {
            source += bytes;
            source_left -= bytes;
        }
        if (bytes == target_left) {
            target = target_next;
            target_next += ins.y_stride;
            target_left = ins.columns;
        } else {
            target += bytes;
            target_left -= bytes;
        }
    }
}

template <class C, class S, class W>
void move(const MoveInstruction& ins, W& stream, S& scratch) {
#pragma HLS INLINE off
    if (ins.constant != 0) {
        move_constant<C>(ins, stream, scratch);
    } else {
        move_rows<C>(ins, scratch);
    }
}

}  // namespace edgeflow

#endif
