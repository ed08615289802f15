// From instructions of the array to commands of its processes. An instruction's commands go out in one order (ISSUE_ORDER in
// hw/process_network.py), each as soon as its process has room for it; an instruction
// that ends a chain is followed by a wait until all of them say that they are done.
#ifndef EDGEFLOW_NETWORK_SEQUENCE_HPP
#define EDGEFLOW_NETWORK_SEQUENCE_HPP

#include "edgeflow/network/epilogue.hpp"
#include "edgeflow/network/fetch.hpp"
#include "edgeflow/network/normalize.hpp"

namespace edgeflow {

// The streams of commands.
struct ArrayCommands {
    hls::stream<FeedCommand>& feed_lines;
    hls::stream<FeedCommand>& feed_steps;
    hls::stream<LoadCommand>& load;
    hls::stream<TransposeCommand>& transpose;
    hls::stream<MultiplyCommand>& multiply;
    hls::stream<EpilogueCommand>& residual;
    hls::stream<EpilogueCommand>& epilogue;
    hls::stream<TrackCommand>& track;
    hls::stream<WeighCommand>& weigh;
    hls::stream<DivideCommand>& divide;
    hls::stream<LinesCommand>& query_lines;
    hls::stream<LinesCommand>& value_lines;
    hls::stream<ValuesCommand>& values;
    hls::stream<OutputsCommand>& outputs;
    hls::stream<NormCommand>& norm_lines;
    hls::stream<NormCommand>& norm_sums;
    hls::stream<NormCommand>& norm_statistics;
    hls::stream<NormCommand>& norm_write;
    hls::stream<Descriptor>& vector;
    hls::stream<Descriptor>& ask;
};

// What says that a command is done.
struct ArrayNotices {
    hls::stream<Flag>& multiplied;
    hls::stream<Flag>& epilogue;
    hls::stream<Flag>& outputs;
    hls::stream<Flag>& norm;
    hls::stream<Flag>& vector;
};

inline LoadCommand no_load() {
#pragma HLS INLINE
    LoadCommand command;
    command.kind = 0;
    command.trips = 0;
    command.table = 0;
    command.slot = 0;
    command.end = 0;
    command.packing = 0;
    command.quad = 0;
    command.lanes = 0;
    command.steps = 0;
    command.low = 0;
    command.high = 0;
    command.part = 0;
    return command;
}

inline EpilogueCommand no_epilogue(bool notice) {
#pragma HLS INLINE
    EpilogueCommand command;
    command.rows = 0;
    command.last = 1;
    command.quad = 0;
    command.attention = 0;
    command.set = 0;
    command.shift = 0;
    command.output_shift = 0;
    command.residual_shift = 0;
    command.residual_multiplier = 0;
    command.index_bits = 1;
    command.bits = 8;
    command.is_signed = 1;
    command.half_even = 0;
    command.has_table = 0;
    command.has_residual = 0;
    command.residual_signed = 0;
    command.y = 0;
    command.stride = 0;
    command.channel = 0;
    command.limit = 0;
    command.storage = BYTES;
    command.residual = 0;
    command.residual_stride = 0;
    command.norm = 0;
    command.accumulate = 0;
    command.partial = 0;
    command.parameters = 0;
    command.reciprocals = 0;
    command.parameter_set = 0;
    command.notice = notice ? 1 : 0;
    return command;
}

inline OutputsCommand no_outputs(bool notice) {
#pragma HLS INLINE
    OutputsCommand command;
    command.rows = 0;
    command.set = 0;
    command.line = 0;
    command.stride = 0;
    command.lanes = 0;
    command.channel = 0;
    command.channels = 0;
    command.storage = BYTES;
    command.store_set = 0;
    command.notice = notice ? 1 : 0;
    return command;
}

inline MultiplyCommand no_multiply(bool notice) {
#pragma HLS INLINE
    MultiplyCommand command;
    command.source = STEPS_NONE;
    command.scores = 0;
    command.notice = notice ? 1 : 0;
    command.rows = 0;
    command.steps = 0;
    command.slot = 0;
    command.loads = 0;
    return command;
}

template <class C>
void sequence_linear(const LinearInstruction& ins, bool notice, ArrayCommands& out) {
#pragma HLS INLINE
    const unsigned STREAM_BYTES = Memory<C>::STREAM_BYTES;
    const unsigned POSITIONS = LoadWord<C>::POSITIONS;
    const unsigned PARTS = LINE_BYTES / C::PI;
    const bool quad = C::QUAD && ins.quad != 0;
    const unsigned rows = quad ? (ins.rows + 1) >> 1 : ins.rows;
    const bool multiplies = rows != 0 && ins.steps != 0;
    MultiplyCommand multiply = no_multiply(notice);
    EpilogueCommand epilogue = no_epilogue(notice);
    if (ins.load_words != 0) {
        LoadCommand load = no_load();
        load.kind = LOAD_WEIGHTS;
        load.trips = ins.load_words;
        load.table = ins.load_table;
        load.slot = ins.load_slot;
        load.end = ins.load_end;
        load.packing = ins.load_packing;
        load.quad = ins.load_quad;
        out.load.write(load);
        const unsigned words = ins.load_packing == 0 ? POSITIONS : ins.load_packing == 1 ? (POSITIONS + 1) / 2 : (POSITIONS + 3) / 4;
        multiply.loads = (ins.load_end - ins.load_slot) * words;
        epilogue.parameters = ins.load_table + 3 * (C::PO * 4 / STREAM_BYTES);
        epilogue.parameter_set = ins.load_set;
    }
    if (multiplies) {
        FeedCommand feed;
        feed.line = ins.x;
        feed.stride = ins.x_stride;
        feed.rows = rows;
        feed.lines = (ins.steps + PARTS - 1) / PARTS;
        feed.steps = ins.steps;
        feed.part = 0;
        feed.storage = ins.x_storage;
        feed.is_signed = ins.x_signed;
        feed.quad = quad ? 1 : 0;
        out.feed_lines.write(feed);
        out.feed_steps.write(feed);
        multiply.source = STEPS_FEED;
        multiply.rows = rows;
        multiply.steps = ins.steps;
        multiply.slot = ins.slot;
        epilogue.rows = rows;
        epilogue.last = quad && (ins.rows & 1u) == 0 ? 2 : 1;
        epilogue.quad = quad ? 1 : 0;
        epilogue.set = ins.set;
        epilogue.shift = ins.shift;
        epilogue.output_shift = ins.output_shift;
        epilogue.residual_shift = ins.residual_shift;
        epilogue.residual_multiplier = Multiplier(ins.residual_multiplier);
        epilogue.index_bits = ins.index_bits;
        epilogue.bits = ins.y_bits;
        epilogue.is_signed = ins.y_signed;
        epilogue.half_even = ins.half_even;
        epilogue.has_table = ins.has_table;
        epilogue.has_residual = ins.has_residual;
        epilogue.residual_signed = ins.residual_signed;
        epilogue.y = ins.y;
        epilogue.stride = ins.y_stride;
        epilogue.channel = ins.y_channel;
        epilogue.limit = ins.y_limit;
        epilogue.storage = ins.y_storage;
        epilogue.residual = ins.residual;
        epilogue.residual_stride = ins.residual_stride;
        epilogue.norm = ins.norm;
        if (ins.has_residual != 0) {
            out.residual.write(epilogue);
        }
    }
    out.multiply.write(multiply);
    out.epilogue.write(epilogue);
}

template <class C>
void sequence_attention(const AttentionInstruction& ins, bool notice, ArrayCommands& out) {
#pragma HLS INLINE
    const unsigned PARTS = LINE_BYTES / C::PI;
    const bool scores = ins.mac == ATTENTION_SCORES;
    const bool values = ins.mac == ATTENTION_VALUES;
    MultiplyCommand multiply = no_multiply(notice);
    EpilogueCommand epilogue = no_epilogue(notice);
    OutputsCommand outputs = no_outputs(notice);
    if (ins.query != 0) {
        LinesCommand lines;
        lines.line = ins.q;
        lines.stride = ins.q_stride;
        lines.rows = ins.q_lanes;
        lines.lines = 0;
        lines.part = ins.q_part;
        lines.parts = ins.q_steps;
        out.query_lines.write(lines);
    }
    if (ins.load_words != 0) {
        LoadCommand load = no_load();
        load.kind = LOAD_TABLE;
        load.trips = ins.load_words;
        out.load.write(load);
    }
    if (ins.query != 0) {
        const unsigned groups = (ins.q_lanes + (QueryGroup<C>::LANES - 1)) / unsigned(QueryGroup<C>::LANES);
        LoadCommand load = no_load();
        load.kind = LOAD_QUERIES;
        load.trips = groups * ins.q_steps * QueryGroup<C>::TRIPS + QueryGroup<C>::MORE;
        load.slot = ins.q_slot;
        load.end = ins.q_slot + ins.q_steps;
        load.lanes = ins.q_lanes;
        load.steps = ins.q_steps;
        load.low = ins.q_low;
        load.high = ins.q_high;
        load.part = ins.q_part;
        out.load.write(load);
        multiply.loads = groups * ins.q_steps * QueryGroup<C>::WORDS;
    } else if (ins.exponents != 0) {
        LoadCommand load = no_load();
        load.kind = LOAD_EXPONENTS;
        load.trips = (ins.e_keys + (C::PI - 1)) / unsigned(C::PI) * LoadWord<C>::POSITIONS;
        load.slot = ins.e_slot;
        out.load.write(load);
        multiply.loads = load.trips;
        TransposeCommand transpose;
        transpose.keys = ins.e_keys;
        out.transpose.write(transpose);
    }
    if (ins.exponents != 0 || ins.load_words != 0) {
        WeighCommand weigh;
        weigh.keys = ins.exponents != 0 ? ins.e_keys : 0u;
        weigh.table_words = ins.load_words;
        weigh.multiplier = Multiplier(ins.e_multiplier);
        weigh.shift = ins.e_shift;
        weigh.fraction_bits = ins.fraction_bits;
        weigh.probability_bits = ins.probability_bits;
        weigh.reset = ins.total_reset;
        out.weigh.write(weigh);
    }
    const bool masks = ins.value_load != 0 && ins.value_mask != 0;
    if (scores || masks) {
        TrackCommand track;
        track.keys = scores ? ins.keys : 0u;
        track.mask_lines = masks ? ins.v_keys * ins.v_lines : 0u;
        track.has_mask = ins.has_mask;
        track.reset = ins.maximum_reset;
        track.keep = scores ? ins.keep : 0u;
        out.track.write(track);
    }
    if (scores) {
        FeedCommand feed;
        feed.line = ins.k;
        feed.stride = ins.k_stride;
        feed.rows = ins.keys;
        feed.lines = (ins.k_part + ins.steps + PARTS - 1) / PARTS;
        feed.steps = ins.steps;
        feed.part = ins.k_part;
        feed.storage = BYTES;
        feed.is_signed = 1;
        feed.quad = 0;
        out.feed_lines.write(feed);
        out.feed_steps.write(feed);
    }
    if (ins.value_load != 0) {
        LinesCommand lines;
        lines.line = ins.v;
        lines.stride = ins.v_stride;
        lines.rows = ins.v_keys;
        lines.lines = ins.v_lines;
        lines.part = 0;
        lines.parts = 0;
        out.value_lines.write(lines);
    }
    if (ins.value_load != 0 || values) {
        ValuesCommand command;
        command.keys = ins.value_load != 0 ? ins.v_keys : 0u;
        command.lines = ins.v_lines;
        command.mask = ins.value_mask;
        command.load_set = ins.v_set;
        command.rows = values ? ins.rows : 0u;
        command.steps = ins.steps;
        command.column = ins.column;
        command.set = ins.value_set;
        out.values.write(command);
    }
    if (scores || values) {
        multiply.source = scores ? STEPS_FEED : STEPS_VALUES;
        multiply.scores = scores ? 1 : 0;
        multiply.rows = scores ? ins.keys : ins.rows;
        multiply.steps = ins.steps;
        multiply.slot = ins.slot;
    }
    if (values) {
        epilogue.rows = ins.rows;
        epilogue.attention = 1;
        epilogue.set = ins.n_set;
        epilogue.bits = ins.o_bits;
        epilogue.is_signed = ins.o_signed;
        epilogue.accumulate = ins.accumulate;
        epilogue.partial = ins.partial;
        if (ins.partial == 0) {
            outputs.rows = ins.rows;
            outputs.set = ins.w_set;
        }
    }
    if (ins.reciprocals != 0) {
        DivideCommand divide;
        divide.numerator = ins.numerator;
        divide.shift = ins.r_shift;
        out.divide.write(divide);
        epilogue.reciprocals = C::PO;
        epilogue.parameter_set = ins.r_set;
    }
    if (ins.store != 0) {
        outputs.line = ins.o;
        outputs.stride = ins.o_stride;
        outputs.lanes = ins.o_lanes;
        outputs.channel = ins.o_channel;
        outputs.channels = ins.o_channels;
        outputs.storage = ins.o_storage;
        outputs.store_set = ins.o_set;
    }
    out.multiply.write(multiply);
    if (values || ins.reciprocals != 0 || notice) {
        out.epilogue.write(epilogue);
    }
    if (outputs.rows != 0 || ins.store != 0 || notice) {
        out.outputs.write(outputs);
    }
}

template <class C>
void sequence_layernorm(const LayernormInstruction& ins, ArrayCommands& out) {
#pragma HLS INLINE
    NormCommand command;
    command.rows = ins.rows;
    command.chunks = (ins.channels + C::VECTOR - 1) / unsigned(C::VECTOR);
    command.channels = ins.channels;
    command.x = ins.x;
    command.x_stride = row_lines(ins.channels, ins.x_storage);
    command.x_storage = ins.x_storage;
    command.x_signed = ins.x_signed;
    command.y = ins.y;
    command.y_stride = row_lines(ins.channels, ins.y_storage);
    command.y_storage = ins.y_storage;
    command.bits = ins.y_bits;
    command.is_signed = ins.y_signed;
    command.together = ins.together;
    command.words = ((ins.channels + 7) >> 3) * Memory<C>::LINE_STREAM_WORDS;
    command.fraction_bits = ins.fraction_bits;
    command.shift = ins.shift;
    command.offset_shift = ins.offset_shift;
    command.mean_multiplier = Multiplier(ins.mean_multiplier);
    command.mean_shift = ins.mean_shift;
    command.epsilon_low = ins.epsilon_low;
    command.epsilon_high = ins.epsilon_high;
    command.notice = 1;
    LoadCommand load = no_load();
    load.kind = LOAD_NORM;
    load.trips = command.words;
    out.load.write(load);
    out.norm_lines.write(command);
    out.norm_sums.write(command);
    out.norm_statistics.write(command);
    out.norm_write.write(command);
    out.multiply.write(no_multiply(true));
    out.epilogue.write(no_epilogue(true));
    out.outputs.write(no_outputs(true));
}

// Hands `count` instructions from `first` to their processes; addresses are in bytes. The next one waits where the one before ends a
// chain: a pass with `norm` set does not, since the layer normalization that follows reads its rows as they come.
template <class C>
void sequence(
    const Address& descriptors, const Address& weights, const Address& memory, unsigned first, unsigned count,
    hls::stream<FetchCommand>& fetch, hls::stream<Descriptor>& program, ArrayCommands& commands, ArrayNotices& notices) {
    FetchCommand fetched;
    fetched.descriptors = descriptors + Address(first) * (4 * INSTRUCTION_WORDS);
    fetched.weights = weights;
    fetched.count = count;
    fetch.write(fetched);
    commands.vector.write(address_descriptor(weights, memory));
    EDGEFLOW_ENTER("instructions");
instructions:
    for (unsigned n = 0; n < count; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=4096
// An instruction's commands are out before the next one is read: nothing but this order keeps notices apart.
#pragma HLS PIPELINE off
        EDGEFLOW_TRIP("instructions");
        const Descriptor descriptor = program.read();
        const unsigned opcode = unsigned(descriptor.word[0]);
        bool array = true;
        bool outputs = false;
        bool waits = true;
        if (opcode == OPCODE_LINEAR) {
            const LinearInstruction ins = decode_linear(descriptor);
            waits = ins.chain == 0 && ins.norm == 0;
            sequence_linear<C>(ins, waits, commands);
        } else if (opcode == OPCODE_ATTENTION) {
            const AttentionInstruction ins = decode_attention(descriptor);
            waits = ins.chain == 0;
            outputs = true;
            sequence_attention<C>(ins, waits, commands);
        } else if (opcode == OPCODE_LAYERNORM) {
            sequence_layernorm<C>(decode_layernorm(descriptor), commands);
            outputs = true;
        } else {
            const unsigned lines = unsigned(descriptor.word[STREAM_LINE_WORD + 1]);
            if (lines != 0) {
                LoadCommand load = no_load();
                load.kind = LOAD_VECTOR;
                load.trips = lines * Memory<C>::LINE_STREAM_WORDS;
                commands.load.write(load);
            }
            commands.ask.write(descriptor);
            commands.vector.write(descriptor);
            array = false;
        }
        const bool ends = array && waits;
        // A loop of its own, which begins when what stands before it is done: commands go out before their notices are waited for.
    notices:
        for (int notice = 0; notice < 5; ++notice) {
#pragma HLS PIPELINE off
            if (notice == 0 && ends) {
                notices.multiplied.read();
            } else if (notice == 1 && ends) {
                notices.epilogue.read();
            } else if (notice == 2 && ends && outputs) {
                notices.outputs.read();
            } else if (notice == 3 && opcode == OPCODE_LAYERNORM) {
                notices.norm.read();
            } else if (notice == 4 && !array) {
                notices.vector.read();
            }
        }
    }
}

}  // namespace edgeflow

#endif
