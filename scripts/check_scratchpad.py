"""The scratchpad core in Verilator: every core of tests/shared/scratchpad_checks.py, with more runs than the suite has; and every
mutation; and what yosys makes of it.

    python scripts/check_scratchpad.py [--runs 50]

For each core: regions that are read once a notice says so, reads and writes of the same lines, all under random stalls of every
port, a reader that takes nothing, and every transfer's cycle against the formulas. Then each mutation of the Verilog, which must be
noticed. Then the block memories of banks and two whole cores after synthesis for UltraScale+, against the formulas. A line
each; exit status 1 where one fails. Some minutes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "shared"))

from array_bench import mutated, verilate
from scratchpad_bench import Bench
from scratchpad_checks import CORES, MUTATIONS, check_all
from scratchpad_synthesis import BANKS, WHOLE, block_memories, synthesize

from edgeflow.hw.scratchpad_core import TOP
from edgeflow.hw.scratchpad_core_resources import resources


def failure(bench: Bench, runs: int) -> str:
    """The first line of what does not hold, or nothing."""
    try:
        check_all(bench, runs)
    except AssertionError as error:
        return next((line for line in str(error).splitlines() if line.strip()), "failed")
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50, help="runs under random stalls, of each core")
    options = parser.parse_args()
    failures = 0
    with tempfile.TemporaryDirectory(prefix="edgeflow-scratchpad-") as name:
        for number, (core_name, core) in enumerate(CORES.items()):
            remarks = verilate(core, "--lint-only", "-Wall", top=TOP).stderr
            wrong = remarks or failure(Bench(core, Path(name) / f"core{number}"), options.runs)
            failures += bool(wrong)
            print(f"{core_name:40} {wrong or 'equal'}", flush=True)
        for number, (file, text, _) in enumerate(MUTATIONS):
            folder = Path(name) / f"mutation{number}"
            folder.mkdir()
            noticed = failure(Bench(next(iter(CORES.values())), folder / "model", mutated(MUTATIONS[number], folder)), 12)
            failures += not noticed
            print(f"{file}: {text:40} {'noticed' if noticed else 'MISSED'}", flush=True)
    for core in BANKS:
        taken, counted = block_memories(core), core.block_memories // core.banks
        failures += taken != counted
        rows, halves = core.lines // core.banks, core.half_lines // core.banks
        print(
            f"a bank of {rows} lines of {core.line_bytes} bytes, {halves} of half bytes: {taken} RAMB18, counted {counted}",
            flush=True,
        )
    for core in WHOLE:
        whole, expected = synthesize(core), resources(core)
        failures += (whole.ff, whole.bram18) != (expected.ff, expected.bram18) or abs(whole.lut / expected.lut - 1) > 0.15
        print(f"{core}: {whole}, counted {expected}", flush=True)
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
