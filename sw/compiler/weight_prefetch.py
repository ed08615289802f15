"""Linking: every pass of the array loads the next linear tile's weights while it computes.

Operators lower to passes that each describe their own tile's load. This step moves each load one linear pass ahead, across layers,
and decides which half of the stationary memory each tile takes: tiles alternate between the halves, and attention, which runs
between two linear layers, takes the half that the tile loaded in advance leaves free.

A layer normalization of the rows that the last pass of a linear layer completes runs beside that pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from edgeflow.hw.architecture import HALVES, NIBBLES, ROW_ELEMENTS, Architecture, round_up
from edgeflow.hw.ops.attention_schedule import ATTENTION
from edgeflow.hw.ops.base import Instruction
from edgeflow.hw.ops.layernorm import LAYERNORM
from edgeflow.hw.ops.linear import LINEAR, row_stride
from edgeflow.hw.program import Step

LOADS = ("load_words", "load_table", "load_end", "load_packing", "load_quad")


def link(steps: Sequence[Step], architecture: Architecture) -> tuple[Step, ...]:
    """The program's steps with every load in the pass before its tile."""
    half = architecture.slots // 2
    linear = [i for i, step in enumerate(steps) if step.instruction.layout is LINEAR]
    following = dict(zip_longest(linear, linear[1:]))
    linked: list[Step] = []
    tile = 0  # of the linear pass that runs next: its half of the slots and its set of parameters
    loaded = False  # whether that tile's weights are already on chip, or being loaded
    for i, step in enumerate(steps):
        values = dict(step.instruction.values)
        if step.instruction.layout is ATTENTION:
            base = (tile + 1) % 2 * half if loaded else 0
            for name in ("slot", "q_slot", "e_slot"):
                values[name] += base
            linked.append(replace(step, instruction=replace(step.instruction, values=values)))
            continue
        if step.instruction.layout is not LINEAR:
            beside = _beside(linked[-1], step, architecture) if linked and step.instruction.layout is LAYERNORM else None
            if beside is None:
                linked.append(step)
            else:
                linked[-1:] = beside
            continue
        if not loaded:
            linked.append(_load_only(step, tile, half))
        values |= dict.fromkeys(LOADS, 0) | {"slot": tile % 2 * half, "set": tile % 2}
        stream = (0, 0)
        after = following[i]
        loaded = after is not None and not (values["has_table"] and steps[after].instruction.values["load_table"])
        if after is not None and loaded:
            source = steps[after].instruction
            values |= _load(source, tile + 1, half)
            stream = source.stream
        if not loaded:
            values["chain"] = 0
        linked.append(replace(step, instruction=Instruction(LINEAR, values, stream)))
        tile += 1
    return tuple(linked)


def _load(source: Instruction, tile: int, half: int) -> dict[str, int]:
    slot = tile % 2 * half
    values = {name: source.values[name] for name in LOADS}
    return values | {"load_slot": slot, "load_end": slot + values["load_end"], "load_set": tile % 2}


def _load_only(step: Step, tile: int, half: int) -> Step:
    values = dict.fromkeys(LINEAR.names, 0) | _load(step.instruction, tile, half)
    return Step(Instruction(LINEAR, values, step.instruction.stream), step.node, None)


def _beside(before: Step, step: Step, architecture: Architecture) -> tuple[Step, Step] | None:
    """A pass and the layer normalization after it, such that they run together; None if they cannot."""
    linear, norm = before.instruction, step.instruction
    if linear.layout is not LINEAR or not runs_beside(linear.values, norm.values, architecture):
        return None
    first = Instruction(LINEAR, {**linear.values, "norm": 1, "chain": 1}, linear.stream)
    second = Instruction(LAYERNORM, {**norm.values, "together": 1 + linear.values["quad"]}, norm.stream)
    return replace(before, instruction=first), replace(step, instruction=second)


def runs_beside(linear: Mapping[str, int], norm: Mapping[str, int], architecture: Architecture) -> bool:
    """Whether the pass completes exactly the rows that are normalized, and reads nothing that the normalization has overwritten."""
    channels = norm["channels"]
    same = linear["y_storage"] == norm["x_storage"] == HALVES and (linear["y"], linear["rows"]) == (norm["x"], norm["rows"])
    whole = round_up(channels, ROW_ELEMENTS) == linear["y_limit"] and linear["y_channel"] + architecture.po >= channels
    if not (same and whole and linear["y_stride"] == row_stride(channels, HALVES)) or linear["chain"]:
        return False
    rows, together = norm["rows"], 1 + linear["quad"]
    target = _Rows(norm["y"], row_stride(channels, norm["y_storage"]), norm["y_storage"])
    read = [_Rows(linear["x"], linear["x_stride"], linear["x_storage"])]
    if linear["has_residual"]:
        read.append(_Rows(linear["residual"], linear["residual_stride"], HALVES))
    if target.overlap(0, rows, _Rows(linear["y"], linear["y_stride"], HALVES), 0, rows):
        return False
    # A row is written when those that the pass takes together with it have been read.
    later = range(together, rows, together)
    return not any(target.overlap(row - together, row, rows_read, row, rows) for rows_read in read for row in later)


@dataclass(frozen=True)
class _Rows:
    """Rows of a tensor in the scratchpad."""

    base: int
    stride: int
    storage: int

    def line(self, row: int) -> int:
        """The line at which a row starts."""
        return self.base + (row // 2 if self.storage == NIBBLES else row) * self.stride

    def overlap(self, first: int, end: int, other: _Rows, other_first: int, other_end: int) -> bool:
        """Whether rows ``first`` to ``end`` (exclusive) share a line with those of another tensor."""
        last, other_last = self.line(end - 1) + self.stride, other.line(other_end - 1) + other.stride
        return self.line(first) < other_last and other.line(other_first) < last
