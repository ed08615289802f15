"""What a canonical operator may ask for: of the plan of formats, of the conversion to the integer graph, of an export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeflow.hw.arrays import Array, IntArray, Real
from edgeflow.hw.graph import Attribute, Node, QType, TensorType
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.formats.interpretation import AttentionFormats, Correspondence, Demand, HeadPadding, Interpretation
from edgeflow.quant.formats.statistics import Statistics
from edgeflow.quant.integers.compensate import LayerErrors, Moments
from edgeflow.quant.nodes import Use


@dataclass(frozen=True)
class Wanted:
    """A value whose format is to be decided: the output of an operator, or what that output was moved to.

    ``demands`` of its readers; ``uniform``: the way from the operator needs one scale for the tensor; ``leaves``: it is an output
    of the model that nothing reads.
    """

    name: str
    demands: frozenset[Demand]
    uniform: bool
    leaves: bool

    @property
    def narrow(self) -> bool:
        """Whether linear layers alone read it."""
        return self.demands <= {Demand.NARROW, Demand.NARROW_UNIFORM}

    @property
    def by_channel(self) -> bool:
        """Whether all that read it fold a scale per channel."""
        return not self.uniform and self.demands == {Demand.NARROW}

    @property
    def one_scale(self) -> bool:
        """Whether it needs one scale for all channels."""
        return self.uniform or Demand.NARROW_UNIFORM in self.demands


class Formats(Protocol):
    """The plan of formats, as an operator sees it while the format of its output is decided."""

    @property
    def config(self) -> QuantizationConfig:
        """The configuration."""

    def chosen(self, name: str) -> Interpretation:
        """What the integers of a value stand for."""

    def stream(self, name: str) -> QType:
        """The wide format of a value."""

    def per_channel(self, name: str) -> Interpretation:
        """Narrow, with a scale and an offset per channel."""

    def uniform(self, name: str) -> Interpretation:
        """Narrow, with one scale."""

    def asymmetric(self, name: str) -> QType:
        """Narrow, with one scale and a zero point."""

    def balanced(self, name: str) -> Interpretation:
        """Narrow, with a scale per channel that shares the rounding error between the value and the weights that read it."""

    def attention(self, node: ir.Node) -> AttentionFormats:
        """Formats around a node of attention."""

    def in_epilogue(self, node: ir.Node) -> bool:
        """Whether a linear layer runs the node in its epilogue."""

    def provided(self, name: str, qtype: QType) -> bool:
        """Whether the node that computes a value can produce it in ``qtype``, a format that the model prescribes."""

    def read_once(self, name: str) -> bool:
        """Whether one node alone reads a value, which is no output of the model."""


class Conversion(Protocol):
    """A conversion under way: the integer graph as far as it is built, and the integer tensors that carry float values."""

    @property
    def config(self) -> QuantizationConfig:
        """The configuration."""

    @property
    def statistics(self) -> Mapping[str, Statistics]:
        """What was observed of every float activation."""

    # The float graph

    def parameter(self, node: ir.Node, index: int) -> Real:
        """A constant operand, in double precision."""

    def initializer(self, value: str) -> Array | None:
        """The array of a constant as the model has it; None for an activation."""

    def constant(self, value: str, shape: tuple[int, ...]) -> Real | None:
        """A constant beside an activation of per-sample ``shape``, without its batch axis; None for an activation."""

    def is_input(self, value: str) -> bool:
        """Whether a value is an input of the model."""

    def reader(self, value: str) -> Use | None:
        """The only reading of a value that is no output of the model."""

    def function(self, node: ir.Node) -> Function:
        """The function of an elementwise node, as the float model computes it."""

    # The plan

    def chosen(self, value: str) -> Interpretation:
        """What a value's integers stand for, for the model's channels."""

    def attention(self, node: ir.Node) -> AttentionFormats:
        """Formats around a node of attention."""

    def head_padding(self, node: ir.Node, index: int) -> HeadPadding | None:
        """The padding of the heads of an operand of attention."""

    def absorbed(self, value: str) -> bool:
        """Whether the node that reads a linear layer's output absorbs the layer."""

    def weight_bits(self, node: ir.Node) -> int:
        """Bits of a linear layer's weights."""

    def activation_bits(self, value: str) -> int:
        """Bits of a value that linear layers read."""

    # Integer tensors

    def set(self, value: str, tensor: str, channels: NDArray[np.int64] | None = None) -> None:
        """The integer tensor that carries a value, and where the value's channels stand in it if heads are padded."""

    def tensor(self, value: str) -> str:
        """The integer tensor of a value."""

    def channels(self, value: str) -> NDArray[np.int64] | None:
        """Where the channels of a value stand in its integer tensor; None where they are the same."""

    def type(self, tensor: str) -> TensorType:
        """Shape and format of an integer tensor."""

    def qtype(self, tensor: str) -> QType:
        """The format of an integer tensor."""

    def words(self, tensor: str) -> IntArray | None:
        """The integers of a constant tensor; None for an activation."""

    def narrow(self, value: str, node: ir.Node) -> tuple[str, Interpretation]:
        """A tensor of at most 8 bits, for a linear layer, and what it stands for in the model's channels."""

    def stream(self, value: str, node: ir.Node) -> str:
        """A tensor with one scale and no zero point."""

    def copy(self, value: str, qtype: QType, name: str, node: ir.Node) -> str:
        """A value in another format, made once for all readers."""

    def operand(self, value: str, shape: tuple[int, ...], node: ir.Node, name: str, *, whole: bool = False) -> str:
        """A stream operand that may be a constant, which has ``shape`` where it is wanted ``whole``."""

    def mask(self, value: str, name: str) -> str:
        """A key mask: an input of the model, or a constant of zeros and ones."""

    def sum_format(self, value: str) -> tuple[str, QType]:
        """Name and format in which an addition makes a value."""

    def rounded_sum(self, value: str, tensor: str, node: ir.Node) -> str:
        """The sum of a value in the value's own format."""

    def requantize(self, tensor: str, qtype: QType, name: str, where: str, factor: Real | float = 1.0) -> str:
        """A tensor times ``factor`` (a number, or one per channel) in another format."""

    # The integer graph

    def add_constant(self, name: str, words: NDArray[np.integer], bits: int, signed: bool = True) -> str:
        """Add a constant that a unit reads from the weight image."""

    def add_operand(self, name: str, words: NDArray[np.integer], qtype: QType) -> str:
        """Add a constant that is an operand beside activations, in a format."""

    def add_node(
        self, op: str, inputs: list[str], output: str, qtype: QType, where: str, attributes: Mapping[str, Attribute]
    ) -> str:
        """Add a node whose output has the given format; ``where`` names the model's own node."""

    def stands_for(self, tensor: str, correspondence: Correspondence) -> None:
        """Note the float value that an integer tensor stands for."""

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
        """Moments of a layer's integer input ``x``, which stands for ``operand``, and of the output wanted for it; None where the
        layer's weights are rounded to the nearest."""

    def note_layer(self, value: str, errors: LayerErrors) -> None:
        """Keep what compensated rounding brought the layer that makes a value."""

    def note_index(self, value: str, index: QType) -> None:
        """Keep the format in which a linear layer's output indexes the table of the function behind it."""


class Function(Protocol):
    """An elementwise function of real numbers."""

    def __call__(self, x: Real, /) -> Real:
        """The function of every element."""


class Export(Protocol):
    """An export under way: exported values by what they are in the float and in the integer graph."""

    def operand(self, node: ir.Node, index: int) -> str:
        """What an exported node reads as its input ``index``."""

    def exact(self, name: str) -> str:
        """The exported value of a float value before its quantizer."""

    def absorbed(self, name: str) -> bool:
        """Whether a value is the output of a linear layer that its only reader absorbs."""

    def layer_parameters(self, node: ir.Node, maker: Node) -> list[str]:
        """Weight and bias of a linear layer, with the words of its integer node."""

    def table(self, node: ir.Node, maker: Node) -> str:
        """The table of an embedding, with the words of its integer node."""

    def shifted_bias(self, node: ir.Node, index: int) -> str:
        """A constant operand that is added to the output, less the offset of the output's format."""
