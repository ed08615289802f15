"""Formats of a quantized model go from the readings of the model as it was to the nodes of its canonical form.

Which canonical value a value of the model has become is found by computing both on the same sample: rewriting permutes, selects
and at most scales (attention's factor) what a node reads, so that its elements are among those of the value that it comes from.
Weights are found channel by channel in the same way. A quantizer for which no canonical reading is found lies inside what EdgeFlow
computes as one operator: it is dropped, with a warning.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from edgeflow.hw.arrays import Array, Real
from edgeflow.hw.errors import ModelError, UnsupportedError
from edgeflow.hw.graph import QType
from edgeflow.quant.canonical.base import Constants, Role, Training, operator, producer
from edgeflow.quant.canonical.linear import LinearLayer
from edgeflow.quant.formats.exact_constants import is_rounded, set_exact
from edgeflow.quant.formats.interpretation import Demand
from edgeflow.quant.formats.prequantized import GRID, INDEX, PRODUCED, add_warnings, fixed_format, set_format, words
from edgeflow.sw.importer.bind import Shapes
from edgeflow.sw.importer.fold import run_sample
from edgeflow.sw.importer.offsets import OFFSET, fold_offsets
from edgeflow.sw.importer.quantizer_readers import Quantizer, Quantizers, Reading, Weights
from edgeflow.sw.importer.runtime import light_proto
from edgeflow.sw.rewrite.base import ORIGIN

_TOLERANCE = 1e-4  # of the largest element, that two evaluation orders may differ by
_COLUMN_TOLERANCE = 1e-6
_LISTED = 4
_PROBES = 16


@dataclasses.dataclass(frozen=True)
class Samples:
    """The readings of a model, their sources and what is quantized by channel on the sample, and the sorted elements of these."""

    readings: tuple[Reading, ...]
    arrays: Mapping[ir.Value, Array]
    elements: Mapping[ir.Value, Real]


def sample_sources(model: ir.Model, shapes: Shapes, quantizers: Quantizers) -> Samples:
    """Compute the sources of all readings of a static model, before it is rewritten."""
    present = {*model.graph.inputs, *(output for node in model.graph for output in node.outputs)}
    readings = tuple(reading for reading in quantizers.readings if reading.source in present)
    by_channel = {
        quantizer.value
        for reading in readings
        for quantizer in (reading.quantizer, reading.common)
        if quantizer is not None and quantizer.axis is not None
    }
    names = {value: str(value.name) for value in (*(reading.source for reading in readings), *(by_channel & present))}
    values = _run(model, shapes, list(names.values()))
    arrays = {value: values[name] for value, name in names.items()}
    return Samples(readings, arrays, {value: _elements(array) for value, array in arrays.items()})


def _run(model: ir.Model, shapes: Shapes, names: list[str]) -> dict[str, Array]:
    """Values by name, those of inputs included."""
    graph = model.graph
    inputs = [str(value.name) for value in graph.inputs if str(value.name) in names]
    proto, weights = light_proto(model)
    aliases = {f"{name}//read": name for name in inputs}
    for alias, name in aliases.items():
        node = proto.graph.node.add()
        node.op_type, node.name = "Identity", alias
        node.input.append(name)
        node.output.append(alias)
    wanted = [name for name in names if name not in inputs] + list(aliases)
    values = run_sample(model, proto, shapes, wanted, weights) if wanted else {}
    # A logarithm of the drawn sample may be no number: both graphs have it at the same elements.
    return {aliases.get(name, name): np.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0) for name, array in values.items()}


def _elements(array: Array) -> Real:
    return np.sort(array.reshape(-1).astype(np.float64))


def set_formats(model: ir.Model, shapes: Shapes, quantizers: Quantizers, samples: Samples) -> None:
    """Attach formats to the nodes of a canonical model, and warnings to the model.

    Raises UnsupportedError for formats that linear layers cannot have, naming the node.
    """
    warnings = list(quantizers.warnings)
    attached = _Attached(model, shapes, samples)
    attached.readings()
    attached.outputs()
    attached.before_movement()
    warnings += attached.lost()
    warnings += _set_weights(model, quantizers.weights)
    _set_exact(model, quantizers.exact)
    warnings += fold_offsets(model)
    add_warnings(model, warnings)


class _Attached:
    """The formats of activations on their way to the canonical nodes."""

    def __init__(self, model: ir.Model, shapes: Shapes, samples: Samples) -> None:
        self.model, self.samples = model, samples
        self.origins = {node.metadata_props.get(ORIGIN, "") for node in model.graph}
        self.by_reader: dict[str, list[Reading]] = {}
        for reading in samples.readings:
            self.by_reader.setdefault(reading.reader, []).append(reading)
        edges = [
            (node, index, value)
            for node in model.graph
            if not _passes(node)
            for index, value in enumerate(node.inputs)
            if value is not None and value.const_value is None and value.dtype == ir.DataType.FLOAT
        ]
        constant = {output for node in model.graph if operator(node).repeated_constant() is not None for output in node.outputs}
        self.edges = [edge for edge in edges if edge[2] not in constant]
        moved = [node.inputs[0] for node in model.graph if _selects(node)]
        values = [value for _, _, value in self.edges] + [value for value in moved if value is not None]
        names = sorted({str(value.name) for value in values})
        self.arrays = _run(model, shapes, names)
        self.elements = {name: _elements(array) for name, array in self.arrays.items()}
        self.taken: set[Reading] = set()

    def readings(self) -> None:
        """Find the format of every reading of the canonical model, and those in which its values are made."""
        for node, index, value in self.edges:
            reading = self._find(node, index, self.elements[str(value.name)])
            if reading is None:
                continue
            match, factor = reading
            self.taken.add(match)
            if match.quantizer is not None:
                qtype = self._format(match, match.quantizer, value, factor)
                _check(node, index, qtype, match.quantizer.name)
                set_format(node, index, _producible(value, qtype))
            self._set_produced(match, value, factor)

    def before_movement(self) -> None:
        """Take the quantizers in front of what keeps its operand's format without being a view of it, such as the largest over
        tokens, where the operand is produced in that format: these lose nothing."""
        for node in self.model.graph:
            value = node.inputs[0] if node.inputs else None
            if value is None or not _selects(node) or str(value.name) not in self.elements:
                continue
            reading, root = self._find(node, 0, self.elements[str(value.name)]), _root(value)
            if reading is None or reading[0].quantizer is None:
                continue
            match, factor = reading
            if fixed_format(root.producer() or root, PRODUCED) == self._format(match, reading[0].quantizer, value, factor):
                self.taken.add(match)

    def _set_produced(self, reading: Reading, value: ir.Value, factor: float) -> None:
        """Record on the producer of a value the format in which the model produces it, if the model says one."""
        if reading.common is None:
            return
        qtype = _producible(value, self._format(reading, reading.common, value, factor))
        root = _root(value)
        holder = root.producer() or root
        set_format(holder, PRODUCED, qtype)
        if reading.common.offset:
            holder.metadata_props[OFFSET] = repr(reading.common.offset)
        if reading.common.index is not None:
            set_format(holder, INDEX, reading.common.index)

    def _format(self, reading: Reading, quantizer: Quantizer, value: ir.Value, factor: float) -> QType:
        """The format of a quantizer for a canonical value, which times ``factor`` is the source of the reading."""
        qtype, arrays = quantizer.qtype, self.samples.arrays
        source = arrays[quantizer.value if quantizer.value in arrays else reading.source]
        if quantizer.axis is not None:
            array = self.arrays.get(str(value.name))
            if quantizer.axis % source.ndim != source.ndim - 1 or len(qtype.scales) != source.shape[-1]:
                raise UnsupportedError(
                    f"{quantizer.name}: an activation with scales along another axis than that of its channels, the last one, is"
                    " not supported; quantize it by tensor or by channel"
                )
            if array is not None and not _same_channels(array, source, factor):
                raise UnsupportedError(
                    f"{quantizer.name}: an activation with a scale for each channel is not supported where its channels are"
                    " rearranged; quantize it by tensor"
                )
        if factor == 1.0:
            return qtype
        scale = qtype.scales / factor
        return dataclasses.replace(qtype, scale=tuple(map(float, scale)) if scale.ndim else float(scale))

    def outputs(self) -> None:
        """Formats of the model's outputs."""
        for reading in self.by_reader.get("", ()):
            node = self.model.graph.outputs[reading.index].producer()
            if reading.quantizer is not None and node is not None:
                qtype = self._format(reading, reading.quantizer, node.outputs[0], 1.0)
                _check(node, None, qtype, reading.quantizer.name)
                set_format(node, None, _producible(node.outputs[0], qtype))
                self._set_produced(reading, node.outputs[0], 1.0)
                self.taken.add(reading)

    def _find(self, node: ir.Node, index: int, elements: Real) -> tuple[Reading, float] | None:
        """The reading of the model that a canonical reading stands for, and the factor between both."""
        origin = node.metadata_props.get(ORIGIN, "")
        own = self.by_reader.get(origin, [])
        # What belongs to another canonical node is not this node's; the product that makes attention's output is.
        rest = [reading for reader, group in self.by_reader.items() if reader and reader not in self.origins for reading in group]
        fused = operator(node).rescales
        if fused:
            rest.sort(key=lambda reading: reading.op_type not in ("MatMul", "Einsum", "Attention", "MultiHeadAttention"))
        for group in (own, rest):
            matches = [
                (reading, factor)
                for reading in group
                if (factor := _same(elements, self.samples.elements[reading.source], fused)) is not None
            ]
            quantized = [match for match in matches if match[0].quantizer is not None]
            if matches:
                return (quantized if group is rest and quantized else matches)[0]
        return None

    def lost(self) -> list[str]:
        """Lines on the quantizers that no canonical reading has."""
        kept = {(reading.source, reading.quantizer.qtype) for reading in self.taken if reading.quantizer is not None}
        names: dict[str, None] = {}
        for reading in self.samples.readings:
            if reading.quantizer is None or (reading.source, reading.quantizer.qtype) in kept:
                continue
            names[reading.quantizer.name] = None
        if not names:
            return []
        return [
            f"{len(names)} quantizers of intermediate results are left out, since EdgeFlow computes these inside one operator"
            f" (attention, an activation function, a product with its bias): {_listed(list(names))}"
        ]


