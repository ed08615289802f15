// Prints the result of every operator of the ap_int subset on the operands read from a file, for the header that the
// include path selects. The same program runs on the native and on the exact header; the two outputs must be equal.

#include "ap_int.h"

#include <cstdint>
#include <cstdio>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

using Operands = std::vector<std::pair<long long, long long>>;

static const char* current = "";

template <class T>
static void show(const char* what, long long a, long long b, const T& value) {
    std::printf("%s %s %lld %lld %lld\n", current, what, a, b, static_cast<long long>(value));
}

// Enough bits for any sum, difference or product; negative values wrap to ones that do not fit when E is unsigned.
template <class E>
using Wide = typename std::conditional<std::is_signed<E>::value, __int128, unsigned __int128>::type;

// The native header computes an expression in E: what is longer is outside the subset.
template <class E>
static bool fits(Wide<E> value) {
    return value >= std::numeric_limits<E>::min() && value <= std::numeric_limits<E>::max();
}

template <class A, class E>
static void unary(const Operands& operands) {
    const int n = A::width;
    for (const auto& operand : operands) {
        const A a = operand.first;
        const long long x = a.to_int64(), y = operand.second;
        show("value", x, 0, a);
        show("uint64", x, 0, a.to_uint64());
        show("not", x, 0, ~a);
        show("logical_not", x, 0, !a);
        show("truth", x, 0, a ? 1 : 0);
        if (std::is_signed<E>::value && x != INT64_MIN) show("minus", x, 0, -a);
        A b = a;
        show("post_increment", x, 0, b++);
        show("incremented", x, 0, b);
        show("pre_increment", x, 0, ++b);
        show("post_decrement", x, 0, b--);
        show("pre_decrement", x, 0, --b);
        for (int count = 0; count < 64; count += (count < 8 ? 3 : 11)) {
            show("shift_left", x, count, a << count);
            show("shift_right", x, count, a >> count);
            show("shift_left_ap", x, count, a << ap_uint<7>(count));
            show("shift_right_ap", x, count, a >> ap_uint<7>(count));
            A c = a, d = a;
            c <<= count;
            d >>= count;
            show("assign_shift_left", x, count, c);
            show("assign_shift_right", x, count, d);
        }
        const int literal = static_cast<int>(y & 0x7f) + 1;
        if (fits<E>(static_cast<Wide<E>>(static_cast<E>(x)) + literal)) show("plus_int", x, literal, a + literal);
        if (fits<E>(static_cast<Wide<E>>(static_cast<E>(x)) * literal)) show("times_int", x, literal, literal * a);
        show("divided_by_int", x, literal, a / literal);
        show("remainder_int", x, literal, a % literal);
        show("and_int", x, literal, a & literal);
        show("or_int", x, literal, a | literal);
        show("less_int", x, literal, a < literal);
        show("int_less", x, literal, literal < a);
        show("equal_int", x, literal, a == literal);
        A e = a, f = a, g = a, h = a;
        e += literal;
        f -= literal;
        g *= literal;
        h = literal;
        show("assign_plus_int", x, literal, e);
        show("assign_minus_int", x, literal, f);
        show("assign_times_int", x, literal, g);
        show("assign_int", x, literal, h);
        long long total = y >> 8;
        total += a >> 3;
        show("native_plus", x, y, total);
        for (int lo = 0; lo < n; lo += 1 + n / 5) {
            for (int hi = lo; hi < n; hi += 1 + n / 3) {
                A word = a;
                show("range_read", x, 100 * hi + lo, static_cast<std::uint64_t>(word.range(hi, lo)));
                word.range(hi, lo) = y;
                show("range_write", x, 100 * hi + lo, word);
                word.range(hi, lo) = ap_int<5>(y);
                show("range_write_ap", x, 100 * hi + lo, word);
            }
        }
    }
}

// The operators that take operands of either signedness. E is what the native header computes the expression in.
template <class A, class B, class E>
static void mixed(const Operands& operands) {
    for (const auto& operand : operands) {
        const A a = operand.first;
        const B b = operand.second;
        const Wide<E> wide_a = static_cast<E>(a.to_int64()), wide_b = static_cast<E>(b.to_int64());
        const long long x = a.to_int64(), y = b.to_int64();
        if (fits<E>(wide_a + wide_b)) show("+", x, y, a + b);
        if (fits<E>(wide_a - wide_b)) show("-", x, y, a - b);
        if (fits<E>(wide_a * wide_b)) show("*", x, y, a * b);
        show("&", x, y, a & b);
        show("|", x, y, a | b);
        show("^", x, y, a ^ b);
        A c = a, d = a, e = a, f = b;
        show("+=", x, y, c += b);
        show("-=", x, y, d -= b);
        show("*=", x, y, e *= b);
        show("converted", x, y, f);
    }
}

// The operators that take operands of one signedness.
template <class A, class B, class E>
static void same(const Operands& operands) {
    for (const auto& operand : operands) {
        const A a = operand.first, a2 = operand.second;
        const B b = operand.second;
        const long long x = a.to_int64(), y = b.to_int64();
        show("==", x, y, a == b);
        show("!=", x, y, a != b);
        show("<", x, y, a < b);
        show("<=", x, y, a <= b);
        show(">", x, y, a > b);
        show(">=", x, y, a >= b);
        A c = a, d = a, e = a;
        show("&=", x, y, c &= a2);
        show("|=", x, y, d |= a2);
        show("^=", x, y, e ^= a2);
        if (b != 0 && !(x == std::numeric_limits<E>::min() && y == -1)) {
            A f = a, g = a;
            show("/", x, y, a / b);
            show("%", x, y, a % b);
            show("/=", x, y, f /= b);
            show("%=", x, y, g %= b);
        }
    }
}

