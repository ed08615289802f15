// Layer normalization of rows, VECTOR elements a cycle (hw/ops/layernorm.py is the definition): norm_lines asks for the rows as they
// become complete, norm_sums adds elements and squares and passes the elements on, norm_statistics makes mean and reciprocal root of a
// row, norm_write normalizes. Elements wait in a stream until their row's statistics are there.
#ifndef EDGEFLOW_NETWORK_NORMALIZE_HPP
#define EDGEFLOW_NETWORK_NORMALIZE_HPP

#include "edgeflow/layernorm.hpp"
#include "edgeflow/network/ports.hpp"
#include "edgeflow/rounds.hpp"

namespace edgeflow {

struct NormCommand {
    Count rows;
    Count chunks;    // of a row
    Count channels;
    LineAddress x;
    Count x_stride;
    ap_uint<2> x_storage;
    Flag x_signed;
    LineAddress y;
    Count y_stride;
    ap_uint<2> y_storage;
    ap_uint<5> bits;
    Flag is_signed;
    ap_uint<2> together;  // rows of a notice; 0: all rows are there
    Count words;          // of parameters
    Shift fraction_bits;
    Shift shift;
    Shift offset_shift;
    Multiplier mean_multiplier;
    Shift mean_shift;
    ap_uint<32> epsilon_low;
    ap_uint<32> epsilon_high;
    Flag notice;
};

template <class C>
struct NormChunk {
    Deviation element[C::VECTOR];
};

// Of a row as far as its chunks have come. Every chunk sends them on, since a pipeline hands on what it holds only as more comes in: a
// row's statistics must not wait for many rows after it.
struct NormSums {
    Accumulator sum;
    Variance squares;
    Flag last;  // of the row
};

struct NormStatistics {
    Mean mean;
    Root root;
    Shift shift;
};

// Asks for a line for every chunk: once for each line, since a line serves all of its chunks.
template <class C>
void norm_lines(hls::stream<NormCommand>& commands, hls::stream<Flag>& complete, hls::stream<LineAddress>& requests) {
    const NormCommand command = commands.read();
    const ap_uint<32> trips = ap_uint<32>(command.rows) * command.chunks;
    LineAddress row = command.x;
    Round<COUNT_BITS> place = round_of(command.chunks);
    Round<2> row_of_notice = round_of(command.together);
    Count chunk = 0;
    Flag odd = 0;
    Flag waits = command.together != 0 ? 1 : 0;  // for a notice, before a row is read
    EDGEFLOW_ENTER("norm lines");
norm_lines:
    for (ap_uint<32> n = 0; n < trips; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_TOKENS*C::MAX_CHANNELS/C::VECTOR
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("norm lines");
        if (waits != 0) {
            complete.read();
        }
        if (chunk_part<C>(chunk, command.x_storage) == 0) {
            requests.write(row + chunk_line<C>(chunk, command.x_storage));
        }
        waits = command.together != 0 ? Flag(place.last & row_of_notice.last) : Flag(0);
        chunk = place.last != 0 ? Count(0) : Count(chunk + 1);
        if (place.last != 0) {
            if (command.x_storage != NIBBLES || odd != 0) {
                row += command.x_stride;
            }
            odd = odd ^ Flag(1);
            turn(row_of_notice);
        }
        turn(place);
    }
}

template <class C>
void norm_sums(
    hls::stream<NormCommand>& commands, hls::stream<Line>& lines, hls::stream<NormChunk<C> >& chunks, hls::stream<NormSums>& sums) {
    const NormCommand command = commands.read();
    const ap_uint<32> trips = ap_uint<32>(command.rows) * command.chunks;
    const Count line_chunks = command.x_storage == HALVES ? Chunk<C>::LINE_HALF_CHUNKS : Chunk<C>::LINE_BYTE_CHUNKS;
    Round<COUNT_BITS> place = round_of(command.chunks);
    Round<COUNT_BITS> part = round_of(line_chunks);
    Flag fresh = 1;  // whether the chunk is the first of its line
    Flag first = 1;  // and of its row
    Count chunk = 0;
    Flag odd = 0;
    Accumulator sum = 0;
    Variance squares = 0;
    Line line;
#pragma HLS ARRAY_PARTITION variable=line.byte complete
    EDGEFLOW_ENTER("norm sums");
norm_sums:
    for (ap_uint<32> n = 0; n < trips; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_TOKENS*C::MAX_CHANNELS/C::VECTOR
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("norm sums");
        if (fresh != 0) {
            line = lines.read();
        }
        Element x[C::VECTOR];
#pragma HLS ARRAY_PARTITION variable=x complete
        take_chunk<C>(line, chunk, command.x_storage, command.x_signed != 0, odd, x);
        NormChunk<C> kept;
#pragma HLS ARRAY_PARTITION variable=kept.element complete
        Accumulator chunk_sum = 0;
        Variance chunk_squares = 0;
        for (int lane = 0; lane < C::VECTOR; ++lane) {
#pragma HLS UNROLL
            Deviation e = 0;
            if (unsigned(chunk) * C::VECTOR + lane < unsigned(command.channels)) {
                e = Deviation(x[lane]) << command.fraction_bits;
            }
            const Square square = e * e;
            chunk_sum += e;
            chunk_squares += square;
            kept.element[lane] = e;
        }
        chunks.write(kept);
        sum = first != 0 ? chunk_sum : Accumulator(sum + chunk_sum);
        squares = first != 0 ? chunk_squares : Variance(squares + chunk_squares);
        NormSums row;
        row.sum = sum;
        row.squares = squares;
        row.last = place.last;
        sums.write(row);
        odd = odd ^ place.last;
        chunk = place.last != 0 ? Count(0) : Count(chunk + 1);
        first = place.last;
        fresh = place.last | part.last;
        if (place.last != 0) {
            restart(part);
        } else {
            turn(part);
        }
        turn(place);
    }
}

template <class C>
void norm_statistics(hls::stream<NormCommand>& commands, hls::stream<NormSums>& sums, hls::stream<NormStatistics>& statistics) {
    const NormCommand command = commands.read();
    LayernormInstruction ins;
    ins.channels = command.channels;
    ins.fraction_bits = command.fraction_bits;
    ins.mean_multiplier = unsigned(ap_uint<32>(command.mean_multiplier));
    ins.mean_shift = command.mean_shift;
    ins.epsilon_low = command.epsilon_low;
    ins.epsilon_high = command.epsilon_high;
    const ap_uint<32> trips = ap_uint<32>(command.rows) * command.chunks;
    EDGEFLOW_ENTER("norm rows");
norm_rows:
    for (ap_uint<32> n = 0; n < trips; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_TOKENS*C::MAX_CHANNELS/C::VECTOR
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("norm rows");
        const NormSums both = sums.read();
        const RowStatistics made = row_statistics(ins, both.sum, both.squares);
        NormStatistics one;
        one.mean = made.mean;
        one.root = reciprocal_root(made.scaled);
        one.shift = made.shift;
        if (both.last != 0) {
            statistics.write(one);
        }
    }
}

template <class C>
struct NormState {
    Multiplier gain[LayernormParameters<C>::DEPTH][LayernormParameters<C>::BANKS];
    Product offset[LayernormParameters<C>::DEPTH][LayernormParameters<C>::BANKS];
};

template <class C>
void norm_write(
    hls::stream<NormCommand>& commands, hls::stream<StreamWord<C> >& parameters, hls::stream<NormChunk<C> >& chunks,
    hls::stream<NormStatistics>& statistics, hls::stream<WriteRequest>& writes, NormState<C>& state) {
#pragma HLS ARRAY_PARTITION variable=state.gain complete dim=2
#pragma HLS BIND_STORAGE variable=state.gain type=ram_s2p impl=lutram
#pragma HLS ARRAY_PARTITION variable=state.offset complete dim=2
#pragma HLS BIND_STORAGE variable=state.offset type=ram_s2p impl=lutram
    const NormCommand command = commands.read();
    const int INTEGERS = Chunk<C>::INTEGERS;
    const int WORD_CHANNELS = LayernormParameters<C>::WORD_CHANNELS;
    const int BANKS = LayernormParameters<C>::BANKS;
    const int BANK_CHUNKS = BANKS / C::VECTOR;
    const Product half = command.shift == 0 ? Product(0) : Product(1) << (command.shift - 1);
    EDGEFLOW_ENTER("norm parameters");
norm_parameters:
    for (Count n = 0; n < command.words; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_CHANNELS
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("norm parameters");
        const StreamWord<C> word = parameters.read();
        const unsigned first = unsigned(n) * INTEGERS / 2;
        for (int bank = 0; bank < BANKS; ++bank) {
#pragma HLS UNROLL
            const int k = bank % WORD_CHANNELS;
            if (first % BANKS == unsigned(bank - k)) {
                const Accumulator value = stream_integer<C>(word, INTEGERS > 1 ? 2 * k : 0);
                const Accumulator other = stream_integer<C>(word, INTEGERS > 1 ? 2 * k + 1 : 0);
                if (INTEGERS > 1 || n % 2 == 0) {
                    state.gain[first / BANKS][bank] = Multiplier(value);
                }
                if (INTEGERS > 1 || n % 2 == 1) {
                    state.offset[first / BANKS][bank] = (Product(other) << command.offset_shift) + half;
                }
            }
        }
    }
    const ap_uint<32> trips = ap_uint<32>(command.rows) * command.chunks;
    Round<COUNT_BITS> place = round_of(command.chunks);
    Flag first = 1;  // whether the chunk is the first of its row
    Count chunk = 0;
    Flag odd = 0;
    LineAddress row = command.y;
    NormStatistics one;
    EDGEFLOW_ENTER("norm chunks");
norm_chunks:
    for (ap_uint<32> n = 0; n < trips; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_TOKENS*C::MAX_CHANNELS/C::VECTOR
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("norm chunks");
        if (first != 0) {
            one = statistics.read();
        }
        const NormChunk<C> kept = chunks.read();
        Element y[C::VECTOR];
#pragma HLS ARRAY_PARTITION variable=y complete
        for (int lane = 0; lane < C::VECTOR; ++lane) {
#pragma HLS UNROLL
            Multiplier factor = 0;
            Product affine = 0;
            for (int p = 0; p < BANK_CHUNKS; ++p) {
#pragma HLS UNROLL
                if (unsigned(chunk) % BANK_CHUNKS == unsigned(p)) {
                    factor = state.gain[unsigned(chunk) / BANK_CHUNKS][p * C::VECTOR + lane];
                    affine = state.offset[unsigned(chunk) / BANK_CHUNKS][p * C::VECTOR + lane];
                }
            }
            const Deviation d = kept.element[lane] - one.mean;
            const Product scaled = d * one.root;
            const Normalized z = round_shift(scaled, one.shift);
            affine += z * factor;
            const Product rounded = affine >> command.shift;
            y[lane] = saturate(rounded, command.bits, command.is_signed != 0);
        }
        WriteRequest request = no_write(NOTICE_NONE);
        lay_chunk<C>(command.y_storage, y, request.value);
        const unsigned bytes = chunk_bytes<C>(command.y_storage);
        request.line = row + chunk_line<C>(chunk, command.y_storage);
        request.first = chunk_part<C>(chunk, command.y_storage) * bytes;
        request.count = bytes;
        request.halves = row_halves(command.y_storage, odd);
        writes.write(request);
        chunk = place.last != 0 ? Count(0) : Count(chunk + 1);
        first = place.last;
        if (place.last != 0) {
            if (command.y_storage != NIBBLES || odd != 0) {
                row += command.y_stride;
            }
            odd = odd ^ Flag(1);
        }
        turn(place);
    }
    if (command.notice != 0) {
        writes.write(no_write(NOTICE_DONE));
    }
}

}  // namespace edgeflow

#endif
