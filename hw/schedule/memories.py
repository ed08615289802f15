"""Objects in memory: how pragmas divide them into banks, which of these an access reaches, and through which ports."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from edgeflow.hw.errors import ToolchainError
from edgeflow.hw.schedule.bits import Bits, literal
from edgeflow.hw.schedule.ir import Instruction, Module
from edgeflow.hw.schedule.layout import Layout, array, split
from edgeflow.hw.schedule.pragmas import Pragma

# Reads, writes and accesses of either kind that a memory takes in a cycle (AMD UG1399, pragma HLS bind_storage).
PORTS = {
    "ram_1p": (1, 1, 1), "ram_1wnr": (1 << 20, 1, 1 << 20), "ram_2p": (2, 1, 2), "ram_s2p": (1, 1, 2), "ram_t2p": (2, 2, 2),
    "rom_1p": (1, 0, 1), "rom_2p": (2, 0, 2), "rom_np": (1 << 20, 0, 1 << 20), "": (2, 2, 2),
}  # fmt: skip
STREAM_MARKS = ("edgeflow_pop", "edgeflow_pop_nb", "edgeflow_push", "edgeflow_status")
THRESHOLD = 4  # the tool divides arrays of fewer elements by itself (UG1399, config_array_partition -complete_threshold)
SMALL = 64  # an array of fewer elements, without pragmas and born in the loop, is registers
CONSTANT = re.compile(r"getelementptr (?:\w+ )*\((.*)\)$")


@dataclass
class Memory:
    """An object: a scalar, an array, a stream's element or what an AXI port leads to.

    ``extents``: elements of each dimension; ``bytes``: of an element; ``parts``: for each dimension None, or how it is divided
    (``"complete"``, ``"cyclic"``, ``"block"``) and into how many; ``claims``: distances in iterations that pragmas state for
    pairs of accesses, 0 where they say that no iteration depends on another, by the pragma.
    """

    name: str
    title: str
    extents: tuple[int, ...] = ()
    bytes: int = 1
    parts: list[tuple[str, int] | None] = field(default_factory=list)
    storage: str = ""
    implementation: str = ""
    claims: list[tuple[Pragma, int]] = field(default_factory=list)
    kind: str = "array"  # or "stream", "axi", "constant"
    marks: tuple[Pragma, ...] = ()
    born_inside: bool = False

    @property
    def registers(self) -> bool:
        """Whether every element is a register of its own."""
        if self.kind in ("axi", "constant"):
            return False
        divided = all(part is not None and part[0] == "complete" for part in self.parts)
        if divided or not self.extents:
            return True
        elements = 1
        for extent in self.extents:
            elements *= extent
        plain = not any(self.parts) and not self.storage
        return plain and (elements < THRESHOLD or (self.born_inside and elements <= SMALL))

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes from one element to the next in each dimension."""
        strides, size = [], self.bytes
        for extent in reversed(self.extents):
            strides.append(size)
            size *= extent
        return tuple(reversed(strides))

    @property
    def depth(self) -> int:
        """Words of one bank."""
        words = 1
        for extent, part in zip(self.extents, self.parts, strict=True):
            words *= extent if part is None else 1 if part[0] == "complete" else -(-extent // part[1])
        return words


@dataclass(frozen=True)
class Address:
    """A place in an object: a constant and a list of terms for each dimension, and bytes into an element."""

    memory: str
    constants: tuple[int, ...]
    terms: tuple[tuple[tuple[int, str], ...], ...]
    rest: int = 0

    def key(self) -> tuple[object, ...]:
        """Two accesses with equal keys go to the same place in every iteration."""
        return (self.memory, self.constants, self.terms, self.rest)


class Memories:
    """The objects of a module, as its pragmas divide them."""

    def __init__(self, module: Module, layout: Layout, marks: Mapping[str, Sequence[tuple[Pragma, int]]]) -> None:
        self.layout = layout
        self.module = module
        self.definitions = {
            one.name: one for block in module.blocks.values() for one in block.instructions if one.name
        }  # fmt: skip
        self._streams = {
            one.operands[0]
            for block in module.blocks.values() for one in block.instructions
            if one.op == "call" and one.detail in STREAM_MARKS
        }  # fmt: skip
        self._addresses: dict[str, tuple[str, int, tuple[tuple[int, str], ...]]] = {}
        self._memories: dict[str, Memory] = {}
        self._marks: dict[str, list[tuple[Pragma, int]]] = {}
        for name, pragmas in marks.items():
            self._marks.setdefault(name, []).extend(pragmas)

    def memory(self, name: str) -> Memory:
        """The object of that name: a global, an alloca or an argument."""
        if name not in self._memories:
            self._memories[name] = self._make(name)
        return self._memories[name]

    def _make(self, name: str) -> Memory:
        if name in self._streams & set(self.module.arguments):
            return Memory(name, name[1:], kind="stream")
        if name in self.module.arguments:
            return Memory(name, name[1:], (1 << 32,), 1, [None], kind="axi")
        kind = self.module.globals[name] if name in self.module.globals else self.definitions[name].detail
        own = "constant" if name in self.module.constants else "stream" if "hls::stream" in kind else "array"
        extents, size = [], kind
        while True:
            if size.startswith("["):
                count, size = array(size)
                extents.append(count)
            elif self.layout.is_struct(size) and len(members := list(self.layout.members(size))) == 1:
                size = members[0][1]
            else:
                break
        if own == "stream":
            extents, size = [], kind
        marks = self._marks.get(name, []) or self._marks.get(re.sub(r"\.sroa\..*$", "", name), [])
        title = marks[0][0].variable if marks else re.sub(r"(\.i\d*)+(\.sroa.*)?$|\.sroa.*$", "", name.lstrip("@%"))
        memory = Memory(name, title, tuple(extents), max(self.layout.size(size), 1), [None] * len(extents), kind=own)
        memory.marks = tuple(pragma for pragma, _ in marks)
        for pragma, value in marks:
            self._apply(memory, pragma, value, bool(".sroa." in name))
        return memory

    def _apply(self, memory: Memory, pragma: Pragma, value: int, slice_: bool) -> None:
        if pragma.kind in ("ARRAY_PARTITION", "ARRAY_RESHAPE"):
            kind = pragma.options.get("type", "").lower() or next(
                (w for w in ("cyclic", "block", "complete") if w in pragma.words), "complete"
            )
            dimension = int(pragma.options.get("dim", "1")) if not slice_ else 0
            for place in range(len(memory.extents)) if dimension == 0 else [dimension - 1]:
                if place < len(memory.parts):
                    extent = memory.extents[place]
                    whole = kind == "complete" or value >= extent
                    memory.parts[place] = ("complete", extent) if whole else (kind, value)
        elif pragma.kind == "BIND_STORAGE":
            memory.storage = pragma.options.get("type", "").lower()
            memory.implementation = pragma.options.get("impl", "").lower()
        elif pragma.kind == "DEPENDENCE":
            memory.claims.append((pragma, value))

    def choice(self, pointer: str) -> Instruction | None:
        """The select or phi that a pointer comes from, which is one of several places; None for a place.

        Where a getelementptr goes on from such a pointer, it does so from each of the places.
        """
        definition = self.definitions.get(pointer)
        if definition is None or definition.op in ("select", "phi"):
            return definition if definition is not None and definition.type == "ptr" else None
        if definition.op != "getelementptr" or pointer in self._addresses:
            return None
        inner = self.choice(definition.operands[0])
        if inner is None:
            return None
        operands = list(inner.operands)
        for number in range(1 if inner.op == "select" else 0, len(operands)):
            name = f"{pointer} of {operands[number]}"
            self.definitions[name] = replace(definition, name=name, operands=[operands[number], *definition.operands[1:]])
            operands[number] = name
        return replace(inner, operands=operands)

    def address(self, pointer: str, own: Mapping[str, str] | None = None) -> Address:
        """The place that a pointer leads to.

        Raises:
            ToolchainError: it is not an object and indices.
        """
        name, constant, terms = self._resolve(pointer)
        memory = self.memory(name)
        strides = memory.strides
        indices: list[list[tuple[int, str]]] = [[] for _ in strides]
        for stride, operand in terms:
            for place, size in enumerate(strides):
                if stride % size == 0:
                    indices[place].append((stride // size, operand))
                    break
        constants = []
        if memory.kind != "axi":
            for size in strides:
                constants.append(constant // size)
                constant -= constant // size * size
        else:
            constants, constant = [constant], 0
        return Address(name, tuple(constants), tuple(tuple(one) for one in indices), constant)

    def _resolve(self, pointer: str) -> tuple[str, int, tuple[tuple[int, str], ...]]:
        if pointer in self._addresses:
            return self._addresses[pointer]
        match = CONSTANT.match(pointer)
        if match is not None:
            parts = split(match.group(1))
            base = self._resolve(parts[1].removeprefix("ptr "))
            indices = [int(part.split()[1]) for part in parts[2:]]
            place = (base[0], base[1] + self.layout.offset(parts[0], indices), base[2])
        elif pointer.startswith("@") or pointer in self.module.arguments:
            place = (pointer, 0, ())
        else:
            definition = self.definitions.get(pointer)
            if definition is None or definition.op not in ("alloca", "getelementptr"):
                what = definition.op if definition else "nothing"
                raise ToolchainError(
                    f"the schedule cannot follow the pointer {pointer}, which is made by {what}: use an index instead"
                )
            place = (pointer, 0, ()) if definition.op == "alloca" else self._step(definition)
        self._addresses[pointer] = place
        return place

    def _step(self, definition: Instruction) -> tuple[str, int, tuple[tuple[int, str], ...]]:
        name, offset, terms = self._resolve(definition.operands[0])
        kind, added = definition.detail, list(terms)
        for level, index in enumerate(definition.operands[1:]):
            number = literal(index, 64)
            signed = None if number is None else number.one - (number.one >> 63 << 64)
            if level == 0:
                stride = self.layout.size(kind)
            elif kind.startswith("["):
                kind = array(kind)[1]
                stride = self.layout.size(kind)
            else:
                start, kind = list(self.layout.members(kind))[signed or 0]
                offset += start
                continue
            if signed is not None:
                offset += signed * stride
            else:
                added.append((stride, index))
        return name, offset, tuple(added)


def banks(memory: Memory, address: Address, bits: Mapping[str, Bits]) -> tuple[tuple[int, ...] | None, ...]:
    """The banks that an access may reach in each divided dimension: numbers, or all where nothing is known.

    A dimension that is not divided yields ``None``. What is known of the lowest bits of an index narrows a power of two of banks.
    """
    reached: list[tuple[int, ...] | None] = []
    for place, part in enumerate(memory.parts):
        if part is None:
            reached.append(None)
            continue
        kind, count = part
        total, known, width = address.constants[place], 64, 0
        for coefficient, operand in address.terms[place]:
            one = bits.get(operand)
            scale = (coefficient & -coefficient).bit_length() - 1
            low = (one.low if one is not None else 0) + scale
            known = min(known, low)
            total += (one.value if one is not None else 0) * coefficient
            width = 1
        if not width:
            reached.append(
                (total % count if kind == "cyclic" else total // -(-memory.extents[place] // count) if kind == "block" else total,)
            )
        elif kind == "block":
            reached.append(tuple(range(count)))
        else:
            step = 1 << known
            reached.append(tuple(one for one in range(count) if count % step or one % step == total % step))
    return tuple(reached)
