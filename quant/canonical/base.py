"""What every canonical operator of the float graph states, and the registry that all of the float side loops over.

One class is one operator; an instance is one node of it. The class says what the operator takes (``operands``, ``attributes``),
what each operand demands of its format, what formats its output can have, how it becomes integer nodes (``convert``), its
differentiable form (``torch``), what training makes of it, how it is exported, whether it commutes with data movement, and what it
does to constants. Registration refuses a class that leaves one out. Importer, plan of formats, torch graph, training and export ask
the class and compare no names.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, ClassVar, TypeVar

import onnx_ir as ir

from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.graph import Node, QType
from edgeflow.quant.canonical.contexts import Conversion, Export, Formats, Wanted
from edgeflow.quant.canonical.sketch import Sketch
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.formats.interpretation import Demand, Interpretation
from edgeflow.quant.nodes import DOMAIN, origin, output_name, required_input

if TYPE_CHECKING:
    from torch import Tensor

BATCH_NAME = "batch"
"""Name of the symbolic first axis of every activation of a canonical model."""
MANY = 1 << 16  # operands of an operator that takes any number

Shape = tuple[int | str | None, ...]


def sizes(shape: Iterable[int | ir.SymbolicDim]) -> Shape:
    """The axes of a shape, symbolic ones by name."""
    return tuple(entry if isinstance(entry, int) else entry.value for entry in shape)


class Role(Enum):
    """What an operand is."""

    VALUE = "value"
    PARAMETER = "parameter"
    MASK = "mask"  # of the keys or tokens that take part: zeros and ones, or anything but 0
    RAW_MASK = "raw mask"  # a mask whose values the node itself interprets
    IDS = "ids"
    BATCH = "batch"  # only the number of samples is read
    SETTING = "setting"  # numbers that are no subject of training: shapes, bounds


@dataclass(frozen=True)
class Operand:
    """One operand. ``constant``: it must be an initializer (True), must be computed (False), or may be either (None)."""

    name: str
    demand: Demand = Demand.STREAM
    role: Role = Role.VALUE
    constant: bool | None = False
    optional: bool = False
    repeated: bool = False


def parameter(name: str) -> Operand:
    """A constant operand that training may change."""
    return Operand(name, role=Role.PARAMETER, constant=True)


@dataclass(frozen=True)
class Reduction:
    """A reduction of ONNX that, over axes other than the batch, is the operator over tokens.

    ``whole_map``: it is over all axes behind the second; otherwise over its ``axes``. ``normalizes``: over the last axis alone it
    may be part of a normalization."""

    name: str
    whole_map: bool = False
    normalizes: bool = False


class Commutes(Enum):
    """Which data movement an operator commutes with, its constants moved alike."""

    NO = "no"
    ROWS = "rows"  # movement of whole rows of the last axis
    ELEMENTS = "elements"  # any that takes every element once


class Constants(Enum):
    """What an operator does to operands that are constant."""

    FIXED = "fixed"  # it has none but its parameters
    BROADCAST = "broadcast"  # they are spread over the other operand: the batch is left out
    JOINED = "joined"  # they stand beside activations: tokens of every sample
    REPEATED = "repeated"  # its result is its constant operand, for every sample


class Scaling(Enum):
    """Where scales of the output's channels can be folded (Nagel et al., arXiv 1906.04721)."""

    NO = "no"
    AFFINE = "affine"  # into its own scale and bias
    HOMOGENEOUS = "homogeneous"  # f(s x) = s f(x) for s > 0: into the layer before it


class Training(Enum):
    """What an operator is in a network that is trained with quantizers."""

    LAYER = "layer"  # a layer whose weights are quantized, too
    REAL = "real"  # its torch form, between the quantizers of its operands


