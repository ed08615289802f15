// The softmax of attention, one key a cycle in all lanes: `track` keeps the largest score of every lane, `weigh` turns scores into
// weights 2^(P - t) and adds them up, `divide` makes the reciprocals of the sums, one lane a cycle.
//
// Scores wait in a stream between the first two, since the largest is known only after the last. Where keys come in blocks, a first
// sweep keeps no scores.
#ifndef EDGEFLOW_NETWORK_WEIGH_HPP
#define EDGEFLOW_NETWORK_WEIGH_HPP

#include "edgeflow/network/multiply.hpp"
#include "edgeflow/network/transpose.hpp"
#include "edgeflow/requantize.hpp"

namespace edgeflow {

struct TrackCommand {
    Count keys;
    Count mask_lines;  // of a mask that is read first; then there are no keys
    Flag has_mask;
    Flag reset;  // of the largest scores
    Flag keep;   // the scores, for `weigh`
};

// Scores of one key, and whether it takes part.
template <class C>
struct KeyScores {
    Score score[C::PO];
    Flag attended;
};

template <class C>
struct Maxima {
    Score score[C::PO];
};

template <class C>
struct TrackState {
    static const int MASK_LINES = C::ATTENTION_KEYS / LINE_BYTES;
    ap_uint<LINE_BYTES> attended[MASK_LINES];
    Maxima<C> maximum;
};

template <class C>
void track(
    hls::stream<TrackCommand>& commands, hls::stream<ScoreRow<C> >& rows, hls::stream<Line>& masks, hls::stream<KeyScores<C> >& scores,
    hls::stream<Maxima<C> >& maxima, TrackState<C>& state) {
    const TrackCommand command = commands.read();
    EDGEFLOW_ENTER("track mask");
track_mask:
    for (Count n = 0; n < command.mask_lines; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=C::ATTENTION_KEYS/LINE_BYTES
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("track mask");
        const Line line = masks.read();
        ap_uint<LINE_BYTES> word = 0;
        for (int b = 0; b < LINE_BYTES; ++b) {
#pragma HLS UNROLL
            const Flag bit = line.byte[b] != 0 ? 1 : 0;
            word = word | (ap_uint<LINE_BYTES>(bit) << b);
        }
        state.attended[n] = word;
    }
    Maxima<C> maximum = state.maximum;
#pragma HLS ARRAY_PARTITION variable=maximum.score complete
    EDGEFLOW_ENTER("track keys");
track_keys:
    for (Count key = 0; key < command.keys; ++key) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=C::ATTENTION_KEYS
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("track keys");
        const ScoreRow<C> row = rows.read();
        const ap_uint<LINE_BYTES> word = state.attended[key / LINE_BYTES];
        const unsigned place = unsigned(key) % LINE_BYTES;
        const bool attended = command.has_mask == 0 || ap_uint<1>(word >> place) != 0;
        const bool first = command.reset != 0 && key == 0;
        KeyScores<C> kept;
#pragma HLS ARRAY_PARTITION variable=kept.score complete
        kept.attended = attended ? 1 : 0;
        for (int o = 0; o < C::PO; ++o) {
#pragma HLS UNROLL
            const Score score = row.score[o];
            const Score before = first ? Score(-(1 << (SCORE_BITS - 1))) : maximum.score[o];
            maximum.score[o] = attended && score > before ? score : before;
            kept.score[o] = score;
        }
        if (command.keep != 0) {
            scores.write(kept);
        }
    }
    state.maximum = maximum;
    if (command.keep != 0) {
        maxima.write(maximum);
    }
}

struct WeighCommand {
    Count keys;
    Count table_words;  // of the exponent table, read first; then there are no keys
    Multiplier multiplier;
    Shift shift;
    ap_uint<5> fraction_bits;
    ap_uint<4> probability_bits;
    Flag reset;  // of the sums
};

template <class C>
struct WeighState {
    Exponent exponent[C::PO][C::ATTENTION_EXPONENTS];
    Accumulator total[C::PO];
};

template <class C>
struct Totals {
    WeightTotal total[C::PO];
};

// 2^(P - t) for a distance from the largest: one table entry and a rounded shift (hw/exponent.py is the definition).
template <class C>
Exponent key_weight(const WeighCommand& command, const Score& maximum, const Score& score, const Exponent* table) {
#pragma HLS INLINE
    const Distance distance = maximum - score;
    const Product t = requantize(Accumulator(distance), command.multiplier, command.shift);
    const Product whole = t >> command.fraction_bits;
    const unsigned fraction = unsigned(Fraction(t)) & ((1u << command.fraction_bits) - 1u);
    const Product limit = command.probability_bits;
    Exponent weight = 0;
    if (whole <= limit) {
        const ExponentShift count = ExponentShift(whole);
        RoundedExponent half = 0;
        if (count != 0) {
            const ExponentShift position = count - 1;
            half = RoundedExponent(1) << position;
        }
        const RoundedExponent sum = RoundedExponent(table[fraction]) + half;
        weight = Exponent(sum >> count);
    }
    return weight;
}

