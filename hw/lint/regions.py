"""What a walk through a circuit's code finds: pipelined and dataflow regions with the memories that they access."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edgeflow.hw.lint.scopes import Ref, Storage
from edgeflow.hw.lint.source import Node


@dataclass(frozen=True)
class Access:
    """One element read or written; for a stream, one item."""

    ref: Ref
    write: bool
    file: Path
    line: int


@dataclass
class Group:
    """Accesses that all happen (``exclusive`` False), or of which one part happens (True)."""

    exclusive: bool = False
    parts: list[Access | Group] = field(default_factory=list)

    def accesses(self) -> list[Access]:
        """Return all accesses of this group and those inside."""
        accesses: list[Access] = []
        for part in self.parts:
            if isinstance(part, Access):
                accesses.append(part)
            else:
                accesses += part.accesses()
        return accesses


@dataclass
class Region:
    """A pipelined loop or function as one call reaches it.

    ``interval`` is the II asked for (None: unknown); ``counter`` is the birth of the number of the iteration, ``step`` is 1,
    or None where the loop's variable grows by an unknown amount.  Variables that are born from ``birth`` on live within one
    iteration, those in ``assigned`` change from one to the next.  ``loops`` are inner loops with a trip count that is not
    known when the circuit is built, ``divisions`` the places that divide by what is not constant.
    """

    node: Node
    interval: int | None
    birth: int
    counter: int | None
    step: int | None
    assigned: frozenset[int]
    group: Group = field(default_factory=Group)
    accesses: list[Access] = field(default_factory=list)
    independent: list[Ref] = field(default_factory=list)
    everything_independent: bool = False
    sizes: dict[tuple[Storage, tuple[str, ...]], list[int | None]] = field(default_factory=dict)
    loops: list[Node] = field(default_factory=list)
    divisions: list[tuple[Path, int]] = field(default_factory=list)


@dataclass
class Process:
    """One call in a dataflow region."""

    name: str
    node: Node
    group: Group


@dataclass
class Dataflow:
    """A region whose calls run at the same time; ``others`` are its statements that are neither calls nor declarations."""

    node: Node
    processes: list[Process] = field(default_factory=list)
    others: list[Node] = field(default_factory=list)
    bundles: dict[str, str] = field(default_factory=dict)


@dataclass
class LocalArray:
    """An array that a function declares outside of pipelined code, with its size if that is known."""

    storage: Storage
    bits: int


@dataclass
class Trace:
    """Everything that the walk found.

    ``unrolled`` are loops to be unrolled whose trip count is not known, ``known`` the loops that were unrolled.
    """

    regions: list[Region] = field(default_factory=list)
    dataflow: list[Dataflow] = field(default_factory=list)
    arrays: list[LocalArray] = field(default_factory=list)
    unrolled: list[Node] = field(default_factory=list)
    known: set[Node] = field(default_factory=set)
