"""Formats that a model brings along, read off its graph: where values are made and read in them, and options that they rule out."""

from __future__ import annotations

from collections.abc import Iterable

from edgeflow.hw.errors import InputError
from edgeflow.hw.graph import QType
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.formats.interpretation import Demand
from edgeflow.quant.formats.prequantized import PREFIX, PRODUCED, fixed_format, format_and_offset, read_format
from edgeflow.quant.nodes import origin


def has_fixed_formats(graph: FloatGraph) -> bool:
    """Whether any node of a model brings a format along."""
    return any(key.startswith(PREFIX) for node in graph.nodes for key in node.metadata_props)


def produced_format(graph: FloatGraph, name: str) -> tuple[QType, float] | None:
    """The format in which a value is made, and the offset of what its integers stand for; None where it is free."""
    producer = graph.producers.get(name)
    if producer is not None:
        return format_and_offset(producer, PRODUCED)
    return next((format_and_offset(value, PRODUCED) for value in graph.model.graph.inputs if value.name == name), None)


def check_options(graph: FloatGraph, config: QuantizationConfig) -> None:
    """InputError for bits that are asked for where the model has formats of its own everywhere, none of them with those bits."""
    if not has_fixed_formats(graph):
        return
    linear = graph.layers()
    attention = [(op.node, i) for op in graph.operators for i in op.array_operands() if op.demand(i) is Demand.ATTENTION]
    places = {
        "weight_bits": [(node, 1) for node in linear],
        "activation_bits": [(node, 0) for node in linear],
        "attention_bits": attention,
    }
    usual = QuantizationConfig()
    for option, readings in places.items():
        asked = getattr(config, option)
        widths = {None if (qtype := fixed_format(node, index)) is None else qtype.bits for node, index in readings}
        if asked != getattr(usual, option) and widths and not widths & {asked, None}:
            raise InputError(
                f"quantization option {option} is {asked}, but the model is quantized already and keeps its own formats"
                f" ({_listed(widths)} bits there); leave the option out, or give the float model"
            )
    for node in linear:
        layer = config.layers.get(origin(node))
        for index, bits in () if layer is None else ((0, layer.activation), (1, layer.weight)):
            qtype = fixed_format(node, index)
            if qtype is not None and qtype.bits != bits:
                raise InputError(
                    f"quantization option layers asks for {bits} bits in {origin(node)!r}, but the model is quantized already and"
                    f" has {qtype.bits} there; leave the option out, or give the float model"
                )


def _listed(bits: Iterable[int | None]) -> str:
    return ", ".join(str(number) for number in sorted(number for number in bits if number is not None))


def tensor_format(graph: FloatGraph, name: str) -> QType | None:
    """The format in which a value is made, or else the one in which everything reads it, graph outputs included; None if there is
    none or not just one."""
    produced = produced_format(graph, name)
    if produced is not None:
        return produced[0]
    formats = [read_format(use) for use in graph.uses_of(name)]
    if name in graph.outputs:
        producer = graph.producers.get(name)
        formats.append(None if producer is None else fixed_format(producer, None))
    first = formats[0] if formats else None
    return first if all(other == first for other in formats) else None


def partly_fixed(graph: FloatGraph, name: str) -> bool:
    """Whether some readings of a value have a format of their own, but not all the same."""
    return tensor_format(graph, name) is None and any(read_format(use) is not None for use in graph.uses_of(name))
