"""Which conditions a block of an iteration depends on, so that branches become multiplexers and enables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.schedule.ir import Module
from edgeflow.hw.schedule.loops import Loop, dominator_tree

END = "%end of the iteration"


class Control:
    """The blocks of one iteration without the edge back to its start."""

    def __init__(self, module: Module, loop: Loop) -> None:
        self.header = loop.header
        body = set(loop.order)
        self.successors: dict[str, list[str]] = {}
        self.predecessors: dict[str, list[str]] = {name: [] for name in loop.order}
        leaves: list[str] = []
        for name in loop.order:
            inner = [one for one in module.blocks[name].successors if one in body and one != loop.header]
            self.successors[name] = inner
            for one in inner:
                self.predecessors[one].append(name)
            if not inner or name in loop.latches:
                leaves.append(name)
        self.dominators = dominator_tree(loop.order, self.predecessors)
        back = {END: [], **{name: list(self.successors[name]) for name in loop.order}}
        for name in leaves:
            back[name].append(END)
        self.postdominators = dominator_tree([END, *reversed(loop.order)], back)
        self._number = {name: place for place, name in enumerate(loop.order)}
        self._reach: dict[str, int] = {}
        for name in reversed(loop.order):
            reach = 1 << self._number[name]
            for one in self.successors[name]:
                if one not in self._reach:
                    place = next((p for p, _ in module.places(module.blocks[one].instructions[-1].place)), None)
                    raise UnsupportedError(
                        f"{place}: a loop inside a pipelined one needs a constant trip count and an UNROLL pragma"
                    )
                reach |= self._reach[one]
            self._reach[name] = reach
        self._conditions: dict[str, frozenset[int]] = {loop.header: frozenset()}
        self.branch: dict[str, int | None] = {}  # the node that decides where a block leads, filled in while blocks are read

    def always(self, name: str) -> bool:
        """Whether a block runs whenever the block does that it is reached through."""
        return self._postdominates(name, self.dominators[name])

    def _postdominates(self, a: str, b: str) -> bool:
        while b != a and b != END:
            b = self.postdominators.get(b, END)
        return a == b

    def dominates(self, a: str, b: str) -> bool:
        """Whether every way to block ``b`` leads through ``a``."""
        while b != a and self.dominators[b] != b:
            b = self.dominators[b]
        return a == b

    def reaches(self, a: str, b: str) -> bool:
        """Whether block ``b`` can run after ``a`` in the same iteration, or is ``a``."""
        return bool(self._reach[a] >> self._number[b] & 1)

    def conditions(self, name: str) -> frozenset[int]:
        """The nodes that decide whether a block runs."""
        if name not in self._conditions:
            parent = self.dominators[name]
            if self._postdominates(name, parent):
                conditions = self.conditions(parent)
            else:
                conditions = frozenset().union(*(self.edge(one) for one in self.predecessors[name]))
            self._conditions[name] = conditions
        return self._conditions[name]

    def edge(self, source: str) -> frozenset[int]:
        """The nodes that decide whether the iteration leaves a block by one of several ways."""
        decision = self.branch.get(source)
        own = frozenset() if decision is None or len(self.successors[source]) < 2 else frozenset((decision,))
        return self.conditions(source) | own

    def choice(self, name: str, sources: Sequence[str]) -> frozenset[int]:
        """The nodes that decide through which of ``sources`` a block is reached."""
        return frozenset().union(*(self.edge(one) for one in sources)) - self.conditions(self.dominators[name])


Values = Mapping[str, int | None]
