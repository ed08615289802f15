"""Formats that a model brings along: of a quantized ONNX file, or of quantization-aware training.

A node of a canonical model may say in its ``metadata_props`` in which format it reads an operand, under ``edgeflow.format.<i>`` for
its input ``i`` (an activation, or the constant weight of a linear layer), and under ``edgeflow.format.out`` in which a graph output
that it makes leaves the network. Each is a JSON object with the fields of a QType that matter: ``bits``, ``signed``, ``scale`` (a
number; for weights also a list, one for each output channel), ``zero_point`` and ``rounding``. The quantizer keeps such formats as
they are; the rest it calibrates.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeflow.hw.errors import InputError, ModelError
from edgeflow.hw.graph import IntArray, QType, Rounding
from edgeflow.quant.config import QuantizationConfig
from edgeflow.quant.float_graph import FloatGraph, Use, origin

PREFIX = "edgeflow.format."
OUT = "out"
WARNINGS = "edgeflow.warnings"
"""Metadata key of a model: what the user should know of how it was read, lines as a JSON list."""
GRID = 1e-3  # of a step, that float32 may move a weight off its grid


def give_format(node: ir.Node, index: int | None, qtype: QType) -> None:
    """Have ``node`` read its input ``index`` in a format; None: the graph output that it makes has it."""
    node.metadata_props[_key(index)] = json.dumps(
        {
            "bits": qtype.bits,
            "signed": qtype.signed,
            "scale": qtype.scale,
            "zero_point": qtype.zero_point,
            "rounding": qtype.rounding.value,
        }
    )


def given_format(node: ir.Node, index: int | None) -> QType | None:
    """The format in which ``node`` reads its input ``index``, or that of the graph output that it makes; None where it is free.

    ModelError where the node holds something else under that name.
    """
    text = node.metadata_props.get(_key(index))
    if text is None:
        return None
    try:
        found = json.loads(text)
        scale = found["scale"]
        return QType(
            int(found["bits"]),
            bool(found["signed"]),
            tuple(map(float, scale)) if isinstance(scale, list) else float(scale),
            int(found["zero_point"]),
            Rounding(found["rounding"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{origin(node)}: the metadata {_key(index)} is no format; export the model again") from error


def has_given_formats(graph: FloatGraph) -> bool:
    """Whether any node of a model brings a format along."""
    return any(key.startswith(PREFIX) for node in graph.nodes for key in node.metadata_props)


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
    """The one format in which everything reads a value, graph outputs included; None if there is none or not just one."""
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


def _key(index: int | None) -> str:
    return f"{PREFIX}{OUT if index is None else index}"
