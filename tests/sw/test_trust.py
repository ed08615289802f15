"""Builds that come from anywhere: nothing in them is run, every file is what the manifest says, and two builds never mix."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import Terminal
from tiny_transformer import Tiny

import edgeflow
from edgeflow.sim import csim
from edgeflow.sw.compiler.component_project import write_component_project
from edgeflow.sw.files import snapshot
from edgeflow.sw.files.snapshot import MANIFEST, Snapshot
from edgeflow.sw.search import pareto

EVIL = '#include <cstdlib>\nstatic const int evil = std::system("touch %s");\n'


@pytest.fixture
def build(tiny_build: Path, tmp_path: Path) -> Path:
    """A copy of a good build."""
    shutil.copytree(tiny_build, tmp_path / "build")
    return tmp_path / "build"


def with_hashes(build: Path, **facts: Any) -> None:
    """Write the manifest again with the hashes of what lies there, as an attacker would."""
    manifest = json.loads((build / MANIFEST).read_text()) | facts
    names = sorted(p.relative_to(build).as_posix() for p in build.rglob("*") if p.is_file() and p.name != MANIFEST)
    manifest["files"] = {name: hashlib.sha256((build / name).read_bytes()).hexdigest() for name in names}
    (build / MANIFEST).write_text(json.dumps(manifest))


def names(build: Path) -> list[str]:
    return sorted(json.loads((build / MANIFEST).read_text())["files"])


def test_every_file_is_hashed(terminal: Terminal, build: Path) -> None:
    assert any(name.startswith("hls/include/") for name in names(build))
    for name in names(build):
        good = (build / name).read_bytes()
        (build / name).write_bytes(good + b" ")
        assert f"{name} was changed after compilation" in terminal.refused("report", build)
        (build / name).write_bytes(good)
    assert terminal.run("report", build).status == 0


@pytest.mark.parametrize(
    "where", ["hls/csim.cpp", "hls/components/load.cpp", "hls/include/edgeflow/network/load.hpp", "hls/new.hpp"]
)
def test_no_code_of_a_build_runs(terminal: Terminal, tiny: Tiny, build: Path, tmp_path: Path, where: str) -> None:
    code = EVIL % (tmp_path / "ran")
    file = build / where
    file.write_text(code + (file.read_text() if file.exists() else ""))
    with_hashes(build)
    outputs = ("--inputs", tiny.calibration, "--outputs", tmp_path / "y.npz")
    for command in (("verify", build), ("simulate", build, "--engine", "csim", *outputs)):
        message = terminal.refused(*command)
        assert where in message
        assert "is not run" in message
    assert not (tmp_path / "ran").exists()


def test_a_build_of_another_version_is_emitted_again(terminal: Terminal, tiny: Tiny, build: Path, tmp_path: Path) -> None:
    (build / "hls" / "csim.cpp").write_text(EVIL % (tmp_path / "ran"))
    with_hashes(build, edgeflow="0.0.9")
    verification = json.loads(terminal.run("--json", "verify", build).out)
    assert verification["passed"] is True
    assert verification["words"] > 0
    (line,) = verification["warnings"]
    assert "C++ of EdgeFlow 0.0.9" in line
    assert f"this version, {edgeflow.__version__}" in line
    outputs = ("--inputs", tiny.calibration, "--outputs", tmp_path / "y.npz")
    assert "C++ of EdgeFlow 0.0.9" in terminal.run("simulate", build, "--engine", "csim", *outputs).out
    assert not (tmp_path / "ran").exists()


def test_a_build_that_is_replaced_while_it_is_read(
    terminal: Terminal, tiny: Tiny, build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever file is the first of the other build: nothing of the two is compared."""
    other = tmp_path / "other"
    assert terminal.run("compile", tiny.model, "--seed", "3", "-o", other).status == 0
    good = tmp_path / "good"
    shutil.copytree(build, good)
    pieces = snapshot._pieces
    for first in ("program.bin", "weights.bin", "integer_graph.json", "golden.npz", "report.html", "hls/data/output_0.bin"):
        assert (good / first).read_bytes() != (other / first).read_bytes()

        def replacing(file: Path, first: str = first) -> Any:
            if file == build / first:
                shutil.rmtree(build)
                shutil.copytree(other, build)
            return pieces(file)

        monkeypatch.setattr(snapshot, "_pieces", replacing)
        assert "was replaced while it was read: run the command again" in terminal.refused("report", build)
        monkeypatch.setattr(snapshot, "_pieces", pieces)
        assert terminal.run("report", build).status == 0
        shutil.rmtree(build)
        shutil.copytree(good, build)


