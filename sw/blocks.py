"""Nodes that the compiler may compute in blocks of output rows, when their operands exceed the scratchpad."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from edgeflow.hw.architecture import LINE_BYTES, storage_bytes
from edgeflow.hw.graph import Format, Graph, IntArray, Node
from edgeflow.hw.ops import operator
from edgeflow.hw.ops.attention import Attention
from edgeflow.hw.ops.concat import Concat
from edgeflow.hw.ops.elementwise import ElementwiseOperator
from edgeflow.hw.ops.embedding import Embedding
from edgeflow.hw.ops.layernorm import LayerNorm
from edgeflow.hw.ops.linear import Linear
from edgeflow.hw.ops.smooth import Smooth
from edgeflow.hw.ops.softmax import Softmax
from edgeflow.hw.ops.table import Table

RESIDUAL = 4  # input of a linear layer


@dataclass(frozen=True)
class RowSplit:
    """How a node falls into blocks of output rows.

    ``inputs``: those of which a block needs the rows of the same numbers only; it needs all others whole. ``period``: a block has
    a multiple of so many rows, because an operand repeats after them. ``elements``: an input in external memory of which a row
    needs the element of the same number. ``copies``: the rows are those of the inputs one after another, so that no unit runs.
    """

    rows: int
    inputs: tuple[int, ...]
    period: int = 1
    elements: int | None = None
    copies: bool = False


def row_split(graph: Graph, node: Node) -> RowSplit | None:
    """How the node can be split, or None if every output row needs more than the input rows of the same number."""
    op, formats = operator(node), graph.formats(node)
    rows = op.infer(formats).rows
    if isinstance(op, Linear):
        return RowSplit(rows, (0, RESIDUAL) if op.has_residual else (0,))
    if isinstance(op, LayerNorm | Softmax | Smooth | Table | Attention):
        return RowSplit(rows, (0,))
    if isinstance(op, Embedding):
        return RowSplit(rows, (), LINE_BYTES // storage_bytes(formats[0].bits), elements=0)
    if isinstance(op, Concat) and op.axis == 0 and len(formats[0].shape) > 1:
        return RowSplit(rows, tuple(i for i, name in enumerate(node.inputs) if name not in graph.constants), copies=True)
    if isinstance(op, ElementwiseOperator):
        operands = [f for f, port in zip(formats, op.ports, strict=True) if not port.constant]
        whole = tuple(i for i, f in enumerate(operands) if f.rows == rows)
        period = math.lcm(*(f.rows for f in operands if f.rows != rows))
        return RowSplit(rows, whole, period)
    return None


def overwritable(graph: Graph, node: Node) -> tuple[int, ...]:
    """Inputs over which the output may be written, if it is stored alike: each element is read before its place is written."""
    op, formats = operator(node), graph.formats(node)
    if isinstance(op, Linear):
        return (RESIDUAL,) if op.has_residual else ()
    if isinstance(op, LayerNorm):
        return (0,)
    if isinstance(op, ElementwiseOperator):
        rows = op.infer(formats).rows
        return tuple(i for i, port in enumerate(op.ports) if not port.constant and formats[i].rows == rows)
    return ()


def block_formats(graph: Graph, node: Node, split: RowSplit, start: int, stop: int) -> tuple[Format, ...]:
    """Input formats of the block of rows ``start`` to ``stop``: one axis of rows, or two if an operand repeats."""
    rows = stop - start
    lead = (rows,) if split.period == 1 else (rows // split.period, split.period)
    elementwise = isinstance(operator(node), ElementwiseOperator)
    formats = []
    for i, (name, f) in enumerate(zip(node.inputs, graph.formats(node), strict=True)):
        if i in split.inputs:
            formats.append(Format((*lead, f.channels), f.bits, f.signed))
        elif i == split.elements:
            formats.append(Format((rows,), f.bits, f.signed))
        elif elementwise and not operator(node).ports[i].constant:
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
