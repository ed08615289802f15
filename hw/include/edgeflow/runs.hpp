// Runs of bytes, cut where lines end, as units take them that move bytes: what comes next is known before the present piece is.
#ifndef EDGEFLOW_RUNS_HPP
#define EDGEFLOW_RUNS_HPP

#include "edgeflow/memory.hpp"

namespace edgeflow {

typedef ap_uint<WORD_BITS> RunBytes;
typedef ap_uint<LINE_LENGTH_BITS> LineBytes;

// The bytes of a line that belong to one run.
struct LinePiece {
    unsigned line;
    ap_uint<LINE_BYTE_BITS> first;
    LineBytes count;
    RunBytes rest;     // of the run, behind it
    ap_uint<1> final;  // there are none
    ap_uint<1> brief;  // they end in the next line
};

// The first piece of a run that starts at a byte address.
inline LinePiece first_piece(unsigned start, const RunBytes& bytes) {
#pragma HLS INLINE
    const ap_uint<LINE_BYTE_BITS> offset = start;
    const RunBytes beyond = bytes - LINE_BYTES;
    const LineBytes latest = LINE_BYTES - bytes;           // where one that fits a line must start to lie in one
    const LineBytes latest_of_two = 2 * LINE_BYTES - bytes;  // and one that fits two
    const bool fits = bytes <= unsigned(LINE_BYTES) && offset <= latest;
    const bool fits_two = bytes <= unsigned(LINE_BYTES) || (bytes <= 2u * LINE_BYTES && offset <= latest_of_two);
    LinePiece piece;
    piece.line = start / LINE_BYTES;
    piece.first = offset;
    piece.count = fits ? LineBytes(bytes) : LineBytes(LINE_BYTES - offset);
    piece.rest = beyond + offset;
    piece.final = fits ? 1 : 0;
    piece.brief = fits_two ? 1 : 0;
    return piece;
}

// The run goes on in the next line.
inline void next_line(LinePiece& piece) {
#pragma HLS INLINE
    piece.line += 1;
    piece.first = 0;
    piece.count = piece.brief != 0 ? LineBytes(piece.rest) : LineBytes(LINE_BYTES);
    piece.final = piece.brief;
    piece.brief = piece.rest <= 2u * LINE_BYTES ? 1 : 0;
    piece.rest -= LINE_BYTES;
}

// Some bytes of the piece, not all, are done.
inline void skip_bytes(LinePiece& piece, const LineBytes& bytes) {
#pragma HLS INLINE
    piece.first += bytes;
    piece.count -= bytes;
}

// Runs one after another: the present piece, the next run's first one, and where the run after that starts.
struct Runs {
    LinePiece present;
    LinePiece next;
    unsigned after;
};

// Two pieces meet: the bytes that both have. Says whether the run ends with them.
inline bool take_piece(Runs& runs, const LineBytes& other, const RunBytes& bytes) {
#pragma HLS INLINE
    const bool ends = runs.present.count <= other;
    const bool turns = ends && runs.present.final != 0;
    if (!ends) {
        skip_bytes(runs.present, other);
    } else if (!turns) {
        next_line(runs.present);
    } else {
        runs.present = runs.next;
        runs.next = first_piece(runs.after, bytes);
    }
    return turns;
}

}  // namespace edgeflow

#endif
