"""What every operator states, and the registry that all of EdgeFlow loops over.

An operator is one frozen dataclass whose fields are the node's attributes. It says what it computes (``reference``, NumPy int64:
the definition), how the simulator computes it quickly (``kernel``, equal word for word), which instructions implement it
(``lower``) in which C++ header, what it costs, which counters of the C++ check that cost, and which seeded cases its tests draw.
Registration refuses a class that leaves one out.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.arrays import Array, IntArray
from edgeflow.hw.commands import Command, vector_commands
from edgeflow.hw.cost import Cycles, Resources
from edgeflow.hw.cpp_widths import ELEMENT, Width
from edgeflow.hw.field_widths import WORD
from edgeflow.hw.graph import Attribute, Format, Graph, Node
from edgeflow.hw.ops.rows import RowSplit

INCLUDE = Path(__file__).resolve().parent.parent / "include"
INSTRUCTION_WORDS = 32  # one descriptor: opcode, fields, and the segment of the weight stream, little-endian int32
STREAM_WORD = INSTRUCTION_WORDS - 2

Kernel = Callable[[Sequence[Array]], Array]
Constants = Mapping[int, IntArray]


@dataclass(frozen=True)
class Port:
    """One input of an operator. ``constant``: always a constant (weights, tables); otherwise an activation or a constant.

    ``external``: the unit reads it from external memory, not from the scratchpad.
    """

    name: str
    constant: bool = False
    optional: bool = False
    external: bool = False


@dataclass(frozen=True)
class Packed:
    """Data for the weight image of which ``nbytes`` is known before ``make`` packs it: an estimate needs the size alone."""

    nbytes: int
    make: Callable[[], Array]


@dataclass(frozen=True)
class Register:
    """An intermediate with the width the C++ gives it and the exact range it can take for the given constants."""

    name: str
    width: Width
    minimum: int
    maximum: int

    @property
    def fits(self) -> bool:
        """Whether no value can overflow the register."""
        return self.minimum >= self.width.minimum and self.maximum <= self.width.maximum


def element_register(name: str, format: Format) -> Register:
    """An element as it is read from memory, or as it is saturated before it is written."""
    return Register(name, ELEMENT, format.minimum, format.maximum)


@dataclass(frozen=True)
class Field:
    """A field of an instruction and the width that the table gives it."""

    name: str
    width: Width


def of_width(width: Width, *names: str) -> tuple[Field, ...]:
    """Fields of one width."""
    return tuple(Field(name, width) for name in names)


@dataclass(frozen=True)
class Slot:
    """Where a field lies in a descriptor: word, lowest bit, width."""

    name: str
    word: int
    bit: int
    bits: int


@dataclass(frozen=True)
class InstructionLayout:
    """Name, opcode and fields of a fixed-size descriptor; the C++ decoder is generated from it.

    A field that is a name alone takes a word; narrow fields that follow one another share words. The last two words of
    every descriptor are the segment of the weight image that the instruction takes from the weight stream: first line, lines.
    ``arguments`` are what the top function hands to the unit after the decoded instruction.
    """

    name: str
    opcode: int
    fields: tuple[str | Field, ...]
    arguments: tuple[str, ...] = ("constants", "memory", "scratch")

    def __post_init__(self) -> None:
        names = [slot.name for slot in self.slots]
        if self.slots[-1].word >= STREAM_WORD or len(set(names)) != len(names):
            raise TypeError(f"instruction {self.name} must have distinct fields in at most {STREAM_WORD - 1} words")

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The fields' places, in order."""
        slots: list[Slot] = []
        word, bit = 1, 0
        for entry in self.fields:
            field = Field(entry, WORD) if isinstance(entry, str) else entry
            bits = field.width.bits
            if bit + bits > WORD.bits:
                word, bit = word + 1, 0
            slots.append(Slot(field.name, word, bit, bits))
            bit += bits
        return tuple(slots)

    @property
    def texts(self) -> tuple[str, ...]:
        """The fields in a file: ``"name"`` of a word, ``"name:bits"`` of less."""
        return tuple(slot.name if slot.bits == WORD.bits else f"{slot.name}:{slot.bits}" for slot in self.slots)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Field names in order."""
        return tuple(slot.name for slot in self.slots)

    @cached_property
    def ranges(self) -> dict[str, range]:
        """The values that each field can take."""
        return {slot.name: range(-(1 << (slot.bits - 1)), 1 << slot.bits) for slot in self.slots}

    def bits(self, name: str) -> int:
        """Width of a field."""
        return next(slot.bits for slot in self.slots if slot.name == name)

    def decode(self, words: Sequence[int]) -> dict[str, int]:
        """Field values (unsigned) of a descriptor's 32 words."""
        return {s.name: (int(words[s.word]) >> s.bit) & ((1 << s.bits) - 1) for s in self.slots}


