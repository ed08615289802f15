// Tables with linear interpolation: a value and the drop to the next one for each segment (hw/interpolation.py is the definition).
#ifndef EDGEFLOW_INTERPOLATE_HPP
#define EDGEFLOW_INTERPOLATE_HPP

#include "edgeflow/memory.hpp"
#include "edgeflow/rounds.hpp"
#include "edgeflow/requantize.hpp"

namespace edgeflow {

// Takes `knots` 32-bit integers that fill whole lines from the weight stream, a stream word a cycle, into COPIES memories: segment n
// lies between knots n and n + 1. A word's last segment ends in the next word, so every word is stored one cycle after it came.
template <class C, int COPIES, int SEGMENTS, class W>
void load_segments(
    W& stream, unsigned knots, Knot (&start)[COPIES][SEGMENTS], Knot (&drop)[COPIES][SEGMENTS]) {
#pragma HLS INLINE
    const int LANES = Memory<C>::STREAM_BYTES / 4;
    const unsigned words = ((knots + 15) >> 4) * Memory<C>::LINE_STREAM_WORDS;
    Knot before[LANES];
#pragma HLS ARRAY_PARTITION variable=before complete
    for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
        before[lane] = 0;
    }
    Remaining<WORD_BITS> left = remaining_of(ap_uint<WORD_BITS>(words));
    EDGEFLOW_ENTER("segments");
segments:
    for (unsigned w = 0; w < words + 1; ++w) {
#pragma HLS LOOP_TRIPCOUNT min=2 max=(SEGMENTS+16)/16*Memory<C>::LINE_STREAM_WORDS+1
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("segments");
        Knot now[LANES];
#pragma HLS ARRAY_PARTITION variable=now complete
        for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
            now[lane] = 0;
        }
        if (left.some != 0) {
            take_one(left);
            const StreamWord<C> word = stream.read();
            for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
                const ap_uint<KNOT_BITS> raw = ap_uint<KNOT_BITS>(word.byte[4 * lane]) | (ap_uint<KNOT_BITS>(word.byte[4 * lane + 1]) << 8) |
                                        (ap_uint<KNOT_BITS>(word.byte[4 * lane + 2]) << 16);
                now[lane] = Knot(raw);
            }
        }
        for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
            const unsigned segment = (w - 1) * LANES + lane;
            const Knot next = lane + 1 < LANES ? before[lane + 1 < LANES ? lane + 1 : 0] : now[0];
            if (w != 0 && segment + 1 < knots) {
                for (int copy = 0; copy < COPIES; ++copy) {
#pragma HLS UNROLL
                    start[copy][segment] = before[lane];
                    drop[copy][segment] = before[lane] - next;
                }
            }
        }
        for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
            before[lane] = now[lane];
        }
    }
}

// The value at `place` of a segment, with `bits` more fraction bits than its entries: exact.
inline Interpolated interpolate(const Knot& start, const Knot& drop, const Place& place, unsigned bits) {
#pragma HLS INLINE
    const Interpolated whole = Interpolated(start) << bits;
    const ap_int<PLACE_BITS + 1> weight = place;
    const Interpolated down = drop * weight;
    return whole - down;
}

}  // namespace edgeflow

#endif
