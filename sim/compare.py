"""Word-by-word comparison of the NumPy executor with the C simulation, every tensor of every sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeflow.hw.arrays import IntArray
from edgeflow.hw.graph import Graph
from edgeflow.hw.program import Program
from edgeflow.hw.progress import Progress
from edgeflow.sim.csim import CSimulation
from edgeflow.sim.executor import Executor


@dataclass(frozen=True)
class TensorComparison:
    """One tensor over all samples. ``first`` is the sample and index of the first difference with both words, or None."""

    name: str
    words: int
    differing: int
    first: tuple[tuple[int, ...], int, int] | None


def compare(
    graph: Graph, program: Program, library: Path, inputs: Mapping[str, IntArray], progress: Progress | None = None
) -> tuple[TensorComparison, ...]:
    """Run the integer inputs ``(N, *shape)`` through NumPy and C++ and compare every tensor, inputs and views included."""
    executor = Executor(graph)
    samples = next(iter(inputs.values())).shape[0]
    counts: dict[str, list[int]] = {}
    first: dict[str, tuple[tuple[int, ...], int, int]] = {}
    with CSimulation(program, library) as simulation:
        for n in range(samples):
            expected = executor.run_all({name: value[n : n + 1] for name, value in inputs.items()})

            def check(name: str, actual: IntArray, n: int = n, expected: Mapping[str, IntArray] = expected) -> None:
                wrong = actual != expected[name][0]
                count = counts.setdefault(name, [0, 0])
                count[0] += wrong.size
                count[1] += int(wrong.sum())
                if name not in first and wrong.any():
                    index = tuple(int(i) for i in np.argwhere(wrong)[0])
                    first[name] = ((n, *index), int(expected[name][0][index]), int(actual[index]))

            simulation.run({name: value[n] for name, value in inputs.items()}, observe=check)
            if progress is not None:
                progress("comparing NumPy with C++", n + 1, samples)
    ordered = [*graph.inputs, *(node.output for node in graph.nodes)]
    compared = ((name, *counts.get(name, (0, 0))) for name in ordered)
    return tuple(TensorComparison(name, words, differing, first.get(name)) for name, words, differing in compared)
