// A mask of rows: a row of bytes, nonzero where a row counts, held as one bit a row while a unit reads the rows.
#ifndef EDGEFLOW_ROW_MASK_HPP
#define EDGEFLOW_ROW_MASK_HPP

#include "edgeflow/memory.hpp"

namespace edgeflow {

// Reads the mask of `rows` rows from the scratchpad or, a constant, from the weight stream. Returns how many count.
template <class C, class S, class W>
PoolNumber load_row_mask(
    W& stream, const S& scratch, unsigned start, unsigned lines, unsigned rows, bool constant,
    ap_uint<LINE_BYTES> (&mask)[C::ROW_MASK_LINES]) {
#pragma HLS INLINE
    PoolNumber counted = 0;
    unsigned left = rows;
    const bool narrow = lies_narrow<C>(start);
    EDGEFLOW_ENTER("row mask");
row_mask:
    for (unsigned n = 0; n < lines; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::ROW_MASK_LINES
#pragma HLS PIPELINE II=Memory<C>::LINE_STREAM_WORDS
        EDGEFLOW_TRIP("row mask");
        Line line;
#pragma HLS ARRAY_PARTITION variable=line.byte complete
        if (constant) {
            line = pop_line<C>(stream);
        } else {
            line = read_line<C>(scratch, start + n, narrow);
        }
        ap_uint<LINE_BYTES> bits = 0;
        ap_uint<7> ones = 0;
        for (int b = 0; b < LINE_BYTES; ++b) {
#pragma HLS UNROLL
            const ap_uint<1> counts = unsigned(b) < left && line.byte[b] != 0 ? 1 : 0;
            bits.range(b, b) = counts;
            ones += counts;
        }
        mask[n] = bits;
        counted += ones;
        left -= LINE_BYTES;
    }
    return counted;
}

// Whether a row counts.
template <class C>
bool row_counts(const ap_uint<LINE_BYTES> (&mask)[C::ROW_MASK_LINES], unsigned row) {
#pragma HLS INLINE
    const ap_uint<LINE_BYTES> bits = mask[row >> 6];
    return ap_uint<1>(bits >> (row & 63)) != 0;
}

}  // namespace edgeflow

#endif
