"""Names of layers for people: each node of a network by the model's own node that it comes from, told apart from others of it."""

from __future__ import annotations

from collections import Counter

from edgeflow.hw.graph import Graph, Node
from edgeflow.hw.ops.base import operator

ROLES = {"q": "query", "k": "key", "v": "value"}
"""By port of attention: what the layer that it reads is called."""


def layer_names(graph: Graph) -> dict[str, str]:
    """The name of every node by its output, no two alike.

    It is the node's ``origin``. Where one node of the model became several, those that make the queries, keys and values of
    attention say so (``/qkv/MatMul (key)``), and of the others all but the one with the most multiply-accumulates say their
    operator; what is still alike is numbered.
    """
    operators = {node.output: operator(node) for node in graph.nodes}
    roles = attention_roles(graph)
    by_origin: dict[str, list[Node]] = {}
    for node in graph.nodes:
        by_origin.setdefault(node.origin, []).append(node)
    names: dict[str, str] = {}
    used: Counter[str] = Counter()
    for node in graph.nodes:
        alike = by_origin[node.origin]
        name = node.origin
        if len(alike) > 1:
            largest = max(alike, key=lambda other: operators[other.output].macs(graph.formats(other)))
            if node.output in roles:
                name += f" ({roles[node.output]})"
            elif node is not largest:
                name += f" ({node.op})"
        used[name] += 1
        names[node.output] = name if used[name] == 1 else f"{name} {used[name]}"
    return names


def attention_roles(graph: Graph) -> dict[str, str]:
    """By output, which of :data:`ROLES` the layers have in the attention that reads them; nothing for a layer with several."""
    operators = {node.output: operator(node) for node in graph.nodes}
    makers = {node.output: node for node in graph.nodes}
    roles: dict[str, set[str]] = {}
    for node in graph.nodes:
        for port, name in zip(operators[node.output].ports, node.inputs, strict=False):
            if port.name not in ROLES:
                continue
            maker = makers.get(name)
            while maker is not None and not operators[maker.output].macs(graph.formats(maker)) and len(maker.inputs) > 0:
                maker = makers.get(maker.inputs[0])
            if maker is not None and maker.output != node.output:
                roles.setdefault(maker.output, set()).add(ROLES[port.name])
    return {output: next(iter(parts)) for output, parts in roles.items() if len(parts) == 1}
