"""Small ONNX files written by hand: what exporters of other times and tools produce."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeflow.hw.arrays import Array


class Graph:
    """A graph under construction; ``g.Op(inputs..., attributes...)`` appends a node and returns its output's name."""

    def __init__(self, opset: int, seed: int = 0) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.random = np.random.default_rng(seed)
        self.domains: dict[str, int] = {}

    def input(self, name: str, shape: Sequence[int | str], kind: int = TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def constant(self, array: Any, name: str | None = None) -> str:
        name = name or f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weight(self, *shape: int, name: str | None = None) -> str:
        return self.constant((self.random.standard_normal(shape) * 0.3).astype(np.float32), name)

    @overload
    def node(self, op_type: str, *inputs: str, outputs: int, domain: str = "", **attributes: Any) -> list[str]: ...

    @overload
    def node(self, op_type: str, *inputs: str, domain: str = "", **attributes: Any) -> str: ...

    def node(self, op_type: str, *inputs: str, outputs: int | None = None, domain: str = "", **attributes: Any) -> str | list[str]:
        """Append a node: the name of its output or, where their number is stated, the names of its outputs."""
        names = [f"{op_type.lower()}{len(self.nodes)}_{position}" for position in range(outputs or 1)]
        if domain:
            self.domains[domain] = 1
        name = f"{op_type}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), names, name=name, domain=domain, **attributes))
        return names[0] if outputs is None else names

    def output(self, name: str) -> None:
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "hand", self.inputs, self.outputs, self.initializers)
        imports = [helper.make_opsetid("", self.opset), *(helper.make_opsetid(name, v) for name, v in self.domains.items())]
        return helper.make_model(graph, opset_imports=imports, ir_version=8 if self.opset < 21 else 10)

    def save(self, folder: Path, name: str = "model.onnx") -> Path:
        path = folder / name
        onnx.save(self.model(), path)
        return path


def normal(shape: Sequence[int], seed: int = 5) -> Array:
    """Seeded normal float32 data."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def layer_norm_11(g: Graph, x: str, width: int, spelling: str = "pow-div") -> str:
    """LayerNormalization as opset 11 exporters decompose it."""
    centred = g.node("Sub", x, g.node("ReduceMean", x, axes=[-1]))
    if spelling.startswith("pow"):
        square = g.node("Pow", centred, g.constant(np.float32(2)))
    elif spelling.startswith("twice"):
        again = g.node("Sub", x, g.node("ReduceMean", x, axes=[-1]))
        square = g.node("Mul", again, again)
    else:
        square = g.node("Mul", centred, centred)
    spread = g.node("Add", g.node("ReduceMean", square, axes=[-1]), g.constant(np.float32(1e-5)))
    if spelling.endswith("reciprocal"):
        y = g.node("Mul", centred, g.node("Reciprocal", g.node("Sqrt", spread)))
    elif spelling.endswith("rsqrt"):
        y = g.node("Mul", g.node("Pow", spread, g.constant(np.float32(-0.5))), centred)
    else:
        y = g.node("Div", centred, g.node("Sqrt", spread))
    return g.node("Add", g.weight(width), g.node("Mul", y, g.weight(width)))
