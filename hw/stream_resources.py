"""What the streams between the processes take of a device: items of so many bits, in LUT memories or in block memory, as
``hw/rtl/edgeflow_stream.v`` builds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgeflow.hw import cpp_widths as widths
from edgeflow.hw.architecture import LINE_BYTES, Architecture, ceil_div
from edgeflow.hw.cost import Logic, Resources
from edgeflow.hw.field_widths import BYTE
from edgeflow.hw.ops.base import INSTRUCTION_WORDS
from edgeflow.hw.primitives import bram18
from edgeflow.hw.process_network import channels
from edgeflow.hw.scratchpad_core_resources import queue
from edgeflow.hw.stream_depths import stream_depths

LUT_WORDS, LUT_BITS = 64, 4096  # up to which a stream lies in LUT memories, by either
BEHIND = 4  # words of the queue behind a block memory

LINE = BYTE.bits * LINE_BYTES
ITEMS: Mapping[str, int] = {
    "Descriptor": 32 * INSTRUCTION_WORDS,
    "WordRun": 96,
    "FetchCommand": 160,
    "FeedCommand": 92,
    "LoadCommand": 166,
    "TransposeCommand": 16,
    "MultiplyCommand": 72,
    "EpilogueCommand": 228,
    "TrackCommand": 35,
    "WeighCommand": 66,
    "DivideCommand": 22,
    "LinesCommand": 100,
    "ValuesCommand": 83,
    "OutputsCommand": 105,
    "NormCommand": 256,
    "Flag": 1,
    "Line": LINE,
    "LineAddress": 20,
    "WriteRequest": 38 + LINE,
    "LaneReciprocal": 24,
    "NormSums": 87,
    "NormStatistics": 52,
}
"""Bits of items that are of one size in every accelerator."""

SIZED: Mapping[str, Callable[[Architecture], int]] = {
    "StreamWord": lambda a: BYTE.bits * a.stream_bytes,
    "Step": lambda a: BYTE.bits * a.pi + 4,
    "LoadWord": lambda a: BYTE.bits * a.load_bytes + 36,
    "OperandWord": lambda a: BYTE.bits * a.load_bytes,
    "ParameterWord": lambda a: BYTE.bits * a.stream_bytes + 18,
    "RowSums": lambda a: widths.ACCUMULATOR.bits * a.po * (2 if 4 in a.precisions else 1),
    "ScoreRow": lambda a: widths.SCORE.bits * a.po,
    "KeyScores": lambda a: widths.SCORE.bits * a.po + 1,
    "Maxima": lambda a: widths.SCORE.bits * a.po,
    "KeyWeights": lambda a: widths.EXPONENT.bits * a.po,
    "Totals": lambda a: widths.WEIGHT_TOTAL.bits * a.po,
    "QueryOutputs": lambda a: widths.ELEMENT.bits * a.epilogue,
    "NormChunk": lambda a: widths.DEVIATION.bits * a.vector,
}
"""Bits of the others. A test compares all with what the structs of the C++ take."""


def item_bits(item: str, architecture: Architecture) -> int:
    """Bits of an item by its C++ type, as the table of processes writes it."""
    name = item.removesuffix("<C>")
    return ITEMS[name] if name in ITEMS else SIZED[name](architecture)


def stream(bits: int, depth: int) -> Logic:
    """A stream of its own."""
    words = max(1 << (depth - 1).bit_length(), 2)
    if depth <= LUT_WORDS or bits * depth <= LUT_BITS:
        return queue(bits, words)
    address = (words - 1).bit_length()
    counters = 2 * address + 2 * (address + 1)
    # The register behind the memory, which is its own; the queue that holds what was read ahead.
    return queue(bits, BEHIND) + Logic(counters + 2, counters + 1, bram18=bram18(bits, words))


def streams(architecture: Architecture) -> Resources:
    """All streams of an accelerator."""
    depths = stream_depths(architecture)
    total = Logic(0, 0)
    for name, channel in channels().items():
        total += stream(item_bits(channel.item, architecture), depths[name])
    return Resources(0, total.lut, total.ff, ceil_div(total.bram18, 2), 0)
