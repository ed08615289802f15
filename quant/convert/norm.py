"""Layer normalization and the final softmax."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.interpolation import MAXIMUM_INTERPOLATION_BITS, MAXIMUM_PROBABILITY_BITS, MAXIMUM_TABLE_BITS, exponent_knots
from edgeflow.hw.ops.layernorm import layernorm_parameters
from edgeflow.hw.ops.softmax import softmax_parameters, widest_probability
from edgeflow.quant.canonical.graph import origin, output_name, parameter, required_input
from edgeflow.quant.convert.context import Context


def convert_layer_norm(node: ir.Node, context: Context) -> None:
    """Normalization of a stream; the output's scales, one per channel where linear layers fold them, are in its affine part."""
    output = output_name(node)
    made = context.plan.chosen(output)
    out, beta = made.qtype, parameter(context.graph, node, 2)
    if made.offset is not None:
        beta = beta - made.offset
    beta = beta + out.zero_point * out.scales
    stream = context.stream(required_input(node, 0), node)
    source = context.builder.tensors[stream]
    channels = source.shape[-1]
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    assert epsilon is not None
    where = origin(node)
    try:
        attributes, gain, offset, seed = layernorm_parameters(
            parameter(context.graph, node, 1),
            beta,
            epsilon,
            channels,
            float(source.qtype.scales),
            np.broadcast_to(out.scales, (channels,)),
            source.qtype.bits,
            out.bits,
        )
    except ValueError as error:
        raise UnsupportedError(f"{where}: {error}") from error
    inputs = [
        stream,
        context.builder.constant(f"{output}/gain", gain, 18),
        context.builder.constant(f"{output}/offset", offset, 32),
        context.builder.constant(f"{output}/seed", seed, 17),
    ]
    context.set(output, context.builder.node("layernorm", inputs, output, out, where, attributes))


def convert_softmax(node: ir.Node, context: Context) -> None:
    """The softmax at a network's end: probabilities as unsigned words, of which the largest stands for just under 1."""
    output = output_name(node)
    stream, out = context.stream(required_input(node, 0), node), context.plan.qtype(output)
    source = context.builder.tensors[stream]
    # The layer runs once: as exact as its operator goes.
    probability = min(MAXIMUM_PROBABILITY_BITS, widest_probability(source.shape[-1], out.bits))
    setting = (MAXIMUM_TABLE_BITS, MAXIMUM_INTERPOLATION_BITS, probability)
    attributes = softmax_parameters(float(source.qtype.scales), *setting, out.bits)
    table = exponent_knots(MAXIMUM_TABLE_BITS, probability)
    inputs = [stream, context.builder.constant(f"{output}/exponent", table, 24)]
    context.set(output, context.builder.node("softmax", inputs, output, out, origin(node), attributes))
