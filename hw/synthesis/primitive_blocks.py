"""Blocks of which units are made: arithmetic and choices."""

from __future__ import annotations

import numpy as np

from edgeflow.hw import cpp_widths as widths
from edgeflow.hw import primitives as p
from edgeflow.hw.cost import Logic
from edgeflow.hw.synthesis.block import Block, Port, Words
from edgeflow.hw.synthesis.words import (
    at,
    clipped,
    draw_format,
    shifted,
    tie_mask,
)

SHIFT, MULTIPLIER, ELEMENT = widths.SHIFT.bits, widths.MULTIPLIER.bits, widths.ELEMENT.bits
HELD_SHIFT = Port("shift", widths.SHIFT.bits, signed=False, held=True)


def primitive_blocks(wide: int) -> list[Block]:
    """Arithmetic and choices of a device whose slices multiply ``wide`` x 18 bits."""
    accumulator, multiplier, product = widths.ACCUMULATOR.bits, widths.MULTIPLIER.bits, widths.PRODUCT.bits
    return [
        *(_product(a, b, kept, wide) for a, b, kept in _factors(wide)),
        *(
            _tree(n, bits)
            for n, bits in ((4, widths.CASCADE_SUM.bits), (8, widths.CASCADE_SUM.bits), (16, widths.QUAD_SUM.bits), (11, 36))
        ),
        *(_comparison(bits) for bits in (widths.ELEMENT.bits, widths.SCORE.bits, widths.INTERPOLATED.bits)),
        *(_choice(n, bits) for n, bits in ((2, 32), (3, 18), (4, 17), (8, 8), (16, accumulator), (32, 16), (64, 8))),
        *(_shift(bits, n) for bits, n in ((accumulator, 32), (product, 64), (multiplier, 16), (10, 16))),
        *(_rotation(n, bits, kept) for n, bits, kept in ((8, 17, 8), (16, 8, 16), (64, 8, 64), (64, 8, 16), (32, 16, 32))),
        *(_rounding(bits, ties) for bits, ties in ((product, 0), (widths.WIDE_PRODUCT.bits, 1), (35, 1), (43, 0), (26, 0))),
        *(_clip(bits, kept) for bits, kept in ((product, 17), (widths.WIDE_PRODUCT.bits, 17), (46, 25), (26, 17), (57, 12))),
        _division(42, widths.WEIGHT_TOTAL.bits),
        _division(widths.RECIPROCAL.bits + 1, widths.SOFTMAX_DIVISOR.bits),
    ]


def _factors(wide: int) -> list[tuple[int, int, int]]:
    """Widths of operands, the one of the wide port first, and of the product in the C++."""
    accumulator, long = widths.ACCUMULATOR.bits, widths.LONG_MULTIPLIER.bits
    return [
        (widths.ELEMENT.bits, widths.MULTIPLIER.bits, widths.OPERAND_PRODUCT.bits),
        (widths.WIDE_MULTIPLIER.bits, accumulator, widths.WIDE_PRODUCT.bits),
        (accumulator, accumulator, widths.PRODUCT.bits),
        (accumulator, widths.SCALED_SQUARE.bits, widths.ROOT_PRODUCT.bits),
        (*((long, 23) if wide >= long else (23, long)), widths.PRODUCT.bits),
    ]


def _product(a: int, b: int, kept: int, wide: int) -> Block:
    # Factors whose product the C++ keeps whole, in `kept` bits.
    reach = 1 << min(a - 1, kept - b - 1)
    ports = (Port("a", a, low=-reach, high=reach - 1), Port("b", b))
    return Block(
        f"product {a} x {b}",
        "multiplier",
        {"A": a, "B": b, "WIDE": wide},
        ports,
        (Port("p", kept),),
        2 + p.multiplier_dsps(a, b, wide),
        lambda w: {"p": w["a"] * w["b"]},
        lambda: p.product(a, b, wide),
    )


def _tree(n: int, bits: int) -> Block:
    levels = (n - 1).bit_length()
    return Block(
        f"adder tree of {n} x {bits} bits",
        "adder_tree",
        {"N": n, "W": bits},
        (Port("x", bits, count=n),),
        (Port("y", bits + levels),),
        levels,
        lambda w: {"y": w["x"].sum(axis=1, keepdims=True)},
        lambda: Logic(p.adder_tree_luts(n, bits), p.tree_registers(n, bits)),
    )


