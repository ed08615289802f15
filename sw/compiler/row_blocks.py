"""Operations that run in blocks of output rows, because their operands exceed the scratchpad."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from edgeflow.hw.architecture import LINE_BYTES, NIBBLES, ceil_div, round_up
from edgeflow.hw.graph import Format
from edgeflow.hw.ops.rows import RowSplit
from edgeflow.sw.compiler.network import OUTPUT, Operation
from edgeflow.sw.compiler.storage import Activation, Storage


@dataclass(frozen=True)
class Blocks:
    """How an operation runs in blocks: rows of one block, and the operands that pass through the scratchpad (inputs and OUTPUT)."""

    rows: int
    streamed: frozenset[int]


def block(operation: Operation, split: RowSplit, start: int, stop: int) -> Operation:
    """An operation's output rows ``start`` to ``stop`` (exclusive) as an operation of their own."""
    formats = _block_formats(operation, split, stop - start)
    constants = {}
    for i, value in operation.constants.items():
        rows = value.reshape(split.rows, -1)[start:stop] if i in split.inputs else value
        constants[i] = rows.reshape(formats[i].shape)
    return dataclasses.replace(operation, formats=formats, constants=constants, first_row=start)


def _block_formats(operation: Operation, split: RowSplit, rows: int) -> tuple[Format, ...]:
    """Input formats of a block: one axis of rows, or two if an operand repeats."""
    lead = (rows,) if split.period == 1 else (rows // split.period, split.period)
    formats = []
    for i, f in enumerate(operation.formats):
        if i in split.inputs:
            formats.append(Format((*lead, f.channels), f.bits, f.signed))
        elif i == split.elements:
            formats.append(Format((rows,), f.bits, f.signed))
        elif i in split.repeated:
            repeated = (f.rows,) if f.rows > 1 else ()
            ones = (1,) * (len(lead) - len(repeated)) if i not in operation.constants else ()
            formats.append(Format((*ones, *repeated, f.channels), f.bits, f.signed))
        else:
            formats.append(f)
    return tuple(formats)


class WorkingSets:
    """Lines of the narrow and of the wide memory that operations take while they run, whole or in blocks of rows."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._known: dict[int, dict[int, Activation]] = {}
        self.overwritten = [storage.overwritten(operation) for operation in storage.network.operations]

    def lines(self, operation: Operation, operand: int, rows: int) -> int:
        """Lines of a block of rows of an operand."""
        if operation.split is not None and operation.split.copies and operand != OUTPUT:
            return 0  # rows go straight to where the output, or a block of it, lies
        return self._storage.rows(operation.name(operand), rows)

    def needed(self, operation: Operation, wide: bool, streamed: Collection[int] = (), rows: int = 0) -> int:
        """Lines of one memory that an operation takes with these operands in blocks of so many rows."""
        held, overwritten = self._held(operation), self.overwritten[operation.number]
        whole = {t.name: t for i, t in held.items() if i not in streamed}
        blocks = set(streamed)
        if OUTPUT in blocks and any(i in blocks for i in overwritten):
            blocks.remove(OUTPUT)
        elif OUTPUT not in blocks and any(i not in blocks and held[i].touches[-1] == operation.number for i in overwritten):
            del whole[held[OUTPUT].name]
        own = sum(t.lines for t in whole.values() if t.wide == wide)
        return own + sum(self.lines(operation, i, rows) for i in blocks if held[i].wide == wide)

    def least(self, operation: Operation, wide: bool) -> int | None:
        """Lines of one memory that an operation takes in the smallest blocks; None if it does not run in blocks."""
        if operation.split is None:
            return None
        return self.needed(operation, wide, self._free(operation, operation.split), self._grain(operation, operation.split))

    def options(self, operation: Operation, limits: tuple[int, int]) -> list[Blocks]:
        """Every way to run an operation in blocks whose operands fit memories of so many lines, the fewest lines moved first. A
        single block is one of them where it is less than the tensor that an operand is a view of."""
        split = operation.split
        if split is None:
            return []
        held, grain = self._held(operation), self._grain(operation, split)
        sizes = {round_up(ceil_div(split.rows, k), grain) for k in range(1, split.rows + 1)}
        taken = [operation.formats[i] for i in operation.parameters]
        parameters = sum(ceil_div(math.prod(f.shape) * f.bits, 8 * LINE_BYTES) for f in taken)  # lines that every block reads
        ranked: list[tuple[int, int, Blocks]] = []
        for streamed in self._streams(operation, split):
            moved = self._moved(operation, streamed)
            for rows in sizes:
                lean = all(self.lines(operation, i, rows) < held[i].lines for i in streamed)
                if lean and all(self.needed(operation, bool(w), streamed, rows) <= limits[w] for w in (0, 1)):
                    number = ceil_div(split.rows, rows)
                    ranked.append((moved + (number - 1) * parameters, number, Blocks(rows, frozenset(streamed))))
        ranked.sort(key=lambda option: (option[0], option[1], sorted(option[2].streamed)))
        return [blocks for _, _, blocks in ranked]

    def _held(self, operation: Operation) -> Mapping[int, Activation]:
        """The tensors in which the operands on chip lie."""
        known = self._known.get(operation.number)
        if known is None:
            known = {i: self._storage.activation(name) for i, name in operation.on_chip.items()}
            self._known[operation.number] = known
        return known

    def _streams(self, operation: Operation, split: RowSplit) -> Iterator[tuple[int, ...]]:
        """The operands that may pass in blocks together."""
        held, free = self._held(operation), self._free(operation, split)
        for count in range(1, len(free) + 1):
            for streamed in combinations(free, count):
                if any(held[i].name == held[j].name for i in streamed for j in set(free) - set(streamed)):
                    continue  # views of one tensor pass together
                if split.copies and OUTPUT not in streamed and not set(split.inputs) <= set(streamed):
                    continue  # from the scratchpad to the scratchpad is the move unit's work
                yield streamed

    def _free(self, operation: Operation, split: RowSplit) -> list[int]:
        """Operands that may pass in blocks: needed row by row, and not whole as another operand."""
        rowwise, held = {*split.inputs, OUTPUT}, self._held(operation)
        whole = {t.name for i, t in held.items() if i not in rowwise}
        return [i for i, t in held.items() if i in rowwise and t.name not in whole and not t.grows(operation.number)]

    def _grain(self, operation: Operation, split: RowSplit) -> int:
        """Rows of the smallest block."""
        halves = any(t.storage == NIBBLES for t in self._held(operation).values())
        return math.lcm(split.period, 2 if halves else 1)

    def _moved(self, operation: Operation, streamed: Sequence[int]) -> int:
        """Lines that pass between the memories because these operands of an operation do."""
        held = self._held(operation)
        lines = 0
        for t in {held[i].name: held[i] for i in streamed}.values():
            again = any(n > operation.number for n in t.touches)
            stored = t.produced < 0 or t.output
            lines += t.lines * (1 + again + (not stored and t.produced != operation.number))
        return lines
