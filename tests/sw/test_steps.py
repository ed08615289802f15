"""The steps of a compilation say what they read and write, go on where one like them stopped, and stop where they are told."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Terminal
from tiny_transformer import Tiny

import edgeflow
from edgeflow.hw import cache
from edgeflow.sw.flow import step_cache, steps
from edgeflow.sw.flow.step_range import NAMES
from edgeflow.sw.flow.steps import STEPS, Request, State, Step

PRODUCTS = {name for step in STEPS for name in step.writes}


class Watched:
    """What one step touched of the request and of the state, over several compilations."""

    def __init__(self) -> None:
        self.read: set[str] = set()
        self.written: set[str] = set()
        self.files: set[str] = set()


class WatchedRequest:
    """A request that says which of its fields are read."""

    def __init__(self, request: Request, watched: Watched) -> None:
        self._request, self._watched = request, watched

    def __getattr__(self, name: str) -> Any:
        self._watched.read.add(f"request.{name}")
        return getattr(self._request, name)


class WatchedState:
    """A state that says which products are read and written; its own methods and properties read through it."""

    def __init__(self, state: State, watched: Watched) -> None:
        object.__setattr__(self, "_state", state)
        object.__setattr__(self, "_watched", watched)

    def __getattr__(self, name: str) -> Any:
        if name == "request":
            return WatchedRequest(self._state.request, self._watched)
        if name in {field.name for field in dataclasses.fields(State)}:
            if name in PRODUCTS and name not in self._watched.written:
                self._watched.read.add(name)
            return getattr(self._state, name)
        member = vars(State)[name]
        if isinstance(member, property):
            assert member.fget is not None
            return member.fget(self)
        return member.func(self) if hasattr(member, "func") else member.__get__(self)

    def __setattr__(self, name: str, value: Any) -> None:
        self._watched.written.add(name)
        setattr(self._state, name, value)


@pytest.fixture(scope="module")
def overlay(tiny_build: Path) -> Path:
    """An accelerator: compiling for it takes no search."""
    return tiny_build / "overlay.json"


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> dict[str, Watched]:
    """What every step touches from here on."""
    by_step = {step.name: Watched() for step in STEPS}

    def watch(step: Step) -> Step:
        def function(state: State) -> None:
            before = {file: file.read_bytes() for file in state.folder.rglob("*") if file.is_file()}
            step.function(WatchedState(state, by_step[step.name]))  # type: ignore[arg-type]
            for file in state.folder.rglob("*"):
                if file.is_file() and before.get(file) != file.read_bytes():
                    by_step[step.name].files.add(file.relative_to(state.folder).as_posix())

        return dataclasses.replace(step, function=function)

    monkeypatch.setattr(steps, "STEPS", tuple(watch(step) for step in STEPS))
    return by_step


def test_the_names_that_options_are_checked_against_are_those_of_the_steps() -> None:
    assert tuple(step.name for step in STEPS) == NAMES


def test_steps_touch_what_they_declare(watched: dict[str, Watched], tiny: Tiny, overlay: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    x = np.random.default_rng(3).normal(size=(8, 5, 16)).astype(np.float32)
    options: dict[str, Any] = {"calibration": tiny.calibration, "test": x, "output": tmp_path / "b"}
    plain = edgeflow.quantization(selection_work=0)
    edgeflow.compile(tiny.model, bits="fit", budget="size=0.8x", config=plain, overlay=overlay, **options)
    edgeflow.compile(tiny.model, config=plain, **options)
    edgeflow.compile(edgeflow.quantize(edgeflow.load(tiny.model), tiny.calibration), overlay=overlay, output=tmp_path / "b")
    written: set[str] = set()
    for step in STEPS:
        touched = watched[step.name]
        unmade = (touched.read & PRODUCTS) - written
        assert unmade <= set(step.writes), step.name  # its own, not there yet
        assert (step.name, sorted(touched.read - unmade)) == (step.name, sorted(step.reads))
        written |= set(step.writes)
        assert (step.name, sorted(touched.written)) == (step.name, sorted(step.writes))
        declared = {file.relative_to(tmp_path / "b").as_posix() for p in step.files for file in (tmp_path / "b").glob(p)}
        assert touched.files <= declared | set(step.files) | {"bits.json", "bits.png"}, step.name
        assert bool(touched.files) == bool(step.files) or step.name == "compare"


def program(folder: Path) -> tuple[bytes, ...]:
    """Everything that a build computes with."""
    return tuple((folder / name).read_bytes() for name in ("program.bin", "weights.bin", "golden.npz", "model.qdq.onnx"))


def files(folder: Path) -> set[str]:
    """All files of a build."""
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The steps that run from here on, with a cache of their own."""
    names: list[str] = []

    def note(step: Step) -> Step:
        def function(state: State) -> None:
            names.append(step.name)
            step.function(state)

        return dataclasses.replace(step, function=function)

    monkeypatch.setattr(steps, "STEPS", tuple(note(step) for step in STEPS))
    monkeypatch.setenv("EDGEFLOW_CACHE", str(tmp_path / "cache"))
    return names


