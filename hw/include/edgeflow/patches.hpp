// Patches of an image as rows of the scratchpad: the im2col of a convolution whose stride is its kernel.
//
// The image lies in external memory, rows of `row_words` words, `height` of them a channel. It is read from the first word to the last
// in one burst, and each byte is written where it belongs: column (channel * kernel_rows + row of the patch) * patch_bytes + byte of the
// patch, in the row of its patch. A cycle writes what lies together: up to the end of the word, of the patch's row or of the target's
// line, a whole word where those are multiples of a word. Words right of the last whole patch, and rows below it, are read and dropped.
//
// Reading and writing are two processes with a queue between them, so that the burst has the same shape whatever a word takes to write;
// only the second one touches the scratchpad.
#ifndef EDGEFLOW_PATCHES_HPP
#define EDGEFLOW_PATCHES_HPP

#include "edgeflow/memory.hpp"
#include "edgeflow/rotate.hpp"
#include "edgeflow/rounds.hpp"
#include "edgeflow/runs.hpp"

namespace edgeflow {

template <class C>
void read_image(
    const PatchesInstruction& ins, const typename Memory<C>::Word* memory, hls::stream<typename Memory<C>::Word>& words) {
#pragma HLS INLINE off
    const unsigned base = ins.image * Memory<C>::LINE_WORDS;
patches_words:
    for (unsigned n = 0; n < ins.words; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=Memory<C>::LINES*Memory<C>::LINE_WORDS
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("patches words");
        words.write(memory[base + n]);
    }
}

// Where the rows of the image go: of each where its first patch's bytes start, and whether it is part of a patch.
struct ImageRows {
    Round<COUNT_BITS> image;   // rows of the channel
    Round<COUNT_BITS> kernel;  // rows of the patch
    Remaining<COUNT_BITS> down;  // rows of patches
    unsigned start;
    unsigned next_channel;
};

inline void next_image_row(const PatchesInstruction& ins, ImageRows& rows) {
#pragma HLS INLINE
    const bool channel = rows.image.last != 0;
    const bool patch = rows.kernel.last != 0;
    const unsigned below = rows.start + (patch ? unsigned(ins.down_step) : unsigned(ins.patch_bytes));
    rows.start = channel ? rows.next_channel : below;
    if (channel) {
        rows.next_channel += ins.channel_step;
        rows.down = remaining_of(ap_uint<COUNT_BITS>(ins.down));
        restart(rows.kernel);
    } else {
        if (patch && rows.down.some != 0) {
            take_one(rows.down);
        }
        turn(rows.kernel);
    }
    turn(rows.image);
}

// A row of patches, told before it begins: the first patch's bytes, the second's, where the third's start; `used`: there are patches.
struct PatchRow {
    unsigned first;
    unsigned second;
    unsigned third;
    ap_uint<1> used;
};

inline PatchRow patch_row(const PatchesInstruction& ins, const ImageRows& rows) {
#pragma HLS INLINE
    PatchRow row;
    row.first = rows.start;
    row.second = rows.start + ins.y_stride;
    row.third = rows.start + 2 * ins.y_stride;
    row.used = rows.down.some;
    return row;
}

struct PatchRuns {
    Runs runs;
    ap_uint<1> used;
};

inline PatchRuns patch_runs(const PatchRow& row, const RunBytes& bytes) {
#pragma HLS INLINE
    PatchRuns patches;
    patches.runs.present = first_piece(row.first, bytes);
    patches.runs.next = first_piece(row.second, bytes);
    patches.runs.after = row.third;
    patches.used = row.used;
    return patches;
}

template <class C, class S>
void scatter_patches(const PatchesInstruction& ins, hls::stream<typename Memory<C>::Word>& words, S& scratch) {
#pragma HLS INLINE off
    typedef typename Memory<C>::Word Word;
    const int WORD_BYTES = Memory<C>::WORD_BYTES;
    const LineBytes WHOLE = WORD_BYTES;
    const RunBytes patch_bytes = ins.patch_bytes;

    // The row of the image, the next one, the one after it, and one more.
    ImageRows rows;
    rows.image = round_of(ap_uint<COUNT_BITS>(ins.height));
    rows.kernel = round_of(ap_uint<COUNT_BITS>(ins.kernel_rows));
    rows.down = remaining_of(ap_uint<COUNT_BITS>(ins.down));
    rows.start = ins.y * LINE_BYTES;
    rows.next_channel = rows.start + ins.channel_step;
    PatchRuns present = patch_runs(patch_row(ins, rows), patch_bytes);
    next_image_row(ins, rows);
    PatchRuns next = patch_runs(patch_row(ins, rows), patch_bytes);
    next_image_row(ins, rows);
    PatchRow after = patch_row(ins, rows);
    next_image_row(ins, rows);

    Word word = 0;
    LineBytes room = WHOLE;  // bytes of the word that are left
    ap_uint<1> fresh = 1;
    Round<COUNT_BITS> word_of_row = round_of(ap_uint<COUNT_BITS>(ins.row_words));
    Round<COUNT_BITS> across = round_of(ap_uint<COUNT_BITS>(ins.across));

    EDGEFLOW_ENTER("patches");
patches:
    for (unsigned n = 0; n < ins.steps; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=Memory<C>::LINES*LINE_BYTES
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("patches");
        if (fresh != 0) {
            word = words.read();
        }
        const LinePiece to = present.runs.present;
        const bool used = present.used != 0;
        const bool word_ends = !used || room <= to.count;
        if (used) {
            // The word, turned so that its first byte left meets the target's first, at every place of the line.
            Line value;
#pragma HLS ARRAY_PARTITION variable=value.byte complete
            ap_uint<8> byte[WORD_BYTES];
#pragma HLS ARRAY_PARTITION variable=byte complete
            for (int b = 0; b < WORD_BYTES; ++b) {
#pragma HLS UNROLL
                byte[b] = word.range(8 * b + 7, 8 * b);
            }
            rotate(byte, unsigned(WHOLE - room) - unsigned(to.first));
            for (int b = 0; b < WORD_BYTES; ++b) {
#pragma HLS UNROLL
                for (int copy = 0; copy < LINE_BYTES / WORD_BYTES; ++copy) {
#pragma HLS UNROLL
                    value.byte[copy * WORD_BYTES + b] = byte[b];
                }
            }
            write_line<C>(scratch, to.line, to.first, word_ends ? room : to.count, 3, value);
        }
        const bool row_ends = word_ends && word_of_row.last != 0;
        if (row_ends) {
            present = next;
            restart(across);
            next = patch_runs(after, patch_bytes);
            after = patch_row(ins, rows);
            next_image_row(ins, rows);
        } else if (take_piece(present.runs, room, patch_bytes)) {
            present.runs.after += ins.y_stride;
            present.used = across.last != 0 ? ap_uint<1>(0) : present.used;
            turn(across);
        }
        if (word_ends) {
            turn(word_of_row);
        }
        room = word_ends ? WHOLE : LineBytes(room - to.count);
        fresh = word_ends ? 1 : 0;
    }
}

template <class C, class S, class M>
void patches(const PatchesInstruction& ins, M memory, S& scratch) {
#pragma HLS INLINE off
#pragma HLS DATAFLOW
    hls::stream<typename Memory<C>::Word> words;
#pragma HLS STREAM variable=words depth=64
    read_image<C>(ins, memory, words);
    scatter_patches<C>(ins, words, scratch);
}

}  // namespace edgeflow

#endif