def test_what_was_read_stays_what_it_was(build: Path) -> None:
    """A build that is open goes on with the bytes that were checked."""
    opened = edgeflow.open_build(build)
    words = opened.program.encode()
    for name in names(build):
        (build / name).write_bytes(b"")
    assert opened.golden()
    assert opened.program.encode() == words
    assert edgeflow.verify(opened).passed


def test_a_large_file_is_checked_again_when_it_is_used(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "KEPT", 10)
    opened = edgeflow.open_build(build)
    (build / "golden.npz").write_bytes(b"another")
    with pytest.raises(edgeflow.InputError, match=r"golden\.npz was changed after compilation"):
        opened.golden()


@pytest.mark.parametrize("name", ["/etc/passwd", "../outside", "hls/../../outside", ""])
def test_names_outside_the_folder(build: Path, name: str) -> None:
    manifest = json.loads((build / MANIFEST).read_text())
    manifest["files"][name] = "0" * 64
    (build / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(edgeflow.InputError, match="is damaged"):
        edgeflow.open_build(build)


def test_what_is_no_regular_file_is_not_waited_for(build: Path) -> None:
    (build / "report.html").unlink()
    os.mkfifo(build / "report.html")
    with pytest.raises(edgeflow.InputError, match=r"report\.html cannot be read"):
        edgeflow.open_build(build)
    (build / MANIFEST).unlink()
    os.mkfifo(build / MANIFEST)
    with pytest.raises(edgeflow.InputError, match="cannot be read"):
        Snapshot(build)


def test_a_model_in_a_build_reads_no_other_file(build: Path) -> None:
    import onnx

    model = onnx.load(build / "model.canonical.onnx")
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], location="../secret")
    model.graph.initializer[0].ClearField("raw_data")
    (build / "model.canonical.onnx").write_bytes(model.SerializeToString())
    with_hashes(build)
    with pytest.raises(edgeflow.InputError, match="has data outside itself"):
        edgeflow.verify(build)


@pytest.mark.parametrize("damage", ["truncated", "garbled", "emptied"])
def test_a_damaged_library_in_the_cache_is_built_again(
    tiny_build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setenv("EDGEFLOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(csim, "_unkept", {})  # what this process loaded while it had no cache is not to be damaged
    library = csim.build(tiny_build / "hls")
    good = library.read_bytes()
    half = len(good) // 2
    library.write_bytes({"truncated": good[:half], "garbled": good[:half] + bytes(len(good) - half), "emptied": b""}[damage])
    again = csim.build(tiny_build / "hls")
    assert edgeflow.verify(tiny_build).passed
    assert again.stat().st_size == len(good)


@pytest.mark.parametrize("part", ["[exec touch x]", "a; exec x", "$env(HOME)", 'a" b', "a\\b", "a\nexec x", "{a}"])
def test_nothing_but_plain_words_gets_into_emitted_code(tiny_build: Path, tmp_path: Path, part: str) -> None:
    """The second lock, behind the pattern of a board file."""
    program = edgeflow.open_build(tiny_build).program
    with pytest.raises(edgeflow.InputError, match="cannot stand in emitted code"):
        write_component_project(tmp_path / "hls", program, part=part, clock_mhz=100.0, samples=[])


def test_a_name_is_no_formula(tmp_path: Path) -> None:
    resources = {"dsp": 1, "lut": 1, "bram36": 1}
    point = {
        "key": "k",
        "bits": 8,
        "activation_bits": 8,
        "precision": "W8A8",
        "runs": True,
        "pi": 16,
        "po": 16,
        "latency_ms": 1.0,
        "resources": resources,
    }
    pareto.drawing({"model": r"$\frac$.onnx", "board": "kv260"}, [point]).savefig(tmp_path / "pareto.svg")
    assert r"$\frac$.onnx" in (tmp_path / "pareto.svg").read_text()
