// Attention on the array: what happens beside the products of a pass.
//
// A block of PO queries is stationary. A scores pass streams the keys of a head, one vector a cycle, and leaves a row of scores in every
// lane with its maximum; a values pass streams the channels of the head, each a vector of values over the keys, past the stationary
// weights. Beside the products run, each in a pass that has them: loading the next block's queries; turning scores into weights
// 2^(P - t) (one key a cycle in all lanes) which become the stationary operands; the reciprocals of the sums of weights, one lane a
// cycle; loading and transposing the values of the next head; storing the block before. The program says which job runs in which pass
// (hw/ops/attention.py), and keys that exceed the buffers come in blocks, with a first sweep for the maximum.
//
// Values are transposed by their place: byte (key j, channel d) lies in bank (j + d) mod 64, so that a key writes 64 banks and a channel
// reads 64 banks, one element of each. The same holds for the outputs, in EPILOGUE banks.
#ifndef EDGEFLOW_ATTENTION_HPP
#define EDGEFLOW_ATTENTION_HPP

#include "edgeflow/memory.hpp"
#include "edgeflow/requantize.hpp"
#include "edgeflow/rotate.hpp"

namespace edgeflow {

// Progress of the jobs of one pass.
struct AttentionPass {
    unsigned query_lane;
    unsigned query_step;
    unsigned query_row;    // line of the even lane's query
    unsigned exponent_slot;
    unsigned exponent_part;
    unsigned value_key;
    unsigned value_line;
    unsigned value_row;
    unsigned output_lane;
    unsigned output_step;
    unsigned output_row;
};

inline void start_attention(const AttentionInstruction& ins, AttentionPass& jobs) {
#pragma HLS INLINE
    jobs.query_lane = 0;
    jobs.query_step = 0;
    jobs.query_row = ins.q;
    jobs.exponent_slot = ins.e_slot;
    jobs.exponent_part = 0;
    jobs.value_key = 0;
    jobs.value_line = 0;
    jobs.value_row = ins.v;
    jobs.output_lane = 0;
    jobs.output_step = 0;
    jobs.output_row = ins.o;
}

// Line of the query that the query job reads now: for each pair of lanes and each step, the even lane's, then the odd lane's.
template <class C>
unsigned attention_query_line(const AttentionInstruction& ins, const AttentionPass& jobs) {
#pragma HLS INLINE
    const unsigned row = jobs.query_row + ((jobs.query_lane & 1u) != 0 ? ins.q_stride : 0u);
    return row + (ins.q_part + jobs.query_step) / (LINE_BYTES / C::PI);
}

// Scores of key `key` and all lanes, from the sums that a row of the pass has just completed.
template <class C>
void attention_scores(const AttentionInstruction& ins, unsigned key, ArrayState<C>& state) {
#pragma HLS INLINE
    const bool attended = !ins.has_mask || state.attended[key] != 0;
    for (int o = 0; o < C::PO; ++o) {
#pragma HLS UNROLL
        const Score score = state.accumulator[0][o];
        Score maximum = state.maximum[ins.score_set][o];
        if (key == 0 && ins.maximum_reset) {
            maximum = -(1 << (SCORE_BITS - 1));
        }
        if (attended && score > maximum) {
            maximum = score;
        }
        state.maximum[ins.score_set][o] = maximum;
        state.score[ins.score_set][o][key] = score;
    }
}

// A vector of values over PI keys of one channel: the operands of a values pass.
template <class C>
void attention_value_operands(const AttentionInstruction& ins, const PassState& pass, const ArrayState<C>& state, Operand (&operand)[C::PI]) {
#pragma HLS INLINE
    const unsigned channel = ins.column + pass.row;
    const unsigned key = pass.step * C::PI;
    const unsigned place = (ins.value_set * C::ATTENTION_HEAD + channel) * (C::ATTENTION_KEYS / LINE_BYTES) + key / LINE_BYTES;
    Line line;
#pragma HLS ARRAY_PARTITION variable=line.byte complete
    for (int bank = 0; bank < LINE_BYTES; ++bank) {
#pragma HLS UNROLL
        line.byte[bank] = state.value[bank][place];
    }
    rotate(line.byte, key + channel);
    for (int i = 0; i < C::PI; ++i) {
#pragma HLS UNROLL
        const ap_int<8> value = line.byte[i];
        operand[i] = value;
    }
}

// 2^(P - t) for a distance from the maximum: one table entry and a rounded shift (hw/exponent.py is the definition).
template <class C>
Weight attention_weight(const AttentionInstruction& ins, const Score& maximum, const Score& score, const Exponent* table) {
#pragma HLS INLINE
    const Distance distance = maximum - score;
    const Product t = requantize(Accumulator(distance), Multiplier(ins.e_multiplier), ins.e_shift);
    const Product whole = t >> ins.fraction_bits;
    const unsigned fraction = unsigned(Fraction(t)) & ((1u << ins.fraction_bits) - 1u);
    const Product limit = ins.probability_bits;
    Weight weight = 0;
    if (whole <= limit) {
        const ExponentShift count = ExponentShift(whole);
        RoundedExponent half = 0;
        if (count != 0) {
            const ExponentShift position = count - 1;
            half = RoundedExponent(1) << position;
        }
        const RoundedExponent sum = RoundedExponent(table[fraction]) + half;
        weight = Weight(Exponent(sum >> count));
    }
    return weight;
}

template <class C>
void attention_query(const AttentionInstruction& ins, const Line& line, AttentionPass& jobs, ArrayState<C>& state) {
#pragma HLS INLINE
    const unsigned lanes = (ins.q_lanes + 1) & ~1u;
    if (jobs.query_lane < lanes) {
        EDGEFLOW_TRIP("queries");
        const unsigned step = ins.q_part + jobs.query_step;
        const bool odd = (jobs.query_lane & 1u) != 0;
        for (int i = 0; i < C::PI; ++i) {
#pragma HLS UNROLL
            // Channels of other heads in the same line are left out.
            const unsigned channel = step * C::PI + i;
            const bool own = channel >= ins.q_low && channel < ins.q_high && jobs.query_lane < ins.q_lanes;
            const ap_uint<8> byte = own ? line.byte[channel % LINE_BYTES] : ap_uint<8>(0);
            const ap_int<8> second = byte;
            const ap_int<8> first = state.query[i];
            if (odd) {
                state.weight[ins.q_slot + jobs.query_step][jobs.query_lane >> 1][i] = pack_weights(first, second, false);
            } else {
                state.query[i] = byte;
            }
        }
        if (odd) {
            jobs.query_lane -= 1;
            ++jobs.query_step;
            if (jobs.query_step == ins.q_steps) {
                jobs.query_step = 0;
                jobs.query_lane += 2;
                jobs.query_row += ins.q_stride << 1;
            }
        } else {
            jobs.query_lane += 1;
        }
    }
}

template <class C>
void attention_exponents(const AttentionInstruction& ins, unsigned key, AttentionPass& jobs, ArrayState<C>& state) {
#pragma HLS INLINE
    if (key < ins.e_keys) {
        EDGEFLOW_TRIP("exponents");
        const bool attended = !ins.has_mask || state.attended[key] != 0;
        for (int pair = 0; pair < C::PO / 2; ++pair) {
#pragma HLS UNROLL
            Weight weights[2];
#pragma HLS ARRAY_PARTITION variable=weights complete
            for (int half = 0; half < 2; ++half) {
#pragma HLS UNROLL
                const int o = 2 * pair + half;
                weights[half] = 0;
                if (attended) {
                    const Score score = state.score[ins.e_set][o][key];
                    weights[half] = attention_weight<C>(ins, state.maximum[ins.e_set][o], score, state.exponent[o]);
                }
                const Accumulator before = key == 0 && ins.total_reset ? Accumulator(0) : state.total[o];
                state.total[o] = before + weights[half];
            }
            // The first key of a slot clears the others, so that a slot that the last key leaves unfilled weighs nothing.
            const Packed packed = pack_weights(weights[0], weights[1], false);
            for (int i = 0; i < C::PI; ++i) {
#pragma HLS UNROLL
                if (unsigned(i) == jobs.exponent_part) {
                    state.weight[jobs.exponent_slot][pair][i] = packed;
                } else if (jobs.exponent_part == 0) {
                    state.weight[jobs.exponent_slot][pair][i] = 0;
                }
            }
        }
        ++jobs.exponent_part;
        if (jobs.exponent_part == unsigned(C::PI)) {
            jobs.exponent_part = 0;
            ++jobs.exponent_slot;
        }
    }
}

// The dyadic reciprocal of a lane's sum of weights: numerator / sum = factor / 2^(bits of the sum), factor of 17 bits.
template <class C>
void attention_reciprocal(const AttentionInstruction& ins, unsigned lane, ArrayState<C>& state) {
#pragma HLS INLINE
    EDGEFLOW_TRIP("reciprocals");
    const WeightTotal sum = state.total[lane];
    Digits bits = 0;
    for (int b = 0; b < WEIGHT_TOTAL_BITS; ++b) {
#pragma HLS UNROLL
        if ((sum >> b) != 0) {
            bits = b + 1;
        }
    }
    const int LARGEST = (1 << (MULTIPLIER_BITS - 1)) - 1;
    Multiplier factor = 0;
    if (sum != 0) {
        const Digits shift = WEIGHT_TOTAL_BITS - bits;
        const WeightTotal divisor = sum << shift;
        const ReciprocalDividend dividend = (ReciprocalDividend(ReciprocalNumerator(ins.numerator)) << WEIGHT_TOTAL_BITS) + (divisor >> 1);
        const ReciprocalDividend quotient = dividend / divisor;  // divider: one for all lanes, a lane a cycle
        factor = quotient > LARGEST ? Multiplier(LARGEST) : Multiplier(quotient);
    }
    state.reciprocal[ins.r_set][lane] = factor;
    state.reciprocal_shift[ins.r_set][lane] = Shift(ins.r_shift + bits);
}

// One line of the values of a head: 64 channels of one key into 64 banks, or a line of the mask, 64 keys.
template <class C>
void attention_values(const AttentionInstruction& ins, const Line& line, AttentionPass& jobs, ArrayState<C>& state) {
#pragma HLS INLINE
    EDGEFLOW_TRIP("values");
    if (ins.value_mask) {
        for (int key = 0; key < C::ATTENTION_KEYS; ++key) {
#pragma HLS UNROLL
            if (unsigned(key) / LINE_BYTES == jobs.value_key) {
                state.attended[key] = line.byte[key % LINE_BYTES] != 0 ? 1 : 0;
            }
        }
    } else {
        Line turned = line;
#pragma HLS ARRAY_PARTITION variable=turned.byte complete
        rotate(turned.byte, 0u - jobs.value_key);
        for (int bank = 0; bank < LINE_BYTES; ++bank) {
#pragma HLS UNROLL
            const unsigned d = (bank - jobs.value_key) % LINE_BYTES;
            const unsigned channel = jobs.value_line * LINE_BYTES + d;
            const unsigned place =
                (ins.v_set * C::ATTENTION_HEAD + channel) * (C::ATTENTION_KEYS / LINE_BYTES) + jobs.value_key / LINE_BYTES;
            state.value[bank][place] = turned.byte[bank];
        }
    }
    ++jobs.value_line;
    if (jobs.value_line == ins.v_lines) {
        jobs.value_line = 0;
        ++jobs.value_key;
        jobs.value_row += ins.v_stride;
    }
}

// EPILOGUE channels of one query of the block before.
template <class C>
void attention_store(const AttentionInstruction& ins, AttentionPass& jobs, const ArrayState<C>& state, ScratchWrites& writes) {
#pragma HLS INLINE
    if (ins.store && jobs.output_lane < ins.o_lanes) {
        EDGEFLOW_TRIP("outputs");
        const unsigned lane = jobs.output_lane % C::EPILOGUE;
        const unsigned group = jobs.output_lane / C::EPILOGUE;
        const unsigned first = jobs.output_step * C::EPILOGUE;
        Element outputs[C::EPILOGUE];
#pragma HLS ARRAY_PARTITION variable=outputs complete
        for (int bank = 0; bank < C::EPILOGUE; ++bank) {
#pragma HLS UNROLL
            const unsigned i = (bank - lane) % C::EPILOGUE;
            outputs[bank] = state.output[bank][ins.o_set][group][first + i];
        }
        const unsigned channel = ins.o_channel + first;
        rotate(outputs, lane - channel);  // from the place by query to the place in the line
        const bool halves = ins.o_storage == HALVES;
        Line line;
#pragma HLS ARRAY_PARTITION variable=line.byte complete
        for (int b = 0; b < LINE_BYTES; ++b) {
#pragma HLS UNROLL
            if (!halves || b < LINE_BYTES / 2) {
                set_line_element(line, b, ins.o_storage, outputs[b % C::EPILOGUE]);
            }
        }
        const unsigned target = jobs.output_row + (halves ? channel >> 5 : channel >> 6);
        const unsigned left = ins.o_channels - first;
        const unsigned count = left < unsigned(C::EPILOGUE) ? left : unsigned(C::EPILOGUE);
        request_write<C>(
            writes, target, halves ? (channel % 32) * 2 : channel % 64, halves ? count * 2 : count, 3u, line);
        ++jobs.output_step;
        if (first + C::EPILOGUE >= ins.o_channels) {
            jobs.output_step = 0;
            ++jobs.output_lane;
            jobs.output_row += ins.o_stride;
        }
    }
}

// One word of the exponent table: stream words of single bytes.
template <class C>
void attention_table(const AttentionInstruction& ins, unsigned n, const StreamWord<C>& word, ArrayState<C>& state) {
#pragma HLS INLINE
    if (n < ins.load_words) {
        EDGEFLOW_TRIP("table words");
        if (n * Memory<C>::STREAM_BYTES < unsigned(C::ATTENTION_EXPONENTS)) {
            for (int e = 0; e < Memory<C>::STREAM_BYTES; ++e) {
#pragma HLS UNROLL
                const unsigned entry = n * Memory<C>::STREAM_BYTES + e;
                for (int o = 0; o < C::PO; ++o) {
#pragma HLS UNROLL
                    state.exponent[o][entry] = word.byte[e];
                }
            }
        }
    }
}

// All jobs of one cycle of a pass but the load of values. `line` and `word`: what the narrow memory and the weight stream yield in it.
template <class C>
void attention_jobs(
    const AttentionInstruction& ins, unsigned n, const Line& line, const StreamWord<C>& word, AttentionPass& jobs, ArrayState<C>& state,
    ScratchWrites& writes) {
#pragma HLS INLINE
    // Both write stationary operands; no pass has both.
    if (ins.query) {
        attention_query<C>(ins, line, jobs, state);
    } else if (ins.exponents) {
        attention_exponents<C>(ins, n, jobs, state);
    }
    if (ins.reciprocals && n >= RECIPROCAL_LAG && n < RECIPROCAL_LAG + unsigned(C::PO)) {
        attention_reciprocal<C>(ins, n - RECIPROCAL_LAG, state);
    }
    attention_store<C>(ins, jobs, state, writes);
    attention_table<C>(ins, n, word, state);
}

}  // namespace edgeflow

#endif
