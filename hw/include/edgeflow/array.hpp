// The shared compute unit: PI x PO multipliers for linear layers and for both products of attention.
//
// An instruction is one pass: the weights of a tile of PO outputs are stationary in slots of PI inputs while rows stream by, one step of
// PI inputs a cycle. The epilogue works on the row before, EPILOGUE outputs a cycle, and the next tile's weights are loaded at the same
// time. Passes whose `chain` is set continue without draining the pipeline: the whole chain is one loop with II = 1.
//
// Layer normalization is part of the same loop (layernorm.hpp). Where a linear pass has `norm` set, the layer normalization of its
// output is the next instruction: it starts when the pass has loaded its tile, and continues as a pass without products.
//
// A cycle reads each memory in one place and writes it in one: the narrow one for the row that streams by, a query or the input of a
// layer normalization (and for attention's values); the wide one for the residual or the input of a layer normalization.
//
// Two weights share one multiplier: (w1 << 18) + w0 times x. Four such products are added in the multipliers' cascade; then the lower 18
// bits, sign-extended, are the sum for w0, and the rest after subtracting them that for w1. In the 4-bit mode the operand holds two rows,
// (x1 << 11) + x0, and the weights lie 22 bits apart: four products each, in fields of 11 bits.
//
// Weight stream of a tile: PO int32 biases, PO multipliers, PO output multipliers, each from a new word; then for each step, from a new
// word, the weights [pair of outputs][i][2], one, two or four (where QUARTERS is set) to a byte, the first in its lowest bits; padded to
// lines. Before the first tile of a layer with a table: the table, signed 2-byte entries.
#ifndef EDGEFLOW_ARRAY_HPP
#define EDGEFLOW_ARRAY_HPP

#include "edgeflow/layernorm.hpp"
#include "edgeflow/memory.hpp"
#include "edgeflow/requantize.hpp"

namespace edgeflow {

// The row that the epilogue works on.
struct EpilogueRow {
    LinearInstruction ins;
    unsigned beat;  // next group of EPILOGUE outputs
    unsigned beats;
    unsigned y[2];  // line of each of the rows
    unsigned residual[2];
    unsigned rows;    // 1, or 2 in the 4-bit mode
    unsigned halves;  // of the bytes that the first row takes
    bool attention;
    unsigned channel;  // attention: the output channel of the head, and the halves of the double buffers
    unsigned reciprocal_set;
    unsigned output_set;
};

// What the array keeps between passes. The stationary operands, parameters and tables survive from one instruction to the next.
template <class C>
struct ArrayState {
    Packed weight[C::SLOTS][C::PO / 2][C::PI];
    Accumulator bias[2][C::PO];
    WideMultiplier multiplier[2][C::PO];
    Multiplier output_multiplier[2][C::PO];
    Element table[C::EPILOGUE][C::LINEAR_TABLE];
    Accumulator accumulator[2][C::PO];
    Accumulator result[2][C::PO];
    EpilogueRow epilogue;
    Line residual;  // of the last line of the residual that the epilogue has read
    LayernormState<C> norm;
    // Attention.
    Score score[2][C::PO][C::ATTENTION_KEYS];
    Score maximum[2][C::PO];
    Accumulator total[C::PO];
    Multiplier reciprocal[2][C::PO];
    Shift reciprocal_shift[2][C::PO];
    Exponent exponent[C::PO][C::ATTENTION_EXPONENTS];
    ap_uint<1> attended[C::ATTENTION_KEYS];
    ap_uint<8> query[C::PI];
    ap_uint<8> value[LINE_BYTES][C::ATTENTION_VALUES];
    Element output[C::EPILOGUE][2][C::PO / C::EPILOGUE][C::ATTENTION_HEAD];
    Accumulator partial[C::PO][C::ATTENTION_HEAD];
};

// Progress of the pass that runs: the row and the step of the products, the position of the loads.
struct PassState {
    unsigned row;
    unsigned step;
    unsigned line;   // of the row that streams by
    unsigned chunk;  // lines into the row
    unsigned part;   // steps into the line
    unsigned beat;   // cycles since the row began
    unsigned load_slot;
    unsigned load_position;
};

inline Packed pack_weights(const Weight& first, const Weight& second, bool quad) {
#pragma HLS INLINE
    const Packed low = first;
    const Packed high = second;
    const Packed upper = quad ? Packed(high << 2 * QUAD_SUM_BITS) : Packed(high << CASCADE_SUM_BITS);
    return Packed(upper + low);
}

}  // namespace edgeflow

