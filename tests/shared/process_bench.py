"""The array's process in Verilator: what its streams transfer and in which cycles."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from array_bench import simulation

from edgeflow.hw.array_core import ArrayCore
from edgeflow.hw.array_process import TOP
from edgeflow.hw.arrays import IntArray

BENCH = Path(__file__).resolve().parent.parent / "hw" / "rtl" / "process_bench.cpp"
INPUTS = ("commands", "steps", "value_steps", "loads")
OUTPUTS = ("rows", "score_rows", "notices")


@dataclass
class Items:
    """What goes into the streams, an item's bytes each, and how many rows, scores and notices come of it."""

    commands: list[bytes] = field(default_factory=list)
    steps: list[bytes] = field(default_factory=list)
    value_steps: list[bytes] = field(default_factory=list)
    loads: list[bytes] = field(default_factory=list)
    rows: int = 0
    score_rows: int = 0
    notices: int = 0


@dataclass(frozen=True)
class Result:
    """Bytes ``(items, bytes)`` of each stream that goes out, and the cycle of every transfer of all streams."""

    data: dict[str, np.ndarray]
    cycles: dict[str, IntArray]


def recorded(path: Path) -> tuple[Items, dict[str, np.ndarray]]:
    """What went through the streams of ``multiply`` in C simulation, all calls one after another: items that went in, and bytes
    ``(items, bytes)`` of each stream that went out (hw/include/edgeflow/simulation/recording.h)."""
    content = path.read_bytes()
    names = INPUTS + OUTPUTS
    calls, streams, *bits = struct.unpack_from(f"<{2 + len(names)}I", content)
    assert streams == len(names)
    gathered: dict[str, list[bytes]] = {name: [] for name in names}
    at = 4 * (2 + streams)
    for _ in range(calls):
        for name, width in zip(names, bits, strict=True):
            size = (width + 7) // 8
            (count,) = struct.unpack_from("<I", content, at)
            at += 4
            gathered[name] += [content[place : place + size] for place in range(at, at + count * size, size)]
            at += count * size
    assert at == len(content)
    written = {name: np.frombuffer(b"".join(gathered[name]), dtype=np.uint8) for name in OUTPUTS}
    sizes = {name: (width + 7) // 8 for name, width in zip(names, bits, strict=True)}
    commands, steps, value_steps, loads, rows, scores, notices = gathered.values()
    items = Items(commands, steps, value_steps, loads, len(rows), len(scores), len(notices))
    return items, {name: array.reshape(-1, sizes[name]) for name, array in written.items()}


class _Stream(ctypes.Structure):
    _fields_ = (
        ("bytes", ctypes.c_uint32),
        ("items", ctypes.c_uint32),
        ("data", ctypes.c_void_p),
        ("cycles", ctypes.c_void_p),
        ("stalls", ctypes.c_uint32),
    )


class _Run(ctypes.Structure):
    _fields_ = (
        ("inputs", _Stream * len(INPUTS)),
        ("outputs", _Stream * len(OUTPUTS)),
        *((name, ctypes.c_uint64) for name in ("seed", "limit", "disturbed")),
    )


class Bench:
    """The simulation of one process, compiled in a folder."""

    def __init__(self, core: ArrayCore, folder: Path, files: Sequence[Path] | None = None) -> None:
        self.core = core
        self._run = simulation(core, BENCH, folder, files, TOP).run
        self._run.restype = ctypes.c_uint64

    def run(self, items: Items, stalls: Sequence[int] = (0,) * 7, seed: int = 0, disturbed: int = 0) -> Result:
        """Run until everything is transferred; after a reset, before which it has run for ``disturbed`` cycles. ``stalls``: of 256
        cycles, in how many each stream is held up, inputs first."""
        core = self.core
        data, cycles = {}, {}
        for name in INPUTS:
            parts: list[bytes] = getattr(items, name)
            data[name] = np.frombuffer(b"".join(parts), dtype=np.uint8).reshape(len(parts), -1 if parts else 0)
        sizes = (4 * core.po * (1 + core.quad), 3 * core.po, 1)
        for name, size in zip(OUTPUTS, sizes, strict=True):
            data[name] = np.zeros((getattr(items, name), size), dtype=np.uint8)
        streams = []
        for (name, array), stall in zip(data.items(), stalls, strict=True):
            cycles[name] = np.zeros(len(array), dtype=np.uint64)
            streams.append(_Stream(array.shape[1], len(array), array.ctypes.data, cycles[name].ctypes.data, stall))
        limit = 20_000 + 64 * sum(len(array) for array in data.values())
        run = _Run(
            (_Stream * len(INPUTS))(*streams[: len(INPUTS)]),
            (_Stream * len(OUTPUTS))(*streams[len(INPUTS) :]),
            *(seed, limit, disturbed),
        )
        assert self._run(ctypes.byref(run)) > 0, "the process did not transfer what it should"
        return Result({name: data[name] for name in OUTPUTS}, {name: array.astype(np.int64) for name, array in cycles.items()})
