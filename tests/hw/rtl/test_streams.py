"""Streams and the scratchpad's process in Verilog: words, order, room and cycles in Verilator."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from array_bench import simulation, verilate
from numpy.typing import NDArray
from scratchpad_bench import Bench, Read, Requests, Waits, Write
from scratchpad_checks import check_all

import edgeflow.hw
from edgeflow.hw.arrays import IntArray
from edgeflow.hw.scratchpad_core import ScratchpadCore

RTL = sorted((Path(edgeflow.hw.__file__).parent / "rtl").glob("edgeflow_*.v"))
HERE = Path(__file__).parent
PORTS = HERE / "scratchpad_process_ports.v"


@dataclass(frozen=True)
class Stream:
    """Parameters of a stream, and the cycles from a word's transfer in to the first one in which it can be taken."""

    bits: int
    depth: int
    latency: int

    @property
    def parameters(self) -> Mapping[str, int | str]:
        return {"BITS": self.bits, "DEPTH": self.depth}


STREAMS = (Stream(8, 2, 1), Stream(1, 1024, 1), Stream(550, 5, 1), Stream(48, 200, 3))


class Traffic:
    """What went through a stream."""

    def __init__(
        self, library: ctypes.CDLL, stream: Stream, count: int, stalls: tuple[int, int], holds: int = 0, seed: int = 0
    ) -> None:
        size = next(n for n in (1, 2, 4, 8, -(-stream.bits // 32) * 4) if 8 * n >= stream.bits)
        words = np.random.default_rng(seed).integers(256, size=(count, size), dtype=np.uint8)
        places = np.arange(8 * size).reshape(size, 8) < stream.bits
        self.words = words & np.packbits(places, axis=1, bitorder="little")[:, 0]
        self.out = np.zeros_like(words)
        self.in_cycles: IntArray = np.zeros(count, dtype=np.int64)
        self.out_cycles: IntArray = np.zeros(count, dtype=np.int64)
        most = ctypes.c_uint64()
        arrays: list[NDArray[np.generic]] = [self.words, self.out, self.in_cycles, self.out_cycles]
        library.run.restype = ctypes.c_uint64
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in arrays]
        numbers = [ctypes.c_uint64(n) for n in (count, size)]
        rest = [ctypes.c_uint64(n) for n in (holds, seed, 100_000)]
        cycles = library.run(*numbers, *pointers, ctypes.c_uint(stalls[0]), ctypes.c_uint(stalls[1]), *rest, ctypes.byref(most))
        assert cycles > 0, "not every word came out"
        self.most = most.value


@pytest.fixture(scope="module", params=STREAMS, ids=str)
def stream(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Stream, ctypes.CDLL]:
    one: Stream = request.param
    folder = tmp_path_factory.mktemp("streams") / f"{one.bits}x{one.depth}"
    return one, simulation(one, HERE / "stream_bench.cpp", folder, RTL, "edgeflow_stream")


@pytest.mark.parametrize("stalls", [(0, 0), (0, 200), (200, 0), (128, 128)])
def test_words_come_out_in_order(stream: tuple[Stream, ctypes.CDLL], stalls: tuple[int, int]) -> None:
    traffic = Traffic(stream[1], stream[0], 3000, stalls, seed=sum(stalls))
    np.testing.assert_array_equal(traffic.out, traffic.words)
    assert (traffic.out_cycles - traffic.in_cycles >= stream[0].latency).all()


def test_one_word_a_cycle(stream: tuple[Stream, ctypes.CDLL]) -> None:
    traffic = Traffic(stream[1], stream[0], 500, (0, 0))
    assert traffic.out_cycles[-1] == 499 + stream[0].latency
    assert traffic.out_cycles[0] - traffic.in_cycles[0] == stream[0].latency


def test_as_many_words_wait_as_declared(stream: tuple[Stream, ctypes.CDLL]) -> None:
    """The reader takes none until long after the stream is full."""
    one = stream[0]
    traffic = Traffic(stream[1], one, 3 * one.depth, (0, 0), holds=3 * one.depth + 10)
    assert one.depth <= traffic.most < 2 * one.depth + 6
    np.testing.assert_array_equal(traffic.out, traffic.words)


@pytest.mark.parametrize("one", [*STREAMS, Stream(3072, 512, 3)], ids=str)
def test_verilator_has_no_remark_on_streams(one: Stream) -> None:
    done = verilate(one, "--lint-only", "-Wall", files=RTL, top="edgeflow_stream")
    assert (done.returncode, done.stderr) == (0, "")


@dataclass(frozen=True)
class Process(ScratchpadCore):
    """The process of a core, with so many narrow lines."""

    narrow_lines: int = 40
    lines: int = 40

    @property
    def parameters(self) -> dict[str, int]:
        return super().parameters | {"NARROW_LINES": self.narrow_lines}


@pytest.mark.parametrize("process", [Process(), Process(half_lines=40)], ids=str)
def test_the_scratchpads_process_is_the_core_behind_items(process: Process, tmp_path: Path) -> None:
    """All that holds of the core holds of it, through items as the C++ packs them."""
    check_all(Bench(process, tmp_path / "process", [*RTL, PORTS], "scratchpad_process_ports"))


def test_wide_lines_take_whole_bytes(tmp_path: Path) -> None:
    """Whichever halves a write names; narrow ones take those."""
    process = Process(half_lines=16, narrow_lines=13)
    bench = Bench(process, tmp_path / "process", [*RTL, PORTS], "scratchpad_process_ports")
    rng = np.random.default_rng(4)
    before, after = (rng.integers(256, size=(process.lines, 64), dtype=np.uint8) for _ in range(2))
    requests = Requests.of(process)
    requests.writes[1] = [Write(line, 0, 64, 3, 0, before[line]) for line in range(process.lines)]
    requests.writes[1] += [Write(line, 0, 64, 1, int(line == process.lines - 1), after[line]) for line in range(process.lines)]
    requests.reads[2] = [Read(line, Waits({1: 1})) for line in range(process.lines)]
    low = before & 0xF0 | after & 0x0F
    expected = np.where((np.arange(process.lines) < 13)[:, None], low, after)
    np.testing.assert_array_equal(bench.run(requests).data[2], expected)


@pytest.mark.parametrize("process", [ScratchpadCore(), ScratchpadCore(half_lines=4096, lines=8192)], ids=str)
def test_verilator_has_no_remark_on_the_scratchpads_process(process: ScratchpadCore) -> None:
    parameters = {name: value for name, value in process.parameters.items() if name != "LINE_BYTES"}
    done = verilate(Parameters(parameters), "--lint-only", "-Wall", files=RTL, top="edgeflow_scratchpad_process")
    assert (done.returncode, done.stderr) == (0, "")


@dataclass(frozen=True)
class Parameters:
    """Those of a module."""

    parameters: Mapping[str, int | str]
