// What layer normalization makes of a row's sums, in integers (hw/ops/layernorm.py is the definition): mean, and the reciprocal root of
// the variance; and where its parameters lie. The processes that use them: network/normalize.hpp.
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

}  // namespace edgeflow

#endif