template <int W>
static void word(const Operands& operands) {
    ap_uint<W> all = 0;
    int step = 0;
    for (const auto& operand : operands) {
        const int lo = (step * 37 + 5) % W;
        const int hi = lo + step % 64 < W ? lo + step % 64 : W - 1;
        ++step;
        const ap_uint<W> before = all;
        all.range(hi, lo) = operand.first;
        show("write", hi, lo, static_cast<std::uint64_t>(all.range(hi, lo)));
        show("equal", hi, lo, before == all);
        show("unequal", hi, lo, before != all);
        ap_int<8> narrow = all.range(hi, lo);
        ap_uint<16> half = before.range(hi, lo);
        show("read_int8", hi, lo, narrow);
        show("read_uint16", hi, lo, half);
        all.range(15, 8) = narrow;
        all.range(W - 1, W - 16) = half;
        all.range(39, 32) = all.range(71, 64);
        show("in_expression", hi, lo, narrow * half + static_cast<int>(ap_uint<4>(all.range(67, 64))));
        show("read_across", hi, lo, static_cast<std::uint64_t>(all.range(64, 62)));
        for (int limb = 0; limb < W; limb += 64)
            show("limb", hi, limb, static_cast<std::uint64_t>(all.range(limb + 63, limb)));
        ap_uint<W> other = all;
        other = static_cast<int>(operand.second);
        show("assign_high", hi, lo, static_cast<std::uint64_t>(other.range(W - 1, W - 64)));
        show("assign_low", hi, lo, static_cast<std::uint64_t>(other.range(63, 0)));
        other = ap_int<9>(operand.second);
        show("assign_ap", hi, lo, static_cast<std::uint64_t>(other.range(W - 1, W - 64)));
        other = ap_uint<9>(operand.second);
        show("assign_apu", hi, lo, static_cast<std::uint64_t>(other.range(63, 0)));
    }
}

#define CASE(check, A, B, E) \
    current = #A ":" #B;     \
    check<A, B, E>(operands)
#define WIDTHS(N)                                \
    current = "ap_int<" #N ">";                  \
    unary<ap_int<N>, std::int64_t>(operands);    \
    current = "ap_uint<" #N ">";                 \
    unary<ap_uint<N>, std::int64_t>(operands)
#define SIGNED(N, M)                                   \
    WIDTHS(N);                                         \
    CASE(same, ap_int<N>, ap_int<M>, std::int64_t);    \
    CASE(mixed, ap_int<N>, ap_int<M>, std::int64_t);   \
    CASE(mixed, ap_uint<M>, ap_int<N>, std::int64_t)
#define UNSIGNED(N, M)                                 \
    WIDTHS(N);                                         \
    CASE(same, ap_uint<N>, ap_uint<M>, std::int64_t);  \
    CASE(mixed, ap_uint<N>, ap_uint<M>, std::int64_t); \
    CASE(mixed, ap_uint<N>, ap_int<M>, std::int64_t)
#define WORD(W)               \
    current = "word<" #W ">"; \
    word<W>(operands)

#ifdef EDGEFLOW_NATIVE_AP_INT_H
static_assert(sizeof(ap_int<4>) == 1 && sizeof(ap_uint<9>) == 2, "narrow integers must be stored narrowly");
static_assert(sizeof(ap_int<18>) == 4 && sizeof(ap_int<33>) == 8, "narrow integers must be stored narrowly");
static_assert(sizeof(ap_uint<128>) == 16 && sizeof(ap_uint<512>) == 64, "words must be as long as their bits");
static_assert(std::is_trivially_copyable<ap_int<8>>::value && std::is_trivially_copyable<ap_uint<256>>::value, "");
#endif

int main(int argc, char** argv) {
    std::FILE* file = argc == 2 ? std::fopen(argv[1], "r") : nullptr;
    if (!file) return 1;
    Operands operands;
    long long a, b;
    while (std::fscanf(file, "%lld %lld", &a, &b) == 2) operands.emplace_back(a, b);
    std::fclose(file);

    SIGNED(18, 27);
    WORD(128);
#ifndef EDGEFLOW_FEW_WIDTHS
    SIGNED(1, 8);
    UNSIGNED(2, 17);
    SIGNED(4, 4);
    UNSIGNED(7, 33);
    SIGNED(8, 8);
    UNSIGNED(9, 32);
    SIGNED(16, 1);
    UNSIGNED(17, 18);
    UNSIGNED(24, 16);
    SIGNED(27, 31);
    UNSIGNED(31, 9);
    SIGNED(32, 32);
    UNSIGNED(33, 2);
    SIGNED(48, 7);
    UNSIGNED(63, 48);
    current = "ap_int<64>";
    unary<ap_int<64>, std::int64_t>(operands);
    current = "ap_uint<64>";
    unary<ap_uint<64>, std::uint64_t>(operands);
    CASE(same, ap_int<64>, ap_int<63>, std::int64_t);
    CASE(mixed, ap_int<64>, ap_uint<63>, std::int64_t);
    CASE(same, ap_uint<64>, ap_uint<64>, std::uint64_t);
    CASE(mixed, ap_uint<64>, ap_uint<64>, std::uint64_t);
    WORD(512);
#endif
    return 0;
}
