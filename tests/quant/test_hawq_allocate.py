"""The integer programme: optimal, within its budgets, and clear where there is nothing to find."""

from __future__ import annotations

import ctypes
import itertools
import math
import os

import numpy as np
import pytest

from edgeflow.hw.errors import InputError
from edgeflow.quant.formats.config import LayerBits
from edgeflow.quant.techniques.hawq import allocate
from edgeflow.quant.techniques.hawq.allocate import Cost, Task, brute_force, front, size_cost, solve
from edgeflow.quant.techniques.hawq.budget import Budget, parse_budgets
from edgeflow.quant.techniques.hawq.layers import Layer


def problem(seed: int, count: int = 4, spread: float = 6.0) -> Task:
    """Random layers, two of which share an activation and one of which is fixed; sensitivities over ``spread`` decades."""
    rng = np.random.default_rng(seed)
    reads = [0, 0, 1, 2, 3][:count]
    layers = tuple(
        Layer(
            f"l{i}", (f"w{i}",), (f"o{i}",), (f"t{reads[i]}",), int(rng.integers(50, 5000)), int(rng.integers(1, 9)) * 1000, i == 3
        )
        for i in range(count)
    )
    scale = {layer.name: 10.0 ** rng.uniform(-spread, 0) for layer in layers}
    narrow = {layer.name: 10.0 ** rng.uniform(-spread, 0) for layer in layers}
    omega = {
        layer.name: {c: scale[layer.name] * 4.0**-c.weight + narrow[layer.name] * 4.0**-c.activation for c in layer.choices()}
        for layer in layers
    }
    latency = {
        layer.name: {
            c: layer.macs * (1.0 if max(c.weight, c.activation) > 4 else 0.5) * (1 + 0.01 * (c.weight > 4)) for c in layer.choices()
        }
        for layer in layers
    }
    bops = {layer.name: {c: float(layer.bops(c)) for c in layer.choices()} for layer in layers}
    costs = {"size": size_cost(layers), "bops": Cost(12345.0, bops), "latency": Cost(777.0, latency)}
    return Task(layers, omega, costs)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("names", [("size",), ("bops",), ("latency",), ("size", "latency")])
def test_the_integer_programme_finds_the_optimum(seed: int, names: tuple[str, ...]) -> None:
    task = problem(seed)
    rng = np.random.default_rng(seed)
    limits = {name: task.costs[name].total(task.full()) * rng.uniform(0.75, 1.0) for name in names}
    best = brute_force(task, limits)
    assert best is not None
    solved = solve(task, limits)
    assert task.feasible(solved.bits, limits)
    assert solved.omega == pytest.approx(best.omega, rel=1e-9)
    assert solved.bits["l3"] == LayerBits()
    assert solved.bits["l0"].activation == solved.bits["l1"].activation


def test_half_the_size_is_kept_to_the_byte() -> None:
    task = problem(1, count=3)
    half = task.costs["size"].total(task.full()) / 2
    assert solve(task, {"size": half}).costs["size"] <= half * (1 + 1e-9)


def test_a_budget_that_everything_fits_gives_8_bits() -> None:
    task = problem(2)
    assert solve(task, {"size": task.costs["size"].total(task.full())}).bits == task.full()


def test_an_impossible_budget_names_the_smallest_feasible_one() -> None:
    task = problem(3)
    whole = task.costs["size"].total(task.full())
    with pytest.raises(InputError, match="smallest feasible one is size=") as caught:
        solve(task, {"size": 0.05 * whole})
    share = float(str(caught.value).split("smallest feasible one is size=")[1].split("x")[0])
    assert task.feasible(solve(task, {"size": share * whole}).bits, {"size": share * whole})
    with pytest.raises(InputError):
        solve(task, {"size": (share - 2e-4) * whole})


def test_budgets_that_exclude_each_other_say_so() -> None:
    """Two layers, each cheap in what the other is expensive in."""
    layers = tuple(Layer(f"l{i}", (f"w{i}",), (f"o{i}",), (f"t{i}",), 100, 100, False) for i in range(2))
    omega = {layer.name: dict.fromkeys(layer.choices(), 1.0) for layer in layers}
    up = {layer.name: {c: float(c.weight) for c in layer.choices()} for layer in layers}
    down = {layer.name: {c: float(10 - c.weight) for c in layer.choices()} for layer in layers}
    task = Task(layers, omega, {"size": Cost(0.0, up), "latency": Cost(0.0, down)})
    assert task.feasible(solve(task, {"size": 10.0, "latency": 10.0}).bits, {"size": 10.0, "latency": 10.0})
    with pytest.raises(InputError, match="cannot be kept together"):
        solve(task, {"size": 9.0, "latency": 10.0})


def test_the_front_falls_and_each_point_is_optimal() -> None:
    task = problem(4)
    points = front(task, "bops", 9)
    assert len(points) > 4
    for a, b in itertools.pairwise(points):
        assert a.costs["bops"] < b.costs["bops"]
        assert a.omega > b.omega
    for point in points:
        best = brute_force(task, {"bops": point.costs["bops"]})
        assert best is not None
        assert best.omega == pytest.approx(point.omega, rel=1e-9)


def test_budgets_are_read_with_their_units() -> None:
    assert parse_budgets(["latency=0.6x", "size=1.5MB,bops=2e9"]) == (
        Budget("latency", 0.6, True),
        Budget("size", 1.5e6, False),
        Budget("bops", 2e9, False),
    )
    assert parse_budgets(["latency=250us"])[0].value == pytest.approx(0.25)
    assert Budget("size", 0.5, True).limit(80.0) == 40.0
    assert math.isclose(Budget("latency", 2.0, False).limit(80.0), 2.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("speed=2x", "unknown budget 'speed'"),
        ("latencie=2x", "did you mean 'latency'"),
        ("latency", "is no limit"),
        ("latency=fast", "is no limit"),
        ("size=3ms", "is no limit"),
        ("size=0x", "must be a positive number"),
        ("size=1.2.3x", "must be a positive number"),
        ("size=0.5x,size=0.6x", "limited twice"),
        ("", "unknown budget ''"),
    ],
)
def test_wrong_budgets_are_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse_budgets([text])
    assert "\n" not in str(caught.value)


def test_what_the_solver_prints_stays_out_of_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    libc = ctypes.CDLL(None)
    with allocate._quiet():
        libc.puts(b"from the solver")
        os.write(1, b"from the solver, too")
    libc.puts(b"after it")
    libc.fflush(None)
    assert capfd.readouterr().out == "after it\n"
