"""Memory planning: which lines of the scratchpad hold which activation when, and what lies in external memory.

A tensor stays on chip from the node that writes it to the last that reads it. Where a memory would overflow, tensors that the
running node does not touch leave it between two uses (stored once, loaded again), those first that move the fewest lines. Where the
operands of one node alone exceed it, the node runs in blocks of rows (sw/compiler/row_blocks.py) and operands pass through it block
by block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from edgeflow.hw.architecture import NIBBLES, Architecture, ceil_div, round_up
from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.graph import Graph, Node
from edgeflow.hw.ops import operator
from edgeflow.hw.ops.rows import RowSplit
from edgeflow.hw.program import stride_lines
from edgeflow.sw.compiler.lifetimes import Lifetime, peak, place
from edgeflow.sw.compiler.row_blocks import row_split
from edgeflow.sw.compiler.storage import Activation, Aliases, activations, joins, views

OUTPUT = -1  # operand number of a node's output
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
class Blocks:
    """How a node runs in blocks: rows of one block, and the operands that pass through the scratchpad (inputs and OUTPUT)."""

    split: RowSplit
    rows: int
    streamed: frozenset[int]


@dataclass(frozen=True)
class Placement:
    """The plan. ``lines``: scratchpad line of every span; ``external``: line in external memory of every tensor that lies there.

    ``aliases``: tensors inside others, to (tensor, line offset); ``joined``: those among them that a node of their own writes.
    """

    activations: Mapping[str, Activation]
    aliases: Aliases
    joined: frozenset[str]
    lines: Mapping[Span, int]
    external: Mapping[str, int]
    blocks: Mapping[int, Blocks]

    def span(self, tensor: str, node: int, operand: int | None = None) -> Span | None:
        """The span that holds a tensor (or the block of an operand) while a node runs."""
        held = (s for s in self.lines if s.tensor == tensor and s.operand == operand and s.first <= node <= s.last)
        return next(held, None)


def plan(graph: Graph, architecture: Architecture) -> Placement:
    """Places for every activation of the (legalized) graph; UnsupportedError names the node that cannot be made to fit."""
    limits = (architecture.narrow_lines, architecture.wide_lines)
    try:
        return _Planner(graph, architecture, limits).solve()
    except UnsupportedError:
        # Parts that lie where the whole will lie cannot leave or pass in blocks.
        return _Planner(graph, architecture, limits, join=False).solve()


def working_set(graph: Graph, architecture: Architecture) -> tuple[int, int]:
    """Lines of the narrow and of the wide memory with which nothing but network inputs and outputs moves; the sizes that the
    architecture states are not looked at."""
    planner = _Planner(graph, architecture, (1 << 30, 1 << 30))
    placement = planner.solve()
    return tuple(  # type: ignore[return-value]
        max(
            (line - wide * planner.limits[0] + span.lines for span, line in placement.lines.items() if span.wide == wide), default=0
        )
        for wide in (False, True)
    )


class _Planner:
    """Decides until everything fits: ``cuts`` are (tensor, node after which it leaves the scratchpad)."""

    def __init__(self, graph: Graph, architecture: Architecture, limits: tuple[int, int], *, join: bool = True) -> None:
        self.graph = graph
        self.limits = limits
        aliases = views(graph)
        self.joined = joins(graph, aliases) if join else {}
        self.aliases = aliases | self.joined
        self.tensors = activations(graph, self.aliases, self.joined, architecture)
        self.splits = [row_split(graph, node) for node in graph.nodes]
        self.shares = [self._shares(node) for node in graph.nodes]
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
            joined = frozenset(self.joined)
            return Placement(self.tensors, self.aliases, joined, places, self._external(list(places)), dict(self.blocks))

    def _base(self, name: str) -> str:
        return self.aliases.get(name, (name, 0))[0]

    def _operand(self, node: int, operand: int) -> str:
        n = self.graph.nodes[node]
        return n.output if operand == OUTPUT else n.inputs[operand]

    def _spans(self) -> list[Span]:
        passing = {(self._base(self._operand(n, i)), n) for n, b in self.blocks.items() for i in b.streamed}
        found = []
        for t in self.tensors.values():
            run: list[int] = []
            for n in [*t.touches, None]:
                leaves = n is None or (t.name, n) in passing or (run and (t.name, run[-1]) in self.cuts)
                if leaves and run:
                    found.append(Span(t.name, run[0], run[-1], t.wide, t.lines))
                    run = []
                if n is not None and (t.name, n) not in passing:
                    run.append(n)
        for n, b in self.blocks.items():
            for i in sorted(b.streamed):
                t = self.tensors[self._base(self._operand(n, i))]
                found.append(Span(t.name, n, n, t.wide, self._block_lines(n, i, b.rows), i))
        return found

    def _block_lines(self, node: int, operand: int, rows: int) -> int:
        split = self.splits[node]
        if split is not None and split.copies and operand != OUTPUT:
            return 0  # rows go straight to where the output, or a block of it, lies
        name = self._operand(node, operand)
        storage = self.tensors[self._base(name)].storage
        channels = self.graph.tensors[name].format.channels
        return (ceil_div(rows, 2) if storage == NIBBLES else rows) * stride_lines(channels, storage)

    def _shares(self, n: Node) -> dict[int, str]:
        """Operands of a node (tensors by operand number) over which its output may be written."""
        if n.output in self.aliases:
            return {}
        bases = [self._base(name) for name in n.inputs]
        out = self.tensors[n.output]
        found = {}
        for i in operator(n).overwritable(self.graph.formats(n)):
            t = self.tensors.get(n.inputs[i])
            if t is not None and bases.count(t.name) == 1 and (t.storage, t.lines) == (out.storage, out.lines):
                found[i] = t.name
        return found

    def _groups(self, spans: Sequence[Span]) -> dict[Span, list[Span]]:
        """Spans that lie in the same place one after another, by the first of them."""
        leader = {span: span for span in spans}
        starts = {(s.tensor, s.first, s.operand): s for s in spans}
        ends = {(s.tensor, s.last, s.operand): s for s in spans}
        for n in range(len(self.graph.nodes)):
            passing = self.blocks[n].streamed if n in self.blocks else frozenset[int]()
            for i, name in self.shares[n].items():
                if (i in passing) != (OUTPUT in passing):
                    continue
                old = ends.get((name, n, i if i in passing else None))
                new = starts.get((self.graph.nodes[n].output, n, OUTPUT if i in passing else None))
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
            for n in range(len(self.graph.nodes)):
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
        found = [s for s in spans if not self._grows(s.tensor, node)]
        if not found:
            return False
        span = min(found, key=lambda s: (s.lines, s.tensor))
        touches = self.tensors[span.tensor].touches
        before = [n for n in touches if n < node]
        self.cuts |= {(span.tensor, n) for n in touches if n == node or n in before[-1:]}
        return True

    def _split(self, node: int) -> bool:
        """Runs a node in blocks, or in the next best blocks if it does already."""
        if node not in self.options:
            self.options[node] = iter(self._block_options(node))
        chosen = next(self.options[node], None)
        if chosen is not None:
            self.blocks[node] = chosen
        return chosen is not None

    def _block_options(self, node: int) -> list[Blocks]:
        """Every way to run a node in blocks whose operands fit the memories, the fewest lines moved first. A single block is one of
        them where it is less than the tensor that an operand is a view of."""
        n = self.graph.nodes[node]
        split = self.splits[node]
        if split is None:
            return []
        names = {i: self._base(self._operand(node, i)) for i in self._on_chip(n)}
        free, grain = self._free(node, names, split), self._grain(names, split)
        sizes = {round_up(ceil_div(split.rows, k), grain) for k in range(1, split.rows + 1)}
        found: list[tuple[int, int, Blocks]] = []
        for count in range(1, len(free) + 1):
            for streamed in combinations(free, count):
                if any(names[i] == names[j] for i in streamed for j in set(free) - set(streamed)):
                    continue  # views of one tensor pass together
                if split.copies and OUTPUT not in streamed and not set(split.inputs) <= set(streamed):
                    continue  # from the scratchpad to the scratchpad is the move unit's work
                moved = self._moved(node, streamed)
                for rows in sizes:
                    number = ceil_div(split.rows, rows)
                    lean = all(self._block_lines(node, i, rows) < self.tensors[names[i]].lines for i in streamed)
                    if lean and all(self._need(node, names, streamed, rows, w) <= self.limits[w] for w in (0, 1)):
                        cost = moved + (number - 1) * self._parameters(n, split)
                        found.append((cost, number, Blocks(split, rows, frozenset(streamed))))
        found.sort(key=lambda option: (option[0], option[1], sorted(option[2].streamed)))
        return [blocks for _, _, blocks in found]

    def _grows(self, name: str, node: int) -> bool:
        """Whether parts of a tensor have been written when a node runs, but not all."""
        t = self.tensors[name]
        return t.begun <= node <= t.produced and t.begun < t.produced

    def _free(self, node: int, names: Mapping[int, str], split: RowSplit) -> list[int]:
        """Operands that may pass in blocks: needed row by row, and not whole as another operand."""
        rowwise = {*split.inputs, OUTPUT}
        free = [i for i in names if i in rowwise and not any(names[j] == names[i] for j in set(names) - rowwise)]
        return [i for i in free if not self._grows(names[i], node)]

    def _grain(self, names: Mapping[int, str], split: RowSplit) -> int:
        """Rows of the smallest block."""
        halves = any(self.tensors[name].storage == NIBBLES for name in names.values())
        return math.lcm(split.period, 2 if halves else 1)

    def _on_chip(self, n: Node) -> list[int]:
        """Operands of a node that lie in the scratchpad."""
        op = operator(n)
        inputs = [
            i
            for i, name in enumerate(n.inputs)
            if (op.on_chip_constant(i) if name in self.graph.constants else not op.ports[i].external)
        ]
        return [*inputs, OUTPUT]

    def _moved(self, node: int, streamed: Sequence[int]) -> int:
        """Lines that pass between the memories because these operands of a node do."""
        lines = 0
        for name in {self._base(self._operand(node, i)) for i in streamed}:
            t = self.tensors[name]
            again = any(n > node for n in t.touches)
            stored = t.produced < 0 or t.output
            lines += t.lines * (1 + again + (not stored and t.produced != node))
        return lines

    def _parameters(self, n: Node, split: RowSplit) -> int:
        """Lines of constants that every block reads."""
        op = operator(n)
        fixed = [self.graph.tensors[name].format for i, name in enumerate(n.inputs) if name in self.graph.constants]
        taken = [f for i, f in zip(self.graph.node_constants(n), fixed, strict=True) if not op.on_chip_constant(i)]
        return sum(ceil_div(math.prod(f.shape) * f.bits, 512) for f in taken)

    def _need(self, node: int, names: Mapping[int, str], streamed: Sequence[int], rows: int, wide: int) -> int:
        """Lines of one memory that a node takes with these operands in blocks."""
        shares = self.shares[node]
        whole = {names[i] for i in names if i not in streamed}
        blocks = list(streamed)
        if OUTPUT in blocks and any(i in blocks for i in shares):
            blocks.remove(OUTPUT)
        elif OUTPUT not in blocks and any(i not in blocks and self.tensors[t].touches[-1] == node for i, t in shares.items()):
            whole.remove(names[OUTPUT])
        own = [self.tensors[name].lines for name in whole if self.tensors[name].wide == bool(wide)]
        return sum(own) + sum(self._block_lines(node, i, rows) for i in blocks if self.tensors[names[i]].wide == bool(wide))

    def _refusal(self, wide: bool, node: int) -> UnsupportedError:
        n = self.graph.nodes[node]
        memory, limit = NAMES[wide], self.limits[wide]
        split = self.splits[node]
        names = {i: self._base(self._operand(node, i)) for i in self._on_chip(n)}
        whole = self._need(node, names, (), 0, wide)
        how = ""
        if split is not None:
            how = f", {self._need(node, names, self._free(node, names, split), self._grain(names, split), wide)} in blocks"
        return UnsupportedError(
            f"node {n.origin} ({n.op}) needs {whole} lines of the {memory} scratchpad{how}; the accelerator has {limit} "
            f"({memory}_lines)"
        )

    def _stored(self, spans: Sequence[Span]) -> set[str]:
        """Tensors that are written to external memory once they are computed."""
        found = set()
        for t in self.tensors.values():
            if t.produced >= 0 and (t.output or t.reads):
                found.add(t.name)
        for s in spans:
            if self.tensors[s.tensor].produced >= 0 and (s.operand is not None or s.first != self.tensors[s.tensor].begun):
                found.add(s.tensor)
        return found

    def _external(self, spans: Sequence[Span]) -> dict[str, int]:
        end = len(self.graph.nodes)
        lives = {}
        stored = self._stored(spans)
        for t in self.tensors.values():
            if t.name in self.graph.inputs or t.output:
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