def _passes(node: ir.Node) -> bool:
    """Whether a node passes on what it reads: moved, or repeated for every sample."""
    op = operator(node)
    return op.keeps_format or op.repeated_constant() is not None


def _selects(node: ir.Node) -> bool:
    """Whether a node keeps its operand's format and hands on some of its numbers, such as the largest over tokens."""
    op = operator(node)
    return op.keeps_format and bool(op.reductions)


def _root(value: ir.Value) -> ir.Value:
    """What data movement to a value starts from."""
    while True:
        node = value.producer()
        if node is None or not operator(node).keeps_format or node.inputs[0] is None:
            return value
        value = node.inputs[0]


def _same_channels(array: Array, source: Array, factor: float) -> bool:
    """Whether each channel of a value holds, times ``factor``, elements of the same channel of its source."""
    if array.shape[-1] != source.shape[-1]:
        return False
    columns = [np.sort(a.reshape(-1, a.shape[-1]).astype(np.float64), axis=0) for a in (array * factor, source)]
    largest = float(np.abs(columns[1]).max(initial=0.0))
    if columns[0].shape == columns[1].shape:
        return bool(np.abs(columns[0] - columns[1]).max(initial=0.0) <= _TOLERANCE * largest)
    return all(_contains(b, a, _TOLERANCE * largest) for a, b in zip(*(c.T for c in columns), strict=True))


