"""Linking: every pass of the array loads the next linear tile's weights while it computes.

Operators lower to passes that each describe their own tile's load. This step moves each load one linear pass ahead, across layers, and
decides which half of the stationary memory each tile takes: tiles alternate between the halves, and attention, which runs between two
linear layers, takes the half that the tile loaded in advance leaves free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.ops.attention_schedule import ATTENTION
from edgeflow.hw.ops.base import Instruction
from edgeflow.hw.ops.linear import LINEAR, PASS_GAP
from edgeflow.hw.program import Step

LOADS = ("load_words", "load_table", "load_end", "load_nibbles", "load_quad")


def link(steps: Sequence[Step], architecture: Architecture) -> tuple[Step, ...]:
    """The program's steps with every load in the pass before its tile, and ``trips`` filled in."""
    half = architecture.slots // 2
    linear = [i for i, step in enumerate(steps) if step.instruction.layout is LINEAR]
    following = {i: after for i, after in zip_longest(linear, linear[1:])}
    made: list[Step] = []
    tile = 0  # of the linear pass that runs next: its half of the slots and its set of parameters
    loaded = False  # whether that tile's weights are already on chip, or being loaded
    for i, step in enumerate(steps):
        values = dict(step.instruction.values)
        if step.instruction.layout is ATTENTION:
            base = (tile + 1) % 2 * half if loaded else 0
            for name in ("slot", "q_slot", "e_slot"):
                values[name] += base
            made.append(replace(step, instruction=replace(step.instruction, values=values)))
            continue
        if step.instruction.layout is not LINEAR:
            made.append(step)
            continue
        if not loaded:
            made.append(_load_only(step, tile, half, architecture))
        values |= dict.fromkeys(LOADS, 0) | {"slot": tile % 2 * half, "set": tile % 2}
        stream = (0, 0)
        after = following[i]
        loaded = after is not None and not (values["has_table"] and steps[after].instruction.values["load_table"])
        if after is not None and loaded:
            source = steps[after].instruction
            values |= _load(source, tile + 1, half)
            stream = source.stream
        # Parameters of the set that is loaded may still be in use by the last row of the pass before.
        values["load_delay"] = PASS_GAP + 2 * architecture.po // architecture.epilogue if values["load_words"] else 0
        if not loaded:
            values["chain"] = 0
        made.append(replace(step, instruction=_timed(values, stream, architecture)))
        tile += 1
    return tuple(made)


def _load(source: Instruction, tile: int, half: int) -> dict[str, int]:
    slot = tile % 2 * half
    values = {name: source.values[name] for name in LOADS}
    return values | {"load_slot": slot, "load_end": slot + values["load_end"], "load_set": tile % 2}


def _load_only(step: Step, tile: int, half: int, architecture: Architecture) -> Step:
    values = dict.fromkeys(LINEAR.names, 0) | _load(step.instruction, tile, half)
    return Step(_timed(values, step.instruction.stream, architecture), step.node, None)


def _timed(values: dict[str, int], stream: tuple[int, int], architecture: Architecture) -> Instruction:
    from edgeflow.hw.ops.linear import Linear

    trips = Linear.cycles(values, architecture).loops["pass"].trips
    return Instruction(LINEAR, values | {"trips": trips}, stream)
