// Chunks whose results may have up to 24 bits: words of four bytes that leave the accelerator as they are.
//
// LANES is a power of two of at most 32. Where results take four bytes, a unit with 32 lanes works on 16, so that what it writes in a
// cycle never crosses a line: its chunks then start at multiples of 16 elements.
#ifndef EDGEFLOW_LONG_CHUNK_HPP
#define EDGEFLOW_LONG_CHUNK_HPP

#include "edgeflow/memory.hpp"
#include "edgeflow/requantize.hpp"

namespace edgeflow {

static const int LINE_INTEGERS = LINE_BYTES / 4;  // elements of a line that take four bytes (WORDS)

// Lanes that can be at work whatever the storage of the results.
template <int LANES>
struct LongChunk {
    static const int COMMON = LANES < LINE_INTEGERS ? LANES : LINE_INTEGERS;
};

// The line, counted from the start of its row, that holds an element.
inline unsigned element_line(unsigned element, unsigned storage) {
#pragma HLS INLINE
    unsigned line = element >> 6;
    if (storage == HALVES) {
        line = element >> 5;
    }
    if (storage == WORDS) {
        line = element >> 4;
    }
    return line;
}

// Chunks of a row of which a cycle takes `lanes` elements, a power of two.
inline unsigned chunks_of(unsigned channels, unsigned lanes) {
#pragma HLS INLINE
    unsigned chunks = channels;
    for (unsigned size = 2; size <= unsigned(LINE_BYTES) / 2; size *= 2) {
#pragma HLS UNROLL
        chunks = size == lanes ? (channels + (size - 1)) / size : chunks;
    }
    return chunks;
}

// Lines from one row to the next.
inline unsigned long_row_lines(unsigned channels, unsigned storage) {
#pragma HLS INLINE
    const unsigned lines = row_lines(channels, storage);
    return storage == WORDS ? lines << 2 : lines;
}

// Reads the chunk that starts at `element` of the row at `line`; BYTES or HALVES.
template <class C, int LANES, class S>
void read_elements(
    const S& scratch, unsigned line, bool narrow, unsigned element, unsigned storage, bool is_signed, Element (&chunk)[LANES]) {
#pragma HLS INLINE
    const Line value = read_line<C>(scratch, line + element_line(element, storage), narrow);
    const unsigned place = storage == HALVES ? element & 31u : element & 63u;
    for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
        chunk[lane] = 0;
        for (int start = 0; start < LINE_BYTES; start += LongChunk<LANES>::COMMON) {
#pragma HLS UNROLL
            if (unsigned(start) == place) {
                chunk[lane] = line_element(value, (start + lane) % LINE_BYTES, storage, is_signed, 0);
            }
        }
    }
}

// Writes the chunk that starts at `element` of the row at `line`: BYTES, HALVES, or WORDS.
template <class C, int LANES, class S>
void write_elements(S& scratch, unsigned line, unsigned element, unsigned storage, const LongElement (&chunk)[LANES]) {
#pragma HLS INLINE
    Line value;
#pragma HLS ARRAY_PARTITION variable=value.byte complete
    // Every place of the line gets the element that it would hold; the write enables pick the chunk's own.
    for (int b = 0; b < LINE_BYTES; ++b) {
#pragma HLS UNROLL
        ap_uint<8> byte = ap_uint<8>(chunk[b % LANES]);
        if (storage == HALVES) {
            byte = ap_uint<8>(chunk[(b / 2) % LANES] >> (8 * (b % 2)));
        }
        if (storage == WORDS) {
            byte = ap_uint<8>(chunk[(b / 4) % LongChunk<LANES>::COMMON] >> (8 * (b % 4)));
        }
        value.byte[b] = byte;
    }
    unsigned first = element & 63u;
    unsigned count = LANES;
    if (storage == HALVES) {
        first = (element & 31u) << 1;
        count = 2 * LANES;
    }
    if (storage == WORDS) {
        first = (element & 15u) << 2;
        count = 4 * LongChunk<LANES>::COMMON;
    }
    write_line<C>(scratch, line + element_line(element, storage), first, count, 3, value);
}

// Clips to `bits` (1 to 24) signed or unsigned bits.
inline LongElement saturate_long(const Product& value, unsigned bits, bool is_signed) {
#pragma HLS INLINE
    return clip<LONG_ELEMENT_BITS, PRODUCT_BITS>(value, bits, is_signed);
}

}  // namespace edgeflow

#endif
