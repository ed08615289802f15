"""The event simulation: a process that fetches descriptors and weights, one that executes them, a queue between, one memory.

Between two events every rate is constant: words that arrive, words that the running loop takes, bytes of external memory. An event
is the end of a loop, of a latency or of a segment of weights, or the queue becoming full or empty. So the time to simulate grows
with the instructions, not with the words they move. A loop whose words are late runs as slowly as they arrive.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from edgeflow.sim.cycles.ddr import Ddr

EPSILON = 1e-6  # of a cycle or word: far below one, far above the rounding of sums


class Phase(NamedTuple):
    """Consecutive loops of an instruction that run for ``cycles`` if nothing is late.

    ``words``: of the weight stream that they take, evenly, at most one a cycle; ``bytes``: of external memory that they move,
    evenly; ``latency``: cycles that their memory accesses add before the first of them.
    """

    cycles: int
    words: int = 0
    bytes: int = 0
    latency: int = 0


@dataclass(frozen=True)
class Task:
    """An instruction: cycles to hand it to its unit (0 where it continues the one before), then its phases; the words of its
    segment of the weight stream."""

    dispatch: int
    phases: tuple[Phase, ...]
    words: int


@dataclass(frozen=True)
class Fetcher:
    """What the fetching process does. ``descriptor``: cycles to read one; ``queue``: descriptors that it may be ahead;
    ``capacity``: words that the stream's queue holds; ``word_bytes``: bytes of one."""

    descriptor: int
    queue: int
    capacity: int
    word_bytes: int


class Fetch(NamedTuple):
    """When an instruction was fetched: descriptor requested, descriptor there, first word of weights, last word (cycles)."""

    start: float
    descriptor: float
    first: float
    end: float


class Execution(NamedTuple):
    """When an instruction ran, in whole cycles: ``start`` (the end of the one before), ``begin`` of its first loop, ``end``."""

    start: int
    begin: int
    end: int


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


_WAIT = Phase(1)  # for the descriptor
_IDLE = Phase(1)  # until the next whole cycle, and for the unit to be started


def simulate(tasks: Sequence[Task], fetcher: Fetcher, memory: Ddr) -> Schedule:
    """Run the tasks in order; every instruction starts and ends on a whole cycle. ValueError where the words that an instruction's
    phases take are not those of its segment."""
    schedule = Schedule()
    for i, task in enumerate(tasks):
        if sum(phase.words for phase in task.phases) != task.words:
            raise ValueError(f"instruction {i} takes other words of the weight stream than its segment of {task.words} holds")
    if not tasks:
        return schedule
    last, capacity, word_bytes, shared = len(tasks) - 1, float(fetcher.capacity), fetcher.word_bytes, memory.shared
    word_rate = min(1.0, memory.weights / word_bytes)  # words a cycle of the weight ports alone
    time, level = 0.0, 0.0
    arrivals: list[float] = []  # of descriptors

    def segment(at: float) -> tuple[float, float]:
        """A descriptor goes into its queue: when the first word of its segment comes, how many words."""
        words = tasks[len(arrivals)].words
        arrivals.append(at)
        return at + (memory.latency if words else 0), float(words)

    # The fetching process: the instruction it is at, when it asked for the descriptor, and whether it waits for room in the queue
    # of descriptors. The executing process: the instruction it is at, its remaining phases, the current one and its cycles left.
    fetch, asked, blocked = 0, 0.0, False
    ready, left = segment(float(fetcher.descriptor))
    execute, start, begin, taken = 0, 0, 0, 0  # taken: descriptors
    queue: deque[Phase] = deque()
    phase, rest = _WAIT, arrivals[0]
    while True:
        take, move = phase.words / phase.cycles, phase.bytes / phase.cycles  # for each cycle of progress
        push = word_rate if left > 0 and time >= ready - EPSILON else 0.0
        full = level >= capacity - EPSILON
        # A full queue holds the weight ports back. The memory is shared fairly: who asks for less than half of it gets that, the
        # other has the rest.
        speed = min(1.0, memory.port / move) if move else 1.0
        if full:
            push = min(push, take)
        if push * word_bytes + move * speed > shared:
            weights = min(push * word_bytes, max(shared / 2, shared - move * speed))
            push, speed = weights / word_bytes, (shared - weights) / move if move else speed
        if take and level <= EPSILON and take * speed > push:
            speed = push / take
        if full:
            push = min(push, take * speed)
        flow = push - take * speed
        schedule.samples.append(Sample(time, level, push * word_bytes, move * speed))
        # The next event.
        step = rest / speed if speed > 0 else math.inf
        if push > 0:
            step = min(step, left / push)
        elif ready > time + EPSILON:
            step = min(step, ready - time)
        if flow < 0 and level > EPSILON:
            step = min(step, level / -flow)
        elif flow > 0:
            step = min(step, (capacity - level) / flow)
        time += step
        level = min(max(level + flow * step, 0.0), capacity)
        rest -= speed * step
        left -= push * step
        # The fetching process goes on, unless there is no room for the descriptor.
        while fetch <= last and not blocked and left <= EPSILON and time >= ready - EPSILON:
            schedule.fetches.append(Fetch(asked, arrivals[fetch], ready, time))
            fetch, asked, left = fetch + 1, time, 0.0
            blocked = fetch - taken >= fetcher.queue
            if fetch <= last and not blocked:
                ready, left = segment(time + fetcher.descriptor)
                if fetch == execute:
                    rest = arrivals[execute] - time
        # The executing process goes on: with the next phase, or the next instruction.
        while rest <= EPSILON:
            if phase is _WAIT:
                begin = math.ceil(time - EPSILON) + tasks[execute].dispatch
                queue.extend(_phases(tasks[execute]))
                phase, rest, taken = _IDLE, begin - time, taken + 1
                if blocked and fetch <= last:
                    blocked = False
                    ready, left = segment(max(asked + fetcher.descriptor, time))
            elif queue:
                phase = queue.popleft()
                rest = float(phase.cycles)
            else:
                end = math.ceil(time - EPSILON)
                schedule.executions.append(Execution(start, begin, end))
                if execute == last:
                    schedule.samples.append(Sample(time, level, 0.0, 0.0))
                    return schedule
                execute, start = execute + 1, end
                phase, rest = _WAIT, max(arrivals[execute] - time, 0.0) if execute < len(arrivals) else math.inf


def _phases(task: Task) -> Iterator[Phase]:
    """What the phases of an instruction take from the memories: a latency, then their loops, no faster than a word a cycle."""
    for phase in task.phases:
        if phase.latency:
            yield Phase(phase.latency)
        cycles = max(phase.cycles, phase.words)
        if cycles:
            yield Phase(cycles, phase.words, phase.bytes)
