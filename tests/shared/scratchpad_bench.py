"""The scratchpad core in Verilator: what its clients read and in which cycles."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from array_bench import simulation
from numpy.typing import NDArray

from edgeflow.hw.arrays import IntArray
from edgeflow.hw.scratchpad_core import TOP, ScratchpadCore

BENCH = Path(__file__).resolve().parent.parent / "hw" / "rtl" / "scratchpad_bench.cpp"
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Waits:
    """How many notices of each writer, and lines of each reader, must be taken before a request is offered."""

    notices: Mapping[int, int] = field(default_factory=dict)
    lines: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Write:
    """``data``: a line, of which bytes ``[first, first + count)`` are written, and of those ``halves``."""

    line: int
    first: int
    count: int
    halves: int
    notice: int
    data: Bytes
    waits: Waits = Waits()


@dataclass(frozen=True)
class Read:
    line: int
    waits: Waits = Waits()


@dataclass
class Requests:
    """What each client asks for, in order."""

    reads: list[list[Read]]
    writes: list[list[Write]]

    @classmethod
    def of(cls, core: ScratchpadCore) -> Requests:
        """None yet."""
        return cls([[] for _ in range(core.readers)], [[] for _ in range(core.writers)])


@dataclass
class Stalls:
    """Of 256 cycles, in how many each client's port is held up; and when each reader takes its first line at the earliest."""

    reads: Sequence[int]
    lines: Sequence[int]
    writes: Sequence[int]
    notices: Sequence[int]
    seed: int = 0
    line_holds: Sequence[int] = ()

    @classmethod
    def none(cls, core: ScratchpadCore, line_holds: Sequence[int] = ()) -> Stalls:
        """Nothing is held up, except first lines."""
        return cls([0] * core.readers, [0] * core.readers, [0] * core.writers, [0] * core.writers, line_holds=line_holds)


@dataclass(frozen=True)
class Result:
    """Of each client's requests: lines ``(reads, line_bytes)``, notices (0: none), and the cycle of each transfer."""

    data: list[Bytes]
    read_cycles: list[IntArray]
    data_cycles: list[IntArray]
    write_cycles: list[IntArray]
    notice_cycles: list[IntArray]
    notices: list[IntArray]


class _Run(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_uint32) for name in ("readers", "writers", "line_bytes", "address_bits", "place_bits")),
        *((name, ctypes.c_void_p) for name in ("read_begin", "read_lines", "read_waits")),
        *((name, ctypes.c_void_p) for name in ("write_begin", "write_fields", "write_waits", "write_data")),
        *((name, ctypes.c_void_p) for name in ("data", "read_cycles", "data_cycles", "write_cycles", "notice_cycles", "notices")),
        *((name, ctypes.c_void_p) for name in ("stalls", "line_holds")),
        *((name, ctypes.c_uint64) for name in ("seed", "limit", "disturbed")),
    )


class Bench:
    """The simulation of one core, or of a module with its ports, compiled in a folder."""

    def __init__(self, core: ScratchpadCore, folder: Path, files: Sequence[Path] | None = None, top: str = TOP) -> None:
        self.core = core
        self._run = simulation(core, BENCH, folder, files, top).run
        self._run.restype = ctypes.c_uint64

    def run(self, requests: Requests, stalls: Stalls | None = None, disturbed: int = 0) -> Result:
        """Run until everything is transferred; after a reset, before which the core has run for ``disturbed`` cycles."""
        core, s = self.core, stalls or Stalls.none(self.core)
        reads = [read for client in requests.reads for read in client]
        writes = [write for client in requests.writes for write in client]
        read_begin = np.cumsum([0, *map(len, requests.reads)]).astype(np.uint32)
        write_begin = np.cumsum([0, *map(len, requests.writes)]).astype(np.uint32)
        data = np.zeros((len(reads), core.line_bytes), dtype=np.uint8)
        cycles = [np.zeros(len(transfers), dtype=np.uint64) for transfers in (reads, reads, writes, writes)]
        notices = np.zeros(len(writes), dtype=np.uint32)
        inputs: list[NDArray[Any]] = [
            read_begin,
            np.array([read.line for read in reads], dtype=np.uint32),
            self._waits([read.waits for read in reads]),
            write_begin,
            np.array([(w.line, w.first, w.count, w.halves, w.notice) for w in writes], dtype=np.uint32),
            self._waits([write.waits for write in writes]),
            np.array([write.data for write in writes], dtype=np.uint8),
        ]
        ports = np.array([*s.reads, *s.lines, *s.writes, *s.notices], dtype=np.uint32)
        holds = np.array(s.line_holds or [0] * core.readers, dtype=np.uint64)
        limit = 10_000 + 256 * (len(reads) + len(writes))
        arrays: list[NDArray[Any]] = [*inputs, data, *cycles, notices, ports, holds]
        run = _Run(
            *(core.readers, core.writers, core.line_bytes, core.address_bits, core.place_bits),
            *(array.ctypes.data for array in arrays),
            *(s.seed, limit, disturbed),
        )
        assert self._run(ctypes.byref(run)) > 0, "the core did not transfer everything"
        reads_cycles, data_cycles = (np.split(array.astype(np.int64), read_begin[1:-1]) for array in cycles[:2])
        write_cycles, notice_cycles = (np.split(array.astype(np.int64), write_begin[1:-1]) for array in cycles[2:])
        said = np.split(notices.astype(np.int64), write_begin[1:-1])
        return Result(np.split(data, read_begin[1:-1]), reads_cycles, data_cycles, write_cycles, notice_cycles, said)

    def _waits(self, waits: Sequence[Waits]) -> NDArray[np.uint32]:
        table = np.zeros((len(waits), self.core.writers + self.core.readers), dtype=np.uint32)
        for row, wait in zip(table, waits, strict=True):
            for writer, count in wait.notices.items():
                row[writer] = count
            for reader, count in wait.lines.items():
                row[self.core.writers + reader] = count
        return table
