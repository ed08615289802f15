// The array: PI x PO / 2 multipliers with two stationary weights each (PI x PO products), cascades of four, adder trees, a sum for every
// output. This is the model of the core in hw/rtl for C simulation, and what an HLS tool can take in its place.
//
// A command is one pass: rows of steps stream by while operands for other slots, or for later passes, are stored. The sums of a row
// leave whole; bias and everything after it is the epilogue's. Words of stationary operands and bytes of rows are decoded here.
#ifndef EDGEFLOW_NETWORK_MULTIPLY_HPP
#define EDGEFLOW_NETWORK_MULTIPLY_HPP

#include "edgeflow/network/feed.hpp"
#include "edgeflow/network/load.hpp"
#include "edgeflow/rounds.hpp"

namespace edgeflow {

static const unsigned STEPS_NONE = 0;
static const unsigned STEPS_FEED = 1;    // from the scratchpad
static const unsigned STEPS_VALUES = 2;  // from the values of a head

typedef ap_uint<20> LoadCount;  // words of operands

struct MultiplyCommand {
    ap_uint<2> source;
    Flag scores;  // the sums are scores: to the softmax
    Flag notice;  // says to the sequencer when it is done
    Count rows;
    Count steps;
    Count slot;
    LoadCount loads;
};

// The sums of a row; of two with the 4-bit mode.
template <class C>
struct RowSums {
    static const int ROWS = C::QUAD ? 2 : 1;
    Accumulator sum[ROWS][C::PO];
};

// Those of a key, as scores.
template <class C>
struct ScoreRow {
    Score score[C::PO];
};

template <class C>
struct Stationary {
    Packed weight[C::SLOTS][C::PO / 2][C::PI];
};

inline Packed pack_pair(const Weight& first, const Weight& second, bool quad) {
#pragma HLS INLINE
    const Packed low = first;
    const Packed high = second;
    const Packed upper = quad ? Packed(high << 2 * QUAD_SUM_BITS) : Packed(high << CASCADE_SUM_BITS);
    return Packed(upper + low);
}

// An input as the multipliers take it.
template <class C>
Operand step_operand(const Step<C>& step, unsigned input) {
#pragma HLS INLINE
    const ap_uint<8> byte = step.byte[input];
    const ap_uint<4> low = byte;
    const ap_uint<4> high = byte >> 4;
    const ap_int<4> signed_low = low;
    const ap_int<4> signed_high = high;
    const ap_int<8> signed_byte = byte;
    const Operand x0 = step.is_signed != 0 ? Operand(signed_low) : Operand(low);
    const Operand x1 = step.is_signed != 0 ? Operand(signed_high) : Operand(high);
    if (C::QUAD && step.quad != 0) {
        return Operand((x1 << QUAD_SUM_BITS) + x0);
    }
    if (step.nibbles != 0) {
        return step.odd != 0 ? x1 : x0;
    }
    return step.is_signed != 0 ? Operand(signed_byte) : Operand(byte);
}

// One step for all outputs.
template <class C>
void products(const Stationary<C>& state, unsigned slot, const Step<C>& step, RowSums<C>& sums) {
#pragma HLS INLINE
    Operand operand[C::PI];
#pragma HLS ARRAY_PARTITION variable=operand complete
    for (int i = 0; i < C::PI; ++i) {
#pragma HLS UNROLL
        operand[i] = step_operand<C>(step, i);
    }
    for (int pair = 0; pair < C::PO / 2; ++pair) {
#pragma HLS UNROLL
        Accumulator first0 = 0;
        Accumulator second0 = 0;
        Accumulator first1 = 0;
        Accumulator second1 = 0;
        for (int group = 0; group < C::PI / CASCADE; ++group) {
#pragma HLS UNROLL
            Chain chain = 0;
            for (int c = 0; c < CASCADE; ++c) {
#pragma HLS UNROLL
                const Chain product = state.weight[slot][pair][group * CASCADE + c] * operand[group * CASCADE + c];
                chain += product;
            }
            if (C::QUAD && step.quad != 0) {
                const QuadSum field0 = chain;
                const Chain rest0 = (chain - field0) >> QUAD_SUM_BITS;
                const QuadSum field1 = rest0;
                const Chain rest1 = (rest0 - field1) >> QUAD_SUM_BITS;
                const QuadSum field2 = rest1;
                const QuadSum field3 = (rest1 - field2) >> QUAD_SUM_BITS;
                first0 += field0;
                first1 += field1;
                second0 += field2;
                second1 += field3;
            } else {
                const CascadeSum low = chain;
                const CascadeSum high = (chain - low) >> CASCADE_SUM_BITS;
                first0 += low;
                second0 += high;
            }
        }
        sums.sum[0][2 * pair] = first0;
        sums.sum[0][2 * pair + 1] = second0;
        if (C::QUAD) {
            sums.sum[RowSums<C>::ROWS - 1][2 * pair] = first1;
            sums.sum[RowSums<C>::ROWS - 1][2 * pair + 1] = second1;
        }
    }
}

// Pair number `lane` of a word of weights.
template <class C>
Packed load_pair(const LoadWord<C>& load, int lane) {
#pragma HLS INLINE
    const int HALF = LoadWord<C>::HALF;
    const ap_uint<8> even = load.byte[2 * (lane % HALF)];
    const ap_uint<8> odd = load.byte[2 * (lane % HALF) + 1];
    const ap_uint<8> halves = load.byte[lane % LoadWord<C>::BYTES];
    const ap_uint<8> quarters = load.byte[lane / 2] >> (lane % 2 * 4);
    if (C::QUARTERS && load.packing == 2) {
        return pack_pair(Weight(ap_int<2>(quarters)), Weight(ap_int<2>(quarters >> 2)), load.quad != 0);
    }
    if (load.packing != 0) {
        return pack_pair(Weight(ap_int<4>(halves)), Weight(ap_int<4>(halves >> 4)), load.quad != 0);
    }
    if (load.is_unsigned != 0) {
        return pack_pair(Weight(even), Weight(odd), false);
    }
    return pack_pair(Weight(ap_int<8>(even)), Weight(ap_int<8>(odd)), load.quad != 0);
}

// Stores a word: every multiplier's operands are written in this one place.
template <class C>
void store_load(const LoadWord<C>& load, Stationary<C>& state) {
#pragma HLS INLINE
    const int HALF = LoadWord<C>::HALF;
    const int PARTS = LoadWord<C>::PARTS;
    Packed pair_of[PARTS * HALF];
#pragma HLS ARRAY_PARTITION variable=pair_of complete
    for (int lane = 0; lane < PARTS * HALF; ++lane) {
#pragma HLS UNROLL
        pair_of[lane] = load_pair<C>(load, lane);
    }
    for (int pair = 0; pair < C::PO / 2; ++pair) {
#pragma HLS UNROLL
        for (int i = 0; i < C::PI; ++i) {
#pragma HLS UNROLL
            const int flat = pair * C::PI + i;
            const unsigned distance = unsigned(flat / HALF) - unsigned(load.position);
            if (distance < (1u << load.packing)) {
                state.weight[load.slot][pair][i] = pair_of[flat / HALF % PARTS * HALF + flat % HALF];
            }
        }
    }
}

template <class C>
void multiply(
    hls::stream<MultiplyCommand>& commands, hls::stream<Step<C> >& fed, hls::stream<Step<C> >& values,
    hls::stream<LoadWord<C> >& loads, hls::stream<RowSums<C> >& rows, hls::stream<ScoreRow<C> >& scores, hls::stream<Flag>& done,
    Stationary<C>& state) {
#pragma HLS ARRAY_PARTITION variable=state.weight complete dim=2
#pragma HLS ARRAY_PARTITION variable=state.weight complete dim=3
#pragma HLS BIND_STORAGE variable=state.weight type=ram_s2p impl=lutram
    const MultiplyCommand command = commands.read();
    const ap_uint<32> trips = ap_uint<32>(command.rows) * command.steps;  // none without a source
    RowSums<C> total;
#pragma HLS ARRAY_PARTITION variable=total.sum complete dim=0
    LoadCount loads_left = command.loads;
    Flag more_loads = command.loads != 0 ? 1 : 0;
    Round<COUNT_BITS> place = round_of(command.steps);  // in the row
    Count slot = command.slot;
    Flag first = 1;
    EDGEFLOW_ENTER("products");
multiply:
    for (ap_uint<32> n = 0; n < trips; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=C::MAX_TOKENS*C::MAX_CHANNELS/C::PI
#pragma HLS PIPELINE II=1
// Slots that are loaded are not those that this command multiplies with.
#pragma HLS DEPENDENCE variable=state.weight inter false
        EDGEFLOW_TRIP("products");
        // A step never waits for a word: what the words wait for may wait for the steps.
        LoadWord<C> load;
        const bool came = more_loads != 0 && loads.read_nb(load);
        more_loads = came ? Flag(loads_left != 1) : more_loads;
        if (came) {
            store_load<C>(load, state);
            loads_left -= 1;
        }
        Step<C> step;
#pragma HLS ARRAY_PARTITION variable=step.byte complete
        if (command.source == STEPS_VALUES) {
            step = values.read();
        } else {
            step = fed.read();
        }
        RowSums<C> sums;
#pragma HLS ARRAY_PARTITION variable=sums.sum complete dim=0
        products<C>(state, slot, step, sums);
        for (int r = 0; r < RowSums<C>::ROWS; ++r) {
#pragma HLS UNROLL
            for (int o = 0; o < C::PO; ++o) {
#pragma HLS UNROLL
                total.sum[r][o] = first != 0 ? sums.sum[r][o] : Accumulator(total.sum[r][o] + sums.sum[r][o]);
            }
        }
        if (place.last != 0 && command.scores != 0) {
            ScoreRow<C> row;
            for (int o = 0; o < C::PO; ++o) {
#pragma HLS UNROLL
                row.score[o] = total.sum[0][o];
            }
            scores.write(row);
        } else if (place.last != 0) {
            rows.write(total);
        }
        slot = place.last != 0 ? command.slot : Count(slot + 1);
        first = place.last;
        turn(place);
    }
    // Words that have not come beside the steps.
late_loads:
    for (LoadCount n = loads_left; n != 0; --n) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=C::PI*C::PO*C::SLOTS/C::LOAD_BYTES
#pragma HLS PIPELINE II=1
        store_load<C>(loads.read(), state);
    }
    if (command.notice != 0) {
        done.write(1);
    }
}

}  // namespace edgeflow

#endif
