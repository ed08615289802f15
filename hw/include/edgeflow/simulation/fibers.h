// Processes of a dataflow region as fibers of the C simulation: each has a stack of its own and runs until a stream makes it wait.
//
// With seed 0 a process runs until it must wait, then the next in order: the same switches every time. Any other seed draws which
// process runs, and lets it rest at random reads and writes, so that orders occur that hardware may have. What a network computes must
// not depend on either. Where every process waits the network is stuck: `run` returns false and `report` says who waits for what.
#ifndef EDGEFLOW_SIMULATION_FIBERS_H
#define EDGEFLOW_SIMULATION_FIBERS_H

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <sys/mman.h>
#include <ucontext.h>

namespace edgeflow_simulation {

// What a process waits for: an item in a stream, or room for one.
struct Channel {
    const char* name;
    std::size_t depth;  // as declared
    std::size_t limit;  // of items; 0: none
    std::size_t items;

    bool empty() const { return items == 0; }
    bool full() const { return limit != 0 && items >= limit; }
    std::string label() const {
        return "stream '" + std::string(name) + "' (" + std::to_string(items) + " items, depth " + std::to_string(depth) + ")";
    }
};

enum class Depths { deep, declared, drawn };

struct Schedule {
    std::uint64_t seed;
    Depths depths;
    std::uint64_t state;  // of the random numbers, never 0
};

inline Schedule& schedule() {
    static Schedule chosen = {0, Depths::deep, 1};
    return chosen;
}

inline void choose_schedule(std::uint64_t seed, Depths depths) {
    schedule() = Schedule{seed, depths, seed * 0x9e3779b97f4a7c15u | 1u};
}

// Xorshift (Marsaglia, Journal of Statistical Software 8(14), 2003).
inline std::uint64_t draw() {
    std::uint64_t& state = schedule().state;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state >> 11;
}

// A stack whose pages are taken when they are touched; a page that must not be lies below it.
class Stack {
  public:
    Stack() : memory_(mmap(nullptr, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
        if (memory_ != MAP_FAILED) {
            mprotect(memory_, GUARD, PROT_NONE);
        }
    }
    ~Stack() {
        if (memory_ != MAP_FAILED) {
            munmap(memory_, SIZE);
        }
    }
    Stack(const Stack&) = delete;
    Stack& operator=(const Stack&) = delete;
    bool usable() const { return memory_ != MAP_FAILED; }
    void* base() const { return memory_; }
    static const std::size_t SIZE = std::size_t(64) << 20;

  private:
    static const std::size_t GUARD = std::size_t(1) << 16;
    void* memory_;
};

// The cycle in which a process is, if its loops run as their hardware would (counting.h).
struct Clock {
    std::uint64_t now = 0;
    std::uint64_t beside = 0;  // when the last item came that no iteration waits for
    std::uint64_t interval = 0;
    std::uint64_t depth = 0;
    bool drains = true;
    bool fresh = true;

    void enter(std::uint64_t latency, std::uint64_t next_interval, std::uint64_t next_depth, bool next_drains) {
        drain();
        now += latency;
        interval = next_interval;
        depth = next_depth;
        drains = next_drains;
        fresh = true;
    }
    void trip() {
        now += fresh ? 0 : interval;
        fresh = false;
    }
    // The end of a command, or of the loop before.
    void drain() {
        now += (drains ? depth : 0) + (fresh ? 0 : 1);
        depth = 0;
        fresh = true;
    }
    void finish() {
        drain();
        now = now < beside ? beside : now;
    }
};

struct Fiber {
    std::string name;
    Clock clock;
    std::function<void()> body;
    Stack stack;
    ucontext_t context;
    bool done;
    bool serves;             // endlessly: the network ends without it
    const Channel* channel;  // that it waits for, or null
    bool for_room;
    std::function<bool()> condition;  // that it waits for, if any

    bool runnable() const {
        const bool ready = channel == nullptr || !(for_room ? channel->full() : channel->empty());
        return !done && ready && (!condition || condition());
    }
};

class Network {
  public:
    Network() : current_(nullptr), stuck_(false), end_(0) {}

