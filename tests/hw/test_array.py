"""The array: 4-bit operands, blocks of keys, lanes, chains of passes, and trip counts that are exactly those that run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from array_networks import Builder, attending, mlp
from operator_harness import ARCHITECTURES

from edgeflow.hw.architecture import NIBBLES, Architecture
from edgeflow.hw.commands import Command
from edgeflow.hw.graph import Graph
from edgeflow.hw.ops.attention_commands import attention_commands
from edgeflow.hw.ops.attention_schedule import SCORES, VALUES
from edgeflow.hw.ops.linear import Linear, tile_weights
from edgeflow.hw.ops.linear_commands import linear_commands
from edgeflow.hw.program import Program
from edgeflow.hw.verify import verify_graph
from edgeflow.sim import csim
from edgeflow.sim.counting import count_differences
from edgeflow.sim.executor import Executor
from edgeflow.sw.compiler.codegen import write_overlay
from edgeflow.sw.compiler.lowering import lower
from edgeflow.sw.compiler.network import Network

UNITS = ("linear", "attention", "dma")
SIZES = {
    "16x16": Architecture(units=UNITS),
    "64x48": ARCHITECTURES["64x48 axi128"].model_copy(update={"units": UNITS, "max_channels": 1024}),
    "8x12 without 4 bits": ARCHITECTURES["8x12 axi64"].model_copy(update={"units": UNITS}),
    "4x8, four ports": Architecture(
        pi=4, po=8, epilogue=8, vector=4, axi_bits=32, weight_ports=4, slots=512, max_tokens=64, units=UNITS
    ),
    "16x16 with half bytes": Architecture(precisions=(8, 4), units=UNITS),
    "8x12 without 4 bits, with 2": ARCHITECTURES["8x12 axi64"].model_copy(update={"precisions": (8, 2), "units": UNITS}),
}
GRAPHS = {
    "W4A4": mlp(7, 96, 80, 4, 4),
    "W4A4, even rows": mlp(8, 130, 64, 4, 4),
    "W4A8": mlp(5, 96, 80, 8, 4),
    "W8A4": mlp(6, 64, 96, 4, 8),
    "W2A3": mlp(9, 70, 40, 3, 2),
    "W2A4": mlp(7, 90, 37, 4, 2),
    "W2A8": mlp(5, 130, 81, 8, 2),
    "W3A4": mlp(6, 70, 40, 4, 3),
    "attention in blocks of keys": attending(150, 2, 16),
    "one token": attending(1, 3, 32),
    "many heads": attending(13, 12, 32),
    "wide heads": attending(70, 2, 64, bits=16),
}


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    libraries = {}
    for name, architecture in SIZES.items():
        folder = tmp_path_factory.mktemp("array")
        write_overlay(folder, architecture)
        libraries[name] = csim.build(folder, count=True)
    return libraries


def inputs_of(graph: Graph, samples: int = 2) -> dict[str, np.ndarray]:
    f = graph.tensors["x"].format
    return {"x": np.random.default_rng(1).integers(f.minimum, f.maximum + 1, size=(samples, *f.shape))}


def run(program: Program, library: Path, graph: Graph) -> np.ndarray:
    with csim.CSimulation(program, library) as simulation:
        return np.stack([simulation.run({"x": x})[graph.outputs[0]] for x in inputs_of(graph)["x"]])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", GRAPHS)
def test_words_and_counts(name: str, size: str, libraries: dict[str, Path]) -> None:
    graph = GRAPHS[name]
    verify_graph(graph)
    program = lower(Network(graph), SIZES[size])
    expected = Executor(graph, threads=1).run(inputs_of(graph))[graph.outputs[0]]
    assert expected.std() > 0
    np.testing.assert_array_equal(run(program, libraries[size], graph), expected)
    assert count_differences(program, libraries[size], {"x": inputs_of(graph)["x"][0]}) == []


def linear_passes(program: Program) -> list[dict[str, int]]:
    """Fields of the passes that compute a linear layer."""
    passes = [dict(s.instruction.values) for s in program.steps if s.instruction.layout.name == "linear"]
    return [values for values in passes if values["rows"]]


def trips_of(loop: str, commands: tuple[Command, ...]) -> int:
    """Iterations of a loop."""
    return sum(one.trips for command in commands for one in command.phases if one.loop == loop)


def test_four_bits_take_half_the_cycles() -> None:
    """The same layers at 4 bits: two rows at once, half of the bytes of weights."""
    size = SIZES["64x48"].model_copy(update={"narrow_lines": 8192})
    shape = (196, 768, 768)
    eight, four = lower(Network(mlp(*shape, 8, 8)), size), lower(Network(mlp(*shape, 4, 4)), size)
    # The first layer reads the network's 8-bit input in both.
    slow, fast = linear_passes(eight)[16:], linear_passes(four)[16:]
    assert [v["quad"] for v in fast] == [1] * len(fast)
    assert all(v["x_storage"] == NIBBLES for v in fast)
    trips = [[trips_of("products", linear_commands(values, size)) for values in passes] for passes in (slow, fast)]
    assert len(trips[0]) > 30
    assert all(a == 2 * b for a, b in zip(*trips, strict=True))
    words = [sum(v["load_words"] for v in passes[:-1]) for passes in (slow, fast)]
    assert words[1] < 0.53 * words[0]


def loaded_words(library: Path, architecture: Architecture, weight_bits: int, channels: int) -> list[int]:
    """Words of the weight stream that the C++ takes for each tile of a linear layer of 48 outputs."""
    builder = Builder("words", 3, channels)
    graph = builder.graph(builder.linear("x", 48, weight_bits=weight_bits, bits=16))
    with csim.CSimulation(lower(Network(graph), architecture), library) as simulation:
        counted = [counts for _, counts in simulation.counted({"x": inputs_of(graph)["x"][0]})]
    return [counts["load", "load"][1] for counts in counted if ("load", "load") in counts]


def test_weights_take_words_by_their_bits(libraries: dict[str, Path]) -> None:
    """Two 4-bit weights, or 3-bit ones, lie in a byte, and four of 2 bits."""
    parameters = 3 * 16 * 4 // 16
    weights = 128 * 16 // 16  # at 8 bits: a tile of 16 outputs, 16 bytes to a word
    for bits, share in ((8, 1), (5, 1), (4, 2), (3, 2), (2, 4)):
        assert loaded_words(libraries["16x16"], SIZES["16x16"], bits, 128) == [parameters + weights // share] * 3
    # An accelerator without the quarter bytes takes weights of 2 bits as half bytes.
    halves = "16x16 with half bytes"
    assert loaded_words(libraries[halves], SIZES[halves], 2, 128) == [parameters + weights // 2] * 3


def test_quarter_bytes_fill_whole_words(libraries: dict[str, Path]) -> None:
    """A step of 8 x 12 weights of 2 bits takes 24 bytes: two words of 16 bytes, the second half empty."""
    size = SIZES["8x12 without 4 bits, with 2"]
    parameters, steps = 12, 5  # 144 bytes of parameters, padded to 192; 40 inputs
    assert loaded_words(libraries["8x12 without 4 bits, with 2"], size, 2, 40) == [parameters + 2 * steps + 2] * 4
    assert tile_weights(np.ones((12, 40), dtype=np.int64), 0, size, 2).tolist() == [[0b01010101] * 24 + [0] * 8] * steps


@pytest.mark.parametrize("lanes", [4, 16, 64])
def test_bandwidth_of_attention_is_constant(lanes: int) -> None:
    """One key or value a cycle for any number of lanes: PI bytes of the scratchpad or of the value memory for each product."""
    architecture = Architecture(pi=64, po=lanes, epilogue=4, slots=64, units=UNITS, vector=8)
    program = lower(Network(attending(256, 2, 64)), architecture)
    passes = [dict(s.instruction.values) for s in program.steps if s.instruction.layout.name == "attention"]
    scores = [v for v in passes if v["mac"] == SCORES]
    values = [v for v in passes if v["mac"] == VALUES]
    blocks = 256 // lanes
    assert len(scores) == len(values) == 2 * blocks
    assert all(trips_of("products", attention_commands(v, architecture)) == v["keys"] * v["steps"] for v in scores)
    # Vectors of the narrow memory: keys once a block, queries once in all, values once a head.
    assert sum(v["keys"] * v["steps"] for v in scores) == 2 * blocks * 256
    assert sum(v["q_lanes"] * v["q_steps"] for v in passes) == 2 * 256
    assert sum(v["v_keys"] * v["v_lines"] for v in passes) == 2 * 256


def test_wrong_formula_is_found(libraries: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """One iteration too few in the formula of the array's products."""
    graph = GRAPHS["W4A8"]
    program = lower(Network(graph), SIZES["16x16"])

    def wrong(_: type[Linear], values: dict[str, int], architecture: Architecture, __: int) -> tuple[Command, ...]:
        right = linear_commands(values, architecture)
        return tuple(
            Command(c.process, tuple(one._replace(trips=one.trips - (one.loop == "products")) for one in c.phases)) for c in right
        )

    monkeypatch.setattr(Linear, "commands", classmethod(wrong))
    differences = count_differences(program, libraries["16x16"], {"x": inputs_of(graph)["x"][0]})
    assert any("multiply/products" in one for one in differences)
