"""A program in time: the sequencer hands out the commands of one instruction after another, the processes run them."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from edgeflow.hw.commands import Command
from edgeflow.sim.cycles.ddr import Ddr
from edgeflow.sim.cycles.fetching import Fetch, Fetcher, Fetching, Transfer
from edgeflow.sim.cycles.network import MULTIPLY, STREAM, Network, Run

FLOWING = frozenset({MULTIPLY})  # the core takes the next command while the sums of the one before come


@dataclass(frozen=True)
class Task:
    """An instruction: what its processes do, the process whose work it is foremost, words of its segment of the weight stream."""

    commands: tuple[Command, ...]
    main: str
    words: int


class Execution(NamedTuple):
    """When an instruction ran, in whole cycles: ``start``, the end of the one before; ``begin``, when its foremost process
    begins, no earlier than that; ``end``, when all of its processes and of those before are done. ``main``: its foremost process;
    ``runs``: all."""

    start: int
    begin: int
    end: int
    main: Run
    runs: tuple[Run, ...]


class Sample(NamedTuple):
    """From ``time`` on: words in the queue at that time, bytes a cycle that the weight ports and the other ports move."""

    time: float
    level: float
    weights: float
    data: float


@dataclass
class Schedule:
    """Everything that happened, in order of the instructions; ``samples`` in order of time."""

    fetches: list[Fetch] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    @property
    def cycles(self) -> int:
        """Clock cycles until the last instruction has ended."""
        return self.executions[-1].end if self.executions else 0


def simulate(
    tasks: Sequence[Task],
    fetcher: Fetcher,
    memory: Ddr,
    depth: Callable[[str], int],
    capacity: Mapping[str, int],
    *,
    detail: bool = True,
) -> Schedule:
    """Run the tasks in order. ``depth``: pipeline stages of a loop; ``capacity``: items a stream holds. Without ``detail``, only
    when instructions begin and end, which is the same and takes a fraction of the time: no samples, no phases of runs."""
    schedule = Schedule()
    fetching = Fetching(fetcher, memory)
    network = Network(depth, capacity, fetching.port, FLOWING, detail=detail)
    decode = depth("instructions")
    ready, end = 0.0, 0
    taken: list[float] = []
    levels: list[tuple[float, float, float]] = []
    for number, task in enumerate(tasks):
        there = fetching.descriptor(taken[number - fetcher.queue] if number >= fetcher.queue else 0.0)
        ready = max(ready + 1, there)
        taken.append(ready)
        batch = fetching.segment(task.words) if task.words else None
        if batch is not None:
            network.put("words", batch)
        main, over, told, taken_items, runs, issued = network.run(task.commands, task.main, ready + decode + STREAM)
        if batch is not None:
            taking = next(taking for taking, _ in taken_items if taking.batch is batch)
            fetching.took(batch, taking.first, taking.last)
            levels += [(batch.first, batch.last, batch.number), (taking.first, taking.last, -batch.number)]
        ready = max(ready, issued - decode - STREAM)
        # What follows without a notice in between runs while the last processes of this instruction are still busy.
        if told is not None:
            ready = max(ready, told)
        over = max(end, math.ceil(max(ready, over) if told is not None else max(main.end + 1, main.stored)))
        begin = min(max(math.floor(main.begin), end), over)
        schedule.executions.append(Execution(end, begin, over, main, runs))
        end = over
    schedule.fetches = fetching.fetches
    if detail:
        schedule.samples = list(_samples(levels, fetching.weights, fetching.data))
    return schedule


def _samples(
    levels: Sequence[tuple[float, float, float]], weights: Sequence[Transfer], data: Sequence[Transfer]
) -> Iterator[Sample]:
    """Levels and rates whenever one of the rates changes."""
    changes: list[tuple[float, float, float, float]] = []  # time, words a cycle, bytes a cycle of both kinds of ports
    for first, last, number in levels:
        rate = number / max(last - first, 1.0)
        changes += [(first, rate, 0.0, 0.0), (max(last, first + 1), -rate, 0.0, 0.0)]
    for which, transfers in ((0, weights), (1, data)):
        for moved in transfers:
            changes += [(moved.first, 0.0, *_at(which, moved.rate)), (moved.last, 0.0, *_at(which, -moved.rate))]
    heapq.heapify(changes)
    time = level = flow = weight = other = 0.0
    while changes:
        at, *_ = changes[0]
        level, time = max(level + flow * (at - time), 0.0), at
        while changes and changes[0][0] <= at:
            _, words, one, two = heapq.heappop(changes)
            flow, weight, other = flow + words, weight + one, other + two
        yield Sample(time, level, max(weight, 0.0), max(other, 0.0))


def _at(which: int, rate: float) -> tuple[float, float]:
    return (rate, 0.0) if which == 0 else (0.0, rate)
