"""Numbers that a quantized file takes off what an activation function makes, before the quantizer, become offsets of its format.

A function such as GELU ends at a least value, from which EdgeFlow counts where linear layers read it (quant/formats/plan.py). Its
export subtracts that number before the quantizer. Here the subtraction goes: layers read the function, and take the number off
their bias.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeflow.quant.canonical.base import find, producer
from edgeflow.quant.formats.exact_constants import exact_constant, set_exact
from edgeflow.quant.formats.interpretation import Demand
from edgeflow.quant.formats.prequantized import INDEX, PRODUCED, fixed_format, set_format, words
from edgeflow.sw.rewrite.base import initializer, plus_number

OFFSET = "edgeflow.offset"
"""Metadata key, while formats are given: the offset of the format in which a node makes its value, as EdgeFlow exported it."""


def fold_offsets(model: ir.Model) -> list[str]:
    """Fold every addition of a number to an activation function that linear layers alone read, in one format that they all have.

    Returns lines for the user.
    """
    warnings = []
    for node in list(model.graph):
        noted = float(node.metadata_props.pop(OFFSET, "0"))
        warnings += _fold(model, node, noted)
    return warnings


def _fold(model: ir.Model, add: ir.Node, noted: float) -> list[str]:
    total = plus_number(add.outputs[0])
    if total is None:
        return []
    x, number = total
    maker, produced, layers = producer(x), fixed_format(add, PRODUCED), _layers(add.outputs[0])
    if maker is None or not maker.tabulated or not _alone(x) or produced is None or not layers:
        return []
    function, before = maker.node, producer(maker.node.inputs[0])
    if before is None or not before.any_scales or not _alone(before.node.outputs[0]):
        return []  # a table of its own has one format for all channels
    if any(fixed_format(layer, 0) != produced for layer in layers):
        return []
    warnings, rounded = [], -number
    offset = noted if np.float32(noted) == np.float32(rounded) else rounded
    if noted and offset != noted:
        warnings.append(f"{add.name}: the offset {rounded:g} was changed after EdgeFlow exported it; its present value is used")
    index = fixed_format(add, INDEX)
    set_format(function, PRODUCED, produced, offset)
    if index is not None:
        set_format(function, INDEX, index)
    for layer in layers:
        _take_off(model, layer, offset)
    ir.convenience.replace_all_uses_with(add.outputs[0], x)
    model.graph.remove(add, safe=True)
    return warnings


def _alone(value: ir.Value) -> bool:
    return len(value.uses()) == 1 and not value.is_graph_output()


def _layers(value: ir.Value) -> list[ir.Node] | None:
    """The linear layers that read a value, directly or some of its tokens; None if anything else does."""
    layers: list[ir.Node] = []
    if value.is_graph_output():
        return None
    for node, index in value.uses():
        op = find(node)
        if op is not None and op.operand(index).demand is Demand.NARROW:
            layers.append(node)
            continue
        behind = _layers(node.outputs[0]) if op is not None and op.moves and op.keeps_channels else None
        if behind is None:
            return None
        layers += behind
    return layers


def _take_off(model: ir.Model, layer: ir.Node, offset: float) -> None:
    """Have a layer read ``x`` where it has read ``x - offset``."""
    weight, bias = (_exact(layer, index) for index in (1, 2))
    x, qtype = fixed_format(layer, 0), fixed_format(layer, 1)
    if x is not None and qtype is not None:  # its real weights without what float32 takes of them
        scales = x.scales[:, None] if isinstance(x.scale, tuple) else np.ones((1, 1))
        weight = words(weight * scales, qtype, 1, str(layer.name)) * qtype.scales / scales
    moved = bias - offset * weight.sum(axis=0)
    value = initializer(moved.astype(np.float32))
    name = f"{layer.name}.shifted"
    while name in model.graph.initializers:
        name += "_"
    value.name = name
    if value.const_value is not None:
        value.const_value.name = name
    set_exact(value, moved)
    model.graph.register_initializer(value)
    layer.replace_input_with(2, value)


def _exact(layer: ir.Node, index: int) -> NDArray[np.float64]:
    value = layer.inputs[index]
    assert value is not None
    assert value.const_value is not None
    return exact_constant(value, value.const_value.numpy())
