// SPDX-License-Identifier: Apache-2.0
//
// ap_int.h for fast C simulation: arbitrary-precision integers on native ones.
//
// EdgeFlow's kernels say `#include "ap_int.h"`; the include path decides whether that is the vendor's header (bit-exact
// by definition, about 7 ns a multiply-add) or this one (native speed). A differential test holds this subset to the
// vendor's header on every operator below.
//
// The subset
//   ap_int<N>, ap_uint<N>, 1 <= N <= 64
//     Stored in the narrowest of 8, 16, 32, 64 bits. Construction and assignment wrap modulo 2^N.
//     Implicit conversion to int64_t (ap_uint<64>: uint64_t), so + - * / % & | ^ >> unary - and comparisons are done in
//     64 bits: equal to the vendor's growing widths as long as every intermediate value fits int64_t. Two's complement
//     wrap beyond that is undefined behaviour here and grows to more bits there.
//     ~ and << keep the operand's width, as the vendor's do. ++ -- and compound assignments wrap.
//     width, to_int64(), to_uint64(), range(hi, lo).
//   ap_uint<W>, W > 64, W a multiple of 64: a memory word
//     range(hi, lo) to read and write fields of at most 64 bits, ==, !=, copies, assignment from integers (sign
//     extended). sizeof is W / 8, little endian, so a buffer of words is a buffer of bytes.
//
// Differences from the vendor's header that the kernels must respect
//   * The vendor's << keeps the width of the left operand, which may be an expression: (a + b) << 4 is 9 bits wide
//     there for 8-bit a and b, 64 bits here. Kernels widen first: ap_int<16>(a + b) << 4.
//   * Comparisons, / and % take two operands of the same signedness: on mixed ones the vendor's simulation follows C's
//     conversions for some widths and the mathematical values for others. Between ap_int and ap_uint they are deleted
//     here; a native operand compared with an ap_uint must not be negative.
//   * ap_uint<64> follows C's unsigned rules: mix it with unsigned operands only.
//   * The vendor's &= |= ^= print a warning for operands of different widths: convert the right one first.
//   * Shift counts are 0 .. 63; range(hi, lo) has 0 <= hi - lo < 64 and hi < W. Neither is checked.
//   * A default-constructed object is uninitialised, as there. Bit access with [], concatenation, reductions, strings,
//     floating-point conversions and ap_int<N> with N > 64 do not exist.

#ifndef EDGEFLOW_NATIVE_AP_INT_H
#define EDGEFLOW_NATIVE_AP_INT_H

#include <cstdint>
#include <type_traits>

template <int N>
class ap_int;
template <int N>
class ap_uint;

namespace edgeflow_native {

template <int N, bool Signed>
struct storage {
    static_assert(N >= 1 && N <= 64, "an ap_int or ap_uint of this width is outside the native subset");
    using narrow = typename std::conditional<(N <= 8), std::int8_t, std::int16_t>::type;
    using wide = typename std::conditional<(N <= 32), std::int32_t, std::int64_t>::type;
    using signed_type = typename std::conditional<(N <= 16), narrow, wide>::type;
    using unsigned_type = typename std::make_unsigned<signed_type>::type;
    using type = typename std::conditional<Signed, signed_type, unsigned_type>::type;
    // What expressions are computed in.
    using expression = typename std::conditional<(N == 64 && !Signed), std::uint64_t, std::int64_t>::type;
    // What compound assignments are computed in: unsigned, so that they cannot overflow, and no wider than the result
    // needs, so that g++ sees `accumulator += a * b` as the reduction it is and vectorises it.
    using modular = typename std::conditional<(N <= 32), std::uint32_t, std::uint64_t>::type;

    static constexpr int spare = 8 * static_cast<int>(sizeof(type)) - N;

    // The value of `bits` modulo 2^N; free of instructions for N = 8, 16, 32, 64.
    template <class Unsigned>
    static constexpr type wrap(Unsigned bits) {
        return spare == 0 ? static_cast<type>(bits)
                          : static_cast<type>(static_cast<type>(static_cast<unsigned_type>(bits << spare)) >> spare);
    }
};

// Bits [lo, lo + count) of little-endian 64-bit limbs.
inline std::uint64_t read_bits(const std::uint64_t* limbs, int lo, int count) {
    const int limb = lo >> 6, shift = lo & 63;
    std::uint64_t bits = limbs[limb] >> shift;
    if (shift + count > 64) bits |= limbs[limb + 1] << (64 - shift);
    return bits & (~std::uint64_t{0} >> (64 - count));
}

inline void write_bits(std::uint64_t* limbs, int lo, int count, std::uint64_t bits) {
    const int limb = lo >> 6, shift = lo & 63;
    const std::uint64_t mask = ~std::uint64_t{0} >> (64 - count);
    bits &= mask;
    limbs[limb] = (limbs[limb] & ~(mask << shift)) | (bits << shift);
    if (shift + count > 64) {
        const int done = 64 - shift;
        limbs[limb + 1] = (limbs[limb + 1] & ~(mask >> done)) | (bits >> done);
    }
}

// What range(hi, lo) returns: a field of `Owner` that reads as an unsigned integer and can be assigned.
template <class Owner>
class field {
public:
    field(Owner& owner, int hi, int lo) : owner_(owner), lo_(lo), count_(hi - lo + 1) {}
    field(const field&) = default;

