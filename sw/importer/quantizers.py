"""Quantizers of a model that is quantized already, found and taken out, so that the float graph is left.

Three families of operators say the same: a value is rounded to integers of some bits, times a scale.

- ``QuantizeLinear``, perhaps ``Clip``, ``DequantizeLinear`` (ONNX; onnxruntime's QDQ models, Brevitas' QCDQ): a narrower ``Clip``
  means fewer bits. Constants may be stored as integers before a ``DequantizeLinear``.
- ``Quant`` of QONNX (Pappalardo et al., arXiv 2206.07527), with scale, zero point and bits as operands.
- ``BipolarQuant`` of QONNX, for constants: one bit, -1 or +1.

Constants are rounded here and now. Of every other value each reading remembers the quantizer that it passes, if any, and the one
behind the value itself, if all readings pass that. Data movement commutes with quantizers that have one scale for the tensor; those
with a scale for each channel, the last axis, keep it where channels stay what they are.
:mod:`edgeflow.sw.importer.formats` gives the formats to the canonical nodes.

What EdgeFlow's own exports say beside the quantizers is read by :mod:`edgeflow.sw.importer.export_metadata`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgeflow.hw.arrays import Array
from edgeflow.hw.errors import ModelError, UnsupportedError
from edgeflow.hw.graph import QType, Rounding
from edgeflow.sw.importer.constant_values import Constants
from edgeflow.sw.importer.export_metadata import Notes
from edgeflow.sw.importer.onnx_operators import Quantizes, traits
from edgeflow.sw.importer.quantizer_readers import (
    MARK,
    Quantizer,
    Quantizers,
    Weights,
    constant_readers,
    find_readings,
    movement_behind,
    readers_behind,
)
from edgeflow.sw.rewrite.base import operand

_ENDLESS = 1 << 62
_BITS_16, _UBITS_16 = (-(1 << 15), (1 << 15) - 1), (0, (1 << 16) - 1)
_CLIP_TOLERANCE = 0.02  # of a step: what float32 may move a limit of 16 bits
_ROUNDINGS = {"ROUND": Rounding.HALF_EVEN, "HALF_EVEN": Rounding.HALF_EVEN, "HALF_UP": Rounding.HALF_UP}
_EVALUATED: dict[str, Callable[[Array], Array]] = {
    "ROUND": np.rint,
    "HALF_EVEN": np.rint,
    "FLOOR": np.floor,
    "CEIL": np.ceil,
    "ROUND_TO_ZERO": np.trunc,
    "DOWN": np.trunc,
    "UP": lambda x: np.sign(x) * np.ceil(np.abs(x)),
    "HALF_UP": lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5),
    "HALF_DOWN": lambda x: np.sign(x) * np.ceil(np.abs(x) - 0.5),
}


@dataclasses.dataclass(frozen=True)
class _Grid:
    """Integers from ``low`` to ``high``, real value ``(q - zero_point) * scale``."""

    scale: npt.NDArray[np.float32]
    zero_point: Array
    low: int
    high: int
    rounding: str
    axis: int | None  # of the scales; None for one

    def words(self, real: Array) -> Array:
        """Integers of a constant, less the zero point."""
        exact = real.astype(np.float32) / self.spread(self.scale, real.ndim) + self.spread(self.zero_point, real.ndim)
        rounded = np.clip(_EVALUATED[self.rounding](exact), self.low, self.high)
        return (rounded - self.spread(self.zero_point, real.ndim)).astype(np.int64)

    def spread(self, array: Array, rank: int) -> Array:
        """Scales or zero points in a form that broadcasts over a constant of that rank."""
        if self.axis is None or array.size == 1:
            return array.reshape(())
        return array.reshape([-1 if axis == self.axis % rank else 1 for axis in range(rank)])

    def misfit(self, shape: tuple[int, ...]) -> str | None:
        """What is wrong with the scales or zero points for a constant of that shape; None if they fit."""
        if self.axis is not None and not -len(shape) <= self.axis < len(shape):
            return f"its axis {self.axis} is none of a constant of shape {shape}"
        channels = 1 if self.axis is None else shape[self.axis]
        for what, array in (("scales", self.scale), ("zero points", self.zero_point)):
            if array.size not in (1, channels):
                return f"it has {array.size} {what} for a constant of shape {shape}"
        return None

    def real(self, words: Array) -> npt.NDArray[np.float32]:
        """What integers less the zero point stand for."""
        return words.astype(np.float32) * self.spread(self.scale, words.ndim)


def take_out(model: ir.Model) -> Quantizers | None:
    """Remove every quantizer from a model whose nodes have names; None where it has none.

    Raises
    ------
    UnsupportedError
        One line naming the node: blocks or channels with scales of their own on an activation, a rounding other than to nearest,
        integer operators between QuantizeLinear and DequantizeLinear.
    ModelError
        A quantizer whose scale is not a positive constant, whose operands do not fit each other, or whose two halves contradict
        each other.
    """
    graph = model.graph
    if not any(is_known(node) for node in graph):
        return None
    work = _Removal(graph)
    for node in list(graph):
        match traits(node).quantizes:
            case Quantizes.TO_REAL:
                work.dequantize(node)
            case Quantizes.BOTH:
                work.quantize(node)
            case Quantizes.BIPOLAR:
                work.binarize(node)
            case Quantizes.TRUNCATES:
                work.truncate(node)
    work.finish_integers()
    readings, warnings = find_readings(graph, work.quantizers)
    weights = tuple(entry for constant in work.constants for entry in _weights(constant))
    return Quantizers(readings, weights, (*work.warnings, *warnings), tuple(work.exact))


def is_known(node: ir.Node) -> bool:
    """Whether an operator is one of the quantizers that :func:`take_out` removes."""
    return traits(node).quantizes is not None


@dataclasses.dataclass(frozen=True)
class _Constant:
    name: str
    value: ir.Value
    words: Array
    grid: _Grid
    exact: QType | None


class _Removal:
    """The quantizers of one graph, turned into Identity nodes (activations) or initializers (constants) one by one."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self.known = Constants(graph)
        self.quantizers: list[Quantizer] = []
        self.constants: list[_Constant] = []
        self.warnings: list[str] = []
        self.notes = Notes(self.warnings)
        self.exact = self.notes.constants(graph, self.known)

    # QONNX

    def truncate(self, node: ir.Node) -> None:
        """Refuse a Trunc."""
        raise UnsupportedError(f"{node.name} ({node.op_type}): cutting bits off is not supported; export the model without it")

    def binarize(self, node: ir.Node) -> None:
        """Take out a BipolarQuant."""
        array, scale = self._source(node), self._scale(node, 1)
        if array is None:
            raise UnsupportedError(f"{node.name} ({node.op_type}): activations of one bit are not supported; use two or more")
        grid = _Grid(scale.reshape(-1), np.zeros(1), -1, 1, "ROUND", self._axis(node, scale, array.ndim))
        _check_fit(node, grid, array)
        self._constant(node, np.where(array >= 0, 1, -1).astype(np.int64), grid, None)

    def quantize(self, node: ir.Node) -> None:
        """Take out a Quant."""
        array, scale = self._source(node), self._scale(node, 1)
        signed, narrow = node.attributes.get_int("signed", 1), node.attributes.get_int("narrow", 0)
        rounding = node.attributes.get_string("rounding_mode", "ROUND").upper()
        bits = self._number(node, 3, "bit width")
        if bits != int(bits) or not 1 <= bits <= 32:
            raise UnsupportedError(f"{node.name} (Quant): {bits:g} bits; only whole numbers from 1 to 32 are supported")
        low = -(1 << (int(bits) - 1)) + (1 if narrow else 0) if signed else 0
        high = (1 << (int(bits) - 1)) - 1 if signed else (1 << int(bits)) - 1 - (1 if narrow else 0)
        zero = self._operand(node, 2, "zero point")
        if array is not None:
            if rounding not in _EVALUATED:
                raise UnsupportedError(f"{node.name} (Quant): there is no rounding mode {rounding!r}; export the model again")
            grid = _Grid(scale.reshape(-1), zero.reshape(-1), low, high, rounding, self._axis(node, scale, array.ndim))
            _check_fit(node, grid, array)
            self._constant(node, grid.words(array), grid, array)
            return
        if rounding not in _ROUNDINGS:
            raise UnsupportedError(
                f"{node.name} (Quant): rounding mode {rounding} of an activation is not supported; use ROUND or HALF_UP"
            )
        self._activation(node, operand(node, 0), _Grid(scale, zero, low, high, rounding, None))

    # ONNX

    def dequantize(self, node: ir.Node) -> None:
        """Take out a DequantizeLinear with what belongs to it."""
        self._refuse_blocks(node)
        source = node.inputs[0]
        assert source is not None
        scale, zero = self._scale(node, 1).reshape(-1), self._zero_point(node)
        axis = node.attributes.get_int("axis", 1) if max(scale.size, zero.size) > 1 else None
        array = self._source(node)
        if array is not None:
            low, high, real = self._stored(node, source)
            grid = _Grid(scale, zero, low, high, "ROUND", axis)
            _check_fit(node, grid, array)
            if real is not None and real.shape == array.shape:
                self._constant(node, grid.words(real), grid, real)
            else:
                self._constant(node, array.astype(np.int64) - grid.spread(zero, array.ndim), grid, None)
            return
        top, low, high = self._integer_chain(node, source)
        self._refuse_blocks(top)
        if not np.array_equal(self._scale(top, 1).reshape(-1), scale) or not np.array_equal(self._zero_point(top), zero):
            raise UnsupportedError(
                f"{node.name} (DequantizeLinear): its scale or zero point is not that of {top.name} (QuantizeLinear) before it;"
                " export the model again"
            )
        low, high = self._saturated(top, scale, zero, low, high)
        self._activation(node, source, _Grid(scale, zero, low, high, "ROUND", axis))

    def _saturated(self, top: ir.Node, scale: Array, zero: Array, low: int, high: int) -> tuple[int, int]:
        """The range of a QuantizeLinear of 16 bits behind a Clip to what fewer bits hold, which is then part of the quantizer.

        That is how formats of 9 to 15 bits are written, as onnxruntime clips no integers of 16 bits."""
        source = top.inputs[0]
        clip = None if source is None else source.producer()
        if (low, high) not in (_BITS_16, _UBITS_16) or clip is None or not traits(clip).clips:
            return low, high
        limits = [None if _missing(clip, i) else self.known.array(clip.inputs[i]) for i in (1, 2)]  # type: ignore[arg-type]
        if limits[0] is None or limits[1] is None or zero.size > 1 or clip.inputs[0] is None:
            return low, high
        ends = []
        for limit in limits:
            exact = np.asarray(limit, np.float64).reshape(-1) / scale + zero
            nearest = np.unique(np.rint(exact))
            if nearest.size != 1 or not np.isfinite(nearest).all() or np.abs(exact - nearest).max() > _CLIP_TOLERANCE:
                return low, high
            ends.append(int(nearest[0]))
        signed = low < 0
        for bits in range(9, 16):
            if tuple(ends) == ((-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)):
                if source is not None and len(source.uses()) == 1 and not source.is_graph_output():
                    top.replace_input_with(0, clip.inputs[0])
                    self.graph.remove(clip, safe=True)
                return ends[0], ends[1]
        return low, high

    def _zero_point(self, node: ir.Node) -> Array:
        if _missing(node, 2):
            return np.zeros(1, np.int64)
        return self._operand(node, 2, "zero point").astype(np.int64).reshape(-1)

    def _refuse_blocks(self, node: ir.Node) -> None:
        scale, source = node.inputs[1], node.inputs[0]
        array = self.known.array(scale) if scale is not None else None
        if node.attributes.get_int("block_size", 0) or (array is not None and array.ndim > 1 and array.size > 1):
            where = "" if source is None else f" of {source.name!r}"
            raise UnsupportedError(
                f"{node.name} ({node.op_type}): scales for blocks{where} are not supported; quantize by tensor or by output channel"
            )

    def _integer_chain(self, node: ir.Node, value: ir.Value) -> tuple[ir.Node, int, int]:
        """The QuantizeLinear above a DequantizeLinear, and the range that it and the Clips between them leave."""
        low, high = -_ENDLESS, _ENDLESS
        while True:
            above = value.producer()
            if above is None:
                raise UnsupportedError(
                    f"{node.name} (DequantizeLinear): input {value.name!r} of the model holds integers; export it with real inputs"
                )
            source = above.inputs[0] if above.inputs else None
            if traits(above).quantizes is Quantizes.TO_INTEGERS:
                first, last = self._range(above)
                return above, max(low, first), min(high, last)
            if traits(above).clips and source is not None:
                least, most = self._limits(above)
                low, high, value = max(low, least), min(high, most), source
            elif traits(above).moves and source is not None:
                value = source
            else:
                raise UnsupportedError(
                    f"{above.name} ({above.op_type}): it computes on quantized integers; export the model in QDQ format"
                )

    def _limits(self, clip: ir.Node) -> tuple[int, int]:
        limits = [None if _missing(clip, i) else int(self._operand(clip, i, "limit").reshape(-1)[0]) for i in (1, 2)]
        return -_ENDLESS if limits[0] is None else limits[0], _ENDLESS if limits[1] is None else limits[1]

    def _range(self, node: ir.Node) -> tuple[int, int]:
        """The integers of a QuantizeLinear's type."""
        zero = node.inputs[2] if len(node.inputs) > 2 else None
        kind = node.attributes.get_int("output_dtype", 0)
        known = self.known.kind(zero) if zero is not None else None
        dtype = known or (ir.DataType(kind) if kind else ir.DataType.UINT8)
        return _integers(dtype, node)

    def _stored(self, node: ir.Node, source: ir.Value) -> tuple[int, int, Array | None]:
        """The range of a constant's integers before a DequantizeLinear, and the real array where they are rounded from one here."""
        low, high, value = -_ENDLESS, _ENDLESS, source
        while True:
            above = value.producer()
            if above is None or not above.inputs or above.inputs[0] is None:
                break
            if traits(above).clips:
                least, most = self._limits(above)
                low, high = max(low, least), min(high, most)
            elif traits(above).quantizes is Quantizes.TO_INTEGERS:
                self._refuse_blocks(above)
                first, last = self._range(above)
                return max(low, first), min(high, last), self.known.array(above.inputs[0])
            elif not traits(above).moves:
                break
            value = above.inputs[0]
        kind = self.known.kind(value)
        first, last = _integers(kind, node) if kind is not None else (low, high)
        return max(low, first), min(high, last), None

    # Both

    def _scale(self, node: ir.Node, position: int) -> npt.NDArray[np.float32]:
        array = self._operand(node, position, "scale").astype(np.float32)
        if array.min() <= 0:
            raise ModelError(f"{node.name} ({node.op_type}): its scale is not positive; export the model again")
        return array

    def _operand(self, node: ir.Node, position: int, what: str) -> Array:
        value = node.inputs[position] if len(node.inputs) > position else None
        array = None if value is None else self.known.array(value)
        if array is None:
            raise UnsupportedError(
                f"{node.name} ({node.op_type}): its {what} is not a constant; export the model with fixed {what}s"
            )
        return _numbers(node, array, f"its {what}")

    def _source(self, node: ir.Node) -> Array | None:
        """What a node quantizes, if that is a constant."""
        array = self.known.array(operand(node, 0))
        return None if array is None else _numbers(node, array, "the constant that it quantizes")

    def _number(self, node: ir.Node, position: int, what: str) -> float:
        array = np.unique(self._operand(node, position, what))
        if array.size != 1:
            raise UnsupportedError(f"{node.name} ({node.op_type}): its {what} differs between channels; use one for the tensor")
        return float(array[0])

    def _axis(self, node: ir.Node, scale: Array, rank: int) -> int | None:
        """The axis along which the scale of a Quant of a constant varies."""
        if scale.size == 1:
            return None
        long = [axis for axis, size in enumerate(scale.shape) if size > 1]
        if len(long) > 1:
            raise UnsupportedError(
                f"{node.name} ({node.op_type}): scales for blocks are not supported; quantize by tensor or channel"
            )
        return rank - scale.ndim + long[0]

    def _constant(self, node: ir.Node, words: Array, grid: _Grid, before: Array | None) -> None:
        """Replace a quantizer of a constant by the rounded constant."""
        real = grid.real(words)
        if real.size == 1:  # a number of a formula, such as the 1 of GELU, is no weight: it stays what it was meant to be
            number = float(real.reshape(())) if before is None else float(before.reshape(()))
            real = np.full(real.shape, float(f"{number:.6g}"), np.float32)
        out = node.outputs[0]
        name = str(out.name)
        tensor = ir.tensor(np.ascontiguousarray(real), name=name)
        value = ir.Value(name=name, shape=ir.Shape(real.shape), type=ir.TensorType(ir.DataType.FLOAT), const_value=tensor)
        out.name = f"{name}/quantized"
        ir.convenience.replace_all_uses_with(out, value, replace_graph_outputs=True)
        self.graph.remove(node, safe=True)
        self.graph.register_initializer(value)
        noted = self.notes.of(node)
        exact = None if noted is None or not self.notes.fits(node, noted[0], grid.scale, grid.low, grid.high) else noted[0]
        if exact is not None:
            self.exact.append((real, words * grid.spread(exact.scales, words.ndim)))
        self.constants.append(_Constant(str(node.name), value, words, grid, exact))

    def _activation(self, node: ir.Node, source: ir.Value, grid: _Grid) -> None:
        """Replace a quantizer of an activation by an Identity that carries its number."""
        zeros = np.unique(grid.zero_point)
        if zeros.size > 1:
            raise UnsupportedError(
                f"{node.name} ({node.op_type}): an activation with a zero point for each channel is not supported; use one"
            )
        zero = float(zeros[0])
        if zero != int(zero):
            raise UnsupportedError(
                f"{node.name} ({node.op_type}): its zero point {zero:g} is not an integer; export the model again"
            )
        scale, axis = _activation_scale(node, grid)
        standard = _format(node, scale, int(zero), grid, self.warnings)
        kept = ir.node("Identity", [source], name=node.name)
        quantizer = Quantizer(str(node.name), standard, kept.outputs[0], axis)
        noted = self.notes.of(node)
        if noted is not None and self.notes.agrees(node, noted[0], standard):
            quantizer = self._with_note(quantizer, *noted)
        kept.metadata_props.update(node.metadata_props)
        kept.metadata_props[MARK] = str(len(self.quantizers))
        self.quantizers.append(quantizer)
        _replace(self.graph, node, kept)

    def _with_note(self, quantizer: Quantizer, exact: QType, entry: Mapping[str, Any]) -> Quantizer:
        """A quantizer with what EdgeFlow says of it beyond the standard nodes."""
        axis = quantizer.axis if exact.scales.ndim == 0 or quantizer.axis is not None else -1
        more = self.notes.more(quantizer.name, entry)
        if more is None:
            return quantizer
        return dataclasses.replace(quantizer, qtype=exact, axis=axis, offset=more.offset, index=more.index, inside=more.inside)

    def finish_integers(self) -> None:
        """Between QuantizeLinear and DequantizeLinear real values flow now: QuantizeLinear and the Clips behind it do nothing."""
        for node in list(self.graph):
            if traits(node).quantizes is not Quantizes.TO_INTEGERS or node.inputs[0] is None:
                continue
            for inner in movement_behind(node.outputs[0]):
                if traits(inner).clips and inner.inputs[0] is not None:
                    kept = ir.node("Identity", [inner.inputs[0]], name=inner.name)
                    kept.metadata_props.update(inner.metadata_props)
                    _replace(self.graph, inner, kept)
                elif MARK not in inner.metadata_props:
                    for output in inner.outputs:
                        output.type = ir.TensorType(ir.DataType.FLOAT)
            if any(reader is None for reader in readers_behind(node.outputs[0])):
                raise UnsupportedError(
                    f"{node.name} (QuantizeLinear): its integers leave the model as they are; add a DequantizeLinear behind it"
                )
            kept = ir.node("Identity", [node.inputs[0]], name=node.name)
            kept.metadata_props.update(node.metadata_props)
            _replace(self.graph, node, kept)


