// Linear layer on the MAC array: y = epilogue(x . W^T + bias), PO output channels x PI input channels a cycle.
//
// Rows are held on chip in blocks of LINEAR_ROWS; for each tile of PO output channels the weights are loaded once a block. The
// epilogue requantizes per output channel; then it either adds a requantized residual, or looks the value up in a table (activation
// functions) and requantizes the entry per output channel; and saturates. One multiplier a lane serves residuals and table entries.
//
// Weight image: tiles of PO channels; in a tile for each step of PI inputs PO x PI bytes [o][i]; zero-padded. Parameters: for each tile
// PO int32 biases, PO int32 multipliers, PO int32 output multipliers. Table: signed 2-byte entries.
#ifndef EDGEFLOW_LINEAR_HPP
#define EDGEFLOW_LINEAR_HPP

#include "edgeflow/memory.hpp"
#include "edgeflow/requantize.hpp"

namespace edgeflow {

template <class C>
void linear(const LinearInstruction& ins, const typename Memory<C>::Word* weights, typename Memory<C>::Word* memory) {
#pragma HLS INLINE off
    typedef typename Memory<C>::Word Word;
    const int STEPS = C::MAX_CHANNELS / C::PI;
    const int WORD_BYTES = Memory<C>::WORD_BYTES;
    const int STEP_WORDS = C::PO * C::PI / WORD_BYTES;
    const int TABLES = WORD_BYTES / 2;
    const int TABLE_LANES = WORD_BYTES / 2;

    Element x[C::LINEAR_ROWS][C::MAX_CHANNELS];
#pragma HLS ARRAY_PARTITION variable=x cyclic factor=C::PI dim=2
#pragma HLS BIND_STORAGE variable=x type=ram_2p
    ap_int<8> w[STEPS][C::PO][C::PI];
#pragma HLS ARRAY_PARTITION variable=w complete dim=2
#pragma HLS ARRAY_PARTITION variable=w complete dim=3
#pragma HLS BIND_STORAGE variable=w type=ram_2p
    ap_int<32> bias[C::PO];
#pragma HLS ARRAY_PARTITION variable=bias complete
    ap_int<32> multiplier[C::PO];
#pragma HLS ARRAY_PARTITION variable=multiplier complete
    ap_int<32> output_multiplier[C::PO];
#pragma HLS ARRAY_PARTITION variable=output_multiplier complete
    ap_int<32> accumulator[C::PO];
#pragma HLS ARRAY_PARTITION variable=accumulator complete
    Element residual[C::PO];
#pragma HLS ARRAY_PARTITION variable=residual complete
    // A copy for each two lanes of a word: a memory has two ports.
    Element table[TABLES][C::LINEAR_TABLE];
#pragma HLS ARRAY_PARTITION variable=table complete dim=1
#pragma HLS BIND_STORAGE variable=table type=ram_2p

    const unsigned steps = ceil_div(ins.in_channels, C::PI);
    const unsigned tiles = ceil_div(ins.out_channels, C::PO);
    const unsigned x_lines = row_lines(ins.in_channels, 1);
    const unsigned y_lines = row_lines(ins.out_channels, ins.y_bytes);
    const unsigned residual_lines = row_lines(ins.out_channels, ins.residual_bytes);
    const unsigned y_words = C::PO * ins.y_bytes / WORD_BYTES;
    const unsigned y_lanes = word_lanes<C>(ins.y_bytes);
    const unsigned residual_words = C::PO * ins.residual_bytes / WORD_BYTES;
    const unsigned residual_lanes = word_lanes<C>(ins.residual_bytes);

    const unsigned table_words = ins.has_table ? (1u << ins.index_bits) / TABLE_LANES : 0;
    const ap_int<12> table_middle = ins.has_table ? (1 << (ins.index_bits - 1)) : 0;

linear_table:
    for (unsigned n = 0; n < table_words; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=C::LINEAR_TABLE*16/C::AXI_BITS
#pragma HLS PIPELINE II=TABLE_LANES
        const Word word = weights[ins.table * Memory<C>::LINE_WORDS + n];
        for (int lane = 0; lane < TABLE_LANES; ++lane) {
#pragma HLS UNROLL
            for (int copy = 0; copy < TABLES; ++copy) {
#pragma HLS UNROLL
                table[copy][n * TABLE_LANES + lane] = get_element<C>(word, lane, 2, true);
            }
        }
    }

linear_blocks:
    for (unsigned first = 0; first < ins.rows; first += C::LINEAR_ROWS) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=(C::MAX_TOKENS+C::LINEAR_ROWS-1)/C::LINEAR_ROWS
        const unsigned left = ins.rows - first;
        const unsigned rows = left < unsigned(C::LINEAR_ROWS) ? left : unsigned(C::LINEAR_ROWS);
    linear_rows:
        for (unsigned r = 0; r < rows; ++r) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::LINEAR_ROWS
            // Whole steps are read: the weights beyond the last channel are zero.
            load_row<C>(memory, ins.x + (first + r) * x_lines, steps * C::PI, 1, ins.x_signed, x[r]);
        }
    linear_tiles:
        for (unsigned t = 0; t < tiles; ++t) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_CHANNELS/C::PO
            const unsigned base = ins.weights * Memory<C>::LINE_WORDS + t * steps * STEP_WORDS;
        linear_weights:
            for (unsigned s = 0; s < steps; ++s) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_CHANNELS/C::PI
            linear_weight_words:
                for (int n = 0; n < STEP_WORDS; ++n) {
#pragma HLS PIPELINE II=1
                    const Word word = weights[base + s * STEP_WORDS + n];
                    for (int b = 0; b < WORD_BYTES; ++b) {
#pragma HLS UNROLL
                        const int flat = n * WORD_BYTES + b;
                        w[s][flat / C::PI][flat % C::PI] = ap_int<8>(ap_uint<8>(word.range(8 * b + 7, 8 * b)));
                    }
                }
            }
            load_int32<C>(weights, ins.parameters, t * 3 * C::PO, C::PO, bias);
            load_int32<C>(weights, ins.parameters, t * 3 * C::PO + C::PO, C::PO, multiplier);
            load_int32<C>(weights, ins.parameters, t * 3 * C::PO + 2 * C::PO, C::PO, output_multiplier);

        linear_compute:
            for (unsigned r = 0; r < rows; ++r) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::LINEAR_ROWS
                for (int o = 0; o < C::PO; ++o) {
#pragma HLS UNROLL
                    accumulator[o] = bias[o];
                }
            linear_mac:
                for (unsigned s = 0; s < steps; ++s) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_CHANNELS/C::PI
