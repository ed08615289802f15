"""Choosing the accelerator for a board: the fastest whose known resources leave room on the device.

Look-up tables and flip-flops are known only after synthesis, so DSP slices and block memories decide; 20 % of them stay free for
what no operator counts (AXI ports, the descriptor decoder, the shell) and for routing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from edgeflow.hw.architecture import Architecture, ceil_div
from edgeflow.hw.boards import Board
from edgeflow.hw.cost import RESOURCE_NAMES, Resources, Unknown
from edgeflow.hw.errors import BoardError
from edgeflow.hw.ops import instruction_layouts, unit

SHARE = 0.8  # of every resource of the device
SIDES = (4, 8, 16, 32, 64)  # of the MAC array
LANES = (1, 2, 4, 8, 16, 32)
AXI_BITS = (32, 64, 128)


def unit_resources(architecture: Architecture) -> dict[str, Resources]:
    """Resources of every unit of the accelerator; each instruction is one unit, however many operators lower to it."""
    layouts = [layout for layout in instruction_layouts() if layout.name in architecture.units]
    return {layout.name: unit(layout).resources(architecture) for layout in layouts}


def known_resources(architecture: Architecture) -> dict[str, int]:
    """The known part of every sum: what the accelerator takes at least."""
    counts = unit_resources(architecture).values()
    return {name: sum(n for r in counts if not isinstance(n := getattr(r, name), Unknown)) for name in RESOURCE_NAMES}


def choose_architecture(
    board: Board,
    demands: Mapping[str, int],
    units: Sequence[str],
    clock_mhz: float | None = None,
    sizes: Mapping[str, int] | None = None,
) -> Architecture:
    """The accelerator with these units that fits a board and would run a transformer encoder of this size soonest.

    ``demands``: the smallest ``max_channels``, ``max_tokens`` and ``max_head``. ``sizes``: those of ``pi``, ``po``, ``lanes`` and
    ``vector`` that are not to be chosen. BoardError names what the smallest accelerator exceeds and by how much, or a size that
    none has.
    """
    found = [_architecture(board, demands, units, clock_mhz, *s) for s in _sizes(board, units)]
    for name, size in (sizes or {}).items():
        known = sorted({getattr(a, name) for a in found})
        found = [a for a in found if getattr(a, name) == size]
        if not found:
            raise BoardError(f"no accelerator for board {board.name} has {name} = {size}: choose from {', '.join(map(str, known))}")
    found.sort(key=encoder_cycles)
    for candidate in found:
        if not _excess(candidate, board):
            return candidate
    smallest = min(found, key=lambda a: (a.pi * a.po, a.lanes, a.axi_bits, a.vector))
    excess = _excess(smallest, board).items()
    text = ", ".join(f"{used} {name} of {limit} ({used - limit} too many)" for name, (used, limit) in excess)
    which = " of these sizes" if sizes else ""
    raise BoardError(
        f"board {board.name} is too small for this model: the smallest accelerator{which} takes {text}, where {SHARE:.0%} of the "
        f"device may be used; choose a larger board or a model with fewer channels or tokens"
    )


def encoder_cycles(architecture: Architecture) -> float:
    """Cycles that a token takes in one layer of a standard encoder, to rank accelerators by (not a prediction for a model).

    The layer has D = max_channels / 4 channels, an MLP of 4 D, and attends to S = max_tokens: 12 D^2 products on the MAC array,
    whose 9 D outputs come in tiles that fill and drain two pipelines of about 12 stages; 2 S D products in the attention lanes, a
    head at a time; ten passes of vector work. One AXI port carries the weights, once for every 32 tokens, and 35 D bytes of
    activations: inputs (9 D) and outputs (11 D, some of 16 bit) of the linear layers, residuals (4 D), the rest for normalization
    and attention.
    """
    a = architecture
    channels, tokens = a.max_channels / 4, a.max_tokens
    array = 12 * channels**2 / (a.pi * a.po) + 9 * channels / a.po * 24
    attention = 2 * tokens * channels / (a.max_head * a.lanes) if "attention" in a.units else 0.0
    weights = 12 * channels**2 * ceil_div(tokens, 32) / tokens
    return array + attention + 10 * channels / a.vector + (weights + 35 * channels) / a.word_bytes


def _excess(architecture: Architecture, board: Board) -> dict[str, tuple[int, int]]:
    """What does not fit: resource to (used, limit)."""
    limits = {name: int(SHARE * count) for name, count in board.resources.items()}
    return {name: (used, limits[name]) for name, used in known_resources(architecture).items() if used > limits[name]}


def _sizes(board: Board, units: Sequence[str]) -> Iterator[tuple[int, int, int, int, int]]:
    """PI, PO, lanes, vector and AXI width of every consistent accelerator."""
    for axi_bits in (bits for bits in AXI_BITS if bits <= board.axi_bits):
        word = axi_bits // 8
        # An AXI word of activations goes to the array's PI input banks in one cycle, and PO outputs fill a word at least. A vector
        # of bytes that is wider than an AXI word would wait for it.
        sides = [side for side in SIDES if side >= word]
        vectors = [2**i for i in range(word.bit_length())]
        yield from itertools.product(sides, sides, LANES if "attention" in units else (1,), vectors, (axi_bits,))


def _architecture(
    board: Board,
    demands: Mapping[str, int],
    units: Sequence[str],
    clock_mhz: float | None,
    *sizes: int,
) -> Architecture:
    clock = clock_mhz or board.clock_mhz
    named = dict(zip(("pi", "po", "lanes", "vector", "axi_bits"), sizes, strict=True))
    return Architecture.model_validate({**named, **demands, "clock_mhz": clock, "units": tuple(units)})
