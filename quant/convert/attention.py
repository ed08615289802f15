"""Attention: integer queries, keys and values, and the factors from scores to exponents and from sums to outputs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeflow.hw.arithmetic import dyadic
from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.exponent import exponent_table
from edgeflow.hw.graph import QType
from edgeflow.quant.canonical.graph import input_name, origin, output_name, required_input
from edgeflow.quant.convert.builder import Correspondence
from edgeflow.quant.convert.context import Context
from edgeflow.quant.convert.linear import identity, pad_qtype
from edgeflow.quant.formats.plan import HeadPadding, Interpretation, numerators


def convert_attention(node: ir.Node, context: Context) -> None:
    """One attention node; its operands get the formats of the plan, by a copy where the producer could not provide them."""
    config, build, where = context.config, context.builder, origin(node)
    formats = context.plan.attention(node)
    heads, factor = node.attributes.get_int("heads"), node.attributes.get_float("scale")
    assert heads is not None
    assert factor is not None
    factor = float(np.float32(factor))  # as a file holds it
    if factor <= 0:
        raise UnsupportedError(f"{where}: the scale of attention must be positive, not {factor:g}")
    paddings = [context.plan.head_padding(node, i) for i in range(3)]
    wanted = (formats.query, formats.key, formats.value)
    operands = [_operand(required_input(node, i), wanted[i], paddings[i], node, context) for i in range(3)]

    # Weights are powers of two: exp(x) = 2^(x log2 e), with F fraction bits of the exponent.
    exponent = formats.score_scale * factor * math.log2(math.e) * 2.0**config.exponent_fraction_bits
    # Where one step of the score already makes a weight vanish, more changes nothing, but would cost other heads their precision.
    exponent = np.minimum(exponent, (config.probability_bits + 2) << config.exponent_fraction_bits)
    multiplier, shift = dyadic(exponent, config.short_multiplier_bits)
    output = output_name(node)
    inputs = [
        *operands,
        build.constant(f"{output}/exponent", exponent_table(config.exponent_fraction_bits, config.probability_bits), 17),
        build.constant(f"{output}/multiplier", multiplier, 32),
        build.constant(f"{output}/numerator", formats.numerator, 32),
    ]
    mask = input_name(node, 3)
    if mask is not None:
        inputs.append(context.mask(mask, f"{output}/mask"))
    attributes: dict[str, Any] = {
        "heads": heads,
        "fraction_bits": config.exponent_fraction_bits,
        "probability_bits": config.probability_bits,
        "shift": shift,
        "output_shift": formats.output_shift,
        "has_mask": mask is not None,
    }
    padding = paddings[2]
    if padding is None:
        context.set(output, build.node("attention", inputs, output, formats.output.qtype, where, attributes))
    elif isinstance(formats.output.qtype.scale, tuple):  # only linear layers read it: they skip the padding
        padded = pad_qtype(formats.output.qtype, padding)
        context.set(output, build.node("attention", inputs, output, padded, where, attributes), padding.positions)
    else:
        # Something else reads it: 8 bits with the padding, then a copy without.
        size = len(padding.positions)
        steps = ((1 << (formats.output.qtype.bits - 1)) - 1) / 127.0
        narrow = QType(8, True, float(formats.output.qtype.scale) * steps)
        words, shift = numerators(formats.numerator / 2.0**formats.output_shift / steps)
        inputs[5] = build.constant(f"{output}/numerator", words, 32)
        whole = build.node("attention", inputs, f"{output}/padded", narrow, where, attributes | {"output_shift": shift})
        context.set(output, identity(context, whole, formats.output.qtype, padding.positions, np.arange(size), size, output, where))


def _operand(name: str, wanted: Interpretation, padding: HeadPadding | None, node: ir.Node, context: Context) -> str:
    tensor = context.tensor(name)
    if context.plan.chosen(name) is wanted and (context.channels(name) is None) == (padding is None):
        return tensor
    qtype = wanted.qtype
    narrow = context.copy(name, qtype, f"{name}/attention", node)
    if padding is None:
        return narrow
    size = context.builder.tensors[narrow].shape[-1]
    padded = pad_qtype(qtype, padding)
    made = identity(context, narrow, padded, np.arange(size), padding.positions, padding.size, f"{name}/padded", origin(node))
    context.builder.stands_for(made, Correspondence(name, padding.positions))
    return made
