"""What the gate says: a schedule of each loop, and what no schedule can hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Kind = Literal["recurrence", "ports", "distance", "claim", "late-read", "no-loop"]

REMEDIES: dict[Kind, str] = {
    "recurrence": "compute it an iteration ahead, or narrow it, so that what one iteration hands to the next fits into a period",
    "ports": "read, and write, a memory in one place of the loop (choose the address first), or divide it into more banks",
    "distance": "state the distance that the schedule needs, and keep iterations that far apart",
    "claim": "state the iterations from a write to its read (type=inter distance=N dependent=true), or list "
    "in hw/schedule/claims.py what keeps them apart",
    "late-read": "read the stream in the first stage: what decides about the read must be known when the iteration begins",
    "no-loop": "keep the loop: one that the compiler unrolls or removes cannot be scheduled",
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing that the loop cannot do at its interval and clock; ``chain``: the lines that make it up, as FILE:LINE."""

    kind: Kind
    loop: str
    variable: str
    file: str
    line: int
    message: str
    level: Literal["error", "warning"] = "error"
    chain: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.level}: {self.loop}: {self.message} [{self.kind}]"


@dataclass(frozen=True)
class MemoryUse:
    """How a loop uses a memory. ``reads``, ``writes``: places in the code that reach its busiest bank; ``read_stage``,
    ``write_stage``: the earliest and the latest; ``needed``: iterations from a write to a read that sees it, 0 where either is
    missing; ``claimed``: what pragmas state, 0 for independence, None where they say nothing."""

    variable: str
    storage: str
    banks: int
    reads: int
    writes: int
    read_stage: int | None
    write_stage: int | None
    needed: int
    claimed: int | None


@dataclass(frozen=True)
class LoopSchedule:
    """One pipelined loop of a top function, ``process``. ``recurrence_ns``: its largest, for each iteration; ``slow``: variables
    whose recurrences exceed the clock."""

    process: str
    name: str
    unit: str
    file: str
    line: int
    interval: int
    depth: int
    operators: int
    recurrence_ns: float
    recurrence: str
    slow: tuple[str, ...]
    memories: tuple[MemoryUse, ...]
    reads: tuple[tuple[str, int], ...]  # streams, and the stage of the last read of each
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing is an error."""
        return not any(one.level == "error" for one in self.findings)


@dataclass(frozen=True)
class Schedule:
    """All loops of a project for one device family and clock; ``budget_ns``: of a period, what logic may take."""

    family: str
    clock_mhz: float
    budget_ns: float
    loops: tuple[LoopSchedule, ...]
    findings: tuple[Finding, ...] = field(default=())

    @property
    def errors(self) -> Sequence[Finding]:
        """What fails."""
        return [one for one in self.all_findings if one.level == "error"]

    @property
    def all_findings(self) -> Sequence[Finding]:
        """Findings of the project and of every loop."""
        return [*self.findings, *(one for loop in self.loops for one in loop.findings)]

    @property
    def passed(self) -> bool:
        """Whether every loop can be scheduled."""
        return not self.errors

    def depths(self) -> dict[str, int]:
        """Cycles of an iteration of each loop, by its name."""
        return {loop.name: loop.depth for loop in self.loops}

    def document(self) -> dict[str, Any]:
        """As JSON: everything."""
        return {**asdict(self), "passed": self.passed}