class FloatOperator(ABC):
    """Base class; see the module docstring. An instance is one node of the canonical graph."""

    name: ClassVar[str]
    domain: ClassVar[str]
    description: ClassVar[str]
    operands: ClassVar[tuple[Operand, ...]]
    attributes: ClassVar[tuple[str, ...]]
    bodies: ClassVar[Mapping[str, str]]
    """ONNX function bodies, from the signature on, by overload; empty for operators of ONNX."""
    commutes: ClassVar[Commutes]
    constants: ClassVar[Constants]
    training: ClassVar[Training]

    # What few operators have; the defaults are right for all others.
    fuses: ClassVar[bool] = False  # it may run in the epilogue of the linear layer that makes one operand
    weighted: ClassVar[bool] = False  # its parameters are the weights of a layer
    moves: ClassVar[bool] = False  # it only moves its operands: the demands on its output are those on its operands
    keeps_channels: ClassVar[bool] = False  # ... and channels stay channels
    keeps_format: ClassVar[bool] = False  # its output has the words of its operand
    sums: ClassVar[bool] = False  # its output is the sum of its operands: one can compensate errors of another
    reductions: ClassVar[tuple[Reduction, ...]] = ()  # of ONNX, that are it
    tabulated: ClassVar[bool] = False  # it is an elementwise function of one tensor, and becomes a table
    scaling: ClassVar[Scaling] = Scaling.NO
    any_scales: ClassVar[bool] = False  # it makes its output with any scales and offsets per channel that attention wants
    classifies: ClassVar[bool] = False  # its output may stand for classes
    logits: ClassVar[int | None] = None  # the operand that holds the logits of the probabilities that it makes
    signed_only: ClassVar[bool] = False  # it makes signed tensors only
    places_operands: ClassVar[bool] = False  # its integer node has its operands at the same places
    rescales: ClassVar[bool] = False  # its form in the user's file may have scaled its operands

    def __init__(self, node: ir.Node) -> None:
        self.node = node

    # The node

    @classmethod
    def arity(cls) -> tuple[int, int]:
        """The fewest and the most inputs."""
        least = sum(not operand.optional and not operand.repeated for operand in cls.operands)
        return least, MANY if cls.operands[-1].repeated else len(cls.operands)

    @property
    def output(self) -> str:
        """Name of what the node makes."""
        return output_name(self.node)

    @property
    def origin(self) -> str:
        """Name of the model's own node."""
        return origin(self.node)

    def input(self, index: int) -> str:
        """Name of an operand that the operator always has."""
        return required_input(self.node, index)

    def integer(self, name: str, default: int | None = None) -> int:
        """An integer attribute."""
        entry = self.node.attributes.get_int(name, default)
        if entry is None:
            raise ValueError(f"{self.origin}: {self.name} has no attribute {name}")
        return entry

    def integers(self, name: str) -> tuple[int, ...]:
        """An attribute of integers."""
        entries = self.node.attributes.get_ints(name)
        if entries is None:
            raise ValueError(f"{self.origin}: {self.name} has no attribute {name}")
        return tuple(int(entry) for entry in entries)

    def number(self, name: str, default: float | None = None) -> float:
        """A floating-point attribute."""
        entry = self.node.attributes.get_float(name, default)
        if entry is None:
            raise ValueError(f"{self.origin}: {self.name} has no attribute {name}")
        return float(entry)

    def operand(self, index: int) -> Operand:
        """What the operator says of its input ``index``."""
        last = self.operands[-1]
        return last if last.repeated and index >= len(self.operands) else self.operands[index]

    def demand(self, index: int) -> Demand:
        """How the node wants its input ``index``."""
        return self.operand(index).demand

    def array_operands(self) -> tuple[int, ...]:
        """The inputs that the array reads, in few bits."""
        return tuple(i for i in range(len(self.node.inputs)) if self.operand(i).demand.quantized)

    def reads_nothing(self, index: int) -> bool:
        """Whether an input's values are not read: its number of samples alone is, or it is a constant that is passed on."""
        return self.constants is Constants.REPEATED

    def repeated_constant(self) -> str | None:
        """The constant that the node repeats for every sample; None for an operator that repeats none."""
        if self.constants is not Constants.REPEATED:
            return None
        return next(self.input(i) for i, operand in enumerate(self.operands) if operand.constant)

    def raw_mask(self) -> str | None:
        """The mask whose values the node interprets; None for an operator that interprets none."""
        return next((self.input(i) for i, operand in enumerate(self.operands) if operand.role is Role.RAW_MASK), None)

    def table_rows(self) -> int | None:
        """Number of rows of the table in which ids are looked up, where an id is the number of its row; None for other
        operators."""
        return None

    def mask_operand(self) -> int | None:
        """The input that is a key mask, where the operator can take one."""
        return next((i for i, operand in enumerate(self.operands) if operand.role is Role.MASK), None)

    # What it states

    @abstractmethod
    def check(self, shape: Shape) -> str | None:
        """Why a node whose operands and attributes fit, with an output of ``shape``, is not canonical; None if it is."""

    @abstractmethod
    def make(self, plan: Formats, wanted: Wanted) -> Interpretation:
        """The format of the value ``wanted``, which is the output, or the output moved."""

    @abstractmethod
    def make_apart(self, plan: Formats, name: str) -> Interpretation:
        """The format of the output, or of the output moved, ``name``, where its readers read copies in formats of their own."""

    @abstractmethod
    def provides(self, plan: Formats, qtype: QType) -> bool:
        """Whether the operator can produce its output in ``qtype``, a format that the model prescribes."""

    @abstractmethod
    def convert(self, context: Conversion) -> None:
        """Add the integer nodes that compute the same; UnsupportedError where the accelerator has no form of the node."""

    @abstractmethod
    def torch(self, *operands: Tensor) -> Tensor:
        """The differentiable form: operands and result float32 ``(batch, ...)``, ids and masks integers; optional operands that
        the node leaves out are left out."""

    @abstractmethod
    def export(self, export: Export, maker: Node | None) -> list[str] | str:
        """The operands of the exported node, with the words of the integer node ``maker`` that computes it (None for none); or the
        exported value that the node is already."""

    @classmethod
    @abstractmethod
    def example(cls, sketch: Sketch) -> None:
        """Draw a network that contains the operator, for the tests that take every operator through all of its forms."""

    def convert_fused(self, layer: FloatOperator, context: Conversion) -> None:
        """As :meth:`convert`, for an operator that ``fuses``, together with the linear layer that it absorbs."""
        raise UnsupportedError(f"{self.origin}: {self.name} absorbs no linear layer")

    # Where integer nodes are matched with float ones (exports)

    def integer_maker(self, producer: Node, makers: Mapping[str, Node]) -> Node:
        """The integer node that computes this operator, where ``producer`` is the one whose output is its tensor."""
        return producer

    def integer_operand(self, index: int, maker: Node, makers: Mapping[str, Node]) -> str | None:
        """The tensor behind input ``index`` of an operator that ``places_operands``; None where the node reads the float value."""
        return maker.inputs[index]

    # Costs

    def bit_operations(self, shapes: Sequence[tuple[int, ...]], config: QuantizationConfig) -> int:
        """Bit operations of one sample on the array whose bits are not allocated by layer; ``shapes`` of one sample's operands."""
        return 0

    def held_values(self, shape: tuple[int, ...]) -> int:
        """Values of one sample that its torch form holds besides its output of ``shape``."""
        return 0


