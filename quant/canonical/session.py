"""Running the canonical float model with onnxruntime, intermediate tensors included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray

from edgeflow.hw.errors import ModelError

MAXIMUM_IR_VERSION = 13  # of the file format, the newest that the supported onnxruntime reads


class FloatSession:
    """A canonical model in onnxruntime that returns the named tensors, which need not be outputs of the model.

    Raises ModelError where onnxruntime refuses the model.
    """

    def __init__(self, model: ir.Model, tensors: Sequence[str]) -> None:
        proto = ir.to_proto(model)
        proto.ir_version = min(proto.ir_version, MAXIMUM_IR_VERSION)
        declared = {output.name for output in proto.graph.output}
        proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in declared)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors are raised
        self.tensors = tuple(tensors)
        try:
            self._session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise ModelError(f"onnxruntime cannot load the model: {first_line(error)}; check the export") from error

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The named tensors ``(N, ...)`` for a batch of inputs ``(N, ...)``; ModelError where onnxruntime fails on them."""
        try:
            found = self._session.run(list(self.tensors), dict(inputs))
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise ModelError(f"onnxruntime cannot run the model: {first_line(error)}; check the input values") from error
        return dict(zip(self.tensors, found, strict=True))


def first_line(error: Exception) -> str:
    """The first line of an exception's message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
