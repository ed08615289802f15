// Rotation by a distance that is known late, as a logarithmic shifter: an indexed gather would be a multiplexer over all places for each.
#ifndef EDGEFLOW_ROTATE_HPP
#define EDGEFLOW_ROTATE_HPP

namespace edgeflow {

// Element i becomes element (i + distance) % N, N a power of two of at most 64: stages of 4:1 multiplexers, the longest way first, so that
// where few elements are wanted the last stages have only those.
template <class T, int N>
inline void rotate(T (&value)[N], unsigned distance) {
#pragma HLS INLINE
    for (int stage = 2; stage >= 0; --stage) {
#pragma HLS UNROLL
        const int hop = 1 << (2 * stage);
        if (hop < N) {
            const unsigned digit = (distance >> (2 * stage)) & 3u;
            T turned[N];
#pragma HLS ARRAY_PARTITION variable=turned complete
            for (int i = 0; i < N; ++i) {
#pragma HLS UNROLL
                if (digit == 0) {
                    turned[i] = value[i];
                } else if (digit == 1) {
                    turned[i] = value[(i + hop) % N];
                } else if (digit == 2) {
                    turned[i] = value[(i + 2 * hop) % N];
                } else {
                    turned[i] = value[(i + 3 * hop) % N];
                }
            }
            for (int i = 0; i < N; ++i) {
#pragma HLS UNROLL
                value[i] = turned[i];
            }
        }
    }
}

}  // namespace edgeflow

#endif
