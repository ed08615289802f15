// ap_int.h for the schedule gate (hw/schedule): integers of exactly as many bits as they say, for the compiler to look at, not to run.
//
// Every value is a _BitInt of clang, and every operator has the width that the vendor's header gives it: sums and differences grow by a
// bit, products have the bits of both factors, ~ and << keep the width of the left operand. So the adders, multipliers and multiplexers
// that the compiler's representation holds are those that synthesis has to build. Nothing here includes a header of the C++ library.
#ifndef EDGEFLOW_SCHEDULE_AP_INT_H
#define EDGEFLOW_SCHEDULE_AP_INT_H

#include "marks.h"

namespace edgeflow_bits {

// A signed _BitInt has at least two bits, and none may exceed what the compiler takes in one value.
template <int N, bool S>
struct store {
    typedef _BitInt(N < 2 ? 2 : N) type;
};
template <int N>
struct store<N, false> {
    typedef unsigned _BitInt(N) type;
};

constexpr int larger(int a, int b) { return a > b ? a : b; }
constexpr int smaller(int a, int b) { return a < b ? a : b; }

// N bits, signed or not; ap_int and ap_uint are names of it. V is the value itself, an object of one member.
template <int N, bool S>
struct number;

// Bits and sign of an operand: of ours, or of an integer of the language.
template <class T>
struct traits {
    static const bool ours = false;
};
template <int N, bool S>
struct traits<number<N, S> > {
    static const bool ours = true, integer = true, is_signed = S;
    static const int bits = N;
};
#define EDGEFLOW_LANGUAGE(type, sign, width)                              \
    template <>                                                           \
    struct traits<type> {                                                 \
        static const bool ours = false, integer = true, is_signed = sign; \
        static const int bits = width;                                    \
    };
EDGEFLOW_LANGUAGE(bool, false, 1)
EDGEFLOW_LANGUAGE(char, true, 8)
EDGEFLOW_LANGUAGE(signed char, true, 8)
EDGEFLOW_LANGUAGE(unsigned char, false, 8)
EDGEFLOW_LANGUAGE(short, true, 16)
EDGEFLOW_LANGUAGE(unsigned short, false, 16)
EDGEFLOW_LANGUAGE(int, true, 32)
EDGEFLOW_LANGUAGE(unsigned, false, 32)
EDGEFLOW_LANGUAGE(long, true, 64)
EDGEFLOW_LANGUAGE(unsigned long, false, 64)
EDGEFLOW_LANGUAGE(long long, true, 64)
EDGEFLOW_LANGUAGE(unsigned long long, false, 64)
#undef EDGEFLOW_LANGUAGE

template <bool B, class T>
struct only {};
template <class T>
struct only<true, T> {
    typedef T type;
};

// The _BitInt that holds a value of W bits of either sign.
template <int W, bool S, class T>
inline typename store<W, S>::type widened(const T& value) {
    return static_cast<typename store<W, S>::type>(value);
}
template <int W, bool S, int N, bool T>
inline typename store<W, S>::type widened(const number<N, T>& value) {
    return static_cast<typename store<W, S>::type>(value.bits);
}

// What range(hi, lo) of a value returns: it reads as an unsigned integer of at most 64 bits and can be assigned.
template <int N, bool S>
struct part {
    number<N, S>& owner;
    int lo;
    int count;
    part(number<N, S>& value, int low, int bits) : owner(value), lo(low), count(bits) {}
    part(const part& other) : owner(other.owner), lo(other.lo), count(other.count) {}  // not trivial: returned in memory, member by member
    unsigned long long read() const {
        typedef unsigned _BitInt(N) whole;
        return static_cast<unsigned long long>(static_cast<whole>(owner.bits) >> lo) & (~0ull >> (64 - count));
    }
    operator unsigned long long() const { return read(); }
    template <class T>
    part& operator=(const T& value) {
        typedef unsigned _BitInt(N) whole;
        const whole mask = static_cast<whole>(static_cast<whole>(~0ull >> (64 - count)) << lo);
        const whole fresh = static_cast<whole>(static_cast<whole>(widened<64, false>(value)) << lo);
        owner.bits = static_cast<typename store<N, S>::type>((static_cast<whole>(owner.bits) & ~mask) | (fresh & mask));
        return *this;
    }
    part& operator=(const part& other) { return *this = other.read(); }
};

template <int N, bool S>
struct number {
    typedef typename store<N, S>::type type;
    type bits;

    number() = default;
    template <class T, class = typename only<traits<T>::integer, int>::type>
    number(const T& value) : bits(widened<N, S>(value)) {}
    template <int M, bool U>
    number(const part<M, U>& value) : bits(widened<N, S>(value.read())) {}

    operator long long() const { return static_cast<long long>(bits); }
    number operator~() const { return raw(~bits); }
    number<N + 1, true> operator-() const { return number<N + 1, true>::raw(-widened<N + 1, true>(*this)); }
    bool operator!() const { return bits == 0; }

