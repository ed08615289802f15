// Layer normalization of rows, VECTOR elements a cycle: y = gain * (x - mean) / sqrt(variance) + offset, in integers
// (hw/ops/layernorm.py is the definition).
//
// layernorm_cycle is one iteration of a pipelined loop: that of the array, beside whose products it runs, or its own where the overlay
// has no array. An iteration takes a chunk of a row, adds its elements and their squares to the sums of the row, and keeps it in a ring;
// and it normalizes a chunk of a row whose statistics are there. Those come about in three steps in iterations of their own, so that no
// iteration is deep: LAYERNORM_SUM_LAG iterations after a row's last chunk its sums become mean and variance (from both sums: it needs
// no second pass), LAYERNORM_VARIANCE_LAG later the variance its reciprocal root, and LAYERNORM_ROOT_LAG later the first chunk of the
// row can be normalized. Gains and offsets arrive from the weight stream meanwhile.
//
// Beside a pass of the array a row is read once the epilogue's last output of it is in memory, after LAYERNORM_ROW_LAG iterations, and
// both memories are accessed only in cycles in which the epilogue does not. hw/ops/layernorm_schedule.py counts the iterations.
//
// Weight stream: for each channel an int32 gain and an int32 offset; whole lines.
#ifndef EDGEFLOW_LAYERNORM_HPP
#define EDGEFLOW_LAYERNORM_HPP

#include "edgeflow/chunk.hpp"
#include "edgeflow/requantize.hpp"

