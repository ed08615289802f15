"""Embedding tables: int8 rows with a multiplier each."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeflow.hw.arithmetic import dyadic
from edgeflow.hw.errors import UnsupportedError
from edgeflow.quant.canonical.graph import origin, output_name, parameter, required_input
from edgeflow.quant.convert.context import Context, as_words
from edgeflow.quant.formats.prequantized import given_format

TABLE_BITS = 8
ROW_LIMIT = (1 << (TABLE_BITS - 1)) - 1


def convert_embedding(node: ir.Node, context: Context) -> None:
    """A gather of table rows by token id, or by position among the ids, onto the wide grid of its output."""
    ids, output, where = required_input(node, 0), output_name(node), origin(node)
    if context.graph.constant(ids) is not None or ids not in context.graph.inputs:
        raise UnsupportedError(f"{where}: token ids must be an input of the model, not computed")
    out = context.plan.qtype(output)
    table = parameter(context.graph, node, 1)
    given = given_format(node, 1)
    scale = np.maximum(np.abs(table).max(axis=1), 1e-12) / ROW_LIMIT if given is None else given.scales
    multiplier, shift = dyadic(scale / float(out.scales), context.config.short_multiplier_bits)
    # A row of zeros (that of the padding id), or one too small for any multiplier, takes the smallest: a scale of 0 is no format.
    vanishing = multiplier == 0
    multiplier[vanishing], scale[vanishing] = 1, float(out.scales) / 2.0**shift
    rows = context.builder.constant(f"{output}/table", as_words(table / scale[:, None]), TABLE_BITS)
    multipliers = context.builder.constant(f"{output}/multiplier", multiplier, 32)
    inputs = [context.tensor(ids), rows, multipliers]
    padding = node.attributes.get_int("padding") if node.op_type == "PositionEmbedding" else None
    operator, more = ("embedding", {}) if padding is None else ("position_embedding", {"padding": padding})
    context.set(output, context.builder.node(operator, inputs, output, out, where, {"shift": shift, **more}))
