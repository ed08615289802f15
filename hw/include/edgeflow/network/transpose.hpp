// The weights of keys, which come a key at a time for all lanes, as the array takes its operands: words [pair of lanes][key][2].
//
// A block of PI keys fills a slot. It lies in a memory whose banks hold a pair of bytes in a word: pair p of key k lies in bank
// (p + STRIDE k) mod BANKS, so that a key writes banks that are all different, and so are those that a word is read from. While a block
// is written the one before is read; what the last block leaves of its slot reads as 0.
#ifndef EDGEFLOW_NETWORK_TRANSPOSE_HPP
#define EDGEFLOW_NETWORK_TRANSPOSE_HPP

#include "edgeflow/network/load.hpp"

namespace edgeflow {

struct TransposeCommand {
    Count keys;
};

template <class C>
struct KeyWeights {
    Exponent weight[C::PO];
};

// The smallest power of two from NUMBER on.
template <int NUMBER, int POWER = 1, bool ENOUGH = (POWER >= NUMBER)>
struct PowerOfTwoFrom {
    static const int VALUE = PowerOfTwoFrom<NUMBER, 2 * POWER>::VALUE;
};
template <int NUMBER, int POWER>
struct PowerOfTwoFrom<NUMBER, POWER, true> {
    static const int VALUE = POWER;
};

template <class C>
struct KeyBanks {
    static const int PAIRS = C::PO / 2;
    static const int HALF = LoadWord<C>::HALF;  // pairs of bytes that a word holds
    static const int STRIDE = HALF > C::PI ? HALF / C::PI : 1;
    static const int LAST_RUN = HALF < C::PI ? C::PI - HALF : 0;  // of a block's keys
    static const int BANKS = PowerOfTwoFrom<(PAIRS > HALF ? PAIRS : HALF)>::VALUE;
    typedef ap_uint<16> Pair;
};

typedef ap_uint<7> Bank;
typedef ap_uint<7> BlockKey;  // a key of a block, or the number of its keys

// Turns the banks around: number `bank` becomes what was number (bank + places) mod BANKS.
template <class C>
void rotate_banks(const Bank& places, typename KeyBanks<C>::Pair (&pair)[KeyBanks<C>::BANKS]) {
#pragma HLS INLINE
    const int BANKS = KeyBanks<C>::BANKS;
    for (int distance = 1; distance < BANKS; distance *= 2) {
#pragma HLS UNROLL
        typename KeyBanks<C>::Pair turned[BANKS];
#pragma HLS ARRAY_PARTITION variable=turned complete
        for (int b = 0; b < BANKS; ++b) {
#pragma HLS UNROLL
            turned[b] = (unsigned(places) & unsigned(distance)) != 0 ? pair[(b + distance) % BANKS] : pair[b];
        }
        for (int b = 0; b < BANKS; ++b) {
#pragma HLS UNROLL
            pair[b] = turned[b];
        }
    }
}

// Iterations for blocks of keys: each writes a block and reads the one before.
template <class C>
ap_uint<32> transpose_trips(const Count& keys) {
#pragma HLS INLINE
    const unsigned POSITIONS = LoadWord<C>::POSITIONS;
    const unsigned PI = C::PI;
    const unsigned LONGER = PI > POSITIONS ? PI : POSITIONS;
    const unsigned last = unsigned(keys - 1) % PI + 1;  // keys of the last block
    const unsigned blocks = unsigned(keys - 1) / PI + 1;
    const unsigned ends = last > POSITIONS ? last : POSITIONS;
    return blocks == 1 ? last + POSITIONS : PI + (blocks - 2) * LONGER + ends + POSITIONS;
}

template <class C>
void transpose_keys(
    hls::stream<TransposeCommand>& commands, hls::stream<KeyWeights<C> >& keys, hls::stream<OperandWord<C> >& words) {
    typedef typename KeyBanks<C>::Pair Pair;
    const int BANKS = KeyBanks<C>::BANKS;
    const int HALF = KeyBanks<C>::HALF;
    const int STRIDE = KeyBanks<C>::STRIDE;
    const int PAIRS = KeyBanks<C>::PAIRS;
    const int LAST_RUN = KeyBanks<C>::LAST_RUN;
    const unsigned POSITIONS = LoadWord<C>::POSITIONS;
    const TransposeCommand command = commands.read();
    const ap_uint<32> trips = transpose_trips<C>(command.keys);
    Pair memory[BANKS][2 * C::PI];
#pragma HLS ARRAY_PARTITION variable=memory complete dim=1
#pragma HLS BIND_STORAGE variable=memory type=ram_s2p impl=lutram
    const Count LONGEST = C::PI;
    const bool several = command.keys > LONGEST;
    BlockKey block = several ? LONGEST : command.keys;            // keys of the block that is written
    Count left = several ? Count(command.keys - LONGEST) : Count(0);  // behind it
    BlockKey held = 0;  // of the one that is read
    BlockKey key = 0;
    Count word = 0;
    BlockKey pair = 0;   // of the word's first
    BlockKey first = 0;  // key of it
    Flag half = 0;       // of the memory, that is written
    Flag takes = 1;
    Flag gives = 0;
    EDGEFLOW_ENTER("transpose keys");
transpose_keys:
    for (ap_uint<32> n = 0; n < trips; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::ATTENTION_KEYS
#pragma HLS PIPELINE II=1
// The half that is written is not the one that is read.
#pragma HLS DEPENDENCE variable=memory inter false
        EDGEFLOW_TRIP("transpose keys");
        Pair write[BANKS];
#pragma HLS ARRAY_PARTITION variable=write complete
        if (takes != 0) {
            const KeyWeights<C> taken = keys.read();
            for (int b = 0; b < BANKS; ++b) {
#pragma HLS UNROLL
                const ap_uint<8> even = b < PAIRS ? taken.weight[2 * b % C::PO] : ap_uint<8>(0);
                const ap_uint<8> odd = b < PAIRS ? taken.weight[(2 * b + 1) % C::PO] : ap_uint<8>(0);
                write[b] = Pair(even) | Pair(Pair(odd) << 8);
            }
            rotate_banks<C>(Bank(0u - unsigned(key) * STRIDE), write);
            for (int b = 0; b < BANKS; ++b) {
#pragma HLS UNROLL
                memory[b][unsigned(half) * C::PI + key] = write[b];
            }
        }
        if (gives != 0) {
            const unsigned base = unsigned(pair) + unsigned(first) * STRIDE;
            Pair read[BANKS];
#pragma HLS ARRAY_PARTITION variable=read complete
            for (int b = 0; b < BANKS; ++b) {
#pragma HLS UNROLL
                const unsigned offset = (unsigned(b) - base) % BANKS;
                read[b] = memory[b][unsigned(half ^ Flag(1)) * C::PI + (unsigned(first) | offset / STRIDE % (HALF / STRIDE))];
            }
            rotate_banks<C>(Bank(base), read);
            OperandWord<C> made;
#pragma HLS ARRAY_PARTITION variable=made.byte complete
            for (int j = 0; j < HALF; ++j) {
#pragma HLS UNROLL
                const int k = j % C::PI;
                const bool there = unsigned(first) + k < unsigned(held);
                const Pair value = there ? read[j / C::PI + k * STRIDE] : Pair(0);
                made.byte[2 * j] = value;
                made.byte[2 * j + 1] = value >> 8;
            }
            words.write(made);
        }
        const bool taken = takes == 0 || key + 1 == block;
        const bool given = gives == 0 || word + 1 == POSITIONS;
        if (taken && given) {
            held = block;
            takes = left != 0 ? 1 : 0;
            block = left > LONGEST ? LONGEST : left;
            left = left > LONGEST ? Count(left - LONGEST) : Count(0);
            gives = 1;
            key = 0;
            word = 0;
            pair = 0;
            first = 0;
            half = half ^ Flag(1);
        } else {
            if (gives != 0) {
                const bool turns = first == LAST_RUN;
                word += 1;
                pair = turns ? BlockKey(pair + STRIDE) : pair;
                first = turns ? BlockKey(0) : BlockKey(first + HALF);
            }
            key += takes;
            takes = taken ? Flag(0) : takes;
            gives = given ? Flag(0) : gives;
        }
    }
}

}  // namespace edgeflow

#endif
