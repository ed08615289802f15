// Embedding gather: y[t] = sat(rq(table[id[t]], multiplier[id[t]], shift)).
//
// Where ins.counted is set, the row of a token is its position among those that are not padding, counted from ins.padding + 1; padding
// has row ins.padding. The first ins.before tokens are counted, no more: a block of rows before has written theirs.
//
// Ids are unsigned integers of 1, 2 or 4 bytes in external memory, read in blocks of ID_BYTES and clamped to the last row, so nothing
// outside the table is ever read. Constants hold the table: for every row a head of HEAD_BYTES whose first four bytes are the row's
// multiplier, then its int8 elements, filled up to a multiple of HEAD_BYTES. One token is thus one burst, and each of its words is
// requantized and written as it arrives.
#ifndef EDGEFLOW_EMBEDDING_HPP
#define EDGEFLOW_EMBEDDING_HPP

#include "edgeflow/memory.hpp"
#include "edgeflow/requantize.hpp"

namespace edgeflow {

template <class C, class S, class K, class M>
void embedding(
    const EmbeddingInstruction& ins, K constants, M memory, S& scratch) {
#pragma HLS INLINE off
    typedef typename Memory<C>::Word Word;
    const int WORD_BYTES = Memory<C>::WORD_BYTES;
    const int ID_BYTES = 256;
    const int HEAD_BYTES = 16;

    Word ids[ID_BYTES / WORD_BYTES];
#pragma HLS BIND_STORAGE variable=ids type=ram_2p impl=lutram

    const unsigned block = unsigned(ID_BYTES) >> ins.id_shift;
    const unsigned y_lines = row_lines(ins.columns, ins.y_bytes);
    const unsigned piece = ins.y_bytes == HALVES ? 2 * WORD_BYTES : WORD_BYTES;
    const ap_uint<EMBEDDING_ROW_WORDS_BITS> row_words = ins.row_words;
    unsigned id_word = ins.ids * Memory<C>::LINE_WORDS;
    unsigned y_row = ins.y;
    TokenId position_id = ins.padding;

embedding_blocks:
    for (unsigned first = 0; first < ins.tokens; first += block) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=C::MAX_TOKENS/64
        const unsigned left = ins.tokens - first;
        const unsigned count = left < block ? left : block;
        const unsigned words = ceil_div(count << ins.id_shift, WORD_BYTES);
        EDGEFLOW_ENTER("embedding ids");
    embedding_ids:
        for (unsigned w = 0; w < words; ++w) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=ID_BYTES/WORD_BYTES
#pragma HLS PIPELINE II=1
            EDGEFLOW_TRIP("embedding ids");
            ids[w] = memory[id_word + w];
        }
        id_word += words;

    embedding_tokens:
        for (unsigned t = 0; t < count; ++t) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=64
            const unsigned at = t << ins.id_shift;
            const Word packed = ids[at / WORD_BYTES];
            const int low = 8 * (at % WORD_BYTES);
            TokenId id;
            if (ins.id_shift == 0) {
                id = ap_uint<8>(packed.range(low + 7, low));
            } else if (ins.id_shift == 1) {
                id = ap_uint<16>(packed.range(low + 15, low));
            } else {
                id = TokenId(packed.range(low + 31, low));
            }
            if (ins.counted && id != TokenId(ins.padding)) {
                ++position_id;
                id = position_id;
            }
            if (first + t < ins.before) {
                continue;
            }
            // 24 x 16 bits, so that the address takes one multiplier.
            const TableRow known = id < ins.vocabulary ? unsigned(id) : ins.vocabulary - 1;
            const unsigned start = ins.table * Memory<C>::LINE_WORDS + unsigned(known * row_words);
            Multiplier multiplier = 0;
            unsigned line = y_row;
            const ap_uint<LINE_BYTE_BITS> last_position = LINE_BYTES - piece;
            ap_uint<LINE_BYTE_BITS> position = 0;
            EDGEFLOW_ENTER("embedding row");
        embedding_row:
            for (unsigned w = 0; w < ins.row_words; ++w) {
#pragma HLS LOOP_TRIPCOUNT min=2 max=(C::MAX_CHANNELS+HEAD_BYTES)/WORD_BYTES
#pragma HLS PIPELINE II=1
                EDGEFLOW_TRIP("embedding row");
                const Word word = constants[start + w];
                if (w == 0) {
                    multiplier = ap_uint<32>(word.range(31, 0));
                }
                if (w >= unsigned(HEAD_BYTES / WORD_BYTES)) {
                    // The piece stands at every place of the line where it may belong; the write picks one.
                    Line value;
#pragma HLS ARRAY_PARTITION variable=value.byte complete
                    for (int lane = 0; lane < WORD_BYTES; ++lane) {
#pragma HLS UNROLL
                        const ap_int<8> x = ap_uint<8>(word.range(8 * lane + 7, 8 * lane));
                        const Product scaled = requantize(x, multiplier, ins.shift);
                        const ap_uint<16> y = saturate(scaled, ins.y_bits, ins.y_signed);
                        for (int copy = 0; copy < LINE_BYTES / WORD_BYTES; ++copy) {
#pragma HLS UNROLL
                            if (ins.y_bytes == BYTES) {
                                value.byte[copy * WORD_BYTES + lane] = ap_uint<8>(y);
                            } else if (copy < LINE_BYTES / WORD_BYTES / 2) {
                                value.byte[2 * (copy * WORD_BYTES + lane)] = ap_uint<8>(y);
                                value.byte[2 * (copy * WORD_BYTES + lane) + 1] = ap_uint<8>(y >> 8);
                            }
                        }
                    }
                    write_line<C>(scratch, line, position, piece, 3, value);
                    if (position == last_position) {
                        ++line;
                    }
                    position += piece;  // the place after the last one is the first
                }
            }
            y_row += y_lines;
        }
    }
}

}  // namespace edgeflow

#endif
