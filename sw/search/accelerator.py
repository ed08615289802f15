"""Choosing the accelerator for a model and a board: the one with the shortest predicted latency that fits.

Best first, branch and bound: a lower bound of the latency (``edgeflow.sw.search.latency_bound``) orders first the arrays, with the
most of everything around them, then the accelerators with that array that fit and that no other accelerator exceeds in everything.
The cycle simulator runs them in that order, until the next bound is as long as the best latency: then no accelerator is faster.
Last, sizes that do not make it faster are reduced.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from edgeflow.hw.accelerator_options import SHARE
from edgeflow.hw.architecture import NIBBLES, Architecture, ceil_div, round_up
from edgeflow.hw.boards import Board
from edgeflow.hw.errors import BoardError, UnsupportedError
from edgeflow.hw.fabric import scratchpad
from edgeflow.hw.fit import Space, excess, fill, limits
from edgeflow.hw.ops.linear import WEIGHT, Linear
from edgeflow.hw.progress import Progress
from edgeflow.hw.scratchpad_core import WIDE_STEP, narrow_step
from edgeflow.sim.cycles import predicted_cycles
from edgeflow.sw.compiler.lowering import Compiler
from edgeflow.sw.compiler.network import Network
from edgeflow.sw.compiler.placement import working_set
from edgeflow.sw.compiler.storage import storages
from edgeflow.sw.search.latency_bound import Bound

SIMULATED = 64  # accelerators at most, and
INSTRUCTIONS = 60_000  # of all programs that are simulated, unless one alone has more
LEAST = 6  # accelerators that are simulated in any case
SLACK = 1.01  # a latency this close to the best counts as equal: fewer resources decide
ROOM = 160  # block memories beside the scratchpad above which more scratchpad is better

Rank = Callable[[Architecture], float]


@dataclass(frozen=True)
class Choice:
    """The accelerator, its predicted latency, and how many were looked at: ``bounded`` by a lower bound of their latency,
    ``simulated``. ``proven``: no other accelerator of the space is more than 2 % faster."""

    architecture: Architecture
    latency_ms: float
    bounded: int
    simulated: int
    proven: bool


def configure(
    network: Network,
    board: Board,
    clock_mhz: float,
    *,
    share: float = SHARE,
    sizes: Mapping[str, int] | None = None,
    precisions: tuple[int, ...] = (),
    progress: Progress | None = None,
) -> Architecture:
    """The accelerator of :func:`choose`."""
    choice = choose(network, board, clock_mhz, share=share, sizes=sizes, precisions=precisions, progress=progress)
    return choice.architecture


def choose(
    network: Network,
    board: Board,
    clock_mhz: float,
    *,
    share: float = SHARE,
    sizes: Mapping[str, int] | None = None,
    precisions: tuple[int, ...] = (),
    progress: Progress | None = None,
) -> Choice:
    """The accelerator for a network on a board.

    ``share``: of every resource of the board; ``sizes``: those of ``pi``, ``po``, ``epilogue``, ``vector`` and ``weight_ports``
    that are not to be chosen; ``precisions``: those to have even where this network does not use them. BoardError says what the
    smallest accelerator exceeds; UnsupportedError what no accelerator can run.
    """
    compiler = Compiler(network)
    bound, predict = Bound(compiler, board, clock_mhz), Predicted(compiler, board, clock_mhz)
    every = spaces(network, board, clock_mhz, share, sizes, precisions)
    return search(every, bound.milliseconds, predict, progress)


def extended(architecture: Architecture, network: Network) -> Architecture:
    """The accelerator with all units that a network uses."""
    return architecture.model_copy(update={"units": tuple(dict.fromkeys((*architecture.units, *network.units)))})


def spaces(
    network: Network,
    board: Board,
    clock_mhz: float,
    share: float = SHARE,
    sizes: Mapping[str, int] | None = None,
    precisions: tuple[int, ...] = (),
) -> Iterator[Space]:
    """The accelerators for a network on a board, those with the largest scratchpad first.

    The array gets the 4-bit mode, and takes weights four to a byte, where the network has layers that would use it or
    ``precisions`` asks for it.
    """
    needs, used = network.demands, network.units
    whole = Architecture.model_validate({**needs, "slots": needs["max_channels"], "units": used})
    narrow_rows = NIBBLES in storages(network, whole).values()
    quarters = any(isinstance(o.operator, Linear) and o.formats[WEIGHT].bits <= 2 for o in network.operations)
    wanted = {8, *([4] if narrow_rows else []), *([2] if quarters else []), *precisions}
    precisions = tuple(sorted(wanted, reverse=True))
    lines = working_set(network, whole.model_copy(update={"precisions": precisions}))
    tokens = {tokens: network.stationary(tokens) for tokens in token_sizes(needs["max_tokens"])}
    for pair, (most, held) in itertools.product(useful(scratch_sizes(lines, precisions), board, share, precisions), tokens.items()):
        yield Space(board, {**needs, "max_tokens": most}, used, pair, clock_mhz, share, sizes, precisions, held)


def token_sizes(most: int) -> list[int]:
    """Keys that attention may hold at a time, the most first: all of them, or blocks of half as many, a quarter and so on."""
    return sorted({round_up(ceil_div(most, 1 << n), 64) for n in range(most.bit_length())}, reverse=True)


def scratch_sizes(lines: tuple[int, int], precisions: tuple[int, ...]) -> list[tuple[int, int]]:
    """Lines of narrow and wide scratchpad to try, the most first: from what holds everything down to one row of block memories."""
    step = narrow_step(precisions)
    narrow, wide = round_up(max(lines[0], 1), step), round_up(max(lines[1], 1), WIDE_STEP)
    pairs = [(n, w) for n in range(step, narrow + 1, step) for w in range(WIDE_STEP, wide + 1, WIDE_STEP)]
    return sorted(pairs, key=lambda pair: (-sum(pair), -pair[1]))


def useful(pairs: Iterable[tuple[int, int]], board: Board, share: float, precisions: tuple[int, ...]) -> list[tuple[int, int]]:
    """The first of the sizes of a scratchpad, and those that fit the board without leaving room for more; the last if none fits."""
    pairs = list(pairs)
    limit = limits(board, share)["bram36"]
    room = {pair: limit - _block_memories(pair, precisions) for pair in pairs}
    return [pair for pair in pairs if room[pair] >= 0 and (room[pair] < ROOM or pair == pairs[0])] or pairs[-1:]


def _block_memories(pair: tuple[int, int], precisions: tuple[int, ...]) -> int:
    count = scratchpad(Architecture(narrow_lines=pair[0], wide_lines=pair[1], precisions=precisions)).bram36
    assert isinstance(count, int)
    return count


def search(every: Iterable[Space], bound: Rank, predict: Predicted | Rank, progress: Progress | None = None) -> Choice:
    """The best accelerator of some spaces. ``bound``: a lower bound of what ``predict`` says (both milliseconds).

    BoardError or UnsupportedError if no accelerator fits or runs.
    """
    queue = _Queue(bound)
    for space in every:
        queue.add(space)
    tried: dict[Architecture, tuple[float, Space]] = {}
    best, instructions, proven = float("inf"), 0, True
    for least, candidate, space in queue:
        if least * SLACK >= best:
            break
        if len(tried) >= LEAST and (len(tried) >= SIMULATED or instructions > INSTRUCTIONS):
            proven = False
            break
        if progress is not None:
            progress("predict accelerators", len(tried), SIMULATED)
        try:
            tried[candidate] = predict(candidate), space
        except UnsupportedError as error:
            queue.problems.append(error)
            continue
        best = min(best, tried[candidate][0])
        instructions += getattr(predict, "instructions", 0)
    if not tried:
        raise queue.refusal()
    limit = SLACK * best
    near = [(a, space) for a, (latency, space) in tried.items() if latency <= limit]
    chosen, space = min(near, key=lambda pair: _burden(*pair))
    chosen = reduced(chosen, space, lambda a: predict(a) if bound(a) <= limit else float("inf"), limit)
    return Choice(chosen, predict(chosen), queue.bounded, len(tried), proven)


class _Queue:
    """Accelerators by their bounds, the least first; those of an array are listed when the array's own bound comes up."""

    def __init__(self, bound: Rank) -> None:
        self.bounded = 0
        self.problems: list[BoardError | UnsupportedError] = []
        self._bound = bound
        self._heap: list[tuple[float, int, Space, Architecture | None, tuple[int, int]]] = []
        self._number = itertools.count()

    def add(self, space: Space) -> None:
        """The accelerators of another space."""
        try:
            for array in space.arrays():
                self._push(space, space.largest(*array), array)
        except (BoardError, UnsupportedError) as error:
            self.problems.append(error)

    def __iter__(self) -> Iterator[tuple[float, Architecture, Space]]:
        while self._heap:
            least, _, space, candidate, array = heapq.heappop(self._heap)
            if candidate is not None:
                yield least, candidate, space
                continue
            try:
                for architecture in space.accelerators(*array):
                    self.bounded += 1
                    self._push(space, architecture, None)
            except UnsupportedError as error:
                self.problems.append(error)

    def _push(self, space: Space, architecture: Architecture, array: tuple[int, int] | None) -> None:
        own = (None, array) if array is not None else (architecture, (architecture.pi, architecture.po))
        heapq.heappush(self._heap, (self._bound(architecture), next(self._number), space, *own))

    def refusal(self) -> BoardError | UnsupportedError:
        """Why there is no accelerator: what does not fit the board, and what does not run on accelerators that would."""
        unfit = [problem for problem in self.problems if isinstance(problem, BoardError)]
        cannot = [problem for problem in self.problems if isinstance(problem, UnsupportedError)]
        if unfit and cannot:
            return BoardError(f"{unfit[-1]} (with less scratchpad, {cannot[-1]})")
        return (unfit or cannot)[-1]


