// Two ways from a source to a sink: one passes numbers on, the other holds back all of a block until the block is whole.
#include "hls_stream.h"

static const int BLOCK = 8;

static void source(int blocks, hls::stream<int>& direct, hls::stream<int>& held) {
    for (int n = 0; n < blocks * BLOCK; ++n) {
        direct.write(n);
        held.write(3 * n);
    }
}

static void hold(int blocks, hls::stream<int>& held, hls::stream<int>& released) {
    for (int b = 0; b < blocks; ++b) {
        int block[BLOCK];
        for (int n = 0; n < BLOCK; ++n) {
            block[n] = held.read();
        }
        for (int n = 0; n < BLOCK; ++n) {
            released.write(block[n]);
        }
    }
}

static void sink(int blocks, hls::stream<int>& direct, hls::stream<int>& released, unsigned long long& sum) {
    for (int n = 0; n < blocks * BLOCK; ++n) {
        const int a = direct.read();
        const int b = released.read();
        sum = sum * 31 + (unsigned long long)(a - b);
    }
}

// Null if the processes end, else what they wait for.
template <int DEPTH>
static const char* simulate(int blocks, unsigned long long* sum) {
    hls::stream<int, DEPTH> direct("direct");
    hls::stream<int, 2> held("held");
    hls::stream<int, 2> released("released");
    edgeflow_simulation::Network& network = edgeflow_simulation::network();
    network.add("source", [&] { source(blocks, direct, held); });
    network.add("hold", [&] { hold(blocks, held, released); });
    network.add("sink", [&] { sink(blocks, direct, released, *sum); });
    network.run();
    return network.stuck() ? network.report().c_str() : nullptr;
}

// With a stream `direct` of 1, 2, ... 8 items.
extern "C" const char* run(int depth, unsigned long long seed, unsigned depths, int blocks, unsigned long long* sum) {
    typedef const char* (*Run)(int, unsigned long long*);
    static const Run runs[] = {simulate<1>, simulate<2>, simulate<3>, simulate<4>, simulate<5>, simulate<6>, simulate<7>, simulate<8>};
    edgeflow_simulation::choose_schedule(seed, static_cast<edgeflow_simulation::Depths>(depths));
    return runs[depth - 1](blocks, sum);
}
