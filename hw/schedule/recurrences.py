"""What iterations hand to each other, and how long that takes: the recurrences of a loop and the largest of them.

A recurrence is a cycle through operators and registers; over d iterations it may take d periods. Registers that wait for each
other make up strongly connected components (Tarjan 1972); in each, the longest ways between registers are found by one pass
over its operators, and the largest mean of a cycle over them by Howard's policy iteration (Cochet-Terrasson et al. 1998; Dasdan
2004).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeflow.hw.schedule.nodes import Nodes

NEVER = -1e18


@dataclass(frozen=True)
class Recurrence:
    """A cycle: ``ns`` for each iteration it spans; ``chain``: its nodes from the register on; ``register`` is its first."""

    register: int
    ns: float
    distance: int
    chain: Sequence[int]


@dataclass(frozen=True)
class Component:
    """Operators and registers that wait for each other. ``ns``: the largest mean of its cycles; ``own``: the cycle of each
    register that comes back to itself without another register, by register."""

    members: frozenset[int]
    largest: Recurrence
    own: Sequence[Recurrence]


def components(nodes: Nodes) -> list[Component]:
    """Return the components that have a cycle, the slowest first."""
    following: dict[int, list[tuple[int, int]]] = {}
    for edge in nodes.carried:
        following.setdefault(edge.source, []).append((edge.register, edge.distance))
    slowest_first = []
    for members in _strongly_connected(nodes, following):
        component = _measure(nodes, sorted(members), following)
        if component is not None:
            slowest_first.append(component)
    return sorted(slowest_first, key=lambda one: -one.largest.ns)


def cost(nodes: Nodes, node: int) -> float:
    """Time from the last operand of a node to its result."""
    return nodes.stages[node] * nodes.budget + nodes.delay[node]


def _strongly_connected(nodes: Nodes, following: dict[int, list[tuple[int, int]]]) -> list[list[int]]:
    """Tarjan's algorithm without recursion, over edges from a node to its operands and from a register to what it takes."""
    takes: dict[int, list[int]] = {}
    for source, targets in following.items():
        for register, _ in targets:
            takes.setdefault(register, []).append(source)
    count = len(nodes.kind)
    index, low, on_stack = [0] * count, [0] * count, [False] * count
    stack: list[int] = []
    groups: list[list[int]] = []
    counter = 0
    for root in takes:
        if index[root]:
            continue
        work: list[tuple[int, int, Sequence[int]]] = [(root, 0, (*nodes.operands[root], *takes.get(root, ())))]
        counter += 1
        index[root] = low[root] = counter
        stack.append(root)
        on_stack[root] = True
        while work:
            node, place, edges = work.pop()
            advanced = False
            while place < len(edges):
                other = edges[place]
                place += 1
                if not index[other]:
                    work.append((node, place, edges))
                    counter += 1
                    index[other] = low[other] = counter
                    stack.append(other)
                    on_stack[other] = True
                    work.append((other, 0, (*nodes.operands[other], *takes.get(other, ()))))
                    advanced = True
                    break
                if on_stack[other]:
                    low[node] = min(low[node], index[other])
            if advanced:
                continue
            if low[node] == index[node]:
                group = []
                while True:
                    other = stack.pop()
                    on_stack[other] = False
                    group.append(other)
                    if other == node:
                        break
                if len(group) > 1 or node in takes.get(node, ()):
                    groups.append(group)
            if work:
                parent = work[-1][0]
                low[parent] = min(low[parent], low[node])
    return groups


