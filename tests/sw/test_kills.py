"""Compilations that are killed: a few moments here, twenty by the script itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "check_kills.py"


def test_a_killed_compilation_leaves_a_build_that_opens() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--moments", "4"], capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("the build opens") == 4
    assert "0 at the end" in done.stdout
