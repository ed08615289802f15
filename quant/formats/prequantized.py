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
from edgeflow.hw.errors import InputError, ModelError
from edgeflow.hw.graph import QType, Rounding
from edgeflow.quant.canonical.graph import FloatGraph, Use, origin
from edgeflow.quant.formats.config import QuantizationConfig

PREFIX = "edgeflow.format."
OUT = "out"
MADE = "made"
INDEX = "index"
WARNINGS = "edgeflow.warnings"
"""Metadata key of a model: what the user should know of how it was read, lines as a JSON list."""
GRID = 1e-3  # of a step, that float32 may move a weight off its grid

Place = int | str | None
"""An input of a node by its number, MADE, INDEX, or None for the graph output that it makes."""


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


def give_format(holder: ir.Node | ir.Value, place: Place, qtype: QType, offset: float = 0.0) -> None:
    """Have a node, or with MADE a graph input, have a format at a place; ``offset`` belongs to MADE alone."""
    entry = format_entry(qtype)
    holder.metadata_props[_key(place)] = json.dumps(entry | {"offset": offset} if offset else entry)


def given_format(holder: ir.Node | ir.Value, place: Place) -> QType | None:
    """The format at a place of a node or a graph input; None where it is free.

    ModelError where the node holds something else under that name.
    """
    entry = _entry(holder, place)
    return None if entry is None else entry[0]


def _entry(holder: ir.Node | ir.Value, place: Place) -> tuple[QType, float] | None:
    text = holder.metadata_props.get(_key(place))
    if text is None:
        return None
    try:
        found = json.loads(text)
        return read_entry(found), float(found.get("offset", 0.0))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        where = origin(holder) if isinstance(holder, ir.Node) else holder.name
        raise ModelError(f"{where}: the metadata {_key(place)} is no format; export the model again") from error


def has_given_formats(graph: FloatGraph) -> bool:
    """Whether any node of a model brings a format along."""
    return any(key.startswith(PREFIX) for node in graph.nodes for key in node.metadata_props)


def made_format(graph: FloatGraph, name: str) -> tuple[QType, float] | None:
    """The format in which a value is made, and the offset of what its integers stand for; None where it is free."""
    producer = graph.producers.get(name)
    if producer is not None:
        return _entry(producer, MADE)
    return next((_entry(value, MADE) for value in graph.model.graph.inputs if value.name == name), None)


def model_warnings(model: ir.Model) -> tuple[str, ...]:
    """What the user should know of how a canonical model came about, a line each."""
    return tuple(json.loads(model.metadata_props.get(WARNINGS, "[]")))


def check_options(graph: FloatGraph, config: QuantizationConfig) -> None:
    """InputError for bits that are asked for where the model has formats of its own everywhere, none of them with those bits."""
    if not has_given_formats(graph):
        return
    linear = [node for node in graph.nodes if node.op_type in ("Linear", "PatchEmbed")]
    attention = [node for node in graph.nodes if node.op_type == "Attention"]
    places = {
        "weight_bits": [(node, 1) for node in linear],
        "activation_bits": [(node, 0) for node in linear],
        "attention_bits": [(node, index) for node in attention for index in range(3)],
    }
    usual = QuantizationConfig()
    for option, readings in places.items():
        asked = getattr(config, option)
        found = {None if (qtype := given_format(node, index)) is None else qtype.bits for node, index in readings}
        if asked != getattr(usual, option) and found and not found & {asked, None}:
            raise InputError(
                f"quantization option {option} is {asked}, but the model is quantized already and keeps its own formats"
                f" ({_listed(found)} bits there); leave the option out, or give the float model"
            )
    for node in linear:
        layer = config.layers.get(origin(node))
        for index, bits in () if layer is None else ((0, layer.activation), (1, layer.weight)):
            qtype = given_format(node, index)
            if qtype is not None and qtype.bits != bits:
                raise InputError(
                    f"quantization option layers asks for {bits} bits in {origin(node)!r}, but the model is quantized already and"
                    f" has {qtype.bits} there; leave the option out, or give the float model"
                )


def _listed(bits: Iterable[int | None]) -> str:
    return ", ".join(str(number) for number in sorted(number for number in bits if number is not None))


def read_format(use: Use) -> QType | None:
    """The format in which a value is read there; None where it is free."""
    return given_format(use.node, use.index)


def tensor_format(graph: FloatGraph, name: str) -> QType | None:
    """The format in which a value is made, or else the one in which everything reads it, graph outputs included; None if there is
    none or not just one."""
    made = made_format(graph, name)
    if made is not None:
        return made[0]
    found = [read_format(use) for use in graph.uses_of(name)]
    if name in graph.outputs:
        producer = graph.producers.get(name)
        found.append(None if producer is None else given_format(producer, None))
    first = found[0] if found else None
    return first if all(other == first for other in found) else None


def partly_given(graph: FloatGraph, name: str) -> bool:
    """Whether some readings of a value have a format of their own, but not all the same."""
    return tensor_format(graph, name) is None and any(read_format(use) is not None for use in graph.uses_of(name))


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
