"""One converter for each canonical operator of the float graph: it adds the integer nodes that compute the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir

from edgeflow.hw.errors import UnsupportedError
from edgeflow.quant.canonical.graph import origin, output_name, required_input
from edgeflow.quant.convert.attention import convert_attention
from edgeflow.quant.convert.context import Context
from edgeflow.quant.convert.elementwise import convert_add, convert_multiply
from edgeflow.quant.convert.embedding import convert_embedding
from edgeflow.quant.convert.linear import convert_fused_add, convert_fused_unary, convert_linear
from edgeflow.quant.convert.move import (
    convert_concat,
    convert_reshape,
    convert_select_channels,
    convert_select_tokens,
    convert_transpose,
)
from edgeflow.quant.convert.norm import convert_layer_norm, convert_softmax
from edgeflow.quant.convert.pool import convert_mean_pool
from edgeflow.quant.convert.unary import convert_unary
from edgeflow.quant.formats.plan import UNARY

Converter = Callable[[ir.Node, Context], None]


def _constant_tokens(node: ir.Node, context: Context) -> None:
    """Constant tokens become constant operands where they are read."""


def _attends(node: ir.Node, context: Context) -> None:
    """The host does it: the integer input is the mask of zeros and ones already."""
    context.set(output_name(node), context.tensor(required_input(node, 0)))


CONVERTERS: Mapping[str, Converter] = {
    "Add": convert_add,
    "Attends": _attends,
    "Attention": convert_attention,
    "Concat": convert_concat,
    "ConstantTokens": _constant_tokens,
    "Embedding": convert_embedding,
    "LayerNormalization": convert_layer_norm,
    "Linear": convert_linear,
    "MeanPool": convert_mean_pool,
    "Mul": convert_multiply,
    "PatchEmbed": convert_linear,
    "PositionEmbedding": convert_embedding,
    "Reshape": convert_reshape,
    "SelectChannels": convert_select_channels,
    "SelectTokens": convert_select_tokens,
    "Softmax": convert_softmax,
    "Transpose": convert_transpose,
    **dict.fromkeys(UNARY, convert_unary),
}


def convert_node(node: ir.Node, context: Context) -> None:
    """Convert one node, together with the linear layer that it absorbs; UnsupportedError where the accelerator has no form of
    it."""
    converter = CONVERTERS.get(node.op_type)
    if converter is None:
        raise UnsupportedError(f"{origin(node)}: no integer form of {node.op_type}")
    linear = context.plan.fused_linear(node)
    if linear is None:
        converter(node, context)
    elif node.op_type == "Add":
        convert_fused_add(node, linear, context)
    else:
        convert_fused_unary(node, linear, context)
