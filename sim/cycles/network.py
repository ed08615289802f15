"""When the processes of the accelerator do what: commands in time, joined by streams of known depth.

A loop starts an iteration an interval after the one before while its items are there and its streams have room. Items of a stream
come evenly between a first and a last, so a loop is known by when it begins and ends: it begins no earlier than its first items
come, ends no earlier than its last ones allow, and no earlier than the reader of what it writes has room. That is exact where
rates are constant, as they are within nearly all commands. So the time to simulate grows with the commands, not with the items
they move.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from edgeflow.hw.commands import Command, Phase
from edgeflow.hw.process_network import channels

STREAM = 1  # cycles from a write to the earliest read
LINE = 4  # cycles from a request of the scratchpad to its line, without other clients in its bank (hw/scratchpad_core.py)
BESIDE = frozenset(channel.name for channel in channels().values() if channel.beside)


@dataclass
class Batch:
    """Items that one command writes to a stream and one reads: when the first and the last can be read; who writes them."""

    number: int
    first: float
    last: float
    writer: Run | None = None


@dataclass
class Run:
    """A command in time: cycles of its first and its last iteration, and when it is over; ``stored``: when the last item came
    that is stored beside them; ``busy``: cycles that its iterations take at least; ``drains``: cycles of pipelines that drain
    between them; ``phases``: each loop's first and last, and its depth."""

    process: str
    begin: float
    end: float = 0.0
    over: float = 0.0
    stored: float = 0.0
    depth: int = 0
    busy: int = 0
    drains: int = 0
    phases: list[tuple[str, float, float, int]] = field(default_factory=list)
    reads: list[Taking] = field(default_factory=list)
    writes: list[Batch] = field(default_factory=list)


class Taking(NamedTuple):
    """What a loop takes of a stream: the items, when the first and the last of them, and the iterations behind the last."""

    stream: str
    batch: Batch
    first: float
    last: float
    behind: float


Port = Callable[[Phase, float], tuple[float, float]]
"""Cycles that a loop's memory accesses add before its first iteration, and cycles that its iterations take, if it begins at a
time."""


class Network:
    """The processes at some time. ``depth``: pipeline stages of a loop by its name; ``capacity``: items that a stream holds by
    its name, none for those that nothing holds up; ``port``: of loops that reach external memory; ``flowing``: processes that
    take a command while the one before drains."""

    def __init__(self, depth: Callable[[str], int], capacity: Mapping[str, int], port: Port, flowing: frozenset[str]) -> None:
        self._depth, self._capacity, self._port, self._flowing = depth, capacity, port, flowing
        self._free: dict[str, float] = {}
        self._streams: dict[str, deque[Batch]] = {}

    def put(self, stream: str, batch: Batch) -> None:
        """Hand a stream its next items, from outside of the processes."""
        self._streams.setdefault(stream, deque()).append(batch)

    def take(self, stream: str, number: int) -> Batch:
        """The next items of a stream; AssertionError where the writer's command and the reader's do not agree."""
        queue = self._streams.get(stream)
        if not queue or queue[0].number != number:
            held = queue[0].number if queue else 0
            raise AssertionError(f"{number} items of stream {stream} are read where {held} are written")
        return queue.popleft()

    def free(self, process: str) -> float:
        """When a process can take its next command."""
        return self._free.get(process, 0.0)

    def run(self, commands: Sequence[Command], start: float) -> list[Run]:
        """Run the commands of an instruction, those that write a stream before those that read it, issued at ``start``."""
        runs = [self._one(command, start) for command in commands]
        for run in reversed(runs):
            for taking in run.reads:
                self._hold(run, taking)
        for run in runs:
            self._free[run.process] = max(self._free[run.process], run.over)
        return runs

    def _one(self, command: Command, start: float) -> Run:
        begun = max(start, self._free.get(command.process, 0.0))
        run = Run(command.process, begun, begun, begun)
        for number, one in enumerate(command.phases):
            at = begun if not number else run.end + (1 if run.busy else 0) + run.depth
            run.drains += run.depth if number else 0
            self._loop(run, one, at)
        drained = run.end + (1 if run.busy else 0) + (0 if command.process in self._flowing else run.depth)
        run.over = max(drained, run.stored)
        self._free[command.process] = run.over
        return run

    def _loop(self, run: Run, one: Phase, at: float) -> None:
        depth = self._depth(one.loop) if one.depth is None else one.depth
        latency, length = self._port(one, at) if one.port else (0.0, float(one.trips * one.interval))
        length = max(length + (one.entries - 1) * depth, 1.0)
        begun, taken = at, []
        for stream, number in one.reads:
            batch = self.take(stream, number)
            if stream not in BESIDE:
                at = max(at, batch.first)
            taken.append((stream, batch, number))
        at += latency
        end = at + length - 1
        for stream, batch, number in taken:
            if stream in BESIDE:
                first, last, behind = max(begun, batch.first), max(begun, batch.last), 0
                run.stored = max(run.stored, last)
            else:
                behind = one.tail + (max(math.ceil((length - one.tail) / number) - 1, 0) if number <= one.trips else 0)
                end = max(end, batch.last + behind)
                first, last = at, max(end - behind, at)
            run.reads.append(Taking(stream, batch, first, last, behind))
        for stream, number in one.writes:
            delay = depth + STREAM + (LINE if stream.endswith("lines") else 0)
            ahead = one.head + max(math.ceil((length - one.head - one.rest) / number) - 1, 0)
            last = max(end - one.rest, at + ahead) + delay
            batch = Batch(number, at + ahead + delay if number > 1 else last, last, run)
            run.writes.append(batch)
            self.put(stream, batch)
        if not run.phases:
            run.begin = at - latency
        run.phases.append((one.loop, at, end, depth))
        run.end, run.depth, run.busy = end, depth, run.busy + one.trips * one.interval
        run.drains += max(one.entries - 1, 0) * depth

    def _hold(self, run: Run, taking: Taking) -> None:
        """Hold up the one who writes what a command reads, where the stream's room does not let it run ahead."""
        stream, batch, first, last, behind = taking
        capacity, writer = self._capacity.get(stream), batch.writer
        if capacity is None or batch.number <= capacity or writer is None:
            return
        if stream not in BESIDE:
            last = max(run.end - behind, first)
        room = first + math.ceil((last - first) * (batch.number - capacity) / batch.number)
        late = room + 1 - writer.depth - writer.end
        if late > 0:
            writer.end += late
            writer.over += late
            for other in writer.writes:
                other.last += late
                if other.number == 1:
                    other.first = other.last
