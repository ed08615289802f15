"""Bits for every layer: an integer programme that minimises the summed sensitivity under budgets (HAWQ-V3, arXiv 2011.10680).

One binary variable for each layer and choice of bits, one choice a layer. Layers that read one tensor read it with the same bits,
and the error of narrowing it counts once. Solved to the optimum by HiGHS (scipy's ``milp``).
"""

from __future__ import annotations

import ctypes
import itertools
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgeflow.hw.arrays import Real
from edgeflow.hw.errors import InputError
from edgeflow.quant.formats.config import LayerBits
from edgeflow.quant.techniques.hawq.budget import UNIT, Budget
from edgeflow.quant.techniques.hawq.layers import FULL, Layer
from edgeflow.quant.techniques.hawq.sensitivity import Sensitivity

ENUMERATED = 1 << 22  # allocations that brute force looks at, at most
EXACT = 1e-9  # relative: two sums of the same costs in another order


@dataclass(frozen=True)
class Cost:
    """What choices cost: ``rest`` for everything that is not allocated, ``layers[layer][bits]`` for the rest. Latency counts in
    milliseconds, size in bytes, bit operations of one sample."""

    rest: float
    layers: Mapping[str, Mapping[LayerBits, float]]

    def total(self, bits: Mapping[str, LayerBits]) -> float:
        """Cost of an allocation."""
        return self.rest + math.fsum(table[bits[name]] for name, table in self.layers.items())


@dataclass(frozen=True)
class Task:
    """An allocation problem: layers with their sensitivity, and costs by the name of the budget. ``references``: what relative
    limits of a cost refer to, where that is not its total with 8 bits everywhere."""

    layers: tuple[Layer, ...]
    omega: Mapping[str, Mapping[LayerBits, float]]
    costs: Mapping[str, Cost]
    references: Mapping[str, float] = field(default_factory=dict)

    def reference(self, name: str) -> float:
        """The cost that relative limits refer to."""
        return self.references.get(name, self.costs[name].total(self.full()))

    def full(self) -> dict[str, LayerBits]:
        """8 bits everywhere."""
        return {layer.name: FULL for layer in self.layers}

    def sensitivity(self, bits: Mapping[str, LayerBits]) -> float:
        """Summed Omega of an allocation."""
        return math.fsum(self.omega[name][choice] for name, choice in bits.items())

    def feasible(self, bits: Mapping[str, LayerBits], limits: Mapping[str, float]) -> bool:
        """Whether an allocation keeps all limits and reads each tensor with one width."""
        costs = all(self.costs[name].total(bits) <= limit * (1 + EXACT) for name, limit in limits.items())
        return costs and all(bits[a].activation == bits[b].activation for a, b in self.pairs())

    def pairs(self) -> list[tuple[str, str]]:
        """Layers that read the same tensor: each with the first that does."""
        first: dict[str, str] = {}
        pairs = []
        for layer in self.layers:
            for tensor in dict.fromkeys(layer.activations):
                if first.setdefault(tensor, layer.name) != layer.name:
                    pairs.append((first[tensor], layer.name))
        return pairs


@dataclass(frozen=True)
class Allocation:
    """Bits by layer; ``omega`` their summed sensitivity, ``costs`` by name."""

    bits: Mapping[str, LayerBits]
    omega: float
    costs: Mapping[str, float]


def task(
    layers: Sequence[Layer], sensitivity: Sensitivity, costs: Mapping[str, Cost], references: Mapping[str, float] | None = None
) -> Task:
    """The problem of layers with a measured sensitivity."""
    return Task(tuple(layers), sensitivity.omega, costs, references or {})


def size_cost(layers: Sequence[Layer]) -> Cost:
    """Bytes of the weights of linear layers."""
    return Cost(0.0, {layer.name: {c: layer.size(c) / 8 for c in layer.choices()} for layer in layers})


def bops_cost(layers: Sequence[Layer], rest: int) -> Cost:
    """Bit operations of one sample; ``rest`` are those of attention."""
    return Cost(float(rest), {layer.name: {c: float(layer.bops(c)) for c in layer.choices()} for layer in layers})


def limits_of(problem: Task, budgets: Sequence[Budget]) -> dict[str, float]:
    """The limits that budgets set, in the units of the costs."""
    return {budget.name: budget.limit(problem.reference(budget.name)) for budget in budgets}


def solve(problem: Task, limits: Mapping[str, float]) -> Allocation:
    """The allocation with the least summed sensitivity that keeps all ``limits`` (by the name of a cost).

    InputError names the smallest feasible limit where there is none.
    """
    bits = _minimum(problem, problem.omega, limits)
    if bits is None:
        raise InputError(_impossible(problem, limits))
    return allocation(problem, bits)


def allocation(problem: Task, bits: Mapping[str, LayerBits]) -> Allocation:
    """Bits with what they cost."""
    return Allocation(dict(bits), problem.sensitivity(bits), {name: cost.total(bits) for name, cost in problem.costs.items()})


def brute_force(problem: Task, limits: Mapping[str, float]) -> Allocation | None:
    """The best of all allocations, one by one; None if none is feasible. ValueError where there are too many."""
    names = [layer.name for layer in problem.layers]
    choices = [layer.choices() for layer in problem.layers]
    if math.prod(map(len, choices)) > ENUMERATED:
        raise ValueError("too many allocations to try them all")
    best: Allocation | None = None
    for combination in itertools.product(*choices):
        bits = dict(zip(names, combination, strict=True))
        if problem.feasible(bits, limits) and (best is None or problem.sensitivity(bits) < best.omega):
            best = allocation(problem, bits)
    return best


