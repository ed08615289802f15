"""The README's blocks of code: each says its language, and those that can be run are run, in order, by scripts/run_readme.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import run_readme
import typer.main

from edgeflow.sw.cli.commands import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_first_commands_are_run_as_they_stand() -> None:
    commands = [
        line.partition("#")[0].strip()
        for block in run_readme.blocks(README)
        if block.language == "sh"
        for line in block.text.splitlines()
    ]
    assert commands[:2] == ["make demo", "make test"]
    assert "pip install ." in commands
    assert "edgeflow compile MODEL.onnx --board kv260 --calib DATA.npz" in commands
    known = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    assert {command.split()[1] for command in commands if command.startswith("edgeflow ")} <= known


def test_every_command_of_the_table_exists() -> None:
    known = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    told = {line.split("`")[1].split()[1] for line in README.splitlines() if line.startswith("| `edgeflow ")}
    assert told == known


def test_what_the_readme_asks_for_is_shipped() -> None:
    assert all((ROOT / file).is_file() for file in run_readme.ASKED_FOR.values())
    assert all(name in README for name in run_readme.ASKED_FOR)


def test_blocks_run_in_order_in_one_folder_until_one_fails(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    readme = "\n".join([
        "Text", "```sh", "echo first > file", "skip this  # a remark", "```", "```toml", "[no", "```",
        "```python", "print(open('file').read(), 'second')", "```", "```sh", "false", "echo never", "```",
    ])  # fmt: skip
    every = list(run_readme.blocks(readme))
    assert [(block.language, block.line) for block in every] == [("sh", 2), ("toml", 6), ("python", 9), ("sh", 12)]
    assert [run_readme.run(block, tmp_path, os.environ, ("skip this",)) for block in every] == [0, 0, 0, 1]
    out = capfd.readouterr().out
    assert "first\n second" in out
    assert "README.md, line 12: exit status 1" in out
    assert "never" not in out
