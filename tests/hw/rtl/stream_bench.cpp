// Drives edgeflow_stream: words go in and come out under stalls of both sides. A library for tests/hw/rtl/test_streams.py.
#include <cstdint>
#include <cstring>
#include <vector>

#include "Vcore.h"
#include "verilated.h"

namespace {

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

// Words of `bytes` bytes each; cycles of their transfers. The reader takes none before cycle `holds`. Returns the cycles that ran, 0 at the
// limit; `most`: words that were in the stream at once.
uint64_t run(
    uint64_t count, uint64_t bytes, const uint8_t* in, uint8_t* out, uint64_t* in_cycles, uint64_t* out_cycles, unsigned in_stalls,
    unsigned out_stalls, uint64_t holds, uint64_t seed, uint64_t limit, uint64_t* most) {
    VerilatedContext context;
    Vcore core(&context);
    Stalls writer{seed * 2, in_stalls}, reader{seed * 2 + 1, out_stalls};
    const auto step = [&](int clk) { core.clk = clk, core.eval(); };
    core.reset = 1, core.in_valid = 1, core.out_ready = 1;
    step(0), step(1), step(0), step(1);
    core.reset = 0;
    uint64_t written = 0, read = 0;
    bool offered = false;
    *most = 0;
    for (uint64_t cycle = 0; cycle < limit; ++cycle) {
        if (read == count) {
            return cycle;
        }
        offered = offered || (written < count && !writer.now());
        core.in_valid = offered;
        if (offered) {
            std::memcpy(&core.in_data, in + bytes * written, bytes);
        }
        core.out_ready = cycle >= holds && !reader.now();
        step(0);
        const bool takes = core.out_valid && core.out_ready, gives = core.in_valid && core.in_ready;
        if (takes) {
            std::memcpy(out + bytes * read, &core.out_data, bytes);
            out_cycles[read++] = cycle;
        }
        if (gives) {
            in_cycles[written++] = cycle;
            offered = false;
        }
        *most = written - read > *most ? written - read : *most;
        step(1);
    }
    return 0;
}
}
