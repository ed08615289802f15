"""EdgeFlow's canonical operators as ONNX model-local functions, so that onnxruntime runs a canonical model.

Their bodies are the float definition of the operators.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeflow.sw.rewrite.base import DOMAIN

OPSET = 20
"""Version of the default operator set of canonical models (the first with Gelu)."""

_BODIES = {
    "Linear": """
        Linear (x, weight, bias) => (y) {
            product = MatMul(x, weight)
            y = Add(product, bias)
        }""",
    "Embedding": """
        Embedding (ids, table) => (y) {
            y = Gather <axis = 0> (table, ids)
        }""",
    "PositionEmbedding": """
        PositionEmbedding <padding> (ids, table) => (y) {
            number = Constant <value_int: int = @padding> ()
            start = CastLike (number, ids)
            empty = Equal (ids, start)
            full = Not (empty)
            kept = CastLike (full, ids)
            axis = Constant <value_int = 1> ()
            total = CumSum (kept, axis)
            count = Mul (total, kept)
            positions = Add (count, start)
            y = Gather <axis = 0> (table, positions)
        }""",
    "PatchEmbed": """
        PatchEmbed <kernel> (image, weight, bias) => (y) {
            grid = Conv <strides: ints = @kernel> (image, weight, bias)
            shape = Constant <value_ints = [0, 0, -1]> ()
            flat = Reshape (grid, shape)
            y = Transpose <perm = [0, 2, 1]> (flat)
        }""",
    "Attention": """
        Attention <heads, scale> (q, k, v) => (y) {
            zero = Constant <value_ints = [0, 0]> ()
            split = Constant <value_int: int = @heads> ()
            rest = Constant <value_ints = [-1]> ()
            one = Constant <value_ints = [1]> ()
            split1 = Reshape (split, one)
            apart = Concat <axis = 0> (zero, split1, rest)
            together = Constant <value_ints = [0, 0, -1]> ()
            q4 = Reshape (q, apart)
            k4 = Reshape (k, apart)
            v4 = Reshape (v, apart)
            qh = Transpose <perm = [0, 2, 1, 3]> (q4)
            kh = Transpose <perm = [0, 2, 3, 1]> (k4)
            vh = Transpose <perm = [0, 2, 1, 3]> (v4)
            raw = MatMul (qh, kh)
            factor = Constant <value_float: float = @scale> ()
            scores = Mul (raw, factor)
            p = Softmax <axis = -1> (scores)
            out = MatMul (p, vh)
            back = Transpose <perm = [0, 2, 1, 3]> (out)
            y = Reshape (back, together)
        }""",
    "MeanPool": """
        MeanPool (x) => (y) {
            axes = Constant <value_ints = [1]> ()
            y = ReduceMean <keepdims = 0> (x, axes)
        }""",
    "Attends": """
        Attends (m, low, high) => (y) {
            real = Cast <to = 1> (m)
            last = Constant <value_ints = [-1]> ()
            column = Unsqueeze (real, last)
            above = GreaterOrEqual (column, low)
            below = LessOrEqual (column, high)
            inside = And (above, below)
            number = Cast <to = 1> (inside)
            found = ReduceMax <keepdims = 0> (number, last)
            y = Cast <to = 9> (found)
        }""",
    "Silu": """
        Silu (x) => (y) {
            gate = Sigmoid (x)
            y = Mul (x, gate)
        }""",
    "QuickGelu": """
        QuickGelu (x) => (y) {
            slope = Constant <value_float = 1.702> ()
            steep = Mul (x, slope)
            gate = Sigmoid (steep)
            y = Mul (x, gate)
        }""",
    "Clip": """
        Clip <minimum, maximum> (x) => (y) {
            low = Constant <value_float: float = @minimum> ()
            high = Constant <value_float: float = @maximum> ()
            y = Clip (x, low, high)
        }""",
    "SelectTokens": """
        SelectTokens <start, stop, squeeze> (x) => (y) {
            one = Constant <value_ints = [1]> ()
            first = Constant <value_int: int = @start> ()
            last = Constant <value_int: int = @stop> ()
            first1 = Reshape (first, one)
            last1 = Reshape (last, one)
            y = Slice (x, first1, last1, one)
        }""",
    "SelectChannels": """
        SelectChannels <start, stop> (x) => (y) {
            one = Constant <value_ints = [1]> ()
            axis = Constant <value_ints = [-1]> ()
            first = Constant <value_int: int = @start> ()
            last = Constant <value_int: int = @stop> ()
            first1 = Reshape (first, one)
            last1 = Reshape (last, one)
            y = Slice (x, first1, last1, axis)
        }""",
    "ConstantTokens": """
        ConstantTokens (x, tokens) => (y) {
            batch = Shape <start = 0, end = 1> (x)
            rest = Shape <start = 1> (tokens)
            shape = Concat <axis = 0> (batch, rest)
            y = Expand (tokens, shape)
        }""",
}

_MASKED = {
    "Attention": ("(q, k, v)", "(q, k, v, mask)", "p = Softmax <axis = -1> (scores)", """
            attend = Cast <to = 9> (mask)
            axes = Constant <value_ints = [1, 2]> ()
            wide = Unsqueeze (attend, axes)
            never = Constant <value_float = -3.0e38> ()
            kept = Where (wide, scores, never)
            p = Softmax <axis = -1> (kept)"""),
    "MeanPool": ("(x)", "(x, mask)", _BODIES["MeanPool"].split("=> (y) {")[1].rsplit("}", 1)[0].strip(), """
            attend = Cast <to = 9> (mask)
            weight = Cast <to = 1> (attend)
            last = Constant <value_ints = [2]> ()
            tokens = Constant <value_ints = [1]> ()
            column = Unsqueeze (weight, last)
            kept = Mul (x, column)
            total = ReduceSum <keepdims = 0> (kept, tokens)
            found = ReduceSum <keepdims = 0> (column, tokens)
            least = Constant <value_float = 1.0e-9> ()
            count = Max (found, least)
            y = Div (total, count)"""),
}  # fmt: skip

_SQUEEZED = (
    "y = Slice (x, first1, last1, one)",
    "cut = Slice (x, first1, last1, one)\n            y = Squeeze (cut, one)",
)


def _body(op_type: str, overload: str) -> str:
    text = _BODIES[op_type]
    if overload == "masked":
        signature, masked_signature, line, replacement = _MASKED[op_type]
        return text.replace(signature, masked_signature, 1).replace(line, replacement.strip(), 1)
    if overload == "squeeze":
        return text.replace(*_SQUEEZED, 1)
    return text


def function(op_type: str, overload: str = "") -> ir.Function:
    """The model-local function of a canonical operator; overload "masked" takes a mask, "squeeze" drops the token axis."""
    from onnx import parser

    header = f'<domain: "{DOMAIN}", opset_import: ["" : {OPSET}]>'
    proto = parser.parse_function(header + _body(op_type, overload))
    proto.overload = overload
    return ir.serde.deserialize_function(proto)


def attach_functions(model: ir.Model) -> None:
    """Give ``model`` the functions of exactly the EdgeFlow operators that it uses."""
    model.functions.clear()
    for node in model.graph:
        identifier = node.op_identifier()
        if node.domain == DOMAIN and node.op_type in _BODIES and identifier not in model.functions:
            model.functions[identifier] = function(node.op_type, node.overload)


def constant_shape(dimensions: tuple[int, ...]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The shape operand of a canonical Reshape: 0 keeps the batch, the rest is written out."""
    return np.array((0, *dimensions), np.int64)
