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

namespace edgeflow {

template <class C>
void read_image(
    const PatchesInstruction& ins, const typename Memory<C>::Word* memory, hls::stream<typename Memory<C>::Word>& words) {
#pragma HLS INLINE off
    const unsigned base = ins.image * Memory<C>::LINE_WORDS;
read_image_words:
    for (unsigned n = 0; n < ins.words; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=Memory<C>::LINES*Memory<C>::LINE_WORDS
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("patches words");
        words.write(memory[base + n]);
    }
}

template <class C, class S>
void scatter_patches(const PatchesInstruction& ins, hls::stream<typename Memory<C>::Word>& words, S& scratch) {
#pragma HLS INLINE off
    typedef typename Memory<C>::Word Word;
    const int WORD_BYTES = Memory<C>::WORD_BYTES;

    Word word = 0;
    unsigned position = 0;  // bytes of the word that are done
    unsigned word_in_row = 0;
    unsigned across = 0;      // the patch in its row of patches
    unsigned kernel_row = 0;  // the row in the patch
    unsigned down = 0;        // the row of patches
    unsigned image_row = 0;
    unsigned channel_start = ins.y * LINE_BYTES;  // where the channel's, the image row's and the patch's bytes start
    unsigned row_start = channel_start;
    unsigned patch_start = channel_start;
    unsigned target = channel_start;
    unsigned left = ins.patch_bytes;

    EDGEFLOW_ENTER("patches");
scatter_pieces:
    for (unsigned n = 0; n < ins.steps; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=Memory<C>::LINES*LINE_BYTES
#pragma HLS PIPELINE II=1
        EDGEFLOW_TRIP("patches");
        if (position == 0) {
            word = words.read();
        }
        const bool used = across < ins.across && down < ins.down;
        const unsigned to = target % LINE_BYTES;
        const unsigned word_room = WORD_BYTES - position;
        const unsigned line_room = LINE_BYTES - to;
        const unsigned room = line_room < word_room ? line_room : word_room;
        const unsigned piece = left < room ? left : room;
        const unsigned bytes = used ? piece : word_room;
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
            rotate(byte, position - to);
            for (int b = 0; b < WORD_BYTES; ++b) {
#pragma HLS UNROLL
                for (int copy = 0; copy < LINE_BYTES / WORD_BYTES; ++copy) {
#pragma HLS UNROLL
                    value.byte[copy * WORD_BYTES + b] = byte[b];
                }
            }
            write_line<C>(scratch, target / LINE_BYTES, to, bytes, 3, value);
            if (bytes == left) {
                ++across;
                patch_start += ins.y_stride;
                target = patch_start;
                left = ins.patch_bytes;
            } else {
                target += bytes;
                left -= bytes;
            }
        }
        position += bytes;
        if (position == unsigned(WORD_BYTES)) {
            position = 0;
            ++word_in_row;
        }
        if (word_in_row == ins.row_words) {
            word_in_row = 0;
            ++image_row;
            ++kernel_row;
            if (image_row == ins.height) {
                image_row = 0;
                kernel_row = 0;
                down = 0;
                channel_start += ins.channel_step;
                row_start = channel_start;
            } else if (kernel_row == ins.kernel_rows) {
                kernel_row = 0;
                ++down;
                row_start += ins.down_step;
            } else {
                row_start += ins.patch_bytes;
            }
            across = 0;
            patch_start = row_start;
            target = row_start;
            left = ins.patch_bytes;
        }
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
