// Values and outputs of attention, which come one way round and are wanted the other: memories whose banks rotate.
//
// Byte (key j, channel d) lies in bank (j + d) mod 64, so that a key writes 64 banks and a channel reads 64 banks, one element of each.
// The same holds for the outputs, in EPILOGUE banks: element (query q, channel d) lies in bank (q + d) mod EPILOGUE.
#ifndef EDGEFLOW_NETWORK_VALUES_HPP
#define EDGEFLOW_NETWORK_VALUES_HPP

#include "edgeflow/network/feed.hpp"
#include "edgeflow/rounds.hpp"
#include "edgeflow/network/load.hpp"

namespace edgeflow {

// Lines of the scratchpad, row by row; of a head's queries, values or mask.
struct LinesCommand {
    LineAddress line;
    Count stride;
    Count rows;
    Count lines;
    Count part;  // queries: the first step, of which a line holds several
    Count parts;
};

template <class C>
void value_lines(hls::stream<LinesCommand>& commands, hls::stream<LineAddress>& requests) {
    const LinesCommand command = commands.read();
    const ap_uint<32> trips = ap_uint<32>(command.rows) * command.lines;
    LineAddress row = command.line;
    LineAddress line = command.line;
    Count left = command.lines;
    EDGEFLOW_ENTER("value lines");
value_lines:
    for (ap_uint<32> n = 0; n < trips; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::ATTENTION_VALUES
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("value lines");
        requests.write(line);
        if (left == 1) {
            row += command.stride;
            line = row;
            left = command.lines;
        } else {
            line += 1;
            left -= 1;
        }
    }
}

// For each group of rows that words of the array's operands are cut from (load.hpp), and for each step, a line of every row of the
// group; rows beyond the last are left out.
template <class C>
void query_lines(hls::stream<LinesCommand>& commands, hls::stream<LineAddress>& requests) {
    const LinesCommand command = commands.read();
    const unsigned PARTS = LINE_BYTES / C::PI;
    const unsigned LANES = QueryGroup<C>::LANES;
    const Count groups = (command.rows + (LANES - 1)) / LANES;
    const ap_uint<32> trips = ap_uint<32>(groups * LANES) * command.parts;
    LineAddress group = command.line;  // of the first row
    LineAddress row = command.line;
    Round<COUNT_BITS> lane_of_group = round_of(Count(LANES));
    Round<COUNT_BITS> step = round_of(command.parts);
    Count lane = 0;
    Count part = command.part;
    EDGEFLOW_ENTER("query lines");
query_lines:
    for (ap_uint<32> n = 0; n < trips; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::PO*C::ATTENTION_HEAD/C::PI
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("query lines");
        if (lane < command.rows) {
            requests.write(row + part / PARTS);
        }
        const bool again = lane_of_group.last != 0 && step.last == 0;  // the group's rows, for its next step
        const LineAddress next = row + command.stride;
        row = again ? group : next;
        lane = again ? Count(lane - (LANES - 1)) : Count(lane + 1);
        if (lane_of_group.last != 0) {
            part = step.last != 0 ? command.part : Count(part + 1);
            group = step.last != 0 ? next : group;
            turn(step);
        }
        turn(lane_of_group);
    }
}

struct ValuesCommand {
    // Lines of the next head, or of a mask.
    Count keys;
    Count lines;
    Flag mask;
    Flag load_set;
    // Channels of the present head stream by.
    Count rows;
    Count steps;
    Count column;
    Flag set;
};

template <class C>
struct ValuesState {
    ap_uint<8> value[LINE_BYTES][C::ATTENTION_VALUES];
};

template <class C>
void values(
    hls::stream<ValuesCommand>& commands, hls::stream<Line>& lines, hls::stream<Line>& masks, hls::stream<Step<C> >& steps,
    ValuesState<C>& state) {
#pragma HLS ARRAY_PARTITION variable=state.value complete dim=1
    const ValuesCommand command = commands.read();
    const ap_uint<32> loads = ap_uint<32>(command.keys) * command.lines;
    const ap_uint<32> makes = ap_uint<32>(command.rows) * command.steps;
    const ap_uint<32> trips = loads > makes ? loads : makes;
    const unsigned KEY_LINES = C::ATTENTION_KEYS / LINE_BYTES;
    Remaining<32> made_left = remaining_of(makes);
    Remaining<32> loads_left = remaining_of(loads);
    Round<COUNT_BITS> line_of_key = round_of(command.lines);
    Round<COUNT_BITS> step_of_channel = round_of(command.steps);
    Count key = 0;
    Count key_line = 0;
    Count channel = command.column;
    Count step = 0;
    EDGEFLOW_ENTER("values");
values:
    for (ap_uint<32> n = 0; n < trips; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::ATTENTION_VALUES
#pragma HLS PIPELINE II=1
// The set that is loaded is not the one that is read.
#pragma HLS DEPENDENCE variable=state.value inter false
        EDGEFLOW_TRIP("values");
        if (made_left.some != 0) {
            const unsigned first = unsigned(step) * C::PI;
            const unsigned place = (unsigned(command.set) * C::ATTENTION_HEAD + channel) * KEY_LINES + first / LINE_BYTES;
            ap_uint<8> bank[LINE_BYTES];
#pragma HLS ARRAY_PARTITION variable=bank complete
            for (int b = 0; b < LINE_BYTES; ++b) {
#pragma HLS UNROLL
                bank[b] = state.value[b][place];
            }
            Step<C> made;
#pragma HLS ARRAY_PARTITION variable=made.byte complete
            for (int i = 0; i < C::PI; ++i) {
#pragma HLS UNROLL
                made.byte[i] = bank[(first + i + channel) % LINE_BYTES];
            }
            made.is_signed = 1;
            made.quad = 0;
            made.nibbles = 0;
            made.odd = 0;
            steps.write(made);
            step = step_of_channel.last != 0 ? Count(0) : Count(step + 1);
            if (step_of_channel.last != 0) {
                channel += 1;
            }
            turn(step_of_channel);
            take_one(made_left);
        }
        if (loads_left.some != 0) {
            const Line line = lines.read();
            if (command.mask != 0) {
                masks.write(line);
            } else {
                for (int b = 0; b < LINE_BYTES; ++b) {
#pragma HLS UNROLL
                    const unsigned d = (b - unsigned(key)) % LINE_BYTES;
                    const unsigned at = unsigned(key_line) * LINE_BYTES + d;
                    const unsigned place = (unsigned(command.load_set) * C::ATTENTION_HEAD + at) * KEY_LINES + key / LINE_BYTES;
                    state.value[b][place] = line.byte[d];
                }
            }
            key_line = line_of_key.last != 0 ? Count(0) : Count(key_line + 1);
            if (line_of_key.last != 0) {
                key += 1;
            }
            turn(line_of_key);
            take_one(loads_left);
        }
    }
}

// EPILOGUE outputs of one channel: of the queries `group * EPILOGUE` and on.
template <class C>
struct QueryOutputs {
    Element output[C::EPILOGUE];
};

struct OutputsCommand {
    // What comes from the epilogue.
    Count rows;
    Flag set;
    // What goes to the scratchpad.
    LineAddress line;
    Count stride;
    Count lanes;
    Count channel;
    Count channels;
    ap_uint<2> storage;
    Flag store_set;
    Flag notice;
};

template <class C>
struct OutputsState {
    Element output[C::EPILOGUE][2][C::PO / C::EPILOGUE][C::ATTENTION_HEAD];
};

template <class C>
void outputs(
    hls::stream<OutputsCommand>& commands, hls::stream<QueryOutputs<C> >& made, hls::stream<WriteRequest>& writes,
    OutputsState<C>& state) {
#pragma HLS ARRAY_PARTITION variable=state.output complete dim=1
#pragma HLS ARRAY_PARTITION variable=state.output complete dim=3
#pragma HLS BIND_STORAGE variable=state.output type=ram_s2p impl=lutram
    const OutputsCommand command = commands.read();
    const unsigned GROUPS = C::PO / C::EPILOGUE;
    const unsigned beats = (unsigned(command.channels) + C::EPILOGUE - 1) / C::EPILOGUE;
    const ap_uint<32> takes = ap_uint<32>(command.rows) * GROUPS;
    const ap_uint<32> stores = ap_uint<32>(command.lanes) * beats;
    const ap_uint<32> trips = takes > stores ? takes : stores;
    Remaining<32> takes_left = remaining_of(takes);
    Remaining<32> stores_left = remaining_of(stores);
    Round<COUNT_BITS> beat = round_of(Count(beats));
    Count channel = 0;
    Count group = 0;
    Count lane = 0;
    Count step = 0;
    LineAddress row = command.line;
    EDGEFLOW_ENTER("outputs");
outputs:
    for (ap_uint<32> n = 0; n < trips; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::PO*C::ATTENTION_HEAD
#pragma HLS PIPELINE II=1
// The set that is taken is not the one that is stored.
#pragma HLS DEPENDENCE variable=state.output inter false
        EDGEFLOW_TRIP("outputs");
        if (takes_left.some != 0) {
            const QueryOutputs<C> taken = made.read();
            for (int bank = 0; bank < C::EPILOGUE; ++bank) {
#pragma HLS UNROLL
                state.output[bank][command.set][group][channel] = taken.output[(bank - unsigned(channel)) % C::EPILOGUE];
            }
            const bool whole = group == GROUPS - 1;
            group = whole ? Count(0) : Count(group + 1);
            if (whole) {
                channel += 1;
            }
            take_one(takes_left);
        }
        if (stores_left.some != 0) {
            const unsigned from = unsigned(lane) % C::EPILOGUE;
            const unsigned first = unsigned(step) * C::EPILOGUE;
            Element bank[C::EPILOGUE];
#pragma HLS ARRAY_PARTITION variable=bank complete
            for (int b = 0; b < C::EPILOGUE; ++b) {
#pragma HLS UNROLL
                const unsigned i = (b - from) % C::EPILOGUE;
                bank[i] = state.output[b][command.store_set][lane / C::EPILOGUE][first + i];
            }
            const unsigned at = unsigned(command.channel) + first;
            const bool halves = command.storage == HALVES;
            WriteRequest request = no_write(NOTICE_NONE);
            for (int b = 0; b < LINE_BYTES; ++b) {
#pragma HLS UNROLL
                if (!halves || b < LINE_BYTES / 2) {
                    set_line_element(request.value, b, command.storage, bank[(b - at) % C::EPILOGUE]);
                }
            }
            const unsigned left = unsigned(command.channels) - first;
            const unsigned count = left < unsigned(C::EPILOGUE) ? left : unsigned(C::EPILOGUE);
            request.line = row + (halves ? at >> 5 : at >> 6);
            request.first = halves ? (at % 32) * 2 : at % 64;
            request.count = halves ? count * 2 : count;
            request.halves = 3;
            writes.write(request);
            step = beat.last != 0 ? Count(0) : Count(step + 1);
            if (beat.last != 0) {
                lane += 1;
                row += command.stride;
            }
            turn(beat);
            take_one(stores_left);
        }
    }
    if (command.notice != 0) {
        writes.write(no_write(NOTICE_DONE));
    }
}

}  // namespace edgeflow

#endif
