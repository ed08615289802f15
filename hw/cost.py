"""Cycles and resources as operators state them; what is not known says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Unknown:
    """A cost that nobody has established, with the reason. Never zero."""

    reason: str


Count = int | Unknown


@dataclass(frozen=True)
class Resources:
    """FPGA primitives of one unit."""

    dsp: Count
    lut: Count
    ff: Count
    bram36: Count
    uram: Count


RESOURCE_NAMES = ("dsp", "lut", "ff", "bram36", "uram")


@dataclass(frozen=True)
class Cycles:
    """Predicted clock cycles of one instruction, with named parts (loop nests) that add up to ``total``."""

    parts: Mapping[str, int]
    macs: int = 0
    total: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", sum(self.parts.values()))
