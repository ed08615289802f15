"""The array's lanes as blocks: products, epilogue, attention."""

from __future__ import annotations

import numpy as np

from edgeflow.hw import cpp_widths as widths
from edgeflow.hw import lanes
from edgeflow.hw.arrays import IntArray
from edgeflow.hw.exponent import MAXIMUM_FRACTION_BITS
from edgeflow.hw.synthesis.block import Block, Port, Words
from edgeflow.hw.synthesis.words import (
    above_places,
    clipped,
    draw_format,
    fill,
    filled,
    flag,
    held,
    hold,
    shifted,
    tie_mask,
    wrapped,
)

SHIFT, MULTIPLIER, ELEMENT = widths.SHIFT.bits, widths.MULTIPLIER.bits, widths.ELEMENT.bits


def array_blocks(wide: int) -> list[Block]:
    """The lanes of the array of a device whose slices multiply ``wide`` x 18 bits."""
    return [
        _epilogue(wide),
        _exponent(wide),
        _score(),
        _column(16, quad=False),
        _column(16, quad=True),
        _column(32, quad=False),
    ]


def _epilogue(wide: int) -> Block:
    entries = 1 << (widths.ACTIVATION_INDEX.bits - 1)
    small = widths.WIDE_PRODUCT.bits

    def prepare(rng: np.random.Generator, w: Words) -> None:
        cycles = len(w["sum"])
        fill(w, entries)
        w["half_even"] = hold(rng, cycles, 0, 1)
        w["shift"] = hold(rng, cycles, 8, 54)
        w["output_shift"], w["residual_shift"] = (np.minimum(w[n], 34) for n in ("output_shift", "residual_shift"))
        w["has_table"], w["has_residual"] = hold(rng, cycles, 0, 1), hold(rng, cycles, 0, 1)
        w["has_residual"] = w["has_residual"] * (1 - w["has_table"])
        w["ties"] = tie_mask(w["shift"], w["half_even"], small)
        w["index_bits"] = hold(rng, cycles, 2, widths.ACTIVATION_INDEX.bits - 1)
        w["index_above"] = above_places(w["index_bits"], np.ones_like(w["shift"]), widths.ACTIVATION_INDEX.bits)
        draw_format(rng, w, cycles, ELEMENT)

    def run(w: Words) -> Words:
        value = shifted(w["sum"] * w["factor"], w["shift"], w["half_even"])
        index = clipped(value, w["index_bits"], np.ones_like(value))
        entry = wrapped(filled(w, entries)[index + (np.int64(1) << (w["index_bits"] - 1))], 16)
        table, residual = w["has_table"] != 0, w["has_residual"] != 0
        operand, scale = np.where(table, entry, w["residual"]), np.where(table, w["output_scale"], w["residual_scale"])
        added = shifted(operand * scale, np.where(table, w["output_shift"], w["residual_shift"]))
        total = np.where(table, 0, value) + np.where(table | residual, added, 0)
        return {"y": clipped(total, w["bits"], w["is_signed"])}

    address = (entries - 1).bit_length()
    inputs = (
        Port("sum", widths.ACCUMULATOR.bits),
        Port("factor", widths.WIDE_MULTIPLIER.bits),
        Port("shift", SHIFT, signed=False),
        held("ties", small),
        flag("has_table", held=True),
        flag("has_residual", held=True),
        Port("residual", ELEMENT),
        held("residual_scale", MULTIPLIER, signed=True),
        held("residual_shift", SHIFT),
        Port("output_scale", MULTIPLIER),
        held("output_shift", SHIFT),
        held("index_above", widths.ACTIVATION_INDEX.bits),
        held("above", ELEMENT),
        flag("is_signed", held=True),
        flag("write"),
        Port("to", address, signed=False),
        Port("x", 16, signed=False),
    )
    return Block(
        "lane of the epilogue",
        "epilogue_lane",
        {"WIDE": wide, "ENTRIES": entries},
        inputs,
        (Port("y", ELEMENT),),
        17,
        run,
        lambda: lanes.epilogue_lane(entries, wide),
        prepare,
        warm=entries,
    )


def _exponent(wide: int) -> Block:
    entries, bits = 1 << MAXIMUM_FRACTION_BITS, widths.EXPONENT.bits

    def prepare(rng: np.random.Generator, w: Words) -> None:
        cycles = len(w["score"])
        fill(w, entries)
        w["maximum"] = np.maximum(w["maximum"], w["score"])
        near = rng.integers(0, 1 << 16, size=(cycles, 1))
        close = np.maximum(w["maximum"] - near, -(1 << (widths.SCORE.bits - 1)))
        w["score"] = np.where(rng.integers(2, size=(cycles, 1)) == 0, close, w["score"])
        w["factor"] = hold(rng, cycles, 0, (1 << (MULTIPLIER - 1)) - 1)
        w["shift"] = hold(rng, cycles, 0, 40)
        w["fraction_bits"] = hold(rng, cycles, 0, MAXIMUM_FRACTION_BITS)
        w["limit"] = hold(rng, cycles, 1, bits)

    def run(w: Words) -> Words:
        t = shifted((w["maximum"] - w["score"]) * w["factor"], w["shift"])
        whole = t >> w["fraction_bits"]
        entry = filled(w, entries)[t & ((np.int64(1) << w["fraction_bits"]) - 1)]
        count = np.minimum(whole, bits + 1)
        half = np.where(count > 0, np.int64(1) << np.maximum(count - 1, 0), 0)
        return {"y": np.where(whole > w["limit"], 0, (entry + half) >> count)}

    score, address = widths.SCORE.bits, MAXIMUM_FRACTION_BITS
    inputs = (
        Port("maximum", score),
        Port("score", score),
        held("factor", MULTIPLIER, signed=True),
        held("shift", SHIFT),
        held("fraction_bits", 4),
        held("limit", widths.DIGITS.bits),
        flag("write"),
        Port("to", address, signed=False),
        Port("x", bits, signed=False),
    )
    return Block(
        "lane of attention's exponents",
        "exponent_lane",
        {"WIDE": wide, "ENTRIES": entries},
        inputs,
        (Port("y", bits, signed=False),),
        11,
        run,
        lambda: lanes.exponent_lane(entries, wide),
        prepare,
        warm=entries,
    )


