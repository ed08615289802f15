"""What the array's processes do for a pass of a linear layer, as ``hw/include/edgeflow/network/sequence.hpp`` sends it to them."""

from __future__ import annotations

from collections.abc import Mapping

from edgeflow.hw.architecture import LINE_BYTES, Architecture, ceil_div
from edgeflow.hw.commands import Command, phase

RESIDUAL_LINE = 32  # channels of the residual stream in a line


def linear_commands(values: Mapping[str, int], a: Architecture) -> tuple[Command, ...]:
    """A pass of a linear layer: products of its rows, their epilogue, and the load of a tile for a later pass beside them."""
    quad = values["quad"]
    rows = ceil_div(values["rows"], 1 + quad)
    steps = values["steps"]
    parameters = loads = 0
    commands = []
    if words := values["load_words"]:
        parameters = values["load_table"] + 3 * (a.po * 4 // a.stream_bytes)
        loads = (values["load_end"] - values["load_slot"]) * slot_words(a, values["load_packing"])
        reads = {"words": words}
        commands.append(Command("load", (phase("load", words, reads, {"parameters": parameters, "loads": loads}),)))
    if rows and steps:
        commands += feed(rows, ceil_div(steps, LINE_BYTES // a.pi), steps)
    groups = a.po // a.epilogue
    beats = groups * (1 + quad)
    lines = residual_lines(values, a) * rows * (1 + quad) if values["has_residual"] else 0
    if rows and steps and values["has_residual"]:
        commands.append(Command("residual_lines", (phase("residual lines", rows * beats, {}, {"residual_lines": lines}),)))
    waits = not values["chain"] and not values["norm"]
    commands.append(multiply(rows * steps, "steps", loads, rows, "rows", waits))
    reads = {"rows": rows, "residual_lines": lines, "parameters": parameters}
    commands.append(Command("epilogue", (phase("epilogue", rows * beats, reads, {"complete_rows": rows * values["norm"]}),), waits))
    return tuple(commands)


def residual_lines(values: Mapping[str, int], a: Architecture) -> int:
    """Lines of the residual that the epilogue of a pass reads for a row."""
    channels = [values["y_channel"] + group * a.epilogue for group in range(a.po // a.epilogue)]
    return sum(c < values["y_limit"] and (c == channels[0] or c % RESIDUAL_LINE == 0) for c in channels)


def feed(rows: int, lines: int, steps: int) -> list[Command]:
    """Rows of the scratchpad on their way to the array."""
    return [
        Command("feed_lines", (phase("feed lines", rows * lines, {}, {"feed_lines": rows * lines}),)),
        Command("feed_steps", (phase("feed steps", rows * steps, {"feed_lines": rows * lines}, {"steps": rows * steps}),)),
    ]


def slot_words(a: Architecture, packing: int = 0) -> int:
    """Words that fill a slot of the array, of ``1 << packing`` weights to a byte."""
    return ceil_div(a.pi * a.po // a.load_bytes, 1 << packing)


def multiply(products: int, source: str, loads: int, rows: int, sums: str, notice: bool) -> Command:
    """Products of ``rows`` with steps of a stream, whose sums go to another, and the loads beside them."""
    return Command("multiply", (phase("products", products, {source: products, "loads": loads}, {sums: rows}),), notice)
