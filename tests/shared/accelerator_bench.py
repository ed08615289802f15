"""The module ``edgeflow_accelerator`` in Verilator, with streams and cores as they are and the components' C++ in their places.

The components run as the fibers of C simulation; the module's clock is one more of them. Between two cycles items pass from what a
component has written to its port of the module, and from the module's ports to what a component reads.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from array_bench import simulation
from component_projects import write_sources

import edgeflow.hw
from edgeflow.hw.architecture import LINE_BYTES, Architecture
from edgeflow.hw.arrays import IntArray
from edgeflow.hw.process_network import Kind, channels
from edgeflow.hw.program import HEADER_BYTES, Program, pack_rows, unpack_rows
from edgeflow.sim.headers import native_include
from edgeflow.sw.compiler.accelerator_verilog import TOP, Instance
from edgeflow.sw.compiler.component_project import accelerator_verilog
from edgeflow.sw.compiler.components import Component, components, stream_argument

RTL = Path(edgeflow.hw.__file__).parent / "rtl"


def stub(instance: Instance) -> str:
    """A component's module: its ports of streams can be read and set from outside, the others do nothing."""
    lines = []
    for port in instance.ports:
        streams = port.name.rsplit("_", 1)[0].removesuffix("_empty").removesuffix("_full").endswith("_stream")
        kind = "reg" if streams and port.direction == "output" else "wire"
        public = " /*verilator public_flat_rw*/" if streams else ""
        lines.append(f"    {port.direction} {kind} {port.range}{port.name}{public}")
    return f"module {instance.module} (\n" + ",\n".join(lines) + "\n);\nendmodule\n"


class Whole:
    """A module without parameters."""

    parameters: Mapping[str, int | str] = {}


class AcceleratorBench:
    """The accelerator of an architecture, compiled in a folder."""

    def __init__(self, architecture: Architecture, folder: Path) -> None:
        self.architecture = architecture
        sources = folder / "sources"
        write_sources(sources, architecture)
        accelerator, text = accelerator_verilog(architecture)
        parts = [component for component in components(architecture) if component.process.kind is not Kind.CORE]
        names = {component.name for component in parts}
        (sources / f"{TOP}.v").write_text(f"/* verilator lint_off SYMRSVDWORD */ {text}")  # `interrupt` is the vendor's name
        (sources / "stubs.v").write_text("".join(stub(one) for one in accelerator.instances if one.name in names))
        (sources / "bench.cpp").write_text(bench(parts))
        files = [sources / f"{TOP}.v", sources / "stubs.v", *sorted(RTL.glob("edgeflow_*.v")), *sorted((RTL / "sim").glob("*.v"))]
        include = (sources, sources / "include", *native_include())
        library = simulation(Whole(), sources / "bench.cpp", folder / "core", files, TOP, include)
        self._run = library.run
        self._run.restype = ctypes.c_uint64

    def run(
        self, program: Program, inputs: Mapping[str, IntArray], seed: int = 0, stalled: int = 0, limit: int = 1_000_000
    ) -> tuple[dict[str, IntArray], int]:
        """Outputs of one sample (per-sample shapes), and the cycles that it took beside components that take none. ``stalled``:
        iterations that the components' pipelines hold back while one waits (hw/include/edgeflow/simulation/stalling.h)."""
        places = {place.tensor: place for place in program.allocations}
        memory = np.zeros(max(program.external_lines, 1) * LINE_BYTES, dtype=np.uint8)
        for name in program.inputs:
            place = places[name]
            assert place.external is not None
            raw = pack_rows(inputs[name], place.format, place.storage).reshape(-1)
            memory[place.external * LINE_BYTES :][: raw.size] = raw
        code = program.encode()[HEADER_BYTES:]
        numbers = [ctypes.c_uint64(n) for n in (len(program.steps), seed, limit, stalled)]
        cycles = self._run(
            code, ctypes.c_uint64(len(code)), program.weights, ctypes.c_uint64(len(program.weights)),
            ctypes.c_void_p(memory.ctypes.data), ctypes.c_uint64(memory.size), *numbers,
        )  # fmt: skip
        assert cycles > 0, "the accelerator did not come to its end"
        outputs = {}
        for name in program.outputs:
            place = places[name]
            assert place.external is not None
            raw = memory[place.external * LINE_BYTES :][: place.lines * LINE_BYTES]
            outputs[name] = unpack_rows(raw, place.format, place.storage)
        return outputs, cycles


