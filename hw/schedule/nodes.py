"""The dataflow of one iteration: operators with their delays, registers that iterations hand on, and what depends on what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgeflow.hw.schedule.delays import Delays, budget

LUT_INPUTS = 6


@dataclass(frozen=True, slots=True)
class Carried:
    """What an iteration hands to a later one: node ``source`` becomes register ``register`` that many iterations on."""

    source: int
    register: int
    distance: int = 1


class Nodes:
    """Operators in an order in which each comes after its operands.

    ``stages``: clock cycles from an operator's start to its result, 0 for what is combinational; ``setup``: of its first cycle,
    the part that it takes where it has stages; ``delay``: of its last cycle. ``arrival``: the earliest time of its result, were
    there no clock.
    """

    def __init__(self, delays: Delays, clock_mhz: float, product: tuple[int, int]) -> None:
        self.delays = delays
        self.budget = budget(clock_mhz)
        self.product_bits = product
        self.kind: list[str] = []
        self.operands: list[tuple[int, ...]] = []
        self.bits: list[int] = []
        self.stages: list[int] = []
        self.setup: list[float] = []
        self.delay: list[float] = []
        self.place: list[int] = []
        self.title: list[str] = []
        self.arrival: list[float] = []
        self.carried: list[Carried] = []
        self._trees: dict[frozenset[int], int] = {}

    def add(
        self, kind: str, operands: Iterable[int | None], bits: int, delay: float, place: int,
        stages: int = 0, setup: float = 0.0, title: str = "",
    ) -> int:  # fmt: skip
        """Append a node; operands that are constants are None and left out."""
        known = tuple(dict.fromkeys(one for one in operands if one is not None))
        start = max((self.arrival[one] for one in known), default=0.0)
        self.kind.append(kind)
        self.operands.append(known)
        self.bits.append(bits)
        self.stages.append(stages)
        self.setup.append(setup)
        self.delay.append(delay)
        self.place.append(place)
        self.title.append(title)
        self.arrival.append(start + stages * self.budget + delay)
        return len(self.kind) - 1

    def register(self, title: str, bits: int, place: int) -> int:
        """A value that the iteration before has left, or one from before the loop."""
        return self.add("register", (), bits, 0.0, place, title=title)

    def lut(self, operands: Sequence[int | None], bits: int, place: int, kind: str = "logic", wide: int = 1) -> int | None:
        """Logic of each bit on its own. Operands that are such logic themselves are taken into the same LUT, the latest first,
        as long as it has inputs left; ``wide``: LUTs that one control drives."""
        inputs = list(dict.fromkeys(one for one in operands if one is not None))
        if not inputs:
            return None
        for one in sorted(inputs, key=lambda node: -self.arrival[node]):
            if self.kind[one] in ("logic", "select"):
                merged = list(dict.fromkeys([*(other for other in inputs if other != one), *self.operands[one]]))
                if len(merged) <= LUT_INPUTS:
                    inputs = merged
        return self.add(kind, inputs, bits, self.delays.lut(wide), place)

    def together(self, conditions: frozenset[int], place: int) -> int | None:
        """Conditions that must hold together: a tree of LUTs."""
        if not conditions:
            return None
        if len(conditions) == 1:
            return next(iter(conditions))
        if conditions not in self._trees:
            waiting = sorted(conditions, key=lambda node: self.arrival[node])
            while len(waiting) > LUT_INPUTS:
                first, waiting = waiting[:LUT_INPUTS], waiting[LUT_INPUTS:]
                waiting.append(self.add("logic", first, 1, self.delays.lut(1), place))
                waiting.sort(key=lambda node: self.arrival[node])
            node = self.lut(waiting, 1, place)
            assert node is not None
            self._trees[conditions] = node
        return self._trees[conditions]

    def total(self, leaves: Sequence[tuple[int | None, int]], bits: int, place: int) -> int | None:
        """A sum of several numbers of known bits: a tree of adders, the earliest first, what the loop carries last."""
        waiting = [(self._late(node), width, node) for node, width in leaves if node is not None]
        constants = len(leaves) - len(waiting)
        if not waiting:
            return None
        waiting.sort()
        if len(waiting) == 1:
            one = waiting[0][2]
            return self.add("add", (one,), bits, self.delays.adder(bits), place) if constants else one
        while len(waiting) > 1:
            (_, a_bits, a), (_, b_bits, b) = waiting[:2]
            width = min(bits, max(a_bits, b_bits) + 1)
            node = self.add("add", (a, b), width, self.delays.adder(width), place)
            waiting = sorted([*waiting[2:], (self._late(node), width, node)])
        return waiting[0][2]

    def _late(self, node: int) -> float:
        return float("inf") if self.kind[node] == "register" else self.arrival[node]

    def product(self, operands: Sequence[int | None], bits: tuple[int, int], place: int) -> int:
        """A product in DSP slices, with as many registers as keep it within the clock; more than one slice takes more stages."""
        wide, narrow = max(bits), min(bits)
        first, second = self.product_bits
        slices = -(-wide // first) * -(-narrow // second)
        alone = self.delays["product.alone"]
        if slices == 1 and alone <= 0.6 * self.budget:
            return self.add("product", operands, wide + narrow, alone, place)
        stages = int(self.delays["product.stages"]) + min(slices - 1, 2)
        return self.add("product", operands, wide + narrow, self.delays["product.output"], place, stages, 0.0)

    def quotient(self, operands: Sequence[int | None], bits: int, place: int) -> int:
        """A pipelined division: a stage for each bit of the dividend, and three around them."""
        return self.add("quotient", operands, bits, self.delays["divider"], place, bits + 3, self.delays["divider"])

    def read(self, kind: str, operands: Sequence[int | None], bits: int, place: int, title: str) -> int:
        """A read of a memory: its address in one cycle, its data in the next."""
        ns = self.delays["rom"] if kind == "rom" else self.delays.memory(kind)[0]
        return self.add("read", operands, bits, ns, place, 1, ns, title)

    def write(self, kind: str, operands: Sequence[int | None], bits: int, place: int, title: str) -> int:
        """A write to a memory, at the end of a cycle."""
        return self.add("write", operands, bits, self.delays.memory(kind)[1], place, title=title)
