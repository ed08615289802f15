"""A tiny transformer with random weights, and its data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

TOKENS, WIDTH, HEADS, CLASSES = 5, 16, 2, 4


def tiny_transformer(*, seed: int = 0) -> onnx.ModelProto:
    """One pre-norm block: LayerNorm, two-head attention, residual, LayerNorm, GELU, residual, mean over tokens, four classes."""
    rng = np.random.default_rng(seed)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def constant(name: str, value: NDArray[Any]) -> str:
        weights.append(numpy_helper.from_array(value, name))
        return name

    def node(kind: str, name: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, list(inputs), [name], name=f"node_{name}", **attributes))
        return name

    def linear(name: str, x: str, inner: int, outer: int) -> str:
        weight = constant(f"{name}_weight", rng.normal(0, inner**-0.5, (inner, outer)).astype(np.float32))
        bias = constant(f"{name}_bias", rng.normal(0, 0.1, outer).astype(np.float32))
        return node("Add", name, node("MatMul", f"{name}_product", x, weight), bias)

    def norm(name: str, x: str) -> str:
        scale = constant(f"{name}_scale", rng.uniform(0.8, 1.2, WIDTH).astype(np.float32))
        bias = constant(f"{name}_bias", rng.normal(0, 0.1, WIDTH).astype(np.float32))
        return node("LayerNormalization", name, x, scale, bias, axis=-1, epsilon=1e-5)

    def heads(name: str, x: str, order: list[int]) -> str:
        return node("Transpose", f"{name}_heads", node("Reshape", f"{name}_split", x, "head_shape"), perm=order)

    constant("head_shape", np.array([0, TOKENS, HEADS, WIDTH // HEADS]))
    constant("flat_shape", np.array([0, TOKENS, WIDTH]))
    constant("head_scale", np.array((WIDTH // HEADS) ** -0.5, dtype=np.float32))
    first = norm("norm1", "tokens")
    query, key, value = (linear(name, first, WIDTH, WIDTH) for name in ("query", "key", "value"))
    product = node("MatMul", "scores", heads("query", query, [0, 2, 1, 3]), heads("key", key, [0, 2, 3, 1]))
    share = node("Softmax", "share", node("Mul", "scaled", product, "head_scale"), axis=-1)
    mixed = node("Transpose", "mixed", node("MatMul", "weighted", share, heads("value", value, [0, 2, 1, 3])), perm=[0, 2, 1, 3])
    attended = linear("projection", node("Reshape", "joined", mixed, "flat_shape"), WIDTH, WIDTH)
    middle = node("Add", "residual1", "tokens", attended)
    wide = linear("expand", norm("norm2", middle), WIDTH, 2 * WIDTH)
    scaled = node("Div", "gelu_scaled", wide, constant("root2", np.array(2**0.5, dtype=np.float32)))
    erf = node("Add", "gelu_shifted", node("Erf", "gelu_erf", scaled), constant("one", np.array(1, dtype=np.float32)))
    gelu = node("Mul", "gelu", node("Mul", "gelu_twice", wide, erf), constant("half", np.array(0.5, dtype=np.float32)))
    last = node("Add", "residual2", middle, linear("contract", gelu, 2 * WIDTH, WIDTH))
    pooled = node("ReduceMean", "pooled", last, axes=[1], keepdims=0)
    linear("logits", pooled, WIDTH, CLASSES)
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("tokens", TensorProto.FLOAT, ["batch", TOKENS, WIDTH])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def tiny_inputs(samples: int = 16, *, seed: int = 1) -> NDArray[np.float32]:
    """Inputs of the tiny transformer, ``(samples, TOKENS, WIDTH)``."""
    return np.random.default_rng(seed).normal(0, 1, (samples, TOKENS, WIDTH)).astype(np.float32)


@dataclass(frozen=True)
class Tiny:
    """Files of the tiny transformer."""

    model: Path
    calibration: Path
