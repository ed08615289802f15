"""The structural fuzzer: mutants of small models, each compiled and, where that succeeds, verified, in forked workers with limits.

A mutant is its number: seed model, kind and mutations are drawn from it. The command line runs in the worker's process, so what it
prints and its exit status are what users get. Two workers share the mutants; one that hangs, dies or needs more memory is ended,
counted, and replaced.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import multiprocessing
import os
import re
import resource
import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_mutations import MUTATIONS, SPOILS
from fuzz_seeds import SEEDS, write

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.ops.base import instruction_layouts
from edgeflow.hw.program import overlay_document

SECONDS = 30.0
"""Of processor time, after which a mutant counts as hanging: other processes of the machine make none slower."""
WAIT = 300.0
"""Seconds after which it counts as hanging, whatever it has computed."""
MEMORY = 2 << 30
"""Bytes of address space that a worker may take beyond what it has after its first compilation."""
KINDS = tuple(MUTATIONS)


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant. ``end``: compiled, refused (one line, exit status 2), or a failure: internal, hang, memory, died,
    differs, folder. ``reached``: whether the import began; ``loaded``: whether the file was read as a model."""

    number: int
    kind: str
    seed: str
    end: str
    place: str = ""
    message: str = ""
    reached: bool = False
    loaded: bool = False

    @property
    def line(self) -> str:
        """All of it on one line."""
        return f"{self.number} {self.kind}, {self.seed}: {self.end} {self.place} {self.message[:200]}"

    @property
    def failed(self) -> bool:
        """Whether this must not happen."""
        return self.end not in ("compiled", "refused", "equal", "harmless")


def failures(outcomes: Iterable[Outcome]) -> list[str]:
    """What must not have happened: a line for each end and place, the most frequent first."""
    counted = Counter(f"{outcome.end} {outcome.place}" for outcome in outcomes if outcome.failed)
    return [f"{count:6} {label}" for label, count in counted.most_common()]


def draw(number: int) -> tuple[str, str, np.random.Generator]:
    """The kind of mutation and the seed model of a mutant, and its generator."""
    random = np.random.default_rng([2718, number])
    kind = KINDS[number % len(KINDS)]
    seed = "external data" if kind == "external data" else list(SEEDS)[int(random.integers(len(SEEDS)))]
    if kind == "functions" and random.random() < 0.5:
        seed = "functions"
    if kind == "quantizers" and random.random() < 0.7:
        seed = ("qdq", "qonnx")[int(random.integers(2))]
    return kind, seed, random


def make(number: int, file: Path) -> None:
    """Write a mutant, one to three mutations away from its seed model."""
    kind, seed, random = draw(number)
    proto = SEEDS[seed]()
    mutations = MUTATIONS[kind]
    for _ in range(int(random.choice((1, 1, 1, 2, 3))) if mutations else 0):
        with contextlib.suppress(ValueError, IndexError):  # nothing is left that it could change
            mutations[int(random.integers(len(mutations)))](random, proto)
    try:
        write(proto, file, external=seed == "external data")
    except Exception:  # a mutated tensor that NumPy does not read stays inside
        file.write_bytes(proto.SerializeToString())
    if kind in SPOILS:
        SPOILS[kind](random, file)


