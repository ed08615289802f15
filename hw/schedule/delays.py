"""What operators cost in time: the table of a device family, and formulas over bits (``delays.toml`` says where its figures
stand)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import ceil, log2
from pathlib import Path
from typing import Any

UNCERTAINTY = 0.27
"""Share of the period that the vendor's tool keeps back by default (AMD UG1399, ``set_clock_uncertainty``)."""

FAMILIES = {"zynq-ultrascale+": "ultrascale-plus", "zynq-7000": "series-7"}
"""The table of each board family; the slower grades of a family (-1, -2LV) have none of their own, so they are taken for the
faster."""


@dataclass(frozen=True)
class Delays:
    """The delays of one family in ns; ``bits``: of the result, or of the wider operand of a comparison."""

    name: str
    table: Mapping[str, Any]

    def _linear(self, what: str, bits: int) -> float:
        row = self.table[what]
        return float(max(row["least"], row["base"] + row["slope"] * bits))

    def adder(self, bits: int) -> float:
        """A sum or a difference."""
        return self._linear("adder", bits)

    def comparison(self, bits: int) -> float:
        """Equality or order; few bits fit into one LUT."""
        return float(self.table["comparison"]["least"]) if bits <= 3 else self._linear("comparison", bits)

    def lut(self, bits: int) -> float:
        """One level of LUTs, one of whose inputs drives ``bits`` of them."""
        row = self.table["lut"]
        return float(min(row["wide"], row["level"] + row["fanout"] * (bits - 1)))

    def choice(self, words: int, bits: int) -> float:
        """One of several words."""
        row = self.table["choice"]
        if words <= 2:
            return self.lut(bits)
        return float(row["four"] + row["doubling"] * max(0, ceil(log2(words / 4))))

    def carry(self) -> float:
        """The multiplexer before a register that a loop carries."""
        return float(self.table["carry"])

    def shift(self, places: int) -> float:
        """A shift by one of ``places`` distances, two binary stages to a level."""
        return float(self.table["shift"]) * max(1, ceil(log2(max(places, 2)) / 2))

    def memory(self, kind: str) -> tuple[float, float]:
        """Read and write of a block memory (``"bram"``) or one in LUTs (``"lutram"``)."""
        row = self.table[kind]
        return float(row["read"]), float(row["write"])

    def __getitem__(self, path: str) -> float:
        """A number of the table: ``"fifo.read"``, ``"rom"``."""
        value: Any = self.table
        for part in path.split("."):
            value = value[part]
        return float(value)


@cache
def load_delays(family: str) -> Delays:
    """Return the table of a family: ``"ultrascale-plus"`` or ``"series-7"``."""
    return Delays(family, tables()[family])


@cache
def tables() -> dict[str, dict[str, Any]]:
    """Return what ``delays.toml`` holds."""
    return tomllib.loads((Path(__file__).parent / "delays.toml").read_text(encoding="utf-8"))


def budget(clock_mhz: float) -> float:
    """Nanoseconds of a cycle that logic may take."""
    return 1000.0 / clock_mhz * (1.0 - UNCERTAINTY)
