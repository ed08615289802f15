"""The scratchpad as a Verilog core (``hw/rtl/edgeflow_scratchpad.v``): its parameters, cycles and block memories.

``docs/accelerator.md`` describes its ports. Cycles are those between transfers on its ports, as ``tests/hw/rtl`` compares them with
simulation.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeflow.hw.architecture import LINE_BYTES, ceil_div

TOP = "edgeflow_scratchpad"
_RAMB18 = ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))  # width to depth, one port reads, the other writes


@dataclass(frozen=True)
class ScratchpadCore:
    """The core's parameters.

    ``readers``, ``writers``: clients; ``banks``: memories that lines alternate between, a power of two from 2 on; ``lines``: a
    multiple of ``banks``, of ``line_bytes`` bytes each, a power of two; ``lane_bits``: what a write can pick, bytes (8) or half
    bytes (4); ``queue``: lines that a reader is owed at most, ``notices``: notices that a writer is, both powers of two from 2 on.
    """

    readers: int = 7
    writers: int = 4
    banks: int = 4
    lines: int = 2048
    line_bytes: int = LINE_BYTES
    lane_bits: int = 8
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
        if self.lane_bits not in (4, 8):
            raise ValueError(f"lane_bits must be 4 or 8, not {self.lane_bits}")
        if self.lines % self.banks or self.lines < 2 * self.banks:
            raise ValueError(f"lines = {self.lines} must be a multiple of banks = {self.banks}, with two lines a bank or more")

    @property
    def parameters(self) -> dict[str, int]:
        """The parameters of the Verilog module."""
        return {
            "READERS": self.readers,
            "WRITERS": self.writers,
            "BANKS": self.banks,
            "LINES": self.lines,
            "LINE_BYTES": self.line_bytes,
            "LANE_BITS": self.lane_bits,
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
        lanes = self.line_bytes * 8 // self.lane_bits
        rows = self.lines // self.banks
        costs = [
            (ceil_div(lanes, width // 9) if width >= 9 else lanes * ceil_div(self.lane_bits, width)) * ceil_div(rows, depth)
            for width, depth in _RAMB18
        ]
        return self.banks * min(costs)
