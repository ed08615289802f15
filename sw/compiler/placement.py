"""Memory planning: which lines of the scratchpad hold which activation when, and what lies in external memory.

A tensor stays on chip from the operation that writes it to the last that reads it. Where a memory would overflow, tensors that the
running operation does not touch leave it between two uses (stored once, loaded again), those first that move the fewest lines.
Where the operands of one operation alone exceed it, that runs in blocks of rows and operands pass through the scratchpad block by
block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.errors import UnsupportedError
from edgeflow.sw.compiler.lifetimes import Lifetime, peak, place
from edgeflow.sw.compiler.network import OUTPUT, Network
from edgeflow.sw.compiler.row_blocks import Blocks, WorkingSets
from edgeflow.sw.compiler.storage import Storage

NAMES = ("narrow", "wide")


@dataclass(frozen=True)
class Span:
    """A tensor on chip while nodes ``first`` to ``last`` run, or a block of rows of that ``operand`` of node ``first``."""

    tensor: str
    first: int
    last: int
    wide: bool
    lines: int
    operand: int | None = None


@dataclass(frozen=True)
class Placement:
    """The plan. ``lines``: scratchpad line of every span; ``external``: line in external memory of every tensor that lies there;
    ``blocks``: how operations run in blocks, by number."""

    storage: Storage
    lines: Mapping[Span, int]
    external: Mapping[str, int]
    blocks: Mapping[int, Blocks]

    @cached_property
    def spans(self) -> Mapping[str, Sequence[Span]]:
        """The spans of each tensor."""
        by_tensor: dict[str, list[Span]] = {}
        for span in self.lines:
            by_tensor.setdefault(span.tensor, []).append(span)
        return by_tensor

    @cached_property
    def begins(self) -> Mapping[int, Sequence[Span]]:
        """The spans of whole tensors by the operation with which they begin."""
        by_start: dict[int, list[Span]] = {}
        for span in self.lines:
            if span.operand is None:
                by_start.setdefault(span.first, []).append(span)
        return by_start

    def span(self, tensor: str, number: int, operand: int | None = None) -> Span | None:
        """The span that holds a tensor (or the block of an operand) while an operation runs."""
        held = (s for s in self.spans.get(tensor, ()) if s.operand == operand and s.first <= number <= s.last)
        return next(held, None)


def plan(network: Network, architecture: Architecture) -> Placement:
    """Places for every activation; UnsupportedError names the node that cannot be made to fit."""
    limits = (architecture.narrow_lines, architecture.wide_lines)
    try:
        return _Planner(Storage(network, architecture), limits).solve()
    except UnsupportedError:
        # Parts that lie where the whole will lie cannot leave or pass in blocks.
        return _Planner(Storage(network, architecture, join=False), limits).solve()


def working_set(network: Network, architecture: Architecture) -> tuple[int, int]:
    """Lines of the narrow and of the wide memory that suffice to transfer nothing but network inputs and outputs, whatever sizes
    the architecture states."""
    unlimited = 1 << 30
    lines = _Planner(Storage(network, architecture), (unlimited, unlimited)).solve().lines
    ends = [[line + s.lines - wide * unlimited for s, line in lines.items() if s.wide == wide] for wide in (False, True)]
    return max(ends[0], default=0), max(ends[1], default=0)


class _Planner:
    """Decides until everything fits: ``cuts`` are (tensor, operation after which it leaves the scratchpad)."""

    def __init__(self, storage: Storage, limits: tuple[int, int]) -> None:
        self.storage = storage
        self.limits = limits
        self.tensors = storage.activations
        self.operations = storage.network.operations
        self.working_sets = WorkingSets(storage)
        self.cuts: set[tuple[str, int]] = set()
        self.blocks: dict[int, Blocks] = {}
        self.options: dict[int, Iterator[Blocks]] = {}

    def solve(self) -> Placement:
        while True:
            groups = self._groups(self._spans())
            lives = [{g: _life(group) for g, group in groups.items() if g.wide == wide} for wide in (False, True)]
            if self._relieve_overflow(lives):
                continue
            lines = [place(own) for own in lives]
            if self._relieve_fragments(lives, lines):
                continue
            both = {**lines[0], **{span: line + self.limits[0] for span, line in lines[1].items()}}
            places = {span: both[leader] for leader, group in groups.items() for span in group}
            return Placement(self.storage, places, self._external(list(places)), dict(self.blocks))

    def _streamed(self) -> Iterator[tuple[int, int, str]]:
        """Operations, their operands that pass in blocks, and the tensors in which these lie."""
        for number, blocks in self.blocks.items():
            for operand in sorted(blocks.streamed):
                yield number, operand, self.storage.base(self.operations[number].name(operand))[0]

    def _spans(self) -> list[Span]:
        passing = {(name, number) for number, _, name in self._streamed()}
        spans = []
        for t in self.tensors.values():
            run: list[int] = []
            for n in [*t.touches, None]:
                leaves = n is None or (t.name, n) in passing or (run and (t.name, run[-1]) in self.cuts)
                if leaves and run:
                    spans.append(Span(t.name, run[0], run[-1], t.wide, t.lines))
                    run = []
                if n is not None and (t.name, n) not in passing:
                    run.append(n)
        for n, operand, name in self._streamed():
            lines = self.working_sets.lines(self.operations[n], operand, self.blocks[n].rows)
            spans.append(Span(name, n, n, self.tensors[name].wide, lines, operand))
        return spans

    def _groups(self, spans: Sequence[Span]) -> dict[Span, list[Span]]:
        """Spans that lie in the same place one after another, by the first of them."""
        leader = {span: span for span in spans}
        starts = {(s.tensor, s.first, s.operand): s for s in spans}
        ends = {(s.tensor, s.last, s.operand): s for s in spans}
        for operation in self.operations:
            n = operation.number
            passing = self.blocks[n].streamed if n in self.blocks else frozenset[int]()
            for i, name in self.working_sets.overwritten[n].items():
                if (i in passing) != (OUTPUT in passing):
                    continue
                old = ends.get((name, n, i if i in passing else None))
                new = starts.get((operation.node.output, n, OUTPUT if i in passing else None))
                if old is not None and new is not None:
                    leader[new] = leader[old]
                    break
        groups: dict[Span, list[Span]] = {}
        for span in spans:
            groups.setdefault(_root(leader, span), []).append(span)
        return groups

    def _load(self, lives: Mapping[Span, Lifetime], node: int) -> int:
        return sum(life.lines for life in lives.values() if life.first <= node <= life.last)

    def _relieve_overflow(self, lives: Sequence[Mapping[Span, Lifetime]]) -> bool:
        for wide, own in enumerate(lives):
            for n in range(len(self.operations)):
                excess = self._load(own, n) - self.limits[wide]
                if excess > 0:
                    if not self._relieve(bool(wide), n, excess):
                        raise self._refusal(bool(wide), n)
                    return True
        return False

    def _relieve_fragments(self, lives: Sequence[Mapping[Span, Lifetime]], lines: Sequence[Mapping[Span, int]]) -> bool:
        """There is room for everything, but not in one piece."""
        for wide, own in enumerate(lives):
            if peak(own, lines[wide]) <= self.limits[wide]:
                continue
            late = next(span for span, life in own.items() if lines[wide][span] + life.lines > self.limits[wide])
            nodes = sorted(range(own[late].first, own[late].last + 1), key=lambda n: (-self._load(own, n), n))
            if not any(self._relieve(bool(wide), n, 1) or self._part(bool(wide), n) for n in nodes):
                raise self._refusal(bool(wide), nodes[0])
            return True
        return False

    def _relieve(self, wide: bool, node: int, excess: int) -> bool:
        """Frees lines of one memory while a node runs; False if nothing can be done."""
        return self._spill(wide, node, excess) or self._split(node)

    def _spill(self, wide: bool, node: int, excess: int) -> bool:
        spans = self._spans()
        stored = self._stored(spans)
        gaps: list[tuple[int, int, tuple[str, int]]] = []  # lines freed, lines moved, cut
        for s in spans:
            t = self.tensors[s.tensor]
            if s.wide == wide and s.operand is None and s.first < node < s.last and node not in t.touches:
                moved = t.lines * (1 if t.produced < 0 or t.name in stored else 2)
                gaps.append((t.lines, moved, (t.name, max(n for n in t.touches if n < node))))
        gaps.sort(key=lambda gap: (-gap[0], gap[1], gap[2]))
        best: list[tuple[int, int, tuple[str, int]]] = []
        for start in range(len(gaps)):
            chosen, freed = [], 0
            for gap in gaps[start:]:
                if freed < excess:
                    chosen.append(gap)
                    freed += gap[0]
            if not best or (freed >= excess and sum(g[1] for g in chosen) < sum(g[1] for g in best)):
                best = chosen
        self.cuts |= {gap[2] for gap in best}
        return bool(best)

    def _part(self, wide: bool, node: int) -> bool:
        """Lets the smallest tensor that is there when a node runs leave before and after it: then each finds room in one piece."""
        spans = [s for s in self._spans() if s.wide == wide and s.first <= node <= s.last and s.first < s.last]
        candidates = [s for s in spans if not self.tensors[s.tensor].grows(node)]
        if not candidates:
            return False
        span = min(candidates, key=lambda s: (s.lines, s.tensor))
        touches = self.tensors[span.tensor].touches
        before = [n for n in touches if n < node]
        self.cuts |= {(span.tensor, n) for n in touches if n == node or n in before[-1:]}
        return True

    def _split(self, node: int) -> bool:
        """Runs a node in blocks, or in the next best blocks if it does already."""
        if node not in self.options:
            self.options[node] = iter(self.working_sets.options(self.operations[node], self.limits))
        chosen = next(self.options[node], None)
        if chosen is not None:
            self.blocks[node] = chosen
        return chosen is not None

    def _refusal(self, wide: bool, node: int) -> UnsupportedError:
        operation = self.operations[node]
        memory, n = NAMES[wide], operation.node
        needed, least = self.working_sets.needed(operation, wide), self.working_sets.least(operation, wide)
        how = "" if least is None else f", {least} in blocks"
        return UnsupportedError(
            f"node {n.origin} ({n.op}) needs {needed} lines of the {memory} scratchpad{how}; the accelerator has "
            f"{self.limits[wide]} ({memory}_lines)"
        )

    def _stored(self, spans: Sequence[Span]) -> set[str]:
        """Tensors that are written to external memory once they are computed."""
        stored = set()
        for t in self.tensors.values():
            if t.produced >= 0 and (t.output or t.reads):
                stored.add(t.name)
        for s in spans:
            if self.tensors[s.tensor].produced >= 0 and (s.operand is not None or s.first != self.tensors[s.tensor].begun):
                stored.add(s.tensor)
        return stored

    def _external(self, spans: Sequence[Span]) -> dict[str, int]:
        end = len(self.operations)
        lives = {}
        stored = self._stored(spans)
        for t in self.tensors.values():
            if t.name in self.storage.network.legal.inputs or t.output:
                lives[t.name] = Lifetime(t.lines, -1, end)
            elif t.name in stored:
                last = max([*t.reads, *(s.first for s in spans if s.tensor == t.name)])
                lives[t.name] = Lifetime(t.lines, t.produced, last)
        return place(lives)


def _root(leader: Mapping[Span, Span], span: Span) -> Span:
    while leader[span] != span:
        span = leader[span]
    return span


def _life(group: Sequence[Span]) -> Lifetime:
    return Lifetime(group[0].lines, min(s.first for s in group), max(s.last for s in group))
