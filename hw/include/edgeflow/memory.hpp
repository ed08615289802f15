// Memories of the accelerator: the on-chip scratchpad, words behind AXI ports, and rows of integers in both.
//
// Every address counts lines of 64 bytes. The scratchpad is one address space: lines below NARROW_LINES lie in the narrow memory (8-bit
// activations and pairs of 4-bit rows), the others in the wide memory (16-bit activations). An activation of C channels is stored as
// rows that start at multiples of 64 elements; an element is half a byte, 1 or 2 bytes, little-endian. In half-byte storage a line
// holds two rows: the even row in the low halves of its bytes, the odd row in the high halves. The elements between C and the end of a
// row's last chunk are undefined.
//
// C is the generated configuration struct. Word<C> is one AXI word, StreamWord<C> what all weight ports deliver in a cycle.
#ifndef EDGEFLOW_MEMORY_HPP
#define EDGEFLOW_MEMORY_HPP

#include "edgeflow/count.hpp"
#include "edgeflow_types.hpp"
#include "hls_stream.h"

namespace edgeflow {

template <class C>
struct Memory {
    typedef ap_uint<C::AXI_BITS> Word;
    static const int WORD_BYTES = C::AXI_BITS / 8;
    static const int LINE_WORDS = LINE_BYTES / WORD_BYTES;
    static const int STREAM_BYTES = C::WEIGHT_PORTS * WORD_BYTES;
    static const int LINE_STREAM_WORDS = LINE_BYTES / STREAM_BYTES;
    static const int LINES = C::NARROW_LINES + C::WIDE_LINES;
};

// One line of the scratchpad, or of the weight stream.
struct Line {
    ap_uint<8> byte[LINE_BYTES];
};

// What the weight ports deliver in one cycle.
template <class C>
struct StreamWord {
    ap_uint<8> byte[Memory<C>::STREAM_BYTES];
};

// The scratchpad. Every byte of a line is a bank of its own; of the narrow memory, every half byte.
template <class C>
struct Scratch {
    ap_uint<4> narrow[2][C::NARROW_LINES][LINE_BYTES];
    ap_uint<8> wide[C::WIDE_LINES][LINE_BYTES];
};

inline unsigned ceil_div(unsigned a, unsigned b) {
#pragma HLS INLINE
    return (a + b - 1) / b;
}

// Lines from one row to the next (one pair of rows to the next in half-byte storage).
inline unsigned row_lines(unsigned channels, unsigned storage) {
#pragma HLS INLINE
    const unsigned chunks = (channels + 63) >> 6;
    return storage == HALVES ? chunks << 1 : chunks;
}

// The line at which a row starts.
inline unsigned row_line(unsigned base, unsigned row, unsigned stride, unsigned storage) {
#pragma HLS INLINE
    return base + (storage == NIBBLES ? row >> 1 : row) * stride;
}

template <class C>
Line read_narrow(const Scratch<C>& scratch, unsigned line) {
#pragma HLS INLINE
    Line value;
#pragma HLS ARRAY_PARTITION variable=value.byte complete
    for (int b = 0; b < LINE_BYTES; ++b) {
#pragma HLS UNROLL
        value.byte[b] = ap_uint<8>((ap_uint<8>(scratch.narrow[1][line][b]) << 4) | scratch.narrow[0][line][b]);
    }
    return value;
}

template <class C>
Line read_wide(const Scratch<C>& scratch, unsigned line) {
#pragma HLS INLINE
    Line value;
#pragma HLS ARRAY_PARTITION variable=value.byte complete
    for (int b = 0; b < LINE_BYTES; ++b) {
#pragma HLS UNROLL
        value.byte[b] = scratch.wide[line - C::NARROW_LINES][b];
    }
    return value;
}

// Whether a line lies in the narrow memory. A tensor lies in one of them, so that a unit knows where it reads before its loop begins.
template <class C>
bool lies_narrow(unsigned line) {
#pragma HLS INLINE
    return line < unsigned(C::NARROW_LINES);
}

// A line of either memory.
template <class C>
Line read_line(const Scratch<C>& scratch, unsigned line, bool narrow) {
#pragma HLS INLINE
    Line value;
#pragma HLS ARRAY_PARTITION variable=value.byte complete
    if (narrow) {
        value = read_narrow<C>(scratch, line);
    } else {
        value = read_wide<C>(scratch, line);
    }
    return value;
}

template <class C>
Line read_line(const Scratch<C>& scratch, unsigned line) {
#pragma HLS INLINE
    return read_line<C>(scratch, line, lies_narrow<C>(line));
}

// Writes bytes [first, first + count) of a line of the narrow memory; `halves` is 1 (low), 2 (high) or 3 (both halves of each byte).
template <class C>
void write_narrow(Scratch<C>& scratch, unsigned line, unsigned first, unsigned count, unsigned halves, const Line& value) {
#pragma HLS INLINE
    for (int b = 0; b < LINE_BYTES; ++b) {
#pragma HLS UNROLL
        if (unsigned(b) >= first && unsigned(b) < first + count) {
            if (halves & 1u) {
                scratch.narrow[0][line][b] = ap_uint<4>(value.byte[b]);
            }
            if (halves & 2u) {
                scratch.narrow[1][line][b] = ap_uint<4>(value.byte[b] >> 4);
            }
        }
    }
}

template <class C>
void write_wide(Scratch<C>& scratch, unsigned line, unsigned first, unsigned count, const Line& value) {
#pragma HLS INLINE
    for (int b = 0; b < LINE_BYTES; ++b) {
#pragma HLS UNROLL
        if (unsigned(b) >= first && unsigned(b) < first + count) {
            scratch.wide[line - C::NARROW_LINES][b] = value.byte[b];
        }
    }
}

// Writes bytes of a line of either memory; `halves` as in write_narrow (the wide memory ignores it).
template <class C>
void write_line(Scratch<C>& scratch, unsigned line, unsigned first, unsigned count, unsigned halves, const Line& value) {
#pragma HLS INLINE
    if (line < unsigned(C::NARROW_LINES)) {
        write_narrow<C>(scratch, line, first, count, halves, value);
    } else {
        write_wide<C>(scratch, line, first, count, value);
    }
}

// Element `lane` of a line in some storage; `row` says which half of the bytes holds it in half-byte storage.
inline Element line_element(const Line& line, int lane, unsigned storage, bool is_signed, unsigned row) {
#pragma HLS INLINE
    Element value = 0;
    if (storage == HALVES) {
        const ap_uint<16> raw = ap_uint<16>(line.byte[2 * (lane % 32)]) | (ap_uint<16>(line.byte[2 * (lane % 32) + 1]) << 8);
        const ap_int<16> negative = raw;
        value = is_signed ? Element(negative) : Element(raw);
    } else if (storage == BYTES) {
        const ap_uint<8> raw = line.byte[lane];
        const ap_int<8> negative = raw;
        value = is_signed ? Element(negative) : Element(raw);
    } else {
        const ap_uint<8> byte = line.byte[lane];
        const ap_uint<4> raw = (row & 1u) != 0 ? ap_uint<4>(byte >> 4) : ap_uint<4>(byte);
        const ap_int<4> negative = raw;
        value = is_signed ? Element(negative) : Element(raw);
    }
    return value;
}

// Puts element `lane` into a line; in half-byte storage into both halves of the byte (write_line picks one).
inline void set_line_element(Line& line, int lane, unsigned storage, const Element& value) {
#pragma HLS INLINE
    if (storage == HALVES) {
        const ap_uint<16> raw = value;
        line.byte[2 * (lane % 32)] = ap_uint<8>(raw);
        line.byte[2 * (lane % 32) + 1] = ap_uint<8>(raw >> 8);
    } else if (storage == BYTES) {
        line.byte[lane] = ap_uint<8>(value);
    } else {
        const ap_uint<4> raw = value;
        line.byte[lane] = ap_uint<8>((ap_uint<8>(raw) << 4) | raw);
    }
}

// Halves of the bytes that a row takes: 1 or 2 in half-byte storage, both otherwise.
inline unsigned row_halves(unsigned storage, unsigned row) {
#pragma HLS INLINE
    return storage == NIBBLES ? 1u << (row & 1u) : 3u;
}

// Reads a whole line from the weight stream.
template <class C, class W>
Line pop_line(W& stream) {
#pragma HLS INLINE
    Line line;
#pragma HLS ARRAY_PARTITION variable=line.byte complete
    for (int n = 0; n < Memory<C>::LINE_STREAM_WORDS; ++n) {
#pragma HLS UNROLL
        const StreamWord<C> word = stream.read();
        for (int b = 0; b < Memory<C>::STREAM_BYTES; ++b) {
#pragma HLS UNROLL
            line.byte[n * Memory<C>::STREAM_BYTES + b] = word.byte[b];
        }
    }
    return line;
}

}  // namespace edgeflow

#endif
