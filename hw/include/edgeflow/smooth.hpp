// Smooth rectifiers on rows of up to 16 bits, C::VECTOR elements a cycle: y = relu(x) - delta(|x|), where delta is a table with linear
// interpolation and 0 beyond it (hw/ops/smooth.py is the definition).
#ifndef EDGEFLOW_SMOOTH_HPP
#define EDGEFLOW_SMOOTH_HPP

#include "edgeflow/long_chunk.hpp"
#include "edgeflow/interpolate.hpp"
#include "edgeflow/rounds.hpp"

namespace edgeflow {

template <class C, class S, class W>
void smooth(const SmoothInstruction& ins, W& stream, S& scratch) {
#pragma HLS INLINE off
    const int LANES = C::VECTOR;
    const int NARROWEST = LongChunk<LANES>::COMMON;  // lanes at work where results take four bytes

    Knot start[C::VECTOR][C::SMOOTH_SEGMENTS];
#pragma HLS ARRAY_PARTITION variable=start complete dim=1
#pragma HLS ARRAY_PARTITION variable=start cyclic factor=Memory<C>::STREAM_BYTES/4 dim=2
    Knot drop[C::VECTOR][C::SMOOTH_SEGMENTS];
#pragma HLS ARRAY_PARTITION variable=drop complete dim=1
#pragma HLS ARRAY_PARTITION variable=drop cyclic factor=Memory<C>::STREAM_BYTES/4 dim=2

    const unsigned lanes = ins.y_bytes == WORDS ? unsigned(NARROWEST) : unsigned(LANES);
    const unsigned x_lines = long_row_lines(ins.channels, ins.x_bytes);
    const unsigned y_lines = long_row_lines(ins.channels, ins.y_bytes);
    const LongMultiplier multiplier = ins.multiplier;
    const LongMultiplier slope = ins.slope;
    const LongElement zero_point = ins.zero_point;
    const Place place_mask = (1u << ins.interpolation_bits) - 1u;

    load_segments<C, C::VECTOR, C::SMOOTH_SEGMENTS>(stream, ins.segments + 1, start, drop);

    const bool narrow = lies_narrow<C>(ins.x);
    Round<COUNT_BITS> place = round_of(ap_uint<COUNT_BITS>(chunks_of(ins.channels, lanes)));
    unsigned element = 0;
    unsigned x_line = ins.x;
    unsigned y_line = ins.y;
    EDGEFLOW_ENTER("smooth");
smooth:
    for (unsigned trip = 0; trip < ins.trips; ++trip) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_TOKENS*(C::MAX_CHANNELS/C::VECTOR)
#pragma HLS PIPELINE II=1
#pragma HLS DEPENDENCE variable=scratch.narrow inter false
#pragma HLS DEPENDENCE variable=scratch.wide inter false
        // Inputs and outputs are different tensors.
        EDGEFLOW_TRIP("smooth");
        const bool last = place.last != 0;
        Element x[C::VECTOR];
#pragma HLS ARRAY_PARTITION variable=x complete
        LongElement y[C::VECTOR];
#pragma HLS ARRAY_PARTITION variable=y complete
        read_elements<C, C::VECTOR>(scratch, x_line, narrow, element, ins.x_bytes, ins.x_signed, x);
        for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
            const Magnitude value = x[lane];
            const Magnitude negated = -value;
            const Magnitude magnitude = value < 0 ? negated : value;
            const Magnitude positive = value < 0 ? Magnitude(0) : value;
            const Product product = magnitude * multiplier;
            const Product t = round_shift(product, ins.shift);
            const Product segment = t >> ins.interpolation_bits;
            const Product end = ins.segments;
            Product delta = 0;
            if (segment < end) {
                const unsigned s = unsigned(Segment(segment));
                const Place place = Place(t) & place_mask;
                delta = interpolate(start[lane][s], drop[lane][s], place, ins.interpolation_bits);
            }
            const Product rectified = positive * slope;
            const Product difference = rectified - delta;
            const Product result = round_shift(difference, ins.output_shift) + zero_point;
            y[lane] = saturate_long(result, ins.y_bits, ins.y_signed);
        }
        write_elements<C, C::VECTOR>(scratch, y_line, element, ins.y_bytes, y);
        element = last ? 0u : element + lanes;
        turn(place);
        if (last) {
            x_line += x_lines;
            y_line += y_lines;
        }
    }
}

}  // namespace edgeflow

#endif
