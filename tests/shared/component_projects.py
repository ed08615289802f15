"""Components of an accelerator's processes with recordings, and their testbenches as one program."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.graph import Graph
from edgeflow.sim import csim
from edgeflow.sim.executor import Executor
from edgeflow.sim.headers import native_include
from edgeflow.sim.recording import record_streams
from edgeflow.sw.compiler.codegen import overlay_files
from edgeflow.sw.compiler.component_project import write_component_project
from edgeflow.sw.compiler.components import Component, components
from edgeflow.sw.compiler.lowering import lower
from edgeflow.sw.compiler.network import Network


def write_sources(folder: Path, architecture: Architecture) -> None:
    """The emitted C++ of an accelerator's processes."""
    for name, content in overlay_files(architecture).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def record(folder: Path, graph: Graph, architecture: Architecture, seed: int = 1) -> None:
    """A network's recordings, and beside them what its testbenches read."""
    rng = np.random.default_rng(seed)
    formats = {name: graph.tensors[name].format for name in graph.inputs}
    inputs = {name: rng.integers(f.minimum, f.maximum + 1, size=f.shape) for name, f in formats.items()}
    outputs = Executor(graph, threads=1).run({name: value[None] for name, value in inputs.items()})
    program = lower(Network(graph), architecture)
    samples = [(inputs, {name: outputs[name][0] for name in graph.outputs})]
    write_component_project(folder / "hls", program, part="xck26-sfvc784-2LV-c", clock_mhz=200.0, samples=samples)
    record_streams(program, csim.build(overlay_files(architecture)), inputs, folder / "hls" / "data")


def build_testbenches(folder: Path, architecture: Architecture) -> Path:
    """The testbenches of an accelerator that is written into a folder, as :func:`compile_testbenches` makes them."""
    write_sources(folder, architecture)
    names = [component.name for component in components(architecture)]
    return compile_testbenches(folder, names, native_include(), folder / "replays")


def compile_testbenches(folder: Path, names: Sequence[str], include: Sequence[Path], program: Path) -> Path:
    """One program with the components of a folder and their testbenches; its first argument is the process, the second the folder
    of data."""
    lines = ["#include <cstring>"]
    for name in names:
        lines += [
            f"#define main main_{name}",
            f'#include "components/{name}.cpp"',
            f'#include "testbenches/{name}.cpp"',
            "#undef main",
        ]
    lines += ["int main(int argc, char** argv) {"]
    lines += [f'    if (!std::strcmp(argv[1], "{name}")) return main_{name}(argc - 1, argv + 1);' for name in names]
    source = program.with_suffix(".cpp")
    source.write_text("\n".join([*lines, "    return 3;", "}", ""]))
    folders = [f"-I{path}" for path in (folder, folder / "include", *include)]
    subprocess.run([csim.compiler(), "-std=c++14", "-w", "-O1", *folders, "-o", str(program), str(source)], check=True)
    return program


def replay(program: Path, data: Path, names: Iterable[str]) -> dict[str, tuple[int, int, int]]:
    """Of each process: exit status, words that differ, words that were compared."""
    results = {}
    for name in names:
        done = subprocess.run([program, name, data], capture_output=True, text=True, check=False)
        words = done.stdout.split()
        results[name] = (done.returncode, int(words[0]), int(words[2])) if words else (done.returncode, -1, -1)
    return results


def written_places(content: bytes, component: Component, word_bytes: int) -> list[int]:
    """Where each item that a process wrote begins in a recording (hw/include/edgeflow/simulation/recording.h)."""
    calls, streams = struct.unpack_from("<2I", content)
    bits = struct.unpack_from(f"<{streams}I", content, 8)
    at = 8 + 4 * streams
    places: list[int] = []
    for _ in range(calls):
        at += 12 if component.registers else 0
        for number, size in enumerate((one + 7) // 8 for one in bits):
            (count,) = struct.unpack_from("<I", content, at)
            at += 4
            if number >= len(component.process.reads):
                places += range(at, at + count * size, size)
            at += count * size
        for _ in component.written:
            (count,) = struct.unpack_from("<I", content, at)
            at += 4 + count * (4 + word_bytes)
    assert at == len(content)
    return places
