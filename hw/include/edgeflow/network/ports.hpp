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
typedef ap_uint<16> Count;
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

// Clients of the array's processes.
static const int READ_FEED = 0;
static const int READ_QUERIES = 1;
static const int READ_VALUES = 2;
static const int READ_RESIDUAL = 3;
static const int READ_NORM = 4;
static const int READERS = 5;
static const int WRITE_EPILOGUE = 0;
static const int WRITE_OUTPUTS = 1;
static const int WRITE_NORM = 2;
static const int WRITERS = 3;

}  // namespace edgeflow

#endif
