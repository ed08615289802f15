"""Choosing the accelerator for a board: the largest whose known resources leave room on the device.

Look-up tables and flip-flops are known only after synthesis, so DSP slices and block memories decide; 20 % of them stay free for
what no operator counts (AXI ports, the descriptor decoder, the shell) and for routing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.boards import Board
from edgeflow.hw.cost import RESOURCE_NAMES, Resources, Unknown
from edgeflow.hw.errors import BoardError
from edgeflow.hw.ops import instruction_layouts, unit

SHARE = 0.8  # of every resource of the device
ARRAY = (64, 32, 16, 8, 4)  # sizes of the MAC array's sides
LANES = (16, 8, 4, 2, 1)
MOST_AXI_BITS = 128
LEAST_LANES, LEAST_VECTOR = 4, 4  # below these attention and elementwise work dominate: a smaller array is better


def unit_resources(architecture: Architecture) -> dict[str, Resources]:
    """Resources of every unit of the accelerator; each instruction is one unit, however many operators lower to it."""
    layouts = [layout for layout in instruction_layouts() if layout.name in architecture.units]
    return {layout.name: unit(layout).resources(architecture) for layout in layouts}


def total_resources(architecture: Architecture) -> Resources:
    """Resources of the whole accelerator; a sum with an unknown part is unknown."""
    total = Resources(0, 0, 0, 0, 0)
    for resources in unit_resources(architecture).values():
        total = total + resources
    return total


def known_resources(architecture: Architecture) -> dict[str, int]:
    """The known part of every sum: what the accelerator takes at least."""
    counts = unit_resources(architecture).values()
    return {name: sum(n for r in counts if not isinstance(n := getattr(r, name), Unknown)) for name in RESOURCE_NAMES}


def choose_architecture(
    board: Board, demands: Mapping[str, int], units: Sequence[str], clock_mhz: float | None = None
) -> Architecture:
    """The largest accelerator with these units that fits a board.

    ``demands``: the smallest ``max_channels``, ``max_tokens`` and ``max_head``. First the MAC array is made as large as it can be
    with at least four attention lanes and four-element vectors, then the lanes, then the vectors. BoardError names what the
    smallest accelerator exceeds and by how much.
    """
    smallest: Architecture | None = None
    for candidate in _candidates(board, demands, units, clock_mhz or board.clock_mhz):
        if not _excess(candidate, board):
            return candidate
        smallest = candidate
    assert smallest is not None
    found = _excess(smallest, board)
    text = ", ".join(f"{used} {name} of {limit} ({used - limit} too many)" for name, (used, limit) in found.items())
    raise BoardError(
        f"board {board.name} is too small for this model: the smallest accelerator takes {text}, where {SHARE:.0%} of the device "
        f"may be used; choose a larger board or a model with fewer channels or tokens"
    )


def _excess(architecture: Architecture, board: Board) -> dict[str, tuple[int, int]]:
    """What does not fit: resource to (used, limit)."""
    limits = {name: int(SHARE * count) for name, count in board.resources.items()}
    return {name: (used, limits[name]) for name, used in known_resources(architecture).items() if used > limits[name]}


def _candidates(board: Board, demands: Mapping[str, int], units: Sequence[str], clock_mhz: float) -> Iterator[Architecture]:
    """From the best to the smallest. Of two arrays of one size that with more output channels has fewer tiles to fill and drain."""
    axi_bits = min(board.axi_bits, MOST_AXI_BITS)
    word = axi_bits // 8
    vectors = [2**i for i in reversed(range(word.bit_length()))]  # a vector of bytes wider than an AXI word would wait for it
    # An AXI word of activations is written to the array's PI input banks in one cycle, and PO outputs fill a word.
    arrays = [(pi, po) for pi in ARRAY for po in ARRAY if po >= word and pi >= word]
    arrays.sort(key=lambda a: (-a[0] * a[1], -a[1]))
    lane_choices: Sequence[int] = LANES if "attention" in units else (1,)
    for roomy in (True, False):
        for pi, po in arrays:
            for lanes in lane_choices:
                for vector in vectors:
                    small = vector < LEAST_VECTOR or ("attention" in units and lanes < LEAST_LANES)
                    if small == roomy:
                        continue
                    yield Architecture(
                        pi=pi,
                        po=po,
                        lanes=lanes,
                        vector=vector,
                        axi_bits=axi_bits,
                        clock_mhz=clock_mhz,
                        units=tuple(units),
                        **demands,
                    )
