"""In which clock cycle of an iteration each operator runs: as soon as its operands allow, and as what iterations hand on
demands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeflow.hw.schedule.nodes import Carried, Nodes
from edgeflow.hw.schedule.recurrences import Component

EPSILON = 1e-9
TURNS = 40  # after which a component that fits would have come to rest: each turn moves what is late by whole cycles


@dataclass(frozen=True)
class Stages:
    """``start``: the cycle in which a node begins; ``end``: the one that its result belongs to. ``depth``: cycles of an
    iteration; ``stuck``: components whose operators do not pack into whole cycles, though their mean would."""

    start: Sequence[int]
    end: Sequence[int]
    depth: int
    stuck: Sequence[Component]


def schedule(nodes: Nodes, interval: int, cycles: Sequence[Component], after: Mapping[int, Sequence[int]]) -> Stages:
    """Return the schedule, as soon as possible. ``interval``: cycles from one iteration to the next.

    A component that takes longer than the clock has is taken to be as much faster as it would have to be, so that what follows
    it still has a place. ``after``: a write comes no earlier than reads of the same bank before it in the code.
    """
    time = _Time(nodes, interval, after)
    stuck = []
    for component in cycles:
        members = sorted(component.members)
        edges = [one for one in nodes.carried if one.source in component.members and one.register in component.members]
        allowed = nodes.budget * interval
        if component.largest.ns > allowed:
            time.scale.update(dict.fromkeys(members, 0.98 * allowed / component.largest.ns))
        if not time.settle(members, edges, component.members):
            if component.largest.ns <= allowed:
                stuck.append(component)
            time.scale.update(dict.fromkeys(members, 0.0))
    time.reset()
    if not time.settle(range(len(nodes.kind)), nodes.carried, None):
        raise AssertionError("a schedule exists where every cycle of registers has one")
    return Stages(time.start, time.end, max(time.end, default=0) + 1, stuck)


class _Time:
    """Cycle and nanosecond of each node, moved until nothing is early."""

    def __init__(self, nodes: Nodes, interval: int, after: Mapping[int, Sequence[int]]) -> None:
        self.nodes, self.interval, self.after = nodes, interval, after
        self.scale: dict[int, float] = {}
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        count = len(self.nodes.kind)
        self.least, self.start, self.end, self.offset = [0] * count, [0] * count, [0] * count, [0.0] * count

    def settle(self, members: Sequence[int], edges: Sequence[Carried], inside: frozenset[int] | None) -> bool:
        """Move ``members``, as if nothing else were there where ``inside`` names them; whether they come to rest."""
        depends = {
            node: [one for one in self.nodes.operands[node] if inside is None or one in inside] for node in members
        }  # fmt: skip
        turns = TURNS if inside is not None else 100 * TURNS
        for _ in range(turns):
            for node in members:
                self._place(node, depends[node])
            late = False
            for edge in edges:
                ready = self.end[edge.source]
                if self.offset[edge.source] > 0.0 or self.nodes.kind[edge.source] == "write":
                    ready += 1
                needed = ready - self.interval * edge.distance
                if needed > self.least[edge.register]:
                    self.least[edge.register] = needed
                    late = True
            if not late:
                return True
        return False

    def _place(self, node: int, operands: Sequence[int]) -> None:
        nodes, budget = self.nodes, self.nodes.budget
        stage, time = self.least[node], 0.0
        for operand in operands:
            other = self.end[operand]
            if other > stage:
                stage, time = other, self.offset[operand]
            elif other == stage and self.offset[operand] > time:
                time = self.offset[operand]
        for operand in self.after.get(node, ()):
            if self.start[operand] > stage:
                stage, time = self.start[operand], 0.0
        factor = self.scale.get(node, 1.0)
        delay = nodes.delay[node] * factor
        if nodes.stages[node] and factor == 1.0:
            if time + nodes.setup[node] > budget + EPSILON:
                stage, time = stage + 1, 0.0
            self.start[node] = stage
            self.end[node], self.offset[node] = stage + nodes.stages[node], delay
            return
        if time > 0.0 and time + delay > budget + EPSILON:
            stage, time = stage + 1, 0.0
        self.start[node] = stage
        time += delay
        while time > budget + EPSILON:  # longer than a cycle by itself: several of them
            stage, time = stage + 1, time - budget
        self.end[node], self.offset[node] = stage, time
