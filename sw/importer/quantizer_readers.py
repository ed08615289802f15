"""Who reads which quantized value: what stands between a quantizer and its readers is data movement, which commutes with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgeflow.hw.arrays import Array
from edgeflow.hw.graph import QType
from edgeflow.sw.importer.onnx_operators import traits
from edgeflow.sw.rewrite.base import operands, produced_by

MARK = "edgeflow.quantizer"


@dataclasses.dataclass(frozen=True)
class Quantizer:
    """A quantizer of an activation: the node's name for messages, and the format, whose scales are one or those of ``axis`` of the
    quantized ``value``.

    Of an exported activation function ``offset`` is what its file takes off before the quantizer, in EdgeFlow's own numbers, and
    ``index`` the format of its table's index; what is ``inside`` follows from the formats around it.
    """

    name: str
    qtype: QType
    value: ir.Value
    axis: int | None = None
    offset: float = 0.0
    index: QType | None = None
    inside: bool = False


@dataclasses.dataclass(frozen=True)
class Reading:
    """One reading of a computed value by a node that is not data movement: ``source`` is what data movement starts from.

    ``reader`` and ``op_type`` are those of the node, empty for an output of the model; ``quantizer`` is the last one between source
    and reader, ``common`` the first one if every reading of the source passes it.
    """

    reader: str
    op_type: str
    index: int
    source: ir.Value
    quantizer: Quantizer | None
    common: Quantizer | None = None


@dataclasses.dataclass(frozen=True)
class Weights:
    """A quantized constant and who reads it: ``words * scale`` with the axis of the scales (None for one scale). ``bits`` are
    those that an export of EdgeFlow says; None: as few as hold the range from ``low`` to ``high``."""

    name: str
    reader: str
    index: int
    words: Array
    scale: npt.NDArray[np.float64]
    axis: int | None
    low: int
    high: int
    bits: int | None = None


@dataclasses.dataclass(frozen=True)
class Quantizers:
    """What was taken out of a model; ``warnings`` are lines for the user, ``exact`` what constants were before they were rounded,
    pairs of float32 and float64."""

    readings: tuple[Reading, ...]
    weights: tuple[Weights, ...]
    warnings: tuple[str, ...]
    exact: tuple[tuple[Array, npt.NDArray[np.float64]], ...] = ()


def is_move(node: ir.Node) -> bool:
    """Whether a node moves or limits integers as it would the real values."""
    operator = traits(node)
    return operator.moves or operator.clips


def movement_behind(value: ir.Value) -> list[ir.Node]:
    """Data movement and Clips that the integers of a QuantizeLinear pass."""
    nodes = []
    for reader, index in value.uses():
        if index == 0 and is_move(reader) and MARK not in reader.metadata_props:
            nodes.append(reader)
            for output in reader.outputs:
                nodes += movement_behind(output)
    return nodes


def readers_behind(value: ir.Value) -> Iterator[ir.Node | None]:
    """The nodes that read a value behind data movement; None for an output of the model, and for a reader that ends no
    quantizer."""
    if value.is_graph_output():
        yield None
    for reader, index in value.uses():
        if MARK in reader.metadata_props:
            yield reader
        elif index == 0 and is_move(reader):
            for output in reader.outputs:
                yield from readers_behind(output)
        else:
            yield None


def _passed(value: ir.Value) -> tuple[ir.Value, list[int]]:
    """Where data movement to a value starts, and the numbers of the quantizers on the way, the last one first."""
    marks: list[int] = []
    while True:
        node = value.producer()
        if node is None or not traits(node).moves or node.inputs[0] is None:
            return value, marks
        if traits(node).picks and is_constant(node.inputs[0]):  # rows of a table are no data that is moved
            return value, marks
        if MARK in node.metadata_props:
            marks.append(int(node.metadata_props[MARK]))
        value = node.inputs[0]


def find_readings(graph: ir.Graph, quantizers: list[Quantizer]) -> tuple[tuple[Reading, ...], list[str]]:
    """Every reading of a value that is read through a quantizer anywhere."""
    readings: list[Reading] = []
    twice: dict[str, None] = {}
    read_at: list[tuple[str, str, int, ir.Value]] = []
    for node in graph:
        known = traits(node)
        for index, value in enumerate(node.inputs):
            if value is not None and not (known.moves and index == 0) and not known.reads_shape:
                read_at.append((str(node.name), node.op_type, index, value))
    read_at += [("", "", index, value) for index, value in enumerate(graph.outputs)]
    chains = [(*end[:3], *_passed(end[3])) for end in read_at]
    chains = [
        (*chain[:4], [mark for mark in chain[4] if not quantizers[mark].inside]) for chain in chains if not is_constant(chain[3])
    ]
    first: dict[ir.Value, Quantizer | None] = {}
    for *_, source, marks in chains:
        quantizer = quantizers[marks[-1]] if marks else None
        if source in first and (quantizer is None or _differ(first[source], quantizer)):
            first[source] = None
        first.setdefault(source, quantizer)
    for reader, op_type, index, source, marks in chains:
        last, common = (quantizers[marks[0]] if marks else None), first[source]
        if last is not None and any(_differ(quantizers[mark], last) and _differ(quantizers[mark], common) for mark in marks):
            twice[last.name] = None
        readings.append(Reading(reader, op_type, index, source, last, common))
    read = {reading.source for reading in readings if reading.quantizer is not None}
    warnings = [
        f"{name}: quantizes values that another quantizer has rounded to other steps; only this quantizer is kept" for name in twice
    ]
    return tuple(reading for reading in readings if reading.source in read), warnings


def is_constant(value: ir.Value) -> bool:
    return value.const_value is not None


def _differ(a: Quantizer | None, b: Quantizer | None) -> bool:
    return a is None or b is None or _grid(a.qtype) != _grid(b.qtype)


def _grid(qtype: QType) -> tuple[object, ...]:
    return qtype.bits, qtype.signed, qtype.scale, qtype.zero_point


def constant_readers(value: ir.Value) -> Iterator[tuple[ir.Node, int]]:
    """Who reads a constant, behind data movement and products with other constants, such as scales that are taken off again."""
    for reader, index in value.uses():
        operator, both = traits(reader), operands(produced_by(reader.outputs[0], "Mul"))
        moved = index == 0 and operator.moves and not operator.picks
        if moved or (both is not None and all(map(is_constant, both))):
            for output in reader.outputs:
                yield from constant_readers(output)
        else:
            yield reader, index