class Worker(ABC):
    """Runs mutants in a process of its own, with its files in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @staticmethod
    @abstractmethod
    def describe(number: int) -> tuple[str, str]:
        """Kind and seed of a mutant."""

    @abstractmethod
    def prepare(self) -> None:
        """Everything that mutants share, before the limit of memory is taken."""

    @abstractmethod
    def run(self, number: int) -> Outcome:
        """What becomes of a mutant."""

    def limit(self) -> None:
        """Take the limit of memory from here on."""
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


class ModelWorker(Worker):
    """Compiles mutants of models, and verifies them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.overlay = folder / "overlay.json"
        self.stages: set[str] = set()

    @staticmethod
    def describe(number: int) -> tuple[str, str]:
        return draw(number)[:2]

    def prepare(self) -> None:
        """Everything that the first compilation loads; the C simulation's library, which all mutants share, is built here."""
        units = tuple(layout.name for layout in instruction_layouts())
        self.overlay.write_text(json.dumps(overlay_document(Architecture(units=units))))
        for seed in ("transformer", "qdq"):
            proto = SEEDS[seed]()
            (self.folder / "model").mkdir(exist_ok=True)
            write(proto, self.folder / "model" / "model.onnx", external=False)
            status, text = self._command("compile")
            status = status or self._command("verify")[0]
            if status:
                raise RuntimeError(f"the seed model {seed} does not compile: {text}")
        self._watch()

    def _watch(self) -> None:
        """Note how far an import gets."""
        passes: Any = importlib.import_module("edgeflow.sw.importer.passes")

        load = passes.load

        def watched(path: str) -> object:
            self.stages.add("reached")
            model = load(path)
            self.stages.add("loaded")
            return model

        passes.load = watched

    def _command(self, name: str) -> tuple[int, str]:
        from edgeflow.sw.cli.main import main

        model, build = self.folder / "model" / "model.onnx", self.folder / "made" / "build"
        build.parent.mkdir(exist_ok=True)
        options = {"compile": [model, "-o", build, "--overlay", self.overlay], "verify": [build, "--json"]}[name]
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            status = main(["-q", name, *map(str, options)])
        return status, errors.getvalue()

    def run(self, number: int) -> Outcome:
        kind, seed, _ = draw(number)
        for name in ("model", "made"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir()
        make(number, self.folder / "model" / "model.onnx")
        self.stages.clear()
        status, text = self._command("compile")
        end = {0: "compiled", 2: "refused", 70: "internal"}.get(status, f"status {status}")
        left = sorted(entry.name for entry in (self.folder / "made").iterdir())
        if end == "compiled":
            status, text = self._command("verify")
            end = {0: "compiled", 70: "internal", 1: "differs"}.get(status, f"verify: status {status}")
        if left != (["build"] if end in ("compiled", "differs") or end.startswith("verify") else []) and not (
            end == "internal" and left == ["build"]
        ):
            end = "folder"
        line = next((entry for entry in reversed(text.splitlines()) if entry.startswith("error: ")), "")
        if end == "refused" and (sum(entry.startswith("error: ") for entry in text.splitlines()) != 1 or not line.isprintable()):
            end = "message"
        if "out of memory" in line or "bad_alloc" in line or "Failed to allocate memory" in line:
            end = "memory"
        places = re.findall(r'File "[^"]*/(?:edgeflow/)?((?:sw|hw|quant|sim)/[^"]+)", line (\d+), in (\w+)', text)
        place = f"{':'.join(places[-1])}" if places else ""
        return Outcome(number, kind, seed, end, place, line[:400], "reached" in self.stages, "loaded" in self.stages)


def _serve(connection: Connection, place: _Place) -> None:
    parent = os.getppid()
    os.environ |= {"EDGEFLOW_CACHE": str(place.cache), "EDGEFLOW_DEBUG": "1"}
    if place.quiet:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
    worker = place.kind(Path(tempfile.mkdtemp(dir=place.folder)))
    worker.prepare()
    worker.limit()
    connection.send("ready")
    while os.getppid() == parent:  # workers hold each other's ends of the pipes: none sees that the parent is gone
        if connection.poll(5):
            connection.send(worker.run(connection.recv()))


@dataclass(frozen=True)
class _Place:
    """What workers do, and where: each in a folder of its own inside ``folder``, all with one ``cache``; ``quiet`` without their
    stderr."""

    kind: type[Worker]
    folder: Path
    cache: Path
    quiet: bool


class _Process:
    """A worker, seen from outside."""

    def __init__(self, place: _Place) -> None:
        self.kind = place.kind
        context = multiprocessing.get_context("fork")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, place), daemon=True)
        self.process.start()
        other.close()
        self.number: int | None = None
        self.began, self.spent = time.monotonic(), 0.0
        self.ready = False

    def give(self, number: int | None) -> None:
        self.number, self.began, self.spent = number, time.monotonic(), self.seconds()
        self.connection.send(number)

    def seconds(self) -> float:
        """Processor time that it and what it has run have taken; as the file of /proc says it, user's and system's."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            return 0.0
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    @property
    def hangs(self) -> bool:
        """Whether it has been at its mutant, or at its start, for too long."""
        computing = self.ready and self.seconds() - self.spent > SECONDS
        return computing or time.monotonic() - self.began > WAIT

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def fuzz(
    numbers: range, kind: type[Worker] = ModelWorker, *, workers: int = 2, quiet: bool = True, cache: Path | None = None
) -> Iterator[Outcome]:
    """What became of the mutants with these numbers, as it comes; ``cache``: kept for other runs, where it is given."""
    waiting = iter(numbers)
    with tempfile.TemporaryDirectory(prefix="edgeflow-fuzz-") as folder:
        place = _Place(kind, Path(folder), cache or Path(folder) / "cache", quiet)
        running = [_Process(place)]
        try:
            if not running[0].connection.poll(600):  # it builds the library that all of them use
                raise RuntimeError("a worker of the fuzzer does not start")
            running[0].connection.recv()
            running[0].ready = True
            running += [_Process(place) for _ in range(workers - 1)]
            _give(running[0], waiting)
            yield from _outcomes(running, waiting, place)
        finally:
            for worker in running:
                worker.end()


def _outcomes(running: list[_Process], waiting: Iterator[int], place: _Place) -> Iterator[Outcome]:
    while any(worker.number is not None or not worker.ready for worker in running):
        busy = [worker for worker in running if worker.number is not None or not worker.ready]
        wait([worker.connection for worker in busy], timeout=1.0)
        for worker in busy:
            outcome = _hear(worker)
            if outcome is None:
                continue
            if isinstance(outcome, Outcome):
                yield outcome
            if isinstance(outcome, Outcome) and outcome.end in ("hang", "died", "memory"):
                worker.end()
                running[running.index(worker)] = _Process(place)
            else:
                _give(worker, waiting)


def _give(worker: _Process, waiting: Iterator[int]) -> None:
    number = next(waiting, None)
    worker.number = number
    if number is not None:
        worker.give(number)


def _hear(worker: _Process) -> Outcome | str | None:
    """What a worker says; None while it is at work."""
    if worker.connection.poll():
        try:
            answer: Outcome | str = worker.connection.recv()
        except (EOFError, ConnectionError):
            return _lost(worker, "died")
        worker.ready = True
        return answer
    if worker.hangs:
        return _lost(worker, "hang")
    return None


def _lost(worker: _Process, end: str) -> Outcome:
    if worker.number is None:
        raise RuntimeError(f"a worker of the fuzzer ended before its first mutant ({end})")
    worker.process.join(1)
    kind, seed = worker.kind.describe(worker.number)
    return Outcome(worker.number, kind, seed, end, message=f"exit code {worker.process.exitcode}", reached=True)
