"""The array as a Verilog core (``hw/rtl/edgeflow_array_core.v``): its parameters, files, latency and throughput.

The core multiplies PI inputs by PO outputs a cycle with weights that stay in place; ``docs/accelerator.md`` describes its ports.
Cycles are those between transfers on its ports, as ``tests/hw/rtl`` compares them with simulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeflow.hw.architecture import Architecture

Family = Literal["ultrascale", "7series"]
CASCADE = 4
RTL = Path(__file__).resolve().parent / "rtl"
TOP = "edgeflow_array_core"


@dataclass(frozen=True)
class ArrayCore:
    """The core's parameters.

    ``pi``: inputs a step, a power of two from 4 on; ``po``: outputs, even; ``slots``: steps whose weights it holds; ``quad``: the
    4-bit mode, two rows at once; ``quarters``: weights of 2 bits, four to a byte; ``load_bytes``: bytes of a word of weights, a
    power of two from 4 on; ``rows``: finished rows that wait for the reader at most, a power of two.
    """

    pi: int = 16
    po: int = 16
    slots: int = 32
    quad: bool = True
    quarters: bool = True
    load_bytes: int = 16
    rows: int = 32
    family: Family = "ultrascale"

    def __post_init__(self) -> None:
        for name, least in (("pi", CASCADE), ("load_bytes", 4), ("rows", 2)):
            value = getattr(self, name)
            if value < least or value & (value - 1):
                raise ValueError(f"{name} must be a power of two from {least} on, not {value}")
        if self.po < 2 or self.po % 2 or self.pi * self.po % self.load_bytes:
            raise ValueError(f"po = {self.po} must be even, and its weights for a step fill words of {self.load_bytes} bytes")
        if self.slots < 2:
            raise ValueError(f"slots must be at least 2, not {self.slots}")

    @classmethod
    def of(cls, architecture: Architecture, rows: int = 32) -> ArrayCore:
        """The core of an accelerator."""
        return cls(
            pi=architecture.pi,
            po=architecture.po,
            slots=architecture.slots,
            quad=4 in architecture.precisions,
            quarters=2 in architecture.precisions,
            load_bytes=architecture.load_bytes,
            rows=rows,
            family="ultrascale" if architecture.dsp_bits == 27 else "7series",
        )

    @property
    def parameters(self) -> dict[str, int | str]:
        """The parameters of the Verilog module."""
        return {
            "FAMILY": self.family,
            "PI": self.pi,
            "PO": self.po,
            "SLOTS": self.slots,
            "QUAD": int(self.quad),
            "QUARTERS": int(self.quarters),
            "LOAD_BYTES": self.load_bytes,
            "ROWS": self.rows,
        }

    @property
    def packed(self) -> bool:
        """Whether two weights share a slice."""
        return self.family == "ultrascale"

    @property
    def levels(self) -> int:
        """Levels of the adder trees over the cascades of a column."""
        return (self.pi // CASCADE).bit_length() - 1

    @property
    def latency(self) -> int:
        """Cycles from the transfer of a row's last step to the first cycle in which its sums can be taken.

        Two registers form the operand, a register a column of two outputs passes it on; four cycles are the slice's own, three the
        cascade's; the trees have a register a level, the separation of the 4-bit mode's fields three; then come the accumulator and
        the queue.
        """
        return 2 + (self.po // 2 - 1) + 4 + (CASCADE - 1) + self.levels + 3 * self.quad + 2

    def interval(self, steps: int) -> float:
        """Cycles from row to row, on average over many of ``steps`` steps, where neither side makes the core wait.

        A row holds its place in the queues from its first step until a cycle after its sums are taken.
        """
        return max(steps, (self.latency + steps) / self.rows)

    def schedule(self, steps: Sequence[int]) -> tuple[list[int], list[int]]:
        """Cycles in which each row's first step and its sums are transferred, from the first one on, where neither side waits.

        ``steps``: of each row.
        """
        first: list[int] = []
        taken: list[int] = []
        for row, count in enumerate(steps):
            after_steps = first[-1] + steps[row - 1] if row else 0
            room = taken[row - self.rows] + 1 if row >= self.rows else 0
            first.append(max(after_steps, room))
            taken.append(first[-1] + count - 1 + self.latency)
        return first, taken


def sources(*, simulation: bool = False) -> list[Path]:
    """The core's Verilog files; ``simulation``: with the models of the slices that it instantiates."""
    return sorted([*RTL.glob("*.v"), *(RTL.glob("sim/*.v") if simulation else ())])
