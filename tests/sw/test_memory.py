"""The memory planner: no two live tensors share a line."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgeflow.sw.compiler.lifetimes import Lifetime, place

lifetimes = st.builds(
    lambda lines, first, length: Lifetime(lines, first, first + length),
    st.integers(1, 50),
    st.integers(-1, 20),
    st.integers(0, 10),
)


@given(st.lists(lifetimes, max_size=25))
def test_live_tensors_never_overlap(lives: list[Lifetime]) -> None:
    named = {f"t{i}": life for i, life in enumerate(lives)}
    lines = place(named)
    for a, life_a in named.items():
        for b, life_b in named.items():
            if a < b and life_a.first <= life_b.last and life_b.first <= life_a.last:
                apart = lines[a] + life_a.lines <= lines[b] or lines[b] + life_b.lines <= lines[a]
                assert apart, f"{a} and {b} are alive together and share lines"


@given(st.lists(lifetimes, min_size=1, max_size=25))
def test_memory_is_reused(lives: list[Lifetime]) -> None:
    named = {f"t{i}": life for i, life in enumerate(lives)}
    lines = place(named)
    peak = max(lines[n] + life.lines for n, life in named.items())
    assert peak <= sum(life.lines for life in lives)


def test_disjoint_lifetimes_share_memory() -> None:
    assert place({"a": Lifetime(10, 0, 1), "b": Lifetime(10, 2, 3), "c": Lifetime(4, 0, 3)}) == {"a": 0, "b": 0, "c": 10}
