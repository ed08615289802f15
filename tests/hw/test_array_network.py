"""The accelerator as processes joined by streams makes the words of the executor, in any order of its processes."""

from __future__ import annotations

import numpy as np
import pytest
from array_networks import attending, mlp, stream
from operator_harness import ARCHITECTURES, Built, operator_cases, reference

from edgeflow.hw.ops import registry
from edgeflow.sim import csim
from edgeflow.sim.csim import CSimulation, Depths, Schedule
from edgeflow.sim.executor import Executor
from edgeflow.sw.compiler.codegen import overlay_files
from edgeflow.sw.compiler.lowering import lower
from edgeflow.sw.compiler.network import Network

SCHEDULES = (None, Schedule(3, Depths.DECLARED), Schedule(8, Depths.DRAWN))


@pytest.fixture(scope="module")
def overlays() -> dict[str, Built]:
    return {name: Built(a, csim.build(overlay_files(a), count=True)) for name, a in ARCHITECTURES.items()}


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
@pytest.mark.parametrize("name", sorted(registry()))
def test_cases_of_operators(name: str, architecture: str, overlays: dict[str, Built]) -> None:
    for case in operator_cases(name):
        expected = reference(case)
        for schedule in SCHEDULES:
            words = overlays[architecture].run(case, schedule)
            np.testing.assert_array_equal(words, expected, err_msg=f"{case.name}, {schedule}")


GRAPHS = {
    "two rows at once": mlp(7, 96, 80, 4, 4),
    "quarter bytes": mlp(9, 70, 40, 3, 2),
    "blocks of keys": attending(150, 2, 16),
    "many heads": attending(13, 12, 32),
    "normalization beside products": stream(21, 64, 300),
    "of pairs of rows": stream(7, 96, 200, 4, 4),
    "long rows": stream(3, 1000, 64),
}


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
@pytest.mark.parametrize("name", GRAPHS)
def test_chains_of_instructions(name: str, architecture: str, overlays: dict[str, Built]) -> None:
    graph, overlay = GRAPHS[name], overlays[architecture]
    format = graph.tensors["x"].format
    x = np.random.default_rng(1).integers(format.minimum, format.maximum + 1, size=(1, *format.shape))
    expected = Executor(graph, threads=1).run({"x": x})
    program = lower(Network(graph), overlay.architecture)
    for schedule in SCHEDULES:
        with CSimulation(program, overlay.library, schedule) as simulation:
            outputs = simulation.run({"x": x[0]})
        for output in graph.outputs:
            np.testing.assert_array_equal(outputs[output], expected[output][0], err_msg=f"{output}, {schedule}")
