// What comes from external memory in the order of the program: fetch_program reads descriptors, fetch_words the segments of the weight
// image that they name, both ahead of time. Addresses arrive with commands, in bytes; every address is that of an AXI word.
#ifndef EDGEFLOW_NETWORK_FETCH_HPP
#define EDGEFLOW_NETWORK_FETCH_HPP

#include "edgeflow/memory.hpp"
#include "edgeflow_instructions.hpp"

namespace edgeflow {

typedef ap_uint<64> Address;

struct FetchCommand {
    Address descriptors;  // of the first one
    Address weights;      // of the weight image
    ap_uint<32> count;    // of descriptors
};

// A run of words of the weight stream.
struct WordRun {
    Address word;  // number of the first AXI word
    ap_uint<32> words;  // for each port
};

// Reads an instruction after the other; each passes on its segment of the weight stream, if it has one.
template <class C>
void fetch_program(
    const typename Memory<C>::Word* descriptors, hls::stream<FetchCommand>& commands, hls::stream<Descriptor>& program,
    hls::stream<WordRun>& segments) {
    const unsigned WORD_BYTES = Memory<C>::WORD_BYTES;
    const unsigned FIELDS = WORD_BYTES / 4;
    const unsigned DESCRIPTOR_WORDS = INSTRUCTION_WORDS / FIELDS;
    const FetchCommand command = commands.read();
    const unsigned long long first = command.descriptors / WORD_BYTES;
    const unsigned long long weights = command.weights / WORD_BYTES;
    const unsigned trips = unsigned(command.count) * DESCRIPTOR_WORDS;
    Descriptor descriptor;
#pragma HLS ARRAY_PARTITION variable=descriptor.word complete
    for (int f = 0; f < INSTRUCTION_WORDS; ++f) {
#pragma HLS UNROLL
        descriptor.word[f] = 0;
    }
    unsigned left = DESCRIPTOR_WORDS;
    EDGEFLOW_ENTER("fetch program");
fetch_program:
    for (unsigned n = 0; n < trips; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=4096*DESCRIPTOR_WORDS
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("fetch program");
        const typename Memory<C>::Word word = descriptors[first + n];
        // The newest word comes in at the top.
        for (int f = 0; f < INSTRUCTION_WORDS; ++f) {
#pragma HLS UNROLL
            const int from = f + int(FIELDS);
            if (from < INSTRUCTION_WORDS) {
                descriptor.word[f] = descriptor.word[from % INSTRUCTION_WORDS];
            } else {
                const int bit = 32 * (from - INSTRUCTION_WORDS);
                descriptor.word[f] = ap_uint<32>(word.range(bit + 31, bit));
            }
        }
        left -= 1;
        if (left == 0) {
            left = DESCRIPTOR_WORDS;
            program.write(descriptor);
            WordRun segment;
            segment.word = weights + unsigned(descriptor.word[STREAM_LINE_WORD]) * Memory<C>::LINE_WORDS;
            segment.words = unsigned(descriptor.word[STREAM_LINE_WORD + 1]) * Memory<C>::LINE_STREAM_WORDS;
            if (segment.words != 0) {
                segments.write(segment);
            }
        }
    }
}

// The words of a segment lie apart: each port reads one contiguous run of them. All ports read the same memory; those beyond WEIGHT_PORTS
// are not there.
template <class C>
void fetch_words(
    const typename Memory<C>::Word* weights_0, const typename Memory<C>::Word* weights_1, const typename Memory<C>::Word* weights_2,
    const typename Memory<C>::Word* weights_3, hls::stream<WordRun>& segments, hls::stream<StreamWord<C> >& words) {
    typedef typename Memory<C>::Word Word;
    const int WORD_BYTES = Memory<C>::WORD_BYTES;
    const WordRun segment = segments.read();
    const unsigned count = segment.words;
    const unsigned long long run_0 = segment.word;
    const unsigned long long run_1 = run_0 + count;
    const unsigned long long run_2 = run_1 + count;
    const unsigned long long run_3 = run_2 + count;
    EDGEFLOW_ENTER("fetch words");
fetch_words:
    for (unsigned w = 0; w < count; ++w) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_CHANNELS*C::PO/Memory<C>::STREAM_BYTES
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("fetch words");
        Word word[4];
#pragma HLS ARRAY_PARTITION variable=word complete
        word[0] = weights_0[run_0 + w];
        word[1] = 0;
        word[2] = 0;
        word[3] = 0;
        if (C::WEIGHT_PORTS > 1) {
            word[1] = weights_1[run_1 + w];
        }
        if (C::WEIGHT_PORTS > 2) {
            word[2] = weights_2[run_2 + w];
            word[3] = weights_3[run_3 + w];
        }
        StreamWord<C> value;
#pragma HLS ARRAY_PARTITION variable=value.byte complete
        for (int b = 0; b < Memory<C>::STREAM_BYTES; ++b) {
#pragma HLS UNROLL
            const int bit = 8 * (b % WORD_BYTES);
            value.byte[b] = ap_uint<8>(word[b / WORD_BYTES].range(bit + 7, bit));
        }
        words.write(value);
    }
}

// Where the vector units find constants and external memory: a descriptor that is no instruction says so before the first one.
static const unsigned OPCODE_ADDRESSES = 0;

struct VectorState {
    Address constants;
    Address memory;
};

inline Descriptor address_descriptor(const Address& constants, const Address& memory) {
#pragma HLS INLINE
    Descriptor descriptor;
    for (int f = 0; f < INSTRUCTION_WORDS; ++f) {
#pragma HLS UNROLL
        descriptor.word[f] = 0;
    }
    descriptor.word[0] = OPCODE_ADDRESSES;
    descriptor.word[1] = ap_uint<32>(constants);
    descriptor.word[2] = ap_uint<32>(constants >> 32);
    descriptor.word[3] = ap_uint<32>(memory);
    descriptor.word[4] = ap_uint<32>(memory >> 32);
    return descriptor;
}

inline void take_addresses(const Descriptor& descriptor, VectorState& state) {
#pragma HLS INLINE
    state.constants = (Address(descriptor.word[2]) << 32) | Address(descriptor.word[1]);
    state.memory = (Address(descriptor.word[4]) << 32) | Address(descriptor.word[3]);
}

}  // namespace edgeflow

#endif
