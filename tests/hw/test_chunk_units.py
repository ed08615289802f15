"""Layer normalization and elementwise units: a chunk a cycle, where constants come from, what they refuse and cost."""

from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from operator_harness import ARCHITECTURES, case_graph, reference

from edgeflow.hw.architecture import Architecture, ceil_div
from edgeflow.hw.arrays import IntArray
from edgeflow.hw.cost import Resources
from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.graph import Format, Graph, QType, TensorType
from edgeflow.hw.ops import Case, make_node
from edgeflow.hw.ops.add import Add
from edgeflow.hw.ops.base import INCLUDE, Operator, VectorUnit, unit
from edgeflow.hw.ops.elementwise import ROW, ROWS, ElementwiseOperator
from edgeflow.hw.ops.layernorm import (
    GAIN,
    OFFSET,
    SEED,
    LayerNorm,
    layernorm_parameters,
    reciprocal_root_seeds,
)
from edgeflow.hw.ops.linear import Linear
from edgeflow.hw.program import Step
from edgeflow.sim import csim
from edgeflow.sw.compiler.codegen import write_overlay
from edgeflow.sw.compiler.lowering import lower
from edgeflow.sw.compiler.network import Network

UNITS = ("elementwise", "layernorm")


@pytest.fixture(scope="module", params=sorted(ARCHITECTURES))
def counting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Architecture, Path]:
    """An accelerator and its C simulation, which counts iterations."""
    architecture = ARCHITECTURES[request.param]
    folder = tmp_path_factory.mktemp("counting")
    write_overlay(folder, architecture)
    return architecture, csim.build(folder, count=True)


def unit_steps(graph: Graph, architecture: Architecture) -> list[Step]:
    """Instructions of the units under test."""
    return [step for step in lower(Network(graph), architecture).steps if step.instruction.layout.name in UNITS]


def unit_trips(graph: Graph, architecture: Architecture) -> dict[str, int]:
    """Predicted iterations of the one instruction of the units under test."""
    (step,) = unit_steps(graph, architecture)
    own = unit(step.instruction.layout)
    assert issubclass(own, VectorUnit)
    loops = own.cycles(step.instruction.values, architecture).loops
    return {name: loop.trips for name, loop in loops.items()}


def norm_case(rows: int, channels: int, bits: int) -> Case:
    rng = np.random.default_rng(3)
    scale = np.full(channels, 6.0 / 2 ** (bits - 1))
    gamma, beta = rng.normal(1.0, 0.2, channels), rng.normal(0.0, 0.2, channels)
    attributes, gain, offset, seed = layernorm_parameters(gamma, beta, 1e-5, channels, 1.0, scale, 16, bits)
    formats = (
        Format((rows, channels), 16, True),
        Format((channels,), 18, True),
        Format((channels,), 32, True),
        Format((192,), 32, True),
    )
    x = rng.integers(-20000, 20000, size=(2, rows, channels))
    op = LayerNorm(**attributes)  # type: ignore[arg-type]
    return Case("norm", op, formats, (x, gain, offset, seed), frozenset({GAIN, OFFSET, SEED}))


