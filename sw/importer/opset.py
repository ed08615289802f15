"""Operator sets of any age: old ones are raised to the first that the importer reads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import onnx

from edgeflow.hw.errors import ModelError, UnsupportedError
from edgeflow.hw.reading import first_line

OPSETS = range(11, 26)
"""Versions of the default operator set that the importer reads."""
OLDEST = 7
"""Oldest version that is raised to them."""
TRAINING_MODE = 14
"""First version in which an attribute of BatchNormalization says that it is in training mode."""
_DEFAULT = ("", "ai.onnx")


def default_opset(file: Path, proto: onnx.ModelProto) -> int:
    """The version of the default operator set that a model asks for; ModelError where it names none."""
    version = next((entry.version for entry in proto.opset_import if entry.domain in _DEFAULT), None)
    if version is None:
        raise ModelError(f"{file}: the model does not say which operator set it uses; export it again")
    return int(version)


def raised(file: Path, proto: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]) -> onnx.ModelProto:
    """The model in an operator set that the importer reads; ``nodes`` are all of its nodes.

    Where no operator of the model has changed since, a new number is all it takes, which leaves operators of other domains (QONNX)
    alone; else ONNX's own converter rewrites it. Raises ModelError or :class:`UnsupportedError`.
    """
    version = default_opset(file, proto)
    if version in OPSETS:
        return proto
    if not OLDEST <= version < OPSETS.start:
        raise UnsupportedError(f"{file}: operator set {version} is not supported; export with opset {OLDEST} to {OPSETS.stop - 1}")
    kinds = {node.op_type for node in nodes if node.domain in _DEFAULT}
    if all(_since(kind, version) == _since(kind, OPSETS.start) for kind in kinds):
        next(entry for entry in proto.opset_import if entry.domain in _DEFAULT).version = OPSETS.start
        return proto
    # Before version 4 of the format every initializer had to be an input, too, and the converter insists.
    proto.ir_version = max(proto.ir_version, 4)
    try:
        return onnx.version_converter.convert_version(proto, OPSETS.start)
    except Exception as error:  # the converter raises what it likes
        raise UnsupportedError(
            f"{file}: operator set {version} cannot be raised to {OPSETS.start}: {first_line(error)}; "
            f"export with opset {OPSETS.start} to {OPSETS.stop - 1}"
        ) from error


def _since(kind: str, version: int) -> int | None:
    """The operator set in which an operator got the definition that it has in ``version``; None if it has none there."""
    try:
        return int(onnx.defs.get_schema(kind, version).since_version)
    except onnx.defs.SchemaError:
        return None
