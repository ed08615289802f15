"""Synthesize every block of the accelerator with yosys and hold the formulas of resources to what it takes.

    python scripts/check_resources.py [--family xcup] [--only TEXT] [--simulate] [--document docs/hardware.md]

Prints a table for each family of devices: LUTs, flip-flops, DSP slices and block memories that the formulas say and that synthesis
takes. Exit status 1 where LUTs or flip-flops differ by more than 15 %, or DSP slices or block memories at all. ``--simulate`` also
runs the Verilog of every block against its definition, word for word. ``--document`` writes the tables between the marks of that
file. A quarter of an hour of processor time for both families.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from edgeflow.hw.synthesis import yosys
from edgeflow.hw.synthesis.block import Block
from edgeflow.hw.synthesis.comparison import blocks, compare, markdown
from edgeflow.hw.synthesis.simulation import simulate

CYCLES = 4096
BEGIN, END = "<!-- scripts/check_resources.py: begin -->", "<!-- scripts/check_resources.py: end -->"


def words_that_differ(chosen: list[Block]) -> list[str]:
    """A line for every output of a block that is not what its definition says."""
    rng = np.random.default_rng(0)
    drawn = [block.draw(rng, CYCLES) for block in chosen]
    with tempfile.TemporaryDirectory() as folder:
        shown = simulate(chosen, drawn, Path(folder))
    lines = []
    for block, words, outputs in zip(chosen, drawn, shown, strict=True):
        for name, count in block.differing(words, outputs).items():
            lines.append(f"{block.name}: {count} words of {name} differ from the definition")
    return lines


def main() -> int:
    """Exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=sorted(yosys.FAMILIES), nargs="*", default=sorted(yosys.FAMILIES, reverse=True))
    parser.add_argument("--only", default="", help="blocks whose name holds this")
    parser.add_argument("--simulate", action="store_true")
    parser.add_argument("--document", type=Path)
    arguments = parser.parse_args()
    text, failures = [], []
    for family in arguments.family:
        chosen = [block for block in blocks(family) if arguments.only in block.name]
        rows = compare(chosen, family)
        text += [f"{yosys.FAMILIES[family]} (`{family}`), yosys {yosys.version()}:", "", *markdown(rows), ""]
        failures += [
            f"{row.block.name}, {family}: the formula says {row.formula}, yosys takes {row.counts}" for row in rows if not row.holds
        ]
        if arguments.simulate:
            failures += words_that_differ(chosen)
    print("\n".join(text))
    if arguments.document is not None:
        before, rest = arguments.document.read_text().split(BEGIN)
        after = rest.split(END)[1]
        arguments.document.write_text(before + BEGIN + "\n\n" + "\n".join(text) + END + after)
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