    operator std::uint64_t() const { return owner_.read(lo_, count_); }
    std::uint64_t to_uint64() const { return owner_.read(lo_, count_); }

    template <class T>
    field& operator=(const T& value) {
        owner_.write(lo_, count_, static_cast<std::uint64_t>(value));
        return *this;
    }
    field& operator=(const field& other) {
        owner_.write(lo_, count_, other.to_uint64());
        return *this;
    }

private:
    Owner& owner_;
    int lo_;
    int count_;
};

template <class T>
using enable_if_integral = typename std::enable_if<std::is_integral<T>::value || std::is_enum<T>::value, int>::type;

// The operators that ap_int<N> and ap_uint<N> share. `Self` is the class itself.
template <class Self, int N, bool Signed>
class integer {
public:
    using store = storage<N, Signed>;
    using expression = typename store::expression;
    static constexpr int width = N;

    integer() = default;
    explicit constexpr integer(std::uint64_t bits) : value_(store::wrap(bits)) {}

    constexpr operator expression() const { return static_cast<expression>(value_); }
    constexpr std::int64_t to_int64() const { return static_cast<std::int64_t>(value_); }
    constexpr std::uint64_t to_uint64() const { return static_cast<std::uint64_t>(value_); }

    constexpr Self operator~() const { return Self(~to_uint64()); }
    template <class T>
    constexpr Self operator<<(const T& count) const {
        return Self(to_uint64() << static_cast<int>(count));
    }

    template <class T>
    Self& operator+=(const T& other) {
        return set(bits() + static_cast<modular>(other));
    }
    template <class T>
    Self& operator-=(const T& other) {
        return set(bits() - static_cast<modular>(other));
    }
    template <class T>
    Self& operator*=(const T& other) {
        return set(bits() * static_cast<modular>(other));
    }
    template <class T>
    Self& operator&=(const T& other) {
        return set(bits() & static_cast<modular>(other));
    }
    template <class T>
    Self& operator|=(const T& other) {
        return set(bits() | static_cast<modular>(other));
    }
    template <class T>
    Self& operator^=(const T& other) {
        return set(bits() ^ static_cast<modular>(other));
    }
    template <class T>
    Self& operator<<=(const T& count) {
        return set(to_uint64() << static_cast<int>(count));
    }
    template <class T>
    Self& operator>>=(const T& count) {
        return set(static_cast<std::uint64_t>(static_cast<expression>(value_) >> static_cast<int>(count)));
    }
    template <class T>
    Self& operator/=(const T& other) {
        return set(static_cast<std::uint64_t>(static_cast<expression>(value_) / other));
    }
    template <class T>
    Self& operator%=(const T& other) {
        return set(static_cast<std::uint64_t>(static_cast<expression>(value_) % other));
    }

    Self& operator++() { return set(bits() + 1); }
    Self& operator--() { return set(bits() - 1); }
    Self operator++(int) {
        const Self before = self();
        set(bits() + 1);
        return before;
    }
    Self operator--(int) {
        const Self before = self();
        set(bits() - 1);
        return before;
    }

    field<Self> range(int hi, int lo) { return field<Self>(self(), hi, lo); }
    std::uint64_t range(int hi, int lo) const { return read(lo, hi - lo + 1); }

    std::uint64_t read(int lo, int count) const {
        const std::uint64_t bits = to_uint64();
        return read_bits(&bits, lo, count);
    }
    void write(int lo, int count, std::uint64_t bits) {
        std::uint64_t all = to_uint64();
        write_bits(&all, lo, count, bits);
        set(all);
    }

private:
    using modular = typename store::modular;

    Self& self() { return static_cast<Self&>(*this); }
    modular bits() const { return static_cast<modular>(value_); }
    template <class Unsigned>
    Self& set(Unsigned bits) {
        value_ = store::wrap(bits);
        return self();
    }

