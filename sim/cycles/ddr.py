"""The DDR memory as the accelerator's AXI ports see it: widths, bursts, latency, and one bandwidth that all of them share.

Bandwidth, its efficiency and the latency come from the board file. Words that follow one another share a burst, as long as the
ports of the top function ask for (:data:`MASTER_BURST`) and the board's take. Every burst takes one cycle more than its words
(EdgeFlow's assumption), and a port keeps :data:`OUTSTANDING` bursts in flight, the default of an HLS AXI master (AMD UG1399).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.boards import Board

MASTER_BURST = 64  # words: max_read_burst_length and max_write_burst_length of the top function
OUTSTANDING = 16  # bursts that a port may have requested and not received
BURST_GAP = 1  # cycles between the words of two bursts


@dataclass(frozen=True)
class Ddr:
    """Bandwidths in bytes a cycle of the logic's clock, latency in its cycles.

    ``shared``: what all ports get together; ``port``: what one port of ``word_bytes`` gets when it is alone; ``weights``: what the
    weight ports get together; ``burst_words``: words of a burst.
    """

    shared: float
    port: float
    weights: float
    latency: int
    word_bytes: int
    burst_words: int

    @property
    def efficiency(self) -> float:
        """Share of a port's cycles that carry a word."""
        return self.port / self.word_bytes


def ddr(board: Board, architecture: Architecture, clock_mhz: float) -> Ddr:
    """The board's memory behind the ports of this accelerator at ``clock_mhz``."""
    latency = math.ceil(board.ddr_latency_ns * clock_mhz / 1e3)
    burst = min(board.axi_burst_words, MASTER_BURST)
    in_flight = OUTSTANDING * burst / (latency + burst)  # words a cycle, if requests alone limited them
    port = architecture.word_bytes * min(burst / (burst + BURST_GAP), in_flight)
    shared = board.ddr_gb_s * board.ddr_efficiency * 1e3 / clock_mhz
    return Ddr(shared, port, port * architecture.weight_ports, latency, architecture.word_bytes, burst)