template <class C>
void weigh(
    hls::stream<WeighCommand>& commands, hls::stream<KeyScores<C> >& scores, hls::stream<Maxima<C> >& maxima,
    hls::stream<StreamWord<C> >& table, hls::stream<KeyWeights<C> >& weights, hls::stream<Totals<C> >& totals, WeighState<C>& state) {
#pragma HLS ARRAY_PARTITION variable=state.exponent complete dim=1
#pragma HLS ARRAY_PARTITION variable=state.exponent cyclic factor=Memory<C>::STREAM_BYTES dim=2
#pragma HLS BIND_STORAGE variable=state.exponent type=ram_s2p impl=lutram
#pragma HLS ARRAY_PARTITION variable=state.total complete
    const WeighCommand command = commands.read();
    EDGEFLOW_ENTER("weigh table");
weigh_table:
    for (Count n = 0; n < command.table_words; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=C::ATTENTION_EXPONENTS/Memory<C>::STREAM_BYTES
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("weigh table");
        const StreamWord<C> word = table.read();
        if (unsigned(n) * Memory<C>::STREAM_BYTES < unsigned(C::ATTENTION_EXPONENTS)) {
            for (int e = 0; e < Memory<C>::STREAM_BYTES; ++e) {
#pragma HLS UNROLL
                for (int o = 0; o < C::PO; ++o) {
#pragma HLS UNROLL
                    state.exponent[o][unsigned(n) * Memory<C>::STREAM_BYTES + e] = word.byte[e];
                }
            }
        }
    }
    if (command.keys != 0) {
        const Maxima<C> maximum = maxima.read();
        EDGEFLOW_ENTER("weigh keys");
    weigh_keys:
        for (Count key = 0; key < command.keys; ++key) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::ATTENTION_KEYS
#pragma HLS PIPELINE II=1
            EDGEFLOW_TRIP("weigh keys");
            const KeyScores<C> scored = scores.read();
            KeyWeights<C> weighed;
#pragma HLS ARRAY_PARTITION variable=weighed.weight complete
            for (int o = 0; o < C::PO; ++o) {
#pragma HLS UNROLL
                weighed.weight[o] = 0;
                if (scored.attended != 0) {
                    weighed.weight[o] = key_weight<C>(command, maximum.score[o], scored.score[o], state.exponent[o]);
                }
                const Accumulator before = key == 0 && command.reset != 0 ? Accumulator(0) : state.total[o];
                state.total[o] = before + weighed.weight[o];
            }
            weights.write(weighed);
        }
        Totals<C> sums;
#pragma HLS ARRAY_PARTITION variable=sums.total complete
        for (int o = 0; o < C::PO; ++o) {
#pragma HLS UNROLL
            sums.total[o] = state.total[o];
        }
        totals.write(sums);
    }
}

struct DivideCommand {
    Count numerator;
    Shift shift;
};

// A lane's reciprocal: numerator / sum = factor / 2^(shift - what the command says).
struct LaneReciprocal {
    Multiplier factor;
    Shift shift;
};

template <class C>
void divide(hls::stream<DivideCommand>& commands, hls::stream<Totals<C> >& totals, hls::stream<LaneReciprocal>& reciprocals) {
    const DivideCommand command = commands.read();
    Totals<C> sums = totals.read();
#pragma HLS ARRAY_PARTITION variable=sums.total complete
    const int LARGEST = (1 << (MULTIPLIER_BITS - 1)) - 1;
    EDGEFLOW_ENTER("divide lanes");
divide_lanes:
    for (int lane = 0; lane < C::PO; ++lane) {
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("divide lanes");
        const WeightTotal sum = sums.total[0];
        for (int o = 0; o + 1 < C::PO; ++o) {
#pragma HLS UNROLL
            sums.total[o] = sums.total[o + 1];
        }
        Digits bits = 0;
        for (int b = 0; b < WEIGHT_TOTAL_BITS; ++b) {
#pragma HLS UNROLL
            if ((sum >> b) != 0) {
                bits = b + 1;
            }
        }
        Multiplier factor = 0;
        if (sum != 0) {
            const Digits shift = WEIGHT_TOTAL_BITS - bits;
            const WeightTotal divisor = sum << shift;
            const ReciprocalDividend dividend =
                (ReciprocalDividend(ReciprocalNumerator(command.numerator)) << WEIGHT_TOTAL_BITS) + (divisor >> 1);
            const ReciprocalDividend quotient = dividend / divisor;  // divider: one for all lanes, a lane a cycle
            factor = quotient > LARGEST ? Multiplier(LARGEST) : Multiplier(quotient);
        }
        LaneReciprocal reciprocal;
        reciprocal.factor = factor;
        reciprocal.shift = Shift(command.shift + bits);
        reciprocals.write(reciprocal);
    }
}

}  // namespace edgeflow

#endif