def _measure(nodes: Nodes, members: list[int], following: dict[int, list[tuple[int, int]]]) -> Component | None:
    inside = set(members)
    registers = [one for one in members if any(one == register for source in members for register, _ in following.get(source, ()))]
    edges = [
        (source, register, distance) for source in members for register, distance in following.get(source, ()) if register in inside
    ]
    registers = sorted({register for _, register, _ in edges})
    if not registers:
        return None
    number = {register: place for place, register in enumerate(registers)}
    reach = {node: np.full(len(registers), NEVER) for node in members}
    for node in members:
        row = reach[node]
        for operand in nodes.operands[node]:
            if operand in inside:
                np.maximum(row, reach[operand], out=row)
        row += np.where(row > NEVER / 2, cost(nodes, node), 0.0)
        if node in number:
            row[number[node]] = max(row[number[node]], cost(nodes, node) if nodes.kind[node] != "register" else 0.0)
    weight = np.full((len(registers), len(registers)), NEVER)
    span = np.ones((len(registers), len(registers)))
    last: dict[tuple[int, int], int] = {}
    for source, register, distance in edges:
        column = reach[source]
        for place in range(len(registers)):
            if column[place] <= NEVER / 2:
                continue
            target = number[register]
            if weight[place, target] <= NEVER / 2 or column[place] / distance > weight[place, target] / span[place, target]:
                weight[place, target] = column[place]
                span[place, target] = distance
                last[place, target] = source
    cycle = _largest_cycle(weight, span)
    chain: list[int] = []
    for place, target in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
        chain += _way(nodes, inside, registers[place], last[place, target])
    total = sum(weight[place, target] for place, target in zip(cycle, [*cycle[1:], cycle[0]], strict=True))
    distance = int(sum(span[place, target] for place, target in zip(cycle, [*cycle[1:], cycle[0]], strict=True)))
    largest = Recurrence(registers[cycle[0]], float(total) / distance, distance, chain)
    own = [
        Recurrence(
            register,
            float(weight[place, place] / span[place, place]),
            int(span[place, place]),
            _way(nodes, inside, register, last[place, place]),
        )
        for place, register in enumerate(registers)
        if weight[place, place] > NEVER / 2
    ]
    return Component(frozenset(members), largest, sorted(own, key=lambda one: -one.ns))


def _largest_cycle(weight: np.ndarray, span: np.ndarray) -> list[int]:
    """Howard's algorithm: the cycle whose weight over its span is largest, as the places of its registers."""
    count = len(weight)
    ratio = np.where(weight > NEVER / 2, weight / span, NEVER)
    policy = ratio.argmax(axis=1)
    value = np.zeros(count)
    best: list[int] = []
    for _ in range(100):
        best, best_mean = [], NEVER
        owner = np.full(count, -1)
        for start in range(count):
            path, node = [], start
            while owner[node] < 0:
                owner[node] = start
                path.append(node)
                node = int(policy[node])
            if owner[node] == start and node in path:
                cycle = path[path.index(node) :]
                mean = sum(weight[one, policy[one]] for one in cycle) / sum(span[one, policy[one]] for one in cycle)
                if mean > best_mean:
                    best, best_mean = cycle, mean
        value = np.full(count, NEVER)
        value[best[0]] = 0.0
        for _ in range(count):  # longest ways to the cycle under this mean
            fresh = np.where(weight > NEVER / 2, weight - best_mean * span + value[None, :], NEVER).max(axis=1)
            fresh[best[0]] = max(0.0, fresh[best[0]])
            fresh = np.maximum(fresh, value)
            if np.allclose(fresh, value, rtol=0, atol=1e-9):
                break
            if fresh[best[0]] > 1e-6:
                value = fresh
                break
            value = fresh
        choice = np.where(weight > NEVER / 2, weight - best_mean * span + value[None, :], NEVER).argmax(axis=1)
        if value[best[0]] <= 1e-6:
            break
        policy = choice
    return [int(one) for one in best]


def _way(nodes: Nodes, inside: set[int], start: int, end: int) -> list[int]:
    """The slowest way from a register to a node, over operators of one component."""
    reach: dict[int, tuple[float, int]] = {start: (0.0, -1)}
    for node in sorted(one for one in inside if start < one <= end):
        ways = [(reach[operand][0], operand) for operand in nodes.operands[node] if operand in reach]
        if ways:
            ns, operand = max(ways)
            reach[node] = (ns + cost(nodes, node), operand)
    chain = [end]
    while chain[-1] != start:
        chain.append(reach[chain[-1]][1])
    return chain[::-1]
