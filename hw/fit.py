"""What fits a board: the resources of an accelerator, and the accelerators that stay within a share of the device.

The share that is left (20 % unless asked otherwise) is for what no part counts: the interconnect and clocking outside the
accelerator, and room for placement and routing. Which of those that fit is fastest, the cycle simulator decides
(``edgeflow.sw.search.accelerator``).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from pydantic import ValidationError

from edgeflow.hw.accelerator_options import SHARE, SIZES
from edgeflow.hw.architecture import Architecture, round_up, slots_of
from edgeflow.hw.boards import Board
from edgeflow.hw.cost import RESOURCE_NAMES, Resources, Unknown
from edgeflow.hw.errors import BoardError
from edgeflow.hw.fabric import SHARED
from edgeflow.hw.memoize import Remembered
from edgeflow.hw.ops import instruction_layouts, unit
from edgeflow.hw.primitives import DSP_A, DSP_A_7_SERIES

SLOTS_STEP = 32  # words of the narrowest LUT memory
STREAM_WORDS = 512  # of the weight queue: the depth of a block memory in its widest mode


def unit_resources(architecture: Architecture) -> dict[str, Resources]:
    """Resources of every part of the accelerator: each instruction's unit, and what the units share."""
    parts = {name: _unit(name)(architecture) for name in _unit_names() if name in architecture.units}
    return parts | {name: _shared(count)(architecture) for name, count in SHARED.items()}


@cache
def _shared(count: Callable[[Architecture], Resources]) -> Remembered[Resources]:
    return Remembered(count)


@cache
def _unit(name: str) -> Remembered[Resources]:
    return Remembered(next(unit(layout).resources for layout in instruction_layouts() if layout.name == name))


@cache
def _unit_names() -> tuple[str, ...]:
    return tuple(layout.name for layout in instruction_layouts())


def known_resources(architecture: Architecture) -> dict[str, int]:
    """The known part of every sum: what the accelerator takes at least."""
    counts = unit_resources(architecture).values()
    return {name: sum(n for r in counts if not isinstance(n := getattr(r, name), Unknown)) for name in RESOURCE_NAMES}


def multiplier_width(board: Board) -> int:
    """Bits of the wide operand of a board's multipliers."""
    return DSP_A_7_SERIES if board.family == "zynq-7000" else DSP_A


def limits(board: Board, share: float = SHARE) -> dict[str, int]:
    """What an accelerator may take of every resource of a board."""
    return {name: int(share * count) for name, count in board.resources.items()}


def excess(architecture: Architecture, board: Board, share: float = SHARE) -> dict[str, tuple[int, int]]:
    """What does not fit: resource to (used, limit)."""
    allowed = limits(board, share)
    return {name: (used, allowed[name]) for name, used in known_resources(architecture).items() if used > allowed[name]}


def fill(architecture: Architecture, board: Board, share: float = SHARE) -> float:
    """The largest share of a resource's limit that an accelerator takes; above 1 it does not fit."""
    allowed = limits(board, share)
    return max(
        used / allowed[name] if allowed[name] else float(used > 0) * 2 for name, used in known_resources(architecture).items()
    )


