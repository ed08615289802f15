// The array: PI x PO / 2 multipliers with two stationary weights each (PI x PO products), cascades of four, adder trees, a sum for every
// output. This is the model of the core in hw/rtl for C simulation, and what an HLS tool can take in its place.
//
// A command is one pass: rows of steps stream by while operands for other slots, or for later passes, are stored. The sums of a row
// leave whole; bias and everything after it is the epilogue's.
#ifndef EDGEFLOW_NETWORK_MULTIPLY_HPP
#define EDGEFLOW_NETWORK_MULTIPLY_HPP

#include "edgeflow/network/feed.hpp"
#include "edgeflow/network/load.hpp"

namespace edgeflow {

static const unsigned STEPS_NONE = 0;
static const unsigned STEPS_FEED = 1;    // from the scratchpad
static const unsigned STEPS_VALUES = 2;  // from the values of a head

struct MultiplyCommand {
    ap_uint<2> source;
    Flag scores;  // the sums are scores: to the softmax
    Flag quad;
    Flag notice;  // says to the sequencer when it is done
    Count rows;
    Count steps;
    Count slot;
    ap_uint<32> loads;
};

// The sums of a row; of two in the 4-bit mode.
template <class C>
struct RowSums {
    Accumulator sum[2][C::PO];
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

// One step for all outputs.
template <class C>
void products(const Stationary<C>& state, unsigned slot, bool quad, const Step<C>& step, RowSums<C>& sums) {
#pragma HLS INLINE
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
                const Chain product = state.weight[slot][pair][group * CASCADE + c] * step.operand[group * CASCADE + c];
                chain += product;
            }
            if (C::QUAD && quad) {
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
        sums.sum[1][2 * pair] = first1;
        sums.sum[1][2 * pair + 1] = second1;
    }
}

// Stores a load: every multiplier is written in this one place.
template <class C>
void store_load(const LoadWord<C>& load, Stationary<C>& state) {
#pragma HLS INLINE
    const int HALF = LoadWord<C>::HALF;
    const int PARTS = LoadWord<C>::PARTS;
    for (int pair = 0; pair < C::PO / 2; ++pair) {
#pragma HLS UNROLL
        for (int i = 0; i < C::PI; ++i) {
#pragma HLS UNROLL
            const int flat = pair * C::PI + i;
            const int position = flat / HALF;
            const int at = position % PARTS * HALF + flat % HALF;
            const bool weights = load.kind == LOAD_WEIGHTS;
            const bool queries = load.kind == LOAD_QUERIES;
            // The first key of a slot clears the others, so that a slot that the last key leaves unfilled weighs nothing.
            const bool clears = load.kind == LOAD_EXPONENTS && load.position == 0;
            const bool exponent = load.kind == LOAD_EXPONENTS && load.position == unsigned(i);
            const Weight first = weights ? load.first[at] : queries ? load.first[i] : exponent ? load.first[pair] : Weight(0);
            const Weight second = weights ? load.second[at] : queries ? load.second[i] : exponent ? load.second[pair] : Weight(0);
            const unsigned distance = unsigned(position) - unsigned(load.position);
            const bool hit = weights ? distance < unsigned(load.step) : queries ? load.position == unsigned(pair) : exponent || clears;
            if (hit) {
                state.weight[load.slot][pair][i] = pack_pair(first, second, load.quad != 0);
            }
        }
    }
}

template <class C>
void multiply(
    hls::stream<MultiplyCommand>& commands, hls::stream<Step<C> >& fed, hls::stream<Step<C> >& values,
    hls::stream<LoadWord<C> >& loads, hls::stream<RowSums<C> >& rows, hls::stream<RowSums<C> >& scores, hls::stream<Flag>& done,
    Stationary<C>& state) {
#pragma HLS ARRAY_PARTITION variable=state.weight complete dim=2
#pragma HLS ARRAY_PARTITION variable=state.weight complete dim=3
#pragma HLS BIND_STORAGE variable=state.weight type=ram_s2p impl=lutram
    const MultiplyCommand command = commands.read();
    const ap_uint<32> steps = ap_uint<32>(command.rows) * command.steps;  // none without a source
    RowSums<C> total;
#pragma HLS ARRAY_PARTITION variable=total.sum complete dim=0
    Count left = command.steps;
    Count slot = command.slot;
    ap_uint<32> made = 0;
    ap_uint<32> stored = 0;
    EDGEFLOW_ENTER("products");
multiply:
    while (made != steps || stored != command.loads) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_TOKENS*C::MAX_CHANNELS/C::PI
#pragma HLS PIPELINE II=1
// Slots that are loaded are not those that this command multiplies with.
#pragma HLS DEPENDENCE variable=state.weight inter false
        // A step never waits for a load: what the loads wait for may wait for the steps.
        const bool stores = stored != command.loads && (made == steps || !loads.empty());
        if (made != steps) {
            EDGEFLOW_TRIP("products");
            made += 1;
            Step<C> step;
#pragma HLS ARRAY_PARTITION variable=step.operand complete
            if (command.source == STEPS_VALUES) {
                step = values.read();
            } else {
                step = fed.read();
            }
            RowSums<C> sums;
#pragma HLS ARRAY_PARTITION variable=sums.sum complete dim=0
            products<C>(state, slot, command.quad != 0, step, sums);
            const bool first = left == command.steps;
            for (int r = 0; r < 2; ++r) {
#pragma HLS UNROLL
                for (int o = 0; o < C::PO; ++o) {
#pragma HLS UNROLL
                    total.sum[r][o] = first ? sums.sum[r][o] : Accumulator(total.sum[r][o] + sums.sum[r][o]);
                }
            }
            if (left == 1) {
                if (command.scores != 0) {
                    scores.write(total);
                } else {
                    rows.write(total);
                }
                left = command.steps;
                slot = command.slot;
            } else {
                left -= 1;
                slot += 1;
            }
        }
        if (stores) {
            stored += 1;
            store_load<C>(loads.read(), state);
        }
    }
    if (command.notice != 0) {
        done.write(1);
    }
}

}  // namespace edgeflow

#endif
