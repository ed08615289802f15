"""Lanes of the units that work on rows, and their ways from and to lines, as blocks."""

from __future__ import annotations

import numpy as np

from edgeflow.hw import cpp_widths as widths
from edgeflow.hw import lanes
from edgeflow.hw.architecture import BYTES, HALVES, LINE_BYTES, NIBBLES
from edgeflow.hw.synthesis.block import Block, Port, Words
from edgeflow.hw.synthesis.words import (
    clipped,
    draw_format,
    flag,
    format_ports,
    held,
    hold,
    shifted,
    tie_mask,
    wrapped,
)

SHIFT, MULTIPLIER, ELEMENT = widths.SHIFT.bits, widths.MULTIPLIER.bits, widths.ELEMENT.bits


def row_blocks(wide: int) -> list[Block]:
    """The lanes of units for rows of a device whose slices multiply ``wide`` x 18 bits."""
    return [
        _layernorm_read(wide),
        _layernorm_write(wide),
        _elementwise(wide),
        _pool(),
        _extreme(),
        _take(4),
        _take(16),
        _lay(4),
        _lay(16),
    ]


def _layernorm_read(wide: int) -> Block:
    bits = widths.DEVIATION.bits

    def run(w: Words) -> Words:
        e = wrapped(np.where(w["own"] != 0, w["x"], 0) << w["fraction_bits"], bits)
        return {"e": e, "square": e * e}

    inputs = (Port("x", ELEMENT), flag("own"), held("fraction_bits", 5, high=bits - 1))
    return Block(
        "lane of layer normalization, in",
        "layernorm_read_lane",
        {"WIDE": wide},
        inputs,
        (Port("e", bits), Port("square", widths.SQUARE.bits)),
        4,
        run,
        lambda: lanes.layernorm_read_lane(wide),
        early={"e": 3},
    )


def _layernorm_write(wide: int) -> Block:
    deviation, root, normal = widths.DEVIATION.bits, widths.ROOT.bits, widths.NORMALIZED.bits

    def prepare(rng: np.random.Generator, w: Words) -> None:
        cycles = len(w["e"])
        w["mean"] = hold(rng, cycles, -(1 << (deviation - 1)), (1 << (deviation - 1)) - 1)
        w["root"] = hold(rng, cycles, 0, (1 << (root - 1)) - 1)
        w["root_shift"] = hold(rng, cycles, 22, 44)
        w["shift"] = hold(rng, cycles, 0, 46)
        w["offset"] = w["offset"] >> 2
        draw_format(rng, w, cycles, ELEMENT)

    def run(w: Words) -> Words:
        d = wrapped(w["e"] - w["mean"], deviation)
        z = wrapped(shifted(d * w["root"], w["root_shift"]), normal)
        return {"y": clipped((w["offset"] + z * w["gain"]) >> w["shift"], w["bits"], w["is_signed"])}

    inputs = (
        Port("e", deviation),
        held("mean", widths.MEAN.bits, signed=True),
        held("root", root, signed=True),
        held("root_shift", SHIFT),
        Port("gain", MULTIPLIER),
        Port("offset", widths.PRODUCT.bits),
        held("shift", SHIFT),
        *format_ports(ELEMENT),
    )
    slices = 1 if wide >= root else 2
    return Block(
        "lane of layer normalization, out",
        "layernorm_write_lane",
        {"WIDE": wide},
        inputs,
        (Port("y", ELEMENT),),
        13 + slices,
        run,
        lambda: lanes.layernorm_write_lane(wide),
        prepare,
    )


def _elementwise(wide: int) -> Block:
    first = ELEMENT + MULTIPLIER

    def prepare(rng: np.random.Generator, w: Words) -> None:
        cycles = len(w["a"])
        kind = hold(rng, cycles, 0, 2)
        for number, name in enumerate(("adds", "multiplies", "requantizes")):
            w[name] = (kind == number).astype(np.int64)
        # Operand by operand: elements; a factor of its own only where one requantizes.
        w["b"] = np.where(w["requantizes"] != 0, w["b"], w["b"] >> 1)
        w["b"] = np.where(w["multiplies"] != 0, w["b"] >> 2, w["b"])  # a product fits an accumulator
        w["half_even"] = hold(rng, cycles, 0, 1) * w["requantizes"]
        w["shift_a"], w["shift_b"] = hold(rng, cycles, 0, 34), hold(rng, cycles, 0, 48)
        w["ties"] = tie_mask(w["shift_a"], w["half_even"], first)
        draw_format(rng, w, cycles, ELEMENT)

    def run(w: Words) -> Words:
        adds, multiplies, requantizes = (w[name] != 0 for name in ("adds", "multiplies", "requantizes"))
        product = w["a"] * np.where(adds, w["multiplier_a"], w["b"])
        scaled = np.where(multiplies, 0, shifted(product, w["shift_a"], w["half_even"]))
        other = shifted(np.where(multiplies, product, w["b"]) * w["multiplier_b"], w["shift_b"])
        return {"y": clipped(scaled + np.where(requantizes, w["offset"], other), w["bits"], w["is_signed"])}

    inputs = (
        Port("a", ELEMENT),
        Port("b", MULTIPLIER),
        *(flag(name, held=True) for name in ("adds", "multiplies", "requantizes")),
        held("multiplier_a", MULTIPLIER, signed=True),
        held("shift_a", SHIFT),
        held("ties", first),
        held("multiplier_b", MULTIPLIER, signed=True),
        held("shift_b", SHIFT),
        held("offset", widths.ACCUMULATOR.bits, signed=True),
        *format_ports(ELEMENT),
    )
    return Block(
        "lane of the elementwise unit",
        "elementwise_lane",
        {"WIDE": wide},
        inputs,
        (Port("y", ELEMENT),),
        14,
        run,
        lambda: lanes.elementwise_lane(wide),
        prepare,
    )


