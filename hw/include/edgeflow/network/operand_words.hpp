// Words of the operands that the array holds: where each belongs, and how they are made of the weight stream's words and of queries.
#ifndef EDGEFLOW_NETWORK_OPERAND_WORDS_HPP
#define EDGEFLOW_NETWORK_OPERAND_WORDS_HPP

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
    static const int BYTES = C::LOAD_BYTES;
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

template <class C>
struct OperandWord {
    ap_uint<8> byte[LoadWord<C>::BYTES];
};

// Words of queries are cut from groups of lanes: a pair's inputs fill one word or more, or those of several pairs fill one.
template <class C>
struct QueryGroup {
    static const int LANES = LoadWord<C>::BYTES > 2 * C::PI ? LoadWord<C>::BYTES / C::PI : 2;
    static const int WORDS = LANES * C::PI / LoadWord<C>::BYTES;
    static const int TRIPS = LANES > WORDS ? LANES : WORDS;  // of a step of a group: a line, a word, or both
    static const int MORE = WORDS > 1 ? 1 : 0;               // after the last one
};

// Lines of a group of queries, and the words that are cut from them.
template <class C>
struct QueryPlace {
    ap_uint<8> held[QueryGroup<C>::LANES][C::PI];
    ap_uint<7> phase;  // of the group's step
    ap_uint<7> last;   // that has a line in the group
    Flag there;        // the group has a line
    Count left;        // lanes behind it
    Count step;
    Flag final;  // the step is the group's last one
    Flag reads;  // a line
    Flag cuts;   // a word
};

template <class C>
void next_group(QueryPlace<C>& query) {
#pragma HLS INLINE
    const int LANES = QueryGroup<C>::LANES;
    const bool fills = query.left >= unsigned(LANES);
    query.last = fills ? ap_uint<7>(LANES - 1) : ap_uint<7>(query.left - 1);
    query.there = query.left != 0 ? 1 : 0;
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
    query.final = command.steps == 1 ? 1 : 0;
    query.reads = query.there;
    query.cuts = 0;
}

// Takes the line of one lane, cuts a word, and says what comes next.
template <class C>
void next_query(const LoadCommand& command, const Line& line, QueryPlace<C>& query, OperandWord<C>& word) {
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
    const bool turns = ends && query.final != 0;
    const bool follows = query.reads != 0 && query.phase != query.last;
    const bool begins = turns ? query.left != 0 : query.there != 0;
    query.reads = ends ? begins : follows;
    query.phase = ends ? ap_uint<7>(0) : ap_uint<7>(query.phase + 1);
    if (ends) {
        const bool single = command.steps == 1;
        const bool nears = query.step + 2 == command.steps;
        query.final = turns ? single : nears;
        query.step = turns ? Count(0) : Count(query.step + 1);
    }
    if (turns) {
        next_group<C>(query);
    }
    query.cuts = several || query.phase == LAST ? 1 : 0;
}

// Words of the weight stream that make one word of operands: a slot begins with a new one, and its last one may not be filled.
template <class C>
struct GatheredWord {
    static const int PARTS = LoadWord<C>::BYTES / Memory<C>::STREAM_BYTES;
    OperandWord<C> word;
    ap_uint<5> part;  // that comes next
    Count left;       // words of the stream for the slot
    Flag fills;       // the next one completes the word
};

template <class C>
void begin_slot(const LoadCommand& command, GatheredWord<C>& gathered) {
#pragma HLS INLINE
    const unsigned BYTES = C::PI * C::PO;
    const unsigned STREAM_BYTES = Memory<C>::STREAM_BYTES;
    gathered.part = 0;
    gathered.left = ((BYTES >> command.packing) + (STREAM_BYTES - 1)) / STREAM_BYTES;
    gathered.fills = GatheredWord<C>::PARTS == 1 || gathered.left == 1 ? 1 : 0;
}

template <class C>
void next_part(const LoadCommand& command, GatheredWord<C>& gathered) {
#pragma HLS INLINE
    const int PARTS = GatheredWord<C>::PARTS;
    const int BEFORE_LAST = PARTS > 1 ? PARTS - 2 : 0;
    if (gathered.left == 1) {
        begin_slot<C>(command, gathered);
    } else {
        gathered.fills = gathered.part == BEFORE_LAST || gathered.left == 2 ? 1 : 0;
        gathered.part = gathered.part == PARTS - 1 ? ap_uint<5>(0) : ap_uint<5>(gathered.part + 1);
        gathered.left -= 1;
    }
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

}  // namespace edgeflow

#endif
