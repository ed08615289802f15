"""Loads, stores and streams of an iteration: registers and multiplexers, or reads and writes of a bank."""

from __future__ import annotations

from itertools import product as combinations

from edgeflow.hw.errors import ToolchainError
from edgeflow.hw.schedule.ir import Instruction
from edgeflow.hw.schedule.iteration import Access, Entry, Iteration, Queue
from edgeflow.hw.schedule.memories import Address, Memory, banks

BLOCK_WORDS = 64  # a memory of more words, whose pragma names no implementation, is block memory


class Traffic(Iteration):
    """An iteration with its accesses."""

    def _indices(self, address: Address) -> list[int]:
        operands = [self.value(operand) for terms in address.terms for _, operand in terms]
        return [one for one in operands if one is not None]

    def _reach(self, memory: Memory, address: Address) -> list[tuple[int | None, ...]]:
        known = {
            operand: self.known(operand, 64) if operand not in self.widths.known else self.widths.known[operand]
            for terms in address.terms
            for _, operand in terms
        }
        reached = banks(memory, address, known)
        # Members of a struct are memories of their own: the tool takes structs apart.
        return list(combinations(*[one if one is not None else (None,) for one in reached], (address.rest,)))

    def _load(self, pointer: str, width: int, one: Instruction) -> int | None:
        chosen = self.memories.choice(pointer)
        if chosen is not None:
            return self._load_one_of(chosen, width, one)
        memory, address = self._address(pointer)
        nodes = self.nodes
        indices = self._indices(address)
        if memory.kind == "stream":
            return self.last_pop.get(memory.name)
        if memory.kind == "axi":
            node = nodes.add("read", indices, width, nodes.delays["axi"], one.place, 2, nodes.delays["axi"], memory.title)
            self.flow.accesses.append(Access(memory.name, False, (), address.key(), node, one.block, one.place))
            return node
        if memory.kind == "constant":
            return nodes.read("rom", indices, width, one.place, memory.title) if indices else None
        bits = self.widths.effective(one.name, width) if one.name else width
        if memory.registers:
            elements = [(memory.name, tuple(part or 0 for part in bank)) for bank in self._reach(memory, address)]
            values = [self._current(memory, element, one.block, width) for element in elements]
            if len(elements) == 1:
                return values[0]
            return nodes.add("mux", [*indices, *values], bits, nodes.delays.choice(len(elements), bits), one.place)
        kind = self._implementation(memory)
        accesses = []
        before: list[int] = []
        for bank in self._reach(memory, address):
            for other in self.touched.get(memory.name, []):
                if other.writes and other.bank == bank and self.control.reaches(other.block, one.block):
                    before.append(other.node)
            accesses.append(bank)
        after = [nodes.add("after", set(before), 1, 0.0, one.place, 1)] if before else []
        node = nodes.read(kind, [*indices, *after], bits, one.place, memory.title)
        if len(accesses) > 1:
            node = nodes.add("mux", [node, *indices], bits, nodes.delays.choice(len(accesses), bits), one.place)
        for bank in accesses:
            self._touch(Access(memory.name, False, bank, self._key(memory, address), node, one.block, one.place))
        return node

    def _load_one_of(self, chosen: Instruction, width: int, one: Instruction) -> int | None:
        """A load from one of several places is a choice between loads."""
        places = chosen.operands[1:] if chosen.op == "select" else chosen.operands
        return self._one_of(chosen, [self._load(place, width, one) for place in places], width, one)

    def _one_of(self, chosen: Instruction, values: list[int | None], width: int, one: Instruction) -> int | None:
        """The one of several values that a select or phi chooses."""
        if chosen.op == "select":
            decision = self.value(chosen.operands[0])
        else:
            decision = self.nodes.together(self.control.choice(chosen.block, chosen.labels), one.place)
        return self.nodes.lut([decision, *values], width, one.place, "select", width)

    def _store(self, pointer: str, value: int | None, width: int, one: Instruction) -> None:
        memory, address = self._address(pointer)
        nodes = self.nodes
        indices = self._indices(address)
        if memory.kind == "stream":
            self.pushed.setdefault(memory.name, []).append(value)
            return
        enable = nodes.together(self.control.conditions(one.block), one.place)
        if memory.kind == "axi":
            node = nodes.add("write", [*indices, value, enable], width, nodes.delays["axi"], one.place, title=memory.title)
            self.flow.accesses.append(Access(memory.name, True, (), address.key(), node, one.block, one.place))
            return
        reached = self._reach(memory, address)
        if memory.registers:
            decode: int | None = None
            if len(reached) > 1:
                bits = (len(reached) - 1).bit_length()
                decode = nodes.add("compare", indices, 1, nodes.delays.comparison(bits), one.place)
            for bank in reached:
                element = (memory.name, tuple(part or 0 for part in bank))
                self._set(memory, element, value, enable, decode, width, one)
            return
        kind = self._implementation(memory)
        earlier = [
            other.node for other in self.touched.get(memory.name, [])
            if not other.writes and other.bank in reached and self.control.reaches(other.block, one.block)
        ]  # fmt: skip
        node = nodes.write(kind, [*indices, value, enable], width, one.place, memory.title)
        self.order_after.setdefault(node, []).extend(earlier)
        for bank in reached:
            self._touch(Access(memory.name, True, bank, self._key(memory, address), node, one.block, one.place))

    def _touch(self, access: Access) -> None:
        self.flow.accesses.append(access)
        self.touched.setdefault(access.memory, []).append(access)

    def _key(self, memory: Memory, address: Address) -> tuple[object, ...]:
        """What two accesses of one bank have in common where they go to the same word."""
        key: list[object] = []
        for place, part in enumerate(memory.parts):
            terms = tuple((coefficient, self._same(operand)) for coefficient, operand in address.terms[place])
            if part is None:
                key.append((address.constants[place], terms))
            elif part[0] != "complete":
                key.append((address.constants[place] // part[1], terms))
        return tuple(key)

    def _same(self, operand: str, depth: int = 12) -> object:
        """An expression that is equal for values that are computed alike, though in blocks of which none comes before the
        other."""
        definition = self.memories.definitions.get(operand)
        if definition is None or operand not in self.names or depth == 0:
            return operand
        if definition.op in ("zext", "sext", "freeze"):
            return self._same(definition.operands[0], depth)
        if definition.op in ("trunc", "add", "sub", "mul", "and", "or", "xor", "shl", "lshr", "ashr", "urem", "udiv"):
            return (definition.op, definition.type, *(self._same(one, depth - 1) for one in definition.operands))
        return operand

    def _implementation(self, memory: Memory) -> str:
        if memory.implementation in ("lutram", "bram"):
            return memory.implementation
        return "bram" if memory.depth > BLOCK_WORDS else "lutram"

    def _current(self, memory: Memory, element: tuple[str, tuple[int, ...]], block: str, width: int) -> int | None:
        history = self.entries.get(element)
        if not history:
            return self._initial(memory, element, width)
        last = history[-1]
        return last.stored if self.control.dominates(last.block, block) else last.value

    def _initial(self, memory: Memory, element: tuple[str, tuple[int, ...]], width: int) -> int | None:
        if memory.born_inside:
            return None
        if element not in self.initial:
            bits = min(width, 8 * memory.bytes)
            index = "".join(f"[{part}]" for part in element[1][:-1]) if memory.extents else ""
            cell = self.widths._cells.get(memory.name) if not memory.extents else None
            bits = min(bits, cell.needed) if cell is not None else bits
            self.initial[element] = self.nodes.register(memory.title + index, bits, 0)
        return self.initial[element]

    def _set(
        self, memory: Memory, element: tuple[str, tuple[int, ...]], value: int | None, enable: int | None, decode: int | None,
        width: int, one: Instruction,
    ) -> None:  # fmt: skip
        history = self.entries.setdefault(element, [])
        if enable is None and decode is None:
            history.append(Entry(value, value, one.block))
            return
        old = history[-1].value if history else self._initial(memory, element, width)
        inside = old
        if history and decode is not None and self.control.dominates(history[-1].block, one.block):
            inside = history[-1].stored
        stored = (
            value
            if decode is None
            else self.nodes.lut([decode, value, inside], width, one.place, "select", min(width, 8 * memory.bytes))
        )
        merged = self.nodes.lut([enable, decode, value, old], width, one.place, "select", min(width, 8 * memory.bytes))
        history.append(Entry(merged, stored, one.block))

    def _call(self, one: Instruction) -> None:
        nodes = self.nodes
        if one.detail in ("edgeflow_pop", "edgeflow_pop_nb"):
            name = self.memories.address(one.operands[0]).memory
            memory = self._memory(name)
            enable = nodes.together(self.control.conditions(one.block), one.place)
            before = self.last_pop.get(name)
            chained = [nodes.add("after", (before,), 1, 0.0, one.place, 1)] if before is not None and self.loop.interval > 1 else []
            node = nodes.add("pop", [enable, *chained], 1, nodes.delays["fifo.read"], one.place, title=memory.title)
            self.last_pop[name] = node
            if one.name:
                self.values[one.name] = node  # whether there was an item
            self.flow.queues.append(Queue(name, False, node, one.place))
        elif one.detail == "edgeflow_status":
            self.values[one.name] = nodes.add("status", (), 1, nodes.delays["fifo.read"], one.place, title="status of a stream")
        elif one.detail == "edgeflow_push":
            name = self.memories.address(one.operands[0]).memory
            memory = self._memory(name)
            enable = nodes.together(self.control.conditions(one.block), one.place)
            data = self.pushed.pop(name, [])
            node = nodes.add("push", [enable, *data], 1, nodes.delays["fifo.write"], one.place, title=memory.title)
            self.flow.queues.append(Queue(name, True, node, one.place))
        elif one.detail.startswith("llvm.memcpy"):
            self._copy(one)

    def _copy(self, one: Instruction) -> None:
        target, source, length = one.operands[0], one.operands[1], int(one.operands[2])
        other, place = self._address(target)
        if other.kind == "stream":
            self.pushed.setdefault(other.name, []).append(self._load(source, 8 * length, one))
            return
        sizes = [memory.bytes for memory in (*self._sources(source), other) if memory.kind not in ("axi", "stream")]
        size = min(*sizes, length)
        if length % size:
            raise ToolchainError(f"the schedule cannot follow a copy of {length} bytes to {other.title}")
        for step in range(0, length, size):
            self._store(self._shifted(other, place, step), self._piece(source, step, 8 * size, one), 8 * size, one)

    def _sources(self, pointer: str) -> list[Memory]:
        """The objects that a pointer may lead to."""
        chosen = self.memories.choice(pointer)
        if chosen is None:
            return [self._address(pointer)[0]]
        places = chosen.operands[1:] if chosen.op == "select" else chosen.operands
        return [memory for one in places for memory in self._sources(one)]

    def _piece(self, pointer: str, step: int, width: int, one: Instruction) -> int | None:
        """What stands so many bytes behind a pointer, which may be one of several."""
        chosen = self.memories.choice(pointer)
        if chosen is not None:
            places = chosen.operands[1:] if chosen.op == "select" else chosen.operands
            return self._one_of(chosen, [self._piece(place, step, width, one) for place in places], width, one)
        memory, address = self._address(pointer)
        if memory.kind == "stream":
            return self.last_pop.get(memory.name)
        return self._load(self._shifted(memory, address, step), width, one)

    def _shifted(self, memory: Memory, address: Address, step: int) -> str:
        """A pointer that is so many bytes further on, under a name of its own."""
        strides = memory.strides
        offset = sum(constant * stride for constant, stride in zip(address.constants, strides, strict=True)) + address.rest
        terms = tuple(
            (coefficient * stride, operand)
            for stride, parts in zip(strides, address.terms, strict=True)
            for coefficient, operand in parts
        )
        name = f"%copy {address.key()!r} {step}"
        self.memories._addresses[name] = (memory.name, offset + step, terms)
        return name
