// Items of streams as bits: the first member lowest, of an array the first element. `visit` of edgeflow_items.hpp names the integers.
#ifndef EDGEFLOW_SIMULATION_BITS_H
#define EDGEFLOW_SIMULATION_BITS_H

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ap_int.h"

namespace edgeflow_simulation {

typedef std::vector<std::uint8_t> Bytes;

// Takes integers and lays them one after another.
class Packer {
  public:
    Packer() : bits_(0) {}
    template <int N, class Integer>
    void integer(Integer& value) {
        const std::uint64_t raw = ap_uint<N>(value).to_uint64();
        for (int i = 0; i < N; ++i, ++bits_) {
            if (bits_ % 8 == 0) {
                bytes_.push_back(0);
            }
            bytes_.back() = std::uint8_t(bytes_.back() | (raw >> i & 1) << bits_ % 8);
        }
    }
    std::size_t bits() const { return bits_; }
    const Bytes& bytes() const { return bytes_; }

  private:
    std::size_t bits_;
    Bytes bytes_;
};

// The other way round.
class Unpacker {
  public:
    explicit Unpacker(const std::uint8_t* bytes) : bytes_(bytes), bits_(0) {}
    template <int N, class Integer>
    void integer(Integer& value) {
        std::uint64_t raw = 0;
        for (int i = 0; i < N; ++i, ++bits_) {
            raw |= std::uint64_t(bytes_[bits_ / 8] >> bits_ % 8 & 1) << i;
        }
        value = ap_uint<N>(raw);
    }

  private:
    const std::uint8_t* bytes_;
    std::size_t bits_;
};

}  // namespace edgeflow_simulation

namespace edgeflow {

template <class V, int N>
void visit(V& visitor, ap_uint<N>& value) {
    visitor.template integer<N>(value);
}

template <class V, int N>
void visit(V& visitor, ap_int<N>& value) {
    visitor.template integer<N>(value);
}

template <class V, class T, std::size_t N>
void visit(V& visitor, T (&items)[N]) {
    for (T& item : items) {
        visit(visitor, item);
    }
}

}  // namespace edgeflow

#endif
