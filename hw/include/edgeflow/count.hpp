// Counters of loop iterations, for the check that predicted trip counts are those that really run.
//
// EDGEFLOW_ENTER(name) stands before a pipelined loop, EDGEFLOW_TRIP(name) in its body. With EDGEFLOW_COUNT defined (C simulation only)
// each adds one to a counter: `entries` and `trips` of that name. Otherwise both vanish.
#ifndef EDGEFLOW_COUNT_HPP
#define EDGEFLOW_COUNT_HPP

#ifdef EDGEFLOW_COUNT

#include <cstdint>
#include <map>
#include <string>

namespace edgeflow {

struct Counter {
    std::uint64_t entries;
    std::uint64_t trips;
};

inline std::map<std::string, Counter>& counters() {
    static std::map<std::string, Counter> all;
    return all;
}

}  // namespace edgeflow

#define EDGEFLOW_ENTER(name)                                      \
    do {                                                          \
        static edgeflow::Counter& count = edgeflow::counters()[name]; \
        ++count.entries;                                          \
    } while (0)
#define EDGEFLOW_TRIP(name)                                       \
    do {                                                          \
        static edgeflow::Counter& count = edgeflow::counters()[name]; \
        ++count.trips;                                            \
    } while (0)

#else

#define EDGEFLOW_ENTER(name)
#define EDGEFLOW_TRIP(name)

#endif

#endif
