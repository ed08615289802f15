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
from edgeflow.hw.process_network import ISSUE_ORDER, channels

STREAM = 1  # cycles from a write to the earliest read
LINE = 4  # cycles from a request of the scratchpad to its line, without other clients in its bank (hw/scratchpad_core.py)
SCRATCHPAD_NOTICE = 1  # cycles from a write that carries a notice to the notice (hw/scratchpad_core.py)
MULTIPLY = "multiply"  # says itself that it is done; of the others the last write says so
BESIDE = frozenset(channel.name for channel in channels().values() if channel.beside)
ISSUED = {process: place for place, process in enumerate(ISSUE_ORDER)}


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
    between them; ``read``: when its process read it; ``phases``: each loop's first and last, and its depth."""

    process: str
    begin: float
    end: float = 0.0
    over: float = 0.0
    stored: float = 0.0
    depth: int = 0
    busy: int = 0
    drains: int = 0
    read: float = 0.0
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


class Stretch(NamedTuple):
    """What an instruction's commands did: the run of its foremost process; when all are over; when the last notice is there, if any
    is; the items that others had written, and the cycle of the last iteration of the run that took them; all runs, in detail;
    when the last command could be read."""

    main: Run
    over: float
    told: float | None
    taken: tuple[tuple[Taking, float], ...]
    runs: tuple[Run, ...]
    issued: float


class Repeatable(NamedTuple):
    """A stretch in cycles from when its commands were issued; when each process is free after it; the items that it left to others,
    and the runs that wrote them; when each command was read."""

    stretch: Stretch
    free: tuple[tuple[str, float], ...]
    left: tuple[tuple[str, Batch, Run], ...]
    begun: tuple[tuple[str, float], ...]


class Needs(NamedTuple):
    """What an instruction's commands depend on: the processes, and for each of the items that others have written the stream, its
    place in it, and iterations behind the last of them. Not ``steady``: external memory, too, which has a time of its own.
    ``order``: the commands' places, in the order in which they are issued."""

    processes: tuple[str, ...]
    items: tuple[tuple[str, int, int], ...]
    steady: bool
    order: tuple[int, ...]


Port = Callable[[Phase, float], tuple[float, float]]
"""Cycles that a loop's memory accesses add before its first iteration, and cycles that its iterations take, if it begins at a
time."""


