// What the testbenches of components share: a recording (recording.h) is read, its items go in, and what comes out is compared.
#ifndef EDGEFLOW_SIMULATION_REPLAY_H
#define EDGEFLOW_SIMULATION_REPLAY_H

#include <cstdio>
#include <string>

#include "edgeflow/simulation/bits.h"
#include "hls_stream.h"

namespace edgeflow_simulation {

inline bool read_file(const std::string& path, Bytes& bytes) {
    std::FILE* file = std::fopen(path.c_str(), "rb");
    if (!file) {
        std::fprintf(stderr, "cannot open %s\n", path.c_str());
        return false;
    }
    std::fseek(file, 0, SEEK_END);
    bytes.resize(std::size_t(std::ftell(file)));
    std::rewind(file);
    const bool complete = std::fread(bytes.data(), 1, bytes.size(), file) == bytes.size();
    std::fclose(file);
    return complete;
}

inline std::uint32_t word_at(const Bytes& bytes, std::size_t at) {
    return at + 4 > bytes.size() ? 0u : bytes[at] | bytes[at + 1] << 8 | bytes[at + 2] << 16 | std::uint32_t(bytes[at + 3]) << 24;
}

template <class T>
std::uint32_t item_bits() {
    T item;
    const Bytes none(4096);
    Unpacker unpacker(none.data());
    edgeflow::visit(unpacker, item);
    Packer packer;
    edgeflow::visit(packer, item);
    return std::uint32_t(packer.bits());
}

template <class Word>
void put_bytes(std::vector<Word>& words, std::size_t offset, const std::uint8_t* bytes, std::size_t size) {
    const std::size_t word_bytes = std::size_t(Word::width) / 8;
    for (std::size_t i = 0; i < size && (offset + i) / word_bytes < words.size(); ++i) {
        const int bit = 8 * int((offset + i) % word_bytes);
        words[(offset + i) / word_bytes].range(bit + 7, bit) = ap_uint<8>(bytes[i]);
    }
}

// A file's bytes from `skipped` on.
template <class Word>
bool read_image(const std::string& path, std::size_t skipped, std::vector<Word>& words) {
    Bytes bytes;
    if (!read_file(path, bytes) || bytes.size() < skipped) {
        return false;
    }
    put_bytes(words, 0, bytes.data() + skipped, bytes.size() - skipped);
    return true;
}

// Records of lines: the first one's number, how many, then 64 bytes each.
template <class Word>
bool read_lines(const std::string& path, std::vector<Word>& words) {
    Bytes bytes;
    if (!read_file(path, bytes)) {
        return false;
    }
    for (std::size_t at = 0; at + 8 <= bytes.size();) {
        const std::size_t size = std::size_t(word_at(bytes, at + 4)) * 64;
        if (at + 8 + size > bytes.size()) {
            return false;
        }
        put_bytes(words, std::size_t(word_at(bytes, at)) * 64, bytes.data() + at + 8, size);
        at += 8 + size;
    }
    return true;
}

class Replay {
  public:
    Replay() : at_(0), compared_(0), different_(0), calls_(0), broken_(false) {}

    // False, with a message, where there is no recording of streams with these bits.
    bool open(const std::string& path, const std::vector<std::uint32_t>& bits) {
        if (!read_file(path, bytes_)) {
            return false;
        }
        calls_ = word();
        bool fits = word() == bits.size();
        for (const std::uint32_t one : bits) {
            fits = fits && word() == one;
        }
        if (!fits) {
            std::fprintf(stderr, "%s is of another accelerator\n", path.c_str());
        }
        return fits;
    }
    std::uint32_t calls() const { return calls_; }

    std::uint32_t word() {
        at_ += 4;
        return word_at(bytes_, at_ - 4);
    }
    void compare(bool equal) {
        ++compared_;
        different_ += equal ? 0 : 1;
    }
    template <class T>
    void push(hls::stream<T>& stream) {
        const std::size_t size = (item_bits<T>() + 7) / 8;
        for (std::uint32_t left = word(); left != 0 && holds(size); --left) {
            T item;
            Unpacker unpacker(take(size));
            edgeflow::visit(unpacker, item);
            stream.write(item);
        }
    }
    template <class T>
    void check(hls::stream<T>& stream) {
        const std::size_t size = (item_bits<T>() + 7) / 8;
        for (std::uint32_t left = word(); left != 0 && holds(size); --left) {
            const std::uint8_t* expected = take(size);
            bool equal = !stream.empty();
            if (equal) {
                T item = stream.read();
                Packer packer;
                edgeflow::visit(packer, item);
                equal = packer.bytes() == Bytes(expected, expected + size);
            }
            compare(equal);
        }
        drain(stream);
    }
    // Nothing is left over.
    template <class T>
    void drain(hls::stream<T>& stream) {
        while (!stream.empty()) {
            stream.read();
            compare(false);
        }
    }
    template <class Word>
    void check_changes(const std::vector<Word>& before, const std::vector<Word>& now) {
        const std::size_t size = std::size_t(Word::width) / 8;
        std::vector<Word> expected = before;
        for (std::uint32_t left = word(); left != 0 && holds(4 + size); --left) {
            const std::size_t place = word();
            put_bytes(expected, place * size, take(size), size);
            compare(place < now.size() && now[place] == expected[place]);
        }
        for (std::size_t i = 0; i < now.size(); ++i) {
            if (now[i] != expected[i] && expected[i] == before[i]) {
                compare(false);
            }
        }
    }
    // Prints what was compared; the exit status.
    int end() const {
        std::printf(
            "%llu of %llu words of %u calls differ\n", (unsigned long long)different_, (unsigned long long)compared_, unsigned(calls_));
        return different_ == 0 && !broken_ && at_ == bytes_.size() ? 0 : 1;
    }

  private:
    bool holds(std::size_t size) {
        broken_ = broken_ || at_ + size > bytes_.size();
        return !broken_;
    }
    const std::uint8_t* take(std::size_t size) {
        at_ += size;
        return bytes_.data() + (at_ - size);
    }
    Bytes bytes_;
    std::size_t at_;
    std::uint64_t compared_;
    std::uint64_t different_;
    std::uint32_t calls_;
    bool broken_;
};

}  // namespace edgeflow_simulation

#endif
