"""What every operator states, and the registry that all of EdgeFlow loops over.

An operator is one frozen dataclass whose fields are the node's attributes. It says what it computes (``reference``, NumPy int64:
the definition), how the simulator computes it quickly (``kernel``, equal word for word), which instructions implement it
(``lower``) in which C++ header, what it costs, and which seeded cases its tests draw. Registration refuses a class that leaves
one out.
"""

from __future__ import annotations

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.cost import Cycles, Resources
from edgeflow.hw.graph import Attribute, Format, Graph, IntArray, Node

INCLUDE = Path(__file__).resolve().parent.parent / "include"
INSTRUCTION_WORDS = 32  # one descriptor: opcode and up to 31 fields, little-endian int32

Array = NDArray[Any]
Kernel = Callable[[Sequence[Array]], Array]
Constants = Mapping[int, IntArray]


@dataclass(frozen=True)
class Port:
    """One input of an operator. ``constant``: always a constant (weights, tables); otherwise an activation or a constant."""

    name: str
    constant: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Register:
    """An intermediate with the width the C++ gives it and the exact range it can take for the given constants."""

    name: str
    bits: int
    minimum: int
    maximum: int

    @property
    def fits(self) -> bool:
        """Whether no value can overflow the (signed) register."""
        return self.minimum >= -(1 << (self.bits - 1)) and self.maximum < 1 << (self.bits - 1)


@dataclass(frozen=True)
class InstructionLayout:
    """Name, opcode and field names of a fixed-size descriptor; the C++ decoder is generated from it."""

    name: str
    opcode: int
    fields: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.fields) >= INSTRUCTION_WORDS or len(set(self.fields)) != len(self.fields):
            raise TypeError(f"instruction {self.name} must have at most {INSTRUCTION_WORDS - 1} distinct fields")


@dataclass(frozen=True)
class Instruction:
    """One descriptor: a layout and a value for every field (signed or unsigned 32 bit)."""

    layout: InstructionLayout
    values: Mapping[str, int]

    def __post_init__(self) -> None:
        if set(self.values) != set(self.layout.fields):
            wrong = set(self.values) ^ set(self.layout.fields)
            raise ValueError(f"instruction {self.layout.name}: missing or unknown fields {sorted(wrong)}")
        for name, value in self.values.items():
            if not -(1 << 31) <= value < 1 << 32:
                raise ValueError(f"instruction {self.layout.name}: {name} = {value} does not fit 32 bits")

    def encode(self) -> NDArray[np.uint32]:
        """The descriptor's 32 words."""
        words = np.zeros(INSTRUCTION_WORDS, dtype=np.uint32)
        words[0] = self.layout.opcode
        for i, name in enumerate(self.layout.fields):
            words[1 + i] = self.values[name] & 0xFFFFFFFF
        return words


class LoweringContext(Protocol):
    """What an operator may ask for while it is lowered."""

    @property
    def architecture(self) -> Architecture:
        """The accelerator that is compiled for."""

    def address(self, index: int) -> int:
        """Line address of activation input ``index`` in the activation memory."""

    def output_address(self) -> int:
        """Line address of the output in the activation memory."""

    def place(self, what: str, data: Array) -> int:
        """Put an array (little-endian bytes, row-major) into the weight image, line-aligned; equal contents are shared. Returns the
        line address. ``what`` names it in the memory map."""

    def place_rows(self, what: str, data: IntArray, format: Format) -> int:
        """Put a constant into the weight image laid out as activation rows (64-element row alignment)."""

    def require(self, condition: bool, message: str) -> None:
        """Refuse the node with a message (UnsupportedError naming its origin) unless ``condition`` holds."""


@dataclass(frozen=True)
class Case:
    """A seeded test case: the operator, its input formats, and inputs.

    ``inputs[i]`` is a constant of the port's shape, or activations with a leading sample axis, as ``constants`` says.
    """

    name: str
    operator: Operator
    formats: tuple[Format, ...]
    inputs: tuple[IntArray, ...]
    constants: frozenset[int]


def draw(rng: np.random.Generator, format: Format, samples: int | None = None) -> IntArray:
    """Integers of a format, all equally likely: a constant ``(*shape,)``, or ``(samples, *shape)`` of an activation."""
    lead = () if samples is None else (samples,)
    return rng.integers(format.minimum, format.maximum + 1, size=(*lead, *format.shape))


