"""Memory planning: lifetimes of activations and their places in one memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeflow.hw.graph import Graph
from edgeflow.hw.ops import operator
from edgeflow.hw.program import Allocation, format_lines


@dataclass(frozen=True)
class Lifetime:
    """A tensor's size in lines and the nodes (inclusive) between which its memory must not be reused."""

    lines: int
    first: int
    last: int


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


def lifetimes(graph: Graph, aliases: Mapping[str, tuple[str, int]]) -> dict[str, Lifetime]:
    """Lifetimes of every tensor that owns memory; inputs live from before the first node, outputs to the end."""
    end = len(graph.nodes)
    first = dict.fromkeys(graph.inputs, -1) | {node.output: i for i, node in enumerate(graph.nodes) if node.output not in aliases}
    last = dict(first)
    for i, node in enumerate(graph.nodes):
        for name in node.inputs:
            if name not in graph.constants:
                last[aliases.get(name, (name, 0))[0]] = i
    for name in graph.outputs:
        last[aliases.get(name, (name, 0))[0]] = end
    return {name: Lifetime(format_lines(graph.tensors[name].format), first[name], last[name]) for name in first}


def place(lives: Mapping[str, Lifetime]) -> dict[str, int]:
    """Line of each tensor: largest first, each at the lowest place free during its whole life."""
    placed: dict[str, int] = {}
    for name in sorted(lives, key=lambda n: (-lives[n].lines, lives[n].first, n)):
        life = lives[name]
        rivals = sorted(
            (placed[other], placed[other] + lives[other].lines)
            for other in placed
            if lives[other].first <= life.last and life.first <= lives[other].last
        )
        line = 0
        for start, stop in rivals:
            if start - line >= life.lines:
                break
            line = max(line, stop)
        placed[name] = line
    return placed


def plan(graph: Graph) -> tuple[Allocation, ...]:
    """An allocation for every activation of the graph, views included, in order of computation."""
    aliases = views(graph)
    lives = lifetimes(graph, aliases)
    lines = place(lives)
    names: Sequence[str] = [*graph.inputs, *(node.output for node in graph.nodes)]
    made = []
    for name in names:
        base, offset = aliases.get(name, (name, 0))
        format, life = graph.tensors[name].format, lives[base]
        line, size = lines[base] + offset, format_lines(format)
        shared = base if name in aliases else None
        made.append(Allocation(name, line, size, format.shape, format.bits, format.signed, life.first, life.last, shared))
    return tuple(made)
