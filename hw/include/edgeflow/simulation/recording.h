// What goes through the streams of processes in C simulation, call by call, as files that the components' testbenches replay.
//
// A file has, as 32-bit words, the number of calls and of streams and the bits of each stream's items; then for each call its registers,
// for each stream the number of items and the items, each in whole bytes, and for each AXI port that is written the number of words that
// changed and these, with the word's number before it.
#ifndef EDGEFLOW_SIMULATION_RECORDING_H
#define EDGEFLOW_SIMULATION_RECORDING_H

#include <cstdio>
#include <map>
#include <string>

#include "edgeflow/simulation/bits.h"

namespace edgeflow_simulation {

inline void put_word(Bytes& bytes, std::uint32_t value) {
    for (int i = 0; i < 4; ++i) {
        bytes.push_back(std::uint8_t(value >> 8 * i));
    }
}

// The calls of one process.
class Recording {
  public:
    Recording() : calls_(0), active_(false) {}

    // A call begins; false where enough are recorded.
    bool begin(const std::vector<std::uint32_t>& bits, unsigned limit) {
        bits_ = bits;
        counts_.assign(bits.size(), 0);
        items_.assign(bits.size(), Bytes());
        head_.clear();
        tail_.clear();
        active_ = calls_ < limit && body_.size() < MOST_BYTES;
        return active_;
    }
    void set_register(std::uint32_t value) { put_word(head_, value); }
    template <class T>
    void item(unsigned stream, const T& value) {
        if (active_) {
            T copy = value;
            Packer packer;
            edgeflow::visit(packer, copy);
            ++counts_[stream];
            items_[stream].insert(items_[stream].end(), packer.bytes().begin(), packer.bytes().end());
        }
    }
    template <class Word>
    void changes(const std::vector<Word>& before, const std::vector<Word>& after) {
        Bytes words;
        std::uint32_t count = 0;
        for (std::size_t i = 0; i < after.size(); ++i) {
            if (before[i] != after[i]) {
                ++count;
                put_word(words, std::uint32_t(i));
                for (int bit = 0; bit < Word::width; bit += 8) {
                    const ap_uint<8> byte = after[i].range(bit + 7, bit);
                    words.push_back(std::uint8_t(byte));
                }
            }
        }
        put_word(tail_, count);
        tail_.insert(tail_.end(), words.begin(), words.end());
    }
    void end() {
        if (active_) {
            ++calls_;
            body_.insert(body_.end(), head_.begin(), head_.end());
            for (std::size_t s = 0; s < items_.size(); ++s) {
                put_word(body_, counts_[s]);
                body_.insert(body_.end(), items_[s].begin(), items_[s].end());
            }
            body_.insert(body_.end(), tail_.begin(), tail_.end());
            active_ = false;
        }
    }
    bool save(const std::string& path) const {
        Bytes head;
        put_word(head, calls_);
        put_word(head, std::uint32_t(bits_.size()));
        for (const std::uint32_t bits : bits_) {
            put_word(head, bits);
        }
        std::FILE* file = std::fopen(path.c_str(), "wb");
        if (file == nullptr) {
            return false;
        }
        const bool whole = std::fwrite(head.data(), 1, head.size(), file) == head.size() &&
                           std::fwrite(body_.data(), 1, body_.size(), file) == body_.size();
        return std::fclose(file) == 0 && whole;
    }

  private:
    static const std::size_t MOST_BYTES = std::size_t(1) << 19;  // another call is recorded below that
    std::uint32_t calls_;
    bool active_;
    std::vector<std::uint32_t> bits_;
    std::vector<std::uint32_t> counts_;
    std::vector<Bytes> items_;
    Bytes head_;
    Bytes tail_;
    Bytes body_;
};

// All processes' calls, as many of each as `limit` says; 0: nothing is recorded.
struct Recorder {
    unsigned limit;
    std::map<std::string, Recording> processes;
};

}  // namespace edgeflow_simulation

#endif
