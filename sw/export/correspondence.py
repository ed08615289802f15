"""What an export needs of a quantized model, as it lies in a build folder beside the integer graph."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from edgeflow.hw.format_version import FORMAT, check_format
from edgeflow.hw.graph import Graph, QType
from edgeflow.hw.named_contents import Readable
from edgeflow.hw.reading import COMPILE_AGAIN, reading
from edgeflow.quant.formats.interpretation import Correspondence

FILE = "correspondence.json"
_Scale = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Described(Protocol):
    """An integer graph and what its tensors stand for in the float model, such as a Quantized."""

    @property
    def graph(self) -> Graph:
        """The integer graph."""

    @property
    def correspondence(self) -> Mapping[str, Correspondence]:
        """The float tensor behind every integer tensor that has one."""

    @property
    def indices(self) -> Mapping[str, QType]:
        """The format in which a linear layer's output indexes the table of the function behind it, by that output."""


@dataclass(frozen=True)
class Stored:
    """The same, read from a build folder."""

    graph: Graph
    correspondence: Mapping[str, Correspondence]
    indices: Mapping[str, QType]


def write_correspondence(folder: Path, quantized: Described) -> None:
    """Write what :func:`read_correspondence` needs."""
    tensors = {
        tensor: {
            "value": known.name,
            "channels": None if known.channels is None else known.channels.tolist(),
            "offset": None if known.offset is None else known.offset.tolist(),
        }
        for tensor, known in quantized.correspondence.items()
    }
    indices = {
        value: {"bits": q.bits, "signed": q.signed, "scale": q.scale, "zero_point": q.zero_point}
        for value, q in quantized.indices.items()
    }
    (folder / FILE).write_text(json.dumps({"format": FORMAT, "tensors": tensors, "indices": indices}, indent=1) + "\n")


def read_correspondence(files: Readable, graph: Graph) -> Stored:
    """The integer graph of a build, whose ``files`` say what its tensors stand for; InputError where they do not."""
    file = files / FILE
    text = file.read_text()
    with reading(file, COMPILE_AGAIN):
        document: dict[str, Any] = json.loads(text)
        version = document.get("format")
    check_format(version, file)
    with reading(file, COMPILE_AGAIN):
        stored = _Document.model_validate_json(text)
    correspondence = {
        tensor: Correspondence(
            known.value,
            None if known.channels is None else np.asarray(known.channels, np.int64),
            None if known.offset is None else np.asarray(known.offset, np.float64),
        )
        for tensor, known in stored.tensors.items()
    }
    indices = {value: QType(index.bits, index.signed, index.scale, index.zero_point) for value, index in stored.indices.items()}
    return Stored(graph, correspondence, indices)


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class _Tensor(_Part):
    value: str
    channels: tuple[Annotated[int, Field(ge=0, lt=1 << 31)], ...] | None
    offset: tuple[FiniteFloat, ...] | None


class _Index(_Part):
    bits: Annotated[int, Field(ge=1, le=32)]
    signed: bool
    scale: _Scale | tuple[_Scale, ...]
    zero_point: Annotated[int, Field(ge=-(1 << 31), lt=1 << 31)]


class _Document(_Part):
    format: int
    tensors: dict[str, _Tensor]
    indices: dict[str, _Index]
