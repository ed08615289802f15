"""Small valid models that the structural fuzzer mutates, one for every form that the importer reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx_graphs import Graph, layer_norm_11
from tiny_transformer import tiny_transformer

QONNX = "qonnx.custom_op.general"
DOMAIN = "local.functions"
TOKENS, WIDTH = 5, 16


def _attention(g: Graph, x: str, mask: str | None = None) -> str:
    """Two heads; the mask is added to the scores."""
    heads, flat = g.constant(np.array([0, TOKENS, 2, WIDTH // 2])), g.constant(np.array([0, TOKENS, WIDTH]))
    split = [g.node("Reshape", g.node("MatMul", x, g.weight(WIDTH, WIDTH)), heads) for _ in range(3)]
    orders = ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
    q, k, v = (g.node("Transpose", value, perm=perm) for value, perm in zip(split, orders, strict=True))
    scores = g.node("Div", g.node("MatMul", q, k), g.constant(np.float32(np.sqrt(WIDTH // 2))))
    if mask is not None:
        scores = g.node("Add", scores, mask)
    mixed = g.node("MatMul", g.node("Softmax", scores, axis=-1), v)
    return g.node("Reshape", g.node("Transpose", mixed, perm=[0, 2, 1, 3]), flat)


def _bert() -> onnx.ModelProto:
    g = Graph(17)
    ids, keys = g.input("ids", ["n", TOKENS], TensorProto.INT64), g.input("keys", ["n", TOKENS], TensorProto.INT64)
    words = g.node("Gather", g.weight(20, WIDTH), ids)
    x = g.node("Add", words, g.weight(1, TOKENS, WIDTH))
    x = g.node("LayerNormalization", x, g.weight(WIDTH), g.weight(WIDTH))
    wide = g.node("Unsqueeze", keys, g.constant(np.array([1, 2])))
    absent = g.node("Sub", g.constant(np.float32(1)), g.node("Cast", wide, to=TensorProto.FLOAT))
    x = g.node("Add", x, _attention(g, x, g.node("Mul", absent, g.constant(np.float32(-10000)))))
    first = g.node("Gather", x, g.constant(np.array(0)), axis=1)
    g.output(g.node("Tanh", g.node("MatMul", first, g.weight(WIDTH, 4))))
    return g.model()


def _mlp() -> onnx.ModelProto:
    g = Graph(13)
    y = g.node("Relu", g.node("Gemm", g.input("x", ["n", 8]), g.weight(12, 8), g.weight(12), transB=1))
    g.output(g.node("Gemm", y, g.weight(12, 3), g.weight(3)))
    return g.model()


def _old() -> onnx.ModelProto:
    """As exporters of opset 11 write it, weights among the inputs."""
    g = Graph(11)
    x = g.input("x", ["n", 4, 8])
    y = layer_norm_11(g, x, 8)
    g.input("w", [8, 6])
    g.output(g.node("Softmax", g.node("MatMul", y, g.weight(8, 6, name="w")), axis=-1))
    return g.model()


def _qdq() -> onnx.ModelProto:
    g = Graph(21)
    scale, zero = g.constant(np.float32(0.05)), g.constant(np.int8(3))
    x = g.node("DequantizeLinear", g.node("QuantizeLinear", g.input("x", ["n", 4, 8]), scale, zero), scale, zero)
    words, scales = g.constant(np.arange(-24, 24, dtype=np.int8).reshape(8, 6)), g.constant(np.full(6, 0.01, np.float32))
    y = g.node("MatMul", x, g.node("DequantizeLinear", words, scales, g.constant(np.zeros(6, np.int8)), axis=1))
    low, high = g.constant(np.uint8(0)), g.constant(np.uint8(15))
    step, middle = g.constant(np.float32(0.1)), g.constant(np.uint8(0))
    clipped = g.node("Clip", g.node("QuantizeLinear", g.node("Relu", y), step, middle), low, high)
    g.output(g.node("MatMul", g.node("DequantizeLinear", clipped, step, middle), g.weight(6, 3)))
    return g.model()


def _qonnx() -> onnx.ModelProto:
    g = Graph(17)

    def quant(value: str, scale: Any, bits: float, **attributes: Any) -> str:
        operands = [g.constant(np.asarray(entry, np.float32)) for entry in (scale, 0, bits)]
        name: str = g.node("Quant", value, *operands, domain=QONNX, signed=1, narrow=0, rounding_mode="ROUND", **attributes)
        return name

    x = quant(g.input("x", ["n", 4, 8]), 0.05, 8)
    y = g.node("MatMul", x, quant(g.weight(8, 6), np.full((1, 6), 0.02), 4))
    one_bit = g.node("BipolarQuant", g.weight(6, 3), g.constant(np.float32(0.25)), domain=QONNX)
    g.output(g.node("MatMul", quant(g.node("Relu", y), 0.1, 6), one_bit))
    return g.model()


def _several() -> onnx.ModelProto:
    g = Graph(18)
    a, b = g.input("a", ["n", 4, 8]), g.input("b", ["n", 4, 6])
    both = g.node("Add", g.node("MatMul", a, g.weight(8, 6)), b)
    parts = g.node("Split", both, g.constant(np.array([2, 4])), outputs=2, axis=-1)
    g.output(g.node("MatMul", g.node("Concat", parts[1], parts[0], axis=-1), g.weight(6, 3)))
    g.output(g.node("ReduceMean", g.node("Mul", both, g.constant(np.float32(0.5))), g.constant(np.array([1])), keepdims=0))
    return g.model()


def _functions() -> onnx.ModelProto:
    g = Graph(17)
    x = g.input("x", ["n", 8])
    y = g.node("Block", x, g.weight(8, 8), domain=DOMAIN, alpha=0.1)
    g.output(g.node("MatMul", g.node("Block", y, g.weight(8, 8), domain=DOMAIN, alpha=0.2), g.weight(8, 3)))
    proto = g.model()
    slope = helper.make_node("LeakyRelu", ["h"], ["y"])
    slope.attribute.append(onnx.AttributeProto(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="alpha"))
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    layer = helper.make_function(DOMAIN, "Layer", ["x", "w"], ["y"], [helper.make_node("MatMul", ["x", "w"], ["y"])], imports[:1])
    inner = [helper.make_node("Layer", ["x", "w"], ["h"], domain=DOMAIN), slope]
    block = helper.make_function(DOMAIN, "Block", ["x", "w"], ["y"], inner, imports, ["alpha"])
    proto.functions.extend([layer, block])
    return proto


def _branches() -> onnx.ModelProto:
    """A condition that is constant, and what a branch reads from outside."""
    g = Graph(17)
    x = g.node("MatMul", g.input("x", ["n", 8]), g.weight(8, 6, name="w"))
    value = helper.make_tensor_value_info("r", TensorProto.FLOAT, None)
    then = helper.make_graph([helper.make_node("Relu", [x], ["r"], name="inner")], "then", [], [value])
    other = helper.make_graph([helper.make_node("Neg", [x], ["r"], name="other")], "else", [], [value])
    y = g.node("If", g.constant(np.bool_(True)), then_branch=then, else_branch=other)
    g.output(g.node("MatMul", y, g.weight(6, 3)))
    return g.model()


def _fused() -> onnx.ModelProto:
    g = Graph(17)
    x = g.input("x", ["n", TOKENS, WIDTH])
    q, k, v = (g.node("MatMul", x, g.weight(WIDTH, WIDTH)) for _ in range(3))
    y = g.node("MultiHeadAttention", q, k, v, domain="com.microsoft", num_heads=2)
    g.output(g.node("MatMul", g.node("ReduceMean", y, axes=[1], keepdims=0), g.weight(WIDTH, 3)))
    return g.model()


def _image() -> onnx.ModelProto:
    """A patch embedding with a class token."""
    g = Graph(17)
    patches = g.node("Conv", g.input("x", ["n", 3, 8, 8]), g.weight(8, 3, 4, 4), g.weight(8), kernel_shape=[4, 4], strides=[4, 4])
    rows = g.node("Transpose", g.node("Reshape", patches, g.constant(np.array([0, 8, -1]))), perm=[0, 2, 1])
    size = g.node("Gather", g.node("Shape", rows), g.constant(np.array(0)), axis=0)
    token = g.node("Expand", g.weight(1, 1, 8), g.node("Concat", g.node("Unsqueeze", size, g.constant(np.array([0]))),
                   g.constant(np.array([1, 8])), axis=0))  # fmt: skip
    y = g.node("Add", g.node("Concat", token, rows, axis=1), g.weight(1, 5, 8))
    g.output(g.node("MatMul", g.node("Gather", y, g.constant(np.array(0)), axis=1), g.weight(8, 3)))
    return g.model()


def _external() -> onnx.ModelProto:
    """Its weights are to be written beside the file."""
    return _mlp()


SEEDS: dict[str, Callable[[], onnx.ModelProto]] = {
    "transformer": tiny_transformer, "bert": _bert, "mlp": _mlp, "old exporter": _old, "qdq": _qdq, "qonnx": _qonnx,
    "several inputs": _several, "functions": _functions, "branches": _branches, "fused attention": _fused, "image": _image,
    "external data": _external,
}  # fmt: skip


def write(proto: onnx.ModelProto, file: Path, *, external: bool) -> None:
    """Put a model into a file, its weights beside it where they are ``external``."""
    if external:
        data = file.with_suffix(".bin")
        with data.open("wb") as stream:
            for tensor in proto.graph.initializer:
                content = numpy_helper.to_array(tensor).tobytes()
                tensor.ClearField("raw_data")
                tensor.data_location = TensorProto.EXTERNAL
                for key, value in (("location", data.name), ("offset", str(stream.tell())), ("length", str(len(content)))):
                    tensor.external_data.add(key=key, value=value)
                stream.write(content)
    file.write_bytes(proto.SerializeToString())