    void add(const std::string& name, const std::function<void()>& body) {
        fibers_.emplace_back(new Fiber);
        Fiber& fiber = *fibers_.back();
        fiber.name = name;
        fiber.body = body;
        fiber.done = false;
        fiber.serves = false;
        fiber.channel = nullptr;
        fiber.for_room = false;
    }

    // A process without an end: `body` is called again and again, once a command.
    void serve(const std::string& name, const std::function<void()>& body) {
        add(name, [this, body] {
            while (true) {
                body();
                clock().finish();
            }
        });
        fibers_.back()->serves = true;
    }

    // Runs all processes to their ends, those that serve as long; false if they cannot get there.
    bool run() {
        stuck_ = false;
        end_ = 0;
        for (const std::unique_ptr<Fiber>& fiber : fibers_) {
            if (!fiber->stack.usable()) {
                stuck_ = true;
                report_ = "no memory for the stack of process '" + fiber->name + "'";
                fibers_.clear();
                return false;
            }
            getcontext(&fiber->context);
            fiber->context.uc_stack.ss_sp = fiber->stack.base();
            fiber->context.uc_stack.ss_size = Stack::SIZE;
            fiber->context.uc_link = &main_;
            makecontext(&fiber->context, &Network::enter, 0);
        }
        std::size_t last = fibers_.size() - 1;
        while (true) {
            std::size_t first = last + 1;
            if (schedule().seed != 0) {
                first = std::size_t(draw() % fibers_.size());
            }
            Fiber* next = nullptr;
            for (std::size_t i = 0; i < fibers_.size() && next == nullptr; ++i) {
                last = (first + i) % fibers_.size();
                if (fibers_[last]->runnable()) {
                    next = fibers_[last].get();
                }
            }
            if (next == nullptr) {
                break;
            }
            next->channel = nullptr;
            next->condition = nullptr;
            current_ = next;
            swapcontext(&main_, &next->context);
            current_ = nullptr;
        }
        report_.clear();
        for (const std::unique_ptr<Fiber>& fiber : fibers_) {
            stuck_ = stuck_ || (!fiber->done && !fiber->serves);
            end_ = !fiber->serves && fiber->clock.now > end_ ? fiber->clock.now : end_;
        }
        for (const std::unique_ptr<Fiber>& fiber : fibers_) {
            if (stuck_ && !fiber->done && fiber->channel != nullptr) {
                report_ += (report_.empty() ? "" : "; ") + std::string("process '") + fiber->name +
                           (fiber->for_room ? "' waits for room in " : "' waits for an item of ") + fiber->channel->label();
            }
        }
        fibers_.clear();
        return !stuck_;
    }

    bool running() const { return current_ != nullptr; }
    const std::string& process() const { return current_->name; }  // that runs
    Clock& clock() { return current_->clock; }
    std::uint64_t end() const { return end_; }  // cycle in which the last process ended that has an end
    bool stuck() const { return stuck_; }
    const std::string& report() const { return report_; }

    // Lets others run until a channel has an item, or room.
    void wait(const Channel& channel, bool for_room) {
        current_->channel = &channel;
        current_->for_room = for_room;
        leave();
    }

    // Lets others run until something holds.
    void wait_until(const std::function<bool()>& condition) {
        if (!condition()) {
            current_->condition = condition;
            leave();
        }
    }

    // A stall now and then.
    void rest() {
        if (schedule().seed != 0 && draw() % 8 == 0) {
            leave();
        }
    }

  private:
    static void enter();

    // Not inlined: what a process has read must not be kept over a switch.
    __attribute__((noinline)) void leave() {
        Fiber* fiber = current_;
        swapcontext(&fiber->context, &main_);
    }

    std::vector<std::unique_ptr<Fiber>> fibers_;
    Fiber* current_;
    ucontext_t main_;
    bool stuck_;
    std::uint64_t end_;
    std::string report_;
};

inline Network& network() {
    static Network only;
    return only;
}

inline void Network::enter() {
    Fiber* fiber = network().current_;
    fiber->body();
    fiber->done = true;
}

}  // namespace edgeflow_simulation

#endif