def reduced(architecture: Architecture, space: Space, predict: Rank, limit: float) -> Architecture:
    """The accelerator with smaller sizes wherever its latency stays within ``limit``: one size at a time, the greatest saving
    first."""
    while True:
        smaller = [a for a in space.smaller(architecture) if not excess(a, space.board, space.share)]
        smaller = [a for a in smaller if _burden(a, space) < _burden(architecture, space)]
        for candidate in sorted(smaller, key=lambda a: _burden(a, space)):
            if predict(candidate) <= limit:
                architecture = candidate
                break
        else:
            return architecture


def _burden(architecture: Architecture, space: Space) -> tuple[float, int]:
    return fill(architecture, space.board, space.share), architecture.epilogue * architecture.vector * architecture.weight_ports


@dataclass
class Predicted:
    """Latency in milliseconds by the cycle simulator, remembered by accelerator; UnsupportedError if it cannot run the model.

    ``instructions``: of the program that was predicted last."""

    compiler: Compiler
    board: Board
    clock_mhz: float
    instructions: int = 0
    known: dict[Architecture, float] = field(default_factory=dict)

    def __call__(self, architecture: Architecture) -> float:
        if architecture not in self.known:
            program = self.compiler.outline(architecture)
            self.instructions = len(program.steps)
            self.known[architecture] = predicted_cycles(program, self.board, self.clock_mhz) / (self.clock_mhz * 1e3)
        return self.known[architecture]
