"""Running the canonical float model with onnxruntime, intermediate tensors included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray

MAXIMUM_IR_VERSION = 13  # the newest that onnxruntime reads


class FloatSession:
    """A canonical model in onnxruntime that returns the named tensors, which need not be outputs of the model."""

    def __init__(self, model: ir.Model, tensors: Sequence[str]) -> None:
        proto = ir.to_proto(model)
        proto.ir_version = min(proto.ir_version, MAXIMUM_IR_VERSION)
        declared = {output.name for output in proto.graph.output}
        proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in declared)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.tensors = tuple(tensors)
        self._session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The named tensors for a batch of inputs."""
        return dict(zip(self.tensors, self._session.run(list(self.tensors), dict(inputs)), strict=True))
