// Drives the array core of one set of parameters cycle by cycle: words of weights, steps and finished rows, each port with stalls of its
// own. A library for tests/shared/array_bench.py.
#include <cstdint>
#include <cstring>

#include "Vcore.h"
#include "verilated.h"

namespace {

template <class Port>
void put(Port& port, const uint8_t* bytes, unsigned count) {
    Port value = {};
    std::memcpy(&value, bytes, count < sizeof(value) ? count : sizeof(value));
    port = value;
}

// Whether a port that stalls `stalls` cycles of 256 does so now.
struct Stalls {
    uint64_t state;
    unsigned stalls;
    bool now() {
        state = state * 6364136223846793005u + 1442695040888963407u;
        return (state >> 40 & 255) < stalls;
    }
};

}  // namespace

extern "C" {

struct Run {
    uint32_t load_bytes, step_bytes, row_bytes;
    uint32_t words, steps, rows;
    const uint8_t* word_data;
    const uint32_t* word_fields;  // slot, position, packing, quad, unsigned, steps that must be taken before or with the word
    const uint8_t* step_data;
    const uint32_t* step_fields;  // slot, first, last, signed, quad, nibbles, odd, words that must be taken before the step
    uint8_t* sums;
    uint64_t* word_cycles;  // of the transfer
    uint64_t* step_cycles;
    uint64_t* row_cycles;
    uint32_t load_stalls, step_stalls, sums_stalls;  // of 256 cycles
    uint64_t seed;
    uint64_t limit;  // of cycles
    uint64_t disturbed;  // cycles before the reset in which every port but that of the sums transfers what it can
};

// Cycles that ran, or 0 if the limit was reached.
uint64_t run(const Run* r) {
    VerilatedContext context;
    Vcore core(&context);
    Stalls load = {r->seed * 3 + 1, r->load_stalls};
    Stalls step = {r->seed * 5 + 2, r->step_stalls};
    Stalls sink = {r->seed * 7 + 3, r->sums_stalls};
    uint32_t words = 0, steps = 0, rows = 0;
    bool load_valid = false, step_valid = false;
    core.load_valid = core.step_valid = core.sums_ready = 0;
    for (uint64_t i = 0; i <= r->disturbed + 1; ++i) {
        core.reset = i == 0 || i > r->disturbed;
        core.load_valid = core.step_valid = !core.reset;
        core.step_last = 1;
        core.clk = 0;
        core.eval();
        core.clk = 1;
        core.eval();
    }
    core.reset = 0;
    for (uint64_t cycle = 0; cycle < r->limit; ++cycle) {
        if (rows == r->rows && words == r->words && steps == r->steps) {
            core.final();
            return cycle;
        }
        core.clk = 0;
        // What is offered stays until it is taken.
        if (!step_valid && steps < r->steps && r->step_fields[8 * steps + 7] <= words) {
            step_valid = !step.now();
        }
        core.step_valid = step_valid;
        if (step_valid) {
            const uint32_t* f = r->step_fields + 8 * steps;
            put(core.step_data, r->step_data + size_t(r->step_bytes) * steps, r->step_bytes);
            core.step_slot = f[0];
            core.step_first = f[1];
            core.step_last = f[2];
            core.step_signed = f[3];
            core.step_quad = f[4];
            core.step_nibbles = f[5];
            core.step_odd = f[6];
        }
        core.sums_ready = !sink.now();
        core.eval();
        const bool step_taken = step_valid && core.step_ready;
        if (!load_valid && words < r->words && r->word_fields[6 * words + 5] <= steps + step_taken) {
            load_valid = !load.now();
        }
        core.load_valid = load_valid;
        if (load_valid) {
            const uint32_t* f = r->word_fields + 6 * words;
            put(core.load_data, r->word_data + size_t(r->load_bytes) * words, r->load_bytes);
            core.load_slot = f[0];
            core.load_position = f[1];
            core.load_packing = f[2];
            core.load_quad = f[3];
            core.load_unsigned = f[4];
        }
        core.eval();
        const bool load_taken = load_valid && core.load_ready;
        if (core.sums_valid && core.sums_ready) {
            if (rows == r->rows) {
                return 0;
            }
            std::memcpy(r->sums + size_t(r->row_bytes) * rows, &core.sums, r->row_bytes);
            r->row_cycles[rows++] = cycle;
        }
        if (step_taken) {
            r->step_cycles[steps++] = cycle;
            step_valid = false;
        }
        if (load_taken) {
            r->word_cycles[words++] = cycle;
            load_valid = false;
        }
        core.clk = 1;
        core.eval();
    }
    return 0;
}
}