OperatorType = TypeVar("OperatorType", bound=type[FloatOperator])
_REGISTRY: dict[str, type[FloatOperator]] = {}
_STATED = ("name", "domain", "description", "operands", "attributes", "bodies", "commutes", "constants", "training")


def register(cls: OperatorType) -> OperatorType:
    """Class decorator: check that an operator is complete and add it to the registry."""
    if inspect.isabstract(cls):
        raise TypeError(f"float operator {cls.__name__} must define {', '.join(sorted(cls.__abstractmethods__))}")
    missing = [attribute for attribute in _STATED if not hasattr(cls, attribute)]
    if missing:
        raise TypeError(f"float operator {cls.__name__} must define {', '.join(missing)}")
    if (cls.domain == DOMAIN) != bool(cls.bodies):
        raise TypeError(f"float operator {cls.__name__}: operators of EdgeFlow's domain, and only they, have function bodies")
    if cls.name in _REGISTRY:
        raise TypeError(f"float operator {cls.name} is registered twice")
    if cls.fuses and cls.convert_fused is FloatOperator.convert_fused:
        raise TypeError(f"float operator {cls.__name__} fuses and must define convert_fused")
    _REGISTRY[cls.name] = cls
    return cls


def registry() -> Mapping[str, type[FloatOperator]]:
    """Every canonical operator by name."""
    return dict(_REGISTRY)


def find(node: ir.Node | None) -> FloatOperator | None:
    """The canonical operator that a node is, if it is one by name and domain."""
    cls = None if node is None else _REGISTRY.get(node.op_type)
    return None if cls is None or node is None or cls.domain != node.domain else cls(node)


def operator(node: ir.Node) -> FloatOperator:
    """The canonical operator that a node is; UnsupportedError for others."""
    op = find(node)
    if op is None:
        raise UnsupportedError(f"{origin(node)}: no integer form of {node.op_type}")
    return op


def producer(value: ir.Value | None) -> FloatOperator | None:
    """The canonical operator that makes a value."""
    return None if value is None else find(value.producer())


def layers(nodes: Iterable[ir.Node]) -> list[ir.Node]:
    """The linear layers among canonical nodes."""
    return [node for node in nodes if operator(node).training is Training.LAYER]
