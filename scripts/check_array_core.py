"""The array core in Verilator: every core of tests/shared/array_checks.py, with more runs than the suite has; and every mutation.

    python scripts/check_array_core.py [--runs 100]

For each core: all modes with random numbers and with extremes, tiles that load while others compute under random stalls of every
port, words that overwrite what steps read, more rows than the queues hold, and every transfer's cycle against the formulas. Then
each mutation of the Verilog, which must be noticed. A line each; exit status 1 where one fails. A few minutes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "shared"))

from array_bench import Bench, verilate
from array_checks import CORES, MUTATIONS, check_all, mutated


def failure(bench: Bench, runs: int) -> str:
    """The first line of what does not hold, or nothing."""
    try:
        check_all(bench, runs)
    except AssertionError as error:
        return next((line for line in str(error).splitlines() if line.strip()), "failed")
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100, help="runs under random stalls, of each core")
    options = parser.parse_args()
    failures = 0
    with tempfile.TemporaryDirectory(prefix="edgeflow-array-core-") as name:
        for number, (core_name, core) in enumerate(CORES.items()):
            remarks = verilate(core, "--lint-only", "-Wall").stderr
            wrong = remarks or failure(Bench(core, Path(name) / f"core{number}"), options.runs)
            failures += bool(wrong)
            print(f"{core_name:24} latency {core.latency:3}  {wrong or 'equal'}", flush=True)
        for number, (file, text, _) in enumerate(MUTATIONS):
            folder = Path(name) / f"mutation{number}"
            folder.mkdir()
            noticed = failure(Bench(CORES["8x8"], folder / "model", mutated(number, folder)), 12)
            failures += not noticed
            print(f"{file}: {text:40} {'noticed' if noticed else 'MISSED'}", flush=True)
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
