"""Builds damaged in one file, with and without corrected hashes, through every command that reads builds (scripts/check_damage.py
runs more of them)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import Terminal
from damage import READ, BuildWorker, correct_hashes, damage
from fuzzing import Outcome, fuzz

import edgeflow
from edgeflow.hw.program import DESCRIPTOR_BYTES, HEADER_BYTES
from edgeflow.sw.files.snapshot import MANIFEST

COUNT = 52


def test_damaged_builds_are_refused_or_as_good() -> None:
    """No internal error, signal, hang or wrong success; every file that commands read is damaged, and most damage is refused."""
    outcomes = list(fuzz(range(COUNT), BuildWorker, workers=1))
    assert [outcome for outcome in outcomes if outcome.failed] == []
    assert len(outcomes) == COUNT
    assert {outcome.kind for outcome in outcomes} >= set(READ)
    assert sum(outcome.end == "refused" for outcome in outcomes) > COUNT // 2
    assert any(outcome.end == "refused" and "hashes corrected" in outcome.seed for outcome in outcomes)


@pytest.mark.parametrize("end", ["internal", "hang", "memory", "died", "wrong", "message", "status 1"])
def test_what_counts_as_a_failure(end: str) -> None:
    assert Outcome(0, "program.bin", "bits", end).failed
    assert not Outcome(0, "program.bin", "bits", "harmless").failed


@pytest.fixture
def build(tiny_build: Path, tmp_path: Path) -> Path:
    """A copy of a good build."""
    shutil.copytree(tiny_build, tmp_path / "build")
    return tmp_path / "build"


def test_damage_is_its_number(build: Path, tmp_path: Path) -> None:
    for number in range(13):
        contents = []
        for _ in range(2):
            shutil.copytree(build, tmp_path / "copy")
            name, _, _ = damage(tmp_path / "copy", number)
            file = tmp_path / "copy" / name
            contents.append((name, file.read_bytes() if file.exists() else None))
            shutil.rmtree(tmp_path / "copy")
        assert contents[0] == contents[1]
        assert contents[0][1] != (build / contents[0][0]).read_bytes()


def test_corrected_hashes_are_right(build: Path) -> None:
    """Otherwise every damaged build would be refused for its hashes alone."""
    before = json.loads((build / MANIFEST).read_text())
    program = (build / "program.bin").read_bytes()
    correct_hashes(build)
    assert json.loads((build / MANIFEST).read_text()) == before
    assert (build / "program.bin").read_bytes() == program


@pytest.mark.parametrize("version", [edgeflow.__version__, "0.0.9"])
def test_a_program_that_was_not_compiled_is_not_run(terminal: Terminal, build: Path, version: str) -> None:
    """Each field of every kind of instruction, at its largest: whatever it addresses, the C++ never sees it."""
    manifest = json.loads((build / MANIFEST).read_text())
    (build / MANIFEST).write_text(json.dumps({**manifest, "edgeflow": version}))
    good = (build / "program.bin").read_bytes()
    opened = edgeflow.open_build(build)
    kinds = {step.instruction.layout: i for i, step in enumerate(opened.program.steps)}
    assert len(kinds) >= 4
    for layout, index in kinds.items():
        for slot in layout.slots:
            start = HEADER_BYTES + DESCRIPTOR_BYTES * index + 4 * slot.word
            most = (1 << slot.bits) - 1 << slot.bit
            word = int.from_bytes(good[start : start + 4], "little") | most
            damaged = good[:start] + word.to_bytes(4, "little") + good[start + 4 :]
            if damaged != good:
                (build / "program.bin").write_bytes(damaged)
                correct_hashes(build)
                with pytest.raises(edgeflow.InputError, match=r"program\.bin is not what EdgeFlow .* compile the model again"):
                    edgeflow.cycles(build)
        assert damaged == good or "program.bin is not what EdgeFlow" in terminal.refused("verify", build)


def test_other_weights_are_not_run(terminal: Terminal, build: Path) -> None:
    content = bytearray((build / "weights.bin").read_bytes())
    content[len(content) // 2] ^= 1
    (build / "weights.bin").write_bytes(content)
    correct_hashes(build)
    assert "weights.bin is not what EdgeFlow" in terminal.refused("verify", build)


def test_an_integer_graph_that_can_overflow_is_refused(terminal: Terminal, build: Path) -> None:
    """The proof is made again of what lies there."""
    file = build / "integer_graph.npz"
    with np.load(file) as archive:
        arrays = {name: archive[name] for name in archive.files}
    document = json.loads((build / "integer_graph.json").read_text())
    bias = next(node["inputs"][2] for node in document["nodes"] if node["op"] == "linear")
    key = f"c{arrays['names'].tolist().index(bias)}"
    arrays[key] = np.full(arrays[key].shape, (1 << 31) - 1)
    np.savez(file, **arrays)
    correct_hashes(build)
    message = terminal.refused("verify", build)
    assert "integer_graph.json is damaged" in message
    assert "more than its" in message
