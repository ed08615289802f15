"""Attention that an exporter or optimizer has already fused: ONNX Attention (opset 23 on) and com.microsoft MultiHeadAttention."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeflow.hw.arrays import Array
from edgeflow.sw.rewrite.attention import key_mask
from edgeflow.sw.rewrite.base import Match, Refused, Rule, bound_batch, constant, consumers, initializer, shape_of, typed
from edgeflow.sw.rewrite.heads import Operands, attention, resolve_all
from edgeflow.sw.rewrite.view import make_view


def _heads_of(value: ir.Value, heads: int) -> Array:
    """Indices (batch, heads, tokens, head size) of a 4-D head tensor or of a 3-D tensor with head-major features."""
    shape = shape_of(value)
    index = np.arange(math.prod(shape))
    if len(shape) == 4:
        return index.reshape(shape)
    return index.reshape(shape[0], shape[1], heads, shape[2] // heads).transpose(0, 2, 1, 3)


@dataclasses.dataclass(frozen=True)
class Heads:
    """The operands of a fused attention; ``scale`` of its scores, ``shape`` of its result."""

    operands: Operands
    heads: int
    mask: ir.Value | None
    scale: float
    shape: tuple[int, ...]


class _Fused(Rule[Match]):
    """What the two fused forms share."""

    def heads(
        self, node: ir.Node, values: tuple[ir.Value, ...], counts: tuple[int, int], mask: ir.Value | None, scale: float | None
    ) -> Heads | Refused:
        """Find the operands; ``counts`` are the heads of queries, and of keys and values.

        Without ``scale``, it is one over the root of a query's size.
        """
        if counts[0] % counts[1]:
            return self.refuse("the query heads do not divide among the key heads", node)
        indices = [_heads_of(value, count) for value, count in zip(values, (counts[0], counts[1], counts[1]), strict=True)]
        indices[1:] = [np.repeat(index, counts[0] // counts[1], axis=1) for index in indices[1:]]
        operands = resolve_all(list(zip(values, indices, strict=True)), bound_batch(node))
        if isinstance(operands, str):
            return self.refuse(operands, node)
        scale = 1.0 / math.sqrt(len(operands[0].columns) // counts[0]) if scale is None else scale
        return Heads(operands, counts[0], mask, scale, shape_of(node.outputs[0]))

    def emit(self, op: Any, match: Heads) -> ir.Value:
        """The canonical attention in the shape of the fused operator's output."""
        shape, heads = match.shape, match.heads
        if len(shape) == 4:
            return attention(op, match.operands, match.mask, heads, match.scale, shape, {})
        spread = (shape[0], heads, shape[1], shape[2] // heads)
        value = attention(op, match.operands, match.mask, heads, match.scale, spread, {})
        index = np.arange(math.prod(shape)).reshape(spread).transpose(0, 2, 1, 3)
        return make_view(op, value, index, shape)


class OnnxAttention(_Fused[Heads]):
    """ONNX ``Attention`` without cache, causality or soft cap -> ``edgeflow::Attention``."""

    def pattern(self, op: Any, q: Any, k: Any, v: Any) -> Any:
        return op.Attention(q, k, v, _allow_other_inputs=True)

    def check(self, node: ir.Node, q: ir.Value, k: ir.Value, v: ir.Value) -> Heads | Refused:
        if node.attributes.get_int("is_causal", 0) != 0 or node.attributes.get_float("softcap", 0.0) != 0.0:
            return self.refuse("it is causal or has a soft cap", node)
        if any(extra is not None for extra in node.inputs[4:]) or any(consumers(extra) for extra in node.outputs[1:]):
            return self.refuse("it has a key and value cache or more than one output in use", node)
        mask: ir.Value | None = None
        mask_input = node.inputs[3] if len(node.inputs) > 3 else None
        if mask_input is not None:
            array = constant(mask_input)
            neutral = array is not None and np.all(array if array.dtype == np.bool_ else array == 0)
            mask = key_mask(mask_input, "additive", "keep")
            if mask is None and not neutral:
                return self.refuse("its mask is not a padding mask of the keys given as an input", node)
        scale = node.attributes["scale"].as_float() if "scale" in node.attributes else None
        if len(shape_of(q)) == 4:
            return self.heads(node, (q, k, v), (shape_of(q)[1], shape_of(k)[1]), mask, scale)
        heads = node.attributes.get_int("q_num_heads", 0), node.attributes.get_int("kv_num_heads", 0)
        if not all(heads):
            return self.refuse("its 3-D operands come without q_num_heads and kv_num_heads", node)
        return self.heads(node, (q, k, v), heads, mask, scale)

    def rewrite(self, op: Any, match: Heads) -> ir.Value:
        return self.emit(op, match)


@dataclasses.dataclass(frozen=True)
class Biased:
    """A MultiHeadAttention with constants added to the channels of queries, keys and values."""

    node: ir.Node
    values: tuple[ir.Value, ir.Value, ir.Value]
    bias: Array


class MultiHeadAttention(_Fused[Heads | Biased]):
    """com.microsoft ``MultiHeadAttention`` with 3-D operands, optional bias and key padding mask -> ``edgeflow::Attention``."""

    def pattern(self, op: Any, q: Any, k: Any, v: Any) -> Any:
        return op.MultiHeadAttention(q, k, v, _allow_other_inputs=True, _domain="com.microsoft")

    def check(self, node: ir.Node, q: ir.Value, k: ir.Value, v: ir.Value) -> Heads | Biased | Refused:
        if any(value is None or len(shape_of(value)) != 3 for value in (q, k, v)):
            return self.refuse("its operands are not three 3-D tensors", node)
        if any(extra is not None for extra in node.inputs[5:]) or node.attributes.get_int("unidirectional", 0) != 0:
            return self.refuse("it has an attention bias or cache, or is causal", node)
        bias = node.inputs[3] if len(node.inputs) > 3 else None
        mask_input = node.inputs[4] if len(node.inputs) > 4 else None
        mask = mask_input if mask_input is None or mask_input.is_graph_input() else key_mask(mask_input, "keep", "factor")
        if mask_input is not None and mask is None:
            return self.refuse("its key padding mask is not an input of the model", node)
        vector = constant(bias)
        if bias is not None and vector is None:
            return self.refuse("its bias is not constant", node)
        heads = node.attributes.get_int("num_heads", 0)
        layout = self.heads(node, (q, k, v), (heads, heads), mask, node.attributes.get_float("scale", 0.0) or None)
        return Biased(node, (q, k, v), vector) if vector is not None and isinstance(layout, Heads) else layout

    def rewrite(self, op: Any, match: Heads | Biased) -> ir.Value:
        if isinstance(match, Heads):
            return self.emit(op, match)
        node, values = match.node, match.values
        widths = np.cumsum([shape_of(value)[-1] for value in values[:2]])
        moved = [
            typed(op.Add(value, initializer(part)), shape_of(value), value)
            for value, part in zip(values, np.split(match.bias, widths), strict=True)
        ]
        attributes = {name: attribute.value for name, attribute in node.attributes.items()}
        rest = node.inputs[4:5]
        value: ir.Value = op.MultiHeadAttention(*moved, *([None, *rest] if rest else []), _domain="com.microsoft", **attributes)
        return typed(value, shape_of(node.outputs[0]), values[0])
