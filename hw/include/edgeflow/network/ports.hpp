// The scratchpad as a process: others read and write lines through streams of requests, one pair of streams for each client.
//
// A client's reads are answered in order. Of its writes those that carry a notice are reported once they are in memory: that is how
// other processes learn that they may read. Requests of different clients have no order, and need none: notices give it where it
// matters.
#ifndef EDGEFLOW_NETWORK_PORTS_HPP
#define EDGEFLOW_NETWORK_PORTS_HPP

#include "edgeflow/memory.hpp"

namespace edgeflow {

typedef ap_uint<20> LineAddress;
typedef ap_uint<COUNT_BITS> Count;
typedef ap_uint<7> LinePlace;  // a byte of a line, or a number of its bytes
typedef ap_uint<1> Flag;

// What a write says once it is in memory, or once all writes of its client before it are.
static const unsigned NOTICE_NONE = 0;
static const unsigned NOTICE_DONE = 1;  // the command is complete: to the sequencer
static const unsigned NOTICE_ROW = 2;   // a row is complete: to the layer normalization that waits for it

struct WriteRequest {
    LineAddress line;
    LinePlace first;
    LinePlace count;  // 0: no more than the notice
    ap_uint<2> halves;
    ap_uint<2> notice;
    Line value;
};

inline WriteRequest no_write(unsigned notice) {
#pragma HLS INLINE
    WriteRequest request;
    request.line = 0;
    request.first = 0;
    request.count = 0;
    request.halves = 0;
    request.notice = notice;
    for (int b = 0; b < LINE_BYTES; ++b) {
#pragma HLS UNROLL
        request.value.byte[b] = 0;
    }
    return request;
}

// What a vector unit's loop reads and writes in the scratchpad's place. The loop stands twice: with AskedLines it asks for the lines that
// the other, with GivenLines, computes with. Everything but the addresses falls away in the first.
template <class C>
struct AskedLines {
    hls::stream<LineAddress>& narrow;
    hls::stream<LineAddress>& wide;
};

template <class C>
struct GivenLines {
    hls::stream<Line>& narrow;
    hls::stream<Line>& wide;
    hls::stream<WriteRequest>& writes;
};

template <class C>
Line read_narrow(const AskedLines<C>& port, unsigned line) {
#pragma HLS INLINE
    port.narrow.write(line);
    return no_write(NOTICE_NONE).value;
}

template <class C>
Line read_wide(const AskedLines<C>& port, unsigned line) {
#pragma HLS INLINE
    port.wide.write(line);
    return no_write(NOTICE_NONE).value;
}

template <class C>
Line read_narrow(const GivenLines<C>& port, unsigned) {
#pragma HLS INLINE
    return port.narrow.read();
}

template <class C>
Line read_wide(const GivenLines<C>& port, unsigned) {
#pragma HLS INLINE
    return port.wide.read();
}

template <class C>
Line read_line(const AskedLines<C>& port, unsigned line, bool narrow) {
#pragma HLS INLINE
    return narrow ? read_narrow<C>(port, line) : read_wide<C>(port, line);
}

template <class C>
Line read_line(const GivenLines<C>& port, unsigned line, bool narrow) {
#pragma HLS INLINE
    return narrow ? read_narrow<C>(port, line) : read_wide<C>(port, line);
}

template <class C>
void write_line(const AskedLines<C>&, unsigned, unsigned, unsigned, unsigned, const Line&) {
#pragma HLS INLINE
}

template <class C>
void write_line(const GivenLines<C>& port, unsigned line, unsigned first, unsigned count, unsigned halves, const Line& value) {
#pragma HLS INLINE
    if (count != 0) {
        WriteRequest request;
        request.line = line;
        request.first = first;
        request.count = count;
        request.halves = halves;
        request.notice = NOTICE_NONE;
        request.value = value;
        port.writes.write(request);
    }
}

// In the place of the weight stream and of external memory where a loop only asks.
template <class C>
struct NoWords {
    StreamWord<C> read() const {
#pragma HLS INLINE
        StreamWord<C> word;
        for (int b = 0; b < Memory<C>::STREAM_BYTES; ++b) {
#pragma HLS UNROLL
            word.byte[b] = 0;
        }
        return word;
    }
};

template <class C>
struct NoMemory {
    typename Memory<C>::Word nothing;
    typename Memory<C>::Word& operator[](unsigned) {
#pragma HLS INLINE
        return nothing;
    }
};

}  // namespace edgeflow

#endif
