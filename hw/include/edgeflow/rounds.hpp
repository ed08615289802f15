// Counters whose decisions are known when an iteration begins: they count down, and the next iteration's comparison is made an iteration
// ahead, with a constant. What one iteration hands to the next is then one comparison or one subtraction, and a choice.
#ifndef EDGEFLOW_ROUNDS_HPP
#define EDGEFLOW_ROUNDS_HPP

#include "edgeflow_types.hpp"

namespace edgeflow {

// Places 0 .. length - 1, again and again.
template <int BITS>
struct Round {
    ap_uint<BITS> length;
    ap_uint<BITS> left;  // places of this round from the present one on
    ap_uint<1> single;   // a round has one place
    ap_uint<1> last;     // the present place is the last one
};

template <int BITS>
inline void restart(Round<BITS>& round) {
#pragma HLS INLINE
    round.left = round.length;
    round.last = round.single;
}

template <int BITS>
inline Round<BITS> round_of(const ap_uint<BITS>& length) {
#pragma HLS INLINE
    Round<BITS> round;
    round.length = length;
    round.single = length == 1 ? 1 : 0;
    restart(round);
    return round;
}

template <int BITS>
inline void turn(Round<BITS>& round) {
#pragma HLS INLINE
    const ap_uint<1> follows = round.left == 2 ? 1 : 0;
    const ap_uint<BITS> less = round.left - 1;
    round.left = round.last != 0 ? round.length : less;
    round.last = round.last != 0 ? round.single : follows;
}

// A number of things to come, and whether there are any.
template <int BITS>
struct Remaining {
    ap_uint<BITS> left;
    ap_uint<1> some;
};

template <int BITS>
inline Remaining<BITS> remaining_of(const ap_uint<BITS>& count) {
#pragma HLS INLINE
    Remaining<BITS> remaining;
    remaining.left = count;
    remaining.some = count != 0 ? 1 : 0;
    return remaining;
}

// One of them, which there is.
template <int BITS>
inline void take_one(Remaining<BITS>& remaining) {
#pragma HLS INLINE
    remaining.some = remaining.left != 1 ? 1 : 0;
    remaining.left = remaining.left - 1;
}

}  // namespace edgeflow

#endif
