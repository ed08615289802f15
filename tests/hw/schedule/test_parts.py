"""The parts of the gate on their own: delays against published figures, bits against arithmetic, cycles against enumeration."""

from __future__ import annotations

import itertools
import random

import pytest

from edgeflow.hw.schedule.bits import Bits, constant, mask, result
from edgeflow.hw.schedule.delays import Delays, budget, load_delays, tables
from edgeflow.hw.schedule.nodes import Carried, Nodes
from edgeflow.hw.schedule.pragmas import Pragma, rewrite
from edgeflow.hw.schedule.recurrences import components, cost
from edgeflow.hw.schedule.stages import schedule

SHARE = 0.12
"""How far a formula over bits may lie from one published figure: the tool rounds widths to carry blocks, the formula does not."""


def formula(delays: Delays, what: str, bits: int) -> float:
    """The table's figure for what a published one is about."""
    if what in ("bram", "lutram"):
        return delays.memory(what)[0]
    named = {"rom": "rom", "fifo read": "fifo.read", "fifo write": "fifo.write", "product alone": "product.alone"}
    if what in named:
        return delays[named[what]]
    if what == "carry":
        return delays.carry()
    if what == "choice":
        return delays.choice(bits, 32)
    return float(getattr(delays, what)(bits))


FIGURES = [(name, row) for name, table in tables().items() for row in table["measured"]]


@pytest.mark.parametrize(("family", "row"), FIGURES, ids=[f"{name} {row['what']} {row['bits']}" for name, row in FIGURES])
def test_delays_are_those_published(family: str, row: dict[str, object]) -> None:
    ns = row["ns"]
    assert isinstance(ns, float)
    assert isinstance(row["bits"], int)
    assert row["source"]
    assert formula(load_delays(family), str(row["what"]), row["bits"]) == pytest.approx(ns, rel=SHARE)


def test_the_budget_is_what_the_tool_states() -> None:
    """Two published logs: 3.33 ns leaves 2.4309 ns, 10 ns leave 7.3 ns."""
    assert round(budget(1000 / 3.33), 4) == 2.4309
    assert round(budget(100.0), 4) == 7.3


def test_every_family_estimates_openly() -> None:
    assert all(table["estimated"] for table in tables().values())


@pytest.mark.parametrize(
    "op", ["add", "sub", "mul", "and", "or", "xor", "shl", "lshr", "ashr", "urem", "udiv", "zext", "sext", "trunc"]
)
def test_known_bits_hold_for_every_value(op: str) -> None:
    """Of 5 and 5 bits, with any bits known: no result contradicts what is said of it."""
    width, source = 5, random.Random(op)
    wide = {"zext": 9, "sext": 9, "trunc": 3}.get(op, width)
    for _ in range(60):
        known = [draw(source, width) for _ in range(2)]
        out = result(op, wide, known)
        for a, b in itertools.product(values(known[0]), values(known[1])):
            value = apply(op, a, b, width, wide)
            if value is None:
                continue
            assert value & out.zero == 0
            assert ~value & out.one & mask(wide) == 0
            signed = value - (1 << wide if value >> (wide - 1) else 0)
            assert -(1 << (out.signed - 1)) <= signed < 1 << (out.signed - 1)


def draw(source: random.Random, width: int) -> Bits:
    zero = source.getrandbits(width) & source.getrandbits(width)
    one = source.getrandbits(width) & source.getrandbits(width) & ~zero
    signed = max(
        constant(width, value).signed for value in range(1 << width) if not value & zero and not ~value & one & mask(width)
    )
    return Bits(width, zero, one, signed)


def values(bits: Bits) -> list[int]:
    return [one for one in range(1 << bits.width) if not one & bits.zero and not ~one & bits.one & mask(bits.width)]


