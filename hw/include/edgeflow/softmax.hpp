// Softmax of rows, C::VECTOR elements a cycle (hw/ops/softmax.py is the definition).
//
// Three stages work on three rows at once: the maximum of row r; the weights 2^(P-t) of row r - a and their sum; the output of row
// r - a - b, each weight times one reciprocal. A trip does one chunk of each. The lags a and b (maximum_lag and total_lag, in rows) are
// those that give a maximum SOFTMAX_MAXIMUM_LAG trips and a reciprocal SOFTMAX_TOTAL_LAG trips to come out of the pipeline.
#ifndef EDGEFLOW_SOFTMAX_HPP
#define EDGEFLOW_SOFTMAX_HPP

#include "edgeflow/long_chunk.hpp"
#include "edgeflow/interpolate.hpp"
#include "edgeflow/rounds.hpp"

namespace edgeflow {

// What the output of a row is made of: y = (weight * scale) >> shift.
struct RowScale {
    Reciprocal scale;
    Shift shift;
};

// Bits that a number takes.
inline Shift bit_length(const WeightSum& value) {
#pragma HLS INLINE
    Shift length = 0;
    for (int bit = 0; bit < WEIGHT_SUM_BITS; ++bit) {
#pragma HLS UNROLL
        if (((value >> bit) & 1u) != 0) {
            length = bit + 1;
        }
    }
    return length;
}

// numerator / total as 26 bits and a shift. The sum is brought to 28 bits; a stage of the division is one quotient bit. A numerator of
// 24 bits, three places up, is below every such sum, so no bit of the quotient lies above the 27 that are made; the last one rounds.
inline RowScale row_scale(const WeightSum& total, const SoftmaxNumerator& numerator, unsigned output_shift) {
#pragma HLS INLINE
    const Shift length = bit_length(total);
    SoftmaxDivisor divisor = 0;
    if (length > SOFTMAX_DIVISOR_BITS) {
        const Shift down = length - SOFTMAX_DIVISOR_BITS;
        divisor = total >> down;
    } else {
        const Shift up = SOFTMAX_DIVISOR_BITS - length;
        divisor = SoftmaxDivisor(total) << up;
    }
    ap_uint<SOFTMAX_DIVISOR_BITS + 1> remainder = ap_uint<SOFTMAX_DIVISOR_BITS + 1>(numerator) << (SOFTMAX_DIVISOR_BITS - SOFTMAX_NUMERATOR_BITS - 1);
    ap_uint<RECIPROCAL_BITS + 2> quotient = 0;
    for (int stage = 0; stage < RECIPROCAL_BITS + 1; ++stage) {
#pragma HLS UNROLL
        remainder = remainder << 1;
        quotient = quotient << 1;
        if (remainder >= divisor) {
            remainder = remainder - divisor;
            quotient = quotient | ap_uint<RECIPROCAL_BITS + 2>(1);
        }
    }
    RowScale result;
    result.scale = total == 0 ? Reciprocal(0) : Reciprocal((quotient + 1) >> 1);
    result.shift = output_shift + length;
    return result;
}

// A place in a ring that the next trip uses.
inline unsigned next_place(unsigned place, unsigned size) {
#pragma HLS INLINE
    return place + 1 == size ? 0u : place + 1;
}

template <class C, class S, class W>
void softmax(const SoftmaxInstruction& ins, W& stream, S& scratch) {
#pragma HLS INLINE off
    const int LANES = C::VECTOR;
    const int NARROWEST = LongChunk<LANES>::COMMON;  // lanes at work where results take four bytes
    const unsigned X_CHUNKS = C::MAX_CHANNELS / NARROWEST + C::SOFTMAX_MAXIMUM_LAG;
    const unsigned WEIGHT_CHUNKS = C::MAX_CHANNELS / NARROWEST + C::SOFTMAX_TOTAL_LAG;
    const unsigned MAXIMA = C::SOFTMAX_MAXIMUM_LAG + 1;
    const unsigned TOTALS = C::SOFTMAX_TOTAL_LAG + 1;

    Knot start[C::VECTOR][C::SOFTMAX_SEGMENTS];
#pragma HLS ARRAY_PARTITION variable=start complete dim=1
#pragma HLS ARRAY_PARTITION variable=start cyclic factor=Memory<C>::STREAM_BYTES/4 dim=2
    Knot drop[C::VECTOR][C::SOFTMAX_SEGMENTS];
#pragma HLS ARRAY_PARTITION variable=drop complete dim=1
#pragma HLS ARRAY_PARTITION variable=drop cyclic factor=Memory<C>::STREAM_BYTES/4 dim=2
    // What a stage leaves for the next one. A slot is read at least a lag after it was written, and written again only after that.
    Element x_ring[X_CHUNKS][C::VECTOR];
#pragma HLS ARRAY_PARTITION variable=x_ring complete dim=2
#pragma HLS DEPENDENCE variable=x_ring inter false
    LongWeight weight_ring[WEIGHT_CHUNKS][C::VECTOR];
#pragma HLS ARRAY_PARTITION variable=weight_ring complete dim=2
#pragma HLS DEPENDENCE variable=weight_ring inter false
    Element maximum_ring[MAXIMA];
#pragma HLS BIND_STORAGE variable=maximum_ring type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=maximum_ring inter false
    RowScale scale_ring[TOTALS];
#pragma HLS BIND_STORAGE variable=scale_ring type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=scale_ring inter false

    const unsigned lanes = ins.y_bytes == WORDS ? unsigned(NARROWEST) : unsigned(LANES);
    const unsigned x_lines = long_row_lines(ins.channels, ins.x_bytes);
    const unsigned y_lines = long_row_lines(ins.channels, ins.y_bytes);
    const LongMultiplier multiplier = ins.multiplier;
    const Place place_mask = (1u << ins.interpolation_bits) - 1u;
    const unsigned segment_mask = (1u << ins.table_bits) - 1u;
    const unsigned fraction_bits = ins.table_bits + ins.interpolation_bits;

    load_segments<C, C::VECTOR, C::SOFTMAX_SEGMENTS>(stream, (1u << ins.table_bits) + 1u, start, drop);

    const bool narrow = lies_narrow<C>(ins.x);
    Round<COUNT_BITS> chunk = round_of(ap_uint<COUNT_BITS>(chunks_of(ins.channels, lanes)));
    ap_uint<1> first = 1;  // chunk of its row
    Remaining<WORD_BITS> rows_left = remaining_of(ap_uint<WORD_BITS>(ins.rows));  // to find the maximum of
    unsigned step = 0;     // row of the maximum stage; it runs on while the other stages finish
    unsigned element = 0;  // first element of the chunk
    unsigned x_line = ins.x;
    unsigned y_line = ins.y;
    unsigned x_write = 0;
    unsigned x_read = 0;
    unsigned weight_write = 0;
    unsigned weight_read = 0;
    unsigned maximum_write = 0;
    unsigned maximum_read = 0;
    unsigned scale_write = 0;
    unsigned scale_read = 0;
    Element maximum = 0;
    WeightSum total = 0;
    EDGEFLOW_ENTER("softmax");
softmax:
    for (unsigned trip = 0; trip < ins.trips; ++trip) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_TOKENS*(C::MAX_CHANNELS/C::VECTOR)
#pragma HLS PIPELINE II=1
#pragma HLS DEPENDENCE variable=scratch.narrow inter false
#pragma HLS DEPENDENCE variable=scratch.wide inter false
        // Inputs and outputs are different tensors.
        EDGEFLOW_TRIP("softmax");
        const bool last = chunk.last != 0;
        const bool finding = rows_left.some != 0;
        const bool weighing = step >= ins.maximum_lag && step < ins.rows + ins.maximum_lag;
        const bool dividing = step >= ins.maximum_lag + ins.total_lag;

        if (dividing) {
            const RowScale row = scale_ring[scale_read];
            LongElement y[C::VECTOR];
#pragma HLS ARRAY_PARTITION variable=y complete
            for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
                const ap_int<LONG_WEIGHT_BITS + 1> weight = weight_ring[weight_read][lane];
                const LongMultiplier scale = row.scale;
                const Product product = weight * scale;
                y[lane] = saturate_long(round_shift(product, row.shift), ins.y_bits, ins.y_signed);
            }
            write_elements<C, C::VECTOR>(scratch, y_line, element, ins.y_bytes, y);
            weight_read = next_place(weight_read, WEIGHT_CHUNKS);
            if (last) {
                scale_read = next_place(scale_read, TOTALS);
                y_line += y_lines;
            }
        }

