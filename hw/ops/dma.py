"""The DMA unit: whole lines between the scratchpad and what lies behind AXI ports. The compiler inserts its instructions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from edgeflow.hw.architecture import LINE_BYTES, Architecture
from edgeflow.hw.cost import Cycles, Loop, Resources
from edgeflow.hw.field_widths import WORD, holding
from edgeflow.hw.ops.base import Instruction, InstructionLayout, VectorUnit, of_width, register_unit
from edgeflow.hw.primitives import adder_luts, comparator_luts, mux_luts, registers

LOAD, STORE, CONSTANTS = range(3)  # external memory to scratchpad, back, and weight image to scratchpad
LOOPS = ("dma load", "dma store", "dma constants")
PORTS: tuple[Literal["read", "write", "constants"], ...] = ("read", "write", "constants")

# Stages of a word's way without the memory's own latency, which the memory model adds once a burst: address, request, data register
# of the port, choice of the part of a line, scratchpad address, scratchpad write (or, the other way, read and its output register).
DEPTH = 6
ADDRESS_BITS = WORD.bits

MODE = holding(CONSTANTS, "which way lines go")

DMA = InstructionLayout(
    "dma", 12, ("memory_line", "scratch_line", "lines", *of_width(MODE, "mode")), ("constants", "memory", "scratch")
)


@register_unit
class Dma(VectorUnit):
    """``lines`` lines of 64 bytes from or to consecutive lines on both sides, an AXI word a cycle."""

    name: ClassVar[str] = "dma"
    header: ClassVar[str] = "dma.hpp"
    instruction: ClassVar[InstructionLayout] = DMA
    counters: ClassVar[tuple[str, ...]] = LOOPS
    codes: ClassVar[Mapping[str, int]] = {"DMA_STORE": STORE, "DMA_CONSTANTS": CONSTANTS}  # else LOAD

    @classmethod
    def template_arguments(cls, architecture: Architecture) -> dict[str, int]:
        return {}

    @classmethod
    def cycles(cls, values: Mapping[str, int], architecture: Architecture) -> Cycles:
        words = values["lines"] * (LINE_BYTES // architecture.word_bytes)
        mode = values["mode"]
        return Cycles({LOOPS[mode]: Loop(words, depth=DEPTH, port=PORTS[mode])})

    @classmethod
    def resources(cls, architecture: Architecture) -> Resources:
        """No multiplier and no memory. Each of the three loops counts words and adds two base addresses; a store picks one of the
        AXI words of a line, a load enables the bytes of one. The words, both addresses and the counters are registered in the
        stages of :data:`DEPTH`; the AXI ports and the scratchpad's own multiplexers are counted with them."""
        parts = LINE_BYTES // architecture.word_bytes
        control = len(LOOPS) * (3 * adder_luts(ADDRESS_BITS) + comparator_luts(ADDRESS_BITS))
        lut = control + mux_luts(parts, architecture.axi_bits) + 2 * parts
        ff = registers(architecture.axi_bits + 2 * ADDRESS_BITS, DEPTH) + len(LOOPS) * registers(ADDRESS_BITS)
        return Resources(dsp=0, lut=lut, ff=ff, bram36=0, uram=0)


def transfer(mode: int, memory_line: int, scratch_line: int, lines: int) -> Instruction:
    """The instruction that copies ``lines`` lines: ``mode`` is LOAD, STORE or CONSTANTS (from that line of the weight image)."""
    return Instruction(DMA, {"memory_line": memory_line, "scratch_line": scratch_line, "lines": lines, "mode": mode})
