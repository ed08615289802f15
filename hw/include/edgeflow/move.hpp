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
#include "edgeflow/rounds.hpp"
#include "edgeflow/runs.hpp"

namespace edgeflow {

typedef Round<MOVE_COUNT_BITS> MoveRound;

// Bytes from the present run's start to the next one's.
inline unsigned run_step(const MoveRound (&round)[4], const unsigned (&step)[4]) {
#pragma HLS INLINE
    const unsigned slow = round[1].last != 0 ? step[0] : step[1];
    const unsigned fast = round[3].last != 0 ? step[2] : step[3];
    return round[3].last != 0 && round[2].last != 0 ? slow : fast;
}

inline void next_run(MoveRound (&round)[4]) {
#pragma HLS INLINE
    bool carry = true;
    for (int k = 3; k >= 0; --k) {
#pragma HLS UNROLL
        const bool carries = carry && round[k].last != 0;
        if (carry) {
            turn(round[k]);
        }
        carry = carries;
    }
}

template <class C, class S, class W>
void move_constant(const MoveInstruction& ins, W& stream, S& scratch) {
#pragma HLS INLINE off
    const RunBytes columns = ins.columns;
    const unsigned start = ins.y * LINE_BYTES + ins.column;
    Runs target;
    target.present = first_piece(start, columns);
    target.next = first_piece(start + ins.y_stride, columns);
    target.after = start + 2 * ins.y_stride;
    EDGEFLOW_ENTER("move constant");
move_constant:
    for (unsigned n = 0; n < ins.steps; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=Memory<C>::LINES
#pragma HLS PIPELINE II=Memory<C>::LINE_STREAM_WORDS
        EDGEFLOW_TRIP("move constant");
        const Line line = pop_line<C>(stream);
        write_line<C>(scratch, target.present.line, target.present.first, target.present.count, 3, line);
        if (take_piece(target, LINE_BYTES, columns)) {
            target.after += ins.y_stride;
        }
    }
}

template <class C, class S>
void move_rows(const MoveInstruction& ins, S& scratch) {
#pragma HLS INLINE off
    MoveRound round[4] = {round_of(ap_uint<MOVE_COUNT_BITS>(ins.n0)), round_of(ap_uint<MOVE_COUNT_BITS>(ins.n1)), round_of(ap_uint<MOVE_COUNT_BITS>(ins.n2)), round_of(ap_uint<MOVE_COUNT_BITS>(ins.n3))};
#pragma HLS ARRAY_PARTITION variable=round complete
    const unsigned step[4] = {ins.d0, ins.d1, ins.d2, ins.d3};
#pragma HLS ARRAY_PARTITION variable=step complete
    const RunBytes run = ins.run;
    const RunBytes columns = ins.columns;
    const bool narrow = lies_narrow<C>(ins.source / LINE_BYTES);

    const unsigned second_run = ins.source + run_step(round, step);
    next_run(round);
    Runs source;
    source.present = first_piece(ins.source, run);
    source.next = first_piece(second_run, run);
    source.after = second_run + run_step(round, step);
    next_run(round);
    unsigned further = run_step(round, step);  // from there to the next one's start
    next_run(round);
    const unsigned start = ins.y * LINE_BYTES + ins.column;
    Runs target;
    target.present = first_piece(start, columns);
    target.next = first_piece(start + ins.y_stride, columns);
    target.after = start + 2 * ins.y_stride;

    EDGEFLOW_ENTER("move");
move:
    for (unsigned n = 0; n < ins.steps; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=Memory<C>::LINES*LINE_BYTES
#pragma HLS PIPELINE II=1
#pragma HLS DEPENDENCE variable=scratch.narrow inter false
#pragma HLS DEPENDENCE variable=scratch.wide inter false
        EDGEFLOW_TRIP("move");
        const LinePiece from = source.present;
        const LinePiece to = target.present;
        Line line = read_line<C>(scratch, from.line, narrow);
#pragma HLS ARRAY_PARTITION variable=line.byte complete
        rotate(line.byte, unsigned(from.first) - unsigned(to.first));
        write_line<C>(scratch, to.line, to.first, from.count < to.count ? from.count : to.count, 3, line);
        if (take_piece(source, to.count, run)) {
            source.after += further;
            further = run_step(round, step);
            next_run(round);
        }
        if (take_piece(target, from.count, columns)) {
            target.after += ins.y_stride;
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
