"""Processes of the C simulation as fibers: no order and no depth changes a word; a stream that is too shallow is named."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_network import small_network

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.arrays import IntArray
from edgeflow.hw.errors import VerificationError
from edgeflow.hw.program import Program
from edgeflow.sim import csim
from edgeflow.sim.csim import CSimulation, Depths, Schedule
from edgeflow.sim.headers import native_include
from edgeflow.sw.compiler.codegen import overlay_files
from edgeflow.sw.compiler.lowering import lower
from edgeflow.sw.compiler.network import Network

SOURCE = Path(__file__).with_name("fork_and_join.cpp")
Run = Callable[[int, int, Depths, int], tuple[str | None, int]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs the network of ``fork_and_join.cpp``: depth of its stream ``direct``, seed, depths of all streams, blocks of numbers."""
    library = tmp_path_factory.mktemp("fibers") / "fork_and_join.so"
    include = [f"-I{path}" for path in native_include()]
    command = ["g++", "-std=c++14", "-O2", "-fPIC", "-shared", *include, "-o", str(library), str(SOURCE)]
    subprocess.run(command, check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.run.argtypes = [ctypes.c_int, ctypes.c_uint64, ctypes.c_uint, ctypes.c_int, ctypes.POINTER(ctypes.c_ulonglong)]
    loaded.run.restype = ctypes.c_char_p

    def run(depth: int, seed: int, depths: Depths, blocks: int) -> tuple[str | None, int]:
        total = ctypes.c_ulonglong(0)
        stuck = loaded.run(depth, seed, int(depths), blocks, ctypes.byref(total))
        return None if stuck is None else stuck.decode(), total.value

    return run


def expected(blocks: int) -> int:
    total = 0
    for n in range(8 * blocks):
        total = total * 31 - 2 * n
    return total % (1 << 64)


def test_orders_and_depths_change_nothing(run: Run) -> None:
    for seed in range(300):
        assert run(8, seed, Depths(seed % 3), 20) == (None, expected(20))


def test_a_stream_too_shallow_is_named(run: Run) -> None:
    """A block of 8 numbers is held back: the way around it must hold most of it."""
    assert [depth for depth in range(1, 9) if run(depth, 0, Depths.DECLARED, 3)[0] is None] == [7, 8]
    for seed in range(20):
        stuck, _ = run(5, seed, Depths.DECLARED, 3)
        assert stuck is not None
        assert "process 'source' waits for room in stream 'direct' (5 items, depth 5)" in stuck
        assert "process 'sink' waits for an item of stream 'released' (0 items, depth 2)" in stuck
    assert run(5, 0, Depths.DEEP, 3) == (None, expected(3))  # after one that was stuck


@pytest.fixture(scope="module")
def program_and_library() -> tuple[Program, Path]:
    graph = small_network()
    program = lower(Network(graph), Architecture(units=Network(graph).units, max_channels=128, clock_mhz=200.0))
    return program, csim.build(overlay_files(program.architecture))


def words(program: Program, library: Path, schedule: Schedule | None) -> dict[str, IntArray]:
    rng = np.random.default_rng(5)
    inputs = {}
    for name in program.inputs:
        format = next(a.format for a in program.allocations if a.tensor == name)
        inputs[name] = rng.integers(format.minimum, format.maximum + 1, format.shape)
    with CSimulation(program, library, schedule) as simulation:
        return simulation.run(inputs)


def test_schedules_change_no_word_of_a_network(program_and_library: tuple[Program, Path]) -> None:
    program, library = program_and_library
    reference = words(program, library, None)
    for seed in range(1, 13):
        for depths in (Depths.DECLARED, Depths.DRAWN):
            compared = words(program, library, Schedule(seed, depths))
            assert all(np.array_equal(compared[name], reference[name]) for name in reference)


def test_a_stuck_accelerator_is_an_error(program_and_library: tuple[Program, Path]) -> None:
    """A process that takes one word more than there is."""
    program, _ = program_and_library
    files = overlay_files(program.architecture)
    name = "include/edgeflow/network/load.hpp"
    sound = b"const LoadCommand command = commands.read();"
    assert files[name].count(sound) == 1
    files[name] = files[name].replace(sound, sound + b" if (command.kind == LOAD_WEIGHTS) { words.read(); }")
    with pytest.raises(VerificationError, match=r"cannot go on: .*process 'load' waits for an item of stream 'words' \(0 items"):
        words(program, csim.build(files), None)
