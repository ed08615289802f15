"""Transformer encoders of any shape with seeded random weights, as plain ONNX: what depends on shapes alone is tried on them.

Pre-norm blocks (LayerNormalization, attention, GELU) after a patch embedding, a linear layer, or an embedding of token ids, with or
without learned positions and a class token; then a classifier of the class token, or of every token.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
COLORS = 3  # of an image
FEATURES = 16  # of a token that a linear layer embeds
VOCABULARY = 50


@dataclass(frozen=True)
class EncoderShape:
    """``tokens`` (the class token included) of ``width`` channels; ``ratio``: the hidden width divided by ``width``;
    ``patch``: the edge of an image's patches in pixels; ``classes``: of the classifier."""

    tokens: int
    width: int
    heads: int
    source: Literal["patches", "linear", "ids"]
    positions: bool = True
    class_token: bool = False
    depth: int = 1
    ratio: float = 4.0
    patch: int = 4
    classes: int = 10

    @property
    def name(self) -> str:
        """A short name, such as ``65x32 h2 d1 linear+pos``."""
        extra = "+pos" * self.positions + "+cls" * self.class_token
        return f"{self.tokens}x{self.width} h{self.heads} d{self.depth} {self.source}{extra}"


def encoder(shape: EncoderShape, seed: int = 0) -> onnx.ModelProto:
    """The model; its input is ``x``, its output ``y``, with a symbolic batch."""
    return _Builder(shape, np.random.default_rng(seed)).model()


@dataclass
class _Builder:
    shape: EncoderShape
    random: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)

    def model(self) -> onnx.ModelProto:
        s = self.shape
        x, entry = self.embedded()
        if s.class_token:
            self.constants["class"] = self.normal(1, 1, s.width)
            lead = self.node("Shape", ["x"], "batch", start=0, end=1)
            rest = self.integers("class.rest", 1, s.width)
            every = self.node("Concat", [lead, rest], "class.shape", axis=0)
            x = self.node("Concat", [self.node("Expand", ["class", every], "class.all"), x], "tokens", axis=1)
        if s.positions:
            self.constants["positions"] = self.normal(1, s.tokens, s.width)
            x = self.node("Add", [x, "positions"], "positioned")
        for block in range(s.depth):
            x = self.block(f"block{block}", x)
        x = self.norm("norm", x)
        if s.class_token:
            x = self.node("Gather", [x, self.scalar("first", 0)], "pooled", axis=1)
        y = self.linear("head", x, s.width, s.classes)
        self.node("Identity", [y], "y")
        rows = () if s.class_token else (s.tokens,)
        graph = helper.make_graph(
            self.nodes,
            "encoder",
            [entry],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", *rows, s.classes])],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = 10
        return model

    def embedded(self) -> tuple[str, onnx.ValueInfoProto]:
        """The first activation (batch, tokens, width), without a class token, and the model's input."""
        s = self.shape
        tokens = s.tokens - s.class_token
        if s.source == "ids":
            self.constants["table"] = self.normal(VOCABULARY, s.width)
            entry = helper.make_tensor_value_info("x", TensorProto.INT64, ["batch", tokens])
            return self.node("Gather", ["table", "x"], "embedded", axis=0), entry
        if s.source == "linear":
            entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", tokens, FEATURES])
            return self.linear("embed", "x", FEATURES, s.width), entry
        high = max(n for n in range(1, int(tokens**0.5) + 1) if tokens % n == 0)
        size = (COLORS, high * s.patch, tokens // high * s.patch)
        entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *size])
        self.constants["embed.w"] = self.normal(s.width, COLORS, s.patch, s.patch) / np.float32(s.patch)
        self.constants["embed.b"] = self.normal(s.width)
        patches = self.node("Conv", ["x", "embed.w", "embed.b"], "patches", kernel_shape=[s.patch] * 2, strides=[s.patch] * 2)
        flat = self.node("Reshape", [patches, self.integers("flat", 0, s.width, tokens)], "patches.flat")
        return self.node("Transpose", [flat], "embedded", perm=[0, 2, 1]), entry

    def block(self, name: str, x: str) -> str:
        s = self.shape
        normed = self.norm(f"{name}.norm1", x)
        split = self.integers("split", 0, s.tokens, s.heads, s.width // s.heads)
        heads = {}
        for part in "qkv":
            flat = self.linear(f"{name}.{part}", normed, s.width, s.width)
            apart = self.node("Reshape", [flat, split], f"{name}.{part}.split")
            heads[part] = self.node(
                "Transpose", [apart], f"{name}.{part}.heads", perm=[0, 2, 3, 1] if part == "k" else [0, 2, 1, 3]
            )
        scores = self.node("MatMul", [heads["q"], heads["k"]], f"{name}.scores")
        self.constants["scale"] = np.array((s.width // s.heads) ** -0.5, np.float32)
        scaled = self.node("Mul", [scores, "scale"], f"{name}.scaled")
        weights = self.node("Softmax", [scaled], f"{name}.weights", axis=-1)
        mixed = self.node(
            "Transpose", [self.node("MatMul", [weights, heads["v"]], f"{name}.mixed")], f"{name}.apart", perm=[0, 2, 1, 3]
        )
        merged = self.node("Reshape", [mixed, self.integers("merge", 0, s.tokens, s.width)], f"{name}.merged")
        x = self.node("Add", [x, self.linear(f"{name}.proj", merged, s.width, s.width)], f"{name}.attended")
        wide = int(s.width * s.ratio)
        hidden = self.node("Gelu", [self.linear(f"{name}.fc1", self.norm(f"{name}.norm2", x), s.width, wide)], f"{name}.gelu")
        return self.node("Add", [x, self.linear(f"{name}.fc2", hidden, wide, s.width)], f"{name}.out")

    def node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def linear(self, name: str, x: str, k: int, n: int) -> str:
        self.constants[f"{name}.w"] = self.normal(k, n) / np.float32(np.sqrt(k))
        self.constants[f"{name}.b"] = self.normal(n) / np.float32(10)
        return self.node("Add", [self.node("MatMul", [x, f"{name}.w"], f"{name}.product"), f"{name}.b"], name)

    def norm(self, name: str, x: str) -> str:
        self.constants[f"{name}.w"] = 1 + self.normal(self.shape.width) / np.float32(10)
        self.constants[f"{name}.b"] = self.normal(self.shape.width) / np.float32(10)
        return self.node("LayerNormalization", [x, f"{name}.w", f"{name}.b"], name, axis=-1)

    def integers(self, name: str, *values: int) -> str:
        self.constants[name] = np.array(values, np.int64)
        return name

    def scalar(self, name: str, value: int) -> str:
        self.constants[name] = np.array(value, np.int64)
        return name

    def normal(self, *shape: int) -> NDArray[np.float32]:
        return self.random.standard_normal(shape, dtype=np.float32)
