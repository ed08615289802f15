"""Layer normalization beside the products that make its input: words, exact counts, places that overlap, cycles."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from array_networks import stream
from operator_harness import ARCHITECTURES

from edgeflow.hw.architecture import HALVES, Architecture
from edgeflow.hw.boards import load_board
from edgeflow.hw.graph import Graph
from edgeflow.hw.program import Program
from edgeflow.hw.verify import verify_graph
from edgeflow.sim import csim
from edgeflow.sim.compare import compare
from edgeflow.sim.counting import counted_run
from edgeflow.sim.cycles import estimate
from edgeflow.sim.executor import Executor
from edgeflow.sw.compiler.codegen import write_overlay
from edgeflow.sw.compiler.lowering import lower
from edgeflow.sw.compiler.network import Network
from edgeflow.sw.compiler.weight_prefetch import runs_beside

UNITS = ("linear", "attention", "layernorm", "dma")
SIZES = {
    "16x16": Architecture(units=UNITS),
    "64x48": ARCHITECTURES["64x48 axi128"].model_copy(update={"units": UNITS}),
    "8x12 without 4 bits": ARCHITECTURES["8x12 axi64"].model_copy(update={"units": UNITS}),
    "4x8, four ports": Architecture(
        pi=4, po=8, epilogue=8, vector=4, axi_bits=32, weight_ports=4, slots=512, max_tokens=64, units=UNITS
    ),
}


GRAPHS = {
    "fewer steps than the epilogue takes": stream(9, 72, 16),
    "many steps": stream(21, 64, 300),
    "many rows": stream(150, 48, 130),
    "one row": stream(1, 100, 80),
    "rows of one chunk": stream(90, 20, 64),
    "4 bits": stream(7, 96, 200, 4, 4),
    "4 bits, many rows": stream(70, 40, 260, 4, 4),
    "long rows": stream(3, 1000, 64),
    "narrow at last": stream(40, 80, 200, last=8),
}


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    libraries = {}
    for name, architecture in SIZES.items():
        folder = tmp_path_factory.mktemp("beside")
        write_overlay(folder, architecture)
        libraries[name] = csim.build(folder, count=True)
    return libraries


def sample_of(graph: Graph, seed: int = 1) -> dict[str, np.ndarray]:
    f = graph.tensors["x"].format
    return {"x": np.random.default_rng(seed).integers(f.minimum, f.maximum + 1, size=f.shape)}


def pairs(program: Program) -> list[tuple[int, dict[str, int], dict[str, int]]]:
    """Passes that a layer normalization runs beside, and that: index and fields."""
    beside = []
    for i, step in enumerate(program.steps):
        if step.instruction.values.get("norm"):
            beside.append((i, dict(step.instruction.values), dict(program.steps[i + 1].instruction.values)))
    return beside


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", GRAPHS)
def test_words_and_counts(name: str, size: str, libraries: dict[str, Path]) -> None:
    """Instruction by instruction every tensor, all at once the outputs; the formulas' counts, which are the least that suffice."""
    graph, architecture = GRAPHS[name], SIZES[size]
    verify_graph(graph)
    program = lower(Network(graph), architecture)
    assert len(pairs(program)) >= 3
    sample = sample_of(graph)
    assert all(tensor.differing == 0 for tensor in compare(graph, program, libraries[size], {"x": sample["x"][None]}))
    expected = Executor(graph, threads=1).run({"x": sample["x"][None]})
    with csim.CSimulation(program, libraries[size]) as simulation:
        actual = simulation.run(sample)
        for output in graph.outputs:
            assert expected[output].std() > 0
            np.testing.assert_array_equal(actual[output], expected[output][0])
        assert counted_run(simulation, program, sample)[1] == []


