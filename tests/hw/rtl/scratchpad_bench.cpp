// Drives the scratchpad core of one set of parameters cycle by cycle; every client's ports have stalls of their own. A library for
// tests/shared/scratchpad_bench.py.
#include <cstdint>
#include <cstring>
#include <vector>

#include "Vcore.h"
#include "verilated.h"

namespace {

typedef std::vector<uint8_t> Bytes;

void put_bits(Bytes& bytes, size_t from, unsigned count, uint64_t value) {
    for (unsigned i = 0; i < count; ++i, ++from) {
        const uint8_t mask = uint8_t(1u << (from & 7));
        bytes[from >> 3] = (value >> i & 1) ? bytes[from >> 3] | mask : bytes[from >> 3] & ~mask;
    }
}

template <class Port>
bool bit(const Port& port, unsigned number) {
    return reinterpret_cast<const uint8_t*>(&port)[number >> 3] >> (number & 7) & 1;
}

// A port of the model and the bits that it is to have.
struct Driven {
    void* port;
    Bytes bytes;
    template <class Port>
    explicit Driven(Port& p) : port(&p), bytes(sizeof(Port)) {}
    void set(size_t from, unsigned count, uint64_t value) { put_bits(bytes, from, count, value); }
    void drive() const { std::memcpy(port, bytes.data(), bytes.size()); }
};

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

// Requests of a client follow one another: client c's are begin[c] to begin[c + 1]. Each waits until every writer has had as many notices,
// and every reader as many lines, as its row of `waits` says.
struct Run {
    uint32_t readers, writers, line_bytes, address_bits, place_bits;
    const uint32_t* read_begin;
    const uint32_t* read_lines;
    const uint32_t* read_waits;  // writers + readers each
    const uint32_t* write_begin;
    const uint32_t* write_fields;  // line, first, count, halves, notice
    const uint32_t* write_waits;
    const uint8_t* write_data;
    uint8_t* data;  // of each read
    uint64_t* read_cycles;  // of the transfers
    uint64_t* data_cycles;
    uint64_t* write_cycles;
    uint64_t* notice_cycles;  // of each write that has one
    uint32_t* notices;
    const uint32_t* stalls;  // of 256 cycles: reads, lines, writes and notices of each client
    const uint64_t* line_holds;  // each reader takes its first line in this cycle or later
    uint64_t seed;
    uint64_t limit;  // of cycles
    uint64_t disturbed;  // cycles before the reset in which every port transfers what it can, none is taken
};

// Cycles that ran, or 0 if the limit was reached or something came that nobody waited for.
uint64_t run(const Run* r) {
    VerilatedContext context;
    Vcore core(&context);
    const unsigned readers = r->readers, writers = r->writers, clients = readers + writers, bits = 8 * r->line_bytes;
    Driven read_valid(core.read_valid), read_line(core.read_line), data_ready(core.data_ready), write_valid(core.write_valid);
    Driven write_line(core.write_line), write_first(core.write_first), write_count(core.write_count), write_halves(core.write_halves);
    Driven write_notice(core.write_notice), write_data(core.write_data), notice_ready(core.notice_ready);
    const auto drive = [&] {
        read_valid.drive(), read_line.drive(), data_ready.drive(), write_valid.drive(), write_line.drive(), write_first.drive();
        write_count.drive(), write_halves.drive(), write_notice.drive(), write_data.drive(), notice_ready.drive();
    };
    const auto step = [&](int clk) { drive(), core.clk = clk, core.eval(); };
    std::vector<Stalls> stalls;
    for (unsigned p = 0; p < 2 * clients; ++p) {
        stalls.push_back(Stalls{r->seed * 64 + p, r->stalls[p]});
    }

    for (uint64_t i = 0; i <= r->disturbed + 1; ++i) {
        core.reset = i == 0 || i > r->disturbed;
        for (unsigned c = 0; c < readers; ++c) {
            read_valid.set(c, 1, !core.reset);
        }
        for (unsigned c = 0; c < writers; ++c) {
            write_valid.set(c, 1, !core.reset);
            write_notice.set(2 * c, 2, 1);
        }
        step(0), step(1);
    }
    core.reset = 0;

    std::vector<uint32_t> reads(r->read_begin, r->read_begin + readers), lines = reads;
    std::vector<uint32_t> writes(r->write_begin, r->write_begin + writers), reports = writes, had(clients);
    std::vector<uint8_t> read_offered(readers), write_offered(writers);
    const auto allowed = [&](const uint32_t* waits) {
        for (unsigned c = 0; c < clients; ++c) {
            if (had[c] < waits[c]) {
                return false;
            }
        }
        return true;
    };
    const auto to_report = [&](unsigned c) {  // passes over writes without a notice
        while (reports[c] != r->write_begin[c + 1] && r->write_fields[5 * reports[c] + 4] == 0) {
            ++reports[c];
        }
    };
    const auto complete = [&] {
        for (unsigned c = 0; c < readers; ++c) {
            if (lines[c] != r->read_begin[c + 1]) {
                return false;
            }
        }
        for (unsigned c = 0; c < writers; ++c) {
            to_report(c);
            if (writes[c] != r->write_begin[c + 1] || reports[c] != r->write_begin[c + 1]) {
                return false;
            }
        }
        return true;
    };

    for (uint64_t cycle = 0; cycle < r->limit; ++cycle) {
        if (complete()) {
            core.final();
            return cycle;
        }
        // What is taken in this cycle may be waited for in it: lines and notices come from registers.
        for (unsigned c = 0; c < readers; ++c) {
            read_valid.set(c, 1, 0);
            const bool ready = cycle >= r->line_holds[c] && !stalls[readers + c].now();
            data_ready.set(c, 1, ready);
        }
        for (unsigned c = 0; c < writers; ++c) {
            write_valid.set(c, 1, 0);
            notice_ready.set(c, 1, !stalls[2 * readers + writers + c].now());
        }
        step(0);
        for (unsigned c = 0; c < readers; ++c) {
            if (bit(core.data_valid, c) && bit(core.data_ready, c)) {
                if (lines[c] >= reads[c]) {
                    return 0;
                }
                std::memcpy(r->data + size_t(r->line_bytes) * lines[c],
                            reinterpret_cast<const uint8_t*>(&core.data) + size_t(r->line_bytes) * c, r->line_bytes);
                r->data_cycles[lines[c]++] = cycle;
                ++had[writers + c];
            }
        }
        for (unsigned c = 0; c < writers; ++c) {
            if (bit(core.notice_valid, c) && bit(core.notice_ready, c)) {
                to_report(c);
                if (reports[c] >= writes[c]) {
                    return 0;
                }
                r->notices[reports[c]] = bit(core.notice, 2 * c) + 2 * bit(core.notice, 2 * c + 1);
                r->notice_cycles[reports[c]++] = cycle;
                ++had[c];
            }
        }
        // What is offered stays until it is taken.
        for (unsigned c = 0; c < readers; ++c) {
            const uint32_t n = reads[c];
            if (!read_offered[c] && n < r->read_begin[c + 1] && allowed(r->read_waits + size_t(clients) * n)) {
                read_offered[c] = !stalls[c].now();
            }
            read_valid.set(c, 1, read_offered[c]);
            read_line.set(size_t(r->address_bits) * c, r->address_bits, read_offered[c] ? r->read_lines[n] : 0);
        }
        for (unsigned c = 0; c < writers; ++c) {
            const uint32_t n = writes[c];
            if (!write_offered[c] && n < r->write_begin[c + 1] && allowed(r->write_waits + size_t(clients) * n)) {
                write_offered[c] = !stalls[2 * readers + c].now();
                if (write_offered[c]) {
                    const uint32_t* f = r->write_fields + 5 * n;
                    write_line.set(size_t(r->address_bits) * c, r->address_bits, f[0]);
                    write_first.set(size_t(r->place_bits) * c, r->place_bits, f[1]);
                    write_count.set(size_t(r->place_bits) * c, r->place_bits, f[2]);
                    write_halves.set(2 * c, 2, f[3]);
                    write_notice.set(2 * c, 2, f[4]);
                    for (unsigned b = 0; b < r->line_bytes; ++b) {
                        write_data.set(size_t(bits) * c + 8 * b, 8, r->write_data[size_t(r->line_bytes) * n + b]);
                    }
                }
            }
            write_valid.set(c, 1, write_offered[c]);
        }
        step(0);
        for (unsigned c = 0; c < readers; ++c) {
            if (read_offered[c] && bit(core.read_ready, c)) {
                r->read_cycles[reads[c]++] = cycle;
                read_offered[c] = 0;
            }
        }
        for (unsigned c = 0; c < writers; ++c) {
            if (write_offered[c] && bit(core.write_ready, c)) {
                r->write_cycles[writes[c]++] = cycle;
                write_offered[c] = 0;
            }
        }
        step(1);
    }
    return 0;
}
}
