"""What happens in which order: every transfer between the memories, and every operation or block of its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from edgeflow.hw.architecture import LINE_BYTES, storage_bytes
from edgeflow.hw.ops.dma import CONSTANTS, LOAD, STORE
from edgeflow.hw.ops.rows import RowSplit
from edgeflow.sw.compiler.instructions import Operand
from edgeflow.sw.compiler.network import OUTPUT, Operation
from edgeflow.sw.compiler.placement import Placement
from edgeflow.sw.compiler.row_blocks import Blocks, block


@dataclass(frozen=True)
class Transfer:
    """Lines of ``tensor``, from line ``offset`` of it on, that are copied to line ``scratch_line`` of the scratchpad or from there.

    ``mode``: LOAD or STORE, from and to external memory, or CONSTANTS, from the weight image. ``completes``: the tensor that is
    complete in its place afterwards, if any.
    """

    mode: int
    tensor: str
    offset: int
    scratch_line: int
    lines: int
    completes: str | None = None


@dataclass(frozen=True)
class Computation:
    """An operation, or a block of its rows, with its operands in their places. ``completes``: the tensor that is complete
    afterwards, if any."""

    operation: Operation
    operands: Mapping[int, Operand]
    completes: str | None


Action = Transfer | Computation


class Schedule:
    """The actions of a plan, operation by operation (``network.executed``)."""

    def __init__(self, placement: Placement) -> None:
        self._placement = placement
        self._storage = placement.storage
        self._network = placement.storage.network

    def actions(self, operation: Operation) -> Iterator[Action]:
        """Loads, computation and stores of an operation."""
        number, output = operation.number, operation.node.output
        for span in self._placement.begins.get(number, ()):
            if self._storage.activations[span.tensor].begun != number:
                yield self._load(span.tensor, 0, self._placement.lines[span], span.lines)
        blocks, split = self._placement.blocks.get(number), operation.split
        if blocks is None or split is None:
            yield Computation(operation, self._operands(operation), self._known(output))
        elif split.copies:
            yield from self._copies(operation, split, blocks)
        else:
            yield from self._blocks(operation, split, blocks)
        whole = self._placement.span(output, number)
        if whole is not None and output in self._placement.external:
            yield self._store(output, 0, self._placement.lines[whole], whole.lines)

    def _known(self, tensor: str) -> str | None:
        """The tensor; None for one that the compiler has added, since nobody asks when that is complete."""
        return tensor if tensor in self._network.graph.tensors else None

    def _blocks(self, operation: Operation, split: RowSplit, blocks: Blocks) -> Iterator[Action]:
        output, away = operation.node.output, OUTPUT in blocks.streamed
        for start in range(0, split.rows, blocks.rows):
            stop = min(start + blocks.rows, split.rows)
            operands = self._operands(operation, blocks.streamed, split, start)
            for index in sorted(blocks.streamed - {OUTPUT}):
                name = operation.name(index)
                yield self._load(name, start, operands[index].line, self._storage.rows(name, stop - start))
            completes = self._known(output) if stop == split.rows else None
            yield Computation(block(operation, split, start, stop), operands, None if away else completes)
            if away:
                yield self._store(output, start, operands[OUTPUT].line, self._storage.rows(output, stop - start), completes)

    def _copies(self, operation: Operation, split: RowSplit, blocks: Blocks) -> Iterator[Action]:
        """The rows of an operation's inputs one after another, by transfers alone."""
        number, output, away = operation.number, operation.node.output, OUTPUT in blocks.streamed
        target = self._line(output, number, OUTPUT if away else None)
        first = 0
        for index, (name, f) in enumerate(zip(operation.node.inputs, operation.formats, strict=True)):
            for row in range(0, f.rows, blocks.rows):
                count, start = min(blocks.rows, f.rows - row), first + row
                lines = self._storage.rows(output, count)
                completes = self._known(output) if start + count == split.rows else None
                if not away:
                    yield self._load(name, row, target + self._storage.row(output, start), lines, completes)
                elif index in operation.constants or index in blocks.streamed:
                    yield self._load(name, row, target, lines)
                    yield self._store(output, start, target, lines, completes)
                else:
                    base, offset = self._storage.base(name)
                    line = self._line(base, number, None) + offset + self._storage.row(name, row)
                    yield self._store(output, start, line, lines, completes)
            first += f.rows

    def _operands(
        self, operation: Operation, streamed: frozenset[int] = frozenset(), split: RowSplit | None = None, start: int = 0
    ) -> dict[int, Operand]:
        """Places of an operation's operands, or of their part of the block that starts at row ``start``."""
        operands: dict[int, Operand] = {}
        for index, name in operation.operands.items():
            base, offset = self._storage.base(name)
            if split is not None and (index == OUTPUT or index in split.inputs):
                offset += self._storage.row(name, start)
            if split is not None and index == split.elements:
                offset += start * storage_bytes(self._network.formats[name].bits) // LINE_BYTES
            if operation.reads_external(index):
                line = self._placement.external[base] + offset
            elif index in streamed:
                line = self._line(base, operation.number, index)
            else:
                line = self._line(base, operation.number, None) + offset
            operands[index] = Operand(line, self._storage.of(name))
        return operands

    def _line(self, base: str, number: int, operand: int | None) -> int:
        span = self._placement.span(base, number, operand)
        if span is None:
            raise AssertionError(f"{base} has no place in the scratchpad at node {number}")
        return self._placement.lines[span]

    def _load(self, name: str, row: int, line: int, lines: int, completes: str | None = None) -> Transfer:
        base, offset = self._storage.base(name)
        mode = CONSTANTS if base in self._network.legal.constants else LOAD
        return Transfer(mode, base, offset + self._storage.row(name, row), line, lines, completes)

    def _store(self, name: str, row: int, line: int, lines: int, completes: str | None = None) -> Transfer:
        return Transfer(STORE, name, self._storage.row(name, row), line, lines, completes)
