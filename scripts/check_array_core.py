"""The array core and its process in Verilator: every core of tests/shared/array_checks.py, with more runs than the suite has; and
every mutation.

    python scripts/check_array_core.py [--runs 100]

For each core: all modes with random numbers and with extremes, tiles that load while others compute under random stalls of every
port, words that overwrite what steps read, more rows than the queues hold, and every transfer's cycle against the formulas. The
same cores as processes: random commands under random stalls of every stream, and cycles. Then each mutation of the Verilog, which
must be noticed. A line each; exit status 1 where one fails. Some minutes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "shared"))

import array_bench
import array_checks
import process_bench
import process_checks
from array_checks import CORES

from edgeflow.hw import array_core, array_process


def failure(check: Callable[[], None]) -> str:
    """The first line of what does not hold, or nothing."""
    try:
        check()
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
            for top, bench, checks in (
                (array_core.TOP, array_bench.Bench, array_checks),
                (array_process.TOP, process_bench.Bench, process_checks),
            ):
                remarks = array_bench.verilate(core, "--lint-only", "-Wall", top=top).stderr
                model = bench(core, Path(name) / f"{top}{number}")
                wrong = remarks or failure(partial(checks.check_all, model, options.runs))
                failures += bool(wrong)
                print(f"{top:24} {core_name:24} latency {core.latency:3}  {wrong or 'equal'}", flush=True)
        for core_name, bench, checks in (
            ("8x8", array_bench.Bench, array_checks),
            ("4x4, words of 4 bytes", process_bench.Bench, process_checks),
        ):
            for number, mutation in enumerate(checks.MUTATIONS):
                folder = Path(name) / f"{checks.__name__}{number}"
                folder.mkdir()
                model = bench(CORES[core_name], folder / "model", array_bench.mutated(mutation, folder))
                noticed = failure(partial(checks.check_all, model))
                failures += not noticed
                print(f"{mutation[0]}: {mutation[1]:40} {'noticed' if noticed else 'MISSED'}", flush=True)
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
