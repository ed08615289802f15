"""C simulation: the emitted C++ compiled into a shared library that runs exactly the compiled program.

The library is built with g++ from an overlay's sources; the include path decides between the native integers (fast) and the exact
Xilinx headers. Libraries are cached by the contents of their sources, headers and flags, the compiler and the processor.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np

from edgeflow.hw import cache
from edgeflow.hw.architecture import LINE_BYTES
from edgeflow.hw.arrays import IntArray
from edgeflow.hw.errors import ToolchainError, VerificationError
from edgeflow.hw.host import instruction_set
from edgeflow.hw.program import HEADER_BYTES, Allocation, Program, Step, pack_rows, unpack_rows
from edgeflow.hw.progress import Progress
from edgeflow.hw.tools import run_tool
from edgeflow.sim.headers import exact_include, native_include

# Each library has processes of its own; nothing throws, and code for it takes half of the compiler's time.
FLAGS = ("-std=c++14", "-O3", "-march=native", "-fPIC", "-shared", "-w", "-fno-gnu-unique", "-fno-exceptions")
_REMEDY = "install g++, or set CXX to a C++ compiler"
_ROOM = "free some space in the temporary folder, or choose another (TMPDIR)"
_HANDLE = [ctypes.c_void_p]
SOURCES = ("csim.cpp",)  # includes the components
_PRAGMA = re.compile(rb"^[ \t]*#pragma HLS .*$", re.MULTILINE)


def compiler() -> str:
    """The C++ compiler: ``$CXX`` or g++."""
    name = os.environ.get("CXX", "g++")
    path = shutil.which(name)
    if path is None:
        raise ToolchainError(f"C simulation needs a C++ compiler: {name} was not found; {_REMEDY}")
    return path


def build(hls: Path | Mapping[str, bytes], *, exact: bool = False, count: bool = False) -> Path:
    """Compile an accelerator's C++ and return the shared library, which is loaded and run with the user's rights.

    ``hls``: the files by their paths, as ``sw.compiler.codegen.overlay_files`` emits them, or a folder that holds them and that is
    trusted. ``count``: with counters of loop iterations (:meth:`CSimulation.counted`). ToolchainError with the compiler's first
    error if it fails, ends without a library, or does not end.
    """
    include = exact_include() if exact else native_include()
    command, flags = compiler(), [*FLAGS, "-DEDGEFLOW_COUNT"] if count else [*FLAGS]
    facts = [*flags, _version(command), instruction_set(), str(exact)]
    sources = _read(hls) if isinstance(hls, Path) else hls
    key = _key(facts, sources, include)
    known = cache.load("csim", key, ".so")
    if known is not None:
        return known[0]
    if key in _unkept:
        return _unkept[key]
    with tempfile.TemporaryDirectory(prefix="edgeflow-csim-") as work:
        for name, content in sources.items():
            (Path(work) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(work) / name).write_bytes(content)
        library = Path(work) / "csim.so"
        folders = (f"-I{folder}" for folder in (work, f"{work}/include", *include))
        done = run_tool([command, *flags, *folders, "-o", str(library), *(f"{work}/{name}" for name in SOURCES)], _REMEDY)
        if done.returncode:
            first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[-300:])
            first = first.replace(f"{work}/", "") or f"exit status {done.returncode}"
            remedy = _ROOM if "no space left" in done.stderr.lower() else _REMEDY
            raise ToolchainError(f"the C simulation does not compile: {first}; {remedy}")
        if not library.is_file():
            raise ToolchainError(f"the C simulation does not compile: {command} wrote no library; {_REMEDY}")
        content = library.read_bytes()
    return cache.store("csim", key, ".so", lambda file: file.write(content)) or _keep_for_now(key, content)


_unkept: dict[str, Path] = {}
"""Libraries of this process, where the cache cannot be written."""
_unkept_folders: list[tempfile.TemporaryDirectory[str]] = []


def _keep_for_now(key: str, content: bytes) -> Path:
    """Put a library where it stays until this process ends."""
    _unkept_folders.append(tempfile.TemporaryDirectory(prefix="edgeflow-csim-"))
    path = _unkept[key] = Path(_unkept_folders[-1].name) / "csim.so"
    path.write_bytes(content)
    return path


def _read(folder: Path) -> dict[str, bytes]:
    """The sources in a folder: those that are compiled, and the headers beside them."""
    files = [folder / name for name in SOURCES] + sorted((folder / "components").glob("*.cpp"))
    files += [*sorted(folder.glob("*.hpp")), *sorted((folder / "include").rglob("*.hpp"))]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def _key(facts: list[str], sources: Mapping[str, bytes], include: list[Path]) -> str:
    digest = hashlib.sha256(" ".join(facts).encode())
    for name, content in sorted(sources.items()):
        # g++ ignores HLS pragmas, which name the program's size: all programs for one overlay share its library.
        digest.update(name.encode() + b"\0" + _PRAGMA.sub(b"", content))
    for header in (header for folder in include for header in sorted(folder.rglob("*.h"))):
        digest.update(header.name.encode() + b"\0" + header.read_bytes())
    return digest.hexdigest()[:32]


def _version(command: str) -> str:
    done = run_tool([command, "--version"], _REMEDY, seconds=60)
    if done.returncode or not done.stdout.strip():
        raise ToolchainError(f"C simulation needs a C++ compiler: {command} --version fails; {_REMEDY}")
    return done.stdout.splitlines()[0]


class Depths(IntEnum):
    """How many items the streams between processes hold."""

    DEEP = 0  # any number: the fastest simulation
    DECLARED = 1  # as many as the C++ declares
    DRAWN = 2  # as many, and up to as many more, drawn for each stream


@dataclass(frozen=True)
class Schedule:
    """How the processes of the simulated accelerator take turns: in order for seed 0, else at random, with rests. The words that
    come out must not depend on it."""

    seed: int = 0
    depths: Depths = Depths.DEEP


class LoopTiming(NamedTuple):
    """Cycles of a loop in hardware: from one iteration to the next, from an iteration's start to its end, and before the first;
    ``drains``: nothing of its process follows before its last iteration has ended."""

    interval: int
    depth: int
    latency: int
    drains: bool


class CSimulation:
    """A loaded program, ready to run samples. A context manager: it owns memory outside Python."""

    def __init__(self, program: Program, library: Path, schedule: Schedule | None = None) -> None:
        self._program = program
        self._library = _loaded(library)
        self._library.edgeflow_csim_create.restype = ctypes.c_void_p
        self._library.edgeflow_csim_create.argtypes = [ctypes.c_char_p, ctypes.c_uint64, ctypes.c_char_p, *[ctypes.c_uint64] * 2]
        self._library.edgeflow_csim_counts.restype = ctypes.c_uint64
        self._library.edgeflow_csim_counts.argtypes = [ctypes.c_char_p, ctypes.c_uint64]
        self._library.edgeflow_csim_loop.argtypes = [ctypes.c_char_p, ctypes.c_char_p, *[ctypes.c_uint64] * 4]
        self._library.edgeflow_csim_cycles.restype = ctypes.c_uint64
        for name in ("write", "read", "read_scratch"):
            getattr(self._library, f"edgeflow_csim_{name}").argtypes = [*_HANDLE, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64]
        self._library.edgeflow_csim_run.argtypes = [*_HANDLE, ctypes.c_uint, ctypes.c_uint]
        self._library.edgeflow_csim_run.restype = ctypes.c_char_p
        self._library.edgeflow_csim_schedule.argtypes = [ctypes.c_uint64, ctypes.c_uint]
        self._path, self._schedule = library, schedule or Schedule()
        self._library.edgeflow_csim_schedule(self._schedule.seed, int(self._schedule.depths))
        self._library.edgeflow_csim_destroy.argtypes = _HANDLE
        code = program.encode()[HEADER_BYTES:]
        size = max(program.external_lines, 1) * LINE_BYTES
        self._handle: int | None = self._library.edgeflow_csim_create(code, len(code), program.weights, len(program.weights), size)
        self._places = {a.tensor: a for a in program.allocations}
        self._views: dict[str, list[str]] = {}
        # Some views are written by instructions of their own, into the tensor that they are part of.
        written = {step.completes for step in program.steps}
        for a in program.allocations:
            if a.view_of is not None and a.tensor not in written:
                self._views.setdefault(a.view_of, []).append(a.tensor)

    def __enter__(self) -> CSimulation:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Free the simulation."""
        if self._handle is not None:
            self._library.edgeflow_csim_destroy(self._handle)
            self._handle = None

    def run(self, inputs: Mapping[str, IntArray], observe: Callable[[str, IntArray], None] | None = None) -> dict[str, IntArray]:
        """Run one sample (per-sample shapes); returns the outputs.

        ``observe`` is called with every tensor as soon as it is complete, views included: the program then runs instruction by
        instruction. VerificationError, naming the streams, where every process of the accelerator waits for another.
        """
        self.start(inputs)
        if observe is None:
            self.run_steps(0, len(self._program.steps))
        else:
            for base in self._program.inputs:
                for name in self._completed(base):
                    observe(name, self.read_external(name))
            for number, step in enumerate(self._program.steps):
                self.run_steps(number, 1)
                for name in self._completed(step.completes):
                    observe(name, self.read(name))
        return {name: self.read_external(name) for name in self._program.outputs}

    def counted(self, inputs: Mapping[str, IntArray]) -> Iterator[tuple[Step, dict[tuple[str, str], tuple[int, int]]]]:
        """Run one sample instruction by instruction; yields each step with the (entries, trips) of every loop that ran, by the
        names of its process and its own. Needs a library built with ``count``."""
        self.start(inputs)
        self._counts()
        for first, step in enumerate(self._program.steps):
            self.run_steps(first, 1)
            yield step, self._counts()

    @property
    def library(self) -> ctypes.CDLL:
        """The compiled simulation."""
        return self._library

    def start(self, inputs: Mapping[str, IntArray]) -> None:
        """Write a sample's inputs (per-sample shapes) where the program expects them."""
        for name in self._program.inputs:
            self._write(self._places[name], inputs[name])

    def run_steps(self, first: int, count: int) -> None:
        """Run some of the program's instructions; VerificationError where the processes cannot go on."""
        stuck = self._library.edgeflow_csim_run(self._handle, first, count)
        if stuck is not None:
            raise VerificationError(f"the simulated accelerator cannot go on: {stuck.decode()}")

    def timed(self, inputs: Mapping[str, IntArray], timing: Callable[[str, str], LoopTiming]) -> int:
        """Cycles of one sample, if every loop, by the names of its process and its own, behaves as ``timing`` says. Streams
        should be as deep as declared. Needs a library built with ``count``, and a simulation that has run nothing else."""
        with CSimulation(self._program, self._path, self._schedule) as rehearsal:
            rehearsal._counts()
            rehearsal.run(inputs)
            loops = rehearsal._counts()
        for process, loop in loops:
            self._library.edgeflow_csim_loop(process.encode(), loop.encode(), *timing(process, loop))
        self.run(inputs)
        self._counts()
        return int(self._library.edgeflow_csim_cycles())

    def _counts(self) -> dict[tuple[str, str], tuple[int, int]]:
        text = ctypes.create_string_buffer(1 << 16)
        self._library.edgeflow_csim_counts(text, len(text))
        rows = (line.split("\t") for line in text.value.decode().splitlines())
        return {(process, name): (int(entries), int(trips)) for process, name, entries, trips in rows}

    def _completed(self, name: str | None) -> list[str]:
        return [] if name is None else [name, *self._views.get(name, ())]

    def read(self, name: str) -> IntArray:
        """A tensor's words as they are now: in the scratchpad, or in external memory where it never is on chip as a whole."""
        place = self._places[name]
        if place.line is None:
            return self.read_external(name)
        raw = np.empty(place.lines * LINE_BYTES, dtype=np.uint8)
        self._library.edgeflow_csim_read_scratch(self._handle, place.line, raw.ctypes.data, place.lines)
        return unpack_rows(raw, place.format, place.storage)

    def read_external(self, name: str) -> IntArray:
        """A tensor's words in external memory: network inputs and outputs, and tensors that the scratchpad does not hold."""
        place = self._places[name]
        assert place.external is not None
        raw = np.empty(place.lines * LINE_BYTES, dtype=np.uint8)
        self._library.edgeflow_csim_read(self._handle, place.external * LINE_BYTES, raw.ctypes.data, raw.size)
        return unpack_rows(raw, place.format, place.storage)

    def _write(self, place: Allocation, value: IntArray) -> None:
        assert place.external is not None
        raw = pack_rows(value, place.format, place.storage)
        self._library.edgeflow_csim_write(self._handle, place.external * LINE_BYTES, raw.ctypes.data, raw.size)


def _loaded(library: Path) -> ctypes.CDLL:
    try:
        loaded = ctypes.CDLL(str(library))
        loaded.edgeflow_csim_create  # noqa: B018 (asks for it)
    except (OSError, AttributeError) as error:
        raise ToolchainError(f"the C simulation that was compiled cannot be loaded: {error}; {_REMEDY}") from error
    return loaded


def run_samples(
    program: Program, library: Path, inputs: Mapping[str, IntArray], progress: Progress | None = None
) -> dict[str, IntArray]:
    """Outputs ``(N, *shape)`` of the C simulation for integer inputs ``(N, *shape)``."""
    count = len(next(iter(inputs.values())))
    results = []
    with CSimulation(program, library) as simulation:
        for n in range(count):
            results.append(simulation.run({name: value[n] for name, value in inputs.items()}))
            if progress is not None:
                progress("C simulation", n + 1, count)
    return {name: np.stack([r[name] for r in results]) for name in program.outputs}