def _producible(value: ir.Value, qtype: QType) -> QType:
    """The format as the value's operator can output it: normalization, attention and means output signed tensors."""
    maker = _root(value).producer()
    if qtype.signed or maker is None or not operator(maker).signed_only:
        return qtype
    return dataclasses.replace(qtype, signed=True, zero_point=qtype.zero_point - (1 << (qtype.bits - 1)))


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def _same(elements: Real, source: Real, scaled: bool) -> float | None:
    """The factor by which ``source`` holds all of ``elements``, both sorted; 1 unless ``scaled``. None if it does not."""
    if not elements.size or not source.size or elements.size > source.size:
        return None
    largest = max(abs(source[0]), abs(source[-1]))
    limit = _TOLERANCE * largest
    few = slice(None, None, max(elements.size // _PROBES, 1))  # most pairs differ: a few elements tell
    if elements.size == source.size:
        if np.abs(elements[few] - source[few]).max() <= limit and np.abs(elements - source).max() <= limit:
            return 1.0
        own = max(abs(elements[0]), abs(elements[-1]))
        factor = float(largest / own) if scaled and own > 0 else 1.0
        if factor != 1.0 and np.abs(elements * factor - source).max() <= limit:
            power = 2.0 ** round(math.log2(factor))
            return power if abs(factor / power - 1.0) < _TOLERANCE else factor
        return None
    return 1.0 if largest > 0 and _contains(source, elements[few], limit) and _contains(source, elements, limit) else None


def _contains(source: Real, elements: Real, limit: float) -> bool:
    at = np.searchsorted(source, elements)
    after, before = source[np.minimum(at, source.size - 1)], source[np.maximum(at - 1, 0)]
    return bool(np.minimum(np.abs(after - elements), np.abs(before - elements)).max() <= limit)


def _check(node: ir.Node, index: int | None, qtype: QType, name: str) -> None:
    what = node.metadata_props.get(ORIGIN, node.op_type)
    op = operator(node)
    if index is not None and qtype.bits > 8 and op.training is Training.LAYER:
        raise UnsupportedError(
            f"{name}: {what} would read {qtype.bits} bits; linear layers read at most 8: quantize it to 8 bits or fewer"
        )
    folds = index is not None and op.operand(index).demand in (Demand.NARROW, Demand.ATTENTION)
    if isinstance(qtype.scale, tuple) and np.unique(qtype.scales).size > 1 and not folds:
        raise UnsupportedError(
            f"{name}: a scale for each channel of {'the output' if index is None else 'an input'} of {what} ({node.op_type}) is not"
            " supported, only of inputs of linear layers and attention; quantize it by tensor"
        )


# Weights


def _set_weights(model: ir.Model, weights: Sequence[Weights]) -> list[str]:
    by_reader: dict[str, list[Weights]] = {}
    for entry in weights:
        by_reader.setdefault(entry.reader, []).append(entry)
    warnings = []
    for node in model.graph:
        group = by_reader.get(node.metadata_props.get(ORIGIN, ""), [])
        op = operator(node)
        if isinstance(op, LinearLayer):
            value = node.inputs[1]
            assert value is not None
            assert value.const_value is not None
            array = value.const_value.numpy().astype(np.float64)
            axis = op.output_axis
            x = fixed_format(node, 0)
            # The bias is a constant of the same node.
            weight = next((entry for entry in group if entry.words.ndim > 1), None)
            if weight is not None:
                if x is not None and isinstance(x.scale, tuple):
                    qtype = _folded_type(weight, array, x)
                    array = array * x.scales[:, None]
                else:
                    qtype = _weight_type(weight, np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1))
                words(array, qtype, axis, weight.name)  # refuses what is not on that grid
                set_format(node, 1, qtype)
        elif any(operand.role is Role.IDS for operand in op.operands) and any(entry.index == 0 for entry in group):
            entry = next(entry for entry in group if entry.index == 0)
            if _rows_of(node, entry):
                set_format(node, 1, QType(8, True, tuple(map(float, entry.scale))))
            else:
                warnings.append(f"{entry.name}: embedding tables get scales of their own, in 8 bits; this table's are not kept")
        elif op.constants is Constants.BROADCAST:
            _set_operand(node, group)
    return warnings


def _set_operand(node: ir.Node, group: Sequence[Weights]) -> None:
    """The format of a constant that is added or multiplied, as EdgeFlow exported it."""
    for index, value in enumerate(node.inputs):
        maker = producer(value)
        if maker is not None and maker.repeated_constant() is not None:
            value = maker.node.inputs[1]
        array = None if value is None or value.const_value is None else value.const_value.numpy().astype(np.float64)
        for entry in group if array is not None else ():
            real = (entry.words * entry.scale.reshape(-1)[0]).reshape(-1)
            same = array is not None and real.shape == array.reshape(-1).shape and is_rounded(array.reshape(-1), real)
            if same and entry.bits is not None and entry.axis is None:
                set_format(node, index, QType(entry.bits, True, float(entry.scale[0])))


def _rows_of(node: ir.Node, table: Weights) -> bool:
    """Whether an embedding has the words of a table as they are stored, with 8 bits and a scale for each row."""
    value = node.inputs[1]
    if value is None or value.const_value is None or table.axis != 0 or table.words.ndim != 2:
        return False
    if np.abs(table.words).max(initial=0) > 127:
        return False
    array = value.const_value.numpy().astype(np.float64)
    real = table.words * table.scale[:, None]
    return array.shape == real.shape and bool((np.abs(array - real) <= _COLUMN_TOLERANCE * np.abs(real)).all())


def _folded_type(weight: Weights, array: Real, x: QType) -> QType:
    """The format of a layer's weights ``(K, N)`` times the scales by channel of what it reads, all multiples of one scale for each
    output.

    ModelError where they are not, as when weights were quantized without these scales."""
    if np.unique(x.scales).size == 1:  # which may just as well be outside the weights
        qtype = _weight_type(weight, array.T)
        return dataclasses.replace(qtype, scale=tuple(map(float, np.broadcast_to(qtype.scales, array.shape[1:]) * x.scales[0])))
    try:
        return _weight_type(weight, (array * x.scales[:, None]).T)
    except ModelError:
        raise UnsupportedError(
            f"{weight.name}: the weights are read with activations that have a scale for each channel, but are not multiples of one"
            " scale once these are multiplied into them; quantize the activations by tensor"
        ) from None


def _set_exact(model: ir.Model, exact: Sequence[tuple[Array, Real]]) -> None:
    """Record with every constant that the import left as it was its value before it was rounded."""
    known: dict[bytes, list[tuple[Array, Real]]] = {}
    for array, reals in exact:
        known.setdefault(array.astype(np.float32).tobytes(), []).append((array, reals))
    for value in model.graph.initializers.values():
        if value.const_value is None or value.dtype != ir.DataType.FLOAT:
            continue
        constant = value.const_value.numpy()
        stored = known.get(constant.tobytes(), [])
        if stored and all(np.array_equal(stored[0][1], other) for _, other in stored):
            set_exact(value, stored[0][1].reshape(constant.shape))


def _weight_type(weight: Weights, rows: Real) -> QType:
    """The format of a layer's weights, given as ``rows (channels, elements)``."""
    bits = weight.bits or _weight_bits(weight)
    direct = _direct_scales(weight, rows)
    if direct is not None:
        return QType(bits, True, direct)
    if weight.axis is not None and np.unique(weight.scale).size > 1:
        return QType(bits, True, tuple(_channel_scales(weight, weight.axis, rows)))
    scale = float(weight.scale.reshape(-1)[0])
    exact = rows / scale
    if np.abs(exact - np.rint(exact)).max(initial=0.0) < GRID:
        return QType(bits, True, scale)
    # Rewriting has multiplied the weights by a number: the same for all channels, or one for each.
    for axis in range(weight.words.ndim):
        if weight.words.size // max(weight.words.shape[axis], 1) == rows.shape[1]:
            return QType(bits, True, tuple(_channel_scales(weight, axis, rows)))
    raise ModelError(f"{weight.name}: its scale cannot be followed to the layer that reads it; export the model again")


def _direct_scales(weight: Weights, rows: Real) -> tuple[float, ...] | None:
    """The scale of each row where rows are the channels of the constant as it was stored; None where they are not."""
    axis = 0 if weight.axis is None else weight.axis % weight.words.ndim
    if weight.axis is None or weight.words.shape[axis] != len(rows):
        return None
    scale = np.broadcast_to(weight.scale, (len(rows),))
    real = np.moveaxis(weight.words, axis, 0).reshape(len(rows), -1) * scale[:, None]
    if real.shape != rows.shape or (np.abs(real - rows) > _COLUMN_TOLERANCE * np.abs(real)).any():
        return None
    return tuple(map(float, scale))


def _weight_bits(weight: Weights) -> int:
    low, high = weight.low, weight.high
    bits = _signed_bits(low, high)
    if bits > 8:  # unsigned, but perhaps within reach of 8 bits with a sign
        bits = max(_signed_bits(int(weight.words.min(initial=0)), int(weight.words.max(initial=0))), 8)
    if bits > 8:
        raise UnsupportedError(
            f"{weight.name}: its weights, counted from the zero point, reach from {weight.words.min()} to {weight.words.max()};"
            " linear layers take signed weights of at most 8 bits: quantize them symmetrically"
        )
    return max(bits, 2)


def _signed_bits(low: int, high: int) -> int:
    return max((-low - 1).bit_length() if low < 0 else 0, high.bit_length()) + 1


def _channel_scales(weight: Weights, axis: int, rows: Real) -> list[float]:
    """The scale of each row, found by its elements among the channels of the constant as it was stored.

    Rewriting permutes the elements of a channel, selects channels, and may multiply a channel by a number.
    """
    axis %= weight.words.ndim
    scale = np.broadcast_to(weight.scale.reshape(-1), (weight.words.shape[axis],))
    stored = np.moveaxis(weight.words, axis, 0).reshape(weight.words.shape[axis], -1)
    if stored.shape[1] != rows.shape[1]:
        raise UnsupportedError(
            f"{weight.name}: weights with a scale for each input channel are not supported; quantize by tensor or by output channel"
        )
    channels = stored * scale[:, None].astype(np.float64)
    shapes, sizes = _shape_of_rows(channels)
    wanted, lengths = _shape_of_rows(rows)
    few = slice(None, None, max(shapes.shape[1] // _PROBES, 1))
    scales = []
    for shape, size in zip(wanted, lengths, strict=True):
        near = np.nonzero((np.abs(shapes[:, few] - shape[few]) <= _COLUMN_TOLERANCE * 10).all(axis=1))[0]
        near = near[np.abs(shapes[near] - shape).max(axis=1) <= _COLUMN_TOLERANCE * 10]
        if not size:
            scales.append(float(scale[0]))
            continue
        if not near.size:
            raise ModelError(f"{weight.name}: its scales cannot be followed to the layer that reads it; export the model again")
        best = near[np.argmin(np.abs(sizes[near] - size))]
        ratio = size / sizes[best]
        scales.append(float(scale[best]) * (1.0 if abs(ratio - 1.0) < _COLUMN_TOLERANCE else float(ratio)))
    return scales


def _shape_of_rows(rows: Real) -> tuple[Real, Real]:
    """Sorted magnitudes of each row over the largest, and that."""
    magnitude = np.sort(np.abs(rows), axis=1)
    largest = magnitude[:, -1]
    return magnitude / np.where(largest > 0, largest, 1.0)[:, None], largest
