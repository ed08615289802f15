"""The network that the compiler works on: an integer graph with everything resolved that does not depend on the accelerator.

It is built once for a graph, however many accelerators it is compiled for. Nodes have their operators, formats and constants,
tensors their uses, and it is known which of them lie inside others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from edgeflow.hw.architecture import round_up
from edgeflow.hw.graph import Format, Graph, Node
from edgeflow.hw.ops import operator
from edgeflow.hw.ops.base import Constants, Operator
from edgeflow.hw.ops.dma import DMA
from edgeflow.hw.ops.rows import RowSplit
from edgeflow.hw.program import format_lines
from edgeflow.sw.compiler.wide_copies import with_wide_copies

OUTPUT = -1  # operand number of an operation's output

Aliases = Mapping[str, tuple[str, int]]  # tensors that lie inside another: name to (that tensor, line offset)


@dataclass(frozen=True, eq=False)
class Operation:
    """A node of the network, or a block of its output rows.

    ``number``: of the node, in order of computation. ``formats``: of its inputs. ``constants``: its constant inputs, by position.
    ``first_row``: number of the first output row.
    """

    number: int
    node: Node
    operator: Operator
    formats: tuple[Format, ...]
    constants: Constants
    first_row: int = 0

    @cached_property
    def operands(self) -> Mapping[int, str]:
        """Names of the operands that have a place of their own in the scratchpad or in external memory: activations, constants that
        the unit reads from the scratchpad, and the output."""
        inputs = {i: n for i, n in enumerate(self.node.inputs) if i not in self.constants or self.operator.on_chip_constant(i)}
        return inputs | {OUTPUT: self.node.output}

    @cached_property
    def on_chip(self) -> Mapping[int, str]:
        """Those of the operands that the unit reads from the scratchpad or writes to it."""
        return {i: name for i, name in self.operands.items() if not self.reads_external(i)}

    @cached_property
    def parameters(self) -> Constants:
        """The constants that lie in the weight image."""
        return {i: value for i, value in self.constants.items() if not self.operator.on_chip_constant(i)}

    @cached_property
    def split(self) -> RowSplit | None:
        """How its output falls into blocks of rows; None if every row needs more than the input rows of the same number."""
        return self.operator.row_split(self.formats, self.constants)

    def reads_external(self, operand: int) -> bool:
        """Whether the unit reads an operand from external memory."""
        return operand != OUTPUT and operand not in self.constants and self.operator.ports[operand].external

    def name(self, operand: int) -> str:
        """The tensor of an operand."""
        return self.node.output if operand == OUTPUT else self.node.inputs[operand]


@dataclass(frozen=True, eq=False)
class Network:
    """An integer graph as it is compiled. Its nodes and tensors are those of the ``legal`` graph."""

    graph: Graph

    @cached_property
    def legal(self) -> Graph:
        """The graph with a 16-bit copy of every residual that cannot lie in the wide memory itself."""
        return with_wide_copies(self.graph)

    @cached_property
    def formats(self) -> Mapping[str, Format]:
        """The format of every tensor."""
        return {name: tensor.format for name, tensor in self.legal.tensors.items()}

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        """The operations of all nodes; an operation's number is its place here."""
        graph, formats = self.legal, self.formats
        return tuple(
            Operation(number, node, operator(node), tuple(formats[name] for name in node.inputs), graph.node_constants(node))
            for number, node in enumerate(graph.nodes)
        )

    @cached_property
    def executed(self) -> tuple[Operation, ...]:
        """The operations that take instructions: all but those whose output is a view."""
        return tuple(operation for operation in self.operations if operation.node.output not in self.views)

    @cached_property
    def uses(self) -> Mapping[str, tuple[tuple[Operation, int], ...]]:
        """The operations that read a tensor, each with the operand's number, by name."""
        readings: dict[str, list[tuple[Operation, int]]] = {}
        for operation in self.operations:
            for index, name in enumerate(operation.node.inputs):
                readings.setdefault(name, []).append((operation, index))
        return {name: tuple(uses) for name, uses in readings.items()}

    @cached_property
    def producers(self) -> Mapping[str, Operation]:
        """The operation that makes a tensor, by name."""
        return {operation.node.output: operation for operation in self.operations}

    @cached_property
    def views(self) -> Aliases:
        """Outputs that lie in their operation's input already, chains resolved."""
        aliases: dict[str, tuple[str, int]] = {}
        for operation in self.operations:
            offset = operation.operator.view(operation.formats)
            source, output = operation.node.inputs[0], operation.node.output
            # A network output gets memory of its own, so that inputs and outputs never share words.
            if offset is None or source in self.legal.constants or output in self.legal.outputs:
                continue
            base, start = aliases.get(source, (source, 0))
            aliases[output] = (base, start + offset)
        return aliases

    @cached_property
    def joins(self) -> Aliases:
        """Parts of concatenated rows that may be written where the whole will lie.

        One part at least is left to be moved, so that the concatenation is still an instruction.
        """
        bases = {base for base, _ in self.views.values()}
        aliases: dict[str, tuple[str, int]] = {}
        for operation in self.operations:
            if operation.split is None or not operation.split.copies:
                continue
            parts: dict[str, tuple[str, int]] = {}
            line = 0
            for name, f in zip(operation.node.inputs, operation.formats, strict=True):
                producer = None if name in self.views else self.producers.get(name)
                alone = len(self.uses[name]) == 1 and name not in bases and name not in self.legal.outputs
                if alone and producer is not None and not producer.operator.joins:
                    parts[name] = (operation.node.output, line)
                line += format_lines(f)
            aliases |= dict(list(parts.items())[: len(operation.formats) - 1])
        return aliases

    @cached_property
    def demands(self) -> Mapping[str, int]:
        """The smallest static sizes of an accelerator that runs the network, by Architecture field."""
        sizes = {"max_channels": 64, "max_tokens": 64, "max_head": 64}
        for operation in self.operations:
            for name, value in operation.operator.demands(operation.formats).items():
                sizes[name] = max(sizes[name], value)
        return {name: round_up(value, 64) for name, value in sizes.items()}

    @cached_property
    def units(self) -> tuple[str, ...]:
        """Names of the instructions that the network uses, in order of opcode, and the DMA unit."""
        layouts = {layout.opcode: layout.name for layout in [*(o.operator.instruction for o in self.executed), DMA]}
        return tuple(layouts[opcode] for opcode in sorted(layouts))

    def stationary(self, max_tokens: int) -> frozenset[tuple[int, ...]]:
        """Lengths of the vectors that the array holds together, for each layer; attention takes ``max_tokens`` keys at a time."""
        return frozenset(held for o in self.operations if (held := o.operator.stationary(o.formats, max_tokens)))
