// The scratchpad's process in C simulation: requests of its clients, one of each in turn.
#ifndef EDGEFLOW_SIMULATION_SCRATCHPAD_H
#define EDGEFLOW_SIMULATION_SCRATCHPAD_H

#include "edgeflow/network/ports.hpp"

namespace edgeflow_simulation {

// A read is answered only where there is room for the answer, so that no client holds up another.
inline bool asks(const hls::stream<edgeflow::LineAddress>& requests, const hls::stream<edgeflow::Line>& lines) {
    return !requests.empty() && !lines.full();
}

template <class C>
void answer(
    const edgeflow::Scratch<C>& scratch, hls::stream<edgeflow::LineAddress>& requests, hls::stream<edgeflow::Line>& lines) {
    if (asks(requests, lines)) {
        lines.write(edgeflow::read_line<C>(scratch, unsigned(requests.read())));
    }
}

template <class C>
void store(
    edgeflow::Scratch<C>& scratch, hls::stream<edgeflow::WriteRequest>& writes, hls::stream<edgeflow::Flag>& done,
    hls::stream<edgeflow::Flag>& complete_rows) {
    if (!writes.empty()) {
        const edgeflow::WriteRequest request = writes.read();
        if (request.count != 0) {
            edgeflow::write_line<C>(scratch, request.line, request.first, request.count, request.halves, request.value);
        }
        if (request.notice == edgeflow::NOTICE_DONE) {
            done.write(1);
        } else if (request.notice == edgeflow::NOTICE_ROW) {
            complete_rows.write(1);
        }
    }
}

}  // namespace edgeflow_simulation

#endif
