"""Data movement: the integers stay as they are, so input and output have the same format."""

from __future__ import annotations

import onnx_ir as ir

from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.graph import Attribute
from edgeflow.quant.canonical.graph import origin, output_name, required_input
from edgeflow.quant.convert.context import Context


def convert_reshape(node: ir.Node, context: Context) -> None:
    """Regroup the axes of a sample."""
    output = output_name(node)
    _move(node, context, "reshape", {"shape": context.statistics[output].shape})


def convert_transpose(node: ir.Node, context: Context) -> None:
    """Permute the axes of a sample."""
    permutation = node.attributes.get_ints("perm")
    assert permutation is not None
    _move(node, context, "transpose", {"permutation": tuple(int(axis) - 1 for axis in permutation[1:])})


def convert_select_tokens(node: ir.Node, context: Context) -> None:
    """A range of tokens; a single token may lose its axis."""
    _move(node, context, "select", {"axis": 0, **_range(node), "squeeze": bool(node.attributes.get_int("squeeze", 0))})


def convert_select_channels(node: ir.Node, context: Context) -> None:
    """A range of channels of a tensor with one scale."""
    source = required_input(node, 0)
    tensor = context.stream(source, node)
    axis = len(context.builder.tensors[tensor].shape) - 1
    attributes: dict[str, Attribute] = {"axis": axis, **_range(node), "squeeze": False}
    output = output_name(node)
    context.set(output, context.builder.node("select", [tensor], output, context.qtype(tensor), origin(node), attributes))


def convert_concat(node: ir.Node, context: Context) -> None:
    """Join along tokens or channels: operands that have another format are requantized, constants are quantized on the output's."""
    output = output_name(node)
    out, shape = context.plan.qtype(output), context.statistics[output].shape
    axis = node.attributes.get_int("axis")
    assert axis is not None
    axis = axis - 1 if axis > 0 else axis + len(shape)
    operands = []
    for i in range(len(node.inputs)):
        name = required_input(node, i)
        constant = context.graph.constant(name)
        if constant is None:
            tensor = context.tensor(name)
            operands.append(tensor if context.qtype(tensor) == out else context.copy(name, out, f"{output}/operand", node))
        else:
            values = out.quantize(constant.reshape(constant.shape[1:]))
            tensor = context.builder.constant(f"{output}/operand", values, out.bits, out.signed, rows=True)
            context.retype(tensor, out)
            operands.append(tensor)
    context.set(output, context.builder.node("concat", operands, output, out, origin(node), {"axis": axis}))


def _range(node: ir.Node) -> dict[str, Attribute]:
    start, stop = node.attributes.get_int("start"), node.attributes.get_int("stop")
    assert start is not None
    assert stop is not None
    return {"start": start, "stop": stop}


def _move(node: ir.Node, context: Context, op: str, attributes: dict[str, Attribute]) -> None:
    source, output = required_input(node, 0), output_name(node)
    tensor, channels = context.tensor(source), context.channels(source)
    qtype = context.qtype(tensor)
    if op != "select" and (channels is not None or isinstance(qtype.scale, tuple)):
        raise UnsupportedError(f"{origin(node)}: {op} of a tensor with a scale per channel")
    context.set(output, context.builder.node(op, [tensor], output, qtype, origin(node), attributes), channels)
