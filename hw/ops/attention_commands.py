"""What the array's processes do for a pass of attention, as ``hw/include/edgeflow/network/sequence.hpp`` sends it to them."""

from __future__ import annotations

from collections.abc import Mapping

from edgeflow.hw.architecture import LINE_BYTES, Architecture, ceil_div
from edgeflow.hw.commands import Command, phase
from edgeflow.hw.ops.attention_schedule import SCORES, VALUES
from edgeflow.hw.ops.linear_commands import feed, multiply, slot_words


def attention_commands(values: Mapping[str, int], a: Architecture) -> tuple[Command, ...]:
    """A pass of attention: the product and the jobs beside it."""
    commands = []
    loads = 0
    product = values["mac"]
    keys, mask = values["e_keys"], values["value_load"] and values["value_mask"]
    if words := values["load_words"]:
        commands.append(Command("load", (phase("load", words, {"words": words}, {"exponents": words}),)))
    if values["exponents"] or words:
        phases = [phase("weigh table", words, {"exponents": words})]
        if values["exponents"]:
            phases.append(phase("weigh keys", keys, {"scores": keys, "maxima": 1}, {"key_weights": keys, "totals": 1}))
        commands.append(Command("weigh", tuple(phases)))
    if values["query"]:
        steps, lines = values["q_steps"], values["q_lanes"] * values["q_steps"]
        lanes, words = _query_group(a)
        groups = ceil_div(values["q_lanes"], lanes) * steps
        loads, trips = groups * words, groups * max(lanes, words) + (words > 1)
        commands.append(Command("query_lines", (phase("query lines", groups * lanes, {}, {"query_lines": lines}),)))
        commands.append(Command("load", (phase("load", trips, {"query_lines": lines}, {"loads": loads}),)))
    elif values["exponents"]:
        loads = ceil_div(keys, a.pi) * slot_words(a)
        trips, words = _transpose_trips(keys, a), slot_words(a)
        transposed = phase("transpose keys", trips, {"key_weights": keys}, {"key_words": loads})
        commands.append(Command("transpose_keys", (transposed._replace(head=min(a.pi, keys), tail=words),)))
        commands.append(Command("load", (phase("load", loads, {"key_words": loads}, {"loads": loads}),)))
    if values["reciprocals"]:
        commands.append(Command("divide", (phase("divide lanes", a.po, {"totals": 1}, {"reciprocals": a.po}),)))
    scores = values["keys"] if product == SCORES else 0
    rows = values["rows"] if product == VALUES else 0
    products = (scores + rows) * values["steps"]
    if scores:
        commands += feed(scores, ceil_div(values["k_part"] + values["steps"], LINE_BYTES // a.pi), values["steps"])
    lines = values["v_keys"] * values["v_lines"] * values["value_load"]
    if values["value_load"]:
        commands.append(Command("value_lines", (phase("value lines", lines, {}, {"value_lines": lines}),)))
    if values["value_load"] or rows:
        writes = {"masks": lines if mask else 0, "value_steps": 0 if scores else products}
        taken = rows * values["steps"]
        trips = max(lines, taken)
        own = phase("values", trips, {"value_lines": lines}, writes)
        commands.append(Command("values", (own._replace(tail=trips - lines, rest=0 if mask else trips - taken),)))
    notice = not values["chain"]
    source, sums = ("steps", "score_rows") if scores else ("value_steps", "rows")
    commands.append(multiply(products, source, loads, scores + rows, sums, notice))
    if scores or mask:
        kept = values["keep"] if scores else 0
        phases = [
            phase("track mask", lines if mask else 0, {"masks": lines if mask else 0}),
            phase("track keys", scores, {"score_rows": scores}, {"scores": scores * kept, "maxima": kept}),
        ]
        commands.append(Command("track", tuple(phases)))
    outputs = 0 if values["partial"] else rows * (a.po // a.epilogue)
    if rows or values["reciprocals"] or notice:
        reads = {"rows": rows, "reciprocals": a.po * values["reciprocals"]}
        trips = rows * (a.po // a.epilogue)
        commands.append(Command("epilogue", (phase("epilogue", trips, reads, {"query_outputs": outputs}),), notice))
    stores = values["store"] * values["o_lanes"] * ceil_div(values["o_channels"], a.epilogue)
    if outputs or values["store"] or notice:
        trips = max(outputs, stores)
        own = phase("outputs", trips, {"query_outputs": outputs})
        commands.append(Command("outputs", (own._replace(tail=trips - outputs),), notice))
    return tuple(commands)


def _query_group(a: Architecture) -> tuple[int, int]:
    """Lanes of queries whose inputs fill whole words of the array's operands, and how many words."""
    lanes = max(2, a.load_bytes // a.pi)
    return lanes, lanes * a.pi // a.load_bytes


def _transpose_trips(keys: int, a: Architecture) -> int:
    """Iterations of the process that transposes weights of keys: each block is written while the one before is read."""
    blocks = [min(a.pi, keys - first) for first in range(0, keys, a.pi)]
    return blocks[0] + sum(max(block, slot_words(a)) for block in blocks[1:]) + slot_words(a)