def fields(**changes: int) -> tuple[dict[str, int], dict[str, int]]:
    """A pass of 10 rows of 320 channels at line 100 to 64 channels at line 5000, and a normalization of those to line 1000."""
    linear = {"x": 100, "x_stride": 5, "x_storage": 1, "rows": 10, "y": 5000, "y_stride": 2, "y_storage": HALVES, "y_limit": 64}
    linear |= {"y_channel": 48, "chain": 0, "quad": 0, "has_residual": 1, "residual": 5000, "residual_stride": 2}
    norm = {"x": 5000, "x_storage": HALVES, "y": 1000, "y_storage": 1, "rows": 10, "channels": 64}
    for name, value in changes.items():
        kind, _, field = name.partition("_")
        (linear if kind == "linear" else norm)[field] = value
    return linear, norm


def test_cycles_beside_the_products_count_there() -> None:
    """The normalization has those after the pass, and says how many it would have had besides."""
    architecture = SIZES["16x16"]
    graph = stream(160, 48, 384)
    program = lower(Network(graph), architecture)
    report = estimate(program, graph, load_board("zcu102"), 200.0)
    layers = {layer.output: layer for layer in report.layers}
    for i, _, norm in pairs(program):
        before, instruction = report.instructions[i : i + 2]
        assert (instruction.unit, instruction.array) == ("layernorm", False)
        chunks = norm["rows"] * norm["channels"] // architecture.vector
        assert instruction.compute < chunks
        assert instruction.compute + instruction.memory + instruction.hidden >= chunks
        assert instruction.hidden > 0
        assert instruction.start == before.end
        layer = layers[instruction.output]
        assert (layer.vector, layer.hidden) == (instruction.cycles, instruction.hidden)
    assert all(i.hidden == 0 for i in report.instructions if i.unit != "layernorm")


@pytest.mark.parametrize("name", ["rows of one chunk", "4 bits"])
@pytest.mark.skipif(importlib.util.find_spec("hls4ml") is None, reason="the exact headers come with hls4ml")
def test_exact_headers_agree(name: str, tmp_path: Path) -> None:
    graph, architecture = GRAPHS[name], SIZES["4x8, four ports"]
    write_overlay(tmp_path, architecture)
    program = lower(Network(graph), architecture)
    library = csim.build(tmp_path, exact=True)
    assert all(tensor.differing == 0 for tensor in compare(graph, program, library, {"x": sample_of(graph)["x"][None]}))


@pytest.mark.parametrize(
    ("changes", "possible"),
    [
        ({}, True),
        ({"norm_y": 100}, True),  # five lines a row are read, one is written
        ({"norm_y": 105}, False),  # the first row's output lies over the second row of the input
        ({"norm_y": 104}, True),
        ({"norm_y": 140}, False),
        ({"norm_y": 145}, False),
        ({"norm_y": 150}, True),
        ({"norm_y": 90}, True),
        ({"norm_y": 5000, "norm_y_storage": HALVES}, False),  # the output of the pass must remain
        ({"norm_y": 5020, "norm_y_storage": HALVES}, True),
        ({"norm_y": 6000, "norm_y_storage": HALVES, "linear_residual": 6000}, True),  # as rows are read
        ({"norm_y": 6002, "norm_y_storage": HALVES, "linear_residual": 6000}, False),
        ({"norm_y": 6002, "norm_y_storage": HALVES, "linear_residual": 6000, "linear_has_residual": 0}, True),
        ({"norm_rows": 9}, False),
        ({"norm_x": 5002}, False),
        ({"norm_channels": 128}, False),
        ({"linear_y_channel": 32}, False),  # not the last tile
        ({"linear_y_storage": 1, "norm_x_storage": 1}, False),
        ({"linear_chain": 1}, False),
        ({"linear_quad": 1, "linear_x_storage": 0, "norm_y": 105}, False),
        ({"linear_quad": 1, "linear_x_storage": 0, "norm_y": 103}, True),
        ({"linear_quad": 1, "linear_x_storage": 0, "norm_y": 104}, False),  # rows in pairs: 104 and 105
    ],
)
def test_when_it_runs_beside(changes: dict[str, int], possible: bool) -> None:
    assert runs_beside(*fields(**changes), SIZES["16x16"]) == possible
