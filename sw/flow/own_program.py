"""The program of a build, where it is what the compiler makes: of a program from anywhere nothing else is known.

An instruction reads and writes where its fields say. Whether it stays inside the memories, and computes its layer, depends on all
of them together. So nothing is proven field by field: the integer graph, which is verified, is lowered once more for the overlay,
and the program must be the same.
"""

from __future__ import annotations

from importlib import metadata

from edgeflow.hw.errors import InputError
from edgeflow.hw.program import Program
from edgeflow.sw.compiler.lowering import lower
from edgeflow.sw.compiler.network import Network
from edgeflow.sw.files.build import Build, contents


def own_program(build: Build) -> Program:
    """The build's program; InputError where this installation compiles another one from its graph for its overlay."""
    program, graph = build.program, build.graph
    with contents(build.folder / "integer_graph.json"):
        own = lower(Network(graph), program.architecture)
    _same_instructions(build, own)
    parts = {
        "weights.bin": (program.weights, own.weights),
        "memory_map.json": (
            (program.allocations, program.parameters, program.inputs, program.outputs),
            (own.allocations, own.parameters, own.inputs, own.outputs),
        ),
    }
    for name, (stored, expected) in parts.items():
        if stored != expected:
            raise _differs(build, name)
    return program


def _same_instructions(build: Build, own: Program) -> None:
    program = build.program
    if len(program.steps) != len(own.steps):
        raise _differs(build, "program.bin")
    for stored, expected in zip(program.steps, own.steps, strict=True):
        if (stored.node, stored.completes) != (expected.node, expected.completes):
            raise _differs(build, "memory_map.json")
        if (stored.instruction.encode() != expected.instruction.encode()).any():
            raise _differs(build, "program.bin")


def _differs(build: Build, name: str) -> InputError:
    ours, theirs = metadata.version("edgeflow"), build.manifest.get("edgeflow")
    what = f"build {build.folder}: {name} is not what EdgeFlow {ours} compiles from integer_graph.json for overlay.json"
    if theirs == ours:
        return InputError(f"{what}, and programs that it has not compiled are not run: compile the model again")
    return InputError(f"{what} (EdgeFlow {theirs} has made it): compile the model again, or use that version")
