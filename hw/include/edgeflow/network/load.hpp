// What the array holds still: words of weights from the weight stream, of queries from the scratchpad, of the weights of keys from the
// softmax, in the order of the program. All are words of the weight stream's size and order, [pair of outputs][input][2], as the array
// takes them (hw/rtl); the array decodes them. What else comes with the weight stream goes to its process: a tile's parameters, tables,
// the words of layer normalization and of vector units.
#ifndef EDGEFLOW_NETWORK_LOAD_HPP
#define EDGEFLOW_NETWORK_LOAD_HPP

#include "edgeflow/network/ports.hpp"

namespace edgeflow {

static const unsigned LOAD_WEIGHTS = 1;
static const unsigned LOAD_QUERIES = 2;
static const unsigned LOAD_EXPONENTS = 3;
static const unsigned LOAD_TABLE = 4;   // of the exponents
static const unsigned LOAD_NORM = 5;    // gains and offsets of a layer normalization
static const unsigned LOAD_VECTOR = 6;  // what a vector unit takes

struct LoadCommand {
    ap_uint<3> kind;
    ap_uint<32> trips;  // words, but for queries
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

// A word of operands that stay in place: bytes, or where packing is 1 or 2 two or four weights to a byte. `position` counts runs of HALF
// pairs before it; a word holds 1 << packing of them.
template <class C>
struct LoadWord {
    static const int BYTES = Memory<C>::STREAM_BYTES;
    static const int HALF = BYTES / 2;
    static const int PARTS = C::QUARTERS ? 4 : 2;
    static const int POSITIONS = C::PO / 2 * C::PI / HALF;  // of a slot
    ap_uint<8> byte[BYTES];
    Count slot;
    Count position;
    ap_uint<2> packing;
    Flag quad;         // for steps of the 4-bit mode
    Flag is_unsigned;  // bytes of 0 to 255
};

// Words of queries are cut from groups of lanes: a pair's inputs fill one word or more, or those of several pairs fill one.
template <class C>
struct QueryGroup {
    static const int LANES = LoadWord<C>::BYTES > 2 * C::PI ? LoadWord<C>::BYTES / C::PI : 2;
    static const int WORDS = LANES * C::PI / LoadWord<C>::BYTES;
    static const int TRIPS = LANES > WORDS ? LANES : WORDS;  // of a step of a group: a line, a word, or both
    static const int MORE = WORDS > 1 ? 1 : 0;               // after the last one
};

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

// Lines of a group of queries, and the words that are cut from them.
template <class C>
struct QueryPlace {
    ap_uint<8> held[QueryGroup<C>::LANES][C::PI];
    ap_uint<7> phase;  // of the group's step
    ap_uint<7> lanes;  // of the group
    Count left;        // lanes behind it
    Count step;
    Flag reads;  // a line
    Flag cuts;   // a word
};

template <class C>
void next_group(QueryPlace<C>& query) {
#pragma HLS INLINE
    const int LANES = QueryGroup<C>::LANES;
    const bool fills = query.left >= unsigned(LANES);
    query.lanes = fills ? ap_uint<7>(LANES) : ap_uint<7>(query.left);
    query.left = fills ? Count(query.left - LANES) : Count(0);
}

template <class C>
void first_query(const LoadCommand& command, QueryPlace<C>& query) {
#pragma HLS INLINE
    for (int lane = 0; lane < QueryGroup<C>::LANES; ++lane) {
#pragma HLS UNROLL
        for (int i = 0; i < C::PI; ++i) {
#pragma HLS UNROLL
            query.held[lane][i] = 0;
        }
    }
    query.phase = 0;
    query.left = command.kind == LOAD_QUERIES ? command.lanes : Count(0);
    next_group<C>(query);
    query.step = 0;
    query.reads = query.lanes != 0 ? 1 : 0;
    query.cuts = 0;
}

// Takes the line of one lane, cuts a word, and says what comes next.
template <class C>
void next_query(const LoadCommand& command, const Line& line, QueryPlace<C>& query, StreamWord<C>& word) {
#pragma HLS INLINE
    const int LANES = QueryGroup<C>::LANES;
    const int LAST = LANES - 1;
    const int HALF = LoadWord<C>::HALF;
    const bool several = QueryGroup<C>::WORDS > 1;
    ap_uint<8> own[C::PI];
#pragma HLS ARRAY_PARTITION variable=own complete
    ap_uint<8> odd[C::PI];  // of the group's last lane
#pragma HLS ARRAY_PARTITION variable=odd complete
    for (int i = 0; i < C::PI; ++i) {
#pragma HLS UNROLL
        // Channels of other heads in the same line are left out.
        const unsigned channel = unsigned(command.part + query.step) * C::PI + i;
        const bool inside = query.reads != 0 && channel >= unsigned(command.low) && channel < unsigned(command.high);
        own[i] = inside ? line.byte[channel % LINE_BYTES] : ap_uint<8>(0);
        odd[i] = query.phase == LAST ? own[i] : query.held[LAST][i];
    }
    for (int j = 0; j < HALF; ++j) {
#pragma HLS UNROLL
        const int lane = 2 * (j / C::PI);
        word.byte[2 * j] = query.held[lane][j % C::PI];
        word.byte[2 * j + 1] = lane + 1 == LAST ? odd[j % C::PI] : query.held[lane + 1][j % C::PI];
    }
    for (int i = 0; i < C::PI; ++i) {
#pragma HLS UNROLL
        // What the next word is cut from moves to the front.
        const bool moves = several && i + HALF < C::PI;
        for (int lane = 0; lane < LAST; ++lane) {
#pragma HLS UNROLL
            const ap_uint<8> kept = query.held[lane][moves ? i + HALF : i];
            query.held[lane][i] = query.phase == lane ? own[i] : kept;
        }
        query.held[LAST][i] = odd[moves ? i + HALF : i];
    }
    const bool ends = query.phase == QueryGroup<C>::TRIPS - 1;
    const bool turns = ends && query.step == command.steps - 1;
    const bool follows = query.phase + 1 < query.lanes;
    const bool begins = turns ? query.left != 0 : query.lanes != 0;
    query.reads = ends ? begins : follows;
    query.phase = ends ? ap_uint<7>(0) : ap_uint<7>(query.phase + 1);
    query.step = turns ? Count(0) : ends ? Count(query.step + 1) : query.step;
    if (turns) {
        next_group<C>(query);
    }
    query.cuts = several || query.phase == LAST ? 1 : 0;
}

// Where the next word of operands belongs.
struct LoadPlace {
    Count slot;
    Count position;
    Count first;  // position of the slot, or of the group of queries in it
    Count last;
    Flag final;  // the slot is the last one
    Flag ended;  // all slots are loaded
};

template <class C>
LoadPlace first_load(const LoadCommand& command) {
#pragma HLS INLINE
    const unsigned last = LoadWord<C>::POSITIONS - 1;
    LoadPlace place;
    place.slot = command.slot;
    place.position = 0;
    place.first = 0;
    place.last = command.kind == LOAD_QUERIES ? unsigned(QueryGroup<C>::WORDS - 1) : last >> command.packing << command.packing;
    place.final = command.slot + 1 == command.end ? 1 : 0;
    place.ended = command.slot == command.end ? 1 : 0;
    return place;
}

// Slot by slot; the next group of queries begins in the first slot again.
template <class C>
void next_load(const LoadCommand& command, LoadPlace& place) {
#pragma HLS INLINE
    const bool wraps = place.position == place.last;
    const bool final = place.final != 0;
    const bool turns = command.kind == LOAD_QUERIES && wraps && final;
    const Count ahead = place.position + Count(1u << command.packing);
    const Count slot = place.slot;
    place.position = wraps && !turns ? Count(place.first) : ahead;
    place.slot = turns ? command.slot : wraps ? Count(slot + 1) : slot;
    place.ended = wraps && final ? 1 : 0;
    if (wraps) {
        const bool single = command.slot + 1 == command.end;
        const bool follows = slot + 2 == command.end;
        place.final = turns ? single : follows;
    }
    if (turns) {
        place.first = ahead;
        place.last += QueryGroup<C>::WORDS;
    }
}

template <class C>
void load(
    hls::stream<LoadCommand>& commands, hls::stream<StreamWord<C> >& words, hls::stream<Line>& queries,
    hls::stream<StreamWord<C> >& keys, hls::stream<LoadWord<C> >& loads, hls::stream<ParameterWord<C> >& parameters,
    hls::stream<StreamWord<C> >& table, hls::stream<StreamWord<C> >& norm, hls::stream<StreamWord<C> >& vector) {
    const LoadCommand command = commands.read();
    const bool tile = command.kind == LOAD_WEIGHTS;
    const bool cuts = command.kind == LOAD_QUERIES;
    const bool weighed = command.kind == LOAD_EXPONENTS;
    TilePlace<C> place = first_place<C>(command.table);
    QueryPlace<C> query;
#pragma HLS ARRAY_PARTITION variable=query.held complete dim=0
    first_query<C>(command, query);
    LoadPlace at = first_load<C>(command);
    EDGEFLOW_ENTER("load");
load:
    for (ap_uint<32> n = 0; n < command.trips; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_CHANNELS*C::PO/Memory<C>::STREAM_BYTES
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("load");
        StreamWord<C> word;
#pragma HLS ARRAY_PARTITION variable=word.byte complete
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
        next_query<C>(command, line, query, word);
        if (weighed) {
            word = keys.read();
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
        if (weights || weighed || (cuts && cut)) {
            LoadWord<C> load;
            for (int b = 0; b < LoadWord<C>::BYTES; ++b) {
#pragma HLS UNROLL
                load.byte[b] = word.byte[b];
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
