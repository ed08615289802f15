"""How long the command line takes to start: medians of ``edgeflow --help`` and ``import edgeflow`` in fresh processes.

The target for ``edgeflow --help`` is 0.5 s.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path


def median_seconds(command: list[str], runs: int) -> float:
    """Median wall time of a command, the first (cold) run left out."""
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    script = str(Path(sys.executable).parent / "edgeflow")
    for name, command in (
        ("python -c pass", [sys.executable, "-c", "pass"]),
        ("import edgeflow", [sys.executable, "-c", "import edgeflow"]),
        ("edgeflow --help", [script, "--help"]),
        ("edgeflow compile --help", [script, "compile", "--help"]),
    ):
        print(f"{name:25} {median_seconds(command, runs):.3f} s")


if __name__ == "__main__":
    main()
