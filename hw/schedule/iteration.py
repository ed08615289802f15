"""One iteration of a loop under construction: its operators so far, its objects, and what is known of its values."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeflow.hw.errors import ToolchainError
from edgeflow.hw.schedule.bits import Bits, bits_of, literal
from edgeflow.hw.schedule.control import Control
from edgeflow.hw.schedule.delays import Delays
from edgeflow.hw.schedule.ir import Instruction, Module
from edgeflow.hw.schedule.loops import Loop
from edgeflow.hw.schedule.memories import Address, Memories, Memory
from edgeflow.hw.schedule.nodes import Nodes
from edgeflow.hw.schedule.pragmas import Pragma
from edgeflow.hw.schedule.widths import Widths


@dataclass(frozen=True)
class Access:
    """One place in the code that reads or writes a bank."""

    memory: str
    writes: bool
    bank: tuple[int | None, ...]
    key: tuple[object, ...]
    node: int
    block: str
    place: int


@dataclass(frozen=True)
class Queue:
    """One read or write of a stream."""

    stream: str
    writes: bool
    node: int
    place: int


@dataclass
class Entry:
    """What an element of a register array holds from some store on."""

    value: int | None  # of the iteration whether the store's block ran or not
    stored: int | None  # where it ran
    block: str


@dataclass
class Dataflow:
    """One iteration of a loop."""

    loop: Loop
    nodes: Nodes
    memories: dict[str, Memory]
    accesses: list[Access] = field(default_factory=list)
    queues: list[Queue] = field(default_factory=list)


class Iteration:
    """What reading the instructions of one loop shares."""

    def __init__(
        self, module: Module, memories: Memories, loop: Loop, delays: Delays, clock_mhz: float, product: tuple[int, int],
        scope: tuple[str, int, int] | None = None,
    ) -> None:  # fmt: skip
        self.scope = scope
        self.module, self.memories, self.loop = module, memories, loop
        self.nodes = Nodes(delays, clock_mhz, product)
        self.control = Control(module, loop)
        self.flow = Dataflow(loop, self.nodes, {})
        body = set(loop.order)
        self.order = [one for name in loop.order for one in module.blocks[name].instructions]
        self.names = {one.name for one in self.order if one.name}
        header = module.blocks[loop.header]
        self.carried = {one.name: one for one in header.instructions if one.op == "phi"}
        self.born = {
            one.operands[0] for one in self.order if one.op == "call" and one.detail.startswith("llvm.lifetime.start")
        }  # fmt: skip
        self.uses: dict[str, list[Instruction]] = {}
        for one in self.order:
            for operand in one.operands:
                self.uses.setdefault(operand, []).append(one)
        inside = {
            name: [value for value, label in zip(one.operands, one.labels, strict=True) if label in body]
            for name, one in self.carried.items()
        }  # fmt: skip
        self.widths = Widths(memories.definitions, self.order, inside, self._cell, self._index_bits, self._scalars())
        self.values: dict[str, int | None] = {}
        self.entries: dict[tuple[str, tuple[int, ...]], list[Entry]] = {}
        self.initial: dict[tuple[str, tuple[int, ...]], int] = {}
        self.pending: dict[str, list[tuple[int | None, int]]] = {}
        self.pushed: dict[str, list[int | None]] = {}
        self.order_after: dict[int, list[int]] = {}
        self.last_pop: dict[str, int] = {}
        self.touched: dict[str, list[Access]] = {}

    # ---- objects ---------------------------------------------------------------------------------------------------------------

    def _memory(self, name: str) -> Memory:
        memory = self.memories.memory(name)
        memory.born_inside = name in self.born
        self.flow.memories[name] = memory
        return memory

    def _address(self, pointer: str) -> tuple[Memory, Address]:
        address = self.memories.address(pointer)
        return self._memory(address.memory), address

    def _cell(self, instruction: Instruction) -> str:
        if instruction.op not in ("load", "store"):
            return ""
        pointer = instruction.operands[-1]
        if self.memories.choice(pointer) is not None:
            return ""
        memory, address = self._address(pointer)
        return address.memory if not memory.extents and memory.kind == "array" and address.rest == 0 else ""

    def _scalars(self) -> dict[str, Bits]:
        """What scalars in memory hold when the loop begins, as far as stores outside of it say."""
        cells: dict[str, Bits] = {}
        body = set(self.loop.order)
        wanted = {self._cell(one) for one in self.order if one.op in ("load", "store")} - {""}
        for block in self.module.blocks.values():
            if block.name in body:
                continue
            for one in block.instructions:
                if one.op == "store" and one.operands[1] in wanted:
                    width = bits_of(one.type)
                    value = literal(one.operands[0], width) or Bits(width, 0, 0, width)
                    before = cells.get(one.operands[1])
                    cells[one.operands[1]] = value if before is None or before.width != width else Bits(
                        width, before.zero & value.zero, before.one & value.one, max(before.signed, value.signed)
                    )  # fmt: skip
        return cells

    def _index_bits(self, instruction: Instruction) -> dict[str, int]:
        demands: dict[str, int] = {}
        for pointer in instruction.operands if instruction.op == "call" else instruction.operands[-1:]:
            if not pointer.startswith(("%", "@", "getelementptr")) or instruction.detail.startswith("llvm.lifetime"):
                continue
            if (
                instruction.op == "call"
                and pointer in self.names
                and self.memories.definitions[pointer].op not in ("getelementptr", "alloca")
            ):
                continue
            if self.memories.choice(pointer) is not None:
                continue
            memory, address = self._address(pointer)
            for place, terms in enumerate(address.terms):
                extent = memory.extents[place]
                for coefficient, operand in terms:
                    bits = 32 if memory.kind == "axi" else max(1, (max(extent // abs(coefficient), 1)).bit_length())
                    demands[operand] = max(demands.get(operand, 0), bits)
        return demands

    # ---- values ----------------------------------------------------------------------------------------------------------------

    def value(self, text: str) -> int | None:
        """The node of an operand; None for a constant."""
        if literal(text, 64) is not None or text.startswith(("@", "getelementptr")):
            return None
        if text not in self.values:
            if text in self.names:
                raise ToolchainError(f"the schedule meets {text} before what makes it")
            self.values[text] = self.nodes.add("input", (), 64, 0.0, 0, title=text)
        return self.values[text]

    def known(self, text: str, width: int) -> Bits:
        """What is known of the bits of an operand."""
        return self.widths.of(text, width)

    def applies(self, pragma: Pragma) -> bool:
        """Whether a pragma about an object speaks of this loop: it stands in it, or in its function outside of loops."""
        own = self.scope
        return own is None or ((pragma.file, pragma.scope) == own[:2] and pragma.loop in (0, own[2]))
