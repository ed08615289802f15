// First-in first-out queues of the C simulation with native integers: the part of the vendor's hls_stream.h that the headers use.
// A read from an empty queue is an error of the program, not a wait: it ends the simulation.
#ifndef EDGEFLOW_NATIVE_HLS_STREAM_H
#define EDGEFLOW_NATIVE_HLS_STREAM_H

#include <cstdio>
#include <cstdlib>
#include <vector>

namespace hls {

template <class T>
class stream {
  public:
    stream() : head_(0) {}
    explicit stream(const char*) : head_(0) {}
    stream(const stream&) = delete;
    stream& operator=(const stream&) = delete;

    bool empty() const { return head_ == items_.size(); }
    void write(const T& item) { items_.push_back(item); }
    T read() {
        if (empty()) {
            std::fprintf(stderr, "EdgeFlow: read from an empty stream\n");
            std::abort();
        }
        const T item = items_[head_];
        ++head_;
        if (head_ == items_.size()) {
            items_.clear();
            head_ = 0;
        }
        return item;
    }

  private:
    std::vector<T> items_;
    std::size_t head_;
};

}  // namespace hls

#endif
