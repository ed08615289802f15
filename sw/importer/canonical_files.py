"""EdgeFlow's own canonical models as files: written with the formats that they bring along, and read back as they are."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from edgeflow.hw.errors import ModelError
from edgeflow.hw.reading import reading
from edgeflow.quant.formats.prequantized import PREFIX
from edgeflow.sw.importer.canonical import verify_canonical
from edgeflow.sw.importer.functions import attach_functions
from edgeflow.sw.importer.runtime import to_proto
from edgeflow.sw.importer.schema import check_schema


def model_bytes(model: ir.Model) -> bytes:
    """A canonical model as an ONNX file, which onnxruntime runs, too (in floating point: formats are metadata)."""
    content: bytes = to_proto(model).SerializeToString()
    return content


def read_own(path: str | os.PathLike[str]) -> ir.Model | None:
    """The canonical model in a file whose nodes say in which formats they read their operands; None for any other file.

    Rewriting would take such nodes apart. ModelError where the file was changed so that it is not canonical any more.
    """
    file = Path(path)
    try:
        data = file.read_bytes()
    except OSError:
        return None
    proto = onnx.ModelProto()
    try:
        if PREFIX.encode() not in data or not proto.ParseFromString(data):
            return None
    except DecodeError:
        return None
    if not any(entry.key.startswith(PREFIX) for node in proto.graph.node for entry in node.metadata_props):
        return None
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in proto.graph.initializer):
        raise ModelError(f"{file}: a model with formats has its weights in the file itself; write it again with EdgeFlow")
    check_schema(file, proto)
    with reading(f"{file}: the model is inconsistent", "write it again", ModelError):
        model = ir.serde.deserialize_model(proto)
    attach_functions(model)
    for node in model.graph:
        for value in node.inputs:
            if value is not None and value.producer() is None and value.const_value is None and not value.is_graph_input():
                raise ModelError(f"{file}: node {node.name!r} reads {value.name!r}, which nothing computes; write the model again")
    verify_canonical(model)
    return model
