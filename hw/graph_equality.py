"""Whether two integer graphs compute the same words of the same inputs, whatever their tensors are called."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgeflow.hw.graph import Graph, Node


def differences(a: Graph, b: Graph) -> Iterator[str]:
    """Lines on where two graphs differ in what defines their arithmetic: formats, constants, operators, attributes and wiring.

    Tensors are matched from the outputs back to the inputs, which have the same names in both.
    """
    if sorted(a.inputs) != sorted(b.inputs) or len(a.outputs) != len(b.outputs):
        yield f"inputs or outputs: {a.inputs} and {a.outputs}, {b.inputs} and {b.outputs}"
        return
    if len(a.nodes) != len(b.nodes):
        yield f"{len(a.nodes)} nodes, {len(b.nodes)}"
    makers: tuple[dict[str, Node], ...] = tuple({node.output: node for node in graph.nodes} for graph in (a, b))
    stack, seen = list(zip(a.outputs, b.outputs, strict=True)), set[tuple[str, str]]()
    while stack:
        pair = stack.pop()
        if pair in seen:
            continue
        seen.add(pair)
        first, second = pair
        where = f"{first} ({second})" if first != second else first
        types = a.tensors[first], b.tensors[second]
        if types[0].format != types[1].format or types[0].limit != types[1].limit:
            yield f"{where}: {types[0].format}, {types[1].format}"
            continue
        kinds = [
            "constant" if name in graph.constants else "input" if name in graph.inputs else "made"
            for graph, name in zip((a, b), pair, strict=True)
        ]
        if kinds[0] != kinds[1]:
            yield f"{where}: {kinds[0]}, {kinds[1]}"
        elif kinds[0] == "constant":
            unequal = int(np.sum(a.constants[first] != b.constants[second]))
            if unequal:
                yield f"{where}: {unequal} of {a.constants[first].size} words differ"
        elif kinds[0] == "input":
            qtypes = [kind.qtype for kind in types]
            scales = [np.broadcast_to(q.scales, types[0].shape[-1:]) for q in qtypes]
            same = (
                np.array_equal(scales[0], scales[1])
                and qtypes[0].zero_point == qtypes[1].zero_point
                and qtypes[0].rounding == qtypes[1].rounding
            )
            if first != second or not same:
                yield f"{where}: {qtypes[0]}, {qtypes[1]}"
        else:
            nodes = makers[0][first], makers[1][second]
            if nodes[0].op != nodes[1].op or len(nodes[0].inputs) != len(nodes[1].inputs):
                yield f"{where}: {nodes[0].op}, {nodes[1].op}"
                continue
            if dict(nodes[0].attributes) != dict(nodes[1].attributes):
                yield f"{where}: {nodes[0].op} {dict(nodes[0].attributes)}, {dict(nodes[1].attributes)}"
            stack += zip(nodes[0].inputs, nodes[1].inputs, strict=True)
