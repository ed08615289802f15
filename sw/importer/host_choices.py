"""Choices at a model's outputs (ArgMax, ArgMin, TopK), which the host makes from the scores.

No unit of the accelerator looks for the place of the largest value. Where nothing of the network goes on with what is chosen, the
scores are the output instead, and a warning says how the host computes the rest. The expressions are NumPy's and give exactly what
ONNX defines: of equal values both take the first.
"""

from __future__ import annotations

import onnx_ir as ir

from edgeflow.sw.importer.onnx_operators import Choice, Pieces, traits
from edgeflow.sw.rewrite.base import batch_of, constant, shape_of

HOST_CHOICES = "edgeflow.host_choices"
"""Key in a model's ``meta`` of what is left to the host, a line each; not there if nothing is."""
_CAST_TO = frozenset((
    ir.DataType.FLOAT, ir.DataType.INT8, ir.DataType.INT16, ir.DataType.INT32, ir.DataType.INT64,
    ir.DataType.UINT8, ir.DataType.UINT16, ir.DataType.UINT32, ir.DataType.UINT64,
))  # fmt: skip

_Ends = list[tuple[ir.Value, str]]


def leave_choices(model: ir.Model) -> bool:
    """Leave out the outputs that are no more than a choice among scores, make the scores outputs where they are none, and note in
    ``meta`` what the host computes. Choices that the network goes on with, or that mix samples, stay."""
    graph = model.graph
    lines: list[str] = []
    for node in list(graph):
        choices = _choices(node)
        ends = None if choices is None else _all_ends(choices, graph)
        if not ends:
            continue
        scores = node.inputs[0]
        assert scores is not None
        left_out = {value for value, _ in ends}
        kept = [value for value in graph.outputs if value not in left_out]
        is_output = scores in kept
        graph.outputs.clear()
        graph.outputs.extend(kept if is_output else [*kept, scores])
        source = f"from output {scores.name!r}" if is_output else f"from {scores.name!r}, which is an output instead"
        for value, expression in ends:
            lines.append(
                f"output {value.name!r} ({node.op_type} at {node.name}) is left to the host, which computes it {source}:"
                f" {expression}"
            )
    if lines:
        model.meta[HOST_CHOICES] = tuple(lines)
    return bool(lines)


def _choices(node: ir.Node) -> _Ends | None:
    """The values that a choice makes of computed scores, sample by sample, each with the expression for it."""
    choice = traits(node).choice
    scores = None if choice is None else node.inputs[0]
    if scores is None or scores.producer() is None or scores.dtype != ir.DataType.FLOAT or not isinstance(node.graph, ir.Graph):
        return None
    shape = shape_of(scores)
    axis = node.attributes.get_int("axis", -1 if choice is Choice.BEST else 0)
    if axis % len(shape) == 0 or shape[0] != batch_of(node.graph):
        return None
    taken = f"outputs[{str(scores.name)!r}]"
    if choice is Choice.BEST:
        k = constant(node.inputs[1])
        if k is None or k.size != 1:
            return None
        sign = "-" if node.attributes.get_int("largest", 1) else ""
        first = f".take(range({int(k.reshape(()))}), axis={axis})"
        values, places = node.outputs
        return [
            (values, f"({sign}numpy.sort({sign}{taken}, axis={axis})){first}"),
            (places, f'numpy.argsort({sign}{taken}, axis={axis}, kind="stable"){first}'),
        ]
    keepdims = ", keepdims=True" if node.attributes.get_int("keepdims", 1) else ""
    function = node.op_type.lower()
    if node.attributes.get_int("select_last_index", 0):
        last = shape[axis] - 1
        return [(node.outputs[0], f"({last} - numpy.flip({taken}, {axis}).{function}(axis={axis}{keepdims}))")]
    return [(node.outputs[0], f"{taken}.{function}(axis={axis}{keepdims})")]


def _all_ends(choices: _Ends, graph: ir.Graph) -> _Ends | None:
    """The outputs of the graph that choices become; None where anything else reads them."""
    outputs = set(graph.outputs)
    ends: _Ends = []
    wanted = list(choices)
    while wanted:
        value, expression = wanted.pop(0)
        if value in outputs:
            ends.append((value, expression))
        for reader, position in value.uses():
            below = None if position else _moved(reader, expression, batch_of(graph))
            if below is None:
                return None
            wanted.append((reader.outputs[0], below))
    return ends


def _moved(node: ir.Node, expression: str, batch: int) -> str | None:
    """The expression for what a node makes of a choice by casting or reshaping it; None for any other node."""
    operator = traits(node)
    if operator.inert(node):
        return expression
    if operator.pieces is Pieces.CONVERTED:
        kind = node.outputs[0].dtype
        return f"{expression}.astype(numpy.{kind.numpy().name})" if kind is not None and kind in _CAST_TO else None
    if operator.keeps_order:
        shape = shape_of(node.outputs[0])
        return f"{expression}.reshape({', '.join(map(str, (-1, *shape[1:])))})" if shape[:1] == (batch,) else None
    return None
