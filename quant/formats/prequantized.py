"""Formats that a model brings along: of a quantized ONNX file, or of quantization-aware training.

A node of a canonical model may say in its ``metadata_props`` in which format it reads an operand, under ``edgeflow.format.<i>`` for
its input ``i`` (an activation, or the constant weight of a linear layer), and under ``edgeflow.format.out`` in which a graph output
that it makes leaves the network. Each is a JSON object with the fields of a QType that matter: ``bits``, ``signed``, ``scale`` (a
number, or a list: one for each channel of an activation, or each output channel of weights), ``zero_point`` and ``rounding``. The
quantizer keeps such formats as they are; the rest it calibrates.

Where a value is made in one format and read in others, ``edgeflow.format.made`` on its node, or on the graph input, says the first;
with the field ``offset``, which is added to what the integers stand for. ``edgeflow.format.index`` on an activation function is the
format in which its argument indexes its table. Weights of a layer that reads a scale for each channel are on their grid once these
scales are multiplied into them: such a layer's weight format is that of the products.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeflow.hw.arrays import IntArray
from edgeflow.hw.errors import ModelError
from edgeflow.hw.graph import QType, Rounding
from edgeflow.quant.nodes import Use, origin

PREFIX = "edgeflow.format."
OUT = "out"
PRODUCED = "made"
INDEX = "index"
WARNINGS = "edgeflow.warnings"
"""Metadata key of a model: what the user should know of how it was read, lines as a JSON list."""
GRID = 1e-3  # of a step, that float32 may move a weight off its grid

Place = int | str | None
"""An input of a node by its number, PRODUCED, INDEX, or None for the graph output that it makes."""


def format_entry(qtype: QType) -> dict[str, Any]:
    """A format as the fields of a JSON object."""
    return {
        "bits": qtype.bits,
        "signed": qtype.signed,
        "scale": qtype.scale,
        "zero_point": qtype.zero_point,
        "rounding": qtype.rounding.value,
    }


def read_entry(entry: Mapping[str, Any]) -> QType:
    """The format in what :func:`format_entry` made; ValueError, KeyError or TypeError for anything else."""
    scale = entry["scale"]
    return QType(
        int(entry["bits"]),
        bool(entry["signed"]),
        tuple(map(float, scale)) if isinstance(scale, list) else float(scale),
        int(entry["zero_point"]),
        Rounding(entry["rounding"]),
    )


def set_format(holder: ir.Node | ir.Value, place: Place, qtype: QType, offset: float = 0.0) -> None:
    """Set the format at a place of a node, or with PRODUCED of a graph input; ``offset`` belongs to PRODUCED alone."""
    entry = format_entry(qtype)
    holder.metadata_props[_key(place)] = json.dumps(entry | {"offset": offset} if offset else entry)


def fixed_format(holder: ir.Node | ir.Value, place: Place) -> QType | None:
    """The format at a place of a node or a graph input; None where it is free.

    ModelError where the node holds something else under that name.
    """
    entry = format_and_offset(holder, place)
    return None if entry is None else entry[0]


def format_and_offset(holder: ir.Node | ir.Value, place: Place) -> tuple[QType, float] | None:
    text = holder.metadata_props.get(_key(place))
    if text is None:
        return None
    try:
        entry = json.loads(text)
        return read_entry(entry), float(entry.get("offset", 0.0))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        where = origin(holder) if isinstance(holder, ir.Node) else holder.name
        raise ModelError(f"{where}: the metadata {_key(place)} is no format; export the model again") from error


def model_warnings(model: ir.Model) -> tuple[str, ...]:
    """What the user should know of how a canonical model came about, a line each."""
    return tuple(json.loads(model.metadata_props.get(WARNINGS, "[]")))


def add_warnings(model: ir.Model, lines: Iterable[str]) -> None:
    """Add lines to what the user should know of a canonical model, each once."""
    warnings = list(dict.fromkeys((*model_warnings(model), *lines)))
    if warnings:
        model.metadata_props[WARNINGS] = json.dumps(warnings)


def read_format(use: Use) -> QType | None:
    """The format in which a value is read there; None where it is free."""
    return fixed_format(use.node, use.index)


def words(weight: NDArray[np.float64], qtype: QType, axis: int, where: str) -> IntArray:
    """Integers of a weight with given scales along ``axis``; ModelError naming ``where`` for weights that are not on that grid."""
    shape = [1] * weight.ndim
    if isinstance(qtype.scale, tuple):
        if len(qtype.scale) != weight.shape[axis]:
            raise ModelError(f"{where}: {len(qtype.scale)} weight scales do not fit {weight.shape[axis]} output channels")
        shape[axis] = -1
    exact = weight / qtype.scales.reshape(shape)
    nearest = np.floor(exact + 0.5)
    if not qtype.signed or qtype.zero_point:
        raise ModelError(f"{where}: weights must be signed with the zero point 0")
    if (
        np.abs(exact - nearest).max(initial=0.0) > GRID
        or nearest.min(initial=0) < qtype.minimum
        or nearest.max(initial=0) > qtype.maximum
    ):
        raise ModelError(f"{where}: the weights are not multiples of their scale within {qtype.bits} bits; export the model again")
    return nearest.astype(np.int64)


def _key(place: Place) -> str:
    return f"{PREFIX}{OUT if place is None else place}"
