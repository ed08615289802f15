"""The pipelined loops of a module, and which blocks dominate which."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgeflow.hw.schedule.ir import Module


@dataclass(frozen=True)
class Loop:
    """A pipelined loop: its blocks in an order in which every block comes after those that lead to it."""

    pragma: int
    interval: int
    header: str
    latches: Sequence[str]
    order: Sequence[str]
    place: int


def pipelined_loops(module: Module) -> list[Loop]:
    """Return the loops that have a mark, in the order of the text. A loop that unrolled or vanished is not among them."""
    order = _reverse_postorder(module)
    number = {name: place for place, name in enumerate(order)}
    dominators = dominator_tree(order, {name: block.predecessors for name, block in module.blocks.items()})
    bodies: dict[str, tuple[set[str], list[str]]] = {}
    for name in order:
        for header in module.blocks[name].successors:
            if number[header] <= number[name] and _dominates(dominators, header, name):
                body, latches = bodies.setdefault(header, ({header}, []))
                latches.append(name)
                work = [name]
                while work:
                    block = work.pop()
                    if block not in body:
                        body.add(block)
                        work += module.blocks[block].predecessors
    loops = []
    for name in order:
        for instruction in module.blocks[name].instructions:
            if instruction.op == "call" and instruction.detail == "edgeflow_loop":
                around = [(len(body), header) for header, (body, _) in bodies.items() if name in body]
                if around:
                    header = min(around)[1]
                    body, latches = bodies[header]
                    pragma, interval = (int(operand) for operand in instruction.operands)
                    blocks = [one for one in order if one in body]
                    loops.append(Loop(pragma, interval, header, latches, blocks, instruction.place))
    return loops


def _reverse_postorder(module: Module) -> list[str]:
    seen, order = {"%entry"}, []
    stack: list[tuple[str, Iterator[str]]] = [("%entry", iter(module.blocks["%entry"].successors))]
    while stack:
        name, successors = stack[-1]
        for successor in successors:
            if successor not in seen:
                seen.add(successor)
                stack.append((successor, iter(module.blocks[successor].successors)))
                break
        else:
            order.append(name)
            stack.pop()
    return order[::-1]


def dominator_tree(order: Sequence[str], predecessors: dict[str, list[str]]) -> dict[str, str]:
    """Immediate dominator of each block of ``order``, a reverse postorder; the first one's is itself (Cooper, Harvey, Kennedy
    2001)."""
    number = {name: place for place, name in enumerate(order)}
    parent = {order[0]: order[0]}
    changed = True
    while changed:
        changed = False
        for name in order[1:]:
            fresh = ""
            for one in predecessors[name]:
                if one in parent and one in number:
                    fresh = one if not fresh else _meet(parent, number, one, fresh)
            if fresh and parent.get(name) != fresh:
                parent[name] = fresh
                changed = True
    return parent


def _meet(parent: dict[str, str], number: dict[str, int], a: str, b: str) -> str:
    while a != b:
        while number[a] > number[b]:
            a = parent[a]
        while number[b] > number[a]:
            b = parent[b]
    return a


def _dominates(parent: dict[str, str], a: str, b: str) -> bool:
    while b != a and parent[b] != b:
        b = parent[b]
    return a == b