def _comparison(bits: int) -> Block:
    return Block(
        f"comparison of {bits} bits",
        "comparator",
        {"W": bits},
        (Port("a", bits), Port("b", bits)),
        (Port("y", 1, signed=False),),
        1,
        lambda w: {"y": (w["a"] < w["b"]).astype(np.int64)},
        lambda: Logic(p.comparator_luts(bits), 1),
    )


def _choice(n: int, bits: int) -> Block:
    select = Port("select", (n - 1).bit_length(), signed=False, high=n - 1)
    return Block(
        f"choice of {n} x {bits} bits",
        "multiplexer",
        {"N": n, "W": bits},
        (Port("x", bits, count=n), select),
        (Port("y", bits),),
        1,
        lambda w: {"y": at(w["x"], w["select"])},
        lambda: Logic(p.mux_luts(n, bits), bits),
    )


def _shift(bits: int, n: int) -> Block:
    places = Port("places", (n - 1).bit_length(), signed=False)
    return Block(
        f"shift of {bits} bits by up to {n - 1}",
        "shifter",
        {"W": bits, "N": n},
        (Port("x", bits), places),
        (Port("y", bits),),
        1,
        lambda w: {"y": w["x"] >> w["places"]},
        lambda: Logic(p.shifter_luts(bits, n), bits),
    )


def _rotation(n: int, bits: int, kept: int) -> Block:
    def turned(w: Words) -> Words:
        return {"y": at(w["x"], (np.arange(kept) + w["distance"]) % n)}

    what = f"rotation of {n} x {bits} bits" + (f", {kept} wanted" if kept < n else "")
    distance = Port("distance", (n - 1).bit_length(), signed=False)
    return Block(
        what,
        "rotator",
        {"N": n, "W": bits, "KEPT": kept},
        (Port("x", bits, count=n), distance),
        (Port("y", bits, count=kept),),
        1,
        turned,
        lambda: Logic(p.rotator_luts(n, bits, kept), kept * bits),
    )


def _rounding(bits: int, ties: int) -> Block:
    def prepare(rng: np.random.Generator, w: Words) -> None:
        w["shift"] = np.minimum(w["shift"], bits)
        w["even"] = np.repeat(rng.integers(2, size=(len(w["value"]), 1))[::64], 64, axis=0)[: len(w["value"])]
        # Every other word lies on a tie, or beside one.
        half = np.where(w["shift"] > 0, np.int64(1) << np.maximum(w["shift"] - 1, 0), 0)
        tie = (w["value"] >> w["shift"] << w["shift"]) + half + rng.integers(-1, 2, size=half.shape)
        inside = abs(tie) < (1 << (bits - 1)) - 1
        w["value"] = np.where(inside & (rng.integers(2, size=tie.shape) == 0), tie, w["value"])
        w["value"] = np.minimum(w["value"], (1 << (bits - 1)) - 1 - half)  # as the proof of no overflow has it
        w["ties"] = tie_mask(w["shift"], w["even"], bits)

    ports = (Port("value", bits), HELD_SHIFT, Port("ties", bits, signed=False, held=True))
    return Block(
        f"rounding shift of {bits} bits" + (", half to even" if ties else ""),
        "round_shift",
        {"W": bits, "TIES": ties},
        ports,
        (Port("y", bits),),
        3,
        lambda w: {"y": shifted(w["value"], w["shift"], w["even"] if ties else None)},
        lambda: p.rounding(bits, ties=bool(ties)),
        prepare,
    )


def _clip(bits: int, kept: int) -> Block:
    ports = (Port("value", bits), Port("above", kept, signed=False, held=True), Port("is_signed", 1, signed=False, held=True))
    return Block(
        f"saturation of {bits} bits to {kept}",
        "clip",
        {"W": bits, "R": kept},
        ports,
        (Port("y", kept),),
        1,
        lambda w: {"y": clipped(w["value"], w["bits"], w["is_signed"])},
        lambda: p.saturation(bits, kept),
        lambda rng, w: draw_format(rng, w, len(w["value"]), kept),
    )


def _division(n: int, d: int) -> Block:
    ports = (Port("dividend", n, signed=False), Port("divisor", d, signed=False, low=1))
    return Block(
        f"division of {n} by {d} bits",
        "divider",
        {"N": n, "D": d},
        ports,
        (Port("quotient", n, signed=False),),
        n,
        lambda w: {"quotient": w["dividend"] // w["divisor"]},
        lambda: Logic(p.divider_luts(n, d), p.divider_registers(n, d)),
    )