def _pool() -> Block:
    def run(w: Words) -> Words:
        shown, running = np.zeros_like(w["x"]), 0
        for cycle in range(len(shown)):
            running += int(w["x"][cycle, 0]) * int(w["counts"][cycle, 0])
            shown[cycle] = running
            running = 0 if w["last"][cycle, 0] else running
        return {"total": shown}

    inputs = (Port("x", ELEMENT), flag("counts"), flag("last"))
    return Block(
        "lane of the pool", "pool_lane", {}, inputs, (Port("total", widths.ACCUMULATOR.bits),), 1, run, lanes.pool_lane, _begin
    )


def _begin(rng: np.random.Generator, w: Words) -> None:
    """Rows end now and then; the first cycle ends one, so that what a lane has kept is known."""
    w["last"] = (rng.integers(5, size=w["last"].shape) == 0).astype(np.int64)
    w["last"][0], w["counts"][0] = 1, 0
    w["x"][0] = 0


def _extreme() -> Block:
    def run(w: Words) -> Words:
        shown, best, some = np.zeros_like(w["x"]), 0, False
        for cycle in range(len(shown)):
            x = int(w["x"][cycle, 0])
            beyond = x > best if w["largest"][cycle, 0] else x < best
            if w["counts"][cycle, 0] and (not some or beyond):
                best = x
            some = some or bool(w["counts"][cycle, 0])
            shown[cycle] = best
            if w["last"][cycle, 0]:
                best, some = 0, False
        return {"y": shown}

    inputs = (Port("x", ELEMENT), flag("counts"), flag("last"), flag("largest", held=True))
    return Block("lane of extremes", "extreme_lane", {}, inputs, (Port("y", ELEMENT),), 1, run, lanes.extreme_lane, _begin)


STORAGE = Port("storage", 2, signed=False, held=True, low=NIBBLES, high=HALVES)


def _take(vector: int) -> Block:
    parts = LINE_BYTES // vector

    def prepare(_: np.random.Generator, w: Words) -> None:
        w["part"] = w["part"] % np.where(w["storage"] == HALVES, parts // 2, parts)

    def run(w: Words) -> Words:
        lane = np.arange(vector)
        line, signed = w["line"], w["is_signed"]
        at = w["part"] * vector + lane
        low = np.take_along_axis(line, at % LINE_BYTES, axis=1)
        pair = (2 * at) % LINE_BYTES
        halves = np.take_along_axis(line, pair, axis=1) | np.take_along_axis(line, pair + 1, axis=1) << 8
        nibble = np.where(w["odd"] != 0, low >> 4, low & 15)
        words = np.where(w["storage"] == HALVES, halves, np.where(w["storage"] == BYTES, low, nibble))
        bits = np.where(w["storage"] == HALVES, 16, np.where(w["storage"] == BYTES, 8, 4))
        return {"y": words - ((words >> (bits - 1)) & signed) * (np.int64(1) << bits)}

    inputs = (
        Port("line", 8, signed=False, count=LINE_BYTES),
        Port("part", 6, signed=False),
        flag("odd"),
        STORAGE,
        flag("is_signed", held=True),
    )
    return Block(
        f"chunk of {vector} out of a line",
        "take_chunk",
        {"V": vector},
        inputs,
        (Port("y", ELEMENT, count=vector),),
        2,
        run,
        lambda: lanes.take_chunk(vector),
        prepare,
    )


def _lay(vector: int) -> Block:
    def run(w: Words) -> Words:
        b = np.arange(LINE_BYTES)
        x, storage = w["x"], w["storage"]
        low = x[:, b % vector]
        line = np.where(storage == HALVES, x[:, (b // 2) % vector] >> 8 * (b % 2), np.where(storage == BYTES, low, (low & 15) * 17))
        return {"line": line & 255, "enable": ((b >= w["first"]) & (b < w["first"] + w["count"])).astype(np.int64)}

    inputs = (Port("x", ELEMENT, count=vector), Port("first", 6, signed=False), Port("count", 7, signed=False, high=64), STORAGE)
    outputs = (Port("line", 8, signed=False, count=LINE_BYTES), Port("enable", 1, signed=False, count=LINE_BYTES))
    return Block(
        f"chunk of {vector} into a line", "lay_chunk", {"V": vector}, inputs, outputs, 1, run, lambda: lanes.lay_chunk(vector)
    )
