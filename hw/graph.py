"""The integer graph: formats, tensors and nodes whose arithmetic is exactly defined.

Shapes are per sample (no batch axis). An activation of shape ``(..., C)`` is seen by the hardware as rows of ``C`` channels.
The real value of an integer ``q`` is ``(q - zero_point) * scale``; scales are an interpretation for people, quantizers and
reports. What is computed is defined by the integers and by the attributes of the nodes alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from edgeflow.hw.arrays import IntArray
from edgeflow.hw.errors import InputError
from edgeflow.hw.format_version import FORMAT, check_format
from edgeflow.hw.named_contents import Readable
from edgeflow.hw.reading import COMPILE_AGAIN, read_arrays, reading

Attribute = int | float | str | bool | tuple[int, ...]


class Rounding(Enum):
    """How a real value becomes the nearest integer. A tie goes up, ``floor(x + 1/2)``: EdgeFlow's rule; or to the even neighbour:
    for inputs, and what linear layers and requantizations make, of models that were quantized so elsewhere."""

    HALF_UP = "half_up"
    HALF_EVEN = "half_even"


class Overflow(Enum):
    """What happens to a value outside the format: saturate, or refuse (token ids, masks)."""

    SATURATE = "saturate"
    ERROR = "error"


class Layout(Enum):
    """Where a tensor lives: rows in the activation memory, or the weight image in its operator's own form."""

    ROWS = "rows"
    IMAGE = "image"


class _Integers:
    """The range of integers of ``bits`` bits, signed or not."""

    bits: int
    signed: bool

    @property
    def minimum(self) -> int:
        """Smallest integer of the format."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def maximum(self) -> int:
        """Largest integer of the format."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1


@dataclass(frozen=True)
class QType(_Integers):
    """An integer format with its interpretation.

    ``scale`` is one number, or one per channel (last axis) where the consumers can fold it. ``zero_point`` is the integer that
    stands for 0.0.
    """

    bits: int
    signed: bool
    scale: float | tuple[float, ...]
    zero_point: int = 0
    rounding: Rounding = Rounding.HALF_UP
    overflow: Overflow = Overflow.SATURATE

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 32:
            raise ValueError(f"QType bits must be 1 to 32, not {self.bits!r}")
        scales = self.scale if isinstance(self.scale, tuple) else (self.scale,)
        if not all(np.isfinite(s) and s > 0 for s in scales):
            raise ValueError("QType scale must be finite and positive")

    @property
    def scales(self) -> NDArray[np.float64]:
        """The scale as an array that broadcasts over the last axis."""
        return np.asarray(self.scale, dtype=np.float64)

    def quantize(self, real: NDArray[Any]) -> IntArray:
        """Round real values onto the format and saturate; ValueError where the format refuses a value.

        Half to even, single precision is divided in single precision, as onnxruntime and Brevitas do.
        """
        if self.rounding is Rounding.HALF_EVEN:
            array = np.asarray(real)
            kind = np.float32 if array.dtype == np.float32 else np.float64
            q = np.rint(array.astype(kind) / self.scales.astype(kind)).astype(np.float64) + self.zero_point
        else:
            q = np.floor(np.asarray(real, dtype=np.float64) / self.scales + 0.5) + self.zero_point
        if self.overflow is Overflow.ERROR and (q.min(initial=0) < self.minimum or q.max(initial=0) > self.maximum):
            raise ValueError(f"values must lie in [{self.minimum}, {self.maximum}]")
        clipped: IntArray = np.clip(q, self.minimum, self.maximum).astype(np.int64)
        return clipped

    def dequantize(self, q: NDArray[Any]) -> NDArray[np.float64]:
        """Real values of integers."""
        return (np.asarray(q, dtype=np.float64) - self.zero_point) * self.scales


@dataclass(frozen=True)
class Format(_Integers):
    """What the hardware knows of a tensor: per-sample shape and integer width."""

    shape: tuple[int, ...]
    bits: int
    signed: bool

    @property
    def magnitude(self) -> int:
        """Largest absolute value."""
        return max(-self.minimum, self.maximum)

    @property
    def channels(self) -> int:
        """Size of the last axis."""
        return self.shape[-1] if self.shape else 1

    @property
    def rows(self) -> int:
        """Product of the other axes."""
        return int(np.prod(self.shape[:-1], dtype=np.int64)) if len(self.shape) > 1 else 1


@dataclass(frozen=True)
class TensorType:
    """Per-sample shape, integer format and memory layout; ``limit`` narrows the values (token ids: vocabulary size - 1).

    ``attend``, of an input that is a key mask: closed intervals of the real values that the host turns into 1; None for all but 0.
    """

    shape: tuple[int, ...]
    qtype: QType
    layout: Layout = Layout.ROWS
    limit: int | None = None
    attend: tuple[tuple[float, float], ...] | None = None

    @property
    def format(self) -> Format:
        """The part that the arithmetic depends on."""
        return Format(self.shape, self.qtype.bits, self.qtype.signed)


@dataclass(frozen=True)
class Node:
    """One operator application. ``origin`` names the model's own node for messages."""

    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Attribute]
    origin: str


