"""Mean over tokens."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeflow.hw.arithmetic import dyadic
from edgeflow.quant.canonical.graph import input_name, origin, output_name, required_input
from edgeflow.quant.convert.context import Context

NUMERATOR_BITS = 22  # precision of the reciprocal of the token count


def convert_mean_pool(node: ir.Node, context: Context) -> None:
    """A mean over all tokens, or over those of a key mask; the output's scale is in the numerator of the reciprocal."""
    output = output_name(node)
    out = context.plan.qtype(output)
    stream = context.stream(required_input(node, 0), node)
    ratio = float(context.qtype(stream).scales) / float(out.scales)
    numerator, shift = dyadic(np.float64(ratio), NUMERATOR_BITS)
    inputs = [stream]
    mask = input_name(node, 1)
    if mask is not None:
        inputs.append(context.mask(mask, f"{output}/mask"))
    attributes = {"numerator": int(numerator), "shift": shift, "has_mask": mask is not None}
    context.set(output, context.builder.node("pool", inputs, output, out, origin(node), attributes))
