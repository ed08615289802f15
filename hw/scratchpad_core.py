"""The scratchpad as a Verilog core (``hw/rtl/edgeflow_scratchpad.v``): its parameters, cycles and block memories.

``docs/accelerator.md`` describes its ports. Cycles are those between transfers on its ports, as ``tests/hw/rtl`` compares them with
simulation.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeflow.hw.architecture import LINE_BYTES, Architecture, ceil_div, round_up
from edgeflow.hw.process_network import CLIENTS

TOP = "edgeflow_scratchpad"
BANKS = 4  # of an accelerator's scratchpad: as many lines are read, and as many written, in a cycle
WIDE_STEP = 2048  # lines that fill the block memories of a bank, 512 words deep where they are widest
_RAMB18 = ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))  # width to depth, one port reads, the other writes


def narrow_step(precisions: tuple[int, ...]) -> int:
    """Narrow lines by which a scratchpad grows: a step of half bytes takes as many block memories as two of bytes."""
    return WIDE_STEP if 4 in precisions else 2 * WIDE_STEP


@dataclass(frozen=True)
class ScratchpadCore:
    """The core's parameters.

    ``readers``, ``writers``: clients; ``banks``: memories that lines alternate between, a power of two from 2 on; ``lines``: a
    multiple of ``banks``, of ``line_bytes`` bytes each, a power of two; ``half_lines``: of so many of them, a multiple of ``banks``
    as well, the first, half bytes can be written by themselves; ``queue``: lines that a reader is owed at most, ``notices``:
    notices that a writer is, both powers of two from 2 on.
    """

    readers: int = 7
    writers: int = 4
    banks: int = 4
    lines: int = 2048
    line_bytes: int = LINE_BYTES
    half_lines: int = 0
    queue: int = 8
    notices: int = 4

    def __post_init__(self) -> None:
        for name in ("banks", "line_bytes", "queue", "notices"):
            value = getattr(self, name)
            if value < 2 or value & (value - 1):
                raise ValueError(f"{name} must be a power of two from 2 on, not {value}")
        for name in ("readers", "writers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.lines % self.banks or self.lines < 2 * self.banks:
            raise ValueError(f"lines = {self.lines} must be a multiple of banks = {self.banks}, with two lines a bank or more")
        if self.half_lines % self.banks or any(0 < part < 2 * self.banks for part in self.parts) or self.parts[1] < 0:
            raise ValueError(
                f"half_lines = {self.half_lines} must be a multiple of banks = {self.banks}, with two lines a bank or more of them "
                "and of the rest, or none"
            )

    @classmethod
    def of(cls, architecture: Architecture) -> ScratchpadCore:
        """That of an accelerator: narrow lines, whose half bytes are written where rows of 4 bits lie in them, then wide ones."""
        narrow, wide = architecture.narrow_lines, architecture.wide_lines
        return cls(
            readers=sum(client.reads for client in CLIENTS),
            writers=sum(not client.reads for client in CLIENTS),
            banks=BANKS,
            lines=round_up(narrow + wide, BANKS),
            half_lines=round_up(narrow, BANKS) if 4 in architecture.precisions else 0,
        )

    @property
    def parts(self) -> tuple[int, int]:
        """Lines whose half bytes can be written by themselves, and the others."""
        return self.half_lines, self.lines - self.half_lines

    @property
    def parameters(self) -> dict[str, int]:
        """The parameters of the Verilog module."""
        return {
            "READERS": self.readers,
            "WRITERS": self.writers,
            "BANKS": self.banks,
            "LINES": self.lines,
            "LINE_BYTES": self.line_bytes,
            "HALF_LINES": self.half_lines,
            "QUEUE": self.queue,
            "NOTICES": self.notices,
        }

    @property
    def address_bits(self) -> int:
        """Bits of a line's number: the bank, and above it the row in the bank."""
        return (self.banks - 1).bit_length() + (self.lines // self.banks - 1).bit_length()

    @property
    def place_bits(self) -> int:
        """Bits of a byte's place in a line, and of a number of bytes."""
        return self.line_bytes.bit_length()

    @property
    def latency(self) -> int:
        """Cycles from the transfer of a read to the first cycle in which its line can be taken.

        The bank registers the row, its memory has a register and another behind it; then comes the queue.
        """
        return 4

    @property
    def notice_latency(self) -> int:
        """Cycles from the transfer of a write to the first cycle in which its notice can be taken: the queue."""
        return 1

    def interval(self) -> float:
        """Cycles from read to read of one reader, on average over many, where its bank is free and it takes lines at once.

        A read holds its place in the queue from its transfer until a cycle after its line is taken.
        """
        return max(1, (self.latency + 1) / self.queue)

    def reads(self, count: int) -> list[int]:
        """Cycles in which ``count`` reads of one reader are transferred, from the first one on, under the conditions of
        :meth:`interval`; each line is taken ``latency`` cycles later."""
        cycles: list[int] = []
        for number in range(count):
            room = cycles[number - self.queue] + self.latency + 1 if number >= self.queue else 0
            cycles.append(max(cycles[-1] + 1 if number else 0, room))
        return cycles

    @property
    def block_memories(self) -> int:
        """Block memories in halves of a RAMB36, before those of different banks share one.

        Of a memory that is 9, 18 or 36 bits wide each 9 bits have a write enable and hold one lane, whatever its bits; narrower
        ones are enabled as a whole. So half bytes take twice the memories of bytes, except where rows are few or many.
        """
        halves, rest = (lines // self.banks for lines in self.parts)
        return self.banks * (_memories(2 * self.line_bytes, 4, halves) + _memories(self.line_bytes, 8, rest))


def _memories(lanes: int, bits: int, rows: int) -> int:
    """Block memories, in halves of a RAMB36, of lanes of so many bits that are written by themselves."""
    return min(
        (ceil_div(lanes, width // 9) if width >= 9 else lanes * ceil_div(bits, width)) * ceil_div(rows, depth)
        for width, depth in _RAMB18
    )
