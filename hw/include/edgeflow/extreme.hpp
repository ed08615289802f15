// The largest or smallest of every column over the rows, 0 where no row counts.
//
// Columns are taken C::VECTOR at a time through all rows, so that what is best so far is a register. Masked rows are read all the same,
// so the time does not depend on the mask.
#ifndef EDGEFLOW_EXTREME_HPP
#define EDGEFLOW_EXTREME_HPP

#include "edgeflow/chunk.hpp"
#include "edgeflow/rounds.hpp"
#include "edgeflow/row_mask.hpp"

namespace edgeflow {

template <class C, class S, class W>
void extreme(const ExtremeInstruction& ins, W& stream, S& scratch) {
#pragma HLS INLINE off
    ap_uint<LINE_BYTES> mask[C::ROW_MASK_LINES];
#pragma HLS BIND_STORAGE variable=mask type=ram_2p impl=lutram
    if (ins.has_mask != 0) {
        load_row_mask<C>(stream, scratch, ins.mask, ins.mask_lines, ins.rows, ins.mask_constant != 0, mask);
    }

    Element best[C::VECTOR];
#pragma HLS ARRAY_PARTITION variable=best complete
    for (int lane = 0; lane < C::VECTOR; ++lane) {
#pragma HLS UNROLL
        best[lane] = 0;
    }
    bool some = false;  // whether a row has counted
    const bool narrow = lies_narrow<C>(ins.x);
    Round<WORD_BITS> place = round_of(ap_uint<WORD_BITS>(ins.rows));
    unsigned row = 0;
    unsigned chunk = 0;
    unsigned row_start = ins.x;
    EDGEFLOW_ENTER("extreme");
extreme:
    for (unsigned n = 0; n < ins.steps; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_TOKENS*C::MAX_CHANNELS/C::VECTOR
#pragma HLS PIPELINE II=1
#pragma HLS DEPENDENCE variable=scratch.narrow inter false
#pragma HLS DEPENDENCE variable=scratch.wide inter false
        // Inputs and outputs are different tensors.
        EDGEFLOW_TRIP("extreme");
        const bool last = place.last != 0;
        const bool counts = ins.has_mask == 0 || row_counts<C>(mask, row);
        Element x[C::VECTOR];
#pragma HLS ARRAY_PARTITION variable=x complete
        Element y[C::VECTOR];
#pragma HLS ARRAY_PARTITION variable=y complete
        const Line line = read_line<C>(scratch, row_start + chunk_line<C>(chunk, ins.x_bytes), narrow);
        take_chunk<C>(line, chunk, ins.x_bytes, ins.x_signed, 0, x);
        for (int lane = 0; lane < C::VECTOR; ++lane) {
#pragma HLS UNROLL
            const bool beyond = ins.largest != 0 ? x[lane] > best[lane] : x[lane] < best[lane];
            y[lane] = counts && (!some || beyond) ? x[lane] : best[lane];
            best[lane] = last ? Element(0) : y[lane];
        }
        some = !last && (some || counts);
        if (last) {
            write_chunk<C>(scratch, ins.y, chunk, ins.y_bytes, 0, y);
            row = 0;
            row_start = ins.x;
            ++chunk;
        } else {
            ++row;
            row_start += ins.x_stride;
        }
        turn(place);
    }
}

}  // namespace edgeflow

#endif
