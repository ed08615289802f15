// First-in first-out queues of the C simulation: the part of the vendor's hls_stream.h that the headers use.
//
// In a process (fibers.h) a read of an empty queue and a write to a full one let other processes run. Queues are as deep as
// they are declared, deeper by a drawn number, or endless, as the schedule says (fibers.h). Outside of processes queues are endless, and a
// read from an empty one is an error of the program: it ends the simulation.
#ifndef EDGEFLOW_SIMULATION_HLS_STREAM_H
#define EDGEFLOW_SIMULATION_HLS_STREAM_H

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <vector>

#include "fibers.h"
#ifdef EDGEFLOW_STALL
#include "stalling.h"
#endif

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

    // Both are called with every item from now on, when it is written and when it is read.
    void observe(const std::function<void(const T&)>& written, const std::function<void(const T&)>& read) {
        observers_.reset(new Observers{written, read});
    }
    void forget_observers() { observers_.reset(); }

    void write(const T& item) {
#ifdef EDGEFLOW_STALL
        if (edgeflow_simulation::postpone([this, item] { deliver(item); })) {
            return;
        }
#endif
        deliver(item);
    }

    // A write that does not stay in a pipeline.
    void deliver(const T& item) {
        edgeflow_simulation::Network& network = edgeflow_simulation::network();
        if (network.running()) {
            network.rest();
            while (full()) {
                network.wait(channel_, true);
            }
        }
        put(item);
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
        return get();
    }

    // Takes an item if there is one.
    bool read_nb(T& item) {
        edgeflow_simulation::Network& network = edgeflow_simulation::network();
        if (network.running()) {
            network.rest();
        }
        if (empty()) {
            return false;
        }
        item = get();
        return true;
    }

#ifdef EDGEFLOW_COUNT
    // For a process without a clock of its own: an item and when it came; an item that can be read from a time on.
    T read_at(std::uint64_t& time) {
        time = times_[head_];
        return pop(time);
    }
    void write_at(const T& item, std::uint64_t time) { push(item, time); }
#endif

    // No iteration of the reader waits for an item of this stream, only the command's end.
    void beside() { beside_ = true; }

  protected:
    stream(const char* name, std::size_t depth) : channel_{name, depth, 0, 0}, head_(0), beside_(false) {
        using edgeflow_simulation::Depths;
        const Depths depths = edgeflow_simulation::schedule().depths;
        // A stream of a process's own joins what it does in turn.
        if (depths != Depths::deep && !edgeflow_simulation::network().running()) {
            channel_.limit = depth + (depths == Depths::drawn ? std::size_t(edgeflow_simulation::draw() % (depth + 1)) : 0);
        }
    }

  private:
#ifdef EDGEFLOW_COUNT
    void put(const T& item) {
        edgeflow_simulation::Network& network = edgeflow_simulation::network();
        std::uint64_t time = 0;
        if (network.running()) {
            edgeflow_simulation::Clock& clock = network.clock();
            // The place of the item that was read so many items ago.
            const std::uint64_t room = channel_.limit != 0 && written_ >= channel_.limit ? taken_[written_ % channel_.limit] + 1 : 0;
            clock.now = room > clock.now + clock.depth ? room - clock.depth : clock.now;
            time = clock.now + clock.depth + 1;
        }
        push(item, time);
    }

    T get() {
        edgeflow_simulation::Network& network = edgeflow_simulation::network();
        std::uint64_t time = times_[head_];
        if (network.running()) {
            edgeflow_simulation::Clock& clock = network.clock();
            std::uint64_t& waits = beside_ ? clock.beside : clock.now;
            waits = waits < time ? time : waits;
            time = waits;
        }
        return pop(time);
    }

    void push(const T& item, std::uint64_t time) {
        store(item);
        times_.push_back(time);
        ++written_;
    }

    T pop(std::uint64_t time) {
        if (channel_.limit != 0) {
            taken_.resize(channel_.limit);
            taken_[read_ % channel_.limit] = time;
        }
        ++read_;
        return remove();
    }

    void forget(std::size_t count) { times_.erase(times_.begin(), times_.begin() + std::ptrdiff_t(count)); }

    std::vector<std::uint64_t> times_;  // from which each item can be read
    std::vector<std::uint64_t> taken_;  // when the last items were read, by their numbers modulo the limit
    std::uint64_t written_ = 0;
    std::uint64_t read_ = 0;
#else
    void put(const T& item) { store(item); }
    T get() { return remove(); }
    void forget(std::size_t) {}
#endif

    void store(const T& item) {
        items_.push_back(item);
        ++channel_.items;
        if (observers_) {
            observers_->written(item);
        }
    }

    T remove() {
        const T item = items_[head_];
        ++head_;
        --channel_.items;
        if (channel_.items == 0 || (head_ >= 4096 && 2 * head_ >= items_.size())) {
            items_.erase(items_.begin(), items_.begin() + std::ptrdiff_t(head_));
            forget(head_);
            head_ = 0;
        }
        if (observers_) {
            observers_->read(item);
        }
        return item;
    }

    struct Observers {
        std::function<void(const T&)> written;
        std::function<void(const T&)> read;
    };
    std::unique_ptr<Observers> observers_;
    edgeflow_simulation::Channel channel_;
    std::vector<T> items_;
    std::size_t head_;
    bool beside_;
};

template <class T, int DEPTH>
class stream : public stream<T, 0> {
  public:
    stream() : stream<T, 0>("unnamed", DEPTH) {}
    explicit stream(const char* name) : stream<T, 0>(name, DEPTH) {}
};

}  // namespace hls

#endif