def _activation_scale(node: ir.Node, grid: _Grid) -> tuple[float | tuple[float, ...], int | None]:
    """One scale, or those of an axis."""
    scale = grid.scale
    if np.unique(scale).size == 1:
        return float(scale.reshape(-1)[0]), None
    long = [axis for axis, size in enumerate(scale.shape) if size > 1]
    if len(long) > 1:
        raise UnsupportedError(f"{node.name} ({node.op_type}): scales for blocks are not supported; quantize by tensor or channel")
    axis = grid.axis if grid.axis is not None else long[0] - scale.ndim
    return tuple(map(float, scale.reshape(-1))), axis


def _replace(graph: ir.Graph, node: ir.Node, kept: ir.Node) -> None:
    """Put a node with one float output in the place of another; names stay."""
    old, new = node.outputs[0], kept.outputs[0]
    new.shape, new.type = old.shape, ir.TensorType(ir.DataType.FLOAT)
    graph.insert_before(node, kept)
    name, old.name = old.name, None
    new.name = name
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _numbers(node: ir.Node, array: Array, what: str) -> Array:
    """The operand of a quantizer; ModelError where it holds no finite numbers."""
    if not array.size or array.dtype.kind not in "biuf" or not np.isfinite(array).all():
        raise ModelError(f"{node.name} ({node.op_type}): {what} holds no finite numbers; export the model again")
    return array


