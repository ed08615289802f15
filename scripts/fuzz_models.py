"""The structural fuzzer at length: mutants of twelve small models through compile and verify; minutes to hours.

    python scripts/fuzz_models.py [--count 10000] [--first 0] [--workers 2] [--cache FOLDER] [--json OUTCOMES.json]

Every mutant must compile and verify, or be refused in one line with exit status 2, within 30 seconds of processor time and 2 GB,
and leave nothing behind. Prints what became of each kind of mutation, and the failures by the place of the code that they came
from; exit status 1 where there is one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "shared"))

from fuzzing import KINDS, Outcome, failures, fuzz

ENDS = ("compiled", "refused", "internal", "hang", "memory", "died", "differs", "folder", "other")


def table(outcomes: list[Outcome]) -> str:
    """Mutants of every kind by what became of them."""
    head = f"{'kind':16}{'mutants':>9}{'reached':>9}{'loaded':>8}" + "".join(f"{end:>10}" for end in ENDS)
    rows = [head]
    for kind in (*KINDS, "all"):
        part = [entry for entry in outcomes if kind in ("all", entry.kind)]
        ends = Counter(entry.end if entry.end in ENDS else "other" for entry in part)
        reached, loaded = sum(entry.reached for entry in part), sum(entry.loaded for entry in part)
        rows.append(f"{kind:16}{len(part):9}{reached:9}{loaded:8}" + "".join(f"{ends[end]:10}" for end in ENDS))
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cache", type=Path, help="a cache to keep, with the compiled simulation; a temporary one by default")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    began, outcomes = time.monotonic(), []
    numbers = range(options.first, options.first + options.count)
    for outcome in fuzz(numbers, workers=options.workers, cache=options.cache):
        outcomes.append(outcome)
        if outcome.failed:
            print(outcome.line, flush=True)
    print(table(outcomes))
    print(f"{len(outcomes)} mutants in {time.monotonic() - began:.0f} s")
    failed = failures(outcomes)
    print(*failed, sep="\n")
    if options.json is not None:
        options.json.write_text(json.dumps([dataclasses.asdict(entry) for entry in outcomes], indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
