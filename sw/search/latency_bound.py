"""A lower bound of a model's latency on an accelerator, without lowering the whole model and without simulating it.

What instructions take at least adds up: a pass of the array its products; another unit its loops; transfers what the memory plan
asks for. A layer normalization may run beside the last pass of the linear layer before it, which takes as long as its chunks at
one a cycle. Meanwhile another process fetches descriptors and weights, one after another and a few descriptors ahead at most. The
bound follows both through the layers. It leaves out weights that are late within a layer, shared bandwidth, and loads that
nothing hides.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace

from edgeflow.hw.architecture import LINE_BYTES, Architecture, ceil_div
from edgeflow.hw.boards import Board
from edgeflow.hw.graph import Format
from edgeflow.hw.memoize import Remembered
from edgeflow.hw.ops.attention import MULTIPLIER, NUMERATOR, Attention, K, Q, V
from edgeflow.hw.ops.base import Instruction
from edgeflow.hw.ops.dma import transfer
from edgeflow.hw.ops.layernorm import LAYERNORM
from edgeflow.hw.ops.layernorm_schedule import chunk_count
from edgeflow.hw.ops.linear import LINEAR
from edgeflow.hw.process_network import COMMANDS, channels
from edgeflow.hw.program import DESCRIPTOR_BYTES
from edgeflow.sim.cycles.ddr import Ddr, ddr
from edgeflow.sim.cycles.model import least_cycles
from edgeflow.sw.compiler.instructions import Operand, instructions
from edgeflow.sw.compiler.lowering import Compiler
from edgeflow.sw.compiler.network import Operation
from edgeflow.sw.compiler.storage import storages
from edgeflow.sw.compiler.weight_image import SizedImage

BLOCKS = 6  # of queries, after which attention's passes repeat
AHEAD = int(channels()["program"].depth) + COMMANDS + 2  # instructions that may be fetched and not done
STAGES = 4  # of attention's schedule: so many blocks of queries of any head run side by side


@dataclass(frozen=True)
class Work:
    """What some instructions take at least: ``cycles`` to execute, ``fetch`` cycles until their descriptors and weights are there,
    and ``bytes`` of external memory."""

    instructions: int
    cycles: float
    fetch: float
    bytes: int

    def plus(self, less: Work, times: int) -> Work:
        """This work with its excess over ``less`` added ``times`` more times."""
        grown = [mine + times * (mine - other) for mine, other in zip(astuple(self), astuple(less), strict=True)]
        return Work(*grown)


class Bound:
    """The least cycles of a network on an accelerator (see above), never more than the cycle simulator says.

    Layers that lower alike count as equal: one operator and formats, attributes that differ in nothing but integers (shifts and
    multipliers). UnsupportedError where a layer does not run.
    """

    def __init__(self, compiler: Compiler, board: Board, clock_mhz: float) -> None:
        network = compiler.network
        self._compiler, self._board, self._clock_mhz = compiler, board, clock_mhz
        self._storages = Remembered(lambda architecture: storages(network, architecture))
        self._transfers = Remembered(self._moved)
        self._layers: list[Remembered[Work]] = []
        alike: dict[tuple[object, ...], Remembered[Work]] = {}
        # What transfers alone may do counts with them.
        for layer in _pairs([o for o in network.executed if o.split is None or not o.split.copies]):
            kind = tuple(_kind(operation) for operation in layer)
            if kind not in alike:
                alike[kind] = self._remembered(layer)
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

    def _remembered(self, layer: Sequence[Operation]) -> Remembered[Work]:
        return Remembered(lambda architecture: self._least(layer, architecture))

    def _moved(self, architecture: Architecture) -> Work:
        transfers = [transfer(t.mode, t.offset, t.scratch_line, t.lines) for t in self._compiler.transfers(architecture)]
        lines = sum(ins.values["lines"] for ins in transfers)
        return Work(len(transfers), least_cycles(transfers, architecture, self._memory(architecture)), 0.0, lines * LINE_BYTES)

    def _least(self, layer: Sequence[Operation], architecture: Architecture) -> Work:
        first = layer[0]
        if not isinstance(first.operator, Attention):
            return self._work(layer, architecture)
        # Every further group of heads that begin alike in the array's steps adds the same passes.
        heads, head = first.operator.heads, first.formats[0].channels // first.operator.heads
        alike = architecture.pi // math.gcd(head, architecture.pi)
        blocks = min(ceil_div(first.formats[0].rows, architecture.po), BLOCKS - 1)
        few = heads % alike + alike * max(1, ceil_div(ceil_div(STAGES, blocks) - heads % alike, alike))
        if heads <= few + alike or few * head > architecture.max_channels:
            return self._blocks(first, architecture)
        less, more = (self._blocks(_with_heads(first, count), architecture) for count in (few, few + alike))
        return more.plus(less, (heads - few) // alike - 1)

    def _blocks(self, attention: Operation, architecture: Architecture) -> Work:
        lanes = architecture.po
        blocks = ceil_div(attention.formats[0].rows, lanes)
        if blocks <= BLOCKS:
            return self._work([attention], architecture)
        # Every further block of queries adds the same passes.
        q, *others = attention.formats
        few = [Format((q.rows - (blocks - n) * lanes, q.channels), q.bits, q.signed) for n in (BLOCKS - 1, BLOCKS)]
        less, more = (self._work([replace(attention, formats=(short, *others))], architecture) for short in few)
        return more.plus(less, blocks - BLOCKS)

    def _work(self, layer: Sequence[Operation], architecture: Architecture) -> Work:
        programs = [self._instructions(operation, architecture) for operation in layer]
        memory = self._memory(architecture)
        every = list(itertools.chain(*programs))
        rate = min(architecture.stream_bytes, memory.weights, memory.shared)
        sizes = [ins.stream[1] * LINE_BYTES for ins in every]
        descriptors = len(every) * math.ceil(DESCRIPTOR_BYTES / min(memory.port, memory.shared))
        fetch = max(descriptors, sum(memory.latency for size in sizes if size) + sum(sizes) / rate)
        if programs[0][0].layout is LINEAR:
            cycles = _linear(programs[0], programs[1][0] if len(programs) > 1 else None, architecture, memory)
        else:
            cycles = least_cycles(every, architecture, memory)
        return Work(len(every), cycles, fetch, sum(sizes))

    def _instructions(self, operation: Operation, architecture: Architecture) -> list[Instruction]:
        storage = self._storages(architecture)
        operands = {i: Operand(0, storage[name]) for i, name in operation.operands.items()}
        return instructions(operation, operands, architecture, SizedImage(architecture))


def _kind(operation: Operation) -> tuple[object, ...]:
    """Equal for operations that lower alike."""
    attributes = tuple((name, value) for name, value in operation.node.attributes.items() if type(value) is not int)
    return operation.node.op, operation.formats, tuple(operation.constants), attributes


def _with_heads(operation: Operation, heads: int) -> Operation:
    """Attention with the first ``heads`` of its heads."""
    attention = operation.operator
    assert isinstance(attention, Attention)
    channels = operation.formats[Q].channels // attention.heads * heads
    formats, constants = list(operation.formats), dict(operation.constants)
    for i in (Q, K, V):
        formats[i] = replace(formats[i], shape=(*formats[i].shape[:-1], channels))
    for i in (MULTIPLIER, NUMERATOR):
        formats[i] = replace(formats[i], shape=(heads,))
        constants[i] = constants[i][:heads]
    return replace(operation, operator=replace(attention, heads=heads), formats=tuple(formats), constants=constants)


def _two_processes(works: Sequence[Work], memory: Ddr) -> float:
    """When the last layer is done: it executes after the one before and not before its first descriptor is there, and ends after
    its last; the next descriptor is asked for when there is room in the queue, so when an earlier layer is done."""
    done, fetched = [0.0], float(memory.latency)
    ahead = 0  # layers whose instructions wait in the queue, at most
    waiting = 0  # instructions of theirs
    for number, work in enumerate(works):
        while ahead and waiting - works[number - ahead].instructions >= AHEAD:
            waiting -= works[number - ahead].instructions
            ahead -= 1
        if waiting >= AHEAD:
            fetched = max(fetched, done[number - ahead])
        first, fetched = fetched, fetched + work.fetch
        done.append(max(max(done[-1], first) + work.cycles, fetched))
        ahead, waiting = ahead + 1, waiting + work.instructions
    return done[-1]


def _pairs(operations: Sequence[Operation]) -> list[tuple[Operation, ...]]:
    """The operations in order, a linear layer together with the layer normalization after it."""
    pairs: list[tuple[Operation, ...]] = []
    for operation in operations:
        behind = pairs[-1] if pairs else ()
        linear = len(behind) == 1 and behind[0].operator.instruction is LINEAR
        if linear and operation.operator.instruction is LAYERNORM:
            pairs[-1] = (*behind, operation)
        else:
            pairs.append((operation,))
    return pairs


def _linear(tiles: Sequence[Instruction], norm: Instruction | None, a: Architecture, memory: Ddr) -> float:
    """Cycles of a linear layer's passes, and of the layer normalization behind, which may run beside the last of them."""
    alone = least_cycles(tiles, a, memory)
    if norm is None:
        return alone
    last = least_cycles(tiles[-1:], a, memory)
    return alone + max(float(chunk_count(norm.values, a)) - last, 0.0)
