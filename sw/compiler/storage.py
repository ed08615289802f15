"""What the memory planner has to know of a graph: which tensors share memory, how each is stored, and which nodes touch it.

A linear layer reads its residual from the wide memory: :func:`legalize` inserts a copy where the residual cannot lie there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edgeflow.hw.architecture import HALVES, NIBBLES, Architecture
from edgeflow.hw.arrays import IntArray
from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.graph import Format, Graph, Node, QType, TensorType
from edgeflow.hw.ops import make_node, operator
from edgeflow.hw.ops.requantize import Requantize
from edgeflow.hw.program import WORDS, format_lines, natural_storage
from edgeflow.sw.compiler.row_blocks import row_split

Aliases = Mapping[str, tuple[str, int]]


@dataclass(frozen=True)
class Activation:
    """A tensor with memory of its own.

    ``produced``: the node that completes it; -1 for a network input and for a constant that a unit reads from the scratchpad.
    ``begun``: the first node that writes it, an earlier one where a part of it is written in place.
    ``touches``: nodes that read or write it in the scratchpad, in order. ``reads``: nodes that read it in external memory.
    """

    name: str
    format: Format
    storage: int
    produced: int
    begun: int
    touches: tuple[int, ...]
    reads: tuple[int, ...]
    constant: bool
    output: bool

    @cached_property
    def lines(self) -> int:
        """Lines that it takes, on chip and in external memory."""
        return format_lines(self.format, self.storage)

    @property
    def wide(self) -> bool:
        """Whether it lies in the wide memory while it is on chip."""
        return self.storage in (HALVES, WORDS)


def views(graph: Graph) -> dict[str, tuple[str, int]]:
    """Tensors that lie inside another: name to (base tensor, line offset), chains resolved."""
    found: dict[str, tuple[str, int]] = {}
    for node in graph.nodes:
        offset = operator(node).view(graph.formats(node))
        source = node.inputs[0]
        # A network output gets memory of its own, so that inputs and outputs never share words.
        if offset is None or source in graph.constants or node.output in graph.outputs:
            continue
        base, start = found.get(source, (source, 0))
        found[node.output] = (base, start + offset)
    return found


def joins(graph: Graph, aliases: Aliases) -> dict[str, tuple[str, int]]:
    """Parts of concatenated rows that are written where the whole will lie: name to (concatenation, line offset).

    One part at least is left to be moved, so that the concatenation is still an instruction.
    """
    uses = _uses(graph)
    producers = {node.output: operator(node) for node in graph.nodes if node.output not in aliases}
    bases = {base for base, _ in aliases.values()}
    found: dict[str, tuple[str, int]] = {}
    for node in graph.nodes:
        split = row_split(graph, node)
        if split is None or not split.copies:
            continue
        own: dict[str, tuple[str, int]] = {}
        line = 0
        for name, f in zip(node.inputs, graph.formats(node), strict=True):
            made = producers.get(name)
            alone = len(uses[name]) == 1 and name not in bases and name not in graph.outputs
            if alone and made is not None and not made.joins:
                own[name] = (node.output, line)
            line += format_lines(f)
        found |= dict(list(own.items())[: len(node.inputs) - 1])
    return found


def _uses(graph: Graph) -> dict[str, list[tuple[Node, int]]]:
    found: dict[str, list[tuple[Node, int]]] = {}
    for node in graph.nodes:
        for index, name in enumerate(node.inputs):
            found.setdefault(name, []).append((node, index))
    return found


def legalize(graph: Graph) -> Graph:
    """The same graph with a 16-bit copy of every residual of up to 8 bits that cannot lie in the wide memory itself."""
    uses = _uses(graph)
    producers = {node.output: node for node in graph.nodes}
    tensors, constants = dict(graph.tensors), dict(graph.constants)
    nodes: list[Node] = []
    for node in graph.nodes:
        op = operator(node)
        for index, name in enumerate(node.inputs):
            if not op.reads_wide(index) or name in constants or tensors[name].format.bits > 8:
                continue
            private = all(operator(user).reads_wide(i) for user, i in uses[name]) and name not in graph.outputs
            if private and name in producers and operator(producers[name]).widens:
                continue
            copy = f"{name}/wide"
            if copy not in tensors:
                nodes.append(_copy(tensors, constants, name, copy, node.origin))
            inputs = tuple(copy if i == index else n for i, n in enumerate(node.inputs))
            node = dataclasses.replace(node, inputs=inputs)
        nodes.append(node)
    return dataclasses.replace(graph, tensors=tensors, constants=constants, nodes=tuple(nodes))


def _copy(tensors: dict[str, TensorType], constants: dict[str, IntArray], name: str, copy: str, origin: str) -> Node:
    source = tensors[name]
    tensors[copy] = TensorType(source.shape, QType(16, True, source.qtype.scale, source.qtype.zero_point))
    channels = source.format.channels
    ones = f"{copy}/multiplier"
    tensors[ones] = TensorType((channels,), QType(32, True, 1.0))
    constants[ones] = np.ones(channels, dtype=np.int64)
    return make_node(Requantize(shift=0, zero_point=0, bits=16, signed=True, half_even=False), (name, ones), copy, origin)


def storages(graph: Graph, aliases: Aliases, architecture: Architecture) -> dict[str, int]:
    """How each activation is stored, and each constant that a unit reads from the scratchpad."""
    uses = _uses(graph)
    made = {node.output: operator(node) for node in graph.nodes}
    found: dict[str, int] = {}
    for name in [*graph.inputs, *made, *graph.constants]:
        bits = graph.tensors[name].format.bits
        found[name] = natural_storage(bits)
        used = [(operator(node), node, index) for node, index in uses.get(name, ())]
        if bits <= 8 and any(op.reads_wide(index) for op, _, index in used):
            found[name] = HALVES
        elif bits <= 4 and 4 in architecture.precisions and used and name in made and name not in graph.outputs:
            read = all(op.reads_pairs(index, graph.formats(node)) for op, node, index in used)
            if read and made[name].writes_pairs and name not in aliases:
                found[name] = NIBBLES
    return found


def activations(graph: Graph, aliases: Aliases, joined: Collection[str], architecture: Architecture) -> dict[str, Activation]:
    """Everything that needs memory by name; UnsupportedError where a unit cannot take or make more than 16 bits."""
    storage = storages(graph, aliases, architecture)
    produced = dict.fromkeys(graph.inputs, -1)
    begun: dict[str, int] = {}
    touches: dict[str, list[int]] = {name: [] for name in graph.inputs}
    reads: dict[str, list[int]] = {name: [] for name in graph.inputs}
    for i, node in enumerate(graph.nodes):
        if node.output in aliases and node.output not in joined:
            continue
        op = operator(node)
        for index, name in enumerate(node.inputs):
            fixed = name in graph.constants
            if fixed and not op.on_chip_constant(index):
                continue
            base = aliases.get(name, (name, 0))[0]
            produced.setdefault(base, -1)
            where = reads if op.ports[index].external and not fixed else touches
            where.setdefault(base, []).append(i)
            _check(storage[base], where is touches, graph, node, base)
        out = aliases.get(node.output, (node.output, 0))[0]
        produced[out] = i
        # From its first part on, a concatenation stays where it is.
        touches.setdefault(out, []).extend(range(begun.setdefault(out, i), i + 1))
        _check(storage[node.output], not op.writes_long, graph, node, node.output)
    return {
        name: Activation(
            name=name,
            format=graph.tensors[name].format,
            storage=storage[name],
            produced=made,
            begun=begun.get(name, made),
            touches=tuple(sorted(set(touches.get(name, ())))),
            reads=tuple(reads.get(name, ())),
            constant=name in graph.constants,
            output=name in graph.outputs,
        )
        for name, made in produced.items()
    }


def _check(storage: int, on_chip: bool, graph: Graph, node: Node, name: str) -> None:
    if storage == WORDS and on_chip:
        bits = graph.tensors[name].format.bits
        raise UnsupportedError(f"node {node.origin} ({node.op}): {name} has {bits} bits; the scratchpad holds up to 16")