def apply(op: str, a: int, b: int, width: int, wide: int) -> int | None:
    """What LLVM computes; None where it says nothing."""
    signed = a - (1 << width if a >> (width - 1) else 0)
    if op in ("shl", "lshr", "ashr"):
        if b >= width:
            return None
        return {"shl": a << b, "lshr": a >> b, "ashr": signed >> b}[op] & mask(width)
    if op in ("urem", "udiv"):
        return None if b == 0 else (a % b if op == "urem" else a // b)
    table = {
        "add": a + b,
        "sub": a - b,
        "mul": a * b,
        "and": a & b,
        "or": a | b,
        "xor": a ^ b,
        "zext": a,
        "sext": signed,
        "trunc": a,
    }
    return table[op] & mask(wide)


def random_nodes(seed: int) -> Nodes:
    """A dataflow with registers that wait for each other."""
    source = random.Random(seed)
    nodes = Nodes(load_delays("ultrascale-plus"), 300.0, (27, 18))
    registers = [nodes.register(f"r{number}", 8, 0) for number in range(source.randint(1, 4))]
    for _ in range(source.randint(1, 8)):
        operands = source.sample(range(len(nodes.kind)), min(len(nodes.kind), source.randint(1, 2)))
        nodes.add("add", operands, 8, round(source.uniform(0.1, 1.2), 2), 0)
    for register in registers:
        nodes.carried.append(Carried(source.randrange(len(nodes.kind)), register, source.randint(1, 3)))
    return nodes


def slowest(nodes: Nodes) -> float:
    """The largest mean of a cycle, from all of them."""
    edges = [(operand, node, 0) for node in range(len(nodes.kind)) for operand in nodes.operands[node]]
    edges += [(one.source, one.register, one.distance) for one in nodes.carried]
    best = 0.0

    def walk(start: int, node: int, seen: frozenset[int], ns: float, distance: int) -> None:
        nonlocal best
        for source, target, far in edges:
            if source == node and target == start and distance + far:
                best = max(best, (ns + cost(nodes, target)) / (distance + far))
            elif source == node and target > start and target not in seen:
                walk(start, target, seen | {target}, ns + cost(nodes, target), distance + far)

    for start in range(len(nodes.kind)):
        walk(start, start, frozenset((start,)), 0.0, 0)
    return best


@pytest.mark.parametrize("seed", range(80))
def test_the_largest_recurrence_is_that_of_all_cycles(seed: int) -> None:
    nodes = random_nodes(seed)
    cycles = components(nodes)
    assert (cycles[0].largest.ns if cycles else 0.0) == pytest.approx(slowest(nodes), abs=1e-9)


@pytest.mark.parametrize("seed", range(80))
def test_a_schedule_keeps_what_it_promises(seed: int) -> None:
    """No operand comes after its operator, and what an iteration hands on is there when it is taken, where a recurrence fits."""
    nodes = random_nodes(seed)
    cycles = components(nodes)
    stages = schedule(nodes, 1, cycles, {})
    for node, operands in enumerate(nodes.operands):
        assert all(stages.end[operand] <= stages.start[node] for operand in operands)
    if cycles and (cycles[0].largest.ns > nodes.budget or stages.stuck):
        return
    for one in nodes.carried:
        assert stages.end[one.source] - one.distance <= stages.start[one.register]


def test_pragmas_become_calls_in_their_lines() -> None:
    text = """template <class C>
void unit(int n) {
#pragma HLS INLINE off
    ap_int<8> row[4];
#pragma HLS ARRAY_PARTITION variable=row complete
sum:
    for (int i = 0; i < n; ++i) {
#pragma HLS PIPELINE II=C::WORDS
        for (int k = 0; k < 4; ++k) {
#pragma HLS UNROLL
            row[k] = 0;
        }
    }
}"""
    pragmas: list[Pragma] = []
    lines = rewrite(text, "unit.hpp", pragmas).split("\n")
    assert len(lines) == text.count("\n") + 1
    assert lines[4] == "edgeflow_bits::object(row, 1, int(0));"
    assert lines[6].strip().startswith('_Pragma("clang loop unroll(disable)") for')
    assert lines[7] == "edgeflow_loop(2, C::WORDS);"
    assert lines[8].strip().startswith('_Pragma("clang loop unroll(full)") for')
    assert not any("#pragma" in line for line in lines)
    assert [(one.kind, one.scope, one.loop, one.label) for one in pragmas] == [
        ("INLINE", 2, 0, ""), ("ARRAY_PARTITION", 2, 0, ""), ("PIPELINE", 2, 7, "sum"), ("UNROLL", 2, 9, "line 9"),
    ]  # fmt: skip
