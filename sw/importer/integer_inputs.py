"""Inputs of 8-bit integers that a model casts to real numbers: images of bytes.

The canonical model takes them as float32 and remembers their type; the words of the integer network are the integers themselves.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from edgeflow.hw.graph import QType
from edgeflow.quant.canonical.inputs import INTEGERS
from edgeflow.quant.formats.prequantized import PRODUCED, set_format
from edgeflow.sw.importer.load import QUANTIZERS
from edgeflow.sw.importer.movement import bypass
from edgeflow.sw.importer.onnx_operators import Pieces, traits
from edgeflow.sw.rewrite.base import consumers, operand
from edgeflow.sw.rewrite.view import view_above

_FORMATS = {ir.DataType.UINT8: QType(8, False, 1.0), ir.DataType.INT8: QType(8, True, 1.0)}


def cast_inputs(graph: ir.Graph) -> Iterator[tuple[ir.Node, list[ir.Value]]]:
    """Casts to float32 of an input, whatever its type, and the values from their operand up to the input, of which each has that
    one reader."""
    for node in list(graph):
        if traits(node).pieces is not Pieces.CONVERTED or node.outputs[0].dtype != ir.DataType.FLOAT:
            continue
        path = [operand(node, 0)]
        while (view := view_above(path[-1])) is not None:
            path.append(operand(view, 0))
        if path[-1].is_graph_input() and all(consumers(value) == 1 for value in path):
            yield node, path


def real_inputs(model: ir.Model) -> bool:
    """Turn 8-bit inputs that are cast to float32 into float32 inputs whose format is that of the integers. Models that bring
    quantizers along stay as they are."""
    changed = False
    if QUANTIZERS in model.meta:
        return changed
    for node, path in cast_inputs(model.graph):
        entry = path[-1]
        qtype = None if entry.dtype is None else _FORMATS.get(entry.dtype)
        if qtype is None or entry.dtype is None:
            continue
        entry.metadata_props[INTEGERS] = entry.dtype.numpy().name
        set_format(entry, PRODUCED, qtype)
        for value in path:
            value.type = ir.TensorType(ir.DataType.FLOAT)
        bypass(model.graph, node, path[0])
        changed = True
    return changed
