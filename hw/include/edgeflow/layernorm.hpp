// Layer normalization of rows, VECTOR elements a cycle: y = gain * (x - mean) / sqrt(variance) + offset, in integers
// (hw/ops/layernorm.py is the definition).
//
// One pipelined loop. An iteration reads a chunk of a row from the scratchpad, adds its elements and their squares to the sums of the
// row, and keeps it in a ring; and it normalizes and writes the chunk that was read `lag` iterations before. With the last chunk of a
// row the mean, the sum of squared deviations (from both sums: it needs no second pass) and the reciprocal root are computed; they
// are ready LAYERNORM_LATENCY iterations later, when the first chunk of that row is normalized. Gains and offsets arrive from the
// weight stream meanwhile. A cycle reads one line and writes one.
//
// Weight stream: for each channel an int32 gain and an int32 offset; whole lines.
#ifndef EDGEFLOW_LAYERNORM_HPP
#define EDGEFLOW_LAYERNORM_HPP

#include "edgeflow/chunk.hpp"
#include "edgeflow/requantize.hpp"

namespace edgeflow {

typedef ap_int<18> Deviation;  // element, or element minus mean, with fraction bits: one DSP48E2 operand
typedef ap_int<26> Root;       // 2^38 / sqrt(w) for w in [2^28, 2^30)

// First estimates of 2^15 / sqrt(w / 2^30) by w >> 22, from 64 on.
static const unsigned short RECIPROCAL_ROOT_SEEDS[192] = {
    65281, 64781, 64292, 63814, 63347, 62889, 62442, 62004, 61575, 61154, 60742, 60339, 59943, 59555, 59175, 58801,
    58435, 58075, 57722, 57376, 57035, 56700, 56372, 56049, 55731, 55419, 55112, 54810, 54513, 54221, 53933, 53650,
    53371, 53097, 52826, 52560, 52298, 52040, 51785, 51535, 51288, 51044, 50804, 50567, 50333, 50103, 49876, 49652,
    49430, 49212, 48997, 48784, 48574, 48367, 48163, 47961, 47761, 47564, 47370, 47178, 46988, 46800, 46615, 46432,
    46251, 46072, 45895, 45720, 45547, 45376, 45207, 45040, 44875, 44711, 44550, 44390, 44232, 44075, 43920, 43767,
    43615, 43465, 43316, 43169, 43024, 42879, 42737, 42595, 42456, 42317, 42180, 42044, 41910, 41776, 41644, 41514,
    41384, 41256, 41129, 41003, 40878, 40754, 40631, 40510, 40390, 40270, 40152, 40035, 39919, 39803, 39689, 39576,
    39464, 39352, 39242, 39133, 39024, 38916, 38810, 38704, 38599, 38494, 38391, 38289, 38187, 38086, 37986, 37887,
    37788, 37690, 37593, 37497, 37401, 37307, 37213, 37119, 37027, 36935, 36843, 36753, 36663, 36573, 36485, 36397,
    36309, 36222, 36136, 36051, 35966, 35882, 35798, 35715, 35632, 35550, 35469, 35388, 35307, 35228, 35148, 35070,
    34991, 34914, 34837, 34760, 34684, 34608, 34533, 34458, 34384, 34310, 34237, 34164, 34092, 34020, 33949, 33878,
    33807, 33737, 33668, 33599, 33530, 33461, 33393, 33326, 33259, 33192, 33126, 33060, 32994, 32929, 32864, 32800,
};

// What normalizes a row: (x - mean) * root / 2^shift.
struct RowStatistics {
    ap_int<20> mean;
    Root root;
    ap_uint<6> shift;
};

// Smallest count with value < 4^count.
inline ap_uint<5> base4_digits(const ap_int<54>& value) {
#pragma HLS INLINE
    ap_uint<5> count = 0;
    for (int digit = 0; digit < 27; ++digit) {
#pragma HLS UNROLL
        if ((value >> (2 * digit)) != 0) {
            count = digit + 1;
        }
    }
    return count;
}

// 2^38 / sqrt(w) for the value scaled by an even power of two into w.
inline Root reciprocal_root(const ap_int<54>& value, const ap_uint<5>& count) {
#pragma HLS INLINE
    ap_int<32> w = 0;
    if (count <= 15) {
        w = ap_int<32>(value) << (30 - 2 * int(count));
    } else {
        w = value >> (2 * int(count) - 30);
    }
    const unsigned entry = unsigned(w >> 22) - 64u;
    Root root = Root(RECIPROCAL_ROOT_SEEDS[entry]) << 8;
reciprocal_root_steps:
    for (int step = 0; step < 2; ++step) {
#pragma HLS UNROLL
        const ap_int<52> square = root * root;
        const ap_int<34> scaled = square >> 18;
        const ap_int<62> product = w * scaled;
        const ap_int<62> rest = (ap_int<62>(3) << 58) - product;
        const ap_int<30> factor = rest >> 33;
        const ap_int<58> next = root * factor + (1 << 25);
        root = next >> 26;
    }
    return root;
}

// From the sums over a row of e = x 2^fraction_bits and of its squares:
// sum (e - mean)^2 = squares - mean (2 sum - channels mean).
inline RowStatistics row_statistics(const LayernormInstruction& ins, const ap_int<32>& sum, const ap_int<54>& squares) {
#pragma HLS INLINE
    RowStatistics row;
    const ap_int<32> total = sum >> ins.fraction_bits;
    row.mean = requantize(total, Multiplier(ins.mean_multiplier), ins.mean_shift);
    const ap_int<37> means = ap_int<18>(ins.channels) * row.mean;
    const ap_int<35> balance = (ap_int<35>(sum) << 1) - means;
    const ap_int<55> cross = row.mean * balance;
    const ap_int<54> epsilon = (ap_int<54>(ins.epsilon_high) << 32) + ap_int<54>(ins.epsilon_low);
    const ap_int<54> variance = squares - cross + epsilon;
    const ap_uint<5> count = base4_digits(variance);
    row.shift = count + 3;
    row.root = 0;
    if (count != 0) {
        row.root = reciprocal_root(variance, count);
    }
    return row;
}

// Channels whose parameters lie in one word of the weight stream, and banks of the parameter memory: a word or a chunk takes each
// bank once.
template <class C>
struct LayernormParameters {
    static const int WORD_CHANNELS = Chunk<C>::INTEGERS > 1 ? Chunk<C>::INTEGERS / 2 : 1;
    static const int BANKS = C::VECTOR > WORD_CHANNELS ? C::VECTOR : WORD_CHANNELS;
    static const int DEPTH = C::MAX_CHANNELS / BANKS;
};

template <class C>
void layernorm(const LayernormInstruction& ins, hls::stream<StreamWord<C> >& stream, Scratch<C>& scratch) {
#pragma HLS INLINE off
#pragma HLS DEPENDENCE variable=scratch.narrow inter false
#pragma HLS DEPENDENCE variable=scratch.wide inter false
    const int INTEGERS = Chunk<C>::INTEGERS;
    const int WORD_CHANNELS = LayernormParameters<C>::WORD_CHANNELS;
    const int BANKS = LayernormParameters<C>::BANKS;
    const int BANK_CHUNKS = BANKS / C::VECTOR;

    Deviation ring[C::LAYERNORM_RING][C::VECTOR];
#pragma HLS ARRAY_RESHAPE variable=ring complete dim=2
#pragma HLS BIND_STORAGE variable=ring type=ram_s2p impl=bram
#pragma HLS DEPENDENCE variable=ring inter false
    Multiplier gain[LayernormParameters<C>::DEPTH][BANKS];
#pragma HLS ARRAY_PARTITION variable=gain complete dim=2
#pragma HLS BIND_STORAGE variable=gain type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=gain inter false
    Product offset[LayernormParameters<C>::DEPTH][BANKS];  // at the scale of the affine, with half of its last step
#pragma HLS ARRAY_PARTITION variable=offset complete dim=2
#pragma HLS BIND_STORAGE variable=offset type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=offset inter false
    // Written with the last chunk of a row, first read LAYERNORM_LATENCY + 1 iterations later: the scheduler is held to that.
    ap_int<20> mean[C::LAYERNORM_ROWS];
#pragma HLS BIND_STORAGE variable=mean type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=mean type=inter direction=raw distance=C::LAYERNORM_LATENCY dependent=true
    Root root[C::LAYERNORM_ROWS];
#pragma HLS BIND_STORAGE variable=root type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=root type=inter direction=raw distance=C::LAYERNORM_LATENCY dependent=true
    ap_uint<6> shift[C::LAYERNORM_ROWS];
#pragma HLS BIND_STORAGE variable=shift type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=shift type=inter direction=raw distance=C::LAYERNORM_LATENCY dependent=true

    const unsigned chunks = (ins.channels + C::VECTOR - 1) / unsigned(C::VECTOR);
    const unsigned x_stride = row_lines(ins.channels, ins.x_storage);
    const unsigned y_stride = row_lines(ins.channels, ins.y_storage);
    // Parameters take `words` iterations; where that is longer than the lag, reading starts later, so that the ring can be short.
    const unsigned words = ((ins.channels + 7) >> 3) * Memory<C>::LINE_STREAM_WORDS;
    const unsigned lag = chunks + C::LAYERNORM_LATENCY;
    const unsigned loaded = words + C::LAYERNORM_LOAD;
    const unsigned start = loaded > lag ? loaded - lag : 0u;
    const ap_uint<37> read_chunks = ap_uint<20>(ins.rows) * ap_uint<17>(chunks);
    const unsigned trips = unsigned(read_chunks) + lag + start;
    const Product half = ins.shift == 0 ? Product(0) : Product(1) << (ins.shift - 1);

    unsigned x_row = 0, x_chunk = 0, x_line = ins.x;
    unsigned y_row = 0, y_chunk = 0, y_line = ins.y;
    unsigned x_slot = 0, y_slot = 0;
    ap_int<32> sum = 0;
    ap_int<54> squares = 0;

    EDGEFLOW_ENTER("layernorm");
layernorm_chunks:
    for (unsigned n = 0; n < trips; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_TOKENS*C::MAX_CHANNELS/C::VECTOR+C::LAYERNORM_RING
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("layernorm");
        if (n < words) {
            const StreamWord<C> word = stream.read();
            const unsigned first = n * INTEGERS / 2;
            for (int bank = 0; bank < BANKS; ++bank) {
#pragma HLS UNROLL
                const int k = bank % WORD_CHANNELS;
                if (first % BANKS == unsigned(bank - k)) {
                    const ap_int<32> value = stream_integer<C>(word, INTEGERS > 1 ? 2 * k : 0);
                    const ap_int<32> other = stream_integer<C>(word, INTEGERS > 1 ? 2 * k + 1 : 0);
                    if (INTEGERS > 1 || n % 2 == 0) {
                        gain[first / BANKS][bank] = Multiplier(value);
                    }
                    if (INTEGERS > 1 || n % 2 == 1) {
                        offset[first / BANKS][bank] = (Product(other) << ins.offset_shift) + half;
                    }
                }
            }
        }

        if (n >= start && x_row < ins.rows) {
            const Line line = read_line<C>(scratch, x_line + chunk_line<C>(x_chunk, ins.x_storage));
            Element x[C::VECTOR];
#pragma HLS ARRAY_PARTITION variable=x complete
            take_chunk<C>(line, x_chunk, ins.x_storage, ins.x_signed, x_row, x);
            ap_int<32> chunk_sum = 0;
            ap_int<54> chunk_squares = 0;
            for (int lane = 0; lane < C::VECTOR; ++lane) {
#pragma HLS UNROLL
                Deviation e = 0;
                if (x_chunk * C::VECTOR + lane < ins.channels) {
                    e = Deviation(x[lane]) << ins.fraction_bits;
                }
                const ap_int<36> square = e * e;
                chunk_sum += e;
                chunk_squares += square;
                ring[(n - start) % unsigned(C::LAYERNORM_RING)][lane] = e;
            }
            sum = x_chunk == 0 ? chunk_sum : ap_int<32>(sum + chunk_sum);
            squares = x_chunk == 0 ? chunk_squares : ap_int<54>(squares + chunk_squares);
            ++x_chunk;
            if (x_chunk == chunks) {
                const RowStatistics row = row_statistics(ins, sum, squares);
                mean[x_slot] = row.mean;
                root[x_slot] = row.root;
                shift[x_slot] = row.shift;
                x_slot = (x_slot + 1) % unsigned(C::LAYERNORM_ROWS);
                x_chunk = 0;
                x_line = next_row_line(x_line, x_row, x_stride, ins.x_storage);
                ++x_row;
            }
        }

        if (n >= start + lag) {
            const ap_int<20> row_mean = mean[y_slot];
            const Root row_root = root[y_slot];
            const ap_uint<6> row_shift = shift[y_slot];
            Element y[C::VECTOR];
#pragma HLS ARRAY_PARTITION variable=y complete
            for (int lane = 0; lane < C::VECTOR; ++lane) {
#pragma HLS UNROLL
                Multiplier factor = 0;
                Product affine = 0;
                for (int p = 0; p < BANK_CHUNKS; ++p) {
#pragma HLS UNROLL
                    if (y_chunk % BANK_CHUNKS == unsigned(p)) {
                        factor = gain[y_chunk / BANK_CHUNKS][p * C::VECTOR + lane];
                        affine = offset[y_chunk / BANK_CHUNKS][p * C::VECTOR + lane];
                    }
                }
                const Deviation d = ring[(n - start - lag) % unsigned(C::LAYERNORM_RING)][lane] - row_mean;
                const Product scaled = d * row_root;
                const ap_int<22> z = round_shift(scaled, row_shift);
                affine += z * factor;
                const Product rounded = affine >> ins.shift;
                y[lane] = saturate(rounded, ins.y_bits, ins.y_signed);
            }
            write_chunk<C>(scratch, y_line, y_chunk, ins.y_storage, y_row, y);
            ++y_chunk;
            if (y_chunk == chunks) {
                y_slot = (y_slot + 1) % unsigned(C::LAYERNORM_ROWS);
                y_chunk = 0;
                y_line = next_row_line(y_line, y_row, y_stride, ins.y_storage);
                ++y_row;
            }
        }
    }
}

}  // namespace edgeflow

#endif
