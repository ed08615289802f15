"""The one way to onnxruntime: opening a model, running it, intermediate tensors included, and naming what goes wrong."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray

from edgeflow.hw.arrays import Real
from edgeflow.hw.errors import ModelError
from edgeflow.hw.reading import first_line
from edgeflow.quant.canonical.contexts import Function

Weights = Mapping[str, NDArray[Any]]
"""Large float32 constants by name, beside a message that only names them."""

MAXIMUM_IR_VERSION = 13  # of the file format, the newest that the supported onnxruntime reads
LARGE = 1024
"""Elements above which a float32 constant is shared with onnxruntime instead of copied through messages; sizes of tensors, which
inference of shapes reads, are smaller."""
_BESIDE = "weights in memory"  # a file that nobody opens
_SILENT = 4  # severity from which onnxruntime logs: errors are raised


def beside(model: ir.Model) -> tuple[onnx.ModelProto, Weights]:
    """The message of a model without its large constants, and these, which are not copied."""
    kept: list[tuple[ir.Value, ir.TensorProtocol]] = []
    weights: dict[str, NDArray[Any]] = {}
    try:
        for name, value in model.graph.initializers.items():
            tensor = value.const_value
            if tensor is None or tensor.dtype != ir.DataType.FLOAT or tensor.size <= LARGE:
                continue
            weights[name] = np.ascontiguousarray(tensor.numpy())
            kept.append((value, tensor))
            shape = ir.Shape(tensor.shape.numpy())
            value.const_value = ir.ExternalTensor(_BESIDE, None, None, tensor.dtype, shape=shape, name=name)
        return ir.to_proto(model), weights
    finally:
        for value, tensor in kept:
            value.const_value = tensor


def set_beside(proto: onnx.ModelProto) -> tuple[onnx.ModelProto, Weights]:
    """A message without its large constants, and these; ``proto`` loses them."""
    weights: dict[str, NDArray[Any]] = {}
    for tensor in proto.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and math.prod(tensor.dims) > LARGE:
            weights[tensor.name] = onnx.numpy_helper.to_array(tensor)
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=_BESIDE)
    light = onnx.ModelProto()  # a message keeps the memory of what was taken out of it
    light.CopyFrom(proto)
    return light, weights


def open_session(
    model: onnx.ModelProto | str | os.PathLike[str],
    outputs: Sequence[str] = (),
    *,
    optimize: bool = True,
    threads: int | None = None,
    weights: Weights | None = None,
) -> onnxruntime.InferenceSession:
    """An onnxruntime session on the CPU of a model, or of a file as it is; ModelError where onnxruntime refuses it.

    Parameters
    ----------
    outputs
        Values to return after the model's own outputs; only for a model in memory.
    optimize
        If off, every node runs as written.
    threads
        Of one operator; as many as there are processors if None.
    weights
        Constants that a model in memory only names (:func:`beside`), and maybe others; they must not change.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _SILENT
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    if threads is not None:
        options.intra_op_num_threads = threads
    if weights and isinstance(model, onnx.ModelProto):
        names = [tensor.name for tensor in model.graph.initializer if tensor.name in weights]
        options.add_external_initializers(names, [onnxruntime.OrtValue.ortvalue_from_numpy(weights[name]) for name in names])
    source = _serialized(model, outputs) if isinstance(model, onnx.ModelProto) else os.fspath(model)
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise ModelError(f"onnxruntime cannot load the model: {first_line(error)}; check the export") from error


def _serialized(model: onnx.ModelProto, outputs: Sequence[str]) -> bytes:
    """The message with more outputs, and of a version that onnxruntime reads; no copy of its weights is made on the way."""
    version, own = model.ir_version, len(model.graph.output)
    declared = {output.name for output in model.graph.output}
    try:
        model.ir_version = min(version, MAXIMUM_IR_VERSION)
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs if name not in declared)
        content: bytes = model.SerializeToString()
    finally:
        model.ir_version = version
        del model.graph.output[own:]
    return content


def run_session(
    session: onnxruntime.InferenceSession,
    inputs: Mapping[str, NDArray[Any]],
    outputs: Sequence[str] | None = None,
    advice: str = "check the input values",
) -> dict[str, NDArray[Any]]:
    """The named outputs, or all, by name; ModelError, which ends in ``advice``, where onnxruntime fails on the inputs."""
    names = list(outputs) if outputs is not None else [entry.name for entry in session.get_outputs()]
    try:
        arrays = session.run(names, dict(inputs))
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise ModelError(f"onnxruntime cannot run the model: {first_line(error)}; {advice}") from error
    return dict(zip(names, arrays, strict=True))


class FloatSession:
    """A canonical model in onnxruntime that returns the named tensors, which need not be outputs of the model.

    Raises ModelError where onnxruntime refuses the model.
    """

    def __init__(self, model: ir.Model, tensors: Sequence[str]) -> None:
        self.tensors = tuple(tensors)
        message, weights = beside(model)
        self._session = open_session(message, tensors, weights=weights)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The named tensors ``(N, ...)`` for a batch of inputs ``(N, ...)``; ModelError where onnxruntime fails on them."""
        return run_session(self._session, inputs, self.tensors)


def elementwise_function(model: ir.Model, node: ir.Node) -> Function:
    """The function of an elementwise node of one tensor, evaluated by onnxruntime in float32 exactly as the float model does."""
    alone = onnx.helper.make_node(node.op_type, ["x"], ["y"], domain=node.domain, overload=node.overload or None)
    alone.attribute.extend(ir.to_proto(attribute) for attribute in node.attributes.values())
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None]) for name in "xy"]
    wanted = [ir.to_proto(f) for f in model.functions.values() if f.domain == node.domain and f.name == node.op_type]
    opsets = [onnx.helper.make_opsetid(domain, version) for domain, version in model.opset_imports.items()]
    graph = onnx.helper.make_graph([alone], "unary", value[:1], value[1:])
    single = onnx.helper.make_model(graph, opset_imports=opsets, functions=wanted)
    single.ir_version = model.ir_version
    session = open_session(single, threads=1)

    def function(x: Real) -> Real:
        flat = np.ascontiguousarray(x, dtype=np.float32).reshape(-1)
        y: Real = np.nan_to_num(run_session(session, {"x": flat})["y"].astype(np.float64)).reshape(x.shape)
        return y

    return function
