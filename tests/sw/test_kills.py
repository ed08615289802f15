"""Commands that are killed: compilations at a few moments (the script: twenty), and explorations, whose processes end."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_transformer import Tiny

SCRIPT = Path(__file__).parents[2] / "scripts" / "check_kills.py"


def test_a_killed_compilation_leaves_a_build_that_opens() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--moments", "4"], capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("the build opens") == 4
    assert "0 at the end" in done.stdout


def wait_for(what: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def parents() -> dict[int, int]:
    """The parent of every process that has not ended, by number."""
    living: dict[int, int] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = file.read_text().rpartition(")")[2].split()[:2]
        except OSError:  # it ends just now
            continue
        if state not in "ZX":
            living[int(file.parent.name)] = int(parent)
    return living


def descendants(process: int) -> set[int]:
    children = {child for child, parent in parents().items() if parent == process}
    return children.union(*map(descendants, children))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
def test_the_processes_of_a_killed_exploration_end(tiny: Tiny, tmp_path: Path) -> None:
    options = ["--board", "zcu102", "-o", str(tmp_path), "--jobs", "2"]
    with subprocess.Popen([sys.executable, "-m", "edgeflow.sw.cli.main", "-q", "explore", str(tiny.model), *options]) as command:
        points = tmp_path / "points.jsonl"
        wait_for(lambda: points.exists() and points.read_text().count("\n") >= 2, 120)
        processes = descendants(command.pid)
        assert command.poll() is None
        command.kill()
    assert len(processes) >= 2
    wait_for(lambda: not processes & parents().keys(), 20)
