"""Nodes that the compiler may compute in blocks of output rows, when their operands exceed the scratchpad."""

from __future__ import annotations

from collections.abc import Mapping

from edgeflow.hw.arrays import IntArray
from edgeflow.hw.graph import Format, Graph, Node
from edgeflow.hw.ops import operator
from edgeflow.hw.ops.rows import RowSplit


def row_split(graph: Graph, node: Node) -> RowSplit | None:
    """How the node can be split, or None if every output row needs more than the input rows of the same number."""
    return operator(node).row_split(graph.formats(node), graph.node_constants(node))


def block_formats(graph: Graph, node: Node, split: RowSplit, start: int, stop: int) -> tuple[Format, ...]:
    """Input formats of the block of rows ``start`` to ``stop``: one axis of rows, or two if an operand repeats."""
    rows = stop - start
    lead = (rows,) if split.period == 1 else (rows // split.period, split.period)
    formats = []
    for i, (name, f) in enumerate(zip(node.inputs, graph.formats(node), strict=True)):
        if i in split.inputs:
            formats.append(Format((*lead, f.channels), f.bits, f.signed))
        elif i == split.elements:
            formats.append(Format((rows,), f.bits, f.signed))
        elif i in split.repeated:
            repeated = (f.rows,) if f.rows > 1 else ()
            ones = (1,) * (len(lead) - len(repeated)) if name not in graph.constants else ()
            formats.append(Format((*ones, *repeated, f.channels), f.bits, f.signed))
        else:
            formats.append(f)
    return tuple(formats)


def block_constants(graph: Graph, node: Node, split: RowSplit, start: int, stop: int) -> Mapping[int, IntArray]:
    """Constant inputs of the same block."""
    formats = block_formats(graph, node, split, start, stop)
    found = graph.node_constants(node)
    for i, value in found.items():
        rows = value.reshape(split.rows, -1)[start:stop] if i in split.inputs else value
        found[i] = rows.reshape(formats[i].shape)
    return found
