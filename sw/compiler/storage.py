"""How the tensors of a network are stored on an accelerator, which of them share memory, and which operations touch them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from edgeflow.hw.architecture import HALVES, NIBBLES, WORDS, Architecture, ceil_div
from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.graph import Format
from edgeflow.hw.program import format_lines, natural_storage, stride_lines
from edgeflow.sw.compiler.network import OUTPUT, Aliases, Network, Operation


@dataclass(frozen=True)
class Activation:
    """A tensor with memory of its own.

    ``produced``: the operation that completes it; -1 for a network input and for a constant that a unit reads from the scratchpad.
    ``begun``: the first operation that writes it, an earlier one where a part of it is written in place.
    ``touches``: operations that read or write it in the scratchpad, in order. ``reads``: those that read it in external memory.
    """

    name: str
    format: Format
    storage: int
    produced: int
    begun: int
    touches: tuple[int, ...]
    reads: tuple[int, ...]
    constant: bool
    output: bool

    @cached_property
    def lines(self) -> int:
        """Lines that it takes, on chip and in external memory."""
        return format_lines(self.format, self.storage)

    @property
    def wide(self) -> bool:
        """Whether it lies in the wide memory while it is on chip."""
        return self.storage in (HALVES, WORDS)

    def grows(self, number: int) -> bool:
        """Whether parts of it have been written when an operation runs, but not all."""
        return self.begun <= number <= self.produced and self.begun < self.produced


class Storage:
    """A network's tensors in memory: ``aliases`` lie inside others, ``activations`` have memory of their own.

    ``join``: whether parts of concatenated rows lie where the whole will lie. UnsupportedError where a unit cannot take or make
    more than 16 bits.
    """

    def __init__(self, network: Network, architecture: Architecture, *, join: bool = True) -> None:
        self.network = network
        self.aliases: Aliases = {**network.views, **network.joins} if join else network.views
        self.activations = self._activations(storages(network, architecture))

    def base(self, name: str) -> tuple[str, int]:
        """The tensor with memory of its own in which a tensor lies, and the line at which it starts there."""
        return self.aliases.get(name, (name, 0))

    def activation(self, name: str) -> Activation:
        """The same tensor as an activation."""
        return self.activations[self.base(name)[0]]

    def of(self, name: str) -> int:
        """How the elements of a tensor are stored."""
        held = self.activations.get(self.base(name)[0])
        return natural_storage(self.network.formats[name].bits) if held is None else held.storage

    def rows(self, name: str, rows: int) -> int:
        """Lines that so many rows of a tensor take."""
        storage = self.of(name)
        return (ceil_div(rows, 2) if storage == NIBBLES else rows) * stride_lines(self.network.formats[name].channels, storage)

    def row(self, name: str, row: int) -> int:
        """Lines from the start of a tensor to a row."""
        storage = self.of(name)
        return (row // 2 if storage == NIBBLES else row) * stride_lines(self.network.formats[name].channels, storage)

    def overwritten(self, operation: Operation) -> dict[int, str]:
        """Operands of an operation (tensors by operand number) over which its output may be written."""
        node = operation.node
        if node.output in self.aliases:
            return {}
        bases = [self.base(name)[0] for name in node.inputs]
        out = self.activations[node.output]
        operands = {}
        for i in operation.operator.overwritable(operation.formats):
            t = self.activations.get(node.inputs[i]) if i in operation.on_chip else None
            if t is not None and bases.count(t.name) == 1 and (t.storage, t.lines) == (out.storage, out.lines):
                operands[i] = t.name
        return operands

    def _activations(self, storage: Mapping[str, int]) -> dict[str, Activation]:
        graph = self.network.legal
        produced = dict.fromkeys(graph.inputs, -1)
        begun: dict[str, int] = {}
        touches: dict[str, list[int]] = {}
        reads: dict[str, list[int]] = {}
        for operation in self.network.executed:
            number, output = operation.number, operation.node.output
            for index, name in operation.operands.items():
                if index == OUTPUT:
                    continue
                base = self.base(name)[0]
                external = operation.reads_external(index)
                produced.setdefault(base, -1)
                (reads if external else touches).setdefault(base, []).append(number)
                self._check(operation, base, storage[base], not external)
            base = self.base(output)[0]
            produced[base] = number
            # From its first part on, a concatenation stays where it is.
            touches.setdefault(base, []).extend(range(begun.setdefault(base, number), number + 1))
            self._check(operation, output, storage[output], not operation.operator.writes_long)
        return {
            name: Activation(
                name=name,
                format=self.network.formats[name],
                storage=storage[name],
                produced=number,
                begun=begun.get(name, number),
                touches=tuple(sorted(set(touches.get(name, ())))),
                reads=tuple(reads.get(name, ())),
                constant=name in graph.constants,
                output=name in graph.outputs,
            )
            for name, number in produced.items()
        }

    def _check(self, operation: Operation, name: str, storage: int, on_chip: bool) -> None:
        if storage == WORDS and on_chip:
            node, bits = operation.node, self.network.formats[name].bits
            raise UnsupportedError(f"node {node.origin} ({node.op}): {name} has {bits} bits; the scratchpad holds up to 16")


def storages(network: Network, architecture: Architecture) -> dict[str, int]:
    """How the elements of each activation are stored, and those of each constant that a unit reads from the scratchpad."""
    storage: dict[str, int] = {}
    for name in [*network.legal.inputs, *network.producers, *network.legal.constants]:
        bits = network.formats[name].bits
        storage[name] = natural_storage(bits)
        uses, producer = network.uses.get(name, ()), network.producers.get(name)
        if bits <= 8 and any(user.operator.reads_wide(index) for user, index in uses):
            storage[name] = HALVES
        elif bits <= 4 and 4 in architecture.precisions and uses and producer is not None and name not in network.legal.outputs:
            read = all(user.operator.reads_pairs(index, user.formats) for user, index in uses)
            if read and producer.operator.writes_pairs and name not in network.views:
                storage[name] = NIBBLES
    return storage