        if (weighing) {
            const Element highest = maximum_ring[maximum_read];
            WeightSum sum = 0;
            for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
                const Magnitude distance = highest - x_ring[x_read][lane];
                const Product product = distance * multiplier;
                const Product t = round_shift(product, ins.shift);
                const Product whole = t >> fraction_bits;
                const unsigned segment = unsigned(Fraction(t) >> ins.interpolation_bits) & segment_mask;
                const Place place = Place(t) & place_mask;
                const Product limit = ins.probability_bits;
                LongWeight weight = 0;
                if (unsigned(lane) < lanes && element + lane < ins.channels && whole <= limit) {
                    const Product value = interpolate(start[lane][segment], drop[lane][segment], place, ins.interpolation_bits);
                    weight = round_shift(value, Shift(whole) + ins.interpolation_bits);
                }
                weight_ring[weight_write][lane] = weight;
                sum += weight;
            }
            total = first != 0 ? sum : WeightSum(total + sum);
            x_read = next_place(x_read, X_CHUNKS);
            weight_write = next_place(weight_write, WEIGHT_CHUNKS);
            if (last) {
                scale_ring[scale_write] = row_scale(total, ins.numerator, ins.output_shift);
                scale_write = next_place(scale_write, TOTALS);
                maximum_read = next_place(maximum_read, MAXIMA);
            }
        }

        if (finding) {
            Element x[C::VECTOR];
#pragma HLS ARRAY_PARTITION variable=x complete
            read_elements<C, C::VECTOR>(scratch, x_line, narrow, element, ins.x_bytes, ins.x_signed, x);
            Element best[C::VECTOR];  // of pairs, of pairs of pairs, ...
#pragma HLS ARRAY_PARTITION variable=best complete
            for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
                x_ring[x_write][lane] = x[lane];
                best[lane] = unsigned(lane) < lanes && element + lane < ins.channels ? x[lane] : x[0];
            }
            for (int apart = 1; apart < LANES; apart *= 2) {
#pragma HLS UNROLL
                for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
                    if (lane % (2 * apart) == 0 && best[(lane + apart) % LANES] > best[lane]) {
                        best[lane] = best[(lane + apart) % LANES];
                    }
                }
            }
            const Element highest = best[0];
            if (first != 0 || highest > maximum) {
                maximum = highest;
            }
            x_write = next_place(x_write, X_CHUNKS);
            if (last) {
                maximum_ring[maximum_write] = maximum;
                maximum_write = next_place(maximum_write, MAXIMA);
                x_line += x_lines;
                take_one(rows_left);
            }
        }

        element = last ? 0u : element + lanes;
        first = chunk.last;
        turn(chunk);
        if (last) {
            ++step;
        }
    }
}

}  // namespace edgeflow

#endif
