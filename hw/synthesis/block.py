"""A block that is synthesized: its Verilog module, the ports, the definition of its words, and what the formulas say that it
costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgeflow.hw.arrays import IntArray
from edgeflow.hw.cost import Logic
from edgeflow.hw.cpp_widths import WIDTHS

VERILOG = Path(__file__).parent / "verilog"
HELD_CYCLES = 64  # cycles for which inputs that an instruction fixes stay as they are, in simulation
Words = dict[str, IntArray]


@dataclass(frozen=True)
class Port:
    """A port of ``bits``, or of ``count`` numbers of as many bits side by side; ``held``: an instruction fixes it.

    Words are drawn from ``low`` to ``high``, by default all that the bits can say: corners and uniform ones alike.
    """

    name: str
    bits: int
    signed: bool = True
    count: int = 1
    held: bool = False
    low: int | None = None
    high: int | None = None

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest word."""
        low = -(1 << (self.bits - 1)) if self.signed else 0
        high = (1 << (self.bits - self.signed)) - 1
        return (low if self.low is None else self.low), (high if self.high is None else self.high)

    def draw(self, rng: np.random.Generator, cycles: int) -> IntArray:
        """Words ``(cycles, count)``: of each four one is an end of the range, one is small."""
        low, high = self.limits
        shape = ((cycles + HELD_CYCLES - 1) // HELD_CYCLES if self.held else cycles, self.count)
        uniform = rng.integers(low, high, size=shape, endpoint=True)
        ends = np.where(rng.integers(2, size=shape) == 0, low, high)
        small = np.clip(rng.integers(-3, 4, size=shape), low, high)
        kind = rng.integers(4, size=shape)
        words = np.where(kind == 0, ends, np.where(kind == 1, small, uniform))
        return np.repeat(words, HELD_CYCLES, axis=0)[:cycles] if self.held else words


@dataclass(frozen=True)
class Block:
    """``reference`` takes the input words ``(cycles, count)`` by port and returns what the outputs show ``latency`` cycles later
    (an output with a latency of its own in ``early``, so many cycles before). ``wide`` is the wide operand of the device's slices.

    What is put in during the first ``warm`` cycles is not compared: tables are filled, sums begin. ``prepare`` completes drawn
    words: what depends on other ports. ``formula`` says what the block costs by the formulas that the units use.
    """

    name: str
    module: str
    parameters: Mapping[str, int | str]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    latency: int
    reference: Callable[[Words], Words]
    formula: Callable[[], Logic]
    prepare: Callable[[np.random.Generator, Words], None] | None = None
    early: Mapping[str, int] = field(default_factory=dict)
    warm: int = 8
    families: tuple[str, ...] = ("xcup", "xc7")

    def draw(self, rng: np.random.Generator, cycles: int) -> Words:
        """Input words ``(cycles, count)`` by port."""
        words = {port.name: port.draw(rng, cycles) for port in self.inputs}
        if self.prepare is not None:
            self.prepare(rng, words)
        return words

    def differing(self, drawn: Words, shown: Words) -> dict[str, int]:
        """Words by output that a simulation shows and the definition has not, where there are any; ValueError if none is
        compared."""
        expected = self.reference(drawn)
        cycle = np.arange(len(next(iter(shown.values()))))
        within = cycle % HELD_CYCLES
        steady = (within >= 8) & (within <= HELD_CYCLES - self.latency)
        counts = {}
        for port in self.outputs:
            late = self.latency - 1 - self.early.get(port.name, 0)
            compared = (cycle >= self.warm) & (cycle < len(cycle) - late)
            if any(port.held for port in self.inputs):
                compared &= steady
            if not compared.any():
                raise ValueError(f"{self.name}: too few cycles to compare {port.name}")
            here = cycle[compared]
            counts[port.name] = int((shown[port.name][here + late] != expected[port.name][here]).sum())
        return {name: count for name, count in counts.items() if count}

    def wrapper(self, name: str) -> str:
        """Verilog of a module ``name`` that is this block with its parameters, its ports by name."""
        ports = ["input clk"]
        ports += [f"input [{port.bits * port.count - 1}:0] {port.name}" for port in self.inputs]
        ports += [f"output [{port.bits * port.count - 1}:0] {port.name}" for port in self.outputs]
        settings = ", ".join(f".{key}({value})" for key, value in self.parameters.items())
        names = ["clk", *(port.name for port in (*self.inputs, *self.outputs))]
        connections = ", ".join(f".{port}({port})" for port in names)
        parameters = f" #({settings})" if settings else ""
        return f"module {name} (\n    {', '.join(ports)});\n    {self.module}{parameters} block ({connections});\nendmodule\n"


def prelude() -> str:
    """The widths of the C++ as macros of Verilog."""
    return "".join(f"`define {width.constant} {width.bits}\n" for width in WIDTHS)


def sources() -> list[Path]:
    """The Verilog files of the blocks."""
    return sorted(VERILOG.glob("*.sv"))