@dataclass(frozen=True)
class Graph:
    """An integer network in topological order. ``constants`` holds every weight, table and multiplier by tensor name."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: Mapping[str, TensorType]
    constants: Mapping[str, IntArray] = field(repr=False)
    nodes: tuple[Node, ...]

    def formats(self, node: Node) -> tuple[Format, ...]:
        """Formats of a node's inputs."""
        return tuple(self.tensors[name].format for name in node.inputs)

    def node_constants(self, node: Node) -> dict[int, IntArray]:
        """The constant inputs of a node by input position."""
        return {i: self.constants[name] for i, name in enumerate(node.inputs) if name in self.constants}

    def __getstate__(self) -> dict[str, Any]:
        """The fields, constants in as few bytes as hold them: what is pickled is kept, or sent."""
        return {**self.__dict__, "constants": {name: _narrow(value) for name, value in self.constants.items()}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        constants = {name: value.astype(np.int64) for name, value in state["constants"].items()}
        self.__dict__.update({**state, "constants": constants})

    def save(self, stem: Path) -> None:
        """Write ``stem.json`` (structure) and ``stem.npz`` (constants)."""
        document = {
            "format": FORMAT,
            "name": self.name,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "tensors": {name: _tensor_to_json(tensor) for name, tensor in self.tensors.items()},
            "nodes": [
                {
                    "op": node.op,
                    "inputs": node.inputs,
                    "output": node.output,
                    "attributes": dict(node.attributes),
                    "origin": node.origin,
                }
                for node in self.nodes
            ],
        }
        stem.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
        # Names such as "a/b" are not portable as archive members: the JSON keeps the order instead.
        arrays = {f"c{i}": _narrow(value) for i, value in enumerate(self.constants.values())}
        names = np.array(list(self.constants), dtype=np.str_)
        np.savez(stem.with_suffix(".npz"), allow_pickle=False, names=names, **arrays)

    @staticmethod
    def load(stem: Readable) -> Graph:
        """Read what :meth:`save` wrote; InputError where another version did, or where it is damaged.

        What the documents say is of the right types; whether the graph is one, :func:`edgeflow.hw.verify.verify_graph` proves."""
        structure, arrays = stem.with_suffix(".json"), stem.with_suffix(".npz")
        text = structure.read_text()
        with reading(structure, COMPILE_AGAIN):
            document = json.loads(text)
            version = document.get("format")
        check_format(version, structure)
        with reading(structure, COMPILE_AGAIN):
            stored = _StoredGraph.model_validate_json(text)
            tensors = {name: tensor.tensor() for name, tensor in stored.tensors.items()}
        return Graph(
            name=stored.name,
            inputs=stored.inputs,
            outputs=stored.outputs,
            tensors=tensors,
            constants=_stored_constants(arrays),
            nodes=tuple(Node(n.op, n.inputs, n.output, n.attributes, n.origin) for n in stored.nodes),
        )


def _narrow(value: IntArray) -> NDArray[Any]:
    low, high = value.min(initial=0), value.max(initial=0)
    for dtype in (np.int8, np.int16, np.int32):
        info = np.iinfo(dtype)
        if low >= info.min and high <= info.max:
            return value.astype(dtype)
    return value


def _tensor_to_json(tensor: TensorType) -> dict[str, Any]:
    q = tensor.qtype
    return {
        "shape": tensor.shape,
        "bits": q.bits,
        "signed": q.signed,
        "scale": q.scale,
        "zero_point": q.zero_point,
        "rounding": q.rounding.value,
        "overflow": q.overflow.value,
        "layout": tensor.layout.value,
        "limit": tensor.limit,
        **({} if tensor.attend is None else {"attend": tensor.attend}),
    }


_Word = Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]
_Scale = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Stored(BaseModel):
    """A part of a graph's file: no unknown keys, no conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _StoredTensor(_Stored):
    shape: tuple[Annotated[int, Field(ge=0, lt=1 << 31)], ...]
    bits: Annotated[int, Field(ge=1, le=32)]
    signed: bool
    scale: _Scale | tuple[_Scale, ...]
    zero_point: _Word
    rounding: Rounding
    overflow: Overflow
    layout: Layout
    limit: Annotated[int, Field(ge=0, lt=1 << 32)] | None
    attend: tuple[tuple[float, float], ...] | None = None

    def tensor(self) -> TensorType:
        qtype = QType(self.bits, self.signed, self.scale, self.zero_point, self.rounding, self.overflow)
        return TensorType(self.shape, qtype, self.layout, self.limit, self.attend)


class _StoredNode(_Stored):
    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, bool | _Word | float | str | tuple[_Word, ...]]
    origin: str


class _StoredGraph(_Stored):
    format: int
    name: str
    inputs: Annotated[tuple[str, ...], Field(min_length=1)]
    outputs: Annotated[tuple[str, ...], Field(min_length=1)]
    tensors: dict[str, _StoredTensor]
    nodes: tuple[_StoredNode, ...]


def _stored_constants(file: Readable) -> dict[str, IntArray]:
    arrays, values = read_arrays(file.read_bytes(), file), {}
    with reading(file, COMPILE_AGAIN):
        for i, name in enumerate(arrays["names"].tolist()):
            values[str(name)] = arrays[f"c{i}"]
    for name, value in values.items():
        if value.dtype.kind not in "iu":
            raise InputError(f"{file}: constant {name} is {value.dtype}, not integers; {COMPILE_AGAIN}")
    return {name: value.astype(np.int64) for name, value in values.items()}
