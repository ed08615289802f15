"""The accelerator as processes joined by streams, in many orders of theirs: words that change, streams that are too shallow.

    python scripts/fuzz_schedules.py BUILD [--first 1] [--count 1000]

Each seed draws the order in which the accelerator's processes run, rests at reads and writes, and for every second seed also how
much deeper than declared each stream is. Every output word of one sample is compared with the NumPy executor. Exit status 1 if a
word differs or the processes cannot go on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from rich.progress import track

import edgeflow
from edgeflow.hw.errors import VerificationError
from edgeflow.quant.canonical.inputs import encode_inputs
from edgeflow.sim import csim
from edgeflow.sim.csim import CSimulation, Depths, Schedule
from edgeflow.sim.executor import Executor
from edgeflow.sw.compiler.codegen import overlay_files
from edgeflow.sw.files.build import Build


def main() -> int:
    """Parse the options, run and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--count", type=int, default=1000)
    args = parser.parse_args()
    try:
        build = Build(args.build)
        words = encode_inputs(build.graph, {name: value[:1] for name, value in build.golden().items()})
        expected = Executor(build.graph).run(words)
        library = csim.build(overlay_files(build.program.architecture))
    except edgeflow.EdgeFlowError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    inputs = {name: value[0] for name, value in words.items()}
    compared = differing = stuck = 0
    for seed in track(range(args.first, args.first + args.count), "schedules", transient=True):
        schedule = Schedule(seed, Depths.DRAWN if seed % 2 else Depths.DECLARED)
        with CSimulation(build.program, library, schedule) as simulation:
            try:
                outputs = simulation.run(inputs)
            except VerificationError as error:
                stuck += 1
                print(f"seed {seed}: {error}")
                continue
        for name, output in outputs.items():
            compared += output.size
            wrong = int(np.count_nonzero(output != expected[name][0]))
            differing += wrong
            if wrong:
                print(f"seed {seed}: {wrong} of {output.size} words of {name} differ")
    print(f"{args.count:,} schedules: {compared:,} words compared, {differing:,} differ; {stuck:,} times no process could go on")
    return int(differing > 0 or stuck > 0)


if __name__ == "__main__":
    sys.exit(main())
