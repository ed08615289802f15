"""Additions and multiplications of the residual stream."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeflow.hw.arithmetic import dyadic
from edgeflow.quant.canonical.graph import origin, output_name, required_input
from edgeflow.quant.convert.context import Context, ratio


def convert_add(node: ir.Node, context: Context) -> None:
    """An addition that no linear layer absorbed: both operands are requantized onto the output's grid."""
    output = output_name(node)
    (name, out), shape = context.sum_format(output), context.statistics[output].shape
    bits = context.config.short_multiplier_bits
    a, b = (context.operand(required_input(node, i), shape, node, f"{output}/operand") for i in range(2))
    if a in context.builder.constants:
        a, b = b, a
    multiplier_a, shift_a = ratio(context.qtype(a), out, bits)
    multiplier_b, shift_b = ratio(context.qtype(b), out, bits)
    attributes = {"multiplier_a": multiplier_a, "shift_a": shift_a, "multiplier_b": multiplier_b, "shift_b": shift_b}
    made = context.builder.node("add", [a, b], name, out, origin(node), attributes)
    context.set(output, context.rounded_sum(output, made, node))


def convert_multiply(node: ir.Node, context: Context) -> None:
    """A product: by one number or one number a channel it is a requantization, else elementwise."""
    output = output_name(node)
    out, shape = context.plan.qtype(output), context.statistics[output].shape
    names = [required_input(node, i) for i in range(2)]
    constants = [context.constant(name, shape) for name in names]
    for factor, other in zip(constants, reversed(names), strict=True):
        if factor is not None and (factor.size == 1 or factor.shape == shape[-1:]):
            stream = context.stream(other, node)
            context.set(output, context.requantize(stream, out, output, origin(node), factor.reshape(-1)))
            return
    a, b = (context.operand(name, shape, node, f"{output}/operand") for name in names)
    if a in context.builder.constants:
        a, b = b, a
    product = float(context.qtype(a).scales) * float(context.qtype(b).scales)
    multiplier, shift = dyadic(np.float64(product / float(out.scales)), context.config.short_multiplier_bits)
    attributes = {"multiplier": int(multiplier), "shift": shift}
    context.set(output, context.builder.node("multiply", [a, b], output, out, origin(node), attributes))
