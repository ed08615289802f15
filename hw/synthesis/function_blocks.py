"""Lanes of smooth rectifiers, softmax and embeddings as blocks."""

from __future__ import annotations

import numpy as np

from edgeflow.hw import cpp_widths as widths
from edgeflow.hw import lanes
from edgeflow.hw.interpolation import MAXIMUM_TABLE_BITS
from edgeflow.hw.ops.smooth import MAXIMUM_SEGMENTS
from edgeflow.hw.synthesis.block import Block, Port, Words
from edgeflow.hw.synthesis.words import (
    above_places,
    clipped,
    draw_format,
    fill,
    flag,
    format_ports,
    held,
    hold,
    interpolated,
    shifted,
    table_ports,
)

SHIFT, MULTIPLIER, ELEMENT = widths.SHIFT.bits, widths.MULTIPLIER.bits, widths.ELEMENT.bits


def function_blocks(wide: int) -> list[Block]:
    """The lanes of functions of a device whose slices multiply ``wide`` x 18 bits."""
    return [
        _smooth(wide),
        _softmax_weight(wide),
        _softmax_output(wide),
        _maximum(8),
        _embedding(wide),
    ]


def _smooth(wide: int) -> Block:
    segments, long = MAXIMUM_SEGMENTS, widths.LONG_MULTIPLIER.bits

    def prepare(rng: np.random.Generator, w: Words) -> None:
        cycles = len(w["x"])
        fill(w, segments)
        w["bits_"] = w["bits"] = hold(rng, cycles, 0, widths.PLACE.bits)
        w["drop_x"] = w["drop_x"] >> 1  # a drop times a place stays within what is interpolated
        w["segments"] = hold(rng, cycles, 1, segments)
        w["factor"] = hold(rng, cycles, 0, (1 << (long - 1)) - 1)
        w["shift"] = hold(rng, cycles, 10, 44)
        w["output_shift"] = hold(rng, cycles, 12, 40)
        w["format"] = hold(rng, cycles, 1, widths.LONG_ELEMENT.bits - 1)
        w["above"] = above_places(w["format"], w["is_signed"], widths.LONG_ELEMENT.bits)

    def run(w: Words) -> Words:
        t = shifted(abs(w["x"]) * w["factor"], w["shift"])
        segment, place = t >> w["bits_"], t & ((np.int64(1) << w["bits_"]) - 1)
        inside = segment < w["segments"]
        delta = np.where(inside, interpolated(w, segments, np.where(inside, segment, 0), place), 0)
        result = shifted(np.maximum(w["x"], 0) * w["slope"] - delta, w["output_shift"]) + w["zero_point"]
        return {"y": clipped(result, w["format"], w["is_signed"])}

    inputs = (
        Port("x", ELEMENT),
        held("factor", long, signed=True),
        held("shift", SHIFT),
        held("bits", 4),
        held("segments", widths.SEGMENT.bits),
        held("slope", long, signed=True),
        held("output_shift", SHIFT),
        held("zero_point", widths.LONG_ELEMENT.bits, signed=True),
        held("above", widths.LONG_ELEMENT.bits),
        flag("is_signed", held=True),
        *table_ports(segments),
    )
    # The products may take a slice more.
    slices = 1 if wide >= long else 2
    return Block(
        "lane of smooth rectifiers",
        "smooth_lane",
        {"WIDE": wide, "SEGMENTS": segments},
        inputs,
        (Port("y", widths.LONG_ELEMENT.bits),),
        18 + slices,
        run,
        lambda: lanes.smooth_lane(segments, wide),
        prepare,
        warm=segments,
    )


