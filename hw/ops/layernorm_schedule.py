"""Layer normalization in time: when a chunk of a row is read, normalized and written, alone or beside the products that make it.

The unit reads a chunk a cycle and normalizes a chunk a cycle. Alone it has both memories to itself. Beside a pass of the array that
writes its input it follows the rows as they are completed, and takes those cycles in which the pass leaves the wide memory's ports
free. Both ways the number of iterations is known beforehand.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from edgeflow.hw.architecture import HALVES, LINE_BYTES, Architecture, ceil_div
from edgeflow.hw.commands import Command, phase
from edgeflow.hw.ops.chunk import power_of_two, stream_words

# A row's statistics come about in three steps, each in iterations of its own, so that no iteration is deeper than the array's
# pipeline (ARRAY_DEPTH of hw/ops/linear.py): the longest path is that of the reciprocal root. Stages of each path, and
# with them the iterations from one step to the next.
NEWTON_STEPS = 2
READ_STAGES = 4  # address, block memory and its output register, choice of the chunk
SUM_STAGES = 9  # square in a DSP slice 3, adder tree of 32 lanes 5, accumulation
MEAN_STAGES = 6  # product of 32 x 18 bit 4, rounding, shift
VARIANCE_STAGES = 10  # channels times mean 3, difference, product of 20 x 35 bit 4, two additions
SCALE_STAGES = 5  # leading digit 2, shift 2, table
NEWTON_STAGES = 15  # square of 26 bit 4, product of 32 x 34 bit 5, difference, product of 26 x 30 bit 4, rounding
SUM_LAG = READ_STAGES + SUM_STAGES + 1  # from the read of a row's last chunk until its sums lie in memory
VARIANCE_LAG = 1 + MEAN_STAGES + VARIANCE_STAGES + SCALE_STAGES + 1  # read of the sums to mean and scaled variance
ROOT_LAG = 1 + NEWTON_STEPS * NEWTON_STAGES + 1  # read of the scaled variance to its reciprocal root
LATENCY = SUM_LAG + VARIANCE_LAG + ROOT_LAG  # iterations from the read of a row's last chunk to the output of its first
LOAD_LATENCY = 8  # stages from a word of the stream to its gain and offset in memory: read, shift, add, write, read
# Iterations between the last output of a row by the array's epilogue and its first read: more than the array's pipeline is deep.
ROW_LAG = 48


def layernorm_sizes(architecture: Architecture) -> dict[str, int]:
    """Compile-time sizes: ``LAYERNORM_RING`` chunks wait for their row's statistics, ``LAYERNORM_ROWS`` rows have some. The
    smallest that compile where the overlay has no layer normalization."""
    used = "layernorm" in architecture.units
    chunks = ceil_div(architecture.max_channels, architecture.vector)
    return {
        "HAS_LAYERNORM": int(used),
        "LAYERNORM_SUM_LAG": SUM_LAG,
        "LAYERNORM_VARIANCE_LAG": VARIANCE_LAG,
        "LAYERNORM_ROOT_LAG": ROOT_LAG,
        "LAYERNORM_ROW_LAG": ROW_LAG,
        "LAYERNORM_LOAD": LOAD_LATENCY,
        "LAYERNORM_RING": power_of_two(chunks + LATENCY + 1) if used else 2,
        "LAYERNORM_ROWS": power_of_two(LATENCY + 2) if used else 2,
    }


def parameter_words(channels: int, architecture: Architecture) -> int:
    """Stream words of the gains and offsets."""
    return stream_words(8 * channels, architecture)


def chunk_count(values: Mapping[str, int], architecture: Architecture) -> int:
    """Chunks of all rows."""
    return values["rows"] * ceil_div(values["channels"], architecture.vector)


def alone_trips(values: Mapping[str, int], architecture: Architecture) -> int:
    """Iterations of a layer normalization that has the memories to itself: one for each chunk, and those before the first output:
    the reads of its row and LATENCY, or the parameters of all channels where they take longer."""
    chunks = ceil_div(values["channels"], architecture.vector)
    words = parameter_words(values["channels"], architecture)
    return values["rows"] * chunks + max(chunks - 1 + LATENCY, words + LOAD_LATENCY)


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
            "norm_sums", (phase("norm sums", rows * chunks, {"norm_lines": lines}, {"norm_chunks": rows * chunks, "sums": rows}),)
        ),
        Command("norm_statistics", (phase("norm rows", rows, {"sums": rows}, {"statistics": rows}),)),
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


def beside_trips(linear: Mapping[str, int], values: Mapping[str, int], architecture: Architecture) -> int:
    """Iterations from the start of the pass ``linear`` until the layer normalization ``values`` that runs beside it is done."""
    a = architecture
    groups = a.po // a.epilogue
    beats = groups * (1 + linear["quad"])
    first = [linear["y_channel"] + beat % groups * a.epilogue for beat in range(beats)]
    reads = tuple(
        bool(linear["has_residual"]) and channel < linear["y_limit"] and (beat % groups == 0 or channel % 32 == 0)
        for beat, channel in enumerate(first)
    )
    sizes = layernorm_sizes(a)
    return _follow(
        values["rows"],
        1 + linear["quad"],
        linear["steps"],
        reads,
        values["y_storage"] == HALVES,
        linear["load_delay"] + linear["load_words"] + 1,
        ceil_div(values["channels"], a.vector),
        parameter_words(values["channels"], a),
        sizes["LAYERNORM_RING"],
        sizes["LAYERNORM_ROWS"],
    )


@lru_cache(maxsize=4096)
def _follow(
    rows: int,
    together: int,
    steps: int,
    reads: tuple[bool, ...],
    wide: bool,
    start: int,
    chunks: int,
    words: int,
    ring: int,
    slots: int,
) -> int:
    """Iteration by iteration what array.hpp and layernorm.hpp do.

    The pass completes ``together`` rows every ``max(steps, beats)`` iterations; ``reads``: whether its epilogue reads the wide
    memory in each of its beats; it writes that memory in all of them. ``wide``: so does the layer normalization, which begins at
    iteration ``start``, with ``words`` of parameters.
    """
    beats = len(reads)
    period = max(steps, beats)
    passes = ceil_div(rows, together)
    loaded = start + words + LOAD_LATENCY
    read = written = 0  # chunks
    ready: list[int] = []  # iteration from which each row can be normalized
    n = start
    while written < rows * chunks:
        turn, beat = divmod(n - steps, period)  # of the epilogue
        active = 0 <= turn < passes and beat < beats
        complete = (n - steps - beats - ROW_LAG) // period + 1  # turns whose last beat lies more than ROW_LAG behind
        row, done = read // chunks, written // chunks
        reads_now = (
            row < min(together * complete, rows) and read - written < ring and row - done < slots and not (active and reads[beat])
        )
        if n >= loaded and done < len(ready) and n >= ready[done] and not (active and wide):
            written += 1
        if reads_now:
            read += 1
            if read % chunks == 0:
                ready.append(n + LATENCY)
        n += 1
    return n
