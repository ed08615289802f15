// Weights 2^(P-t) of fixed-point exponents t >= 0 with F fraction bits: one table entry, one rounded shift (hw/exponent.py is the
// definition).
#ifndef EDGEFLOW_EXPONENT_HPP
#define EDGEFLOW_EXPONENT_HPP

#include "edgeflow/memory.hpp"
#include "edgeflow/requantize.hpp"

namespace edgeflow {

typedef ap_uint<16> Exponent;  // a table entry
typedef ap_int<17> Weight;     // the same range as a signed operand

// Reads a table of 2-byte entries into COPIES memories, one for each simultaneous lookup.
template <class C, int COPIES, int ENTRIES>
void load_exponents(const typename Memory<C>::Word* port, unsigned line, unsigned entries, Exponent table[COPIES][ENTRIES]) {
#pragma HLS INLINE
    const unsigned base = line * Memory<C>::LINE_WORDS;
    const unsigned lanes = Memory<C>::WORD_BYTES / 2;
    typename Memory<C>::Word word = 0;
load_exponent_entries:
    for (unsigned e = 0; e < entries; ++e) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=ENTRIES
#pragma HLS PIPELINE II=1
        if (e % lanes == 0) {
            word = port[base + e / lanes];
        }
        const Exponent entry = Exponent(get_element<C>(word, e % lanes, 2, false));
        for (int copy = 0; copy < COPIES; ++copy) {
#pragma HLS UNROLL
            table[copy][e] = entry;
        }
    }
}

inline Weight power_of_two(const Product& t, unsigned fraction_bits, unsigned probability_bits, const Exponent* table) {
#pragma HLS INLINE
    const Product whole = t >> fraction_bits;
    const unsigned fraction = unsigned(ap_uint<16>(t)) & ((1u << fraction_bits) - 1u);
    const Product limit = probability_bits;
    Weight weight = 0;
    if (whole <= limit) {
        const ap_uint<5> count = ap_uint<5>(whole);
        ap_uint<18> half = 0;
        if (count != 0) {
            const ap_uint<5> position = count - 1;
            half = ap_uint<18>(1) << position;
        }
        const ap_uint<18> sum = table[fraction] + half;
        weight = sum >> count;
    }
    return weight;
}

// numerator / total, rounded half up; 0 where total is 0.
inline Product reciprocal(const Product& numerator, const ap_int<32>& total) {
#pragma HLS INLINE
    Product quotient = 0;
    if (total != 0) {
        const Product dividend = numerator + (total >> 1);
        quotient = dividend / total;
    }
    return quotient;
}

}  // namespace edgeflow

#endif
