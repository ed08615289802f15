// The epilogue of the array: what happens to the sums of a row, EPILOGUE outputs a cycle.
//
// Bias and requantization; then an activation table or a residual; saturation; a write to the scratchpad. Sums of attention take their
// query's reciprocal instead and go to the outputs, or wait for those of the next keys. The parameters of the next tile arrive meanwhile.
#ifndef EDGEFLOW_NETWORK_EPILOGUE_HPP
#define EDGEFLOW_NETWORK_EPILOGUE_HPP

#include "edgeflow/network/multiply.hpp"
#include "edgeflow/network/values.hpp"
#include "edgeflow/network/weigh.hpp"
#include "edgeflow/rounds.hpp"

namespace edgeflow {

struct EpilogueCommand {
    Count rows;   // items: pairs of rows in the 4-bit mode
    Count last;   // rows of the last item
    Flag quad;
    Flag attention;
    Flag set;
    Shift shift;
    Shift output_shift;
    Shift residual_shift;
    Multiplier residual_multiplier;
    ap_uint<4> index_bits;
    ap_uint<5> bits;
    Flag is_signed;
    Flag half_even;
    Flag has_table;
    Flag has_residual;
    Flag residual_signed;
    LineAddress y;
    Count stride;
    Count channel;
    Count limit;
    ap_uint<2> storage;
    LineAddress residual;
    Count residual_stride;
    Flag norm;        // a notice for every item
    Flag accumulate;  // attention: the sums of the keys before are added
    Flag partial;     // attention: the sums wait for those of the next keys
    // What arrives meanwhile.
    Count parameters;
    Count reciprocals;
    Flag parameter_set;
    Flag notice;
};

template <class C>
struct EpilogueState {
    Accumulator bias[2][C::PO];
    WideMultiplier multiplier[2][C::PO];
    Multiplier output_multiplier[2][C::PO];
    LaneReciprocal reciprocal[2][C::PO];
    Element table[C::EPILOGUE][C::LINEAR_TABLE];
    Accumulator partial[C::EPILOGUE][C::PO / C::EPILOGUE * C::ATTENTION_HEAD];
};

// Whether a group of outputs begins a line of the residual.
template <class C>
bool begins_residual(const EpilogueCommand& command, unsigned group, unsigned channel) {
#pragma HLS INLINE
    return command.has_residual != 0 && channel < unsigned(command.limit) && (group == 0 || channel % 32 == 0);
}

// Asks for the lines of the residual in the order in which `epilogue` takes them.
template <class C>
void residual_lines(hls::stream<EpilogueCommand>& commands, hls::stream<LineAddress>& requests) {
    const EpilogueCommand command = commands.read();
    const unsigned GROUPS = C::PO / C::EPILOGUE;
    const ap_uint<32> trips = ap_uint<32>(command.rows) * (C::QUAD && command.quad != 0 ? 2u * GROUPS : GROUPS);
    LineAddress row = command.residual;
    Count group = 0;
    EDGEFLOW_ENTER("residual lines");
residual_lines:
    for (ap_uint<32> n = 0; n < trips; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_TOKENS*C::PO/C::EPILOGUE
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("residual lines");
        const unsigned channel = unsigned(command.channel) + unsigned(group) * C::EPILOGUE;
        if (begins_residual<C>(command, group, channel)) {
            requests.write(row + (channel >> 5));
        }
        group += 1;
        if (group == GROUPS) {
            group = 0;
            row += command.residual_stride;
        }
    }
}

// The integers of a parameter word go where the epilogue's lanes find them.
template <class C>
void store_parameter(const ParameterWord<C>& parameter, unsigned set, EpilogueState<C>& state) {
#pragma HLS INLINE
    const int INTEGERS = Memory<C>::STREAM_BYTES / 4;
    const int ENTRIES = Memory<C>::STREAM_BYTES / 2;
    if (parameter.kind == PARAMETER_TABLE) {
        for (int e = 0; e < ENTRIES; ++e) {
#pragma HLS UNROLL
            const ap_int<16> entry = ap_uint<16>(parameter.word.byte[2 * e]) | (ap_uint<16>(parameter.word.byte[2 * e + 1]) << 8);
            for (int lane = 0; lane < C::EPILOGUE; ++lane) {
#pragma HLS UNROLL
                state.table[lane][unsigned(parameter.place) * ENTRIES + e] = entry;
            }
        }
    } else {
        for (int o = 0; o < C::PO; ++o) {
#pragma HLS UNROLL
            if (parameter.place == unsigned(o / INTEGERS)) {
                const int i = o % INTEGERS;
                const ap_uint<32> raw =
                    ap_uint<32>(parameter.word.byte[4 * i]) | (ap_uint<32>(parameter.word.byte[4 * i + 1]) << 8) |
                    (ap_uint<32>(parameter.word.byte[4 * i + 2]) << 16) | (ap_uint<32>(parameter.word.byte[4 * i + 3]) << 24);
                const Accumulator value = raw;
                if (parameter.kind == PARAMETER_BIAS) {
                    state.bias[set][o] = value;
                } else if (parameter.kind == PARAMETER_MULTIPLIER) {
                    state.multiplier[set][o] = value;
                } else {
                    state.output_multiplier[set][o] = value;
                }
            }
        }
    }
}

template <class C>
void store_reciprocal(const LaneReciprocal& reciprocal, const Count& lane, unsigned set, EpilogueState<C>& state) {
#pragma HLS INLINE
    for (int o = 0; o < C::PO; ++o) {
#pragma HLS UNROLL
        if (lane == unsigned(o)) {
            state.reciprocal[set][o] = reciprocal;
        }
    }
}

// One output from a finished sum.
template <class C>
Element finished(
    const EpilogueCommand& command, const Accumulator& sum, const WideMultiplier& factor, const Shift& shift, const WideProduct& ties,
    const Element& residual, const Multiplier& output_multiplier, const Element* table) {
#pragma HLS INLINE
    WideProduct value = requantize_wide(sum, factor, shift, ties);
    if (command.has_table != 0 || command.has_residual != 0) {
        Element operand = residual;
        Multiplier scale = command.residual_multiplier;
        Shift scale_shift = command.residual_shift;
        if (command.has_table != 0) {
            const ActivationIndex index = saturate(value, command.index_bits, true);
            const ap_uint<4> place = command.index_bits - 1;
            const ActivationIndex middle = ActivationIndex(1) << place;
            operand = table[index + middle];
            scale = output_multiplier;
            scale_shift = command.output_shift;
            value = 0;
        }
        const Product added = requantize(operand, scale, scale_shift);
        value += added;
    }
    return saturate(value, command.bits, command.is_signed != 0);
}

template <class C>
void epilogue(
    hls::stream<EpilogueCommand>& commands, hls::stream<RowSums<C> >& rows, hls::stream<ParameterWord<C> >& parameters,
    hls::stream<LaneReciprocal>& reciprocals, hls::stream<Line>& residuals, hls::stream<WriteRequest>& writes,
    hls::stream<QueryOutputs<C> >& outputs, EpilogueState<C>& state) {
#pragma HLS ARRAY_PARTITION variable=state.bias complete dim=0
#pragma HLS ARRAY_PARTITION variable=state.multiplier complete dim=0
#pragma HLS ARRAY_PARTITION variable=state.output_multiplier complete dim=0
#pragma HLS ARRAY_PARTITION variable=state.reciprocal complete dim=0
#pragma HLS ARRAY_PARTITION variable=state.table complete dim=1
#pragma HLS ARRAY_PARTITION variable=state.table cyclic factor=Memory<C>::STREAM_BYTES/2 dim=2
#pragma HLS BIND_STORAGE variable=state.table type=ram_s2p impl=lutram
#pragma HLS ARRAY_PARTITION variable=state.partial complete dim=1
#pragma HLS BIND_STORAGE variable=state.partial type=ram_s2p impl=lutram
    const EpilogueCommand command = commands.read();
    const unsigned GROUPS = C::PO / C::EPILOGUE;
    const Count STEP = C::EPILOGUE;
    const unsigned beats = C::QUAD && command.quad != 0 ? 2 * GROUPS : GROUPS;
    const ap_uint<32> makes = ap_uint<32>(command.rows) * beats;
    const WideProduct ties = tie_places<WIDE_PRODUCT_BITS>(command.shift, command.half_even != 0);
    const bool halves = command.storage == HALVES;
    const bool nibbles = command.storage == NIBBLES;
    RowSums<C> row;
#pragma HLS ARRAY_PARTITION variable=row.sum complete dim=0
    Line residual;
#pragma HLS ARRAY_PARTITION variable=residual.byte complete
    for (int b = 0; b < LINE_BYTES; ++b) {
#pragma HLS UNROLL
        residual.byte[b] = 0;
    }
    // What decides about reads is known when an iteration begins.
    const bool pairs = beats != GROUPS;
    const Count first_channel = command.channel;
    const Count bound = command.limit > STEP ? Count(command.limit - STEP) : Count(0);
    const Flag first_inside = first_channel < command.limit ? 1 : 0;
    const Flag first_begins = command.has_residual & first_inside;
    LineAddress line = command.y;
    Count items = command.rows;
    Count number = 0;  // of the item: for attention, the channel
    Count group = 0;
    Round<COUNT_BITS> place = round_of(Count(GROUPS));
    Flag second = 0;  // row of the pair
    Flag fresh = 1;   // the group is the first of an item
    Count channel = first_channel;
    Flag inside = first_inside;  // the channel is one that is written
    Flag begins = first_begins;  // the group begins a line of the residual
    Remaining<COUNT_BITS> parameters_left = remaining_of(command.parameters);
    Remaining<COUNT_BITS> reciprocals_left = remaining_of(command.reciprocals);
    Count next_lane = 0;  // of the next reciprocal
    EDGEFLOW_ENTER("epilogue");
epilogue:
    for (ap_uint<32> n = 0; n < makes; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=C::MAX_TOKENS*C::PO/C::EPILOGUE
#pragma HLS PIPELINE II=1
// Words of a table never come beside rows that look one up; sums that wait have a place of their own, which is read before it is written.
#pragma HLS DEPENDENCE variable=state.table inter false
#pragma HLS DEPENDENCE variable=state.partial inter false
        EDGEFLOW_TRIP("epilogue");
        // A row never waits for a parameter: what those wait for may wait for the rows.
        ParameterWord<C> parameter;
        const bool parameter_came = parameters_left.some != 0 && parameters.read_nb(parameter);
        parameters_left.some = parameter_came ? Flag(parameters_left.left != 1) : parameters_left.some;
        if (parameter_came) {
            store_parameter<C>(parameter, command.parameter_set, state);
            parameters_left.left -= 1;
        }
        LaneReciprocal reciprocal;
        const bool reciprocal_came = C::HAS_ATTENTION && reciprocals_left.some != 0 && reciprocals.read_nb(reciprocal);
        reciprocals_left.some = reciprocal_came ? Flag(reciprocals_left.left != 1) : reciprocals_left.some;
        if (reciprocal_came) {
            store_reciprocal<C>(reciprocal, next_lane, command.parameter_set, state);
            reciprocals_left.left -= 1;
            next_lane += 1;
        }
        if (fresh != 0) {
            row = rows.read();
        }
        if (begins != 0) {
            residual = residuals.read();
        }
        const unsigned at = channel;
        Element made[C::EPILOGUE];
#pragma HLS ARRAY_PARTITION variable=made complete
        for (int lane = 0; lane < C::EPILOGUE; ++lane) {
#pragma HLS UNROLL
            const unsigned o = unsigned(group) * C::EPILOGUE + lane;
            const Element added = line_element(residual, (at % 32) + lane, HALVES, command.residual_signed != 0, 0);
            Accumulator sum = row.sum[C::QUAD ? unsigned(second) : 0u][o];
            WideMultiplier factor = state.multiplier[command.set][o];
            Shift shift = command.shift;
            if (C::HAS_ATTENTION && command.attention != 0) {
                factor = state.reciprocal[command.set][o].factor;
                shift = state.reciprocal[command.set][o].shift;
                if (command.accumulate != 0) {
                    sum += state.partial[lane][group * C::ATTENTION_HEAD + number];
                }
                if (command.partial != 0) {
                    state.partial[lane][group * C::ATTENTION_HEAD + number] = sum;
                }
            } else {
                sum += state.bias[command.set][o];
            }
            made[lane] = finished<C>(
                command, sum, factor, shift, ties, added, state.output_multiplier[command.set][o], state.table[lane]);
        }
        const bool ends = place.last != 0 && (second != 0 || !pairs);
        if (C::HAS_ATTENTION && command.attention != 0) {
            if (command.partial == 0) {
                QueryOutputs<C> output;
#pragma HLS ARRAY_PARTITION variable=output.output complete
                for (int lane = 0; lane < C::EPILOGUE; ++lane) {
#pragma HLS UNROLL
                    output.output[lane] = made[lane];
                }
                outputs.write(output);
            }
        } else {
            const bool real = second == 0 || items != 1 || command.last == 2;
            WriteRequest request = no_write(command.norm != 0 && ends ? NOTICE_ROW : NOTICE_NONE);
            for (int b = 0; b < LINE_BYTES; ++b) {
#pragma HLS UNROLL
                if (!halves || b < LINE_BYTES / 2) {
                    set_line_element(request.value, b, command.storage, made[b % C::EPILOGUE]);
                }
            }
            const bool next_line = second != 0 && !nibbles;
            request.line = (next_line ? LineAddress(line + command.stride) : line) + (halves ? at >> 5 : at >> 6);
            request.first = halves ? (at % 32) * 2 : at % 64;
            if (inside != 0 && real) {
                request.count = halves ? C::EPILOGUE * 2 : C::EPILOGUE;
            }
            const bool odd = pairs ? second != 0 : (number & 1) != 0;
            request.halves = !nibbles ? 3u : odd ? 2u : 1u;
            if (request.count != 0 || request.notice != NOTICE_NONE) {
                writes.write(request);
            }
        }
        const Flag next_inside = channel < bound ? 1 : 0;
        const Flag next_line_begins = channel % 32 == (32u - C::EPILOGUE % 32) % 32 ? 1 : 0;
        begins = place.last != 0 ? first_begins : Flag(command.has_residual & next_inside & next_line_begins);
        inside = place.last != 0 ? first_inside : next_inside;
        channel = place.last != 0 ? first_channel : Count(channel + STEP);
        group = place.last != 0 ? Count(0) : Count(group + 1);
        fresh = ends ? 1 : 0;
        if (place.last != 0) {
            second = pairs && second == 0 ? 1 : 0;
        }
        turn(place);
        if (ends) {
            if (nibbles ? pairs || (number & 1) != 0 : true) {
                line += pairs && !nibbles ? LineAddress(command.stride << 1) : LineAddress(command.stride);
            }
            number += 1;
            items -= 1;
        }
    }
    // What has not come beside the rows.
late_parameters:
    for (Count n = parameters_left.left; n != 0; --n) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=C::MAX_CHANNELS
#pragma HLS PIPELINE II=1
        store_parameter<C>(parameters.read(), command.parameter_set, state);
    }
late_reciprocals:
    for (Count n = C::HAS_ATTENTION ? reciprocals_left.left : Count(0); n != 0; --n) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=C::PO
#pragma HLS PIPELINE II=1
        store_reciprocal<C>(reciprocals.read(), next_lane, command.parameter_set, state);
        next_lane += 1;
    }
    if (command.notice != 0) {
        writes.write(no_write(NOTICE_DONE));
    }
}

}  // namespace edgeflow

#endif
