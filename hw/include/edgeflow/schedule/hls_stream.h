// hls_stream.h for the schedule gate (hw/schedule): an element that is popped or pushed where the calls of marks.h stand.
#ifndef EDGEFLOW_SCHEDULE_HLS_STREAM_H
#define EDGEFLOW_SCHEDULE_HLS_STREAM_H

#include "marks.h"

namespace hls {

// As in the vendor's header, a stream that says its depth is passed on as one that does not.
template <class T, int DEPTH = 0>
class stream;

template <class T>
class stream<T, 0> {
  public:
    stream() {}
    explicit stream(const char*) {}

    bool empty() const { return edgeflow_status(&item_); }
    bool full() const { return edgeflow_status(&item_); }
    T read() {
        edgeflow_pop(&item_);
        return item_;
    }
    bool read_nb(T& item) {
        const bool there = edgeflow_pop_nb(&item_);
        item = item_;
        return there;
    }
    void write(const T& item) {
        item_ = item;
        edgeflow_push(&item_);
    }

  private:
    T item_;
};

template <class T, int DEPTH>
class stream : public stream<T, 0> {
  public:
    stream() {}
    explicit stream(const char*) {}
};

}  // namespace hls

#endif
