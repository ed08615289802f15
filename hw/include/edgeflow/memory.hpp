// Rows of integers in word-wide memories.
//
// Every address in a program counts lines of 64 bytes. An activation of C channels is stored as rows that start at multiples of 64
// elements; an element is 1, 2 or 4 bytes, little-endian. The elements between C and the end of a row's last chunk are undefined.
//
// C is the generated configuration struct: static const int PI, PO, LANES, VECTOR, AXI_BITS, MAX_CHANNELS, MAX_TOKENS, MAX_HEAD and the
// operators' own constants. Word<C> is one AXI word.
#ifndef EDGEFLOW_MEMORY_HPP
#define EDGEFLOW_MEMORY_HPP

#include "ap_int.h"

namespace edgeflow {

template <class C>
struct Memory {
    typedef ap_uint<C::AXI_BITS> Word;
    static const int WORD_BYTES = C::AXI_BITS / 8;
    static const int LINE_WORDS = 64 / WORD_BYTES;
    static const int INTEGERS = C::AXI_BITS / 32;  // 32-bit integers in a word
    // Banks of a row buffer: one for every element that a word or a vector step touches at once.
    static const int BANKS = C::VECTOR > WORD_BYTES ? C::VECTOR : WORD_BYTES;
};

// A stored activation of up to 16 bits, signed or unsigned.
typedef ap_int<17> Element;

inline unsigned ceil_div(unsigned a, unsigned b) { return (a + b - 1) / b; }

// Lines from one row to the next.
inline unsigned row_lines(unsigned channels, unsigned bytes) { return ceil_div(channels, 64) * bytes; }

// Elements of `bytes` (1 or 2) bytes in a word; no divider.
template <class C>
unsigned word_lanes(unsigned bytes) {
#pragma HLS INLINE
    return bytes == 1 ? unsigned(Memory<C>::WORD_BYTES) : unsigned(Memory<C>::WORD_BYTES / 2);
}

// Element `lane` of a word that holds elements of `bytes` (1 or 2) bytes.
template <class C>
Element get_element(const typename Memory<C>::Word& word, int lane, unsigned bytes, bool is_signed) {
#pragma HLS INLINE
    Element value;
    if (bytes == 1) {
        ap_uint<8> raw = word.range(8 * lane + 7, 8 * lane);
        ap_int<8> negative = raw;
        value = is_signed ? Element(negative) : Element(raw);
    } else {
        ap_uint<16> raw = word.range(16 * lane + 15, 16 * lane);
        ap_int<16> negative = raw;
        value = is_signed ? Element(negative) : Element(raw);
    }
    return value;
}

// One word of the weight image (`constant`) or of the activation memory. Two loads, not a choice of pointers: that cannot be synthesized.
template <class C>
typename Memory<C>::Word read_word(
    bool constant, const typename Memory<C>::Word* weights, const typename Memory<C>::Word* memory, unsigned index) {
#pragma HLS INLINE
    typename Memory<C>::Word word = 0;
    if (constant) {
        word = weights[index];
    } else {
        word = memory[index];
    }
    return word;
}

template <class C>
void set_element(typename Memory<C>::Word& word, int lane, unsigned bytes, const Element& value) {
#pragma HLS INLINE
    if (bytes == 1) {
        word.range(8 * lane + 7, 8 * lane) = ap_uint<8>(value);
    } else {
        word.range(16 * lane + 15, 16 * lane) = ap_uint<16>(value);
    }
}

// Reads `count` elements of 1 or 2 bytes that start at a line into row[0 .. count).
template <class C, int SIZE>
void load_row(
    const typename Memory<C>::Word* port, unsigned line, unsigned count, unsigned bytes, bool is_signed, Element (&row)[SIZE]) {
#pragma HLS INLINE off
    const unsigned base = line * Memory<C>::LINE_WORDS;
    const unsigned lanes = word_lanes<C>(bytes);
    const unsigned words = ceil_div(count * bytes, Memory<C>::WORD_BYTES);
load_row_words:
    for (unsigned w = 0; w < words; ++w) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=(SIZE*16+C::AXI_BITS-1)/C::AXI_BITS
#pragma HLS PIPELINE II=1
        const typename Memory<C>::Word word = port[base + w];
        for (int lane = 0; lane < Memory<C>::WORD_BYTES; ++lane) {
#pragma HLS UNROLL
            const unsigned index = w * lanes + lane;
            if (unsigned(lane) < lanes && index < count) {
                row[index] = get_element<C>(word, lane, bytes, is_signed);
            }
        }
    }
}

// Writes row[0 .. count) as elements of 1 or 2 bytes that start at a line.
template <class C, int SIZE>
void store_row(typename Memory<C>::Word* port, unsigned line, unsigned count, unsigned bytes, const Element (&row)[SIZE]) {
#pragma HLS INLINE off
    const unsigned base = line * Memory<C>::LINE_WORDS;
    const unsigned lanes = word_lanes<C>(bytes);
    const unsigned words = ceil_div(count * bytes, Memory<C>::WORD_BYTES);
store_row_words:
    for (unsigned w = 0; w < words; ++w) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=(SIZE*16+C::AXI_BITS-1)/C::AXI_BITS
#pragma HLS PIPELINE II=1
        typename Memory<C>::Word word = 0;
        for (int lane = 0; lane < Memory<C>::WORD_BYTES; ++lane) {
#pragma HLS UNROLL
            const unsigned index = w * lanes + lane;
            if (unsigned(lane) < lanes && index < count) {
                set_element<C>(word, lane, bytes, row[index]);
            }
        }
        port[base + w] = word;
    }
}

// Reads `count` 32-bit integers that start `offset` integers after a line (a multiple of the integers in a word).
template <class C, int SIZE>
void load_int32(
    const typename Memory<C>::Word* port, unsigned line, unsigned offset, unsigned count, ap_int<32> (&values)[SIZE]) {
#pragma HLS INLINE off
    const int lanes = Memory<C>::INTEGERS;
    const unsigned base = line * Memory<C>::LINE_WORDS + offset / lanes;
    const unsigned words = ceil_div(count, lanes);
load_int32_words:
    for (unsigned w = 0; w < words; ++w) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=(SIZE*32+C::AXI_BITS-1)/C::AXI_BITS
#pragma HLS PIPELINE II=1
        const typename Memory<C>::Word word = port[base + w];
        for (int lane = 0; lane < lanes; ++lane) {
#pragma HLS UNROLL
            if (w * lanes + lane < count) {
                values[w * lanes + lane] = ap_int<32>(ap_uint<32>(word.range(32 * lane + 31, 32 * lane)));
            }
        }
    }
}

}  // namespace edgeflow

#endif