def _check_fit(node: ir.Node, grid: _Grid, array: Array) -> None:
    problem = grid.misfit(array.shape)
    if problem is not None:
        raise ModelError(f"{node.name} ({node.op_type}): {problem}; export the model again")


def _missing(node: ir.Node, position: int) -> bool:
    return len(node.inputs) <= position or node.inputs[position] is None


_BITS = {
    ir.DataType.INT4: (4, True), ir.DataType.UINT4: (4, False), ir.DataType.INT8: (8, True), ir.DataType.UINT8: (8, False),
    ir.DataType.INT16: (16, True), ir.DataType.UINT16: (16, False), ir.DataType.INT32: (32, True),
}  # fmt: skip
for _name, _entry in (("INT2", (2, True)), ("UINT2", (2, False))):
    if hasattr(ir.DataType, _name):
        _BITS[getattr(ir.DataType, _name)] = _entry


def _integers(dtype: ir.DataType, node: ir.Node) -> tuple[int, int]:
    if dtype not in _BITS:
        raise UnsupportedError(f"{node.name} ({node.op_type}): values of type {dtype} are not supported; quantize to integers")
    bits, signed = _BITS[dtype]
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


def _format(node: ir.Node, scale: float | tuple[float, ...], zero: int, grid: _Grid, warnings: list[str]) -> QType:
    """The format of an activation with the integers of a grid."""
    low, high = grid.low, grid.high
    where = f"{node.name} ({node.op_type})"
    signed = low < 0
    bits = max((-low - 1).bit_length(), high.bit_length()) + 1 if signed else high.bit_length()
    if bits > 16 or bits < 2:
        raise UnsupportedError(f"{where}: an activation of {bits} bit{'s' * (bits != 1)} is not supported; use 2 to 16")
    if not signed and zero:  # the same values, counted from the middle: most operators make signed tensors
        signed, half = True, 1 << (bits - 1)
        zero, low, high = zero - half, low - half, high - half
    qtype = QType(bits, signed, scale, zero, _ROUNDINGS[grid.rounding])
    if not qtype.minimum <= zero <= qtype.maximum:
        raise UnsupportedError(f"{where}: its zero point {zero} lies outside its {bits} bits; export the model again")
    if (qtype.minimum, qtype.maximum) != (low, high):
        warnings.append(
            f"{where}: integers from {low} to {high} are kept as {bits} bits, which also hold {qtype.minimum} to {qtype.maximum}"
        )
    return qtype


def _weights(constant: _Constant) -> Iterator[Weights]:
    grid = constant.grid
    zero = grid.zero_point.reshape(-1)
    # Words are counted from the zero point, and so is their range.
    low, high = int(grid.low) - int(zero.max()), int(grid.high) - int(zero.min())
    exact = constant.exact
    scale = (grid.scale if exact is None else exact.scales).astype(np.float64).reshape(-1)
    bits = None if exact is None else exact.bits
    for reader, index in constant_readers(constant.value):
        yield Weights(constant.name, str(reader.name), index, constant.words, scale, grid.axis, low, high, bits)