def test_a_compilation_stops_and_goes_on(terminal: Terminal, tiny: Tiny, tiny_build: Path, ran: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "b"
    command = ("compile", tiny.model, "--calib", tiny.calibration, "-o", folder)
    outcome = terminal.run("--json", *command, "--until", "quantize")
    assert json.loads(outcome.out) == {"build": str(folder), "incomplete": "quantize"}
    assert "stopped after" in terminal.run(*command, "--until", "quantize").out
    assert not (folder / "program.bin").exists()
    inputs = ("--inputs", tiny.calibration, "--outputs", tmp_path / "y.npz")
    commands = (("verify",), ("report",), ("cycles",), ("simulate", *inputs), ("export", "-o", tmp_path / "x.onnx"))
    for name, *rest in commands:
        assert "is not complete, it stops after step quantize: compile it without --until" in terminal.refused(name, folder, *rest)
    with pytest.raises(edgeflow.InputError, match="not complete"):
        edgeflow.simulate(edgeflow.Build(folder), np.zeros((1, 5, 16), np.float32))
    ran.clear()
    assert terminal.run("-q", *command, "--from", "export").status == 0
    assert ran == ["import", "calibrate", "reference", "export", "fit", "lower", "emit", "evaluate", "compare", "report"]
    assert program(folder) == program(tiny_build)
    assert files(folder) == files(tiny_build)
    ran.clear()
    assert terminal.run("-q", *command, "--from", "report").status == 0
    assert ran == ["import", "calibrate", "reference", "report"]
    assert program(folder) == program(tiny_build)
    assert files(folder) == files(tiny_build)
    assert edgeflow.verify(folder, samples=1).passed
    first, second = (edgeflow.open_build(path).report for path in (tiny_build, folder))
    own: dict[str, Any] = {"timings_s": None, "run": None}
    assert {**first, **own} == {**second, **own}
    assert second["run"]["command"].endswith("--from report")


@pytest.mark.usefixtures("ran")
def test_other_options_of_later_steps_take_the_earlier_ones_from_the_cache(terminal: Terminal, tiny: Tiny, tmp_path: Path) -> None:
    command = ("-q", "compile", tiny.model, "--calib", tiny.calibration, "-o", tmp_path / "b")
    assert terminal.run(*command, "--until", "quantize").status == 0
    assert terminal.run(*command, "--from", "export", "--board", "zcu102", "--until", "fit").status == 0
    for change in (("--weight-bits", 4), ("--seed", 1), ("--calib", tmp_path / "other.npz")):
        with np.load(tiny.calibration) as archive:
            np.savez(tmp_path / "other.npz", tokens=archive["tokens"] + np.float32(0.5))
        message = terminal.refused(*command, *change, "--from", "export")
        assert "step quantize of this run is not in the cache" in message
    np.savez(tmp_path / "same.npz", tokens=np.load(tiny.calibration)["tokens"])  # the same data in another file
    assert terminal.run(*command, "--calib", tmp_path / "same.npz", "--from", "export", "--until", "export").status == 0


def test_steps_that_are_none(terminal: Terminal, tiny: Tiny, ran: list[str], tmp_path: Path) -> None:
    command = ("compile", tiny.model, "-o", tmp_path / "b")
    assert "there is no step 'quantise'; steps are import, budgets, calibrate" in terminal.refused(*command, "--from", "quantise")
    assert "--until: there is no step 'x'" in terminal.refused(*command, "--until", "x")
    assert "--from report comes after --until fit" in terminal.refused(*command, "--from", "report", "--until", "fit")
    assert "step quantize of this run is not in the cache" in terminal.refused(*command, "--from", "fit")
    assert not (tmp_path / "b").exists()
    quantized = edgeflow.quantize(edgeflow.load(tiny.model), tiny.calibration)
    with pytest.raises(edgeflow.InputError, match="not in the cache"):
        edgeflow.compile(quantized, output=tmp_path / "b", from_step="fit")
    assert ran.count("import") == 2


def steps_folder() -> Path:
    """Where finished steps lie."""
    folder = cache.folder("steps")
    assert folder is not None
    return folder


@pytest.mark.usefixtures("ran")
def test_a_damaged_or_closed_cache_is_none(tiny: Tiny, overlay: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"calibration": tiny.calibration, "overlay": overlay, "output": tmp_path / "b"}
    edgeflow.compile(tiny.model, until_step="quantize", **options)
    (entry,) = [file for file in steps_folder().iterdir() if file.stat().st_size > 2000]
    entry.write_bytes(entry.read_bytes()[:-40])
    with pytest.raises(edgeflow.InputError, match="not in the cache"):
        edgeflow.compile(tiny.model, from_step="export", **options)
    folder = steps_folder()
    shutil.rmtree(folder)
    folder.write_text("no folder")
    assert edgeflow.compile(tiny.model, **options).incomplete is None


@pytest.mark.usefixtures("ran")
def test_the_model_itself_is_not_in_the_cache(tiny: Tiny) -> None:
    model = edgeflow.load(tiny.model)
    step_cache.store("key", step_cache.Finished({"a": model}, {"x": b"y"}, 1.0), model)
    finished = step_cache.load("key", model)
    assert finished is not None
    assert finished.products["a"] is model
    assert (finished.files, finished.seconds) == ({"x": b"y"}, 1.0)
    assert step_cache.load("another", model) is None
