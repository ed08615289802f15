"""Normalization by another number than the standard deviation: RMSNorm, and L2 normalization of embeddings."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from edgeflow.sw.importer.obstacles.base import Kind, Obstacle, activations, is_a, obstacle, readers, stand_in
from edgeflow.sw.rewrite.base import operands, produced_by, reduced_axes, scalar, shape_of

RMS_NORM = Kind(
    "RMSNorm",
    "x is divided by the root of the mean of its squares, without being centred; only LayerNormalization has a unit",
    "replace RMSNorm by LayerNorm and fine-tune the model",
)
L2_NORM = Kind(
    "L2 normalization",
    "x is divided by the root of the sum of its squares, which no unit of the accelerator does",
    "end the exported model before it, and normalize its output on the host",
)
_BETWEEN = ("Add", "Sqrt", "Pow", "Reciprocal", "Div", "Clip", "Max", "View", "Expand", "Mul")
_DEEP = 8


def normalizations(graph: ir.Graph) -> Iterator[Obstacle]:
    """``x / sqrt(mean(x^2) + eps)`` and ``x / max(sqrt(sum(x^2)), eps)`` over the last axis, in any spelling."""
    for node in list(graph):
        squares = _squares(node)
        if squares is None:
            continue
        kind, x = squares
        quotient = _quotient(node.outputs[0], x)
        if quotient is not None:
            yield obstacle(kind, quotient)
            stand_in(quotient, quotient.outputs[0], [x])


def _squares(node: ir.Node) -> tuple[Kind, ir.Value] | None:
    """The kind of norm, and x, of a mean or sum of squares over the last axis."""
    source = node.inputs[0] if is_a(node, "ReduceMean", "ReduceSum", "ReduceL2", "ReduceSumSquare") else None
    if source is None or reduced_axes(node) != (len(shape_of(source)) - 1,):
        return None
    if is_a(node, "ReduceL2", "ReduceSumSquare"):
        return L2_NORM, source
    both = operands(produced_by(source, "Mul", "Pow"))
    if both is None or (both[0] is not both[1] and scalar(both[1]) != 2.0):
        return None
    centred = operands(produced_by(both[0], "Sub"))
    if centred is not None and produced_by(centred[1], "ReduceMean") is not None:
        return None  # a variance
    return (RMS_NORM if is_a(node, "ReduceMean") else L2_NORM), both[0]


def _quotient(value: ir.Value, x: ir.Value, depth: int = _DEEP) -> ir.Node | None:
    """Where x is divided by, or multiplied with, what becomes of the norm ``value``."""
    for node in readers(value):
        if is_a(node, "Mul", "Div") and x in node.inputs:
            return node
        if depth and is_a(node, *_BETWEEN) and len(activations(node)) == 1:
            below = _quotient(node.outputs[0], x, depth - 1)
            if below is not None:
                return below
    return None