    static number raw(type value) {
        number result;
        result.bits = value;
        return result;
    }

    part<N, S> range(int hi, int lo) { return part<N, S>(*this, lo, hi - lo + 1); }
    unsigned long long range(int hi, int lo) const { return part<N, S>(const_cast<number&>(*this), lo, hi - lo + 1).read(); }

    number& operator++() { return *this = *this + 1; }
    number& operator--() { return *this = *this - 1; }
    number operator++(int) {
        const number before = *this;
        ++*this;
        return before;
    }
#define EDGEFLOW_COMPOUND(operation)             \
    template <class T>                           \
    number& operator operation##=(const T & other) { \
        return *this = number(*this operation other); \
    }
    EDGEFLOW_COMPOUND(+)
    EDGEFLOW_COMPOUND(-)
    EDGEFLOW_COMPOUND(*)
    EDGEFLOW_COMPOUND(/)
    EDGEFLOW_COMPOUND(%)
    EDGEFLOW_COMPOUND(&)
    EDGEFLOW_COMPOUND(|)
    EDGEFLOW_COMPOUND(^)
    EDGEFLOW_COMPOUND(<<)
    EDGEFLOW_COMPOUND(>>)
#undef EDGEFLOW_COMPOUND
};

// A pair of operands of which at least one is ours: the sign of the result, and the bits that hold both operands in that sign.
template <class A, class B>
struct pair {
    typedef traits<A> a;
    typedef traits<B> b;
    static const bool ours = (a::ours || b::ours);
    static const bool is_signed = a::is_signed || b::is_signed;
    static const int both = larger(a::bits + (is_signed && !a::is_signed), b::bits + (is_signed && !b::is_signed));
};
template <class A, class B>
struct mixed {
    static const bool value = traits<A>::ours || traits<B>::ours;
};

#define EDGEFLOW_BINARY(operation, width, sign)                                                                       \
    template <class A, class B, class = typename only<mixed<A, B>::value, int>::type>                                 \
    inline number<(width), (sign)> operator operation(const A& a, const B& b) {                                       \
        typedef number<(width), (sign)> result;                                                                       \
        return result::raw(static_cast<typename result::type>(widened<(width), (sign)>(a) operation widened<(width), (sign)>(b))); \
    }
EDGEFLOW_BINARY(+, (pair<A, B>::both + 1), (pair<A, B>::is_signed))
EDGEFLOW_BINARY(-, (pair<A, B>::both + 1), true)
EDGEFLOW_BINARY(*, (traits<A>::bits + traits<B>::bits), (pair<A, B>::is_signed))
EDGEFLOW_BINARY(/, (pair<A, B>::both), (pair<A, B>::is_signed))
EDGEFLOW_BINARY(%, (pair<A, B>::both), (pair<A, B>::is_signed))
EDGEFLOW_BINARY(&, (pair<A, B>::both), (pair<A, B>::is_signed))
EDGEFLOW_BINARY(|, (pair<A, B>::both), (pair<A, B>::is_signed))
EDGEFLOW_BINARY(^, (pair<A, B>::both), (pair<A, B>::is_signed))
#undef EDGEFLOW_BINARY

#define EDGEFLOW_COMPARISON(operation)                                                           \
    template <class A, class B, class = typename only<mixed<A, B>::value, int>::type>            \
    inline bool operator operation(const A& a, const B& b) {                                     \
        return widened<pair<A, B>::both, pair<A, B>::is_signed>(a) operation widened<pair<A, B>::both, pair<A, B>::is_signed>(b); \
    }
EDGEFLOW_COMPARISON(==)
EDGEFLOW_COMPARISON(!=)
EDGEFLOW_COMPARISON(<)
EDGEFLOW_COMPARISON(<=)
EDGEFLOW_COMPARISON(>)
EDGEFLOW_COMPARISON(>=)
#undef EDGEFLOW_COMPARISON

// Shifts keep the width of the left operand; counts are not negative.
template <int N, bool S, class T, class = typename only<traits<T>::integer, int>::type>
inline number<N, S> operator<<(const number<N, S>& value, const T& count) {
    return number<N, S>::raw(static_cast<typename number<N, S>::type>(value.bits << static_cast<typename number<N, S>::type>(widened<N, S>(count))));
}
template <int N, bool S, class T, class = typename only<traits<T>::integer, int>::type>
inline number<N, S> operator>>(const number<N, S>& value, const T& count) {
    return number<N, S>::raw(static_cast<typename number<N, S>::type>(value.bits >> static_cast<typename number<N, S>::type>(widened<N, S>(count))));
}

}  // namespace edgeflow_bits

template <int N>
using ap_int = edgeflow_bits::number<N, true>;
template <int N>
using ap_uint = edgeflow_bits::number<N, false>;

#endif