def _score() -> Block:
    bits = widths.SCORE.bits

    def prepare(_: np.random.Generator, w: Words) -> None:
        w["first"] = (np.arange(len(w["score"])) % 13 == 0).astype(np.int64)[:, None]

    def run(w: Words) -> Words:
        shown, highest = np.zeros_like(w["score"]), -(1 << (bits - 1))
        for cycle in range(len(shown)):
            before = -(1 << (bits - 1)) if w["first"][cycle, 0] else highest
            score = int(w["score"][cycle, 0])
            highest = score if w["attended"][cycle, 0] and score > before else before
            shown[cycle] = highest
        return {"maximum": shown}

    inputs = (Port("score", bits), flag("attended"), flag("first"))
    return Block(
        "lane of attention's maxima", "score_lane", {}, inputs, (Port("maximum", bits),), 1, run, lanes.score_lane, prepare
    )


def _column(pi: int, *, quad: bool) -> Block:
    packed, operand, row = widths.PACKED.bits, widths.OPERAND.bits, widths.QUAD_SUM.bits
    levels, total = (pi // 4 - 1).bit_length(), widths.CASCADE_SUM.bits
    latency = 6 + levels + 1

    def prepare(rng: np.random.Generator, w: Words) -> None:
        cycles = len(w["first"])
        w["quad"] = hold(rng, cycles, 0, 1) * quad
        w["first"] = (np.arange(cycles) % 8 == 0).astype(np.int64)[:, None]
        w["pairs"], w["inputs"] = (_numbers(rng, (cycles, pi, 2), 8), _numbers(rng, (cycles, pi, 1), 8))
        w["pairs4"], w["inputs4"] = (_numbers(rng, (cycles, pi, 2), 4), _numbers(rng, (cycles, pi, 2), 4))
        four = w["quad"] != 0
        weight = np.where(
            four, (w["pairs4"][..., 1] << 2 * row) + w["pairs4"][..., 0], (w["pairs"][..., 1] << total) + w["pairs"][..., 0]
        )
        x = np.where(four, (w["inputs4"][..., 1] << row) + w["inputs4"][..., 0], w["inputs"][..., 0])
        for name, words in (("weight", weight), ("operand", x)):
            # Slice k of a cascade gets its operands k cycles late.
            w[name] = np.stack([np.roll(words[:, i], i % 4) for i in range(pi)], axis=1)
        for name in ("bias0", "bias1"):
            w[name] = w[name] >> 1
        # `first` and the bias are wanted when the sums are there.
        w["first_late"] = np.roll(w["first"], latency - 1, axis=0)

    def run(w: Words) -> Words:
        four = w["quad"] != 0
        wide = [(w["pairs"][..., k] * w["inputs"][..., 0]).sum(axis=1, keepdims=True) for k in range(2)]
        rows = [[(w["pairs4"][..., k] * w["inputs4"][..., r]).sum(axis=1, keepdims=True) for k in range(2)] for r in range(2)]
        # Outside the 4-bit mode nothing reads the second row's sums: they are what the fields hold then.
        products = ((w["pairs"][..., 1] << total) + w["pairs"][..., 0]) * w["inputs"][..., 0]
        chain = products.reshape(len(four), -1, 4).sum(axis=2)
        fields = []
        for _ in range(4):
            fields.append(wrapped(chain, row))
            chain = (chain - fields[-1]) >> row
        other = [(fields[2 * k + 1] * quad).sum(axis=1, keepdims=True) for k in range(2)]
        sums = {
            f"{name}{r}": np.where(four, rows[r][k], wide[k] if r == 0 else other[k])
            for r in range(2)
            for k, name in enumerate(("low", "high"))
        }
        shown = {}
        for name, words in sums.items():
            bias = w["bias0" if name.startswith("low") else "bias1"]
            # The ports' words of the cycle in which the sums arrive.
            first, start = (np.roll(w[p], 1 - latency, axis=0) for p in ("first", "bias0" if name.startswith("low") else "bias1"))
            running = np.zeros_like(bias)
            value = 0
            for cycle in range(len(bias)):
                value = int(words[cycle, 0]) + (int(start[cycle, 0]) if first[cycle, 0] else value)
                running[cycle] = value
            shown[name] = wrapped(running, widths.ACCUMULATOR.bits)
        return shown

    accumulator = widths.ACCUMULATOR.bits
    inputs = (
        Port("weight", packed, count=pi),
        Port("operand", operand, count=pi),
        flag("quad", held=True),
        flag("first"),
        Port("bias0", accumulator),
        Port("bias1", accumulator),
    )
    names = ("low0", "high0", "low1", "high1") if quad else ("low0", "high0")
    return Block(
        f"column of {pi} inputs by two outputs" + (", with 4-bit mode" if quad else ""),
        "array_column",
        {"PI": pi, "QUAD": int(quad)},
        inputs,
        tuple(Port(name, accumulator) for name in names),
        latency,
        run,
        lambda: lanes.array_column(pi, quad=quad),
        prepare,
        families=("xcup",),
    )


def _numbers(rng: np.random.Generator, shape: tuple[int, ...], bits: int) -> IntArray:
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return np.where(rng.integers(4, size=shape) == 0, low, rng.integers(low, high + 1, size=shape))