def cheapest(problem: Task, name: str, limits: Mapping[str, float]) -> Allocation:
    """The least sensitive of the allocations that cost least by ``name`` under the limits; InputError if there is none."""
    bits = _minimum(problem, problem.costs[name].layers, limits)
    if bits is None:
        raise InputError(_impossible(problem, limits))
    return solve(problem, {**limits, name: problem.costs[name].total(bits) * (1 + EXACT)})


def front(problem: Task, name: str, points: int = 21) -> list[Allocation]:
    """The Pareto front of sensitivity and one cost: budgets in equal steps from the cheapest allocation to 8 bits everywhere."""
    table = problem.costs[name]
    low, high = cheapest(problem, name, {}).costs[name], table.total(problem.full())
    allocations: list[Allocation] = []
    for limit in np.linspace(low, high, points):
        allocation = solve(problem, {name: float(limit) * (1 + EXACT)})
        if not allocations or allocation.costs[name] > allocations[-1].costs[name]:
            allocations.append(allocation)
    return allocations


def _impossible(problem: Task, limits: Mapping[str, float]) -> str:
    """Why no allocation keeps the limits, with the smallest that can be kept."""
    for name, limit in limits.items():
        least, whole = cheapest(problem, name, {}).costs[name], problem.reference(name)
        if least > limit * (1 + EXACT):
            share = math.ceil(least / whole * 1e4) / 1e4
            return (
                f"budget {name}={limit / whole:.4g}x ({limit:.6g} of the {whole:.6g} {UNIT[name]} at 8 bits) is impossible:"
                " the smallest feasible one is "
                f"{name}={share:g}x ({least:.6g} {UNIT[name]})"
            )
    names = list(limits)
    others = {name: limits[name] for name in names[1:]}
    least_bits = _minimum(problem, problem.costs[names[0]].layers, others)
    if least_bits is None:
        return f"the budgets {', '.join(names)} cannot be kept together; raise one of them"
    least, whole = problem.costs[names[0]].total(least_bits), problem.reference(names[0])
    share = math.ceil(least / whole * 1e4) / 1e4
    return (
        f"the budgets {', '.join(names)} cannot be kept together: beside the others the smallest feasible {names[0]} is {share:g}x"
    )


def _minimum(
    problem: Task, weights: Mapping[str, Mapping[LayerBits, float]], limits: Mapping[str, float]
) -> dict[str, LayerBits] | None:
    """The allocation with the least sum of ``weights`` under the limits; None if there is none."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    columns = [(layer.name, choice) for layer in problem.layers for choice in layer.choices()]
    objective = np.array([weights[name][choice] for name, choice in columns])
    rows: list[Real] = []
    low: list[float] = []
    high: list[float] = []

    def constrain(row: Real, least: float, most: float) -> None:
        rows.append(row)
        low.append(least)
        high.append(most)

    for layer in problem.layers:
        constrain(np.array([float(name == layer.name) for name, _ in columns]), 1.0, 1.0)
    for a, b in problem.pairs():
        for width in sorted({choice.activation for _, choice in columns}):
            row = [(name == a) * 1.0 - (name == b) * 1.0 if choice.activation == width else 0.0 for name, choice in columns]
            constrain(np.array(row), 0.0, 0.0)
    slack = 1.0
    while True:
        extra: list[tuple[Real, float]] = []
        for name, limit in limits.items():
            cost = problem.costs[name]
            room = limit - cost.rest
            scale = max(abs(room), 1e-30)
            costs = np.array([cost.layers[layer][choice] for layer, choice in columns]) / scale
            extra.append((costs, (room / scale) * (slack if room > 0 else 1.0)))
        matrix = np.array(rows + [row for row, _ in extra])
        constraint = LinearConstraint(matrix, [*low, *[-np.inf] * len(extra)], [*high, *[most for _, most in extra]])
        bits = _solved(objective, constraint, columns, milp, Bounds)
        # The solver takes limits with a tolerance of 1e-6 or so: where it went beyond, the limit is lowered by more than that.
        if bits is None or problem.feasible(bits, limits) or slack < 1 - 1e-4:
            return bits if bits is not None and problem.feasible(bits, limits) else None
        slack -= 4e-6


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing reaches the process's standard output while the block runs: HiGHS prints a line of its own now and then, whatever
    its options say, which must not get into a document there."""
    c = ctypes.CDLL(None)
    try:
        sys.stdout.flush()
        c.fflush(None)
        kept = os.dup(1)
    except (OSError, ValueError):  # there is none
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        c.fflush(None)
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _solved(
    objective: Real, constraint: Any, columns: Sequence[tuple[str, LayerBits]], milp: Any, bounds: Any
) -> dict[str, LayerBits] | None:
    """Solve twice: the second time with the objective scaled by the optimum found first, so that absolute tolerances do not
    count."""
    best: dict[str, LayerBits] | None = None
    value = float(np.abs(objective).max(initial=0.0)) or 1.0
    for _ in range(2):
        scaled = objective / value * 1e3
        with _quiet():
            solution = milp(
                scaled, integrality=np.ones(len(columns)), bounds=bounds(0, 1), constraints=constraint, options={"mip_rel_gap": 0.0}
            )
        if solution.x is None:
            return best
        chosen = [int(i) for i in np.flatnonzero(solution.x > 0.5)]
        best = {columns[i][0]: columns[i][1] for i in chosen}
        total = float(objective[chosen].sum())
        if total <= 0.0:
            break
        value = total
    return best
