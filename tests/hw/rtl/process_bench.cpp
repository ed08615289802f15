// Drives the array's process: four streams in, three out, each with stalls of its own. A library for tests/shared/process_bench.py.
#include <cstdint>
#include <cstring>

#include "Vcore.h"
#include "verilated.h"

extern "C" {

struct Stream {
    uint32_t bytes, items;
    uint8_t* data;
    uint64_t* cycles;  // of the transfers
    uint32_t stalls;   // of 256 cycles
};

struct Run {
    Stream in[4];   // commands, steps, steps of values, words
    Stream out[3];  // rows, scores, notices
    uint64_t seed, limit, disturbed;  // cycles before the reset in which everything transfers what it can
};
}

namespace {

struct Port {
    const Stream& stream;
    uint64_t state;
    uint32_t done = 0;
    bool offered = false;

    bool stalls() {
        state = state * 6364136223846793005u + 1442695040888963407u;
        return (state >> 40 & 255) < stream.stalls;
    }
    // What is offered stays until it is taken.
    template <class Data>
    bool offer(Data& data) {
        offered = offered || (done < stream.items && !stalls());
        Data value = {};
        if (offered) {
            std::memcpy(&value, stream.data + size_t(stream.bytes) * done, stream.bytes < sizeof(value) ? stream.bytes : sizeof(value));
        }
        data = value;
        return offered;
    }
    void given(bool ready, uint64_t cycle) {
        if (offered && ready) {
            stream.cycles[done++] = cycle;
            offered = false;
        }
    }
    // False where more comes than is expected.
    template <class Data>
    bool taken(bool valid, bool ready, const Data& data, uint64_t cycle) {
        if (valid && ready) {
            if (done == stream.items) {
                return false;
            }
            std::memcpy(stream.data + size_t(stream.bytes) * done, &data, stream.bytes);
            stream.cycles[done++] = cycle;
        }
        return true;
    }
};

}  // namespace

// Cycles that ran, or 0 if the limit was reached or something came that was not expected.
extern "C" uint64_t run(const Run* r) {
    VerilatedContext context;
    Vcore core(&context);
    Port commands = {r->in[0], r->seed * 3 + 1}, steps = {r->in[1], r->seed * 5 + 2}, values = {r->in[2], r->seed * 7 + 3};
    Port loads = {r->in[3], r->seed * 11 + 4};
    Port rows = {r->out[0], r->seed * 13 + 5}, scores = {r->out[1], r->seed * 17 + 6}, notices = {r->out[2], r->seed * 19 + 7};
    for (uint64_t i = 0; i <= r->disturbed + 1; ++i) {
        core.reset = i == 0 || i > r->disturbed;
        core.commands_tvalid = core.steps_tvalid = core.value_steps_tvalid = core.loads_tvalid = !core.reset;
        std::memset(&core.commands_tdata, i % 3 ? 0x11 : 0x2a, 8);  // of either source, with and without a notice
        core.rows_tready = i % 5 != 0;
        core.clk = 0;
        core.eval();
        core.clk = 1;
        core.eval();
    }
    core.reset = 0;
    uint64_t quiet = 0;
    for (uint64_t cycle = 0; cycle < r->limit; ++cycle) {
        bool complete = true;
        for (const Port* port : {&commands, &steps, &values, &loads, &rows, &scores, &notices}) {
            complete = complete && port->done == port->stream.items;
        }
        quiet = complete ? quiet + 1 : 0;
        if (quiet > 200) {  // nothing comes after
            core.final();
            return cycle;
        }
        core.clk = 0;
        core.commands_tvalid = commands.offer(core.commands_tdata);
        core.steps_tvalid = steps.offer(core.steps_tdata);
        core.value_steps_tvalid = values.offer(core.value_steps_tdata);
        core.loads_tvalid = loads.offer(core.loads_tdata);
        core.rows_tready = !rows.stalls();
        core.score_rows_tready = !scores.stalls();
        core.multiplied_tready = !notices.stalls();
        core.eval();
        commands.given(core.commands_tready, cycle);
        steps.given(core.steps_tready, cycle);
        values.given(core.value_steps_tready, cycle);
        loads.given(core.loads_tready, cycle);
        if (!rows.taken(core.rows_tvalid, core.rows_tready, core.rows_tdata, cycle) ||
            !scores.taken(core.score_rows_tvalid, core.score_rows_tready, core.score_rows_tdata, cycle) ||
            !notices.taken(core.multiplied_tvalid, core.multiplied_tready, core.multiplied_tdata, cycle)) {
            return 0;
        }
        core.clk = 1;
        core.eval();
    }
    return 0;
}
