"""Primitives of a netlist that yosys has mapped to an AMD device, counted as a device would place them.

A LUT has six inputs, or two outputs that share five (UG574). The rule for what shares one: two functions that have an input in
common and at most five in all, the most inputs in common first; a bit of a carry chain needs the six-input output of its own LUT,
so of two such bits neither goes into the other's; a carry bit whose ``S`` no LUT drives takes one as a way through. Two shift
registers of up to 16 stages and equal lengths share a LUT. Of a memory in LUTs those LUTs count whose output is read, and the one
that takes the write address. Multiplexers F7 to F9 and carry chains are beside the LUTs and cost nothing.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_LUTRAM = re.compile(r"RAM(32M16|64M8|32M|64M)")  # one write port, one read port, words of several bits
_FREE = re.compile(r"CARRY[48]|MUXF[789]|BUFG|GND|VCC|\$scopeinfo")
_FLIP_FLOP = re.compile(r"FD[RSCP]E(_1)?")


@dataclass(frozen=True)
class Counts:
    """LUTs in all (``lutram`` of them hold memories or shift registers), flip-flops, DSP slices, and RAMB18."""

    lut: int
    ff: int
    dsp: int = 0
    lutram: int = 0
    bram18: int = 0


@dataclass(frozen=True)
class _Lut:
    inputs: frozenset[int]
    carries: bool  # drives the S of a carry bit


def count(netlist: Mapping[str, Any], top: str) -> Counts:
    """Counts of module ``top``, flat, in yosys' JSON form; ValueError where it holds a cell that is no primitive known here."""
    kinds: Counter[str] = Counter()
    luts: list[_Lut] = []
    outputs: set[int] = set()
    shifts: Counter[tuple[object, ...]] = Counter()
    long_shifts = memory = 0
    cells = netlist["modules"][top]["cells"].values()
    read = {bit for cell in cells for port, bits in cell["connections"].items() if _is_input(cell, port) for bit in _nets(bits)}
    read |= {bit for port in netlist["modules"][top]["ports"].values() for bit in _nets(port["bits"])}
    selects = {bit for cell in cells if cell["type"].startswith("CARRY") for bit in _nets(cell["connections"].get("S", []))}
    for cell in cells:
        kind, ports = cell["type"], cell["connections"]
        if match := re.fullmatch(r"LUT([1-6])|INV", kind):
            inputs = [ports[f"I{i}"] for i in range(int(match[1] or 1))] if match[1] else [ports["I"]]
            (output,) = ports["O"]
            outputs.add(output)
            luts.append(_Lut(frozenset(bit for port in inputs for bit in _nets(port)), output in selects))
        elif kind == "SRL16E":
            shifts[tuple(str(ports[p]) for p in ("A0", "A1", "A2", "A3", "CE", "CLK"))] += 1
        elif kind == "SRLC32E":
            long_shifts += 1
        elif _LUTRAM.fullmatch(kind):
            memory += 1 + sum(not read.isdisjoint(_nets(bits)) for port, bits in ports.items() if port.startswith("DO"))
        elif not _FREE.fullmatch(kind):
            kinds[kind] += 1
    logic = len(luts) - shared(luts) + len(selects - outputs)
    memory += long_shifts + sum((n + 1) // 2 for n in shifts.values())
    flip_flops = sum(n for kind, n in kinds.items() if _FLIP_FLOP.fullmatch(kind))
    dsp = kinds.pop("DSP48E2", 0) + kinds.pop("DSP48E1", 0)
    blocks = kinds.pop("RAMB18E2", 0) + kinds.pop("RAMB18E1", 0) + 2 * (kinds.pop("RAMB36E2", 0) + kinds.pop("RAMB36E1", 0))
    unknown = sorted(kind for kind in kinds if not _FLIP_FLOP.fullmatch(kind))
    if unknown:
        raise ValueError(f"{top}: cells that nothing counts: {', '.join(unknown)}")
    return Counts(logic + memory, flip_flops, dsp, memory, blocks)


def _is_input(cell: Mapping[str, Any], port: str) -> bool:
    return bool(cell["port_directions"].get(port) == "input")


def _nets(bits: Iterable[int | str]) -> list[int]:
    """The nets among bits of a connection, of which constants are written as text."""
    return [bit for bit in bits if isinstance(bit, int)]


def shared(luts: Iterable[_Lut]) -> int:
    """How many of the functions go into another one's LUT, by the rule above."""
    small = [lut for lut in luts if len(lut.inputs) <= 5]
    by_net: dict[int, list[int]] = defaultdict(list)
    for number, lut in enumerate(small):
        for net in lut.inputs:
            by_net[net].append(number)
    free = [True] * len(small)
    pairs = 0
    for number in sorted(range(len(small)), key=lambda n: (-len(small[n].inputs), n)):
        if not free[number]:
            continue
        lut, common = small[number], Counter[int]()
        for net in lut.inputs:
            # Of a net that all of a unit reads, those beside it are enough.
            near = by_net[net]
            at = bisect_left(near, number)
            for other in near[max(0, at - 64) : at + 64]:
                if other != number and free[other]:
                    common[other] += 1
        fitting = [
            (-n, other)
            for other, n in common.items()
            if len(lut.inputs) + len(small[other].inputs) - n <= 5 and not (lut.carries and small[other].carries)
        ]
        if fitting:
            free[number] = free[min(fitting)[1]] = False
            pairs += 1
    return pairs
