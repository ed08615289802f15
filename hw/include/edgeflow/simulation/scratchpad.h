// The scratchpad's process in C simulation: requests of its clients, one of each in turn.
#ifndef EDGEFLOW_SIMULATION_SCRATCHPAD_H
#define EDGEFLOW_SIMULATION_SCRATCHPAD_H

#include "edgeflow/network/ports.hpp"

namespace edgeflow_simulation {

// Of the core (hw/scratchpad_core.py), where no other client wants the bank in the same cycle.
const std::uint64_t READ_CYCLES = 4;
const std::uint64_t NOTICE_CYCLES = 1;

// A read is answered only where there is room for the answer, so that no client holds up another.
inline bool asks(const hls::stream<edgeflow::LineAddress>& requests, const hls::stream<edgeflow::Line>& lines) {
    return !requests.empty() && !lines.full();
}

template <class C>
void answer(
    const edgeflow::Scratch<C>& scratch, hls::stream<edgeflow::LineAddress>& requests, hls::stream<edgeflow::Line>& lines) {
    if (asks(requests, lines)) {
#ifdef EDGEFLOW_COUNT
        std::uint64_t time;
        const unsigned line = requests.read_at(time);
        lines.write_at(edgeflow::read_line<C>(scratch, line), time + READ_CYCLES);
#else
        lines.write(edgeflow::read_line<C>(scratch, unsigned(requests.read())));
#endif
    }
}

template <class C>
void store(
    edgeflow::Scratch<C>& scratch, hls::stream<edgeflow::WriteRequest>& writes, hls::stream<edgeflow::Flag>& done,
    hls::stream<edgeflow::Flag>& complete_rows) {
    if (!writes.empty()) {
#ifdef EDGEFLOW_COUNT
        std::uint64_t time;
        const edgeflow::WriteRequest request = writes.read_at(time);
#else
        const edgeflow::WriteRequest request = writes.read();
#endif
        if (request.count != 0) {
            edgeflow::write_line<C>(scratch, request.line, request.first, request.count, request.halves, request.value);
        }
        if (request.notice != edgeflow::NOTICE_NONE) {
            hls::stream<edgeflow::Flag>& notices = request.notice == edgeflow::NOTICE_DONE ? done : complete_rows;
#ifdef EDGEFLOW_COUNT
            notices.write_at(1, time + NOTICE_CYCLES);
#else
            notices.write(1);
#endif
        }
    }
}

}  // namespace edgeflow_simulation

#endif
