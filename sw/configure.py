"""Choosing the accelerator for a model and a board: the one with the shortest predicted latency that fits.

Arrays are ranked by a quick estimate (the units' formulas over every distinct node, with what the weights take to arrive); of the
best, every combination of epilogue, vector width and weight ports that fits and is not smaller than another in everything is ranked
the same way. The cycle simulator then decides among the best of these, and last the accelerator sheds what does not make it slower.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from edgeflow.hw.architecture import LINE_BYTES, NIBBLES, Architecture, ceil_div, round_up
from edgeflow.hw.boards import Board
from edgeflow.hw.errors import BoardError, UnsupportedError
from edgeflow.hw.fabric import NARROW_STEP, WIDE_STEP
from edgeflow.hw.fit import SHARE, Space, excess, fill
from edgeflow.hw.graph import Graph, Node
from edgeflow.hw.ops import operator, unit
from edgeflow.hw.ops.linear import WEIGHT, Linear
from edgeflow.hw.progress import Progress
from edgeflow.sim.cycles import estimate
from edgeflow.sw.activations import legalize, storages, views
from edgeflow.sw.lowering import NodeContext, Operand, demands, instructions, lower, operands_on_chip, stationary, units
from edgeflow.sw.placement import working_set
from edgeflow.sw.weights import SizedImage

RANKED = 12  # arrays whose accelerators are looked at
SIMULATED = 10  # accelerators that are simulated before the best one sheds what it does not need
SLACK = 1.01  # a latency this close to the best counts as equal: fewer resources decide

Rank = Callable[[Architecture], float]


def configure(
    graph: Graph,
    board: Board,
    clock_mhz: float,
    *,
    share: float = SHARE,
    sizes: Mapping[str, int] | None = None,
    precisions: tuple[int, ...] = (),
    progress: Progress | None = None,
) -> Architecture:
    """The accelerator for an integer graph on a board.

    ``share``: of every resource of the board; ``sizes``: those of ``pi``, ``po``, ``epilogue``, ``vector`` and ``weight_ports``
    that are not to be chosen; ``precisions``: those to have even where this graph does not use them. BoardError says what the
    smallest accelerator exceeds; UnsupportedError what no accelerator can run.
    """
    quick = Quick(graph)
    predict = Predicted(graph, board, clock_mhz)
    best: Architecture | None = None
    refused: BoardError | UnsupportedError | None = None
    for space in spaces(graph, board, clock_mhz, share, sizes, precisions):
        try:
            found = search(space, quick, predict, progress)
        except (BoardError, UnsupportedError) as error:
            # With less scratchpad more is spilled: what does not fit the board then may, until a node's own operands are too large.
            refused = error if refused is None or isinstance(error, BoardError) else refused
            continue
        if best is None or predict(found) * SLACK < predict(best):
            best = found
        if not space.short_of_memory():
            break
    if best is None:
        assert refused is not None
        raise refused
    return best


def spaces(
    graph: Graph,
    board: Board,
    clock_mhz: float,
    share: float = SHARE,
    sizes: Mapping[str, int] | None = None,
    precisions: tuple[int, ...] = (),
) -> Iterator[Space]:
    """The accelerators for a graph on a board, those with the largest scratchpad first.

    The array gets the 4-bit mode, and takes weights four to a byte, where the graph has layers that would use it or ``precisions``
    asks for it.
    """
    needs, used = demands(graph), units(graph)
    whole = Architecture.model_validate({**needs, "slots": needs["max_channels"], "units": used})
    legal = legalize(graph)
    narrow_rows = NIBBLES in storages(legal, views(legal), whole).values()
    quarters = any(isinstance(operator(node), Linear) and legal.formats(node)[WEIGHT].bits <= 2 for node in legal.nodes)
    wanted = {8, *([4] if narrow_rows else []), *([2] if quarters else []), *precisions}
    precisions = tuple(sorted(wanted, reverse=True))
    lines = working_set(legal, whole.model_copy(update={"precisions": precisions}))
    for pair, tokens in itertools.product(scratch_sizes(lines), token_sizes(needs["max_tokens"])):
        held = stationary(graph, tokens)
        yield Space(board, {**needs, "max_tokens": tokens}, used, pair, clock_mhz, share, sizes, precisions, held)


def token_sizes(most: int) -> list[int]:
    """Keys that attention may hold at a time, the most first: all of them, or blocks of half as many, a quarter and so on."""
    return sorted({round_up(ceil_div(most, 1 << n), 64) for n in range(most.bit_length())}, reverse=True)


def scratch_sizes(lines: tuple[int, int]) -> list[tuple[int, int]]:
    """Lines of narrow and wide scratchpad to try, the most first: from what holds everything down to one row of block memories."""
    narrow, wide = round_up(max(lines[0], 1), NARROW_STEP), round_up(max(lines[1], 1), WIDE_STEP)
    pairs = [(n, w) for n in range(NARROW_STEP, narrow + 1, NARROW_STEP) for w in range(WIDE_STEP, wide + 1, WIDE_STEP)]
    return sorted(pairs, key=lambda pair: (-sum(pair), -pair[1]))


def search(space: Space, quick: Rank, predict: Rank, progress: Progress | None = None) -> Architecture:
    """The best accelerator of a space. ``quick`` ranks (cycles, any unit), ``predict`` decides (latency in milliseconds).

    UnsupportedError if the model runs on none of those that were tried.
    """
    arrays = sorted(space.arrays(), key=lambda shape: (quick(space.largest(*shape)), shape))
    found = [a for shape in arrays[:RANKED] for a in space.accelerators(*shape)]
    found.sort(key=lambda a: (quick(a), a.pi * a.po))
    tried: dict[Architecture, float] = {}
    problem: UnsupportedError | None = None
    for number, candidate in enumerate(found[:SIMULATED]):
        if progress is not None:
            progress("predict accelerators", number, min(SIMULATED, len(found)))
        try:
            tried[candidate] = predict(candidate)
        except UnsupportedError as error:
            problem = error
    if not tried:
        assert problem is not None
        raise problem
    limit = SLACK * min(tried.values())
    near = [a for a, latency in tried.items() if latency <= limit]
    return shed(min(near, key=lambda a: _burden(a, space)), space, predict, limit)


def shed(architecture: Architecture, space: Space, predict: Rank, limit: float) -> Architecture:
    """The accelerator without what does not make it slower than ``limit``: a size at a time, the greatest saving first."""
    while True:
        smaller = [a for a in space.smaller(architecture) if not excess(a, space.board, space.share)]
        smaller = [a for a in smaller if _burden(a, space) < _burden(architecture, space)]
        for candidate in sorted(smaller, key=lambda a: _burden(a, space)):
            if predict(candidate) <= limit:
                architecture = candidate
                break
        else:
            return architecture


def _burden(architecture: Architecture, space: Space) -> tuple[float, int]:
    return fill(architecture, space.board, space.share), architecture.epilogue * architecture.vector * architecture.weight_ports


@dataclass(frozen=True)
class Predicted:
    """Latency in milliseconds by the cycle simulator, remembered by accelerator; UnsupportedError if it cannot run the model."""

    graph: Graph
    board: Board
    clock_mhz: float
    known: dict[Architecture, float] = field(default_factory=dict)

    def __call__(self, architecture: Architecture) -> float:
        if architecture not in self.known:
            program = lower(self.graph, architecture)
            self.known[architecture] = estimate(program, self.graph, self.board, self.clock_mhz).latency_ms
        return self.known[architecture]


class Quick:
    """Cycles of a graph on an accelerator, roughly: the formulas of every node, each instruction no faster than its weights can
    arrive. No memory is planned and nothing overlaps; nodes of one operator and equal formats, whose attributes differ in nothing
    but integers (shifts and multipliers), count as equal. Infinite where a node does not run."""

    def __init__(self, graph: Graph) -> None:
        self._graph = legalize(graph)
        aliases = views(self._graph)
        self._aliases = aliases
        self._alike: dict[tuple[object, ...], list[Node]] = {}
        for node in self._graph.nodes:
            if node.output not in aliases:
                constant = tuple(name in self._graph.constants for name in node.inputs)
                kind = tuple((name, value) for name, value in node.attributes.items() if type(value) is not int)
                key = (node.op, tuple(self._graph.formats(node)), constant, kind)
                self._alike.setdefault(key, []).append(node)

    def __call__(self, architecture: Architecture) -> float:
        storage = storages(self._graph, self._aliases, architecture)
        total = 0
        for nodes in self._alike.values():
            node = nodes[0]
            operands = {i: Operand(0, storage[name]) for i, name in operands_on_chip(self._graph, node).items()}
            context = NodeContext(node, architecture, operands, SizedImage(architecture), 0)
            try:
                made = instructions(node, self._graph.formats(node), self._graph.node_constants(node), context)
            except UnsupportedError:
                return float("inf")
            for instruction in made:
                words = instruction.stream[1] * LINE_BYTES // architecture.stream_bytes
                total += len(nodes) * max(unit(instruction.layout).cycles(instruction.values, architecture).total, words)
        return total
