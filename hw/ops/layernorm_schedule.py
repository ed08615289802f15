"""Layer normalization in time: what its processes do for an instruction, and how many chunks wait for their row's statistics.

They read a chunk a cycle and normalize a chunk a cycle. Beside a pass of the array that writes their input they follow the rows as
these are completed.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgeflow.hw.architecture import HALVES, LINE_BYTES, Architecture, ceil_div
from edgeflow.hw.commands import Command, phase
from edgeflow.hw.ops.chunk import power_of_two, stream_words
from edgeflow.hw.process_depths import most_stages

NEWTON_STEPS = 2
NEWTON_STAGES = 15  # square of 26 bit 4, product of 32 x 34 bit 5, difference, product of 26 x 30 bit 4, rounding


def layernorm_sizes(architecture: Architecture) -> dict[str, int]:
    """Compile-time sizes: ``LAYERNORM_RING`` chunks wait for their row's statistics: those of a row, and as many as come while its
    sums and statistics pass through the pipelines; the fewest that compile where the overlay has no layer normalization."""
    used = "layernorm" in architecture.units
    chunks = ceil_div(architecture.max_channels, architecture.vector)
    lag = most_stages("norm_sums") + most_stages("norm_rows") + 3  # two streams, and the chunk that is taken
    return {"LAYERNORM_RING": power_of_two(chunks + lag) if used else 2}


def parameter_words(channels: int, architecture: Architecture) -> int:
    """Stream words of the gains and offsets."""
    return stream_words(8 * channels, architecture)


def chunk_count(values: Mapping[str, int], architecture: Architecture) -> int:
    """Chunks of all rows."""
    return values["rows"] * ceil_div(values["channels"], architecture.vector)


def layernorm_commands(values: Mapping[str, int], a: Architecture) -> tuple[Command, ...]:
    """What the processes do for a layer normalization, as ``hw/include/edgeflow/network/sequence.hpp`` sends it to them."""
    rows, chunks = values["rows"], ceil_div(values["channels"], a.vector)
    elements = LINE_BYTES // 2 if values["x_storage"] == HALVES else LINE_BYTES
    lines = rows * ceil_div(chunks, elements // a.vector)
    words = parameter_words(values["channels"], a)
    complete = ceil_div(rows, values["together"]) if values["together"] else 0
    return (
        Command("load", (phase("load", words, {"words": words}, {"norm_words": words}),)),
        Command("norm_lines", (phase("norm lines", rows * chunks, {"complete_rows": complete}, {"norm_lines": lines}),)),
        Command(
            "norm_sums",
            (phase("norm sums", rows * chunks, {"norm_lines": lines}, {"norm_chunks": rows * chunks, "sums": rows * chunks}),),
        ),
        Command("norm_statistics", (phase("norm rows", rows * chunks, {"sums": rows * chunks}, {"statistics": rows}),)),
        Command(
            "norm_write",
            (
                phase("norm parameters", words, {"norm_words": words}),
                phase("norm chunks", rows * chunks, {"norm_chunks": rows * chunks, "statistics": rows}),
            ),
            notice=True,
        ),
        Command("multiply", (phase("products", 0),), notice=True),
        Command("epilogue", (phase("epilogue", 0),), notice=True),
        Command("outputs", (phase("outputs", 0),), notice=True),
    )