class FieldError(ValueError):
    """A value that a field of an instruction does not hold."""


@dataclass(frozen=True)
class Instruction:
    """One descriptor: a layout, a value for every field, and its segment ``(first line, lines)`` of the weight stream."""

    layout: InstructionLayout
    values: Mapping[str, int]
    stream: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        ranges = self.layout.ranges
        if self.values.keys() != ranges.keys():
            wrong = set(self.values) ^ set(self.layout.names)
            raise ValueError(f"instruction {self.layout.name}: missing or unknown fields {sorted(wrong)}")
        for name, value in self.values.items():
            if value and value not in ranges[name]:  # 0 fits every field, and most are 0
                raise FieldError(
                    f"{name} = {value} does not fit the {self.layout.bits(name)} bits of its field ({self.layout.name})"
                )

    def encode(self) -> NDArray[np.uint32]:
        """The descriptor's 32 words."""
        words = [0] * INSTRUCTION_WORDS
        words[0] = self.layout.opcode
        for slot in self.layout.slots:
            words[slot.word] |= (self.values[slot.name] & ((1 << slot.bits) - 1)) << slot.bit
        words[STREAM_WORD], words[STREAM_WORD + 1] = self.stream
        return np.array(words, dtype=np.uint32)


class LoweringContext(Protocol):
    """What an operator may ask for while it is lowered."""

    @property
    def architecture(self) -> Architecture:
        """The accelerator that is compiled for."""

    @property
    def first_row(self) -> int:
        """Number of the first output row: 0 but for later blocks of a node that is computed in blocks of rows."""

    def address(self, index: int) -> int:
        """Line address of activation input ``index`` in the scratchpad (in external memory for a port that is ``external``)."""

    def output_address(self) -> int:
        """Line address of the output in the scratchpad."""

    def storage(self, index: int) -> int:
        """How input ``index`` is stored on chip: ``NIBBLES``, ``BYTES`` or ``HALVES``."""

    def output_storage(self) -> int:
        """How the output is stored on chip."""

    def place(self, what: str, data: Array) -> int:
        """Put an array (little-endian bytes, row-major) into the weight image for random access, line-aligned; equal contents are
        shared. Returns the line address. ``what`` names it in the memory map."""

    def place_rows(self, what: str, data: IntArray, format: Format) -> int:
        """Put a constant into the weight image laid out as activation rows (64-element row alignment)."""

    def stream(self, what: str, *data: Array | Packed) -> tuple[int, int]:
        """Put arrays, each padded to whole lines, into the weight image for the weight stream. Returns (first line, lines)."""

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


class Unit(ABC):
    """A unit of the accelerator: the instruction that it runs, the header that implements it, and what it costs.

    ``counters``: names of the loops and of the work inside them that its formulas predict; the header counts each
    (``EDGEFLOW_TRIP``), and the tests of the registry compare the two on every case.
    """

    name: ClassVar[str]
    header: ClassVar[str]
    instruction: ClassVar[InstructionLayout]
    counters: ClassVar[tuple[str, ...]]
    process: ClassVar[str]  # whose work its instruction is foremost (hw/process_network.py)
    on_array: ClassVar[bool] = False  # the array runs its instruction, where there is one
    codes: ClassVar[Mapping[str, int]] = {}  # numbers that the header takes from here, by their C++ names

    @classmethod
    @abstractmethod
    def template_arguments(cls, architecture: Architecture) -> dict[str, int]:
        """Compile-time constants (UPPER_CASE) that the header needs besides the architecture's own."""

    @classmethod
    @abstractmethod
    def commands(cls, values: Mapping[str, int], architecture: Architecture, words: int) -> tuple[Command, ...]:
        """What the accelerator's processes do for one instruction with the given field values and ``words`` of the weight stream,
        commands that write a stream before those that read it."""

    @classmethod
    @abstractmethod
    def resources(cls, architecture: Architecture) -> Resources:
        """Resources of the unit, each a number with its reasoning in the docstring, or Unknown."""