#include "edgeflow/attention.hpp"
#include "edgeflow/epilogue.hpp"

namespace edgeflow {

// One step of PI inputs of one row (or of two in the 4-bit mode) for all outputs; sums[0] and sums[1] are the rows' dot products.
template <class C>
void array_products(const ArrayState<C>& state, unsigned slot, bool quad, const Operand (&operand)[C::PI], Accumulator (&sums)[2][C::PO]) {
#pragma HLS INLINE
    for (int pair = 0; pair < C::PO / 2; ++pair) {
#pragma HLS UNROLL
        Accumulator first0 = 0;
        Accumulator second0 = 0;
        Accumulator first1 = 0;
        Accumulator second1 = 0;
        for (int group = 0; group < C::PI / CASCADE; ++group) {
#pragma HLS UNROLL
            Chain chain = 0;
            for (int c = 0; c < CASCADE; ++c) {
#pragma HLS UNROLL
                const Chain product = state.weight[slot][pair][group * CASCADE + c] * operand[group * CASCADE + c];
                chain += product;
            }
            if (C::QUAD && quad) {
                const QuadSum field0 = chain;
                const Chain rest0 = (chain - field0) >> QUAD_SUM_BITS;
                const QuadSum field1 = rest0;
                const Chain rest1 = (rest0 - field1) >> QUAD_SUM_BITS;
                const QuadSum field2 = rest1;
                const QuadSum field3 = (rest1 - field2) >> QUAD_SUM_BITS;
                first0 += field0;
                first1 += field1;
                second0 += field2;
                second1 += field3;
            } else {
                const CascadeSum low = chain;
                const CascadeSum high = (chain - low) >> CASCADE_SUM_BITS;
                first0 += low;
                second0 += high;
            }
        }
        sums[0][2 * pair] = first0;
        sums[0][2 * pair + 1] = second0;
        sums[1][2 * pair] = first1;
        sums[1][2 * pair + 1] = second1;
    }
}

// The operands of one step from a line of the row that streams by; `part` picks PI bytes of the line.
template <class C>
void array_operands(const Line& line, unsigned part, unsigned storage, bool is_signed, unsigned row, bool quad, Operand (&operand)[C::PI]) {
#pragma HLS INLINE
    for (int i = 0; i < C::PI; ++i) {
#pragma HLS UNROLL
        const ap_uint<8> byte = line.byte[(part * C::PI + i) % LINE_BYTES];
        const ap_uint<4> low = byte;
        const ap_uint<4> high = byte >> 4;
        const ap_int<4> signed_low = low;
        const ap_int<4> signed_high = high;
        const ap_int<8> signed_byte = byte;
        const Operand x0 = is_signed ? Operand(signed_low) : Operand(low);
        const Operand x1 = is_signed ? Operand(signed_high) : Operand(high);
        if (C::QUAD && quad) {
            operand[i] = Operand((x1 << QUAD_SUM_BITS) + x0);
        } else if (storage == NIBBLES) {
            operand[i] = (row & 1u) != 0 ? x1 : x0;
        } else {
            operand[i] = is_signed ? Operand(signed_byte) : Operand(byte);
        }
    }
}

// Whether a word of the next tile is taken now.
inline bool array_loads(const LinearInstruction& ins, unsigned cycle) {
#pragma HLS INLINE
    return cycle >= ins.load_delay && cycle - ins.load_delay < ins.load_words;
}

// One word of the weight stream: the table, the parameters, then the weights of the next tile.
template <class C>
void array_load(const LinearInstruction& ins, unsigned cycle, const StreamWord<C>& word, PassState& pass, ArrayState<C>& state) {
#pragma HLS INLINE
    const int BYTES_IN = Memory<C>::STREAM_BYTES;
    const int INTEGERS = BYTES_IN / 4;
    const int ENTRIES = BYTES_IN / 2;
    const int ARRAY_WORDS = C::PO * 4 / BYTES_IN;  // words of PO integers
    const int PARAMETER_WORDS = (C::PO * 12 + LINE_BYTES - 1) / LINE_BYTES * Memory<C>::LINE_STREAM_WORDS;
    const unsigned n = cycle - ins.load_delay;
    if (array_loads(ins, cycle)) {
        EDGEFLOW_TRIP("weight words");
        const unsigned parameters = n - ins.load_table;
        if (n < ins.load_table) {
            for (int e = 0; e < ENTRIES; ++e) {
#pragma HLS UNROLL
                const ap_int<16> entry = ap_uint<16>(word.byte[2 * e]) | (ap_uint<16>(word.byte[2 * e + 1]) << 8);
                for (int lane = 0; lane < C::EPILOGUE; ++lane) {
#pragma HLS UNROLL
                    state.table[lane][n * ENTRIES + e] = entry;
                }
            }
        } else if (parameters < unsigned(3 * ARRAY_WORDS)) {
            const unsigned kind = parameters < unsigned(ARRAY_WORDS) ? 0u : parameters < unsigned(2 * ARRAY_WORDS) ? 1u : 2u;
            const unsigned first = (parameters - kind * ARRAY_WORDS) * INTEGERS;
            for (int i = 0; i < INTEGERS; ++i) {
#pragma HLS UNROLL
                const ap_uint<32> raw = ap_uint<32>(word.byte[4 * i]) | (ap_uint<32>(word.byte[4 * i + 1]) << 8) |
                                        (ap_uint<32>(word.byte[4 * i + 2]) << 16) | (ap_uint<32>(word.byte[4 * i + 3]) << 24);
                const Accumulator value = raw;
                if (kind == 0) {
                    state.bias[ins.load_set][first + i] = value;
                } else if (kind == 1) {
                    state.multiplier[ins.load_set][first + i] = value;
                } else {
                    state.output_multiplier[ins.load_set][first + i] = value;
                }
            }
        } else if (parameters >= unsigned(PARAMETER_WORDS) && pass.load_slot < ins.load_end) {
            // A word of bytes holds the pairs of weights of HALF multipliers, one of half bytes those of twice as many, one of quarter
            // bytes of four times as many, one after another: first the inputs of a pair of outputs. Positions count multiples of HALF;
            // those of a word start at a multiple of their number. The last word of a step of quarter bytes may be padded.
            const int HALF = BYTES_IN / 2;
            const int POSITIONS = C::PO / 2 * C::PI / HALF;
            const int PARTS = C::QUARTERS ? 4 : 2;
            Packed packed[PARTS * HALF];
#pragma HLS ARRAY_PARTITION variable=packed complete
            for (int p = 0; p < PARTS * HALF; ++p) {
#pragma HLS UNROLL
                const ap_int<8> even = word.byte[2 * (p % HALF)];
                const ap_int<8> odd = word.byte[2 * (p % HALF) + 1];
                const ap_uint<8> halves = word.byte[p % BYTES_IN];
                const ap_int<4> low_half = halves;
                const ap_int<4> high_half = halves >> 4;
                const ap_uint<8> quarters = word.byte[p / 2];
                const ap_int<2> low_quarter = quarters >> (p % 2 * 4);
                const ap_int<2> high_quarter = quarters >> (p % 2 * 4 + 2);
                Weight first = ins.load_packing != 0 ? Weight(low_half) : Weight(even);
                Weight second = ins.load_packing != 0 ? Weight(high_half) : Weight(odd);
                if (C::QUARTERS && ins.load_packing == 2) {
                    first = low_quarter;
                    second = high_quarter;
                }
                packed[p] = pack_weights(first, second, ins.load_quad);
            }
            const unsigned step = 1u << ins.load_packing;
            for (int position = 0; position < POSITIONS; ++position) {
#pragma HLS UNROLL
                if (unsigned(position) - pass.load_position < step) {
                    for (int m = 0; m < HALF; ++m) {
#pragma HLS UNROLL
                        const int flat = position * HALF + m;
                        state.weight[pass.load_slot][flat / C::PI][flat % C::PI] = packed[position % PARTS * HALF + m];
                    }
                }
            }
            pass.load_position += step;
            if (pass.load_position >= unsigned(POSITIONS)) {
                pass.load_position = 0;
                ++pass.load_slot;
            }
        }
    }
}

template <class C>
void start_pass(const LinearInstruction& linear, const AttentionInstruction& attention, bool is_attention, PassState& pass) {
#pragma HLS INLINE
    pass.row = 0;
    pass.step = 0;
    pass.line = is_attention ? attention.k : linear.x;
    pass.chunk = 0;
    pass.part = is_attention ? attention.k_part : 0;
    pass.beat = 0;
    pass.load_slot = linear.load_slot;
    pass.load_position = 0;
}

// Runs a chain of passes; returns how many descriptors it has read beyond the first.
template <class C>
unsigned array(
    const Descriptor& descriptor, unsigned left, hls::stream<Descriptor>& program, hls::stream<StreamWord<C> >& stream,
    Scratch<C>& scratch, ArrayState<C>& state) {
#pragma HLS INLINE off
#pragma HLS ARRAY_PARTITION variable=state.weight complete dim=2
#pragma HLS ARRAY_PARTITION variable=state.weight complete dim=3
#pragma HLS BIND_STORAGE variable=state.weight type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=state.weight inter false
#pragma HLS ARRAY_PARTITION variable=state.bias complete dim=0
#pragma HLS ARRAY_PARTITION variable=state.multiplier complete dim=0
#pragma HLS ARRAY_PARTITION variable=state.output_multiplier complete dim=0
#pragma HLS ARRAY_PARTITION variable=state.table complete dim=1
#pragma HLS ARRAY_PARTITION variable=state.table cyclic factor=Memory<C>::STREAM_BYTES/2 dim=2
#pragma HLS BIND_STORAGE variable=state.table type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=state.table inter false
#pragma HLS ARRAY_PARTITION variable=state.accumulator complete dim=0
#pragma HLS ARRAY_PARTITION variable=state.result complete dim=0
#pragma HLS ARRAY_PARTITION variable=state.score complete dim=2
#pragma HLS DEPENDENCE variable=state.score inter false
#pragma HLS ARRAY_PARTITION variable=state.maximum complete dim=0
#pragma HLS ARRAY_PARTITION variable=state.total complete
#pragma HLS ARRAY_PARTITION variable=state.reciprocal complete dim=0
#pragma HLS ARRAY_PARTITION variable=state.reciprocal_shift complete dim=0
#pragma HLS ARRAY_PARTITION variable=state.exponent complete dim=1
#pragma HLS ARRAY_PARTITION variable=state.exponent cyclic factor=Memory<C>::STREAM_BYTES dim=2
#pragma HLS BIND_STORAGE variable=state.exponent type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=state.exponent inter false
#pragma HLS ARRAY_PARTITION variable=state.attended complete
#pragma HLS ARRAY_PARTITION variable=state.query complete
#pragma HLS ARRAY_PARTITION variable=state.value complete dim=1
#pragma HLS DEPENDENCE variable=state.value inter false
#pragma HLS ARRAY_PARTITION variable=state.output complete dim=1
#pragma HLS ARRAY_PARTITION variable=state.output complete dim=3
#pragma HLS BIND_STORAGE variable=state.output type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=state.output inter false
#pragma HLS ARRAY_PARTITION variable=state.partial complete dim=1
#pragma HLS BIND_STORAGE variable=state.partial type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=state.partial inter false
#pragma HLS ARRAY_RESHAPE variable=state.norm.ring complete dim=2
#pragma HLS BIND_STORAGE variable=state.norm.ring type=ram_s2p impl=bram
#pragma HLS DEPENDENCE variable=state.norm.ring inter false
#pragma HLS ARRAY_PARTITION variable=state.norm.gain complete dim=2
#pragma HLS BIND_STORAGE variable=state.norm.gain type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=state.norm.gain inter false
#pragma HLS ARRAY_PARTITION variable=state.norm.offset complete dim=2
#pragma HLS BIND_STORAGE variable=state.norm.offset type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=state.norm.offset inter false
// What one step writes the next reads so many iterations later: the scheduler is held to that.
#pragma HLS BIND_STORAGE variable=state.norm.sum type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=state.norm.sum type=inter direction=raw distance=C::LAYERNORM_SUM_LAG dependent=true
#pragma HLS BIND_STORAGE variable=state.norm.squares type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=state.norm.squares type=inter direction=raw distance=C::LAYERNORM_SUM_LAG dependent=true
#pragma HLS BIND_STORAGE variable=state.norm.mean type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=state.norm.mean type=inter direction=raw distance=C::LAYERNORM_VARIANCE_LAG+C::LAYERNORM_ROOT_LAG dependent=true
#pragma HLS BIND_STORAGE variable=state.norm.shift type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=state.norm.shift type=inter direction=raw distance=C::LAYERNORM_VARIANCE_LAG+C::LAYERNORM_ROOT_LAG dependent=true
#pragma HLS BIND_STORAGE variable=state.norm.scaled type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=state.norm.scaled type=inter direction=raw distance=C::LAYERNORM_VARIANCE_LAG dependent=true
#pragma HLS BIND_STORAGE variable=state.norm.root type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=state.norm.root type=inter direction=raw distance=C::LAYERNORM_ROOT_LAG dependent=true
#pragma HLS ARRAY_PARTITION variable=state.residual.byte complete
#pragma HLS DEPENDENCE variable=scratch.narrow inter false
#pragma HLS DEPENDENCE variable=scratch.wide inter false
    LinearInstruction linear = decode_linear(descriptor);
    AttentionInstruction attention = decode_attention(descriptor);
    bool is_attention = C::HAS_ATTENTION && descriptor.word[0] == OPCODE_ATTENTION;
    bool is_norm = C::HAS_LAYERNORM && descriptor.word[0] == OPCODE_LAYERNORM;
    LayernormPass<C> norm;
    reset_layernorm<C>(norm);
    if (is_norm) {
        start_layernorm<C>(decode_layernorm(descriptor), norm);
        norm.complete = norm.ins.rows;
    }
    unsigned trips = is_attention ? attention.trips : is_norm ? norm.ins.trips : linear.trips;
    PassState pass;
    start_pass<C>(linear, attention, is_attention, pass);
    AttentionPass jobs;
    start_attention(attention, jobs);
    unsigned n = 0;
    unsigned taken = 0;
    bool running = true;

array_cycles:
    while (running) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_TOKENS*C::MAX_CHANNELS
#pragma HLS PIPELINE II=1
        if (is_norm) {
            EDGEFLOW_TRIP("layernorm");
        } else {
            EDGEFLOW_TRIP("pass");
        }
        const bool is_linear = !is_attention && !is_norm;
        const bool scores = is_attention && attention.mac == ATTENTION_SCORES;
        const bool values = is_attention && attention.mac == ATTENTION_VALUES;
        const bool streams = is_linear || scores || values;
        const unsigned rows = is_attention ? (scores ? attention.keys : attention.rows) : (linear.quad ? (linear.rows + 1) >> 1 : linear.rows);
        const unsigned steps = is_attention ? attention.steps : linear.steps;
        const unsigned beats = scores ? 1u : !is_attention && linear.quad ? 2u * C::PO / C::EPILOGUE : unsigned(C::PO / C::EPILOGUE);
        const bool quad = !is_attention && linear.quad;
        const bool active = streams && pass.row < rows;

        // The residual, or a chunk of the input of a layer normalization. A chunk in the narrow memory is read by a pass of its own.
        ScratchWrites writes;
#pragma HLS ARRAY_PARTITION variable=writes.narrow.value.byte complete
#pragma HLS ARRAY_PARTITION variable=writes.wide.value.byte complete
        clear_writes(writes);
        unsigned residual_line = 0;
        const bool residual = epilogue_reads<C>(state.epilogue, residual_line);
        const bool writing = state.epilogue.beat < state.epilogue.beats;
        const bool norm_reads = C::HAS_LAYERNORM && layernorm_reads<C>(norm, residual);
        const unsigned norm_line = norm_reads ? layernorm_line<C>(norm) : 0u;
        const bool norm_narrow = norm_reads && norm_line < unsigned(C::NARROW_LINES);
        Line wide;
#pragma HLS ARRAY_PARTITION variable=wide.byte complete
        if (residual || (norm_reads && !norm_narrow)) {
            wide = read_wide<C>(scratch, residual ? residual_line : norm_line);
        }
        if (residual) {
            state.residual = wide;
        }
        const bool completed = array_epilogue<C>(state.epilogue, state, writes);
        if (C::HAS_LAYERNORM) {
            layernorm_follow<C>(completed, linear.quad ? 2u : 1u, norm);
        }

        // One read of the narrow memory: the row that streams by, a query that is loaded, or a chunk of a layer normalization.
        const bool query = is_attention && attention.query && jobs.query_lane < attention.q_lanes;
        const unsigned address = query ? attention_query_line<C>(attention, jobs) : norm_narrow ? norm_line : pass.line + pass.chunk;
        Line line;
#pragma HLS ARRAY_PARTITION variable=line.byte complete
        for (int b = 0; b < LINE_BYTES; ++b) {
#pragma HLS UNROLL
            line.byte[b] = 0;
        }
        if (query || norm_narrow || (active && !values && pass.step < steps)) {
            line = read_narrow<C>(scratch, address);
        }

        if (active) {
            if (pass.step < steps) {
                EDGEFLOW_TRIP("products");
                Operand operand[C::PI];
#pragma HLS ARRAY_PARTITION variable=operand complete
                if (values) {
                    attention_value_operands<C>(attention, pass, state, operand);
                } else {
                    array_operands<C>(
                        line, pass.part, is_attention ? BYTES : linear.x_storage, is_attention || linear.x_signed, pass.row, quad, operand);
                }
                Accumulator sums[2][C::PO];
#pragma HLS ARRAY_PARTITION variable=sums complete dim=0
                const unsigned slot = (is_attention ? attention.slot : linear.slot) + pass.step;
                array_products<C>(state, slot, quad, operand, sums);
                const bool last = pass.step + 1 == steps;
                for (int o = 0; o < C::PO; ++o) {
#pragma HLS UNROLL
                    for (int r = 0; r < 2; ++r) {
#pragma HLS UNROLL
                        Accumulator start = state.accumulator[r][o];
                        if (pass.step == 0) {
                            start = is_attention ? Accumulator(0) : state.bias[linear.set][o];
                            if (values && attention.accumulate) {
                                start = state.partial[o][pass.row];
                            }
                        }
                        const Accumulator next = start + sums[r][o];
                        state.accumulator[r][o] = next;
                        if (last && !scores) {
                            state.result[r][o] = next;
                        }
                    }
                }
                if (last) {
                    if (!is_attention) {
                        EDGEFLOW_TRIP("rows");
                    }
                    if (scores) {
                        attention_scores<C>(attention, pass.row, state);
                    } else if (values && attention.partial) {
                        for (int o = 0; o < C::PO; ++o) {
#pragma HLS UNROLL
                            state.partial[o][pass.row] = state.result[0][o];
                        }
                    } else {
                        start_epilogue<C>(linear, attention, is_attention, pass.row, beats, state.epilogue);
                    }
                }
                ++pass.step;
                ++pass.part;
                if (pass.part == unsigned(LINE_BYTES / C::PI)) {
                    pass.part = 0;
                    ++pass.chunk;
                }
            }
            ++pass.beat;
            if (pass.beat >= steps && pass.beat >= beats) {
                pass.beat = 0;
                pass.step = 0;
                pass.part = is_attention ? attention.k_part : 0;
                pass.chunk = 0;
                ++pass.row;
                const bool same_line = !is_attention && linear.x_storage == NIBBLES && !quad && (pass.row & 1u) != 0;
                pass.line += same_line ? 0u : is_attention ? attention.k_stride : linear.x_stride;
            }
        }

        // One word of the weight stream: of the next tile, of attention's table, or of a layer normalization's parameters.
        const bool loads = is_linear ? array_loads(linear, n) : is_attention && n < attention.load_words;
        const bool norm_loads = C::HAS_LAYERNORM && layernorm_loads<C>(norm);
        StreamWord<C> word;
#pragma HLS ARRAY_PARTITION variable=word.byte complete
        if (loads || norm_loads) {
            word = stream.read();
        }
        if (is_attention) {
            attention_jobs<C>(attention, n, line, word, jobs, state, writes);
        } else if (is_linear) {
            array_load<C>(linear, n, word, pass, state);
        }
        if (C::HAS_LAYERNORM) {
            layernorm_cycle<C>(word, norm_reads, norm_narrow ? line : wide, writing, norm, state.norm, writes);
        }
        // The other port of the narrow memory writes, or reads the values of a head: no pass asks for both.
        const bool loads_values = is_attention && attention.value_load && jobs.value_key < attention.v_keys;
        Line values_line;
#pragma HLS ARRAY_PARTITION variable=values_line.byte complete
        if (writes.narrow.active) {
            commit_narrow<C>(scratch, writes.narrow);
        } else if (loads_values) {
            values_line = read_narrow<C>(scratch, jobs.value_row + jobs.value_line);
        }
        if (loads_values) {
            attention_values<C>(attention, values_line, jobs, state);
        }
        commit_wide<C>(scratch, writes.wide);

        // The next descriptor: of the pass that follows in the chain, or, once the tile has been loaded, of the layer normalization
        // that runs beside this pass. Before that it need not have come: the words of the tile are fetched first.
        const bool ends = n + 1 == trips;
        const bool beside = C::HAS_LAYERNORM && is_linear && linear.norm;
        const bool chained = is_attention ? attention.chain : is_linear && linear.chain;
        const bool follows = ends && chained && !beside && taken < left;
        const bool starts = beside && n == linear.load_delay + linear.load_words && taken < left;
        Descriptor next;
#pragma HLS ARRAY_PARTITION variable=next.word complete
        if (follows || starts) {
            next = program.read();
            ++taken;
        }
        if (starts) {
            start_layernorm<C>(decode_layernorm(next), norm);
        }
        ++n;
        if (ends) {
            if (is_norm) {
                EDGEFLOW_ENTER("layernorm");
            } else if (!chained) {
                EDGEFLOW_ENTER("pass");
            }
            n = 0;
            if (follows) {
                linear = decode_linear(next);
                attention = decode_attention(next);
                is_attention = C::HAS_ATTENTION && next.word[0] == OPCODE_ATTENTION;
                trips = is_attention ? attention.trips : linear.trips;
                start_pass<C>(linear, attention, is_attention, pass);
                start_attention(attention, jobs);
            } else if (beside && norm.active) {
                is_norm = true;
                trips = norm.ins.trips;
            } else {
                running = false;
            }
        }
    }
    return taken;
}

}  // namespace edgeflow

#endif
