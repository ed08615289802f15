// Counters and clocks of the C simulation (with EDGEFLOW_COUNT): how often each loop of a process is entered and goes round, and in
// which cycle.
//
// A process has a clock. An iteration of a loop moves it on by the loop's interval; the loop's pipeline drains before the next loop
// begins; what is read must be there, and what is written can be read `depth` cycles later, when its place in the stream is free. That
// is the time that the loops take in hardware if they reach intervals and depths that the schedule states, whatever the order in
// which the simulation runs them.
#ifndef EDGEFLOW_SIMULATION_COUNTING_H
#define EDGEFLOW_SIMULATION_COUNTING_H

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "fibers.h"

namespace edgeflow_simulation {

// A loop of a process: what happened since the counters were last taken, and how its hardware behaves.
struct Loop {
    std::uint64_t entries = 0;
    std::uint64_t trips = 0;
    std::uint64_t interval = 1;  // cycles from one iteration to the next
    std::uint64_t depth = 0;     // of the pipeline, in cycles
    std::uint64_t latency = 0;   // cycles before the first iteration of each entry
    bool drains = true;          // nothing follows before the last iteration has ended
};

typedef std::pair<std::string, std::string> LoopName;  // process and loop

inline std::map<LoopName, Loop>& loops() {
    static std::map<LoopName, Loop> all;
    return all;
}

// The running process's loop of a name.
inline Loop& loop(const char* name) { return loops()[LoopName(network().process(), name)]; }

inline void enter(Loop& entered) {
    ++entered.entries;
    network().clock().enter(entered.latency, entered.interval, entered.depth, entered.drains);
}

inline void trip(Loop& entered) {
    ++entered.trips;
    network().clock().trip();
}

}  // namespace edgeflow_simulation

#define EDGEFLOW_ENTER(name)                                                                  \
    do {                                                                                      \
        static edgeflow_simulation::Loop& entered = edgeflow_simulation::loop(name);          \
        edgeflow_simulation::enter(entered);                                                  \
    } while (0)
#define EDGEFLOW_TRIP(name)                                                                   \
    do {                                                                                      \
        static edgeflow_simulation::Loop& entered = edgeflow_simulation::loop(name);          \
        edgeflow_simulation::trip(entered);                                                   \
    } while (0)

#endif
