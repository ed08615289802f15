"""Cycles and resources as operators state them; what is not known says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Unknown:
    """A cost that nobody has established, with the reason. Never zero."""

    reason: str


Count = int | Unknown


@dataclass(frozen=True)
class Resources:
    """FPGA primitives of one unit. ``part_of``: the unit that it runs on and that counts them, where it has none of its own."""

    dsp: Count
    lut: Count
    ff: Count
    bram36: Count
    uram: Count
    part_of: str = ""


@dataclass(frozen=True)
class Logic:
    """LUTs, flip-flops, DSP slices and RAMB18 of a part of a unit, which add up."""

    lut: int
    ff: int
    dsp: int = 0
    bram18: int = 0

    def __add__(self, other: Logic) -> Logic:
        return Logic(self.lut + other.lut, self.ff + other.ff, self.dsp + other.dsp, self.bram18 + other.bram18)

    def __mul__(self, copies: int) -> Logic:
        return Logic(copies * self.lut, copies * self.ff, copies * self.dsp, copies * self.bram18)


RESOURCE_NAMES = ("dsp", "lut", "ff", "bram36", "uram")


@dataclass(frozen=True)
class Loop:
    """A pipelined loop as its unit runs it during one instruction.

    ``trips``: iterations in all, exactly those that the C++ counts with ``EDGEFLOW_COUNT``; ``entries``: how often the loop is
    entered; ``ii``: initiation interval; ``depth``: cycles from the last iteration's start to its end, paid at every entry.
    ``port``: what each iteration reads or writes one AXI word of, if anything: ``"constants"`` (the weight image), or external
    memory (``"read"``, ``"write"``); fewer where ``inside`` of the instruction counts ``"<loop> words"``. The cycle simulator adds
    the memory's latency and bandwidth; ``depth`` leaves them out.
    """

    trips: int
    entries: int = 1
    ii: int = 1
    depth: int = 0
    port: Literal["", "constants", "read", "write"] = ""


@dataclass(frozen=True)
class Cycles:
    """Predicted clock cycles of one instruction: its loops by name run one after another.

    ``inside`` are counts of work that happens inside those loops (same counters in the C++) and costs no cycles of its own.
    """

    loops: Mapping[str, Loop]
    inside: Mapping[str, int] = field(default_factory=dict)