def bench(parts: list[Component]) -> str:
    """The C++ that drives the module."""
    declarations, ticks, takes, fibers = [], [], [], []
    for component in parts:
        process = component.process
        for name in process.streams:
            item, port = channels()[name].type, stream_argument(name)
            stream = f"{process.name}_{port}"
            signal = f"root.{TOP}__DOT__process_{process.name}__DOT__{port}"
            declarations.append(f'    hls::stream<{item}, 2> {stream}("{stream}");')
            if name in process.writes:
                declarations.append(f"    Slot {stream}_slot;")
                ticks.append(f"            {stream}_slot.offer({stream}, {signal}_din, {signal}_write);")
                takes.append(f"            moved |= {stream}_slot.given({signal}_full_n);")
            else:
                ticks.append(f"            {signal}_read = !{stream}.full();")
                takes.append(f"            moved |= take({stream}, {signal}_dout, {signal}_empty_n && {signal}_read);")
        values = {"descriptors": "0, 0, 0", "first": "0", "count": "unsigned(count)"}
        arguments = []
        for argument in component.arguments:
            if argument.type.endswith("Word*"):
                arguments.append(f"{component.memories[argument.name].split('.')[0].split('_')[0]}.data()")
            elif argument.name in ("weights", "memory"):
                continue
            elif argument.name in values:
                arguments.append(values[argument.name])
            else:
                arguments.append(f"{process.name}_{argument.name}")
        call = f"edgeflow_{process.name}({', '.join(arguments)});"
        if component.registers:
            fibers.append(f'    network.add("{process.name}", [&] {{ {call} ended = true; }});')
        else:
            fibers.append(f'    network.serve("{process.name}", [&] {{ edgeflow_simulation::Stalls stalls; {call} }});')
    includes = "\n".join(f'#include "components/{component.name}.cpp"' for component in parts)
    return (
        _BENCH.replace("@INCLUDES@", includes)
        .replace("@STREAMS@", "\n".join(declarations))
        .replace("@OFFERS@", "\n".join(ticks))
        .replace("@TAKES@", "\n".join(takes))
        .replace("@FIBERS@", "\n".join(fibers))
    )


_BENCH = r"""
#define EDGEFLOW_STALL
#include <cstring>
#include <functional>

#include "edgeflow_items.hpp"
@INCLUDES@

#include "Vcore.h"
#include "Vcore___024root.h"
#include "verilated.h"

namespace {

typedef edgeflow_simulation::Bytes Bytes;

// What a component has written and the module not yet taken.
struct Slot {
    bool full = false;
    Bytes bytes;
    template <class T, class Data, class Write>
    void offer(hls::stream<T>& stream, Data& data, Write& write) {
        if (!full && !stream.empty()) {
            T item = stream.read();
            edgeflow_simulation::Packer packer;
            edgeflow::visit(packer, item);
            bytes = packer.bytes();
            full = true;
        }
        if (full) {
            data = Data();
            std::memcpy(&data, bytes.data(), bytes.size() < sizeof(data) ? bytes.size() : sizeof(data));
        }
        write = full;
    }
    bool given(bool ready) {
        const bool moves = full && ready;
        full = full && !ready;
        return moves;
    }
};

template <class T, class Data>
bool take(hls::stream<T>& stream, const Data& data, bool moves) {
    if (moves) {
        T item;
        Bytes bytes(sizeof(data) + 8);
        std::memcpy(bytes.data(), &data, sizeof(data));
        edgeflow_simulation::Unpacker unpacker(bytes.data());
        edgeflow::visit(unpacker, item);
        stream.write(item);
    }
    return moves;
}

std::vector<Word> words(const uint8_t* bytes, uint64_t size) {
    const uint64_t word_bytes = uint64_t(Word::width) / 8;
    std::vector<Word> all((size + word_bytes - 1) / word_bytes + 1, Word(0));
    for (uint64_t i = 0; i < size; ++i) {
        const int bit = 8 * int(i % word_bytes);
        all[i / word_bytes].range(bit + 7, bit) = ap_uint<8>(bytes[i]);
    }
    return all;
}

}  // namespace

// Cycles until the sequencer has returned and nothing has moved for long; 0 at the limit or where the processes cannot go on.
extern "C" uint64_t run(
    const uint8_t* code, uint64_t code_size, const uint8_t* weight_bytes, uint64_t weights_size, uint8_t* memory_bytes,
    uint64_t memory_size, uint64_t count, uint64_t seed, uint64_t limit, uint64_t pipeline_depth) {
    edgeflow_simulation::pipeline_depth() = pipeline_depth;
    edgeflow_simulation::choose_schedule(seed, edgeflow_simulation::Depths::declared);
    VerilatedContext context;
    Vcore core(&context);
    auto& root = *core.rootp;
    const auto step = [&](int clk) { core.ap_clk = clk, core.eval(); };
    core.ap_rst_n = 0;
    for (int i = 0; i < 4; ++i) {
        step(0), step(1);
    }
    core.ap_rst_n = 1;
    step(0), step(1);
    std::vector<Word> program = words(code, code_size), weights = words(weight_bytes, weights_size);
    std::vector<Word> input = words(memory_bytes, memory_size);
    bool ended = false;
    uint64_t cycles = 0, last = 0;
@STREAMS@
    edgeflow_simulation::Network& network = edgeflow_simulation::network();
    network.add("the module", [&] {
        for (uint64_t idle = 0; cycles < limit && !(ended && idle > 100) && idle < 20000; ++cycles) {
            bool moved = false;
@OFFERS@
            step(0);
@TAKES@
            step(1);
            idle = moved ? 0 : idle + 1;
            last = moved ? cycles : last;
            // All others go on as far as they can.
            bool asked = false;
            network.wait_until([asked]() mutable {
                const bool again = asked;
                asked = true;
                return again;
            });
        }
    });
@FIBERS@
    network.run();
    if (!ended) {
        std::fprintf(stderr, "%s\n", network.report().c_str());
    }
    const uint64_t word_bytes = uint64_t(Word::width) / 8;
    for (uint64_t i = 0; i < memory_size; ++i) {
        const int bit = 8 * int(i % word_bytes);
        const ap_uint<8> byte = input[i / word_bytes].range(bit + 7, bit);
        memory_bytes[i] = uint8_t(byte);
    }
    return ended && cycles < limit ? last + 1 : 0;
}
"""