def _softmax_weight(wide: int) -> Block:
    segments, long = 1 << MAXIMUM_TABLE_BITS, widths.LONG_MULTIPLIER.bits
    weight = widths.LONG_WEIGHT.bits

    def prepare(rng: np.random.Generator, w: Words) -> None:
        cycles = len(w["x"])
        fill(w, segments)
        # A falling table of weights, as an octave is.
        falling = (1 << weight) - 1 - (w["to"] << (weight - MAXIMUM_TABLE_BITS - 1)) - rng.integers(0, 1 << 10, size=(cycles, 1))
        w["start_x"], w["drop_x"] = falling, rng.integers(0, 1 << 13, size=(cycles, 1))
        w["maximum"] = np.maximum(w["maximum"], w["x"])
        w["table_bits"] = hold(rng, cycles, 0, MAXIMUM_TABLE_BITS)
        w["bits_"] = w["bits"] = hold(rng, cycles, 0, widths.PLACE.bits)
        w["fraction_bits"] = w["table_bits"] + w["bits_"]
        w["segment_mask"] = (np.int64(1) << w["table_bits"]) - 1
        w["factor"] = hold(rng, cycles, 0, (1 << (long - 1)) - 1)
        w["shift"] = hold(rng, cycles, 18, 44)
        w["limit"] = hold(rng, cycles, 1, weight)

    def run(w: Words) -> Words:
        t = shifted((w["maximum"] - w["x"]) * w["factor"], w["shift"])
        whole = t >> w["fraction_bits"]
        segment, place = (t >> w["bits_"]) & w["segment_mask"], t & ((np.int64(1) << w["bits_"]) - 1)
        down = np.minimum(whole, widths.LONG_WEIGHT.bits + 1) + w["bits_"]
        return {"y": np.where(whole > w["limit"], 0, shifted(interpolated(w, segments, segment, place), down))}

    inputs = (
        Port("maximum", ELEMENT),
        Port("x", ELEMENT),
        held("factor", long, signed=True),
        held("shift", SHIFT),
        held("bits", 4),
        held("fraction_bits", 5),
        held("segment_mask", MAXIMUM_TABLE_BITS),
        held("limit", widths.DIGITS.bits),
        *table_ports(segments),
    )
    slices = 1 if wide >= long else 2
    return Block(
        "lane of softmax's weights",
        "softmax_weight_lane",
        {"WIDE": wide, "SEGMENTS": segments},
        inputs,
        (Port("y", weight, signed=False),),
        16 + slices,
        run,
        lambda: lanes.softmax_weight_lane(segments, wide),
        prepare,
        warm=segments,
    )


def _softmax_output(wide: int) -> Block:
    kept = widths.LONG_ELEMENT.bits

    def prepare(rng: np.random.Generator, w: Words) -> None:
        w["shift"] = hold(rng, len(w["weight"]), 0, 48)
        draw_format(rng, w, len(w["weight"]), kept)

    inputs = (
        Port("weight", widths.LONG_WEIGHT.bits, signed=False),
        Port("scale", widths.LONG_MULTIPLIER.bits, low=0),
        held("shift", SHIFT),
        *format_ports(kept),
    )
    return Block(
        "lane of softmax's outputs",
        "softmax_output_lane",
        {"WIDE": wide},
        inputs,
        (Port("y", kept),),
        8,
        lambda w: {"y": clipped(shifted(w["weight"] * w["scale"], w["shift"]), w["bits"], w["is_signed"])},
        lambda: lanes.softmax_output_lane(wide),
        prepare,
    )


def _maximum(count: int) -> Block:
    def run(w: Words) -> Words:
        own = ((w["own"] >> np.arange(count)) & 1) | (np.arange(count) == 0)
        return {"y": np.where(own != 0, w["x"], -(1 << ELEMENT)).max(axis=1, keepdims=True)}

    inputs = (Port("x", ELEMENT, count=count), Port("own", count, signed=False))
    return Block(
        f"largest of {count} elements",
        "maximum_lanes",
        {"N": count},
        inputs,
        (Port("y", ELEMENT),),
        1,
        run,
        lambda: lanes.maximum_lanes(count),
    )


def _embedding(wide: int) -> Block:
    def prepare(rng: np.random.Generator, w: Words) -> None:
        w["shift"] = hold(rng, len(w["x"]), 0, 26)
        draw_format(rng, w, len(w["x"]), ELEMENT)

    inputs = (Port("x", 8), Port("factor", MULTIPLIER), held("shift", SHIFT), *format_ports(ELEMENT))
    return Block(
        "lane of an embedding",
        "embedding_lane",
        {"WIDE": wide},
        inputs,
        (Port("y", ELEMENT),),
        7,
        lambda w: {"y": clipped(shifted(w["x"] * w["factor"], w["shift"]), w["bits"], w["is_signed"])},
        lambda: lanes.embedding_lane(wide),
        prepare,
    )