    typename store::type value_;
};

template <class Self, int N, bool Signed>
constexpr int integer<Self, N, Signed>::width;

// A memory word wider than 64 bits.
template <int W>
class word {
    static_assert(W % 64 == 0, "an ap_uint wider than 64 bits must be a multiple of 64 bits in the native subset");

public:
    static constexpr int width = W;

    word() = default;
    explicit word(std::uint64_t low, bool negative) {
        limbs_[0] = low;
        for (int i = 1; i < W / 64; ++i) limbs_[i] = negative ? ~std::uint64_t{0} : 0;
    }

    bool operator==(const word& other) const {
        for (int i = 0; i < W / 64; ++i)
            if (limbs_[i] != other.limbs_[i]) return false;
        return true;
    }
    bool operator!=(const word& other) const { return !(*this == other); }

    field<word> range(int hi, int lo) { return field<word>(*this, hi, lo); }
    std::uint64_t range(int hi, int lo) const { return read(lo, hi - lo + 1); }

    std::uint64_t read(int lo, int count) const { return read_bits(limbs_, lo, count); }
    void write(int lo, int count, std::uint64_t bits) { write_bits(limbs_, lo, count, bits); }

private:
    std::uint64_t limbs_[W / 64];
};

template <int W>
constexpr int word<W>::width;

template <int N, bool Wide>
struct unsigned_base {
    using type = integer<ap_uint<N>, N, false>;
};
template <int N>
struct unsigned_base<N, true> {
    using type = word<N>;
};

}  // namespace edgeflow_native

template <int N>
class ap_int : public edgeflow_native::integer<ap_int<N>, N, true> {
    using base = edgeflow_native::integer<ap_int<N>, N, true>;

public:
    ap_int() = default;
    template <class T, edgeflow_native::enable_if_integral<T> = 0>
    constexpr ap_int(T value) : base(static_cast<std::uint64_t>(value)) {}
    template <int M>
    constexpr ap_int(const ap_int<M>& other) : base(other.to_uint64()) {}
    template <int M, typename std::enable_if<(M <= 64), int>::type = 0>
    constexpr ap_int(const ap_uint<M>& other) : base(other.to_uint64()) {}
    template <class Owner>
    ap_int(const edgeflow_native::field<Owner>& bits) : base(bits.to_uint64()) {}
};

template <int N>
class ap_uint : public edgeflow_native::unsigned_base<N, (N > 64)>::type {
    using base = typename edgeflow_native::unsigned_base<N, (N > 64)>::type;

public:
    ap_uint() = default;
    template <class T, edgeflow_native::enable_if_integral<T> = 0>
    constexpr ap_uint(T value) : ap_uint(static_cast<std::uint64_t>(value), value < T(0), is_word()) {}
    template <int M>
    constexpr ap_uint(const ap_int<M>& other) : ap_uint(other.to_uint64(), other.to_int64() < 0, is_word()) {}
    template <int M, typename std::enable_if<(M <= 64), int>::type = 0>
    constexpr ap_uint(const ap_uint<M>& other) : ap_uint(other.to_uint64(), false, is_word()) {}
    template <class Owner>
    ap_uint(const edgeflow_native::field<Owner>& bits) : ap_uint(bits.to_uint64(), false, is_word()) {}

private:
    using is_word = std::integral_constant<bool, (N > 64)>;
    constexpr ap_uint(std::uint64_t bits, bool, std::false_type) : base(bits) {}
    ap_uint(std::uint64_t bits, bool negative, std::true_type) : base(bits, negative) {}
};

// Operators whose vendor's simulation disagrees with the mathematical values on operands of mixed signedness.
#define EDGEFLOW_SAME_SIGNEDNESS(operation)                             \
    template <int N, int M>                                             \
    void operator operation(const ap_int<N>&, const ap_uint<M>&) = delete; \
    template <int N, int M>                                             \
    void operator operation(const ap_uint<N>&, const ap_int<M>&) = delete;
EDGEFLOW_SAME_SIGNEDNESS(==)
EDGEFLOW_SAME_SIGNEDNESS(!=)
EDGEFLOW_SAME_SIGNEDNESS(<)
EDGEFLOW_SAME_SIGNEDNESS(<=)
EDGEFLOW_SAME_SIGNEDNESS(>)
EDGEFLOW_SAME_SIGNEDNESS(>=)
EDGEFLOW_SAME_SIGNEDNESS(/)
EDGEFLOW_SAME_SIGNEDNESS(%)
#undef EDGEFLOW_SAME_SIGNEDNESS

#endif  // EDGEFLOW_NATIVE_AP_INT_H
