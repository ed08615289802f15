// The epilogue of the array: what happens to a finished row, EPILOGUE outputs a cycle, while the next row is multiplied.
//
// Requantization; then an activation table or a residual; saturation; a write to the scratchpad. Outputs of attention take the row's
// reciprocal instead and go to a buffer of their own. Included by array.hpp, which defines the state.
#ifndef EDGEFLOW_EPILOGUE_HPP
#define EDGEFLOW_EPILOGUE_HPP

#include "edgeflow/memory.hpp"
#include "edgeflow/requantize.hpp"
#include "edgeflow/rotate.hpp"

namespace edgeflow {

// Whether the epilogue reads a line of the residual now, and which: a line serves all groups of a row that lie in it.
template <class C>
bool epilogue_reads(const EpilogueRow& epilogue, unsigned& line) {
#pragma HLS INLINE
    const unsigned GROUPS = C::PO / C::EPILOGUE;
    const unsigned row = epilogue.beat >= GROUPS ? 1u : 0u;
    const unsigned group = epilogue.beat - row * GROUPS;
    const unsigned channel = epilogue.ins.y_channel + group * C::EPILOGUE;
    line = epilogue.residual[row] + (channel >> 5);
    const bool residual = !epilogue.attention && epilogue.ins.has_residual && channel < epilogue.ins.y_limit;
    return epilogue.beat < epilogue.beats && residual && (group == 0 || channel % 32 == 0);
}

// EPILOGUE outputs of the row before: requantize; then table or residual; saturate; write. Whether they complete a row of a pass whose
// output a layer normalization waits for.
template <class C>
bool array_epilogue(EpilogueRow& epilogue, ArrayState<C>& state, ScratchWrites& writes) {
#pragma HLS INLINE
    const unsigned GROUPS = C::PO / C::EPILOGUE;
    bool completed = false;
    if (epilogue.beat < epilogue.beats) {
        const LinearInstruction& ins = epilogue.ins;
        const unsigned row = epilogue.beat >= GROUPS ? 1u : 0u;
        const unsigned group = epilogue.beat - row * GROUPS;
        const unsigned channel = ins.y_channel + group * C::EPILOGUE;
        Element outputs[C::EPILOGUE];
#pragma HLS ARRAY_PARTITION variable=outputs complete
        const WideProduct ties = tie_places<WIDE_PRODUCT_BITS>(ins.shift, !epilogue.attention && ins.half_even);
        for (int lane = 0; lane < C::EPILOGUE; ++lane) {
#pragma HLS UNROLL
            const unsigned o = group * C::EPILOGUE + lane;
            WideMultiplier factor = state.multiplier[ins.set][o];
            Shift shift = ins.shift;
            if (C::HAS_ATTENTION && epilogue.attention) {
                factor = state.reciprocal[epilogue.reciprocal_set][o];
                shift = state.reciprocal_shift[epilogue.reciprocal_set][o];
            }
            WideProduct value = requantize_wide(state.result[row][o], factor, shift, ties);
            if (!epilogue.attention && (ins.has_table || ins.has_residual)) {
                Element operand = line_element(state.residual, (channel % 32) + lane, HALVES, ins.residual_signed, 0);
                Multiplier scale = Multiplier(ins.residual_multiplier);
                Shift scale_shift = ins.residual_shift;
                if (ins.has_table) {
                    const ActivationIndex index = saturate(value, ins.index_bits, true);
                    const ActivationIndex middle = 1 << (ins.index_bits - 1);
                    operand = state.table[lane][index + middle];
                    scale = state.output_multiplier[ins.set][o];
                    scale_shift = ins.output_shift;
                    value = 0;
                }
                const Product added = requantize(operand, scale, scale_shift);
                value += added;
            }
            outputs[lane] = saturate(value, ins.y_bits, ins.y_signed);
        }
        if (C::HAS_ATTENTION && epilogue.attention) {
            // The bank is the sum of query and channel: rows and columns both take one element of every bank.
            rotate(outputs, 0u - epilogue.channel);
            for (int bank = 0; bank < C::EPILOGUE; ++bank) {
#pragma HLS UNROLL
                state.output[bank][epilogue.output_set][group][epilogue.channel] = outputs[bank];
            }
        } else if (channel < ins.y_limit && row < epilogue.rows) {
            const bool halves = ins.y_storage == HALVES;
            Line line;
#pragma HLS ARRAY_PARTITION variable=line.byte complete
            for (int lane = 0; lane < LINE_BYTES; ++lane) {
#pragma HLS UNROLL
                if (!halves || lane < LINE_BYTES / 2) {
                    set_line_element(line, lane, ins.y_storage, outputs[lane % C::EPILOGUE]);
                }
            }
            const unsigned target = epilogue.y[row] + (halves ? channel >> 5 : channel >> 6);
            const unsigned first = halves ? (channel % 32) * 2 : channel % 64;
            const unsigned count = halves ? C::EPILOGUE * 2 : C::EPILOGUE;
            const unsigned mask = ins.y_storage == NIBBLES ? (row == 0 ? epilogue.halves : 2u) : 3u;
            request_write<C>(writes, target, first, count, mask, line);
        }
        ++epilogue.beat;
        completed = !epilogue.attention && ins.norm && epilogue.beat == epilogue.beats;
    }
    return completed;
}

// Hands a finished row to the epilogue.
template <class C>
void start_epilogue(
    const LinearInstruction& linear, const AttentionInstruction& attention, bool is_attention, unsigned row, unsigned beats,
    EpilogueRow& epilogue) {
#pragma HLS INLINE
    const unsigned first = !is_attention && linear.quad ? row << 1 : row;
    epilogue.ins = linear;
    epilogue.beat = 0;
    epilogue.beats = beats;
    epilogue.rows = !is_attention && linear.quad && first + 1 < linear.rows ? 2 : 1;
    for (int r = 0; r < 2; ++r) {
#pragma HLS UNROLL
        epilogue.y[r] = row_line(linear.y, first + r, linear.y_stride, linear.y_storage);
        epilogue.residual[r] = linear.residual + (first + r) * linear.residual_stride;
    }
    epilogue.halves = row_halves(linear.y_storage, first);
    epilogue.attention = is_attention;
    if (is_attention) {
        epilogue.ins.y_bits = attention.o_bits;
        epilogue.ins.y_signed = attention.o_signed;
    }
    epilogue.channel = row;
    epilogue.reciprocal_set = attention.n_set;
    epilogue.output_set = attention.w_set;
}

}  // namespace edgeflow

#endif
