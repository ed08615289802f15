// First-in first-out queues of the C simulation: the part of the vendor's hls_stream.h that the headers use.
//
// In a process (fibers.h) a read of an empty queue and a write to a full one let other processes run. Queues are as deep as
// they are declared, deeper by a drawn number, or endless, as the schedule says (fibers.h). Outside of processes queues are endless, and a
// read from an empty one is an error of the program: it ends the simulation.
#ifndef EDGEFLOW_SIMULATION_HLS_STREAM_H
#define EDGEFLOW_SIMULATION_HLS_STREAM_H

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "fibers.h"

namespace hls {

template <class T, int DEPTH = 0>
class stream;

template <class T>
class stream<T, 0> {
  public:
    stream() : stream("unnamed", 2) {}
    explicit stream(const char* name) : stream(name, 2) {}
    stream(const stream&) = delete;
    stream& operator=(const stream&) = delete;

    bool empty() const { return channel_.empty(); }
    bool full() const { return channel_.full(); }

    void write(const T& item) {
        edgeflow_simulation::Network& network = edgeflow_simulation::network();
        if (network.running()) {
            network.rest();
            while (full()) {
                network.wait(channel_, true);
            }
        }
        items_.push_back(item);
        ++channel_.items;
    }

    T read() {
        edgeflow_simulation::Network& network = edgeflow_simulation::network();
        if (network.running()) {
            network.rest();
            while (empty()) {
                network.wait(channel_, false);
            }
        } else if (empty()) {
            std::fprintf(stderr, "EdgeFlow: read from the empty stream '%s'\n", channel_.name);
            std::abort();
        }
        const T item = items_[head_];
        ++head_;
        --channel_.items;
        if (channel_.items == 0) {
            items_.clear();
            head_ = 0;
        } else if (head_ >= 4096 && 2 * head_ >= items_.size()) {
            items_.erase(items_.begin(), items_.begin() + std::ptrdiff_t(head_));
            head_ = 0;
        }
        return item;
    }

  protected:
    stream(const char* name, std::size_t depth) : channel_{name, depth, 0, 0}, head_(0) {
        using edgeflow_simulation::Depths;
        const Depths depths = edgeflow_simulation::schedule().depths;
        // A stream of a process's own joins what it does in turn.
        if (depths != Depths::deep && !edgeflow_simulation::network().running()) {
            channel_.limit = depth + (depths == Depths::drawn ? std::size_t(edgeflow_simulation::draw() % (depth + 1)) : 0);
        }
    }

  private:
    edgeflow_simulation::Channel channel_;
    std::vector<T> items_;
    std::size_t head_;
};

template <class T, int DEPTH>
class stream : public stream<T, 0> {
  public:
    stream() : stream<T, 0>("unnamed", DEPTH) {}
    explicit stream(const char* name) : stream<T, 0>(name, DEPTH) {}
};

}  // namespace hls

#endif
