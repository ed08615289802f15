"""Attention that an exporter or optimizer has already fused: ONNX Attention (opset 23 on) and com.microsoft MultiHeadAttention."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter.pattern import MatchResult

from edgeflow.hw.arrays import Array
from edgeflow.sw.rewrite.attention import key_mask
from edgeflow.sw.rewrite.base import DOMAIN, Rule, batch_of, constant, consumers, initializer, produced_by, shape_of, typed
from edgeflow.sw.rewrite.heads import Operand, attention, resolve
from edgeflow.sw.rewrite.view import make_view


def _heads_of(value: ir.Value, heads: int) -> Array:
    """Indices (batch, heads, tokens, head size) of a 4-D head tensor or of a 3-D tensor with head-major features."""
    shape = shape_of(value)
    index = np.arange(math.prod(shape))
    if len(shape) == 4:
        return index.reshape(shape)
    return index.reshape(shape[0], shape[1], heads, shape[2] // heads).transpose(0, 2, 1, 3)


class _Fused(Rule):
    """What the two fused forms share."""

    def resolved(self, context: Any, values: tuple[ir.Value, ...], heads: tuple[int, int]) -> MatchResult:
        """Find the operands; ``heads`` counts those of the queries and those of keys and values."""
        if heads[0] % heads[1]:
            return self.refuse("the query heads do not divide among the key heads", context.root)
        operands = []
        for position, value in enumerate(values):
            index = _heads_of(value, heads[0] if position == 0 else heads[1])
            if position:
                index = np.repeat(index, heads[0] // heads[1], axis=1)
            operand = resolve(value, index, batch_of(context.graph_or_function))
            if isinstance(operand, str):
                return self.refuse(operand, context.root)
            operands.append(operand)
        self.operands: tuple[Operand, Operand, Operand] = (operands[0], operands[1], operands[2])
        self.size = index.shape[-1]
        self.query_size = len(operands[0].columns) // heads[0]
        self.heads, self.root = heads[0], context.root
        return self.accept()

    def emit(self, op: Any, mask: ir.Value | None, scale: float) -> ir.Value:
        """The canonical attention in the shape of the fused operator's output."""
        shape = shape_of(self.root.outputs[0])
        if len(shape) == 4:
            return attention(op, self.operands, mask, self.heads, scale, shape, {})
        spread = (shape[0], self.heads, shape[1], shape[2] // self.heads)
        value = attention(op, self.operands, mask, self.heads, scale, spread, {})
        index = np.arange(math.prod(shape)).reshape(spread).transpose(0, 2, 1, 3)
        return make_view(op, value, index, shape)


class OnnxAttention(_Fused):
    """ONNX ``Attention`` without cache, causality or soft cap -> ``edgeflow::Attention``."""

    def pattern(self, op: Any, q: Any, k: Any, v: Any) -> Any:
        return op.Attention(q, k, v, _allow_other_inputs=True)

    def check(self, context: Any, q: ir.Value, k: ir.Value, v: ir.Value) -> MatchResult:
        node = context.root
        if node.attributes.get_int("is_causal", 0) or node.attributes.get_float("softcap", 0.0):
            return self.refuse("it is causal or has a soft cap", node)
        if any(extra is not None for extra in node.inputs[4:]) or any(consumers(extra) for extra in node.outputs[1:]):
            return self.refuse("it has a key and value cache or more than one output in use", node)
        self.mask = None
        given = node.inputs[3] if len(node.inputs) > 3 else None
        if given is not None:
            array = constant(given)
            neutral = array is not None and np.all(array if array.dtype == np.bool_ else array == 0)
            self.mask = key_mask(given, "additive", "keep")
            if self.mask is None and not neutral:
                return self.refuse("its mask is not a padding mask of the keys given as an input", node)
        if len(shape_of(q)) == 4:
            return self.resolved(context, (q, k, v), (shape_of(q)[1], shape_of(k)[1]))
        heads = node.attributes.get_int("q_num_heads", 0), node.attributes.get_int("kv_num_heads", 0)
        if not all(heads):
            return self.refuse("its 3-D operands come without q_num_heads and kv_num_heads", node)
        return self.resolved(context, (q, k, v), heads)

    def rewrite(self, op: Any, q: ir.Value, k: ir.Value, v: ir.Value) -> ir.Value:
        scale = self.root.attributes.get_float("scale", 1.0 / math.sqrt(self.query_size))
        return self.emit(op, self.mask, scale)


class MultiHeadAttention(_Fused):
    """com.microsoft ``MultiHeadAttention`` with 3-D operands, optional bias and key padding mask -> ``edgeflow::Attention``."""

    def pattern(self, op: Any, q: Any, k: Any, v: Any) -> Any:
        return op.MultiHeadAttention(q, k, v, _allow_other_inputs=True, _domain="com.microsoft")

    def check(self, context: Any, q: ir.Value, k: ir.Value, v: ir.Value) -> MatchResult:
        node = context.root
        if any(value is None or len(shape_of(value)) != 3 for value in (q, k, v)):
            return self.refuse("its operands are not three 3-D tensors", node)
        if any(extra is not None for extra in node.inputs[5:]) or node.attributes.get_int("unidirectional", 0):
            return self.refuse("it has an attention bias or cache, or is causal", node)
        bias = node.inputs[3] if len(node.inputs) > 3 else None
        given = node.inputs[4] if len(node.inputs) > 4 else None
        self.mask = self._mask(given)
        if given is not None and self.mask is None:
            return self.refuse("its key padding mask is not an input of the model", node)
        vector = constant(bias)
        if bias is not None and vector is None:
            return self.refuse("its bias is not constant", node)
        self.bias = vector
        heads = node.attributes.get_int("num_heads", 0)
        return self.resolved(context, (q, k, v), (heads, heads))

    @staticmethod
    def _mask(value: ir.Value | None) -> ir.Value | None:
        if value is None or value.is_graph_input():
            return value
        node = produced_by(value, "KeyMask", DOMAIN)
        return key_mask(value, "keep", "factor") if node is not None else None

    def rewrite(self, op: Any, q: ir.Value, k: ir.Value, v: ir.Value) -> ir.Value:
        scale = self.root.attributes.get_float("scale", 0.0) or 1.0 / math.sqrt(self.query_size)
        if self.bias is None:
            return self.emit(op, self.mask, scale)
        widths = np.cumsum([shape_of(value)[-1] for value in (q, k)])
        moved = [
            typed(op.Add(value, initializer(part)), shape_of(value), value)
            for value, part in zip((q, k, v), np.split(self.bias, widths), strict=True)
        ]
        attributes = {name: attribute.value for name, attribute in self.root.attributes.items()}
        rest = self.root.inputs[4:5]
        value: ir.Value = op.MultiHeadAttention(*moved, *([None, *rest] if rest else []), _domain="com.microsoft", **attributes)
        return typed(value, shape_of(self.root.outputs[0]), q)
