"""Formulas of resources against synthesis by yosys, and the Verilog that is synthesized against the definitions of its words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeflow.hw.cost import Logic
from edgeflow.hw.errors import ToolchainError
from edgeflow.hw.synthesis import yosys
from edgeflow.hw.synthesis.block import Block
from edgeflow.hw.synthesis.comparison import Row, blocks, compare, markdown
from edgeflow.hw.synthesis.netlist import Counts, count
from edgeflow.hw.synthesis.simulation import simulate

CYCLES = 4096
REDUCED = (
    "product 25 x 32",
    "adder tree of 4 x 18 bits",
    "comparison of 24 bits",
    "choice of 8 x 8 bits",
    "shift of 32 bits by up to 31",
    "rounding shift of 35 bits, half to even",
    "saturation of 50 bits to 17",
    "LUT memory of 64 x 27 bits",
    "delay of 57 bits by 8 cycles",
    "lane of an embedding",
    "lane of the pool",
)


def netlist(*cells: tuple[str, Mapping[str, Sequence[int | str]]]) -> dict[str, Any]:
    """A flat module ``top`` as yosys writes it; ports whose names begin with O are outputs."""
    return {
        "modules": {
            "top": {
                "ports": {},
                "cells": {
                    str(n): {
                        "type": kind,
                        "connections": ports,
                        "port_directions": {p: "output" if p.startswith(("O", "D", "Q")) else "input" for p in ports},
                    }
                    for n, (kind, ports) in enumerate(cells)
                },
            }
        }
    }


def lut(output: int, *inputs: int) -> tuple[str, dict[str, list[int]]]:
    return f"LUT{len(inputs)}", {"O": [output], **{f"I{i}": [net] for i, net in enumerate(inputs)}}


def test_two_functions_share_a_lut_that_have_five_inputs_in_all_and_one_in_common() -> None:
    assert count(netlist(lut(90, 1, 2, 3), lut(91, 3, 4, 5)), "top") == Counts(1, 0)
    assert count(netlist(lut(90, 1, 2, 3), lut(91, 4, 5)), "top") == Counts(2, 0)
    assert count(netlist(lut(90, 1, 2, 3, 4), lut(91, 4, 5, 6)), "top") == Counts(2, 0)
    assert count(netlist(lut(90, 1, 2, 3, 4, 5, 6), lut(91, 1)), "top") == Counts(2, 0)
    assert count(netlist(lut(90, 1, 2), lut(91, 2, 3), lut(92, 3, 4)), "top") == Counts(2, 0)


def test_bits_of_a_carry_chain_have_luts_of_their_own() -> None:
    ports: dict[str, list[int | str]] = {"S": [90, 91, 7, "0"], "O": [1000, 1001, 1002, 1003]}
    chain = ("CARRY4", ports)
    assert count(netlist(lut(90, 1, 2), lut(91, 2, 3), chain), "top") == Counts(3, 0)  # the third bit's LUT is a way through
    assert count(netlist(lut(90, 1, 2), lut(91, 2, 3), lut(92, 1, 2), lut(93, 2, 3), chain), "top") == Counts(3, 0)


def test_memories_shift_registers_and_the_rest() -> None:
    memory = ("RAM64M8", {"DOA": [90], "DOB": [91], "DOC": [92], "ADDRA": [1]})
    reader = lut(95, 90, 91)
    assert count(netlist(memory, reader), "top") == Counts(4, 0, lutram=3)  # two read, one of the write address
    ends: dict[str, Sequence[int | str]] = {"A0": ["1"], "A1": ["0"], "A2": ["0"], "A3": ["0"], "CE": ["1"], "CLK": [9]}
    short: list[tuple[str, Mapping[str, Sequence[int | str]]]] = [("SRL16E", {**ends, "Q": [90 + n]}) for n in range(3)]
    assert count(netlist(*short, ("SRLC32E", {"Q": [80]})), "top") == Counts(3, 0, lutram=3)
    assert count(netlist(("FDRE", {}), ("FDSE", {}), ("DSP48E2", {}), ("RAMB36E2", {}), ("RAMB18E2", {})), "top") == Counts(
        0, 2, 1, 0, 3
    )
    with pytest.raises(ValueError, match="top: cells that nothing counts: URAM288"):
        count(netlist(("URAM288", {})), "top")


def named(*names: str) -> list[Block]:
    by_name = {block.name: block for block in blocks("xcup")}
    return [by_name[name] for name in names]


def failures(rows: list[Row]) -> list[str]:
    return [f"{row.block.name}: formula {row.formula}, synthesis {row.counts}" for row in rows if not row.holds]


def test_formulas_hold_against_synthesis() -> None:
    rows = compare(named(*REDUCED), "xcup")
    assert failures(rows) == []
    assert sum(row.counts.lut for row in rows) > 500
    assert len(markdown(rows)) == len(rows) + 2


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(yosys.FAMILIES))
def test_every_formula_holds_against_synthesis(family: str) -> None:
    assert failures(compare(blocks(family), family)) == []


def test_a_formula_that_is_off_does_not_hold() -> None:
    (block,) = named("lane of the pool")
    taken = Counts(100, 100, 1, 0, 1)
    assert Row(block, Logic(115, 85, 1, 1), taken).holds
    for wrong in (Logic(116, 100, 1, 1), Logic(100, 84, 1, 1), Logic(100, 100, 2, 1), Logic(100, 100, 1, 2)):
        assert not Row(block, wrong, taken).holds
    assert not Row(block, Logic(100, 100, 1, 1), Counts(100, 118, 1, 0, 1)).holds


def simulated(chosen: list[Block], folder: Path) -> dict[str, dict[str, int]]:
    rng = np.random.default_rng(11)
    drawn = [block.draw(rng, CYCLES) for block in chosen]
    shown = simulate(chosen, drawn, folder)
    return {block.name: block.differing(words, outputs) for block, words, outputs in zip(chosen, drawn, shown, strict=True)}


def test_verilog_equals_the_definitions(tmp_path: Path) -> None:
    chosen = named(*REDUCED, "lane of the elementwise unit", "lane of attention's maxima")
    assert simulated(chosen, tmp_path) == {block.name: {} for block in chosen}


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(yosys.FAMILIES))
def test_all_verilog_equals_the_definitions(family: str, tmp_path: Path) -> None:
    assert simulated(blocks(family), tmp_path) == {block.name: {} for block in blocks(family)}


def test_another_definition_is_told_apart(tmp_path: Path) -> None:
    (block,) = named("comparison of 24 bits")
    wrong = dataclasses.replace(block, reference=lambda w: {"y": (w["a"] <= w["b"]).astype(np.int64)})
    assert simulated([wrong], tmp_path)[block.name]["y"] > 0


def test_what_yosys_says_is_passed_on() -> None:
    (block,) = named("comparison of 24 bits")
    with pytest.raises(ToolchainError, match="yosys failed: "):
        yosys.synthesize([dataclasses.replace(block, module="nothing")], "xcup")
