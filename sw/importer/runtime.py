"""Running float graphs with onnxruntime."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime

from edgeflow.hw.arrays import Array
from edgeflow.quant.canonical.session import MAXIMUM_IR_VERSION, Weights, beside, open_session, run_session


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """The model as a protobuf message that onnxruntime can read (file format version at most :data:`MAXIMUM_IR_VERSION`)."""
    proto: onnx.ModelProto = ir.to_proto(model)
    _readable(proto)
    return proto


def light_proto(model: ir.Model) -> tuple[onnx.ModelProto, Weights]:
    """The same without the model's large constants, and these."""
    proto, weights = beside(model)
    _readable(proto)
    return proto, weights


def _readable(proto: onnx.ModelProto) -> None:
    proto.ir_version = min(max(proto.ir_version, 10), MAXIMUM_IR_VERSION)


def session(
    model: ir.Model | onnx.ModelProto | str | os.PathLike[str],
    outputs: Sequence[str] | None = None,
    optimize: bool = True,
    weights: Weights | None = None,
) -> onnxruntime.InferenceSession:
    """An onnxruntime session of ``model`` on the CPU; ``weights`` are those that a message only names.

    ``outputs`` names values to return after the model's own outputs (for calibration); with ``optimize`` off every node runs as
    written. Raises :class:`ModelError` if onnxruntime refuses the model.
    """
    if isinstance(model, ir.Model):
        model, weights = light_proto(model)
    return open_session(model, outputs or (), optimize=optimize, weights=weights)


def names_read(node: onnx.NodeProto) -> set[str]:
    """Values that a node reads, those captured by its branches included."""
    names = set(node.input)
    for attribute in node.attribute:
        for inner in attribute.g.node:
            names |= names_read(inner)
        names |= {entry.name for entry in attribute.g.output}
    return names


def reached_names(graph: onnx.GraphProto, outputs: Sequence[str]) -> set[str]:
    """Names of all values that ``outputs`` are computed from, themselves included."""
    producers = {name: node for node in graph.node for name in node.output if name}
    wanted, reached = list(outputs), set(outputs)
    seen: set[int] = set()
    while wanted:
        node = producers.get(wanted.pop())
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        names = names_read(node) - {""}
        wanted += names - reached
        reached |= names
    return reached


def cut_to(proto: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    """A copy of ``proto`` that computes ``outputs`` and nothing else (onnxruntime runs every node of a graph, asked for or not)."""
    reached = reached_names(proto.graph, outputs)
    result = onnx.ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import, functions=proto.functions)
    graph = result.graph
    graph.name = proto.graph.name
    graph.input.extend(proto.graph.input)
    graph.initializer.extend(entry for entry in proto.graph.initializer if entry.name in reached)
    graph.node.extend(node for node in proto.graph.node if not reached.isdisjoint(node.output))
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    return result


def run(
    runner: onnxruntime.InferenceSession, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None
) -> dict[str, Array]:
    """Run a session on ``inputs`` and return the outputs by name; :class:`ModelError` if onnxruntime fails."""
    return run_session(runner, inputs, outputs, "check its input shapes")


def agreement(
    original: str | os.PathLike[str] | onnx.ModelProto | ir.Model, canonical: ir.Model, inputs: Mapping[str, Array]
) -> dict[str, float]:
    """Largest absolute difference of each output between two models on the same ``inputs``.

    A difference of shape, type or finiteness counts as infinite.
    """
    expected = run(session(original), inputs)
    actual = run(session(canonical), inputs)
    worst = {}
    for name, array in expected.items():
        other = actual.get(name)
        if other is None or other.shape != array.shape or other.dtype != array.dtype:
            worst[name] = float("inf")
            continue
        if not np.array_equal(np.isfinite(array), np.isfinite(other)):
            worst[name] = float("inf")
            continue
        difference = np.abs(np.nan_to_num(array.astype(np.float64)) - np.nan_to_num(other.astype(np.float64)))
        worst[name] = float(difference.max(initial=0.0))
    return worst
