"""A conversion under way: the plan, the graph being built, and integer operands in the format that an operator wants."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeflow.hw.arithmetic import dyadic
from edgeflow.hw.arrays import Array, IntArray, Real
from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.graph import Attribute, QType, Rounding, TensorType
from edgeflow.quant.canonical.contexts import Function
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.session import elementwise_function
from edgeflow.quant.convert.layer_inputs import Replay
from edgeflow.quant.convert.plan import Plan
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.formats.interpretation import AttentionFormats, Correspondence, HeadPadding, Interpretation
from edgeflow.quant.formats.prequantized import fixed_format
from edgeflow.quant.formats.statistics import Statistics
from edgeflow.quant.integers.builder import GraphBuilder
from edgeflow.quant.integers.compensate import InputMoments, LayerErrors, Moments, input_moments, moments
from edgeflow.quant.nodes import Use, input_name, origin, output_name, required_input


class Context:
    """State of one conversion (see ``Conversion`` in quant/canonical/contexts.py)."""

    def __init__(
        self,
        graph: FloatGraph,
        statistics: Mapping[str, Statistics],
        config: QuantizationConfig,
        plan: Plan,
        builder: GraphBuilder,
        replay: Replay,
    ) -> None:
        self.graph = graph
        self.statistics = statistics
        self.config = config
        self.plan = plan
        self.builder = builder
        self.layers: dict[str, LayerErrors] = {}
        self.indices: dict[str, QType] = {}
        self._replay = replay
        self._inputs: dict[str, InputMoments] = {}  # of the integer tensor that was last read with compensated rounding
        self._tensors: dict[str, str] = {}
        self._channels: dict[str, NDArray[np.int64]] = {}
        self._copies: dict[tuple[str, QType], str] = {}

    # The float graph

    def parameter(self, node: ir.Node, index: int) -> Real:
        """A constant operand, in double precision."""
        return self.graph.parameter(node, index)

    def initializer(self, value: str) -> Array | None:
        """The array of a constant as the model has it; None for an activation."""
        return self.graph.constant(value)

    def is_input(self, value: str) -> bool:
        """Whether a value is an input of the model."""
        return self.graph.constant(value) is None and value in self.graph.inputs

    def reader(self, value: str) -> Use | None:
        """The only reading of a value that is no output of the model."""
        return self.graph.sole_use(value)

    def function(self, node: ir.Node) -> Function:
        """The function of an elementwise node, as the float model computes it."""
        return elementwise_function(self.graph.model, node)

    # The plan

    def chosen(self, value: str) -> Interpretation:
        """What a value's integers stand for, for the model's channels."""
        return self.plan.chosen(value)

    def attention(self, node: ir.Node) -> AttentionFormats:
        """Formats around a node of attention."""
        return self.plan.attention(node)

    def head_padding(self, node: ir.Node, index: int) -> HeadPadding | None:
        """The padding of the heads of an operand of attention."""
        return self.plan.head_padding(node, index)

    def absorbed(self, value: str) -> bool:
        """Whether the node that reads a linear layer's output absorbs the layer."""
        return self.plan.fused_into(value) is not None

    def weight_bits(self, node: ir.Node) -> int:
        """Bits of a linear layer's weights."""
        return self.plan.widths.weight(origin(node))

    def activation_bits(self, value: str) -> int:
        """Bits of a value that linear layers read."""
        return self.plan.widths.activation(value)

    # Integer tensors

    def set(self, value: str, tensor: str, channels: NDArray[np.int64] | None = None) -> None:
        """The integer tensor that carries a float value, and where the value's channels stand in it if heads are padded."""
        self._tensors[value] = tensor
        if channels is not None:
            self._channels[value] = channels
        if value in self.statistics:
            self.builder.stands_for(tensor, Correspondence(value, channels, self.plan.chosen(value).offset))

    def tensor(self, value: str) -> str:
        """The integer tensor of a value."""
        if value not in self._tensors:
            raise UnsupportedError(
                f"{value}: a constant cannot be the operand of a linear layer, attention or normalization; fold it"
            )
        return self._tensors[value]

    def channels(self, value: str) -> NDArray[np.int64] | None:
        """Where the channels of a value stand in its integer tensor; None where they are the same."""
        return self._channels.get(value)

    def qtype(self, tensor: str) -> QType:
        """The format of an integer tensor."""
        return self.builder.tensors[tensor].qtype

    def constant(self, value: str, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
        """A constant operand beside an activation of per-sample ``shape``, without its batch axis; None for an activation."""
        array = self.graph.exact(value)
        if array is None:
            return None
        while array.ndim > len(shape) or (array.ndim == len(shape) > 1 and array.shape[0] == 1 and shape[0] != 1):
            array = array.reshape(array.shape[1:])
        return array

    def narrow(self, value: str, node: ir.Node) -> tuple[str, Interpretation]:
        """A tensor of a value of at most 8 bits, for a linear layer, and what it stands for in the model's channels.

        It is the value's own tensor, or a copy with a scale per channel."""
        tensor = self.tensor(value)
        fixed = self.fixed_reading(value, node)
        if fixed is not None:
            if self.plan.chosen(value).qtype == fixed:
                return tensor, self.plan.chosen(value)
            return self.copy(value, fixed, f"{value}/given", node), Interpretation(fixed)
        if self.qtype(tensor).bits <= 8:
            return tensor, self.plan.chosen(value)
        qtype = self.plan.narrow(value, node)
        return self.copy(value, qtype, f"{value}/narrow", node), Interpretation(qtype)

    def stream(self, value: str, node: ir.Node) -> str:
        """A tensor of a value with one scale and no zero point."""
        tensor = self.tensor(value)
        fixed = self.fixed_reading(value, node)
        if fixed is not None and fixed != self.qtype(tensor):
            tensor = self.copy(value, fixed, f"{value}/given", node)
            if fixed.zero_point:
                wide = self.plan.stream(value)
                return self.requantize(tensor, wide, f"{value}/given/stream", origin(node))
        qtype = self.qtype(tensor)
        if isinstance(qtype.scale, float) and qtype.zero_point == 0:
            return tensor
        return self.copy(value, self.plan.stream(value), f"{value}/stream", node)

    def fixed_reading(self, value: str, node: ir.Node) -> QType | None:
        """The format in which the model itself has a node read a value; None where the model fixes none."""
        return next((fixed_format(node, i) for i in range(len(node.inputs)) if input_name(node, i) == value), None)

    def copy(self, value: str, qtype: QType, name: str, node: ir.Node) -> str:
        """A value in another format, by a requantize node; made once for all readers."""
        if self.plan.chosen(value).offset is not None:
            raise AssertionError(f"{value}: a tensor with an offset per channel has no readers but those that fold it")
        if (value, qtype) not in self._copies:
            self._copies[value, qtype] = self.requantize(self.tensor(value), qtype, name, origin(node))
            self.builder.stands_for(self._copies[value, qtype], Correspondence(value))
        return self._copies[value, qtype]

    def sum_format(self, value: str) -> tuple[str, QType]:
        """Name and format in which an addition makes a value.

        A sum that the model itself has in few bits is made in many, since both operands are rounded to its steps;
        :meth:`rounded_sum` then rounds it once. It has twice the range, so that it saturates where the model's format does.
        """
        qtype = self.plan.qtype(value)
        if qtype.bits > 8:
            return value, qtype
        bits = self.config.residual_bits
        return f"{value}/sum", QType(bits, True, float(qtype.scales) / (1 << (bits - 1 - qtype.bits)))

    def rounded_sum(self, value: str, tensor: str, node: ir.Node) -> str:
        """The sum of a value in the value's own format."""
        qtype = self.plan.qtype(value)
        if self.qtype(tensor) == qtype:
            return tensor
        self.builder.stands_for(tensor, Correspondence(value))
        return self.requantize(tensor, qtype, value, origin(node))

    def requantize(self, tensor: str, qtype: QType, name: str, where: str, factor: NDArray[np.float64] | float = 1.0) -> str:
        """A requantize node: the tensor times ``factor`` (a number, or one per channel) in another format."""
        source = self.builder.tensors[tensor]
        ratio = np.broadcast_to(source.qtype.scales * factor / qtype.scales, (source.format.channels,)).astype(np.float64)
        multiplier, shift = dyadic(ratio, self.config.short_multiplier_bits)
        zero_point = qtype.zero_point
        if shift == 0:  # the multiplier may be smaller than the ratio; what is 0 stays 0
            ratio = multiplier.astype(np.float64)
        if source.qtype.zero_point:
            shifts = np.floor(source.qtype.zero_point * ratio + 0.5)
            if np.ptp(shifts):
                raise UnsupportedError(f"{where}: a tensor with a zero point cannot get a scale per channel")
            zero_point -= int(shifts[0])
            if not -(1 << 31) <= zero_point < 1 << 31:
                raise UnsupportedError(
                    f"{where}: the zero point of what it reads, in steps of its own format, is {-zero_point:,}, more than 32 bits:"
                    f" the scale {float(source.qtype.scales.max()):g} of the quantizer before it is too large; calibrate it again"
                )
        constant = self.builder.constant(f"{name}/multiplier", multiplier, 32)
        half_even = qtype.rounding is Rounding.HALF_EVEN
        attributes: dict[str, Attribute] = {"shift": shift, "zero_point": zero_point, "half_even": half_even}
        return self.builder.node("requantize", [tensor, constant], name, qtype, where, attributes)

    def operand(self, value: str, shape: tuple[int, ...], node: ir.Node, name: str, *, whole: bool = False) -> str:
        """A stream operand that may be a constant, which is quantized on its own wide scale, or in the format that it has.

        A constant has ``shape`` afterwards where it is wanted ``whole``, else at least its last axis.
        """
        array = self.constant(value, shape)
        if array is None:
            return self.stream(value, node)
        if whole:
            array = np.broadcast_to(array, shape)
        elif array.ndim == 0 or array.shape[-1] != shape[-1]:
            array = np.broadcast_to(array, shape if array.ndim > 1 else shape[-1:])
        bits = self.config.residual_bits
        scale = max(float(np.abs(array).max(initial=0.0)), 1e-12) / ((1 << (bits - 1)) - 1)
        qtype = self.fixed_reading(value, node) or QType(bits, True, scale)
        return self.add_operand(name, qtype.quantize(array), qtype)

    def mask(self, value: str, name: str) -> str:
        """A key mask: an input of the model, or a constant of zeros and ones."""
        array = self.graph.constant(value)
        if array is None:
            return self.tensor(value)
        return self.builder.constant(name, (array.reshape(-1) != 0).astype(np.int64), 8, signed=False, rows=True)

    def type(self, tensor: str) -> TensorType:
        """Shape and format of an integer tensor."""
        return self.builder.tensors[tensor]

    def words(self, tensor: str) -> IntArray | None:
        """The integers of a constant tensor; None for an activation."""
        return self.builder.constants.get(tensor)

    # The integer graph

    def add_constant(self, name: str, words: NDArray[np.integer], bits: int, signed: bool = True) -> str:
        """Add a constant that a unit reads from the weight image."""
        return self.builder.constant(name, words, bits, signed)

    def add_operand(self, name: str, words: NDArray[np.integer], qtype: QType) -> str:
        """Add a constant that is an operand beside activations, in a format."""
        tensor = self.builder.constant(name, words, qtype.bits, qtype.signed, rows=True)
        old = self.builder.tensors[tensor]
        self.builder.tensors[tensor] = type(old)(old.shape, qtype, old.layout, old.limit)
        return tensor

    def add_node(
        self, op: str, inputs: list[str], output: str, qtype: QType, where: str, attributes: Mapping[str, Attribute]
    ) -> str:
        """Add a node whose output has the given format; ``where`` names the model's own node."""
        return self.builder.node(op, inputs, output, qtype, where, attributes)

    def stands_for(self, tensor: str, correspondence: Correspondence) -> None:
        """Note the float value that an integer tensor stands for."""
        self.builder.stands_for(tensor, correspondence)

    # Compensated rounding

    def moments(
        self,
        node: ir.Node,
        x: str,
        operand: Interpretation,
        out: Interpretation,
        extra: Real | None,
        residual: tuple[str, str] | None,
    ) -> Moments | None:
        """Moments of a layer's integer input and of the output wanted for it; None where its weights are rounded to the nearest.

        With a residual, that is what the sum lacks: the layer also makes up for what the stream has lost so far.
        """
        if not self.plan.widths.compensated(node):
            return None
        replay = self._replay
        if x not in self._inputs:
            self._inputs.clear()  # layers that share an input follow each other
            rows = replay.rows(replay.words(x)) - np.float32(operand.qtype.zero_point)
            positions = self.channels(required_input(node, 0))
            self._inputs[x] = input_moments(rows if positions is None else np.ascontiguousarray(rows[:, positions]))
        value = output_name(node)
        wanted = replay.rows(replay.real(value)).copy()
        if extra is not None:
            wanted += extra.astype(np.float32)
        if out.offset is not None:
            wanted -= out.offset.astype(np.float32)
        if residual is not None and self.config.at(value).input_correction:
            tensor, other = residual
            lost = replay.rows(replay.real(other)) - replay.rows(self.qtype(tensor).dequantize(replay.words(tensor)))
            wanted += lost
        return moments(self._inputs[x], wanted)

    def note_layer(self, value: str, errors: LayerErrors) -> None:
        """Keep what compensated rounding brought the layer that makes a value."""
        self.layers[value] = errors

    def note_index(self, value: str, index: QType) -> None:
        """Keep the format in which a linear layer's output indexes the table of the function behind it."""
        self.indices[value] = index
