"""A model as a user has it: a file, an ONNX message, a canonical model, or a torch module; each becomes a file to import."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import onnx
import onnx_ir as ir

from edgeflow.hw.errors import EdgeFlowError, InputError, ModelError, UnsupportedError
from edgeflow.sw.files.build import hash_file
from edgeflow.sw.files.presence import check_no_device
from edgeflow.sw.importer.canonical_files import model_bytes
from edgeflow.sw.importer.load import parse
from edgeflow.sw.importer.original import files_of
from edgeflow.sw.importer.placed_errors import placed
from edgeflow.sw.importer.torch_export import export_module, is_module

if TYPE_CHECKING:
    import torch

ModelSource: TypeAlias = "str | os.PathLike[str] | onnx.ModelProto | ir.Model | torch.nn.Module"
"""An ONNX file; an ONNX message; a canonical model (``edgeflow.load``); a torch module, which takes example inputs."""


@dataclass(frozen=True)
class ModelFile:
    """Where a model lies, and its ``name`` in reports and messages. ``users_own``: the user's own file, not one written for the
    import, which goes with it."""

    path: Path
    name: str
    users_own: bool

    def input_names(self) -> tuple[str, ...]:
        """The names of its inputs, in its order."""
        return self._outline[0]

    @property
    def files(self) -> tuple[Path, ...]:
        """The file and those of its external data."""
        return self._outline[1]

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """The SHA-256 of each of them, as it was when it was first asked for."""
        return tuple(hash_file(file) for file in self.files)

    @cached_property
    def _outline(self) -> tuple[tuple[str, ...], tuple[Path, ...]]:
        """Inputs and files, of one reading of the file, which may be large."""
        proto = parse(self.path)
        constants = {tensor.name for tensor in proto.graph.initializer}
        names = tuple(value.name for value in proto.graph.input if value.name not in constants)
        return names, tuple(files_of(self.path, proto))


@contextmanager
def model_file(model: Any, example_inputs: object = None) -> Iterator[ModelFile]:
    """The model as a file while the block runs; errors in it name the model, not a temporary file.

    InputError for what is no model, and for ``example_inputs`` with anything but a torch module; see
    :func:`~edgeflow.sw.importer.torch_export.export_module` for those of a torch module.
    """
    module = is_module(model)
    if example_inputs is not None and not module:
        raise InputError(f"example_inputs are for a torch module, and the model is a {type(model).__name__}: leave them out")
    if isinstance(model, str | os.PathLike):
        path = Path(model)
        check_no_device(path, "", ModelError)
        try:
            yield ModelFile(path, path.name, users_own=True)
        except ModelError as error:
            raise placed(path, error) from error
        return
    if not module and not isinstance(model, onnx.ModelProto | ir.Model):
        raise InputError(
            f"model is a {type(model).__name__}: give the path of an ONNX file, an onnx.ModelProto, what edgeflow.load or"
            " edgeflow.quantize returned, or a torch module with example_inputs"
        )
    with tempfile.TemporaryDirectory(prefix="edgeflow-model-") as folder:
        name = type(model).__name__ if module else str(model.graph.name or "model")
        path = Path(folder) / "model.onnx"
        if module:
            export_module(model, example_inputs, path)
        else:
            path.write_bytes(model_bytes(model) if isinstance(model, ir.Model) else _serialized(model))
        try:
            yield ModelFile(path, name, users_own=False)
        except EdgeFlowError as error:
            if str(path) not in str(error):
                raise
            if isinstance(error, UnsupportedError) and error.diagnosis is not None:
                raise UnsupportedError(replace(error.diagnosis, model=f"model {name}")) from error
            raise type(error)(str(error).replace(str(path), f"model {name}")) from error


def _serialized(proto: onnx.ModelProto) -> bytes:
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in proto.graph.initializer):
        raise ModelError(
            "the onnx.ModelProto has its weights in other files: load it with onnx.load(path), or give the path of the file"
        )
    try:
        content: bytes = proto.SerializeToString()
    except ValueError as error:  # protobuf has a limit of 2 GB
        raise ModelError(f"the onnx.ModelProto cannot be written ({error}): give the path of a file") from error
    return content