class Network:
    """The processes at some time. ``depth``: pipeline stages of a loop by its name; ``capacity``: items that a stream holds by
    its name, none for those that nothing holds up; ``port``: of loops that reach external memory; ``flowing``: processes that
    take a command while the one before drains.

    Not in ``detail``, runs have no phases, and of what they read and write only what crosses instructions. Then commands that find
    the processes as they were found before, but later, are not simulated again.
    """

    def __init__(
        self, depth: Callable[[str], int], capacity: Mapping[str, int], port: Port, flowing: frozenset[str], *, detail: bool = True
    ) -> None:
        self._depth, self._capacity, self._port, self._flowing, self._detail = depth, capacity, port, flowing, detail
        self._free: dict[str, float] = {}
        self._begun: dict[str, deque[float]] = {}  # when each process read its last commands, as many as may wait for it
        self._streams: dict[str, deque[Batch]] = {}
        self._needs: dict[int, Needs] = {}
        self._known: dict[tuple[float, ...], Repeatable] = {}

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

    def run(self, commands: Sequence[Command], main: str, start: float) -> Stretch:
        """Run the commands of an instruction, writers of a stream before its readers, of which the first can be read at ``start``;
        ``main``: its foremost process. Commands that are the same object must stay as they are while the network lives."""
        needs = self._needs.get(id(commands))
        if needs is None:
            needs = self._needs[id(commands)] = _needs(commands)
        starts, issued = self._issue(commands, needs, start)
        if self._detail or not needs.steady:
            return self._simulated(commands, main, starts, issued)
        key = self._state(commands, needs, start, starts)
        known = self._known.get(key)
        if known is not None:
            return self._again(known, start)
        stretch = self._simulated(commands, main, starts, issued)
        own = {id(run) for run in stretch.runs}
        free = tuple((process, self._free[process] - start) for process in needs.processes)
        left = [(name, batch) for name, queue in self._streams.items() for batch in queue if id(batch.writer) in own]
        self._known[key] = _repeatable(stretch, free, left, start)
        return stretch

    def _issue(self, commands: Sequence[Command], needs: Needs, start: float) -> tuple[list[float], float]:
        """When each of the commands can be read, and the last of them: one goes out when its process's queue has room, those
        behind it no earlier."""
        starts = [start] * len(commands)
        own: dict[str, list[float]] = {}
        for place in needs.order:
            process = commands[place].process
            room = self._capacity.get(f"{process}_commands")
            if room is not None:
                before = [*self._begun.get(process, ()), *own.get(process, ())]
                if len(before) >= room:
                    start = max(start, before[-room] + 1 + STREAM)
                own.setdefault(process, []).append(max(start, self.free(process)))
            starts[place] = start
        return starts, start

    def _state(self, commands: Sequence[Command], needs: Needs, start: float, starts: Sequence[float]) -> tuple[float, ...]:
        """All that the runs of commands depend on, in cycles from ``start``; what is over by then is as good as over at once."""
        free, state = self._free, [float(id(commands)), *(one - start for one in starts)]
        for process in needs.processes:
            time = free.get(process, 0.0) - start
            state.append(time if time > 0 else 0.0)
        for stream, place, behind in needs.items:
            batch = self._streams[stream][place]
            first, last = batch.first - start, batch.last - start
            state += (batch.number, first if first > 0 else 0.0, last if last > -behind else -behind)
        return tuple(state)

    def _again(self, known: Repeatable, start: float) -> Stretch:
        """Do what was done before, now from ``start`` on."""
        taken = []
        for (stream, old, first, last, behind), end in known.stretch.taken:
            taking = Taking(stream, self.take(stream, old.number), first + start, last + start, behind)
            self._hold(end + start, taking)
            taken.append((taking, end + start))
        for stream, batch, writer in known.left:
            self.put(stream, Batch(batch.number, batch.first + start, batch.last + start, _shifted(writer, start)))
        for process, over in known.free:
            self._free[process] = over + start
        for process, begun in known.begun:
            self._note(process, begun + start)
        main, over, told, _, _, issued = known.stretch
        told = None if told is None else told + start
        return Stretch(_shifted(main, start), over + start, told, tuple(taken), (), issued + start)

    def _note(self, process: str, begun: float) -> None:
        """A process read a command."""
        known = self._begun.get(process)
        if known is None:
            known = self._begun[process] = deque(maxlen=self._capacity.get(f"{process}_commands", 0))
        known.append(begun)

    def _simulated(self, commands: Sequence[Command], main: str, starts: Sequence[float], issued: float) -> Stretch:
        before = {id(batch) for queue in self._streams.values() for batch in queue}
        runs = [self._one(command, start) for command, start in zip(commands, starts, strict=True)]
        for run in reversed(runs):
            for taking in run.reads:
                self._hold(run.end, taking)
        for run in runs:
            self._free[run.process] = max(self._free[run.process], run.over)
        told = [_told(run) for command, run in zip(commands, runs, strict=True) if command.notice]
        taken = tuple((taking, run.end) for run in runs for taking in run.reads if id(taking.batch) in before)
        foremost = next((run for run in runs if run.process == main), runs[-1])
        return Stretch(foremost, max(run.over for run in runs), max(told, default=None), taken, tuple(runs), issued)

    def _one(self, command: Command, start: float) -> Run:
        begun = max(start, self._free.get(command.process, 0.0))
        self._note(command.process, begun)
        run = Run(command.process, begun, begun, begun, read=begun)
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

    def _hold(self, end: float, taking: Taking) -> None:
        """Hold up the one who writes what a command reads, which ends at ``end``, where the stream's room does not let it run
        ahead."""
        stream, batch, first, last, behind = taking
        capacity, writer = self._capacity.get(stream), batch.writer
        if capacity is None or batch.number <= capacity or writer is None:
            return
        if stream not in BESIDE:
            last = max(end - behind, first)
        room = first + math.ceil((last - first) * (batch.number - capacity) / batch.number)
        late = room + 1 - writer.depth - writer.end
        if late > 0:
            writer.end += late
            writer.over += late
            for other in writer.writes:
                other.last += late
                if other.number == 1:
                    other.first = other.last


def _needs(commands: Sequence[Command]) -> Needs:
    written: dict[str, int] = {}
    places: dict[str, int] = {}
    items = []
    for command in commands:
        for one in command.phases:
            for stream, _ in one.reads:
                if written.get(stream, 0):
                    written[stream] -= 1
                else:
                    places[stream] = places.get(stream, 0) + 1
                    items.append((stream, places[stream] - 1, one.tail))
            for stream, _ in one.writes:
                written[stream] = written.get(stream, 0) + 1
    processes = tuple(dict.fromkeys(command.process for command in commands))
    order = tuple(sorted(range(len(commands)), key=lambda place: ISSUED[commands[place].process]))
    return Needs(processes, tuple(items), not any(one.port for command in commands for one in command.phases), order)


def _repeatable(
    stretch: Stretch, free: tuple[tuple[str, float], ...], left: Sequence[tuple[str, Batch]], start: float
) -> Repeatable:
    taken = tuple(
        (Taking(t.stream, Batch(t.batch.number, 0.0, 0.0), t.first - start, t.last - start, t.behind), end - start)
        for t, end in stretch.taken
    )
    told = None if stretch.told is None else stretch.told - start
    items = []
    for stream, batch in left:
        assert batch.writer is not None
        items.append((stream, Batch(batch.number, batch.first - start, batch.last - start), _shifted(batch.writer, -start)))
    begun = tuple((run.process, run.read - start) for run in stretch.runs)
    own = Stretch(_shifted(stretch.main, -start), stretch.over - start, told, taken, (), stretch.issued - start)
    return Repeatable(own, free, tuple(items), begun)


def _told(run: Run) -> float:
    """When the notice that a run gives is there."""
    return run.end + run.depth + STREAM + (0 if run.process == MULTIPLY else SCRATCHPAD_NOTICE)


def _shifted(run: Run, by: float) -> Run:
    """A run at another time, without its phases and items."""
    return Run(run.process, run.begin + by, run.end + by, run.over + by, run.stored + by, run.depth, run.busy, run.drains)
