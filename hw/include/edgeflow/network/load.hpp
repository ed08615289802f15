// What the array holds still: words of weights from the weight stream, of queries from the scratchpad, of the weights of keys from the
// softmax, in the order of the program. All have LOAD_BYTES bytes, one word of the weight stream or several, in the order
// [pair of outputs][input][2], as the array takes them (hw/rtl); the array decodes them. What else comes with the weight stream goes to
// its process: a tile's parameters, tables, the words of layer normalization and of vector units.
#ifndef EDGEFLOW_NETWORK_LOAD_HPP
#define EDGEFLOW_NETWORK_LOAD_HPP

#include "edgeflow/network/operand_words.hpp"

namespace edgeflow {

// A word that the epilogue keeps for a tile.
static const unsigned PARAMETER_TABLE = 0;
static const unsigned PARAMETER_BIAS = 1;
static const unsigned PARAMETER_MULTIPLIER = 2;
static const unsigned PARAMETER_OUTPUT_MULTIPLIER = 3;
// What else a tile's words are.
static const unsigned TILE_PADDING = 4;
static const unsigned TILE_WEIGHTS = 5;

template <class C>
struct ParameterWord {
    ap_uint<2> kind;
    Count place;  // number of the word within its kind
    StreamWord<C> word;
};

// What of a tile the next word is.
template <class C>
struct TilePlace {
    static const unsigned WORDS = C::PO * 4 / Memory<C>::STREAM_BYTES;  // of PO integers
    static const unsigned PADDING = (C::PO * 12 + LINE_BYTES - 1) / LINE_BYTES * Memory<C>::LINE_STREAM_WORDS - 3 * WORDS;
    ap_uint<3> kind;
    Count place;  // number of the word within its kind
    Count left;   // words of the kind
};

template <class C>
TilePlace<C> first_place(const Count& table) {
#pragma HLS INLINE
    TilePlace<C> first;
    first.kind = table != 0 ? PARAMETER_TABLE : PARAMETER_BIAS;
    first.place = 0;
    first.left = table != 0 ? table : Count(TilePlace<C>::WORDS);
    return first;
}

template <class C>
TilePlace<C> next_place(const TilePlace<C>& place) {
#pragma HLS INLINE
    const unsigned PADDING = TilePlace<C>::PADDING;
    const bool last = place.kind == PARAMETER_OUTPUT_MULTIPLIER;
    TilePlace<C> next;
    next.kind = place.kind;
    next.place = place.place + 1;
    next.left = place.left - 1;
    if (place.left == 1 && place.kind != TILE_WEIGHTS) {
        next.kind = last && PADDING == 0 ? ap_uint<3>(TILE_WEIGHTS) : ap_uint<3>(place.kind + 1);
        next.place = 0;
        next.left = last ? PADDING : unsigned(TilePlace<C>::WORDS);
    }
    return next;
}

template <class C>
void load(
    hls::stream<LoadCommand>& commands, hls::stream<StreamWord<C> >& words, hls::stream<Line>& queries,
    hls::stream<OperandWord<C> >& keys, hls::stream<LoadWord<C> >& loads, hls::stream<ParameterWord<C> >& parameters,
    hls::stream<StreamWord<C> >& table, hls::stream<StreamWord<C> >& norm, hls::stream<StreamWord<C> >& vector) {
    const int STREAM_BYTES = Memory<C>::STREAM_BYTES;
    const LoadCommand command = commands.read();
    const bool tile = command.kind == LOAD_WEIGHTS;
    const bool cuts = command.kind == LOAD_QUERIES;
    const bool weighed = command.kind == LOAD_EXPONENTS;
    TilePlace<C> place = first_place<C>(command.table);
    QueryPlace<C> query;
#pragma HLS ARRAY_PARTITION variable=query.held complete dim=0
    first_query<C>(command, query);
    LoadPlace at = first_load<C>(command);
    GatheredWord<C> gathered;
#pragma HLS ARRAY_PARTITION variable=gathered.word.byte complete
    begin_slot<C>(command, gathered);
    for (int b = 0; b < LoadWord<C>::BYTES; ++b) {
#pragma HLS UNROLL
        gathered.word.byte[b] = 0;
    }
    EDGEFLOW_ENTER("load");
load:
    for (ap_uint<32> n = 0; n < command.trips; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_CHANNELS*C::PO/Memory<C>::STREAM_BYTES
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("load");
        StreamWord<C> word;
#pragma HLS ARRAY_PARTITION variable=word.byte complete
        for (int b = 0; b < STREAM_BYTES; ++b) {
#pragma HLS UNROLL
            word.byte[b] = 0;
        }
        Line line;
#pragma HLS ARRAY_PARTITION variable=line.byte complete
        for (int b = 0; b < LINE_BYTES; ++b) {
#pragma HLS UNROLL
            line.byte[b] = 0;
        }
        if (query.reads != 0) {
            line = queries.read();
        }
        const bool cut = query.cuts != 0;
        OperandWord<C> operands;
#pragma HLS ARRAY_PARTITION variable=operands.byte complete
        next_query<C>(command, line, query, operands);
        if (weighed) {
            operands = keys.read();
        } else if (!cuts) {
            word = words.read();
        }
        if (tile && place.kind < TILE_PADDING) {
            ParameterWord<C> parameter;
            parameter.kind = place.kind;
            parameter.place = place.place;
            parameter.word = word;
            parameters.write(parameter);
        }
        const bool weights = tile && place.kind == TILE_WEIGHTS && at.ended == 0;
        const bool whole = weights && gathered.fills != 0;
        if (tile) {
            for (int b = 0; b < LoadWord<C>::BYTES; ++b) {
#pragma HLS UNROLL
                if (gathered.part == b / STREAM_BYTES) {
                    gathered.word.byte[b] = word.byte[b % STREAM_BYTES];
                }
                operands.byte[b] = gathered.word.byte[b];
            }
        }
        if (weights) {
            next_part<C>(command, gathered);
        }
        if (whole || weighed || (cuts && cut)) {
            LoadWord<C> load;
            for (int b = 0; b < LoadWord<C>::BYTES; ++b) {
#pragma HLS UNROLL
                load.byte[b] = operands.byte[b];
            }
            load.slot = at.slot;
            load.position = at.position;
            load.packing = command.packing;
            load.quad = command.quad;
            load.is_unsigned = weighed ? 1 : 0;
            loads.write(load);
            next_load<C>(command, at);
        }
        place = next_place<C>(place);
        if (command.kind == LOAD_TABLE) {
            table.write(word);
        } else if (command.kind == LOAD_NORM) {
            norm.write(word);
        } else if (command.kind == LOAD_VECTOR) {
            vector.write(word);
        }
    }
}

}  // namespace edgeflow

#endif
