"""From the instructions of a loop to the dataflow of one iteration: branches become multiplexers, sums trees."""

from __future__ import annotations

from edgeflow.hw.errors import ToolchainError
from edgeflow.hw.schedule.bits import Bits, bits_of, literal, mask
from edgeflow.hw.schedule.ir import Instruction
from edgeflow.hw.schedule.iteration import Access, Dataflow
from edgeflow.hw.schedule.nodes import Carried
from edgeflow.hw.schedule.traffic import Traffic

WIRES = frozenset(("zext", "sext", "trunc", "freeze", "bitcast", "insertvalue", "extractvalue"))


class Builder(Traffic):
    """Builds the dataflow of one loop."""

    def build(self) -> Dataflow:
        """Read every instruction once."""
        for name, phi in self.carried.items():
            bits = self.widths.effective(name, bits_of(phi.type))
            self.values[name] = self.nodes.register(name, bits, phi.place)
        for name in self.loop.order:
            for instruction in self.module.blocks[name].instructions:
                if not (instruction.op == "phi" and name == self.loop.header):
                    self._read(instruction)
        self._close()
        self.flow.nodes = self.nodes
        return self.flow

    def _close(self) -> None:
        body = set(self.loop.order)
        for name, phi in self.carried.items():
            values = [value for value, label in zip(phi.operands, phi.labels, strict=True) if label in body]
            sources = [one for one in (self.value(value) for value in values) if one is not None]
            register = self.values[name]
            assert register is not None
            if sources and sources != [register]:
                if len(sources) > 1:
                    sources = [self.nodes.add("mux", sources, 1, self.nodes.delays.choice(len(sources), 1), phi.place)]
                place = self.nodes.place[sources[0]] or phi.place
                last = self.nodes.add("carry", sources, self.nodes.bits[register], self.nodes.delays.carry(), place, title=name)
                self.nodes.carried.append(Carried(last, register))
        for element, register in self.initial.items():
            history = self.entries.get(element, [])
            if history and history[-1].value is not None and history[-1].value != register:
                self.nodes.carried.append(Carried(history[-1].value, register))
        self._carry_memories()

    def _carry_memories(self) -> None:
        by_bank: dict[tuple[str, tuple[int | None, ...]], tuple[list[Access], list[Access]]] = {}
        for access in self.flow.accesses:
            by_bank.setdefault((access.memory, access.bank), ([], []))[access.writes].append(access)
        for (name, _), (reads, writes) in by_bank.items():
            memory = self.flow.memories[name]
            if not reads or not writes or memory.kind == "axi":
                continue
            distances = [value for pragma, value in memory.claims if self.applies(pragma)]
            if 0 in distances:
                continue
            distance = max(distances, default=1)
            for read in reads:
                for write in writes:
                    self.nodes.carried.append(Carried(write.node, read.node, distance))

    def _read(self, one: Instruction) -> None:
        op = one.op
        if op in ("br", "switch"):
            self._branch(one)
        elif op == "store":
            if one.operands[0] in ("poison", "undef"):
                return
            self._store(one.operands[1], self.value(one.operands[0]), bits_of(one.type), one)
        elif op == "call" and one.detail.startswith(("llvm.fshl", "llvm.fshr")):
            self.values[one.name] = self._rotate(one)
        elif op == "call":
            self._call(one)
        elif op in ("getelementptr", "alloca", "ret", "unreachable") or one.type == "ptr":
            return
        elif op == "load":
            self.values[one.name] = self._load(one.operands[0], bits_of(one.type), one)
        else:
            self.values[one.name] = self._operate(one)

    def _branch(self, one: Instruction) -> None:
        if not one.operands:
            return
        node = self.value(one.operands[0])
        if one.op == "switch" and node is not None:
            bits = self.widths.effective(one.operands[0], bits_of(one.type))
            node = self.nodes.add("compare", (node,), 1, self.nodes.delays.comparison(bits), one.place)
        self.control.branch[one.block] = node

    def _operate(self, one: Instruction) -> int | None:
        op, width, nodes = one.op, bits_of(one.type), self.nodes
        if op in WIRES:
            return self.value(one.operands[0])
        if op == "phi":
            return self._phi(one, width)
        bits = self.widths.effective(one.name, width)
        if op == "icmp":
            return self._compare(one, width)
        operands = [self.value(operand) for operand in one.operands]
        if op == "select":
            if operands[1] is None and operands[2] is None:
                return operands[0]
            return nodes.lut(operands, bits, one.place, "select", bits)
        if all(operand is None for operand in operands):
            return None
        constant = next((literal(operand, width) for operand in one.operands if literal(operand, width) is not None), None)
        if op in ("and", "or", "xor"):
            return self._logic(one, operands, width, bits, constant)
        if op in ("add", "sub"):
            return self._sum(one, operands, width, bits)
        if op == "mul":
            if constant is not None and constant.one & (constant.one - 1) == 0:
                return next(operand for operand in operands if operand is not None)
            pair = [min(self.known(operand, width).needed, 64) for operand in one.operands]
            return nodes.product(operands, (pair[0], pair[1]), one.place)
        if op in ("shl", "lshr", "ashr"):
            if literal(one.operands[1], width) is not None:
                return operands[0]
            places = min(1 << min(self.known(one.operands[1], width).unsigned, 7), width)
            if operands[0] is None:
                return nodes.add("decode", operands, bits, nodes.delays.lut(bits), one.place)
            return nodes.add("shift", operands, bits, nodes.delays.shift(places), one.place)
        if op in ("udiv", "urem", "sdiv", "srem"):
            if constant is not None and constant.one & (constant.one - 1) == 0:
                return operands[0]
            return nodes.quotient(operands, self.known(one.operands[0], width).needed, one.place)
        raise ToolchainError(f"the schedule does not know the operation {op} of LLVM")

    def _rotate(self, one: Instruction) -> int | None:
        """Two values side by side, shifted: what the compiler makes of a division whose remainder is known."""
        operands, width = [self.value(operand) for operand in one.operands], bits_of(one.type)
        if literal(one.operands[2], width) is not None:
            return self.nodes.add("wires", operands, width, 0.0, one.place)
        return self.nodes.add("shift", operands, width, self.nodes.delays.shift(width), one.place)

    def _logic(self, one: Instruction, operands: list[int | None], width: int, bits: int, constant: Bits | None) -> int | None:
        if constant is not None:
            return next(operand for operand in operands if operand is not None)
        if one.op == "or":
            a, b = (self.known(operand, width) for operand in one.operands)
            if (a.zero | b.zero) & mask(width) == mask(width):
                return self.nodes.add("wires", operands, bits, 0.0, one.place)
        return self.nodes.lut(operands, bits, one.place)

    def _compare(self, one: Instruction, width: int) -> int | None:
        operands = [self.value(operand) for operand in one.operands]
        inputs = [operand for operand in operands if operand is not None]
        if not inputs:
            return None
        sign = (one.detail, one.operands[1]) in (("slt", "0"), ("sgt", "-1"), ("sge", "0"))
        if sign or (width == 1 and len(inputs) == 1):
            return inputs[0]
        known = [self.known(operand, width) for operand in one.operands]
        bits = max(
            min(each.needed for each in known) if one.detail in ("eq", "ne") and len(inputs) == 2 else 0,
            *(each.needed for each in known),
        )
        return self.nodes.add("compare", operands, 1, self.nodes.delays.comparison(min(bits, width)), one.place)

    def _sum(self, one: Instruction, operands: list[int | None], width: int, bits: int) -> int | None:
        """Sums whose one use is another sum wait for it, so that the whole is one tree."""
        leaves: list[tuple[int | None, int]] = []
        for operand, node in zip(one.operands, operands, strict=True):
            key = self._through(operand)
            if one.op == "add" and key in self.pending:
                leaves += self.pending[key]
            else:
                leaves.append((node, self.known(operand, width).needed))
        if one.op == "add" and self._feeds_sum(one.name):
            self.pending[one.name] = leaves
        if one.op == "sub" or len(leaves) == 2:
            if all(leaf is None for leaf, _ in leaves):
                return None
            return self.nodes.add("add", [leaf for leaf, _ in leaves], bits, self.nodes.delays.adder(bits), one.place)
        return self.nodes.total(leaves, bits, one.place)

    def _through(self, operand: str) -> str:
        """The value behind extensions that widen a sum for the next one."""
        definition = self.memories.definitions.get(operand)
        while definition is not None and definition.name in self.names and definition.op in ("sext", "zext", "freeze"):
            operand = definition.operands[0]
            definition = self.memories.definitions.get(operand)
        return operand

    def _feeds_sum(self, name: str) -> bool:
        uses = self.uses.get(name, [])
        while len(uses) == 1 and uses[0].op in ("sext", "zext", "freeze"):
            uses = self.uses.get(uses[0].name, [])
        return len(uses) == 1 and uses[0].op == "add"

    def _phi(self, one: Instruction, width: int) -> int | None:
        values = [self.value(operand) for operand in one.operands]
        distinct = {(value if value is not None else operand) for value, operand in zip(values, one.operands, strict=True)}
        distinct -= {"undef", "poison"}
        if len(distinct) <= 1:
            return next((value for value in values if value is not None), None)
        bits = self.widths.effective(one.name, width)
        control = self.nodes.together(self.control.choice(one.block, one.labels), one.place)
        inputs = [value for value in values if value is not None]
        if not inputs:
            return control
        if len(distinct) == 2:
            return self.nodes.lut([control, *inputs], bits, one.place, "select", bits)
        return self.nodes.add("mux", [control, *inputs], bits, self.nodes.delays.choice(len(distinct), bits), one.place)