@dataclass(frozen=True)
class Space:
    """The accelerators to choose from for one model on one board.

    ``demands``: smallest ``max_channels`` and ``max_head``, and ``max_tokens``. ``stationary``: the lengths of the vectors that the
    array holds together (``Operator.stationary``), for each layer that needs the most of them on some array. ``lines``: lines of
    narrow and wide scratchpad. ``fixed``: sizes that are not to be chosen, by the names of :data:`SIZES`. ``units``: the
    instructions that the model uses. ``precisions``: the array's operand widths.
    """

    board: Board
    demands: Mapping[str, int]
    units: Sequence[str]
    lines: tuple[int, int]
    clock_mhz: float
    share: float = SHARE
    fixed: Mapping[str, int] | None = None
    precisions: tuple[int, ...] = (8,)
    stationary: frozenset[tuple[int, ...]] = frozenset()

    def arrays(self) -> list[tuple[int, int]]:
        """PI and PO of every array whose smallest accelerator fits; BoardError if there is none."""
        sizes = []
        smallest: Architecture | None = None
        for pi, po in itertools.product(self._choices("pi"), self._choices("po")):
            least = self.least(pi, po)
            if least is None:
                continue
            if smallest is None or pi * po < smallest.pi * smallest.po:
                smallest = least
            if not excess(least, self.board, self.share):
                sizes.append((pi, po))
        if not sizes:
            raise self._refusal(smallest)
        return sizes

    def accelerators(self, pi: int, po: int) -> list[Architecture]:
        """Those with an array of this shape that fit and of which no other has more of everything, in no order."""
        fitting: list[Architecture] = []
        for candidate in sorted(self._consistent(pi, po), key=_generosity, reverse=True):
            if any(_at_least(larger, candidate) for larger in fitting):
                continue
            if not excess(candidate, self.board, self.share):
                fitting.append(candidate)
        return fitting

    def least(self, pi: int, po: int) -> Architecture | None:
        """The smallest accelerator with this array, None if nothing goes together with it."""
        return next(self._consistent(pi, po), None)

    def largest(self, pi: int, po: int) -> Architecture:
        """The accelerator with the most of everything besides the array, whether it fits or not: to rank arrays by."""
        return next(self._consistent(pi, po, reverse=True))

    def smaller(self, architecture: Architecture) -> Iterator[Architecture]:
        """The same accelerator with the next smaller epilogue, vector width, or number of weight ports."""
        for name in ("epilogue", "vector", "weight_ports"):
            less = [size for size in self._choices(name) if size < getattr(architecture, name)]
            if less:
                yield from self._try(architecture.pi, architecture.po, {name: less[-1]}, architecture)

    def make(self, sizes: Mapping[str, int]) -> Architecture | None:
        """An accelerator of these sizes (all names of :data:`SIZES`), None if they do not go together."""
        rest = {name: sizes[name] for name in ("epilogue", "vector", "weight_ports")}
        return next(self._try(sizes["pi"], sizes["po"], rest, None), None)

    def _choices(self, name: str) -> Sequence[int]:
        size = (self.fixed or {}).get(name)
        known = SIZES[name]
        if size is None:
            return known
        if size not in known:
            raise BoardError(
                f"no accelerator for board {self.board.name} has {name} = {size}: choose from {', '.join(map(str, known))}"
            )
        return (size,)

    def _consistent(self, pi: int, po: int, *, reverse: bool = False) -> Iterator[Architecture]:
        """Every consistent accelerator with this array, the smallest first, or the one with the most of everything first."""
        names = ("epilogue", "vector", "weight_ports")
        choices = [self._choices(name)[:: -1 if reverse else 1] for name in names]
        for sizes in itertools.product(*choices):
            yield from self._try(pi, po, dict(zip(names, sizes, strict=True)), None)

    def _try(self, pi: int, po: int, rest: Mapping[str, int], base: Architecture | None) -> Iterator[Architecture]:
        sizes = (
            dict(rest)
            if base is None
            else {name: getattr(base, name) for name in ("epilogue", "vector", "weight_ports")} | dict(rest)
        )
        # The ports for descriptors, constants and memory are rarely busy: they share one of the board's.
        if po % sizes["epilogue"] or sizes["weight_ports"] + 1 > self.board.axi_ports:
            return
        axi_bits = min(self.board.axi_bits, 128)
        word = sizes["weight_ports"] * axi_bits // 8
        held = max(slots_of(lengths, pi) for lengths in {(self.demands["max_channels"],), *self.stationary})
        fields = {
            **self.demands,
            **sizes,
            "pi": pi,
            "po": po,
            "axi_bits": axi_bits,
            "slots": round_up(2 * held, SLOTS_STEP),
            "narrow_lines": self.lines[0],
            "wide_lines": self.lines[1],
            "stream_lines": STREAM_WORDS * word // 64,
            "clock_mhz": self.clock_mhz,
            "precisions": self.precisions,
            "dsp_bits": multiplier_width(self.board),
            "units": tuple(self.units),
        }
        try:
            candidate = Architecture.model_validate(fields)
        except ValidationError:  # sizes that do not go together, such as a tile that does not fill stream words
            return
        # Buffers lie in block memories where there are enough.
        short = set(excess(candidate, self.board, self.share)) == {"bram36"}
        yield candidate.model_copy(update={"block_buffers": False}) if short else candidate

    def _refusal(self, smallest: Architecture | None) -> BoardError:
        fixed = ", ".join(f"{name} = {size}" for name, size in (self.fixed or {}).items())
        if smallest is None:
            return BoardError(
                f"no accelerator for board {self.board.name} has {fixed}: these sizes do not go together; leave one out"
            )
        over = excess(smallest, self.board, self.share).items()
        enough = max(fill(smallest, self.board, 1.0), self.share)
        larger = f", or give --share {math.ceil(100 * enough) / 100:.2f}" if enough <= 1 else ""
        text = ", ".join(f"{used} {name} of {limit} ({used - limit} too many)" for name, (used, limit) in over)
        which = " of these sizes" if fixed else ""
        return BoardError(
            f"board {self.board.name} is too small for this model: the smallest accelerator{which} takes {text}, where "
            f"{self.share:.0%} of the device may be used; choose a larger board or a model with fewer channels or tokens{larger}"
        )


def _generosity(a: Architecture) -> tuple[int, int, int]:
    return a.epilogue * a.vector * a.weight_ports, a.epilogue, a.vector


def _at_least(a: Architecture, b: Architecture) -> bool:
    return a.epilogue >= b.epilogue and a.vector >= b.vector and a.weight_ports >= b.weight_ports