#pragma HLS PIPELINE II=1
                    for (int o = 0; o < C::PO; ++o) {
#pragma HLS UNROLL
                        ap_int<32> sum = 0;
                        for (int i = 0; i < C::PI; ++i) {
#pragma HLS UNROLL
                            const ap_int<9> operand = x[r][s * C::PI + i];
                            sum += operand * w[s][o][i];
                        }
                        accumulator[o] += sum;
                    }
                }
                if (ins.has_residual) {
                    const unsigned origin = (ins.residual + (first + r) * residual_lines) * Memory<C>::LINE_WORDS + t * residual_words;
                linear_residual:
                    for (unsigned n = 0; n < residual_words; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::PO*16/C::AXI_BITS
#pragma HLS PIPELINE II=1
                        const Word word = read_word<C>(ins.residual_constant, weights, memory, origin + n);
                        for (int lane = 0; lane < WORD_BYTES; ++lane) {
#pragma HLS UNROLL
                            if (unsigned(lane) < residual_lanes) {
                                residual[n * residual_lanes + lane] =
                                    get_element<C>(word, lane, ins.residual_bytes, ins.residual_signed);
                            }
                        }
                    }
                }
                const unsigned target = (ins.y + (first + r) * y_lines) * Memory<C>::LINE_WORDS + t * y_words;
            linear_epilogue:
                for (unsigned n = 0; n < y_words; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::PO*16/C::AXI_BITS
#pragma HLS PIPELINE II=1
                    Word word = 0;
                    for (int lane = 0; lane < WORD_BYTES; ++lane) {
#pragma HLS UNROLL
                        if (unsigned(lane) < y_lanes) {
                            const unsigned o = n * y_lanes + lane;
                            Product value = requantize(accumulator[o], Multiplier(multiplier[o]), ins.shift);
                            Element operand = residual[o];
                            Multiplier scale = ins.residual_multiplier;
                            ap_uint<6> scale_shift = ins.residual_shift;
                            if (ins.has_table) {
                                const ap_int<12> index = saturate(value, ins.index_bits, true);
                                operand = table[lane / 2][index + table_middle];
                                scale = output_multiplier[o];
                                scale_shift = ins.output_shift;
                                value = 0;
                            }
                            if (ins.has_table || ins.has_residual) {
                                const Product added = requantize(operand, scale, scale_shift);
                                value += added;
                            }
                            const Element y = saturate(value, ins.y_bits, ins.y_signed);
                            set_element<C>(word, lane, ins.y_bytes, y);
                        }
                    }
                    memory[target + n] = word;
                }
            }
        }
    }
}

}  // namespace edgeflow

#endif
