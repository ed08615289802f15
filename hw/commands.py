"""What the processes of the accelerator do for an instruction: commands, each a few loops with their iterations and streams.

``hw/include/edgeflow/network/sequence.hpp`` makes the commands in the hardware; operators state here what those cost
(``Unit.commands``), and C simulation counts the same iterations by the names of the loops.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from edgeflow.hw.cost import Cycles

PARAMETERS = "parameters"  # the loop of vector units that takes parameters from the weight stream


class Items(NamedTuple):
    """Items of a stream that a loop reads or writes, spread evenly over its iterations."""

    stream: str
    number: int


class Phase(NamedTuple):
    """A loop of a command: ``trips`` iterations in all, ``interval`` cycles apart, in ``entries`` runs one after another.

    It reads the items of each of ``reads`` at the beginning of their shares of the iterations, and writes those of ``writes`` at
    the ends of theirs. ``port``: as of :class:`edgeflow.hw.cost.Loop`; ``words``: what it moves there, where that is not a word an
    iteration; ``depth``: of its pipeline, where the unit states it (else hw/process_depths.py). ``head``: iterations before it
    begins to write; ``tail``, ``rest``: those at its end in which it reads, and writes, no more.
    """

    loop: str
    trips: int
    reads: tuple[Items, ...] = ()
    writes: tuple[Items, ...] = ()
    entries: int = 1
    interval: int = 1
    port: str = ""
    words: int | None = None
    depth: int | None = None
    head: int = 0
    tail: int = 0
    rest: int = 0


class Command(NamedTuple):
    """One command of a process (hw/process_network.py); its loops run one after another. ``notice``: the sequencer hands out
    nothing more until the process has said that it is done."""

    process: str
    phases: tuple[Phase, ...]
    notice: bool = False


def phase(loop: str, trips: int, reads: Mapping[str, int] | None = None, writes: Mapping[str, int] | None = None) -> Phase:
    """A loop; streams of which it takes nothing are left out."""
    return Phase(loop, trips, _items(reads), _items(writes))


def _items(counts: Mapping[str, int] | None) -> tuple[Items, ...]:
    return tuple(Items(stream, count) for stream, count in (counts or {}).items() if count)


def loops(commands: Iterable[Command]) -> dict[tuple[str, str], tuple[int, int]]:
    """Entries and iterations of every loop by the names of its process and its own, as C simulation counts them."""
    counted: dict[tuple[str, str], tuple[int, int]] = {}
    for command in commands:
        for one in command.phases:
            name = command.process, one.loop
            entries, trips = counted.get(name, (0, 0))
            counted[name] = entries + one.entries, trips + one.trips
            if one.words is not None:
                counted[command.process, f"{one.loop} words"] = 0, one.words
    return {name: counts for name, counts in counted.items() if any(counts)}


def vector_commands(cycles: Cycles, words: int, asks: bool) -> tuple[Command, ...]:
    """An instruction of a vector unit whose loops are those of ``cycles``: its ``words`` of the weight stream are passed on to the
    first of them (to that of the parameters, where there is one); ``asks``: another process asks for the lines that it reads."""
    names = list(cycles.loops)
    taker = PARAMETERS if PARAMETERS in names else names[0] if names else None
    commands = []
    if words:
        commands.append(Command("load", (phase("load", words, {"words": words}, {"vector_words": words}),)))
    asking, computing = [], []
    for name, loop in cycles.loops.items():
        moved = cycles.inside.get(f"{name} words")
        taken = (Items("vector_words", words),) if words and name == taker else ()
        own = Phase(name, loop.trips, (), (), loop.entries, loop.ii, loop.port, moved, loop.depth)
        # What fills the scratchpad or a table from a memory reads no lines.
        lines = (Items("lines", loop.trips),) if asks and loop.trips and not taken and loop.port in ("", "write") else ()
        asking.append(own._replace(writes=lines, port="", words=None))
        computing.append(own._replace(reads=(*taken, *lines)))
    if asks:
        commands.append(Command("ask", tuple(asking)))
    return (*commands, Command("vector", tuple(computing), notice=True))
