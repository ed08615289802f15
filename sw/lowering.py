"""Lowering: the integer graph becomes a program for one accelerator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgeflow.hw.architecture import LINE_BYTES, Architecture, round_up
from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.graph import Format, Graph, IntArray, Node
from edgeflow.hw.ops import operator
from edgeflow.hw.ops.base import Array
from edgeflow.hw.program import Allocation, Parameter, Program, Step, pack_rows
from edgeflow.sw.memory import plan, views

LISTED = 4  # nodes that a message names


class WeightImage:
    """The weight image under construction: line-aligned arrays, equal contents stored once."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._known: dict[bytes, int] = {}
        self._line = 0
        self.parameters: list[Parameter] = []

    def place(self, name: str, data: Array) -> int:
        """Append an array's little-endian bytes; returns their line."""
        raw = np.ascontiguousarray(data).astype(data.dtype.newbyteorder("<"), copy=False).tobytes()
        line = self._known.get(raw)
        if line is None:
            line = self._known[raw] = self._line
            padded = raw.ljust(round_up(len(raw), LINE_BYTES), b"\0")
            self._parts.append(padded)
            self._line += len(padded) // LINE_BYTES
        self.parameters.append(Parameter(name, line, len(raw)))
        return line

    def encode(self) -> bytes:
        """The image; one line at least."""
        return b"".join(self._parts) or bytes(LINE_BYTES)


class NodeContext:
    """The :class:`~edgeflow.hw.ops.base.LoweringContext` of one node."""

    def __init__(self, node: Node, architecture: Architecture, allocations: Mapping[str, Allocation], image: WeightImage) -> None:
        self._node = node
        self._architecture = architecture
        self._allocations = allocations
        self._image = image

    @property
    def architecture(self) -> Architecture:
        return self._architecture

    def address(self, index: int) -> int:
        return self._allocations[self._node.inputs[index]].line

    def output_address(self) -> int:
        return self._allocations[self._node.output].line

    def place(self, what: str, data: Array) -> int:
        return self._image.place(f"{self._node.output}/{what}", data)

    def place_rows(self, what: str, data: IntArray, format: Format) -> int:
        return self.place(what, pack_rows(data, format))

    def require(self, condition: bool, message: str) -> None:
        if not condition:
            raise UnsupportedError(f"node {self._node.origin} ({self._node.op}): {message}")


def lower(graph: Graph, architecture: Architecture) -> Program:
    """A program that computes ``graph`` on ``architecture``; UnsupportedError lists what does not fit it and why."""
    allocations = plan(graph)
    by_name = {a.tensor: a for a in allocations}
    aliases = views(graph)
    image = WeightImage()
    steps: list[Step] = []
    problems: list[str] = []
    for node in graph.nodes:
        if node.output in aliases:
            continue
        op = operator(node)
        context = NodeContext(node, architecture, by_name, image)
        unit = op.instruction.name
        try:
            context.require(unit in architecture.units, f"the overlay has no {unit} unit (units: {', '.join(architecture.units)})")
            instructions = op.lower(graph.formats(node), graph.node_constants(node), context)
        except UnsupportedError as error:
            problems.append(str(error))
            continue
        for i, instruction in enumerate(instructions):
            completes = node.output if i == len(instructions) - 1 else None
            steps.append(Step(instruction, node.origin, completes))
    if problems:
        raise UnsupportedError(_refusal(graph, architecture, problems))
    return Program(architecture, tuple(steps), image.encode(), allocations, tuple(image.parameters), graph.inputs, graph.outputs)


def _refusal(graph: Graph, architecture: Architecture, problems: Sequence[str]) -> str:
    sizes = {name: (need, getattr(architecture, name)) for name, need in demands(graph).items()}
    short = [f"{name} {need}, not {limit}" for name, (need, limit) in sizes.items() if need > limit]
    lacking = [unit for unit in units(graph) if unit not in architecture.units]
    wanted = "; ".join([*short, *(f"unit {unit}" for unit in lacking)])
    more = f"; and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
    needs = f" (it needs {wanted})" if wanted else ""
    return f"the accelerator cannot run this model{needs}: {'; '.join(problems[:LISTED])}{more}"


def demands(graph: Graph) -> dict[str, int]:
    """The smallest static sizes of an accelerator that runs the graph, and its units, as Architecture fields."""
    found = {"max_channels": 64, "max_tokens": 16, "max_head": 16}
    for node in graph.nodes:
        for name, value in operator(node).demands(graph.formats(node)).items():
            found[name] = max(found[name], value)
    found["max_channels"] = round_up(found["max_channels"], 64)
    found["max_tokens"] = round_up(found["max_tokens"], 16)
    found["max_head"] = round_up(found["max_head"], 16)
    return found


def units(graph: Graph) -> tuple[str, ...]:
    """Names of the instructions that the graph uses, in order of opcode."""
    layouts = {operator(node).instruction.opcode: operator(node).instruction.name for node in graph.nodes}
    return tuple(layouts[opcode] for opcode in sorted(layouts))
