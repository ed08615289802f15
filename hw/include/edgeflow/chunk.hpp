// Chunks: the C::VECTOR elements of a row that a vector unit takes in one cycle. VECTOR is a power of two, at most 32, so that a chunk
// never crosses a line of the scratchpad.
#ifndef EDGEFLOW_CHUNK_HPP
#define EDGEFLOW_CHUNK_HPP

#include "edgeflow/memory.hpp"

namespace edgeflow {

template <class C>
struct Chunk {
    static const int LINE_BYTE_CHUNKS = LINE_BYTES / C::VECTOR;        // chunks of a line of bytes (or of half bytes)
    static const int LINE_HALF_CHUNKS = LINE_BYTES / 2 / C::VECTOR;    // chunks of a line of two-byte elements
    static const int INTEGERS = Memory<C>::STREAM_BYTES / 4;           // 32-bit integers in a word of the weight stream
};

// The line of a chunk, counted from the start of its row.
template <class C>
unsigned chunk_line(unsigned chunk, unsigned storage) {
#pragma HLS INLINE
    return storage == HALVES ? chunk / unsigned(Chunk<C>::LINE_HALF_CHUNKS) : chunk / unsigned(Chunk<C>::LINE_BYTE_CHUNKS);
}

// The place of a chunk in its line.
template <class C>
unsigned chunk_part(unsigned chunk, unsigned storage) {
#pragma HLS INLINE
    return storage == HALVES ? chunk % unsigned(Chunk<C>::LINE_HALF_CHUNKS) : chunk % unsigned(Chunk<C>::LINE_BYTE_CHUNKS);
}

// Takes a chunk out of its line; a multiplexer for each lane.
template <class C>
void take_chunk(const Line& line, unsigned chunk, unsigned storage, bool is_signed, unsigned row, Element (&value)[C::VECTOR]) {
#pragma HLS INLINE
    const unsigned part = chunk_part<C>(chunk, storage);
    for (int lane = 0; lane < C::VECTOR; ++lane) {
#pragma HLS UNROLL
        value[lane] = 0;
    }
    for (int p = 0; p < Chunk<C>::LINE_BYTE_CHUNKS; ++p) {
#pragma HLS UNROLL
        if (unsigned(p) == part) {
            for (int lane = 0; lane < C::VECTOR; ++lane) {
#pragma HLS UNROLL
                value[lane] = line_element(line, p * C::VECTOR + lane, storage, is_signed, row);
            }
        }
    }
}

// Bytes that a chunk takes of its line.
template <class C>
unsigned chunk_bytes(unsigned storage) {
#pragma HLS INLINE
    return storage == HALVES ? 2u * C::VECTOR : unsigned(C::VECTOR);
}

// Lays a chunk all over a line; write enables pick its place, so that no multiplexer is needed.
template <class C>
void lay_chunk(unsigned storage, const Element (&value)[C::VECTOR], Line& line) {
#pragma HLS INLINE
    for (int p = 0; p < Chunk<C>::LINE_BYTE_CHUNKS; ++p) {
#pragma HLS UNROLL
        for (int lane = 0; lane < C::VECTOR; ++lane) {
#pragma HLS UNROLL
            set_line_element(line, p * C::VECTOR + lane, storage, value[lane]);
        }
    }
}

// Writes a chunk of a row that starts at line `start`.
template <class C, class S>
void write_chunk(S& scratch, unsigned start, unsigned chunk, unsigned storage, unsigned row, const Element (&value)[C::VECTOR]) {
#pragma HLS INLINE
    Line line;
#pragma HLS ARRAY_PARTITION variable=line.byte complete
    lay_chunk<C>(storage, value, line);
    const unsigned bytes = chunk_bytes<C>(storage);
    const unsigned first = chunk_part<C>(chunk, storage) * bytes;
    write_line<C>(scratch, start + chunk_line<C>(chunk, storage), first, bytes, row_halves(storage, row), line);
}

// The line at which the next row starts; rows of half bytes lie two to a line.
inline unsigned next_row_line(unsigned line, unsigned row, unsigned stride, unsigned storage) {
#pragma HLS INLINE
    return storage == NIBBLES && (row & 1u) == 0 ? line : line + stride;
}

// 32-bit integer number n of a word of the weight stream.
template <class C>
Accumulator stream_integer(const StreamWord<C>& word, int n) {
#pragma HLS INLINE
    const ap_uint<32> raw = ap_uint<32>(word.byte[4 * n]) | (ap_uint<32>(word.byte[4 * n + 1]) << 8) |
                            (ap_uint<32>(word.byte[4 * n + 2]) << 16) | (ap_uint<32>(word.byte[4 * n + 3]) << 24);
    return Accumulator(raw);
}

}  // namespace edgeflow

#endif
