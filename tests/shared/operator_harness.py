"""Takes operator cases through the whole path: reference, fast kernel, lowering, emitted C++."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.arrays import IntArray
from edgeflow.hw.cpp_widths import Width
from edgeflow.hw.graph import Graph, QType, TensorType
from edgeflow.hw.ops import Case, instruction_layouts, make_node, registry
from edgeflow.hw.program import Program
from edgeflow.hw.verify import verify_graph
from edgeflow.sim import csim
from edgeflow.sim.counting import counted_run
from edgeflow.sim.executor import Executor
from edgeflow.sw.compiler.codegen import write_overlay
from edgeflow.sw.compiler.lowering import lower
from edgeflow.sw.compiler.network import Network

ALL_UNITS = tuple(layout.name for layout in instruction_layouts())
ARCHITECTURES = {
    "16x16 axi128": Architecture(max_head=128, units=ALL_UNITS),
    "8x12 axi64": Architecture(
        pi=8, po=12, epilogue=4, vector=4, axi_bits=64, weight_ports=2, slots=512, max_head=128, precisions=(8,), units=ALL_UNITS
    ),
    "64x48 axi128": Architecture(
        pi=64, po=48, epilogue=16, vector=32, weight_ports=2, slots=36, max_channels=1088, max_head=128, units=ALL_UNITS
    ),
    "4x16 axi32": Architecture(
        pi=4, po=16, epilogue=2, vector=1, axi_bits=32, slots=544, max_channels=1088, max_tokens=64, max_head=128, units=ALL_UNITS
    ),
}


def operator_cases(name: str, seed: int = 0) -> list[Case]:
    """The seeded cases of one operator."""
    return registry()[name].cases(np.random.default_rng(seed))


def case_graph(case: Case) -> Graph:
    """A graph of one node."""
    names = [f"in{i}" for i in range(len(case.inputs))]
    tensors = {n: TensorType(f.shape, QType(f.bits, f.signed, 1.0)) for n, f in zip(names, case.formats, strict=True)}
    out = case.operator.infer(case.formats)
    tensors["out"] = TensorType(out.shape, QType(out.bits, out.signed, 1.0))
    constants = {names[i]: np.asarray(case.inputs[i], dtype=np.int64) for i in case.constants}
    inputs = tuple(n for n in names if n not in constants)
    node = make_node(case.operator, names, "out", case.name)
    return Graph(case.name, inputs, ("out",), tensors, constants, (node,))


def case_inputs(case: Case) -> dict[str, IntArray]:
    """Activations of a case by tensor name, with the leading sample axis."""
    return {f"in{i}": np.asarray(v) for i, v in enumerate(case.inputs) if i not in case.constants}


def case_samples(case: Case) -> list[dict[str, IntArray]]:
    """The same, sample by sample."""
    inputs = case_inputs(case)
    samples = next(iter(inputs.values())).shape[0]
    return [{name: value[i] for name, value in inputs.items()} for i in range(samples)]


def reference(case: Case) -> IntArray:
    """The operator's definition."""
    return case.operator.reference([np.asarray(v, dtype=np.int64) for v in case.inputs])


def fast(case: Case) -> IntArray:
    """The executor's result."""
    return Executor(case_graph(case), threads=1).run(case_inputs(case))["out"]


@contextmanager
def narrowed(width: Width, bits: int) -> Iterator[None]:
    """The table of widths with another number of bits for one of them."""
    kept = width.bits
    object.__setattr__(width, "bits", bits)
    try:
        yield
    finally:
        object.__setattr__(width, "bits", kept)


@dataclass(frozen=True)
class Built:
    """An overlay compiled for C simulation."""

    architecture: Architecture
    library: Path

    def run(self, case: Case, schedule: csim.Schedule | None = None) -> IntArray:
        """What the emitted C++ computes for every sample of a case."""
        program = self._program(case)
        with csim.CSimulation(program, self.library, schedule) as simulation:
            return np.stack([simulation.run(sample)["out"] for sample in case_samples(case)])

    def counted_run(self, case: Case) -> tuple[IntArray, list[str]]:
        """What :meth:`run` gives, and where the first sample's counted iterations are not those predicted, a line each."""
        program = self._program(case)
        first, *others = case_samples(case)
        with csim.CSimulation(program, self.library) as simulation:
            outputs, differences = counted_run(simulation, program, first)
            return np.stack([outputs["out"], *(simulation.run(sample)["out"] for sample in others)]), differences

    def _program(self, case: Case) -> Program:
        graph = case_graph(case)
        verify_graph(graph)
        return lower(Network(graph), self.architecture)


def build(folder: Path, architecture: Architecture, *, exact: bool = False) -> Built:
    """Emit an overlay into a folder and compile it."""
    write_overlay(folder, architecture)
    # With counters, as the tests that compare counts build it: one library for all.
    return Built(architecture, csim.build(folder, exact=exact, count=not exact))
