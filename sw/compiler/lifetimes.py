"""Allocation in one memory: the lifetimes of its contents, and lines that are free for a whole lifetime."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Lifetime:
    """A size in lines and the nodes (inclusive) between which the memory must not be reused."""

    lines: int
    first: int
    last: int


# Orders in which things are placed, best first: which packs tightest depends on the network.
_ORDERS: tuple[Callable[[Lifetime], tuple[int, int, int]], ...] = (
    lambda life: (-life.lines, life.first, life.last),
    lambda life: (life.first - life.last, -life.lines, life.first),
    lambda life: (life.first, -life.lines, -life.last),
)


def peak(lives: Mapping[Name, Lifetime], lines: Mapping[Name, int]) -> int:
    """Lines in use."""
    return max((lines[name] + life.lines for name, life in lives.items()), default=0)


def place(lives: Mapping[Name, Lifetime]) -> dict[Name, int]:
    """First line of each: in several orders each at the lowest place free during its whole life; the tightest result."""
    results = [_place(lives, order) for order in _ORDERS]
    return min(results, key=lambda lines: peak(lives, lines))


def _place(lives: Mapping[Name, Lifetime], order: Callable[[Lifetime], tuple[int, int, int]]) -> dict[Name, int]:
    placed: dict[Name, int] = {}
    # Lines of what is placed, by the nodes during which it lives, and by the node with which its life begins.
    alive, begun = defaultdict[int, list[tuple[int, int]]](list), defaultdict[int, list[tuple[int, int]]](list)
    for name in sorted(lives, key=lambda n: (*order(lives[n]), str(n))):
        life = lives[name]
        rivals = list(alive.get(life.first, ()))
        for node in range(life.first + 1, life.last + 1):
            rivals += begun.get(node, ())
        line = 0
        for start, stop in sorted(rivals):
            if start - line >= life.lines:
                break
            line = max(line, stop)
        placed[name] = line
        begun[life.first].append((line, line + life.lines))
        for node in range(life.first, life.last + 1):
            alive[node].append((line, line + life.lines))
    return placed
