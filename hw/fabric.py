"""Resources of what the units share: scratchpad, weight stream, AXI ports, and the control of the two processes."""

from __future__ import annotations

from edgeflow.hw.architecture import LINE_BYTES, Architecture, ceil_div
from edgeflow.hw.cost import Resources
from edgeflow.hw.ops.base import INSTRUCTION_WORDS
from edgeflow.hw.primitives import adder_luts, axi_master, comparator_luts, lutram_luts, mux_luts, ram_bram36, registers
from edgeflow.hw.scratchpad_core import ScratchpadCore

LINE_BITS = 8 * LINE_BYTES
SLOW_PORTS = 3  # descriptors, constants and memory: the AXI ports besides those of the weights
FIFO_LUTRAM = 32  # words up to which a queue lies in LUT memory


def scratchpad(architecture: Architecture) -> Resources:
    """Block memories as its core takes them (hw/scratchpad_core.py); logic of two ports with a multiplexer over the units for the
    address and the line that is written, and a register for the line that is read.
    """
    a = architecture
    lut = ff = 0
    for lines in (a.narrow_lines, a.wide_lines):
        lut += 2 * mux_luts(len(a.units), lines.bit_length() + LINE_BITS)
        ff += 2 * registers(LINE_BITS)
    return Resources(0, lut, ff, ceil_div(ScratchpadCore.of(a).block_memories, 2), 0)


def weight_stream(architecture: Architecture) -> Resources:
    """The queue between the weight ports and the units, with the segments' counters in the process that fetches.

    The queue holds ``stream_lines`` lines in words of all ports together: read and write pointers, a fill counter compared with
    both ends, and a register for the word that is read. Fetching counts the words of a segment in each port.
    """
    a = architecture
    width, depth = 8 * a.stream_bytes, a.stream_lines * LINE_BYTES // a.stream_bytes
    pointer = depth.bit_length()
    small = depth <= FIFO_LUTRAM
    lut = 3 * adder_luts(pointer) + 2 * comparator_luts(pointer) + a.weight_ports * (2 * adder_luts(32) + comparator_luts(32))
    return Resources(
        dsp=0,
        lut=lut + (lutram_luts(width, depth) if small else 0),
        ff=registers(width) + 3 * pointer + a.weight_ports * 2 * registers(32),
        bram36=0 if small else ram_bram36(width, depth),
        uram=0,
    )


def axi_ports(architecture: Architecture) -> Resources:
    """Master ports that only read, for each share of the weights, the descriptors and the constants, and one for memory."""
    reads = architecture.weight_ports + SLOW_PORTS - 1
    one, both = axi_master(architecture.axi_bits, writes=False), axi_master(architecture.axi_bits)

    def total(name: str) -> int:
        counts = getattr(one, name), getattr(both, name)
        return reads * int(counts[0]) + int(counts[1])

    return Resources(total("dsp"), total("lut"), total("ff"), total("bram36"), total("uram"))


def control(architecture: Architecture) -> Resources:
    """Descriptors and the registers that the host writes.

    Four descriptors wait in a queue of LUT memory, and both processes hold one; the units' decoded copies are counted as one more,
    since most fields are used where they are. Addresses of the ports (64 bits), the first descriptor and their number are
    registers of the AXI-Lite port, written and read back through a multiplexer of 32-bit words.
    """
    words = 2 * (architecture.weight_ports + SLOW_PORTS) + 2
    descriptor = 32 * INSTRUCTION_WORDS
    return Resources(
        dsp=0,
        lut=mux_luts(words, 32) + 32 * words // 2 + 2 * adder_luts(32) + mux_luts(2, descriptor) + lutram_luts(descriptor, 4),
        ff=32 * words + 3 * descriptor,
        bram36=0,
        uram=0,
    )


SHARED = {"scratchpad": scratchpad, "weight stream": weight_stream, "AXI ports": axi_ports, "control": control}
