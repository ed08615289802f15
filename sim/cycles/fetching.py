"""What the processes that fetch do in time: descriptors ahead of the sequencer, words of the weight stream ahead of their loads,
and what the ports of external memory share."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import NamedTuple

from edgeflow.hw.commands import Phase
from edgeflow.hw.program import DESCRIPTOR_BYTES
from edgeflow.sim.cycles.ddr import Ddr
from edgeflow.sim.cycles.network import STREAM, Batch, Run


@dataclass(frozen=True)
class Fetcher:
    """``queue``: descriptors that may wait for the sequencer; ``capacity``: words that the stream of weights holds; ``word_bytes``:
    bytes of one; ``program_depth``, ``words_depth``: stages of the loops that fetch."""

    queue: int
    capacity: int
    word_bytes: int
    program_depth: int
    words_depth: int


class Fetch(NamedTuple):
    """When an instruction was fetched: descriptor requested, descriptor there, first word of weights, last word (cycles)."""

    start: float
    descriptor: float
    first: float
    end: float


class Transfer(NamedTuple):
    """Bytes a cycle that a port moved from one time to another."""

    first: float
    last: float
    rate: float


class _Takes(NamedTuple):
    """Words of the stream, by their numbers, and when their load took the first and the last of them."""

    words: int
    number: int
    first: float
    last: float


class Fetching:
    """Both processes, instruction by instruction. Words that have been asked for come before data, words asked for later have what
    data leave."""

    def __init__(self, fetcher: Fetcher, memory: Ddr) -> None:
        self._fetcher, self._memory = fetcher, memory
        self._descriptor = float(memory.latency)
        self._step = math.ceil(DESCRIPTOR_BYTES / min(memory.port, memory.shared))
        self._free = 0.0  # when the process of the words can begin its next segment
        self._words = 0  # of all segments so far
        self._takes: list[_Takes] = []
        self.fetches: list[Fetch] = []
        self.data: list[Transfer] = []
        self.weights: list[Transfer] = []

    def descriptor(self, room: float) -> float:
        """When the next descriptor is there, which finds a place in its queue at ``room``."""
        asked = self._descriptor
        self._descriptor = max(asked + self._step, room)
        self.fetches.append(Fetch(asked, *[self._descriptor] * 3))
        return self._there()

    def _there(self) -> float:
        """When the last descriptor can be read."""
        return self._descriptor + self._fetcher.program_depth + STREAM

    def segment(self, words: int) -> Batch:
        """The words of the instruction whose descriptor was the last."""
        begun = max(self._free, self._there()) + self._memory.latency
        rate = min(1.0, min(self._memory.weights, self._memory.shared) / self._fetcher.word_bytes)
        first = math.ceil(self._arrival(begun, 1, rate)) - 1
        end = math.ceil(self._arrival(begun, words, rate)) - 1
        room = self._words + words - self._fetcher.capacity
        if room > 0 and self._takes:
            end = max(end, math.ceil(self._taken(room)) + 1)
        delay = self._fetcher.words_depth + STREAM
        writer = Run("fetch_words", begun, end, end, self._fetcher.words_depth)
        return Batch(words, first + delay, end + delay, writer)

    def _arrival(self, begun: float, words: int, rate: float) -> float:
        """When so many words have come from a time on, which have what other ports leave."""
        time, left = begun, float(words)
        first = len(self.data)
        while first and self.data[first - 1].last > begun:
            first -= 1
        for other in self.data[first:]:
            for until, speed in ((other.first, rate), (other.last, self._beside(other.rate, rate))):
                if until > time:
                    if speed * (until - time) >= left:
                        return time + left / speed if left else time
                    time, left = until, left - speed * (until - time)
        return time + left / rate

    def _beside(self, moved: float, rate: float) -> float:
        """Words a cycle while other ports move so many bytes a cycle."""
        return min(rate, max(self._memory.shared - moved, 0.0) / self._fetcher.word_bytes)

    def _taken(self, number: int) -> float:
        """When the word of a number was taken, as far as that is known."""
        takes = self._takes[max(bisect_right(self._takes, number, key=lambda t: t.words) - 1, 0)]
        within = min(max(number - takes.words, 0), takes.number)
        return takes.first + (takes.last - takes.first) * within / takes.number

    def took(self, batch: Batch, first: float, last: float) -> None:
        """The load of the last segment took its words from one time to another."""
        writer = batch.writer
        assert writer is not None
        self._takes.append(_Takes(self._words, batch.number, first, last))
        self._words += batch.number
        self._free = writer.end + 1 + writer.depth
        self.fetches[-1] = self.fetches[-1]._replace(first=batch.first, end=max(batch.last, writer.end))
        self.weights.append(
            Transfer(writer.begin, writer.end + 1, batch.number * self._fetcher.word_bytes / (writer.end + 1 - writer.begin))
        )

    def port(self, one: Phase, at: float) -> tuple[float, float]:
        """Cycles of latency and of iterations of a loop that reaches external memory from a time on. A loop waits for its first
        word each time it is entered; writes need not wait for their answer, but the command is over only when the last one has
        come."""
        memory = self._memory
        size = (one.trips if one.words is None else one.words) * memory.word_bytes
        if not size:
            return 0.0, float(one.trips * one.interval)
        rate = min(memory.port, memory.shared)
        latency = (min(one.entries, 1) if one.port == "write" else one.entries) * memory.latency
        latency += max(math.ceil(self._free - at - latency), 0)  # after the words that are on their way
        length = math.ceil(max(one.trips * one.interval, size / rate))
        self.data.append(Transfer(at + latency, at + latency + length, size / length))
        return float(latency), float(length)
