// The operands of the array: rows of the scratchpad stream by, PI bytes a step.
//
// feed_lines asks for the lines of every row, feed_steps cuts what comes back into steps. A linear layer's input and the keys of
// attention take the same way.
#ifndef EDGEFLOW_NETWORK_FEED_HPP
#define EDGEFLOW_NETWORK_FEED_HPP

#include "edgeflow/network/ports.hpp"

namespace edgeflow {

struct FeedCommand {
    LineAddress line;
    Count stride;   // lines from row to row
    Count rows;     // pairs of rows in the 4-bit mode
    Count lines;    // of a row that are read
    Count steps;    // of a row
    ap_uint<4> part;  // the first step's place in its line
    ap_uint<2> storage;
    Flag is_signed;
    Flag quad;
};

// What the array takes in one cycle: PI bytes of a row, and how they are read: signed or not; as both halves of each byte, of two rows;
// as one half, the upper one where `odd` is set.
template <class C>
struct Step {
    ap_uint<8> byte[C::PI];
    Flag is_signed;
    Flag quad;
    Flag nibbles;
    Flag odd;
};

template <class C>
void feed_lines(hls::stream<FeedCommand>& commands, hls::stream<LineAddress>& requests) {
    const FeedCommand command = commands.read();
    const ap_uint<32> trips = ap_uint<32>(command.rows) * command.lines;
    LineAddress line = command.line;
    LineAddress row = command.line;
    Count left = command.lines;
    Flag odd = 0;
    EDGEFLOW_ENTER("feed lines");
feed_lines:
    for (ap_uint<32> n = 0; n < trips; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_TOKENS*C::MAX_CHANNELS/LINE_BYTES
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("feed lines");
        requests.write(line);
        if (left == 1) {
            // Two rows of half bytes lie in one line.
            const bool same = command.storage == NIBBLES && command.quad == 0 && odd == 0;
            if (!same) {
                row += command.stride;
            }
            odd = odd ^ Flag(1);
            line = row;
            left = command.lines;
        } else {
            line += 1;
            left -= 1;
        }
    }
}

template <class C>
void feed_steps(hls::stream<FeedCommand>& commands, hls::stream<Line>& lines, hls::stream<Step<C> >& steps) {
    const FeedCommand command = commands.read();
    const ap_uint<32> trips = ap_uint<32>(command.rows) * command.steps;
    const unsigned PARTS = LINE_BYTES / C::PI;
    ap_uint<4> part = command.part;
    Count left = command.steps;
    Flag fresh = 1;  // whether the step is the first of its line
    Flag odd = 0;
    Line line;
#pragma HLS ARRAY_PARTITION variable=line.byte complete
    EDGEFLOW_ENTER("feed steps");
feed_steps:
    for (ap_uint<32> n = 0; n < trips; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_TOKENS*C::MAX_CHANNELS/C::PI
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("feed steps");
        if (fresh != 0) {
            line = lines.read();
        }
        Step<C> step;
#pragma HLS ARRAY_PARTITION variable=step.byte complete
        for (int i = 0; i < C::PI; ++i) {
#pragma HLS UNROLL
            step.byte[i] = line.byte[(part * C::PI + i) % LINE_BYTES];
        }
        step.is_signed = command.is_signed;
        step.quad = command.quad;
        step.nibbles = command.storage == NIBBLES ? 1 : 0;
        step.odd = odd;
        steps.write(step);
        const bool ends = left == 1;
        const bool turns = part == PARTS - 1;
        fresh = ends || turns ? 1 : 0;
        part = ends ? command.part : turns ? ap_uint<4>(0) : ap_uint<4>(part + 1);
        left = ends ? command.steps : Count(left - 1);
        if (ends) {
            odd = odd ^ Flag(1);
        }
    }
}

}  // namespace edgeflow

#endif
