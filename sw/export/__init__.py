"""The quantized model as ONNX for other tools: QDQ, which onnxruntime runs, and QONNX.

Weights are exactly the integer graph's words and activations pass quantizers with its formats; between quantizers the model is
float, so its outputs are near those of the integer network but not equal word for word.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import onnx
import onnx_ir as ir

from edgeflow.hw.errors import InputError
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.sw.export.correspondence import FILE, Described, read_correspondence, write_correspondence
from edgeflow.sw.export.exporter import Exporter
from edgeflow.sw.export.forms import Form, Qdq, Qonnx
from edgeflow.sw.export.tensor_matching import Readings
from edgeflow.sw.files.build import Build, contents
from edgeflow.sw.files.writing import check_writable, write_bytes

__all__ = [
    "FORMATS",
    "Described",
    "export_build",
    "export_model",
    "export_qdq",
    "export_qonnx",
    "read_correspondence",
    "write_correspondence",
]


NOTHING: Mapping[str, str] = MappingProxyType({})


def export_qdq(model: ir.Model, quantized: Described, facts: Mapping[str, str] = NOTHING) -> onnx.ModelProto:
    """The canonical ``model`` with QuantizeLinear, Clip and DequantizeLinear (operator set 21).

    Weights are int8, or int4 up to 4 bits; activations int8 or uint8, or int16 above 8 bits. The model's metadata are ``facts``,
    ``weight_bits`` and ``activation_bits``, each under ``edgeflow.NAME``; a node's ``edgeflow.origin`` is the node, or the input,
    of the original file that it comes from. ModelError above 2 GB.
    """
    return _export(model, quantized, Qdq, facts)


def export_qonnx(model: ir.Model, quantized: Described, facts: Mapping[str, str] = NOTHING) -> onnx.ModelProto:
    """The canonical ``model`` with QONNX's Quant nodes (operator set 20, domain ``qonnx.custom_op.general``).

    Weights are floats before a Quant, as QONNX has it; metadata as for :func:`export_qdq`. ModelError above 2 GB.
    """
    return _export(model, quantized, Qonnx, facts)


class Export(Protocol):
    """Such a function."""

    def __call__(self, model: ir.Model, quantized: Described, facts: Mapping[str, str] = NOTHING) -> onnx.ModelProto:
        """The exported model."""


FORMATS: Mapping[str, Export] = {"qdq": export_qdq, "qonnx": export_qonnx}
"""The exports by the name that the command line gives them."""


def export_build(build: Build, output: Path, format: str) -> Path:
    """Write the quantized model of a build in a format of :data:`FORMATS`; InputError for another, OutputError if that fails."""
    facts = {"model": build.manifest["model"]["file"], "board": build.board.name}
    model, quantized = build.float_model(), read_correspondence(build.files, build.graph)
    with contents(build.folder / FILE):
        return export_model(model, quantized, output, format, facts)


def export_model(model: ir.Model, quantized: Described, output: Path, format: str, facts: Mapping[str, str] = NOTHING) -> Path:
    """Write a quantized model, whose canonical form is ``model``, as :func:`export_build` does."""
    if format not in FORMATS:
        raise InputError(f"export format {format!r} is not known: choose from {', '.join(FORMATS)}")
    check_writable(output)
    proto = FORMATS[format](model, quantized, facts)
    write_bytes(output, proto.SerializeToString())
    return output


def _export(model: ir.Model, quantized: Described, form: type[Form], facts: Mapping[str, str]) -> onnx.ModelProto:
    readings = Readings(FloatGraph(model), quantized.graph, quantized.correspondence)
    reserved = [*readings.model.inputs, *readings.model.outputs, *readings.model.producers]
    return Exporter(readings, quantized.indices, form(reserved)).run(facts)
