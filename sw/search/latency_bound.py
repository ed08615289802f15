"""A lower bound of a model's latency on an accelerator, without lowering the whole model and without simulating it.

Instructions run one after another, so what each takes at least adds up: a pass of the array its products, or the load of the next
tile; another unit its loops; transfers what the memory plan asks for. A layer normalization may run beside the last pass of the
linear layer before it, which takes as long as its chunks at one a cycle. Meanwhile another process fetches descriptors and
weights, one after another and a few descriptors ahead at most. The bound follows both through the layers. It leaves out weights
that are late within a layer, shared bandwidth, and loads that nothing hides.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass

from edgeflow.hw.architecture import LINE_BYTES, Architecture, ceil_div
from edgeflow.hw.boards import Board
from edgeflow.hw.graph import Format, Node
from edgeflow.hw.memoize import Remembered
from edgeflow.hw.ops import operator
from edgeflow.hw.ops.attention_schedule import ATTENTION
from edgeflow.hw.ops.base import Instruction
from edgeflow.hw.ops.layernorm import LAYERNORM, LayerNorm
from edgeflow.hw.ops.layernorm_schedule import chunk_count
from edgeflow.hw.ops.linear import ARRAY_DEPTH, LINEAR, PASS_GAP, Linear
from edgeflow.hw.program import DESCRIPTOR_BYTES
from edgeflow.sim.cycles.ddr import Ddr, ddr
from edgeflow.sim.cycles.model import DESCRIPTOR_QUEUE, DISPATCH_CYCLES, least_cycles
from edgeflow.sw.compiler.lowering import NodeContext, Operand, Prepared, instructions, operands_on_chip
from edgeflow.sw.compiler.row_blocks import row_split
from edgeflow.sw.compiler.storage import storages, views
from edgeflow.sw.compiler.weight_image import SizedImage

BLOCKS = 6  # of queries, after which attention's passes repeat


@dataclass(frozen=True)
class Work:
    """What some instructions take at least: ``cycles`` to execute, ``fetch`` cycles until their descriptors and weights are there,
    and ``bytes`` of external memory."""

    instructions: int
    cycles: float
    fetch: float
    bytes: int

    def plus(self, less: Work, times: int) -> Work:
        """The work with what it has more than ``less`` done ``times`` more times."""
        grown = [mine + times * (mine - other) for mine, other in zip(astuple(self), astuple(less), strict=True)]
        return Work(*grown)


class Bound:
    """The least cycles of a graph on an accelerator (see above), never more than the cycle simulator says.

    Layers that lower alike count as equal: one operator and formats, attributes that differ in nothing but integers (shifts and
    multipliers). UnsupportedError where a layer does not run.
    """

    def __init__(self, prepared: Prepared, board: Board, clock_mhz: float) -> None:
        graph = prepared.legal
        self._prepared, self._board, self._clock_mhz = prepared, board, clock_mhz
        aliases = views(graph)
        self._storages = Remembered(lambda a: storages(graph, aliases, a))
        self._transfers = Remembered(self._moved)
        self._layers: list[Remembered[Work]] = []
        alike: dict[tuple[object, ...], Remembered[Work]] = {}
        for nodes in _pairs([node for node in graph.nodes if node.output not in aliases and not self._copied(node)]):
            kind = tuple(self._kind(node) for node in nodes)
            if kind not in alike:
                alike[kind] = self._remembered(nodes)
            self._layers.append(alike[kind])

    def __call__(self, architecture: Architecture) -> float:
        known: dict[int, Work] = {}
        works = [known.get(id(layer)) or known.setdefault(id(layer), layer(architecture)) for layer in self._layers]
        moved = self._transfers(architecture)
        memory = self._memory(architecture)
        alone = moved.cycles + sum(work.cycles for work in works)
        return max(alone, _two_processes(works, memory), (moved.bytes + sum(work.bytes for work in works)) / memory.shared)

    def milliseconds(self, architecture: Architecture) -> float:
        """The same as a latency."""
        return self(architecture) / (self._clock_mhz * 1e3)

    def _memory(self, architecture: Architecture) -> Ddr:
        return ddr(self._board, architecture, self._clock_mhz)

    def _copied(self, node: Node) -> bool:
        """Whether transfers alone may do what a node does."""
        split = row_split(self._prepared.legal, node)
        return split is not None and split.copies

    def _kind(self, node: Node) -> tuple[object, ...]:
        graph = self._prepared.legal
        constant = tuple(name in graph.constants for name in node.inputs)
        attributes = tuple((name, value) for name, value in node.attributes.items() if type(value) is not int)
        return node.op, tuple(graph.formats(node)), constant, attributes

    def _remembered(self, nodes: tuple[Node, ...]) -> Remembered[Work]:
        return Remembered(lambda architecture: self._least(nodes, architecture))

    def _moved(self, architecture: Architecture) -> Work:
        made = self._prepared.transfers(architecture)
        lines = sum(ins.values["lines"] for ins in made)
        return Work(len(made), least_cycles(made, architecture, self._memory(architecture)), 0.0, lines * LINE_BYTES)

    def _least(self, nodes: Sequence[Node], architecture: Architecture) -> Work:
        graph = self._prepared.legal
        formats = [graph.formats(node) for node in nodes]
        blocks, lanes = ceil_div(formats[0][0].rows, architecture.po), architecture.po
        if operator(nodes[0]).instruction is not ATTENTION or blocks <= BLOCKS:
            return self._work(nodes, formats, architecture)
        # Every further block of queries adds the same passes.
        q, *others = formats[0]
        few = [Format((q.rows - (blocks - n) * lanes, q.channels), q.bits, q.signed) for n in (BLOCKS - 1, BLOCKS)]
        less, more = (self._work(nodes, [[short, *others]], architecture) for short in few)
        return more.plus(less, blocks - BLOCKS)

    def _work(self, nodes: Sequence[Node], formats: Sequence[Sequence[Format]], architecture: Architecture) -> Work:
        made = [self._instructions(*layer, architecture) for layer in zip(nodes, formats, strict=True)]
        memory = self._memory(architecture)
        every = list(itertools.chain(*made))
        rate = min(architecture.stream_bytes, memory.weights, memory.shared)
        sizes = [ins.stream[1] * LINE_BYTES for ins in every]
        descriptor = memory.latency + math.ceil(DESCRIPTOR_BYTES / min(architecture.word_bytes, memory.shared))
        fetch = len(every) * descriptor + sum(memory.latency for size in sizes if size) + sum(sizes) / rate
        if made[0][0].layout is LINEAR:
            cycles = _linear(made[0], made[1][0] if len(made) > 1 else None, architecture)
        else:
            cycles = least_cycles(every, architecture, memory)
        return Work(len(every), cycles, fetch, sum(sizes))

    def _instructions(self, node: Node, formats: Sequence[Format], architecture: Architecture) -> list[Instruction]:
        graph, storage = self._prepared.legal, self._storages(architecture)
        operands = {i: Operand(0, storage[name]) for i, name in operands_on_chip(graph, node).items()}
        context = NodeContext(node, architecture, operands, SizedImage(architecture), 0)
        return instructions(node, formats, graph.node_constants(node), context)


def _two_processes(works: Sequence[Work], memory: Ddr) -> float:
    """When the last layer is done: it executes after the one before and not before its first descriptor is there, and ends after
    its last; the next descriptor is asked for when there is room in the queue, so when an earlier layer is done."""
    done, fetched = [0.0], 0.0
    ahead = 0  # layers whose instructions wait in the queue, at most
    waiting = 0  # instructions of theirs
    for number, work in enumerate(works):
        while ahead and waiting - works[number - ahead].instructions >= DESCRIPTOR_QUEUE:
            waiting -= works[number - ahead].instructions
            ahead -= 1
        if waiting >= DESCRIPTOR_QUEUE:
            fetched = max(fetched, done[number - ahead])
        first, fetched = fetched + memory.latency, fetched + work.fetch
        done.append(max(max(done[-1], first) + work.cycles, fetched))
        ahead, waiting = ahead + 1, waiting + work.instructions
    return done[-1]


def _pairs(nodes: Sequence[Node]) -> list[tuple[Node, ...]]:
    """The nodes in order, a linear layer together with the layer normalization after it."""
    made: list[tuple[Node, ...]] = []
    for node in nodes:
        layout = operator(node).instruction
        if layout is LAYERNORM and made and len(made[-1]) == 1 and operator(made[-1][0]).instruction is LINEAR:
            made[-1] = (made[-1][0], node)
        else:
            made.append((node,))
    return made


def _linear(tiles: Sequence[Instruction], norm: Instruction | None, a: Architecture) -> float:
    """Cycles of a linear layer's passes, each of which loads the next tile (sw/compiler/weight_prefetch.py), and of the layer
    normalization behind."""
    delay = PASS_GAP + 2 * a.po // a.epilogue
    total = DISPATCH_CYCLES
    for tile, following in itertools.pairwise(tiles):
        load = {"load_words": following.values["load_words"], "load_delay": delay, "chain": 1}
        total += Linear.cycles({**tile.values, **load}, a).total
    alone = {**tiles[-1].values, "load_words": 0, "load_delay": 0}
    drained = Linear.cycles({**alone, "chain": 0}, a).total
    if norm is None:
        return total + drained
    apart = drained + LayerNorm.cycles(norm.values, a).total + DISPATCH_CYCLES
    return total + min(apart, max(Linear.cycles({**alone, "chain": 1}, a).total, chunk_count(norm.values, a)) + ARRAY_DEPTH)
