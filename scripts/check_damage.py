"""Builds damaged in every file, with and without corrected hashes: no internal error, no signal, no wrong success.

    python scripts/check_damage.py [--count 500] [--seed 0] [--workers 2]

Each damaged build goes through verify, simulate, cycles, report, export and compare, within 30 seconds a build and 2 GB. Prints
what became of the damage to each file; exit status 1 where something must not have happened. Refused: with one line and exit status
2 by a command or more. Equal: accepted, with the good build's outputs. Harmless: accepted with others, which NumPy and C++ share.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "shared"))

from damage import READ, BuildWorker
from fuzzing import Outcome, failures, fuzz

ENDS = ("refused", "equal", "harmless", "internal", "died", "hang", "wrong", "other")


def table(outcomes: list[Outcome]) -> str:
    """Damaged builds by file and by what became of them."""
    rows = [f"{'file':24}{'builds':>8}" + "".join(f"{end:>10}" for end in ENDS)]
    for name in (*READ, "other files", "all"):
        part = [o for o in outcomes if name in ("all", o.kind) or (name == "other files" and o.kind not in READ)]
        ends = Counter(o.end if o.end in ENDS else "other" for o in part)
        rows.append(f"{name:24}{len(part):8}" + "".join(f"{ends[end]:10}" for end in ENDS))
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0, help="number of the first damaged build")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--all", action="store_true", help="print every outcome, not those alone that must not happen")
    options = parser.parse_args()
    began, outcomes = time.monotonic(), []
    for outcome in fuzz(range(options.seed, options.seed + options.count), BuildWorker, workers=options.workers):
        outcomes.append(outcome)
        if outcome.failed or options.all:
            print(outcome.line, flush=True)
    print(table(outcomes))
    print(f"{len(outcomes)} damaged builds in {time.monotonic() - began:.0f} s")
    failed = failures(outcomes)
    print(*failed, sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
