// Mean over rows: with n counted rows, r = (numerator + n / 2) / n (0 for n = 0) and y = sat(round(sum * r / 2^shift)).
//
// Masked rows are read all the same, so the time does not depend on the mask. Columns are taken VECTOR at a time through all rows, so that the
// running sums are registers; the few products at the end share one multiplier.
#ifndef EDGEFLOW_POOL_HPP
#define EDGEFLOW_POOL_HPP

#include "edgeflow/memory.hpp"
#include "edgeflow/requantize.hpp"
#include "edgeflow/rounds.hpp"
#include "edgeflow/row_mask.hpp"

namespace edgeflow {

template <class C, class S, class W>
void pool(const PoolInstruction& ins, W& stream, S& scratch) {
#pragma HLS INLINE off
    Accumulator sum[C::MAX_CHANNELS];
#pragma HLS ARRAY_PARTITION variable=sum cyclic factor=C::VECTOR
    ap_uint<LINE_BYTES> mask[C::ROW_MASK_LINES];
#pragma HLS BIND_STORAGE variable=mask type=ram_2p impl=lutram

    PoolNumber counted = ins.rows;
    if (ins.has_mask != 0) {
        counted = load_row_mask<C>(stream, scratch, ins.mask, ins.mask_lines, ins.rows, ins.mask_constant != 0, mask);
    }

    // Restoring division, a bit a cycle.
    PoolNumber dividend = PoolNumber(ins.numerator) + (counted >> 1);
    PoolNumber quotient = 0;
    ap_uint<POOL_NUMBER_BITS + 1> remainder = 0;
    EDGEFLOW_ENTER("pool divide");
pool_divide:
    for (int bit = 0; bit < POOL_NUMBER_BITS; ++bit) {
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("pool divide");
        const ap_uint<1> top = dividend.range(POOL_NUMBER_BITS - 1, POOL_NUMBER_BITS - 1);
        const ap_uint<POOL_NUMBER_BITS + 1> extended = ap_uint<POOL_NUMBER_BITS + 1>(ap_uint<POOL_NUMBER_BITS + 1>(remainder << 1) | ap_uint<POOL_NUMBER_BITS + 1>(top));
        const bool fits = extended >= counted;
        remainder = fits ? ap_uint<POOL_NUMBER_BITS + 1>(extended - counted) : extended;
        quotient = PoolNumber(PoolNumber(quotient << 1) | PoolNumber(fits ? 1 : 0));
        dividend = dividend << 1;
    }
    Accumulator reciprocal = 0;
    if (counted != 0) {
        reciprocal = quotient;
    }

    Accumulator running[C::VECTOR];
#pragma HLS ARRAY_PARTITION variable=running complete
    for (int lane = 0; lane < C::VECTOR; ++lane) {
#pragma HLS UNROLL
        running[lane] = 0;
    }
    const unsigned last_first = (ins.x_bytes == HALVES ? LINE_BYTES / 2 : LINE_BYTES) - C::VECTOR;
    const bool narrow = lies_narrow<C>(ins.x);
    Round<WORD_BITS> place = round_of(ap_uint<WORD_BITS>(ins.rows));
    unsigned row = 0;
    unsigned chunk = 0;
    unsigned first = 0;  // element of the line that lane 0 takes
    unsigned top_line = ins.x;
    unsigned line_number = ins.x;
    EDGEFLOW_ENTER("pool sum");
pool_sum:
    for (unsigned n = 0; n < ins.steps; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_TOKENS*C::MAX_CHANNELS/C::VECTOR
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("pool sum");
        const Line line = read_line<C>(scratch, line_number, narrow);
        const bool counts = ins.has_mask == 0 || row_counts<C>(mask, row);
        const bool last = place.last != 0;
        for (int lane = 0; lane < C::VECTOR; ++lane) {
#pragma HLS UNROLL
            const Element x = line_element(line, first + lane, ins.x_bytes, ins.x_signed, 0);
            const Accumulator total = running[lane] + (counts ? Accumulator(x) : Accumulator(0));
            running[lane] = last ? Accumulator(0) : total;
            if (last) {
                sum[chunk * C::VECTOR + lane] = total;
            }
        }
        if (last) {
            row = 0;
            ++chunk;
            const bool full = first == last_first;
            const unsigned below = top_line + 1;
            first = full ? 0u : first + C::VECTOR;
            line_number = full ? below : top_line;
            top_line = full ? below : top_line;
        } else {
            ++row;
            line_number += ins.x_stride;
        }
        turn(place);
    }

    unsigned y_line = ins.y;
    const ap_uint<LINE_BYTE_BITS> last_position = LINE_BYTES - ins.y_bytes;
    ap_uint<LINE_BYTE_BITS> position = 0;
    EDGEFLOW_ENTER("pool scale");
pool_scale:
    for (unsigned c = 0; c < ins.columns; ++c) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_CHANNELS
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("pool scale");
        const Product product = sum[c] * reciprocal;
        const ap_uint<16> y = saturate(round_shift(product, ins.shift), ins.y_bits, ins.y_signed);
        Line value;
#pragma HLS ARRAY_PARTITION variable=value.byte complete
        for (int b = 0; b < LINE_BYTES; ++b) {
#pragma HLS UNROLL
            value.byte[b] = ins.y_bytes == HALVES && b % 2 == 1 ? ap_uint<8>(y >> 8) : ap_uint<8>(y);
        }
        write_line<C>(scratch, y_line, position, ins.y_bytes, 3, value);
        if (position == last_position) {
            ++y_line;
        }
        position += ins.y_bytes;  // the place after the last one is the first
    }
}

}  // namespace edgeflow

#endif
