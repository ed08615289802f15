"""A small integer network of linear layers, a view and two block patterns, made by hand for tests."""

from __future__ import annotations

import numpy as np

from edgeflow.hw.arrays import IntArray
from edgeflow.hw.graph import Graph, Node, QType, TensorType
from edgeflow.hw.ops import make_node
from edgeflow.hw.ops.linear import Linear
from edgeflow.hw.ops.select import Select

TOKENS, CHANNELS, HIDDEN, CLASSES = 9, 32, 80, 5


def small_network(blocks: int = 2, seed: int = 0) -> Graph:
    """``blocks`` times an MLP with a table and a residual, then the first token (a view) and a classifier."""
    rng = np.random.default_rng(seed)
    tensors = {"image": TensorType((TOKENS, CHANNELS), QType(8, True, 0.05))}
    constants: dict[str, IntArray] = {}
    nodes: list[Node] = []

    def constant(name: str, value: IntArray, bits: int) -> str:
        constants[name] = value.astype(np.int64)
        tensors[name] = TensorType(value.shape, QType(bits, True, 1.0))
        return name

    def linear(name: str, x: str, n: int, *, table: bool = False, residual: str | None = None) -> str:
        k = tensors[x].shape[-1]
        op = Linear(
            shift=20,
            bits=8,
            signed=True,
            has_table=table,
            index_bits=8 if table else 0,
            output_shift=24 if table else 0,
            has_residual=residual is not None,
            residual_multiplier=1 << 15 if residual else 0,
            residual_shift=16 if residual else 0,
            half_even=False,
        )
        inputs = [
            x,
            constant(f"{name}.weight", rng.integers(-127, 128, size=(n, k)), 8),
            constant(f"{name}.bias", rng.integers(-5000, 5000, size=n), 32),
            constant(f"{name}.multiplier", rng.integers(1 << 15, 1 << 16, size=n), 32),
        ]
        if table:
            inputs.append(constant(f"{name}.table", rng.integers(-(1 << 15), 1 << 15, size=256), 16))
            inputs.append(constant(f"{name}.output_multiplier", rng.integers(1 << 15, 1 << 16, size=n), 32))
        if residual is not None:
            inputs.append(residual)
        tensors[f"{name}.out"] = TensorType((*tensors[x].shape[:-1], n), QType(8, True, 0.1))
        nodes.append(make_node(op, inputs, f"{name}.out", f"/{name}/MatMul"))
        return f"{name}.out"

    x = "image"
    for i in range(blocks):
        x = linear(f"fc2.{i}", linear(f"fc1.{i}", x, HIDDEN, table=True), CHANNELS, residual=x)
    tensors["token"] = TensorType((CHANNELS,), QType(8, True, 0.1))
    nodes.append(make_node(Select(axis=0, start=0, stop=1, squeeze=True), [x], "token", "/Gather"))
    tensors["logits"] = TensorType((CLASSES,), QType(8, True, 0.1))
    last = linear("head", "token", CLASSES)
    nodes[-1] = Node(nodes[-1].op, nodes[-1].inputs, "logits", nodes[-1].attributes, nodes[-1].origin)
    del tensors[last]
    return Graph("small", ("image",), ("logits",), tensors, constants, tuple(nodes))
