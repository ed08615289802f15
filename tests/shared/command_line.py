"""The command line as tests call it, and what a folder holds before and after."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from edgeflow.hw.diagnosis import LINES, WIDTH

STEP_LINES = re.compile(r"\A(?:step \d+ of \d+: [^\n]+, \d+\.\d s\n)*")
"""What a compilation writes to standard error that is no terminal while all goes well."""


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit status and what it wrote."""

    status: int
    out: str
    err: str


class Terminal:
    """Runs the command line in this process, and holds refusals to its manners."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def run(self, *arguments: object) -> Outcome:
        from edgeflow.sw.cli.main import main

        self._capsys.readouterr()
        status = main([str(a) for a in arguments])
        return Outcome(status, *self._capsys.readouterr())

    def refused(self, *arguments: object, status: int = 2) -> str:
        """The message of a command that must fail: one line on standard error, or the diagnosis of a model on at most a screen,
        nothing else but a line for every step of a compilation before."""
        outcome = self.run(*arguments)
        outcome = replace(outcome, err=STEP_LINES.sub("", outcome.err))
        assert (outcome.status, outcome.out) == (status, "")
        assert outcome.err.startswith("error: ")
        assert outcome.err.endswith("\n")
        first, *more = outcome.err.splitlines()
        if more:
            assert len(more) < LINES
            assert all(len(line) <= WIDTH for line in (first, *more))
            assert all(line.startswith("  ") for line in more)
            assert "obstacle" in " ".join(outcome.err.split())
        assert "Traceback" not in outcome.err
        assert "internal error" not in outcome.err
        return outcome.err.removeprefix("error: ").rstrip("\n")


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder: relative path to contents (None for folders)."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}
