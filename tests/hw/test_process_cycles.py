"""What the processes do for every instruction is what the units state: the loops that C simulation counts, command by command."""

from __future__ import annotations

import numpy as np
import pytest
from array_networks import attending, mlp, stream
from operator_harness import ARCHITECTURES, Built, case_graph, case_samples, operator_cases

from edgeflow.hw.ops import registry
from edgeflow.sim import csim
from edgeflow.sim.counting import command_differences
from edgeflow.sw.compiler.codegen import overlay_files
from edgeflow.sw.compiler.lowering import lower
from edgeflow.sw.compiler.network import Network


@pytest.fixture(scope="module")
def overlays() -> dict[str, Built]:
    return {name: Built(a, csim.build(overlay_files(a, network=True), count=True)) for name, a in ARCHITECTURES.items()}


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
@pytest.mark.parametrize("name", sorted(registry()))
def test_cases_of_operators(name: str, architecture: str, overlays: dict[str, Built]) -> None:
    overlay = overlays[architecture]
    for case in operator_cases(name):
        program = lower(Network(case_graph(case)), overlay.architecture)
        assert command_differences(program, overlay.library, case_samples(case)[0]) == [], case.name


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
    x = np.random.default_rng(1).integers(format.minimum, format.maximum + 1, size=format.shape)
    assert command_differences(lower(Network(graph), overlay.architecture), overlay.library, {"x": x}) == []
