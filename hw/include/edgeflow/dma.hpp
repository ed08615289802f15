// Moves whole lines between the scratchpad and memory behind AXI ports: network inputs and outputs, activations that the scratchpad has
// no room for, and constants that a unit expects on chip.
//
// Both sides are runs of consecutive lines, so every transfer is one long burst of one AXI word a cycle.
#ifndef EDGEFLOW_DMA_HPP
#define EDGEFLOW_DMA_HPP

#include "edgeflow/memory.hpp"
#include "edgeflow_instructions.hpp"

namespace edgeflow {

// Writes an AXI word into its part of a line of the scratchpad.
template <class C, class S>
void write_word(S& scratch, unsigned line, unsigned part, const typename Memory<C>::Word& word) {
#pragma HLS INLINE
    Line value;
#pragma HLS ARRAY_PARTITION variable=value.byte complete
    // Every part of the line carries the word; the byte enables pick one.
    for (int b = 0; b < LINE_BYTES; ++b) {
#pragma HLS UNROLL
        const int bit = 8 * (b % Memory<C>::WORD_BYTES);
        value.byte[b] = word.range(bit + 7, bit);
    }
    write_line<C>(scratch, line, part * Memory<C>::WORD_BYTES, Memory<C>::WORD_BYTES, 3, value);
}

template <class C, class S, class K, class M>
void dma(
    const DmaInstruction& ins,
    K constants,
    M memory,
    S& scratch) {
#pragma HLS INLINE off
    const int PARTS = Memory<C>::LINE_WORDS;
    const unsigned base = ins.memory_line * PARTS;
    const unsigned words = ins.lines * PARTS;
    if (ins.mode == DMA_STORE) {
        const bool narrow = lies_narrow<C>(ins.scratch_line);
        EDGEFLOW_ENTER("dma store");
    dma_store:
        for (unsigned w = 0; w < words; ++w) {
#pragma HLS LOOP_TRIPCOUNT min=PARTS max=Memory<C>::LINES*PARTS
#pragma HLS PIPELINE II=1
            EDGEFLOW_TRIP("dma store");
            const Line value = read_line<C>(scratch, ins.scratch_line + w / PARTS, narrow);
            const unsigned part = w % PARTS;
            typename Memory<C>::Word word = 0;
            for (int p = 0; p < PARTS; ++p) {
#pragma HLS UNROLL
                if (part == unsigned(p)) {
                    for (int b = 0; b < Memory<C>::WORD_BYTES; ++b) {
#pragma HLS UNROLL
                        word.range(8 * b + 7, 8 * b) = value.byte[p * Memory<C>::WORD_BYTES + b];
                    }
                }
            }
            memory[base + w] = word;
        }
    } else if (ins.mode == DMA_CONSTANTS) {
        EDGEFLOW_ENTER("dma constants");
    dma_constants:
        for (unsigned w = 0; w < words; ++w) {
#pragma HLS LOOP_TRIPCOUNT min=PARTS max=Memory<C>::LINES*PARTS
#pragma HLS PIPELINE II=1
            EDGEFLOW_TRIP("dma constants");
            write_word<C>(scratch, ins.scratch_line + w / PARTS, w % PARTS, constants[base + w]);
        }
    } else {
        EDGEFLOW_ENTER("dma load");
    dma_load:
        for (unsigned w = 0; w < words; ++w) {
#pragma HLS LOOP_TRIPCOUNT min=PARTS max=Memory<C>::LINES*PARTS
#pragma HLS PIPELINE II=1
            EDGEFLOW_TRIP("dma load");
            write_word<C>(scratch, ins.scratch_line + w / PARTS, w % PARTS, memory[base + w]);
        }
    }
}

}  // namespace edgeflow

#endif
