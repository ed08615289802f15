"""Perceptrons in which the multiplier array is what takes time, as ONNX files with data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SAMPLES, CLASSES = 16, 4  # of these, and of the tiny transformer and its data


def perceptron(path: Path, *, tokens: int = 32, width: int = 96, layers: int = 5) -> dict[str, NDArray[np.float32]]:
    """Linear layers wide enough that the array decides, each but the last with ReLU; writes the model and returns data for it."""
    rng = np.random.default_rng(3)
    nodes, weights, x = [], [], "x"
    for i in range(layers):
        last = i == layers - 1
        weight = rng.normal(0, (2 / width) ** 0.5, (width, CLASSES if last else width)).astype(np.float32)
        weights += [
            numpy_helper.from_array(weight, f"w{i}"),
            numpy_helper.from_array(np.zeros(weight.shape[1], np.float32), f"b{i}"),
        ]
        nodes.append(helper.make_node("MatMul", [x, f"w{i}"], [f"m{i}"], name=f"linear{i}"))
        nodes.append(helper.make_node("Add", [f"m{i}", f"b{i}"], ["y" if last else f"a{i}"]))
        if not last:
            nodes.append(helper.make_node("Relu", [f"a{i}"], [f"r{i}"]))
        x = f"r{i}"
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", tokens, c]) for n, c in (("x", width), ("y", CLASSES))]
    graph = helper.make_graph(nodes, "perceptron", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return {"x": rng.standard_normal((SAMPLES, tokens, width)).astype(np.float32)}
