"""What a schedule has to keep: recurrences within the period, memories within their ports, distances that pragmas claim."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from edgeflow.hw.schedule.claims import KEPT, Kept
from edgeflow.hw.schedule.graph import Builder
from edgeflow.hw.schedule.iteration import Access, Dataflow
from edgeflow.hw.schedule.memories import PORTS, Memory
from edgeflow.hw.schedule.places import Places
from edgeflow.hw.schedule.recurrences import Component, Recurrence
from edgeflow.hw.schedule.report import Finding, MemoryUse
from edgeflow.hw.schedule.stages import Stages


class Checks:
    """The findings of one loop."""

    def __init__(
        self, name: str, builder: Builder, places: Places, stages: Stages, kept: Mapping[tuple[str, str], Kept] = KEPT
    ) -> None:
        self.name, self.builder, self.places, self.stages, self.kept = name, builder, places, stages, kept
        self.flow: Dataflow = builder.flow
        self.nodes = builder.nodes
        self.interval = builder.loop.interval
        self.allowed = self.nodes.budget * self.interval
        self.findings: list[Finding] = []

    def _report(self, kind: str, variable: str, lines: Sequence[str], message: str, level: str = "error") -> None:
        place = lines[-1] if lines else str(self.places.loop)
        file, _, line = place.rpartition(":")
        finding = Finding(kind, self.name, variable, file, int(line), message, level, tuple(lines))  # type: ignore[arg-type]
        if finding not in self.findings:
            self.findings.append(finding)

    @property
    def _period(self) -> str:
        return "cycle" if self.interval == 1 else f"{self.interval} cycles"

    # ---- recurrences -----------------------------------------------------------------------------------------------------------

    def name_of(self, recurrence: Recurrence) -> tuple[str, list[str]]:
        """The variable of a recurrence, and the lines that make it up."""
        chain = self.places.chain(self.nodes, recurrence.chain)
        return self.places.variable(self.nodes.title[recurrence.register], chain), [str(place) for place in chain]

    def recurrences(self, cycles: Sequence[Component]) -> list[str]:
        """Report components that exceed the period; return the variables that do."""
        slow: dict[str, float] = {}
        for component in cycles:
            if component.largest.ns > self.allowed or component in self.stages.stuck:
                variable, lines = self.name_of(component.largest)
                others: dict[str, float] = {}
                for one in component.own:
                    if one.ns > self.allowed:
                        others.setdefault(self.name_of(one)[0], one.ns)
                slow[variable] = max(slow.get(variable, 0.0), component.largest.ns)
                for other, ns in others.items():
                    slow[other] = max(slow.get(other, 0.0), ns)
                self._recurrence(component, variable, lines, [other for other in others if other != variable])
        return sorted(slow, key=lambda name: (-slow[name], name))

    def _recurrence(self, component: Component, variable: str, lines: list[str], others: Sequence[str]) -> None:
        largest = component.largest
        over = f" over {largest.distance} iterations" if largest.distance > 1 else ""
        also = f"; so do {', '.join(others[:6])}{' and others' if len(others) > 6 else ''}" if others else ""
        if largest.ns > self.allowed:
            allowed = f"{self.allowed:.2f} ns are allowed"
            message = f"{variable} takes {largest.ns:.2f} ns from one iteration to the next{over}, and {allowed}{also}"
        else:
            message = f"{variable} ({largest.ns:.2f} ns) does not pack into whole cycles of {self.allowed:.2f} ns{also}"
        self._report("recurrence", variable, lines, message)

    # ---- memories --------------------------------------------------------------------------------------------------------------

    def memories(self) -> list[MemoryUse]:
        """Report memories that have too few ports or whose distances are not kept."""
        by_memory: dict[str, list[Access]] = {}
        for access in self.flow.accesses:
            by_memory.setdefault(access.memory, []).append(access)
        return [self._memory(self.flow.memories[name], accesses) for name, accesses in by_memory.items()]

    def _memory(self, memory: Memory, accesses: Sequence[Access]) -> MemoryUse:
        sites: dict[tuple[int | None, ...], tuple[dict[object, int], dict[object, int]]] = {}
        for access in accesses:
            reads_writes = sites.setdefault(access.bank, ({}, {}))
            # Two writes of one address in different branches are two places of the code; reads of one address are one.
            key = (access.key, access.node) if access.writes else access.key
            reads_writes[access.writes].setdefault(key, access.place)
        busiest = max(sites.values(), key=lambda pair: (max(self._excess(memory, pair), 0), len(pair[0]) + len(pair[1])))
        title = self._title(memory)
        if self._excess(memory, busiest) > 0:
            reads, writes, total = PORTS.get(memory.storage, PORTS[""]) if memory.kind != "axi" else (1, 1, 1)
            lines = self._lines([*busiest[0].values(), *busiest[1].values()])
            storage = memory.storage or ("an AXI port" if memory.kind == "axi" else "a memory without BIND_STORAGE")
            has = f"{reads} read and {writes} write" if total > max(reads, writes) else f"{total} access{'es' * (total > 1)}"
            self._report(
                "ports", title, lines,
                f"a bank of {title} is read in {len(busiest[0])} and written in {len(busiest[1])} places each {self._period}; "
                f"{storage} takes {has} a cycle (lines {', '.join(lines)})",
            )  # fmt: skip
        return self._distances(memory, title, accesses, len(sites), (len(busiest[0]), len(busiest[1])))

    def _title(self, memory: Memory) -> str:
        """The object as the loop's function calls it, else as whoever first speaks of it does."""
        own = [pragma.variable for pragma in memory.marks if self.builder.applies(pragma)]
        return own[0] if own else re.sub(r"^_Z\d+L\d+|\.\d+$", "", memory.title)

    def _excess(self, memory: Memory, pair: tuple[Mapping[object, int], Mapping[object, int]]) -> int:
        reads, writes, total = PORTS.get(memory.storage, PORTS[""]) if memory.kind != "axi" else (1, 1, 2)
        a, b = len(pair[0]), len(pair[1])
        return max(a - reads * self.interval, b - writes * self.interval, a + b - total * self.interval)

    def _lines(self, numbers: Iterable[int]) -> list[str]:
        places = []
        for number in numbers:
            for place, _ in self.places.module.places(number):
                if place.line and not place.file.endswith(("ap_int.h", "hls_stream.h")):
                    places.append(f"{self.places.file(place.file)}:{place.line}")
                    break
        return list(dict.fromkeys(places))

    def _distances(self, memory: Memory, title: str, accesses: Sequence[Access], banks: int, sites: tuple[int, int]) -> MemoryUse:
        reads = [one for one in accesses if not one.writes]
        writes = [one for one in accesses if one.writes]
        first = min((self.stages.start[self._begins(one.node)] for one in reads), default=None)
        last = max((self.stages.end[one.node] for one in writes), default=None)
        claims = [value for pragma, value in memory.claims if self.builder.applies(pragma)]
        claimed = min(claims, default=None)
        needed = 0
        if memory.kind != "axi" and first is not None and last is not None:
            shared = {one.bank for one in reads} & {one.bank for one in writes}
            pairs = [
                self.stages.end[w.node] - self.stages.start[self._begins(r.node)] + 1
                for bank in shared
                for r in reads if r.bank == bank
                for w in writes if w.bank == bank
            ]  # fmt: skip
            needed = max(0, -(-max(pairs, default=0) // self.interval))
            if claimed is not None and needed > 0:
                self._claim(memory, title, needed, claimed, self._lines(one.place for one in (*writes[:1], *reads[:1])))
        return MemoryUse(title, memory.storage, banks, *sites, first, last, needed, claimed)

    def _begins(self, node: int) -> int:
        """The read itself, where a node is the multiplexer behind it."""
        while self.nodes.kind[node] == "mux":
            node = self.nodes.operands[node][0]
        return node

    def _claim(self, memory: Memory, title: str, needed: int, claimed: int, lines: list[str]) -> None:
        if claimed > 0:
            if claimed < needed:
                self._report(
                    "distance", title, lines,
                    f"what an iteration writes to {title} can be read {needed} iterations later; the pragma claims {claimed}",
                )  # fmt: skip
            return
        kept = self.kept.get((self.name.split(" ")[0], title))
        if kept is None:
            self._report(
                "claim", title, lines,
                f"iterations are said not to depend on each other through {title}, but what one writes can be read only {needed} "
                "iterations later, and nothing says that it is not read before",
            )  # fmt: skip
        elif kept.distance is not None and kept.distance < needed:
            self._report(
                "distance", title, lines,
                f"what an iteration writes to {title} can be read {needed} iterations later; {kept.why} keeps them "
                f"{kept.distance} apart",
            )  # fmt: skip

    # ---- streams ---------------------------------------------------------------------------------------------------------------

    def streams(self) -> list[tuple[str, int]]:
        """Report streams that are read late or more often than once a cycle; return each with the stage of its last read."""
        stages: dict[str, int] = {}
        counts: dict[tuple[str, bool], list[int]] = {}
        for queue in self.flow.queues:
            title = self.flow.memories[queue.stream].title
            counts.setdefault((title, queue.writes), []).append(queue.place)
            if not queue.writes:
                stages[title] = max(stages.get(title, 0), self.stages.start[queue.node])
                if self.stages.start[queue.node] >= self.interval:
                    lines = self._lines([queue.place])
                    self._report(
                        "late-read", title, lines,
                        f"{title} is read in stage {self.stages.start[queue.node]}: iterations begin whose data may not be there",
                        "warning",
                    )  # fmt: skip
        for (title, writes), places in counts.items():
            if len(places) > self.interval:
                what = "written" if writes else "read"
                self._report(
                    "ports", title, self._lines(places),
                    f"{title} is {what} in {len(places)} places each {self._period}; a stream takes one a cycle",
                )  # fmt: skip
        return sorted(stages.items())