@pytest.mark.parametrize(
    ("a_bits", "b_bits", "cycles"),
    [(16, 8, 1), (8, 16, 1), (16, 16, 2), (8, 8, 2)],
)
def test_a_chunk_takes_two_cycles_where_both_operands_lie_in_one_memory(a_bits: int, b_bits: int, cycles: int) -> None:
    formats = (Format((50, 96), a_bits, True), Format((50, 96), b_bits, True))
    zeros = tuple(np.zeros((1, 50, 96), dtype=np.int64) for _ in range(2))
    graph = case_graph(Case("sum", Add(1, 0, 1, 0, 16, True), formats, zeros, frozenset()))
    architecture = ARCHITECTURES["16x16 axi128"]
    assert unit_trips(graph, architecture) == {"elementwise": cycles * 50 * 96 // architecture.vector}


@pytest.mark.parametrize(("rows", "source"), [(1, ROW), (5, ROWS), (20, ROWS)])
@pytest.mark.parametrize("first", [False, True])
def test_constants_come_from_the_weight_stream(rows: int, source: int, first: bool) -> None:
    """As operand b, whichever operand they are; several rows are repeated to those of the output."""
    shape = {1: (40,), 5: (5, 40), 20: (4, 5, 40)}[rows]
    formats = [Format((4, 5, 40), 16, True), Format(shape, 8, True)]
    inputs: list[IntArray] = [np.zeros((1, 4, 5, 40), dtype=np.int64), np.ones(formats[1].shape, dtype=np.int64)]
    op = Add(3, 1, 5, 2, 16, True)
    if first:
        formats.reverse()
        inputs.reverse()
    graph = case_graph(Case("sum", op, tuple(formats), tuple(inputs), frozenset({0 if first else 1})))
    architecture = ARCHITECTURES["16x16 axi128"]
    (step,) = unit_steps(graph, architecture)
    values, (_, lines) = step.instruction.values, step.instruction.stream
    assert values["b_source"] == source
    assert (values["multiplier_a"], values["multiplier_b"]) == ((5, 3) if first else (3, 5))
    assert (values["shift_a"], values["shift_b"]) == ((2, 1) if first else (1, 2))
    assert lines == (ceil_div(40 * 4, 64) if source == ROW else 20 * ceil_div(40 * 2, 64))


def test_seeds_of_the_header_are_those_of_the_definition() -> None:
    text = (INCLUDE / "edgeflow" / "layernorm.hpp").read_text()
    table = re.search(r"RECIPROCAL_ROOT_SEEDS\[192\] = \{([^}]*)\}", text)
    assert table is not None
    np.testing.assert_array_equal([int(n) for n in table[1].split(",") if n.strip()], reciprocal_root_seeds())


def test_other_seeds_are_refused() -> None:
    case = norm_case(4, 64, 8)
    x, gain, offset, seed = case.inputs
    changed = dataclasses.replace(case, inputs=(x, gain, offset, seed + (np.arange(192) == 7)))
    with pytest.raises(UnsupportedError, match="the seeds of layer normalization are not those of the accelerator"):
        lower(Network(case_graph(changed)), ARCHITECTURES["16x16 axi128"])


@pytest.mark.parametrize("rows", [1, 6, 7])
def test_rows_of_four_bits_are_written_in_pairs(rows: int, counting: tuple[Architecture, Path]) -> None:
    """A four-bit normalization that a four-bit layer reads lies two rows to a line, where the array has that mode."""
    architecture, library = counting
    case = norm_case(rows, 72, 4)
    rng = np.random.default_rng(5)
    weight, bias = rng.integers(-8, 8, size=(20, 72)), rng.integers(-50, 50, size=20)
    layer = Linear(**linear_attributes())  # type: ignore[arg-type]
    graph = followed(case_graph(case), layer, {"weight": weight, "bias": bias, "multiplier": np.full(20, 1 << 12)})
    middle = reference(case)
    constants = [weight, bias, np.full(20, 1 << 12)]
    program = lower(Network(graph), architecture)
    pairs = [s.instruction.values["y_storage"] for s in program.steps if s.instruction.layout.name == "layernorm"]
    assert pairs == [0 if 4 in architecture.precisions else 1]
    with csim.CSimulation(program, library) as simulation:
        for n in range(2):
            actual = simulation.run({"in0": case.inputs[0][n]})["end"]
            np.testing.assert_array_equal(actual, layer.reference([middle[n : n + 1], *constants])[0])


def linear_attributes() -> dict[str, int | bool]:
    """A linear layer without table and residual."""
    plain = {field.name: 0 for field in dataclasses.fields(Linear)}
    return plain | {"shift": 14, "bits": 8, "signed": True, "has_table": False, "has_residual": False, "half_even": False}


def followed(graph: Graph, op: Operator, constants: dict[str, IntArray]) -> Graph:
    """A graph whose output another node takes; ``constants`` are the node's other inputs."""
    bits = {"weight": 4}
    tensors = dict(graph.tensors)
    for name, value in constants.items():
        tensors[name] = TensorType(value.shape, QType(bits.get(name, 32), True, 1.0))
    out = op.infer([tensors["out"].format, *(tensors[name].format for name in constants)])
    tensors["end"] = TensorType(out.shape, QType(out.bits, out.signed, 1.0))
    node = make_node(op, ["out", *constants], "end", "layer")
    return dataclasses.replace(
        graph,
        tensors=tensors,
        constants=dict(graph.constants) | constants,
        nodes=(*graph.nodes, node),
        outputs=("end",),
    )


@pytest.mark.parametrize("vector", [4, 8, 16, 32])
def test_slices_by_lanes(vector: int) -> None:
    """Three slices a lane in each unit; the statistics of layer normalization take 21 and a chunk counter one in each."""
    architecture = Architecture(vector=vector)
    assert LayerNorm.resources(architecture).dsp == 3 * vector + 22
    assert ElementwiseOperator.resources(architecture).dsp == 3 * vector + 1


@pytest.mark.parametrize("cls", [LayerNorm, ElementwiseOperator])
def test_resources_grow_with_the_vector(cls: type[Operator]) -> None:
    resources = [cls.resources(Architecture(vector=v)) for v in (8, 16, 32)]
    for less, more in itertools.pairwise(resources):
        for name in ("dsp", "lut", "ff"):
            assert number(less, name) < number(more, name) < 2 * number(less, name)
    assert all(number(r, "uram") == 0 for r in resources)


def number(resources: Resources, name: str) -> int:
    count = getattr(resources, name)
    assert isinstance(count, int)
    return count