class Operator(ABC):
    """Base class; see the module docstring. Subclasses are frozen dataclasses without default values."""

    name: ClassVar[str]
    header: ClassVar[str]
    ports: ClassVar[tuple[Port, ...]]
    instruction: ClassVar[InstructionLayout]

    @abstractmethod
    def infer(self, inputs: Sequence[Format]) -> Format:
        """Output format; ValueError with a one-line message where the inputs do not fit."""

    @abstractmethod
    def reference(self, inputs: Sequence[IntArray]) -> IntArray:
        """The definition. Activations (int64) carry a leading sample axis, constants do not; so does the output."""

    @abstractmethod
    def kernel(self, inputs: Sequence[Format], constants: Constants) -> Kernel:
        """A fast equal of :meth:`reference` for the executor, with the constants prepared once.

        The callable receives the activation inputs (in port order, constants left out) as float32 arrays of integers, or as integer
        arrays where the format exceeds 24 bits, with a leading sample axis; it returns a float32 array of integers.
        """

    @abstractmethod
    def registers(self, inputs: Sequence[Format], constants: Constants) -> tuple[Register, ...]:
        """Every accumulator and product with its width in the C++ and its exact worst-case range: the overflow proof."""

    @abstractmethod
    def macs(self, inputs: Sequence[Format]) -> int:
        """Useful multiply-accumulates of one sample on the MAC array (0 for vector work)."""

    @abstractmethod
    def lower(self, inputs: Sequence[Format], constants: Constants, context: LoweringContext) -> list[Instruction]:
        """The instructions for one sample; parameters are placed into the weight image through the context."""

    def view(self, inputs: Sequence[Format]) -> int | None:
        """Line offset at which the output already lies inside input 0, for operators that move nothing; else None."""
        return None

    def demands(self, inputs: Sequence[Format]) -> dict[str, int]:
        """Smallest ``max_channels``, ``max_tokens`` and ``max_head`` of an accelerator that can run it (those that matter)."""
        return {"max_channels": max([self.infer(inputs).channels, *(f.channels for f in inputs if len(f.shape) > 1)])}

    @classmethod
    @abstractmethod
    def template_arguments(cls, architecture: Architecture) -> dict[str, int]:
        """Compile-time constants (UPPER_CASE) that the header needs besides the architecture's own."""

    @classmethod
    @abstractmethod
    def cycles(cls, values: Mapping[str, int], architecture: Architecture) -> Cycles:
        """Predicted cycles of one instruction with the given field values: trip counts x II + depth of each loop nest."""

    @classmethod
    @abstractmethod
    def resources(cls, architecture: Architecture) -> Resources:
        """Resources of the unit, each a number with its reasoning in the docstring, or Unknown."""

    @classmethod
    @abstractmethod
    def cases(cls, rng: np.random.Generator) -> list[Case]:
        """Seeded cases over parameters and inputs, corners included; exhaustive where 2^16 input words cover the operator."""


OperatorType = TypeVar("OperatorType", bound=type[Operator])
_REGISTRY: dict[str, type[Operator]] = {}


def register(cls: OperatorType) -> OperatorType:
    """Class decorator: check that an operator is complete and add it to the registry."""
    if inspect.isabstract(cls):
        missing = sorted(cls.__abstractmethods__)
        raise TypeError(f"operator {cls.__name__} must define {', '.join(missing)}")
    for attribute in ("name", "header", "ports", "instruction"):
        if not hasattr(cls, attribute):
            raise TypeError(f"operator {cls.__name__} must define {attribute}")
    if not dataclasses.is_dataclass(cls) or not cls.__dataclass_params__.frozen:
        raise TypeError(f"operator {cls.__name__} must be a frozen dataclass")
    for f in dataclasses.fields(cls):
        if f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING:
            raise TypeError(f"operator {cls.__name__}: field {f.name} must not have a default")
    if not (INCLUDE / "edgeflow" / cls.header).is_file():
        raise TypeError(f"operator {cls.__name__}: header {cls.header} does not exist")
    if cls.name in _REGISTRY:
        raise TypeError(f"operator {cls.name} is registered twice")
    for other in _REGISTRY.values():
        same_opcode = other.instruction.opcode == cls.instruction.opcode
        if same_opcode and other.instruction is not cls.instruction:
            raise TypeError(f"operators {cls.name} and {other.name} share opcode {cls.instruction.opcode}")
    _REGISTRY[cls.name] = cls
    return cls


def registry() -> Mapping[str, type[Operator]]:
    """Every operator by name."""
    return dict(_REGISTRY)


def instruction_layouts() -> tuple[InstructionLayout, ...]:
    """Every distinct instruction, by opcode."""
    layouts = {cls.instruction.opcode: cls.instruction for cls in _REGISTRY.values()}
    return tuple(layouts[opcode] for opcode in sorted(layouts))


def unit(layout: InstructionLayout) -> type[Operator]:
    """The operator whose header, cycles and resources describe an instruction (the first registered with it)."""
    return next(cls for cls in _REGISTRY.values() if cls.instruction is layout)


def operator(node: Node) -> Operator:
    """The operator instance of a node; ValueError if its name or attributes are unknown."""
    cls = _REGISTRY.get(node.op)
    if cls is None:
        raise ValueError(f"{node.origin}: unknown operator {node.op!r}")
    names = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if set(node.attributes) != names:
        raise ValueError(f"{node.origin}: {node.op} attributes must be {sorted(names)}, not {sorted(node.attributes)}")
    return cls(**node.attributes)


def make_node(op: Operator, inputs: Sequence[str], output: str, origin: str) -> Node:
    """A node from an operator instance."""
    fields = dataclasses.fields(op)  # type: ignore[arg-type]
    attributes: dict[str, Attribute] = {f.name: getattr(op, f.name) for f in fields}
    return Node(op.name, tuple(inputs), output, attributes, origin)


def node_macs(graph: Graph, node: Node) -> int:
    """Useful multiply-accumulates of a node for one sample."""
    return operator(node).macs(graph.formats(node))