class VectorUnit(Unit):
    """A unit whose instruction is one process's work: loops one after another, beside a process that asks for their lines."""

    process: ClassVar[str] = "vector"
    reads_lines: ClassVar[bool] = True  # of the scratchpad; external memory is all that a unit without reads

    @classmethod
    @abstractmethod
    def cycles(cls, values: Mapping[str, int], architecture: Architecture) -> Cycles:
        """Predicted cycles of one instruction with the given field values: every loop that the C++ counts, with its depth."""

    @classmethod
    def commands(cls, values: Mapping[str, int], architecture: Architecture, words: int) -> tuple[Command, ...]:
        """The loops as commands of its process, and of the one that asks."""
        return vector_commands(cls.cycles(values, architecture), words, cls.reads_lines)


class Operator(Unit):
    """Base class; see the module docstring. Subclasses are frozen dataclasses without default values."""

    ports: ClassVar[tuple[Port, ...]]
    widens: ClassVar[bool] = False  # its unit writes 8-bit formats into the wide memory as well
    writes_pairs: ClassVar[bool] = False  # ... two 4-bit rows to a line
    joins: ClassVar[bool] = False  # its output consists of its inputs, each moved to its place
    writes_long: ClassVar[bool] = False  # ... results of more than 16 bits, for external memory to take

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
        """Every value that the C++ holds in a type of hw/cpp_widths.py, with its worst-case range: the overflow proof."""

    @abstractmethod
    def macs(self, inputs: Sequence[Format]) -> int:
        """Useful multiply-accumulates of one sample on the MAC array (0 for vector work)."""

    @abstractmethod
    def lower(self, inputs: Sequence[Format], constants: Constants, context: LoweringContext) -> list[Instruction]:
        """The instructions for one sample; parameters are placed into the weight image through the context."""

    def view(self, inputs: Sequence[Format]) -> int | None:
        """Line offset at which the output already lies inside input 0, for operators that move nothing; else None."""
        return None

    def row_split(self, inputs: Sequence[Format], constants: Collection[int]) -> RowSplit | None:
        """How the output can be computed in blocks of rows; None if every row needs more than the input rows of the same number.

        ``constants`` are the positions of constant inputs."""
        return None

    def overwritable(self, inputs: Sequence[Format]) -> tuple[int, ...]:
        """Inputs over which the output may be written, if it is stored alike: each element is read before its place is written."""
        return ()

    def reads_wide(self, index: int) -> bool:
        """Whether the unit reads an input from the wide memory, whatever its bits."""
        return False

    def reads_pairs(self, index: int, inputs: Sequence[Format]) -> bool:
        """Whether the unit can read an input as two rows to a line."""
        return False

    def on_chip_constant(self, index: int) -> bool:
        """Whether the unit reads a constant input from the scratchpad, not from the weight image."""
        return False

    def demands(self, inputs: Sequence[Format]) -> dict[str, int]:
        """Smallest ``max_channels``, ``max_tokens`` and ``max_head`` of an accelerator that can run it (those that matter)."""
        return {"max_channels": max([self.infer(inputs).channels, *(f.channels for f in inputs if len(f.shape) > 1)])}

    def stationary(self, inputs: Sequence[Format], max_tokens: int) -> tuple[int, ...]:
        """Lengths of the vectors that the array holds at a time for it, each in slots of PI elements, where attention takes at most
        ``max_tokens`` keys at a time. The array has room for twice as many: those of the next layer arrive meanwhile."""
        return ()

    @classmethod
    @abstractmethod
    def cases(cls, rng: np.random.Generator) -> list[Case]:
        """Seeded cases over parameters and inputs, corners included; exhaustive where 2^16 input words cover the operator."""


OperatorType = TypeVar("OperatorType", bound=type[Operator])
_REGISTRY: dict[str, type[Operator]] = {}
_UNITS: dict[str, type[Unit]] = {}
UnitType = TypeVar("UnitType", bound=type[Unit])


