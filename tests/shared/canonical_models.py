"""Small canonical float models for the quantizer's tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgeflow.quant.canonical.base import Role, registry
from edgeflow.sw.importer.functions import attach_functions

TYPES = {"float32": onnx.TensorProto.FLOAT, "int64": onnx.TensorProto.INT64}
REQUIRED = {"Clip": {"minimum": -1.5, "maximum": 2.0}}  # attributes of functions that have no defaults


def node(op: str, inputs: Sequence[str], output: str, **attributes: Any) -> onnx.NodeProto:
    """A canonical node, named after its output."""
    attributes = {**REQUIRED.get(op, {}), **attributes}
    domain = registry()[op].domain if op in registry() else ""
    proto = helper.make_node(op, list(inputs), [output], name=output, domain=domain, **attributes)
    cls = registry().get(op)
    if cls is not None and "masked" in cls.bodies and any(cls.operands[i].role is Role.MASK for i in range(len(inputs))):
        proto.overload = "masked"
    if op == "SelectTokens" and attributes["squeeze"]:
        proto.overload = "squeeze"
    return proto


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, tuple[str, tuple[int, ...]]],
    outputs: Mapping[str, tuple[int, ...]],
    constants: Mapping[str, NDArray[Any]],
) -> ir.Model:
    """A canonical model with a symbolic batch; shapes are per sample."""
    graph = helper.make_graph(
        list(nodes),
        "tiny",
        [helper.make_tensor_value_info(name, TYPES[dtype], ["batch", *shape]) for name, (dtype, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", *shape]) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("edgeflow", 1)])
    proto.ir_version = 10
    canonical = ir.from_proto(proto)
    attach_functions(canonical)
    return canonical


def weights(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Random weights that keep the size of what they multiply."""
    return np.asarray(rng.normal(size=shape) / np.sqrt(shape[0]), dtype=np.float32)


def linear(rng: np.random.Generator, constants: dict[str, NDArray[Any]], x: str, output: str, k: int, n: int) -> onnx.NodeProto:
    """A linear node with random weights, which are added to ``constants``."""
    constants[f"{output}.w"], constants[f"{output}.b"] = weights(rng, k, n), rng.normal(size=n).astype(np.float32) * 0.3
    return node("Linear", [x, f"{output}.w", f"{output}.b"], output)
