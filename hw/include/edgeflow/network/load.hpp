// What the array holds still: loads of stationary operands from the weight stream, from the scratchpad (queries) and from the softmax
// (weights of keys), in the order of the program; and the parameters that come with a tile's weights, which go to the epilogue.
#ifndef EDGEFLOW_NETWORK_LOAD_HPP
#define EDGEFLOW_NETWORK_LOAD_HPP

#include "edgeflow/network/ports.hpp"

namespace edgeflow {

static const unsigned LOAD_NONE = 0;
static const unsigned LOAD_WEIGHTS = 1;
static const unsigned LOAD_QUERIES = 2;
static const unsigned LOAD_EXPONENTS = 3;
static const unsigned LOAD_TABLE = 4;  // of the exponents
static const unsigned LOAD_NORM = 5;    // gains and offsets of a layer normalization
static const unsigned LOAD_VECTOR = 6;  // what a vector unit takes

struct LoadCommand {
    ap_uint<3> kind;
    ap_uint<32> words;  // iterations
    Count table;        // words of an activation table in front
    Count slot;
    Count end;          // first slot that is not loaded
    ap_uint<2> packing;
    Flag quad;
    // Queries: lanes, steps of a query, channels [low, high) that belong to the head, the first step.
    Count lanes;
    Count steps;
    Count low;
    Count high;
    Count part;
};

// Operands for one slot: what the multipliers of some pairs and inputs take. `kind` says how `first` and `second` are spread.
template <class C>
struct LoadWord {
    static const int HALF = Memory<C>::STREAM_BYTES / 2;
    static const int PARTS = C::QUARTERS ? 4 : 2;
    static const int WORD = PARTS * HALF;
    static const int WIDER = C::PI > C::PO / 2 ? C::PI : C::PO / 2;
    static const int SIZE = WORD > WIDER ? WORD : WIDER;
    ap_uint<3> kind;
    Count slot;
    Count position;  // weights: in multiples of HALF; queries: the pair of lanes; exponents: the input
    ap_uint<3> step;  // weights: multiples of HALF in the word
    Flag quad;
    Weight first[SIZE];
    Weight second[SIZE];
};

// A word that the epilogue keeps for a tile.
static const unsigned PARAMETER_TABLE = 0;
static const unsigned PARAMETER_BIAS = 1;
static const unsigned PARAMETER_MULTIPLIER = 2;
static const unsigned PARAMETER_OUTPUT_MULTIPLIER = 3;

template <class C>
struct ParameterWord {
    ap_uint<2> kind;
    Count place;  // number of the word within its kind
    StreamWord<C> word;
};

// Words of the weight stream, or of the two other sources, that one load takes.
template <class C>
void load_weights(
    const LoadCommand& command, hls::stream<StreamWord<C> >& words, hls::stream<LoadWord<C> >& loads,
    hls::stream<ParameterWord<C> >& parameters) {
#pragma HLS INLINE
    const int STREAM_BYTES = Memory<C>::STREAM_BYTES;
    const int HALF = LoadWord<C>::HALF;
    const unsigned ARRAY_WORDS = C::PO * 4 / STREAM_BYTES;  // words of PO integers
    const unsigned PARAMETER_WORDS = (C::PO * 12 + LINE_BYTES - 1) / LINE_BYTES * Memory<C>::LINE_STREAM_WORDS;
    const unsigned POSITIONS = C::PO / 2 * C::PI / HALF;
    Count slot = command.slot;
    Count position = 0;
    Count place = 0;
    ap_uint<3> kind = command.table != 0 ? PARAMETER_TABLE : PARAMETER_BIAS;
    Count left = command.table != 0 ? command.table : Count(ARRAY_WORDS);  // of the kind; kind 4: padding, 5: weights
    const unsigned PADDING = PARAMETER_WORDS - 3 * ARRAY_WORDS;
    EDGEFLOW_ENTER("load weights");
load_weights:
    for (ap_uint<32> n = 0; n < command.words; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_CHANNELS*C::PO/STREAM_BYTES
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("load weights");
        const StreamWord<C> word = words.read();
        if (kind <= PARAMETER_OUTPUT_MULTIPLIER) {
            ParameterWord<C> parameter;
            parameter.kind = kind;
            parameter.place = place;
            parameter.word = word;
            parameters.write(parameter);
        } else if (kind == 5 && slot < command.end) {
            LoadWord<C> load;
            load.kind = LOAD_WEIGHTS;
            load.slot = slot;
            load.position = position;
            load.step = 1u << command.packing;
            load.quad = command.quad;
            for (int p = 0; p < LoadWord<C>::SIZE; ++p) {
#pragma HLS UNROLL
                load.first[p] = 0;
                load.second[p] = 0;
            }
            for (int p = 0; p < LoadWord<C>::WORD; ++p) {
#pragma HLS UNROLL
                const ap_int<8> even = word.byte[2 * (p % HALF)];
                const ap_int<8> odd = word.byte[2 * (p % HALF) + 1];
                const ap_uint<8> halves = word.byte[p % STREAM_BYTES];
                const ap_int<4> low_half = halves;
                const ap_int<4> high_half = halves >> 4;
                const ap_uint<8> quarters = word.byte[p / 2];
                const ap_int<2> low_quarter = quarters >> (p % 2 * 4);
                const ap_int<2> high_quarter = quarters >> (p % 2 * 4 + 2);
                load.first[p] = command.packing != 0 ? Weight(low_half) : Weight(even);
                load.second[p] = command.packing != 0 ? Weight(high_half) : Weight(odd);
                if (C::QUARTERS && command.packing == 2) {
                    load.first[p] = low_quarter;
                    load.second[p] = high_quarter;
                }
            }
            loads.write(load);
            position += Count(1u << command.packing);
            if (position >= POSITIONS) {
                position = 0;
                ++slot;
            }
        }
        place += 1;
        left -= 1;
        if (left == 0 && kind < 5) {
            place = 0;
            kind += 1;
            left = ARRAY_WORDS;
            if (kind == 4) {
                left = PADDING;
                if (PADDING == 0) {
                    kind = 5;
                }
            }
        }
    }
}

// Queries come as lines, for each pair of lanes and each step the even lane's and then the odd lane's.
template <class C>
void load_queries(const LoadCommand& command, hls::stream<Line>& queries, hls::stream<LoadWord<C> >& loads) {
#pragma HLS INLINE
    Count lane = 0;
    Count step = 0;
    ap_int<8> even[C::PI];
#pragma HLS ARRAY_PARTITION variable=even complete
    for (int i = 0; i < C::PI; ++i) {
#pragma HLS UNROLL
        even[i] = 0;
    }
    EDGEFLOW_ENTER("load queries");
load_queries:
    for (ap_uint<32> n = 0; n < command.words; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::PO*C::ATTENTION_HEAD/C::PI
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("load queries");
        Line line;
#pragma HLS ARRAY_PARTITION variable=line.byte complete
        for (int b = 0; b < LINE_BYTES; ++b) {
#pragma HLS UNROLL
            line.byte[b] = 0;
        }
        if (lane < command.lanes) {
            line = queries.read();
        }
        const bool odd = (lane & 1) != 0;
        ap_int<8> own[C::PI];
#pragma HLS ARRAY_PARTITION variable=own complete
        for (int i = 0; i < C::PI; ++i) {
#pragma HLS UNROLL
            // Channels of other heads in the same line are left out.
            const unsigned channel = unsigned(command.part + step) * C::PI + i;
            const bool inside = channel >= unsigned(command.low) && channel < unsigned(command.high);
            own[i] = inside ? line.byte[channel % LINE_BYTES] : ap_uint<8>(0);
        }
        if (odd) {
            LoadWord<C> load;
            load.kind = LOAD_QUERIES;
            load.slot = command.slot + step;
            load.position = lane >> 1;
            load.step = 1;
            load.quad = 0;
            for (int i = 0; i < LoadWord<C>::SIZE; ++i) {
#pragma HLS UNROLL
                load.first[i] = i < C::PI ? Weight(even[i % C::PI]) : Weight(0);
                load.second[i] = i < C::PI ? Weight(own[i % C::PI]) : Weight(0);
            }
            loads.write(load);
            lane -= 1;
            step += 1;
            if (step == command.steps) {
                step = 0;
                lane += 2;
            }
        } else {
            for (int i = 0; i < C::PI; ++i) {
#pragma HLS UNROLL
                even[i] = own[i];
            }
            lane += 1;
        }
    }
}

template <class C>
struct KeyWeights {
    Weight weight[C::PO];
};

template <class C>
void load_exponents(const LoadCommand& command, hls::stream<KeyWeights<C> >& exponents, hls::stream<LoadWord<C> >& loads) {
#pragma HLS INLINE
    Count slot = command.slot;
    Count part = 0;
    EDGEFLOW_ENTER("load exponents");
load_exponents:
    for (ap_uint<32> n = 0; n < command.words; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::ATTENTION_KEYS
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("load exponents");
        const KeyWeights<C> key = exponents.read();
        LoadWord<C> load;
        load.kind = LOAD_EXPONENTS;
        load.slot = slot;
        load.position = part;
        load.step = 1;
        load.quad = 0;
        for (int pair = 0; pair < LoadWord<C>::SIZE; ++pair) {
#pragma HLS UNROLL
            load.first[pair] = pair < C::PO / 2 ? key.weight[2 * pair % C::PO] : Weight(0);
            load.second[pair] = pair < C::PO / 2 ? key.weight[(2 * pair + 1) % C::PO] : Weight(0);
        }
        loads.write(load);
        part += 1;
        if (part == unsigned(C::PI)) {
            part = 0;
            slot += 1;
        }
    }
}

template <class C>
void load(
    hls::stream<LoadCommand>& commands, hls::stream<StreamWord<C> >& words, hls::stream<Line>& queries,
    hls::stream<KeyWeights<C> >& exponents, hls::stream<LoadWord<C> >& loads, hls::stream<ParameterWord<C> >& parameters,
    hls::stream<StreamWord<C> >& table, hls::stream<StreamWord<C> >& norm, hls::stream<StreamWord<C> >& vector) {
    const LoadCommand command = commands.read();
    if (command.kind == LOAD_WEIGHTS) {
        load_weights<C>(command, words, loads, parameters);
    } else if (command.kind == LOAD_QUERIES) {
        load_queries<C>(command, queries, loads);
    } else if (command.kind == LOAD_EXPONENTS) {
        load_exponents<C>(command, exponents, loads);
    } else {
        EDGEFLOW_ENTER("pass words");
    pass_words:
        for (ap_uint<32> n = 0; n < command.words; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_CHANNELS
#pragma HLS PIPELINE II=1
            EDGEFLOW_TRIP("pass words");
            const StreamWord<C> word = words.read();
            if (command.kind == LOAD_NORM) {
                norm.write(word);
            } else if (command.kind == LOAD_VECTOR) {
                vector.write(word);
            } else {
                table.write(word);
            }
        }
    }
}

}  // namespace edgeflow

#endif
