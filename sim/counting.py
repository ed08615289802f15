"""The check that predicted trip counts are those that really run: C simulation with loop counters against the units' formulas."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgeflow.hw.architecture import LINE_BYTES
from edgeflow.hw.arrays import IntArray
from edgeflow.hw.commands import Command, loops
from edgeflow.hw.ops import unit
from edgeflow.hw.program import Program, Step
from edgeflow.sim.csim import CSimulation

UNCOUNTED = ("fetch_program", "fetch_words", "sequence")  # processes that the cycle simulator models itself


def count_differences(program: Program, library: Path, inputs: Mapping[str, IntArray]) -> list[str]:
    """Instructions whose processes' loops, as the C++ counts them on one sample, are not those of :meth:`Unit.commands`, one line
    each.

    ``library``: built with ``count`` (:func:`edgeflow.sim.csim.build`); ``inputs``: integers in per-sample shape.
    """
    with CSimulation(program, library) as simulation:
        return counted_run(simulation, program, inputs)[1]


def counted_run(simulation: CSimulation, program: Program, inputs: Mapping[str, IntArray]) -> tuple[dict[str, IntArray], list[str]]:
    """Outputs of one sample, as :meth:`CSimulation.run`, and its differences, as :func:`count_differences`, of the same run."""
    differences = []
    for step, counted in simulation.counted(inputs):
        expected = loops(commands(step, program))
        own = {name: count for name, count in counted.items() if name[0] not in UNCOUNTED}
        if own != expected:
            wrong = sorted(name for name in own.keys() | expected.keys() if own.get(name) != expected.get(name))
            what = ", ".join(f"{'/'.join(name)} {own.get(name)} counted, {expected.get(name)} predicted" for name in wrong)
            differences.append(f"{step.node} ({step.instruction.layout.name}): {what}")
    return {name: simulation.read_external(name) for name in program.outputs}, differences


def commands(step: Step, program: Program) -> tuple[Command, ...]:
    """What the processes do for a step of a program."""
    words = step.instruction.stream[1] * LINE_BYTES // program.architecture.stream_bytes
    return unit(step.instruction.layout).commands(step.instruction.values, program.architecture, words)
