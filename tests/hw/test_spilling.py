"""Scratchpads that are too small: tensors leave the chip, nodes run in blocks of rows, and every word stays what it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from array_networks import Builder, attending, mlp
from operator_harness import case_graph, operator_cases
from small_network import small_network

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.arrays import IntArray
from edgeflow.hw.graph import Graph
from edgeflow.hw.ops import make_node
from edgeflow.hw.ops.concat import Concat
from edgeflow.hw.ops.dma import CONSTANTS, DMA, LOAD, STORE, Dma
from edgeflow.hw.verify import verify_graph
from edgeflow.sim import csim
from edgeflow.sim.compare import compare
from edgeflow.sw.compiler.codegen import write_overlay
from edgeflow.sw.compiler.lowering import lower
from edgeflow.sw.compiler.network import Network
from edgeflow.sw.compiler.placement import working_set


def tokens() -> Graph:
    """A class token before linear outputs, and positions that a linear layer adds from a constant."""
    b = Builder("tokens", 20, 48)
    positions = b.constant("positions", b.rng.integers(-30000, 30000, size=(20, 64)), 16)
    y = b.linear("x", 64, bits=16, residual=positions)
    token = b.constant("token", b.rng.integers(-30000, 30000, size=(2, 64)), 16)
    b.tensors["joined"] = b.tensors[y].__class__((22, 64), b.tensors[y].qtype)
    b.nodes.append(make_node(Concat(0), (token, y), "joined", "/Concat"))
    return b.graph("joined")


def embedding(name: str) -> Graph:
    """The embedding of most tokens among the operator's own cases."""
    return max((case_graph(case) for case in operator_cases(name)), key=lambda g: g.tensors["in0"].shape[0])


GRAPHS = {
    "small": small_network(),
    "pairs": mlp(12, 130, 200, 4, 4),
    "tokens": tokens(),
    "attention": attending(30, 3, 32),
    "embedding": embedding("embedding"),
    "positions": embedding("position_embedding"),
}
UNITS = ("linear", "attention", "elementwise", "embedding", "move", "dma")
SIZES = {
    "few lines": Architecture(units=UNITS).model_copy(update={"narrow_lines": 10, "wide_lines": 9}),
    "keys and ids fit": Architecture(
        pi=8, po=12, epilogue=4, vector=4, axi_bits=64, weight_ports=2, slots=512, units=UNITS
    ).model_copy(update={"narrow_lines": 124, "wide_lines": 130}),
}
RUNS = [("small", "few lines"), ("pairs", "few lines"), ("tokens", "few lines")]
RUNS += [(name, "keys and ids fit") for name in ("attention", "embedding", "positions")]


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    libraries = {}
    for name, architecture in SIZES.items():
        folder = tmp_path_factory.mktemp("spilling")
        write_overlay(folder, architecture)
        libraries[name] = csim.build(folder, count=True)
    return libraries


def samples(graph: Graph) -> dict[str, IntArray]:
    """Three random samples of every input; a third of the ids that positions are counted from are padding."""
    rng = np.random.default_rng(3)
    formats = {name: graph.tensors[name].format for name in graph.inputs}
    arrays = {name: rng.integers(f.minimum, f.maximum + 1, size=(3, *f.shape)) for name, f in formats.items()}
    for node in graph.nodes:
        if node.op == "position_embedding":
            ids = arrays[node.inputs[0]]
            ids[rng.random(ids.shape) < 1 / 3] = node.attributes["padding"]
    return arrays


@pytest.mark.parametrize(("name", "size"), RUNS)
def test_words_do_not_depend_on_the_scratchpad(name: str, size: str, libraries: dict[str, Path]) -> None:
    graph, architecture = GRAPHS[name], SIZES[size]
    network = Network(graph)
    verify_graph(graph)
    limits = (architecture.narrow_lines, architecture.wide_lines)
    assert any(need > has for need, has in zip(working_set(network, architecture), limits, strict=True))
    program = lower(network, architecture)
    assert all(used <= has for used, has in zip(program.scratch_lines, limits, strict=True))
    results = compare(graph, program, libraries[size], samples(graph))
    assert [(r.name, r.differing) for r in results if r.differing or not r.words] == []


@pytest.mark.parametrize(("name", "size"), RUNS)
def test_transfers_take_the_cycles_that_are_predicted(name: str, size: str, libraries: dict[str, Path]) -> None:
    program = lower(Network(GRAPHS[name]), SIZES[size])
    modes = set()
    with csim.CSimulation(program, libraries[size]) as simulation:
        for step, counted in simulation.counted({n: v[0] for n, v in samples(GRAPHS[name]).items()}):
            if step.instruction.layout is not DMA:
                continue
            values = step.instruction.values
            modes.add(values["mode"])
            loops = Dma.cycles(values, program.architecture).loops
            loop_counts = {loop: counts for (process, loop), counts in counted.items() if process == "vector"}
            assert loop_counts == {n: (loop.entries, loop.trips) for n, loop in loops.items()}
    needed = {"tokens": {LOAD, STORE, CONSTANTS}, "embedding": {STORE}, "positions": {STORE}}
    assert modes >= needed.get(name, {LOAD, STORE})
