// Pipelines that stall (with EDGEFLOW_STALL): what a loop writes is delivered a number of iterations later, or when the loop has come to
// its end; while an iteration waits for an item, those before it stay in the pipeline with what they write. That is how an HLS tool
// builds a loop that it cannot flush, and a network of processes must not need what lies in one.
#ifndef EDGEFLOW_SIMULATION_STALLING_H
#define EDGEFLOW_SIMULATION_STALLING_H

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "fibers.h"

namespace edgeflow_simulation {

// The pipeline of a process: what its iterations have written and not yet delivered.
struct Pipeline {
    bool stalls = false;
    std::uint64_t trips = 0;
    std::deque<std::pair<std::uint64_t, std::function<void()>>> writes;

    void deliver(std::uint64_t until) {
        while (!writes.empty() && writes.front().first <= until) {
            const std::function<void()> write = writes.front().second;
            writes.pop_front();
            write();
        }
    }
};

// Iterations that a pipeline holds; 0: none stalls.
inline std::uint64_t& pipeline_depth() {
    static std::uint64_t depth = 0;
    return depth;
}

inline Pipeline& pipeline() {
    static std::map<std::string, Pipeline> all;
    return all[network().process()];
}

inline bool postpone(const std::function<void()>& write) {
    if (pipeline_depth() == 0 || !network().running() || !pipeline().stalls) {
        return false;
    }
    pipeline().writes.emplace_back(pipeline().trips, write);
    return true;
}

inline void enter() { pipeline().deliver(pipeline().trips); }

inline void trip() {
    Pipeline& own = pipeline();
    ++own.trips;
    if (own.trips > pipeline_depth()) {
        own.deliver(own.trips - pipeline_depth());
    }
}

// The loops of a process stall while this lives: during one command.
class Stalls {
  public:
    Stalls() : own_(pipeline()) { own_.stalls = true; }
    ~Stalls() {
        own_.stalls = false;
        own_.deliver(own_.trips);
    }
    Stalls(const Stalls&) = delete;
    Stalls& operator=(const Stalls&) = delete;

  private:
    Pipeline& own_;
};

}  // namespace edgeflow_simulation

#define EDGEFLOW_ENTER(name) edgeflow_simulation::enter()
#define EDGEFLOW_TRIP(name) edgeflow_simulation::trip()

#endif
