"""The array's process in Verilog (``hw/rtl/edgeflow_array_process.v``): the core with its commands, in cycles.

The process is :class:`edgeflow.hw.array_core.ArrayCore` behind streams; it has the same parameters. Cycles are those between
transfers on its ports, as ``tests/hw/rtl`` compares them with simulation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from edgeflow.hw.array_core import ArrayCore

TOP = "edgeflow_array_process"
DECODED = 2  # cycles from a command's transfer to the first one in which its steps and words are taken


@dataclass(frozen=True)
class ArrayCommand:
    """``rows`` of ``steps`` steps, and beside them ``loads`` words of operands; ``notice``: it says when it is done."""

    rows: int = 0
    steps: int = 0
    loads: int = 0
    notice: bool = False


@dataclass(frozen=True)
class Transfers:
    """The cycles in which items are transferred, in the order of each stream, from the first command's on."""

    commands: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    loads: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    notices: list[int] = field(default_factory=list)


def transfers(core: ArrayCore, commands: Iterable[ArrayCommand]) -> Transfers:
    """When everything is transferred where no stream makes the process wait: all items are there, and all that it writes is taken.

    A command takes ``max(steps, loads, 1)`` cycles, its steps a few more where its rows are so short that the core has no room for
    their sums (:meth:`ArrayCore.interval`). The next command begins in the cycle after; two are decoded ahead. A second notice
    waits for the one before.
    """
    result = Transfers()
    begun: list[int] = []
    free = 0  # first cycle that no command has
    told = -1  # the cycle of the last notice
    for number, command in enumerate(commands):
        taken = max(result.commands[-1] + 1, begun[-2] if number > 1 else 0) if result.commands else 0
        begin = max(free, taken + DECODED)
        result.commands.append(taken)
        begun.append(begin)
        result.loads.extend(range(begin, begin + command.loads))
        at = begin
        for _ in range(command.rows if command.steps else 0):
            row = len(result.rows)
            at = max(at, result.rows[row - core.rows] + 1 if row >= core.rows else 0)
            result.steps.extend(range(at, at + command.steps))
            at += command.steps
            result.rows.append(at - 1 + core.latency)
        last = max(at - 1, begin + command.loads - 1, begin)
        if command.notice:
            last = max(last, told + 1)
            told = max(last, result.rows[-1] if result.rows else 0) + 1
            result.notices.append(told)
        free = last + 1
    return result