namespace edgeflow {

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

// What a row's sums yield: its mean, and its variance scaled by an even power of two into [2^28, 2^30), or 0; then
// (x - mean) / sqrt(variance) is (x - mean) * root / 2^shift.
struct RowStatistics {
    Mean mean;
    Accumulator scaled;
    Shift shift;
};

// Smallest count with value < 4^count.
inline Digits base4_digits(const Variance& value) {
#pragma HLS INLINE
    Digits count = 0;
    for (int digit = 0; digit < VARIANCE_BITS / 2; ++digit) {
#pragma HLS UNROLL
        if ((value >> (2 * digit)) != 0) {
            count = digit + 1;
        }
    }
    return count;
}

// 2^38 / sqrt(w), or 0 for 0.
inline Root reciprocal_root(const Accumulator& w) {
#pragma HLS INLINE
    Root root = 0;
    if (w != 0) {
        const unsigned entry = unsigned(w >> 22) - 64u;
        root = Root(RECIPROCAL_ROOT_SEEDS[entry]) << 8;
    }
reciprocal_root_steps:
    for (int step = 0; step < NEWTON_STEPS; ++step) {
#pragma HLS UNROLL
        const RootSquare square = root * root;
        const ScaledSquare scaled = square >> 18;
        const RootProduct product = w * scaled;
        const RootProduct rest = (RootProduct(3) << 58) - product;
        const RootFactor factor = rest >> 33;
        const NextRoot next = root * factor + (1 << 25);
        root = next >> 26;
    }
    return root;
}

// From the sums over a row of e = x 2^fraction_bits and of its squares:
// sum (e - mean)^2 = squares - mean (2 sum - channels mean).
inline RowStatistics row_statistics(const LayernormInstruction& ins, const Accumulator& sum, const Variance& squares) {
#pragma HLS INLINE
    RowStatistics row;
    const Accumulator total = sum >> ins.fraction_bits;
    row.mean = requantize(total, Multiplier(ins.mean_multiplier), ins.mean_shift);
    const MeanTotal means = ap_int<LAYERNORM_CHANNELS_BITS + 1>(ins.channels) * row.mean;
    const Balance balance = (Balance(sum) << 1) - means;
    const Cross cross = row.mean * balance;
    const Variance epsilon = (Variance(ins.epsilon_high) << 32) + Variance(ins.epsilon_low);
    const Variance variance = squares - cross + epsilon;
    const Digits count = base4_digits(variance);
    row.shift = count + 3;
    row.scaled = 0;
    if (count > 15) {
        row.scaled = variance >> (2 * int(count) - 30);
    } else if (count != 0) {
        row.scaled = Accumulator(variance) << (30 - 2 * int(count));
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

// Memories of the unit.
template <class C>
struct LayernormState {
    Deviation ring[C::LAYERNORM_RING][C::VECTOR];
    Multiplier gain[LayernormParameters<C>::DEPTH][LayernormParameters<C>::BANKS];
    Product offset[LayernormParameters<C>::DEPTH][LayernormParameters<C>::BANKS];  // at the affine's scale, with half of its last step
    Accumulator sum[C::LAYERNORM_ROWS];
    Variance squares[C::LAYERNORM_ROWS];
    Mean mean[C::LAYERNORM_ROWS];
    Shift shift[C::LAYERNORM_ROWS];
    Accumulator scaled[C::LAYERNORM_ROWS];
    Root root[C::LAYERNORM_ROWS];
};

// The chunk that is read, or written, next.
struct RowCursor {
    unsigned row;
    unsigned chunk;
    unsigned line;   // at which the row starts
    unsigned slot;   // of the row's statistics
    unsigned place;  // of the chunk in the ring
};

// Progress of one instruction.
template <class C>
struct LayernormPass {
    LayernormInstruction ins;
    bool active;
    unsigned chunks;  // of a row
    unsigned x_stride;
    unsigned y_stride;
    unsigned words;   // of parameters
    unsigned loaded;  // words that have arrived, and then the iterations until all can be used
    Product half;
    RowCursor x;
    RowCursor y;
    unsigned held;  // chunks in the ring
    Accumulator sum;
    Variance squares;
    unsigned sum_slot;
    unsigned root_slot;
    unsigned complete;  // rows that may be read
    unsigned ready;     // rows that can be normalized and have not been written
    // Delay lines: a bit for each of the last iterations, the latest lowest.
    ap_uint<C::LAYERNORM_ROW_LAG> completing;
    ap_uint<C::LAYERNORM_SUM_LAG> summing;
    ap_uint<C::LAYERNORM_VARIANCE_LAG> scaling;
    ap_uint<C::LAYERNORM_ROOT_LAG> rooting;
};

// What comes out of a delay line when a bit goes in.
template <int LAG>
bool delayed(ap_uint<LAG>& line, bool bit) {
#pragma HLS INLINE
    const bool out = ap_uint<1>(line >> (LAG - 1)) != 0;
    line = ap_uint<LAG>(line << 1) + ap_uint<LAG>(bit ? 1 : 0);
    return out;
}

template <class C>
void reset_layernorm(LayernormPass<C>& pass) {
#pragma HLS INLINE
    pass.active = false;
    pass.complete = 0;
    pass.completing = 0;
}

inline void start_cursor(unsigned line, RowCursor& cursor) {
#pragma HLS INLINE
    cursor.row = 0;
    cursor.chunk = 0;
    cursor.line = line;
    cursor.slot = 0;
    cursor.place = 0;
}

template <class C>
void start_layernorm(const LayernormInstruction& ins, LayernormPass<C>& pass) {
#pragma HLS INLINE
    pass.ins = ins;
    pass.active = true;
    pass.chunks = (ins.channels + C::VECTOR - 1) / unsigned(C::VECTOR);
    pass.x_stride = row_lines(ins.channels, ins.x_storage);
    pass.y_stride = row_lines(ins.channels, ins.y_storage);
    pass.words = ((ins.channels + 7) >> 3) * Memory<C>::LINE_STREAM_WORDS;
    pass.loaded = 0;
    pass.half = ins.shift == 0 ? Product(0) : Product(1) << (ins.shift - 1);
    start_cursor(ins.x, pass.x);
    start_cursor(ins.y, pass.y);
    pass.held = 0;
    pass.sum = 0;
    pass.squares = 0;
    pass.sum_slot = 0;
    pass.root_slot = 0;
    pass.ready = 0;
    pass.summing = 0;
    pass.scaling = 0;
    pass.rooting = 0;
}

// An iteration of a pass that writes the input: `completed` says whether its epilogue writes the last output of `together` rows now.
template <class C>
void layernorm_follow(bool completed, unsigned together, LayernormPass<C>& pass) {
#pragma HLS INLINE
    if (delayed<C::LAYERNORM_ROW_LAG>(pass.completing, completed)) {
        pass.complete += together;
    }
}

// Whether a word of parameters is taken now.
template <class C>
bool layernorm_loads(const LayernormPass<C>& pass) {
#pragma HLS INLINE
    return pass.active && pass.loaded < pass.words;
}

// Whether a chunk is read now; `busy`: something else reads the wide memory.
template <class C>
bool layernorm_reads(const LayernormPass<C>& pass, bool busy) {
#pragma HLS INLINE
    const bool room = pass.held < unsigned(C::LAYERNORM_RING) && pass.x.row - pass.y.row < unsigned(C::LAYERNORM_ROWS);
    const bool port = !busy || pass.ins.x_storage != HALVES;
    return pass.active && pass.x.row < pass.ins.rows && pass.x.row < pass.complete && room && port;
}

// Line of the chunk that is read next.
template <class C>
unsigned layernorm_line(const LayernormPass<C>& pass) {
#pragma HLS INLINE
    return pass.x.line + chunk_line<C>(pass.x.chunk, pass.ins.x_storage);
}

// Gains and offsets in a word of the weight stream.
template <class C>
void layernorm_parameters(const StreamWord<C>& word, LayernormPass<C>& pass, LayernormState<C>& state) {
#pragma HLS INLINE
    const int INTEGERS = Chunk<C>::INTEGERS;
    const int WORD_CHANNELS = LayernormParameters<C>::WORD_CHANNELS;
    const int BANKS = LayernormParameters<C>::BANKS;
    const unsigned first = pass.loaded * INTEGERS / 2;
    for (int bank = 0; bank < BANKS; ++bank) {
#pragma HLS UNROLL
        const int k = bank % WORD_CHANNELS;
        if (first % BANKS == unsigned(bank - k)) {
            const Accumulator value = stream_integer<C>(word, INTEGERS > 1 ? 2 * k : 0);
            const Accumulator other = stream_integer<C>(word, INTEGERS > 1 ? 2 * k + 1 : 0);
            if (INTEGERS > 1 || pass.loaded % 2 == 0) {
                state.gain[first / BANKS][bank] = Multiplier(value);
            }
            if (INTEGERS > 1 || pass.loaded % 2 == 1) {
                state.offset[first / BANKS][bank] = (Product(other) << pass.ins.offset_shift) + pass.half;
            }
        }
    }
}

// A chunk goes into the sums and the ring; whether it was the last of its row.
template <class C>
bool layernorm_read(const Line& line, LayernormPass<C>& pass, LayernormState<C>& state) {
#pragma HLS INLINE
    Element x[C::VECTOR];
#pragma HLS ARRAY_PARTITION variable=x complete
    take_chunk<C>(line, pass.x.chunk, pass.ins.x_storage, pass.ins.x_signed, pass.x.row, x);
    Accumulator chunk_sum = 0;
    Variance chunk_squares = 0;
    for (int lane = 0; lane < C::VECTOR; ++lane) {
#pragma HLS UNROLL
        Deviation e = 0;
        if (pass.x.chunk * C::VECTOR + lane < pass.ins.channels) {
            e = Deviation(x[lane]) << pass.ins.fraction_bits;
        }
        const Square square = e * e;
        chunk_sum += e;
        chunk_squares += square;
        state.ring[pass.x.place][lane] = e;
    }
    pass.sum = pass.x.chunk == 0 ? chunk_sum : Accumulator(pass.sum + chunk_sum);
    pass.squares = pass.x.chunk == 0 ? chunk_squares : Variance(pass.squares + chunk_squares);
    const bool last = pass.x.chunk + 1 == pass.chunks;
    if (last) {
        state.sum[pass.x.slot] = pass.sum;
        state.squares[pass.x.slot] = pass.squares;
    }
    return last;
}

// The chunk that is written next.
template <class C>
void layernorm_normalize(const LayernormPass<C>& pass, const LayernormState<C>& state, Element (&y)[C::VECTOR]) {
#pragma HLS INLINE
    const int BANK_CHUNKS = LayernormParameters<C>::BANKS / C::VECTOR;
    const Mean mean = state.mean[pass.y.slot];
    const Root root = state.root[pass.y.slot];
    const Shift shift = state.shift[pass.y.slot];
    for (int lane = 0; lane < C::VECTOR; ++lane) {
#pragma HLS UNROLL
        Multiplier factor = 0;
        Product affine = 0;
        for (int p = 0; p < BANK_CHUNKS; ++p) {
#pragma HLS UNROLL
            if (pass.y.chunk % BANK_CHUNKS == unsigned(p)) {
                factor = state.gain[pass.y.chunk / BANK_CHUNKS][p * C::VECTOR + lane];
                affine = state.offset[pass.y.chunk / BANK_CHUNKS][p * C::VECTOR + lane];
            }
        }
        const Deviation d = state.ring[pass.y.place][lane] - mean;
        const Product scaled = d * root;
        const Normalized z = round_shift(scaled, shift);
        affine += z * factor;
        const Product rounded = affine >> pass.ins.shift;
        y[lane] = saturate(rounded, pass.ins.y_bits, pass.ins.y_signed);
    }
}

// On to the next chunk; whether it begins a row.
template <class C>
bool advance(const LayernormPass<C>& pass, unsigned stride, unsigned storage, RowCursor& cursor) {
#pragma HLS INLINE
    const bool last = cursor.chunk + 1 == pass.chunks;
    cursor.place = (cursor.place + 1) % unsigned(C::LAYERNORM_RING);
    ++cursor.chunk;
    if (last) {
        cursor.chunk = 0;
        cursor.slot = (cursor.slot + 1) % unsigned(C::LAYERNORM_ROWS);
        cursor.line = next_row_line(cursor.line, cursor.row, stride, storage);
        ++cursor.row;
    }
    return last;
}

// One iteration. `word` and `line` hold what layernorm_loads and layernorm_reads asked for; `busy`: something else writes the wide
// memory. Asks for at most one write.
template <class C>
void layernorm_cycle(
    const StreamWord<C>& word, bool reads, const Line& line, bool busy, LayernormPass<C>& pass, LayernormState<C>& state,
    ScratchWrites& writes) {
#pragma HLS INLINE
    if (pass.active) {
        const bool room = !busy || pass.ins.y_storage != HALVES;
        const bool loaded = pass.loaded == pass.words + unsigned(C::LAYERNORM_LOAD);
        if (layernorm_loads<C>(pass)) {
            EDGEFLOW_TRIP("layernorm parameters");
            layernorm_parameters<C>(word, pass, state);
        }
        if (!loaded) {
            ++pass.loaded;
        }

        // The steps of the rows before, each as many iterations after the one before it as its memory needs.
        if (delayed<C::LAYERNORM_ROOT_LAG>(pass.rooting, false)) {
            ++pass.ready;
        }
        if (delayed<C::LAYERNORM_VARIANCE_LAG>(pass.scaling, false)) {
            state.root[pass.root_slot] = reciprocal_root(state.scaled[pass.root_slot]);
            pass.root_slot = (pass.root_slot + 1) % unsigned(C::LAYERNORM_ROWS);
            pass.rooting = pass.rooting + ap_uint<C::LAYERNORM_ROOT_LAG>(1);
        }
        if (delayed<C::LAYERNORM_SUM_LAG>(pass.summing, false)) {
            const RowStatistics row = row_statistics(pass.ins, state.sum[pass.sum_slot], state.squares[pass.sum_slot]);
            state.mean[pass.sum_slot] = row.mean;
            state.shift[pass.sum_slot] = row.shift;
            state.scaled[pass.sum_slot] = row.scaled;
            pass.sum_slot = (pass.sum_slot + 1) % unsigned(C::LAYERNORM_ROWS);
            pass.scaling = pass.scaling + ap_uint<C::LAYERNORM_VARIANCE_LAG>(1);
        }

        if (pass.ready != 0 && loaded && room) {
            EDGEFLOW_TRIP("layernorm writes");
            Element y[C::VECTOR];
#pragma HLS ARRAY_PARTITION variable=y complete
            layernorm_normalize<C>(pass, state, y);
            Line laid_out;
#pragma HLS ARRAY_PARTITION variable=laid_out.byte complete
            lay_chunk<C>(pass.ins.y_storage, y, laid_out);
            const unsigned target = pass.y.line + chunk_line<C>(pass.y.chunk, pass.ins.y_storage);
            const unsigned bytes = chunk_bytes<C>(pass.ins.y_storage);
            const unsigned first = chunk_part<C>(pass.y.chunk, pass.ins.y_storage) * bytes;
            request_write<C>(writes, target, first, bytes, row_halves(pass.ins.y_storage, pass.y.row), laid_out);
            --pass.held;
            if (advance<C>(pass, pass.y_stride, pass.ins.y_storage, pass.y)) {
                --pass.ready;
            }
        }

        if (reads) {
            EDGEFLOW_TRIP("layernorm reads");
            if (layernorm_read<C>(line, pass, state)) {
                pass.summing = pass.summing + ap_uint<C::LAYERNORM_SUM_LAG>(1);
            }
            ++pass.held;
            advance<C>(pass, pass.x_stride, pass.ins.x_storage, pass.x);
        }
    }
}

// The unit of an overlay that has no array: nothing runs beside it.
template <class C>
void layernorm(const LayernormInstruction& ins, hls::stream<StreamWord<C> >& stream, Scratch<C>& scratch) {
#pragma HLS INLINE off
    LayernormState<C> state;
#pragma HLS ARRAY_RESHAPE variable=state.ring complete dim=2
#pragma HLS BIND_STORAGE variable=state.ring type=ram_s2p impl=bram
#pragma HLS DEPENDENCE variable=state.ring inter false
#pragma HLS ARRAY_PARTITION variable=state.gain complete dim=2
#pragma HLS BIND_STORAGE variable=state.gain type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=state.gain inter false
#pragma HLS ARRAY_PARTITION variable=state.offset complete dim=2
#pragma HLS BIND_STORAGE variable=state.offset type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=state.offset inter false
// What one step writes the next reads so many iterations later: the scheduler is held to that.
#pragma HLS BIND_STORAGE variable=state.sum type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=state.sum type=inter direction=raw distance=C::LAYERNORM_SUM_LAG dependent=true
#pragma HLS BIND_STORAGE variable=state.squares type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=state.squares type=inter direction=raw distance=C::LAYERNORM_SUM_LAG dependent=true
#pragma HLS BIND_STORAGE variable=state.mean type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=state.mean type=inter direction=raw distance=C::LAYERNORM_VARIANCE_LAG+C::LAYERNORM_ROOT_LAG dependent=true
#pragma HLS BIND_STORAGE variable=state.shift type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=state.shift type=inter direction=raw distance=C::LAYERNORM_VARIANCE_LAG+C::LAYERNORM_ROOT_LAG dependent=true
#pragma HLS BIND_STORAGE variable=state.scaled type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=state.scaled type=inter direction=raw distance=C::LAYERNORM_VARIANCE_LAG dependent=true
#pragma HLS BIND_STORAGE variable=state.root type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=state.root type=inter direction=raw distance=C::LAYERNORM_ROOT_LAG dependent=true
#pragma HLS DEPENDENCE variable=scratch.narrow inter false
#pragma HLS DEPENDENCE variable=scratch.wide inter false
    LayernormPass<C> pass;
    reset_layernorm<C>(pass);
    start_layernorm<C>(ins, pass);
    pass.complete = ins.rows;
    EDGEFLOW_ENTER("layernorm");
layernorm_chunks:
    for (unsigned n = 0; n < ins.trips; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_TOKENS*C::MAX_CHANNELS/C::VECTOR+C::LAYERNORM_RING
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("layernorm");
        StreamWord<C> word;
#pragma HLS ARRAY_PARTITION variable=word.byte complete
        if (layernorm_loads<C>(pass)) {
            word = stream.read();
        }
        Line line;
#pragma HLS ARRAY_PARTITION variable=line.byte complete
        const bool reads = layernorm_reads<C>(pass, false);
        if (reads) {
            line = read_line<C>(scratch, layernorm_line<C>(pass));
        }
        ScratchWrites writes;
        clear_writes(writes);
        layernorm_cycle<C>(word, reads, line, false, pass, state, writes);
        commit_writes<C>(scratch, writes);
    }
}

}  // namespace edgeflow

#endif
