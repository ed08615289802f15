"""How many bits of each value are in use: what is known of its bits, and which of them anything looks at.

Forward: bits known to be zero or one, and copies of the sign (as LLVM's ``KnownBits`` and ``ComputeNumSignBits``; Harrison,
Hacker's Delight, chapter 4). Backward: the lowest bits that reach a comparison, an index or a memory. A counter has no bound of
that kind: it takes the bits of what the loop compares it with, or of the array that it indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edgeflow.hw.schedule.bits import Bits, bits_of, constant, holds, join, literal, mask, result, unknown
from edgeflow.hw.schedule.ir import Instruction

ROUNDS = 3  # a value that still grows after so many rounds is a counter


class Widths:
    """The bits of every value of a loop.

    ``definitions``: instructions by name, of the whole function; ``order``: those of the loop, in order; ``carried``: header
    phis; ``cell``: the scalar in memory that a load or store accesses, or "" (it is a counter like a phi).
    """

    def __init__(
        self, definitions: Mapping[str, Instruction], order: Sequence[Instruction], carried: Mapping[str, Sequence[str]],
        cell: Callable[[Instruction], str], index_bits: Callable[[Instruction], Mapping[str, int]], outside: Mapping[str, Bits],
    ) -> None:  # fmt: skip
        self.definitions = definitions
        self.order = order
        self.carried = carried
        self.known: dict[str, Bits] = {}
        self._cell = cell
        self._outside: dict[str, Bits] = {}
        self._cells: dict[str, Bits] = dict(outside)
        self._inside = {one.name for one in order if one.name}
        self._caps: dict[str, int] = {}
        growing = self._forward()
        self.needed: dict[str, int] = {}
        self._backward(index_bits)
        if growing:
            self._caps = self._counters(growing)
            self.known = {}
            self._cells = dict(outside)
            self._forward()
            self._backward(index_bits)

    def of(self, text: str, width: int) -> Bits:
        """What is known of an operand."""
        number = literal(text, width)
        if number is not None:
            return number
        if text in self.known:
            return self.known[text]
        if text in self._inside:
            return Bits(width, mask(width), 0, 1)  # not seen yet: it takes what the first round gives it
        return self._elsewhere(text, width)

    def effective(self, name: str, width: int) -> int:
        """Bits of a value that hardware has to make: those that are not known from others and that something looks at."""
        return max(1, min(self.of(name, width).needed, self.needed.get(name, width)))

    def _elsewhere(self, text: str, width: int, depth: int = 0) -> Bits:
        if text in self._outside:
            return self._outside[text]
        self._outside[text] = unknown(width)  # what a cycle of phis sees
        definition = self.definitions.get(text)
        if definition is None or depth > 60:
            return unknown(width)
        own = bits_of(definition.type)
        if definition.op == "phi":
            values = [literal(one, own) or self._elsewhere(one, own, depth + 1) for one in definition.operands]
            known = values[0]
            for value in values[1:]:
                known = join(known, value)
        elif definition.op == "select":
            pair = [literal(one, own) or self._elsewhere(one, own, depth + 1) for one in definition.operands[1:]]
            known = join(*pair)
        elif definition.op in ("load", "call", "icmp", "extractvalue"):
            known = unknown(own)
        else:
            source = bits_of(definition.types[0]) if definition.types else own
            values = [literal(one, source) or self._elsewhere(one, source, depth + 1) for one in definition.operands]
            known = result(definition.op, own, values) if values else unknown(own)
        self._outside[text] = known
        return known

    def _forward(self) -> set[str]:
        growing: set[str] = set()
        for turn in range(12):
            changed: set[str] = set()
            for instruction in self.order:
                cell = self._cell(instruction) if instruction.op in ("load", "store") else ""
                if instruction.op == "store":
                    if cell:
                        width = bits_of(instruction.type)
                        value = self.of(instruction.operands[0], width)
                        self._grow(cell, value, self._cells, changed, turn, growing)
                    continue
                if not instruction.name:
                    continue
                width = bits_of(instruction.type)
                if instruction.name in self.carried:
                    for operand in instruction.operands:
                        self._grow(instruction.name, self.of(operand, width), self.known, changed, turn, growing)
                elif cell:
                    known = self._cells.setdefault(cell, constant(width, 0))
                    self.known[instruction.name] = known if known.width == width else unknown(width)
                else:
                    self.known[instruction.name] = self._one(instruction, width)
            if not changed:
                break
        return growing

    def _grow(self, name: str, value: Bits, into: dict[str, Bits], changed: set[str], turn: int, growing: set[str]) -> None:
        cap = self._caps.get(name)
        if cap is not None:
            value = holds(value.width, min(value.unsigned, cap), min(value.signed, cap + 1))
        before = into.get(name)
        if before is not None and before.width != value.width:
            value = unknown(before.width)
        after = value if before is None else join(before, value)
        if cap is not None:
            after = join(after, holds(after.width, min(after.unsigned, cap), min(after.signed, cap + 1)))
        if after != before:
            if turn >= ROUNDS:
                after = unknown(after.width) if cap is None else holds(after.width, cap, cap + 1)
                growing.add(name)
            if after != before:
                into[name] = after
                changed.add(name)

    def _one(self, instruction: Instruction, width: int) -> Bits:
        if instruction.op == "phi":
            values = [self.of(one, width) for one in instruction.operands]
        elif instruction.op == "select":
            values = [self.of(one, width) for one in instruction.operands[1:]]
        elif instruction.op == "icmp":
            return unknown(1)
        elif instruction.op in ("load", "call", "getelementptr", "alloca", "extractvalue", "insertvalue"):
            return unknown(width)
        else:
            source = bits_of(instruction.types[0]) if instruction.types else width
            return result(instruction.op, width, [self.of(one, source) for one in instruction.operands])
        known = values[0]
        for value in values[1:]:
            known = join(known, value)
        return known

    def _counters(self, growing: set[str]) -> dict[str, int]:
        """Bits of counters: those of what the loop compares them with, else those that the loop looks at."""
        source: dict[str, str] = {name: name for name in growing}
        bounds: dict[str, int] = {}
        for _ in range(2):
            for instruction in self.order:
                if instruction.op == "load":
                    cell = self._cell(instruction)
                    if cell in growing:
                        source[instruction.name] = cell
                elif instruction.op in ("zext", "sext", "trunc", "freeze"):
                    if instruction.operands[0] in source:
                        source[instruction.name] = source[instruction.operands[0]]
                elif instruction.op in ("add", "sub"):
                    first, second = instruction.operands
                    if first in source and literal(second, 64) is not None:
                        source[instruction.name] = source[first]
                elif instruction.op == "phi" and instruction.name not in self.carried:
                    roots = {source.get(one) for one in instruction.operands if literal(one, 64) is None}
                    if len(roots) == 1 and None not in roots:
                        source[instruction.name] = next(iter(roots)) or ""
        for instruction in self.order:
            if instruction.op == "icmp":
                width = bits_of(instruction.type)
                for one, other in (instruction.operands, instruction.operands[::-1]):
                    if one in source and other not in source:
                        bits = self.of(other, width).needed
                        bounds[source[one]] = max(bounds.get(source[one], 0), bits)
        caps = {}
        for name in growing:
            bound = max(bounds[name], self._begins(name)) if name in bounds else 64
            cap = min(bound, self.needed.get(name, 64))
            if cap < 64:
                caps[name] = max(cap, 1)
        return caps

    def _begins(self, name: str) -> int:
        """Bits of what a header phi holds when the loop begins: a counter may come down from there."""
        phi = self.definitions.get(name)
        if name not in self.carried or phi is None:
            return 0
        first = [operand for operand in phi.operands if operand not in self.carried[name]]
        return max((self.of(operand, bits_of(phi.type)).needed for operand in first), default=0)

    def _backward(self, index_bits: Callable[[Instruction], Mapping[str, int]]) -> None:
        self.needed = {}
        for _ in range(6):
            changed = False
            for instruction in reversed(self.order):
                for operand, bits in self._demands(instruction, index_bits):
                    if bits > self.needed.get(operand, 0) and literal(operand, 64) is None:
                        self.needed[operand] = bits
                        changed = True
            if not changed:
                break

    def _demands(self, instruction: Instruction, index_bits: Callable[[Instruction], Mapping[str, int]]) -> list[tuple[str, int]]:
        op, width = instruction.op, bits_of(instruction.type)
        wanted = self.needed.get(instruction.name, 0)
        if op in ("getelementptr", "alloca"):
            return []  # the accesses that use an address say how much of it they look at
        if op in ("load", "store", "call"):
            demands = list(index_bits(instruction).items())
            if op == "store":
                cell = self._cell(instruction)
                demands.append((instruction.operands[0], self.needed.get(cell, 0) if cell else width))
            elif op == "load" and (cell := self._cell(instruction)):
                demands.append((cell, wanted))
            return demands
        if op in ("trunc", "add", "sub", "mul", "or", "xor", "phi", "freeze"):
            return [(one, wanted) for one in instruction.operands]
        if op == "and":
            first, second = instruction.operands
            number = literal(second, width)
            return [(first, min(wanted, number.one.bit_length()) if number else wanted), (second, wanted)]
        if op in ("zext", "sext"):
            return [(instruction.operands[0], min(wanted, bits_of(instruction.types[0])))]
        if op == "select":
            return [(instruction.operands[0], 1), *((one, wanted) for one in instruction.operands[1:])]
        if op == "shl" and (number := literal(instruction.operands[1], width)):
            return [(instruction.operands[0], max(0, wanted - number.one))]
        if op in ("lshr", "ashr") and (number := literal(instruction.operands[1], width)):
            return [(instruction.operands[0], min(width, wanted + number.one) if wanted else 0)]
        if op == "br" or op == "switch":
            return [(one, 64) for one in instruction.operands]
        if op in ("shl", "lshr", "ashr", "udiv", "urem", "sdiv", "srem"):
            return [(one, width if wanted else 0) for one in instruction.operands]
        if op == "icmp":
            return [(one, width) for one in instruction.operands]
        return [(one, 64) for one in instruction.operands]