def register(cls: OperatorType) -> OperatorType:
    """Class decorator: check that an operator is complete and add it to the registry."""
    if inspect.isabstract(cls):
        missing = sorted(cls.__abstractmethods__)
        raise TypeError(f"operator {cls.__name__} must define {', '.join(missing)}")
    for attribute in ("name", "header", "ports", "instruction", "counters"):
        if not hasattr(cls, attribute):
            raise TypeError(f"operator {cls.__name__} must define {attribute}")
    if not dataclasses.is_dataclass(cls) or not cls.__dataclass_params__.frozen:
        raise TypeError(f"operator {cls.__name__} must be a frozen dataclass")
    for f in dataclasses.fields(cls):
        if f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING:
            raise TypeError(f"operator {cls.__name__}: field {f.name} must not have a default")
    _check_header(cls, f"operator {cls.__name__}")
    if cls.name in _REGISTRY:
        raise TypeError(f"operator {cls.name} is registered twice")
    for other in _REGISTRY.values():
        same_opcode = other.instruction.opcode == cls.instruction.opcode
        if same_opcode and other.instruction is not cls.instruction:
            raise TypeError(f"operators {cls.name} and {other.name} share opcode {cls.instruction.opcode}")
    _REGISTRY[cls.name] = cls
    return cls


def _check_header(cls: type[Unit], what: str) -> None:
    """Refuse a unit without header, or whose predicted trip counts the header does not count: no test could compare them."""
    if not (INCLUDE / "edgeflow" / cls.header).is_file():
        raise TypeError(f"{what}: header {cls.header} does not exist")
    stated = {name for base in cls.__mro__ if base is not Unit for name in vars(base)}
    if not stated & {"cycles", "commands"}:
        raise TypeError(f"{what} must define cycles or commands")
    if not cls.counters:
        raise TypeError(f"{what} must name the counters of its loops (EDGEFLOW_TRIP in {cls.header})")
    counted = {name for header in included_headers(cls.header) for name in _header_counters(header)}
    missing = sorted(set(cls.counters) - counted)
    if missing:
        raise TypeError(f"{what}: {cls.header} does not count {', '.join(missing)} (EDGEFLOW_TRIP)")


@cache
def included_headers(header: str) -> frozenset[str]:
    """A header of the library and those that it includes, directly or not."""
    text = (INCLUDE / "edgeflow" / header).read_text()
    direct = re.findall(r'#include "edgeflow/([\w/]+\.hpp)"', text)
    return frozenset({header}).union(*(included_headers(name) for name in direct))


@cache
def _header_counters(header: str) -> frozenset[str]:
    return frozenset(re.findall(r'EDGEFLOW_TRIP\("([^"]+)"\)', (INCLUDE / "edgeflow" / header).read_text()))


def register_unit(cls: UnitType) -> UnitType:
    """Class decorator: add a unit that computes no operator (data movement that the compiler inserts)."""
    if inspect.isabstract(cls):
        raise TypeError(f"unit {cls.__name__} must define {', '.join(sorted(cls.__abstractmethods__))}")
    if not hasattr(cls, "counters"):
        raise TypeError(f"unit {cls.__name__} must define counters")
    _check_header(cls, f"unit {cls.__name__}")
    if any(layout.opcode == cls.instruction.opcode for layout in instruction_layouts()):
        raise TypeError(f"unit {cls.name}: opcode {cls.instruction.opcode} is taken")
    _UNITS[cls.name] = cls
    return cls


def registry() -> Mapping[str, type[Operator]]:
    """Every operator by name."""
    return dict(_REGISTRY)


def instruction_layouts() -> tuple[InstructionLayout, ...]:
    """Every distinct instruction, by opcode."""
    layouts = {cls.instruction.opcode: cls.instruction for cls in (*_REGISTRY.values(), *_UNITS.values())}
    return tuple(layouts[opcode] for opcode in sorted(layouts))


def units() -> tuple[type[Unit], ...]:
    """The unit of every instruction, by opcode."""
    return tuple(unit(layout) for layout in instruction_layouts())


@cache
def unit(layout: InstructionLayout) -> type[Unit]:
    """The unit whose header, cycles and resources describe an instruction (the first operator registered with it)."""
    return next(cls for cls in (*_REGISTRY.values(), *_UNITS.values()) if cls.instruction is layout)


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
