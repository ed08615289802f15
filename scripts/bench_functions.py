"""Errors of the accelerator's softmax, attention weights and smooth rectifiers against float64, by width.

    python scripts/bench_functions.py [--rows 20000] [--seed 0] [--json FILE]

Every figure is the operators' own integer definition (hw/ops), which the C++ equals word for word. Exits 1 if the wide softmax or
GELU misses the figures that Edge-MoE (arXiv 2305.18691) reaches: softmax of 129 keys with logits of standard deviation 2, at most
1.03e-5 and on average 1.45e-7 off; GELU on [-8, 8] from 177 entries at 22 fractional bits, at most 9.76e-5 and on average 7.71e-6
off.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeflow.hw.arrays import Real
from edgeflow.hw.exponent import exponent_table, weights
from edgeflow.hw.interpolation import exponent_knots
from edgeflow.hw.ops.smooth import SEGMENTS, Smooth, gelu_delta, silu_delta, smooth_parameters
from edgeflow.hw.ops.softmax import Softmax, softmax_parameters

KEYS, DEVIATION = 129, 2.0
WIDE = (7, 10, 22, 24)  # table, interpolation, weight and output bits of a softmax that ends a network
SOFTMAX_SETTINGS = (
    WIDE,
    *((7, 10, 22, out) for out in (20, 16, 12, 8)),
    *((7, 10, weight, 24) for weight in (20, 18, 16, 12)),
    *((table, 10, 22, 24) for table in (6, 5, 4)),
    *((7, interpolation, 22, 24) for interpolation in (6, 3, 0)),
)
SOFTMAX_BAR = (1.03e-5, 1.45e-7)
GELU_BAR = (9.76e-5, 7.71e-6)
REACH, RANGE = 5.5, 8.0


@dataclass(frozen=True)
class Errors:
    """Largest and mean absolute error."""

    largest: float
    mean: float

    @staticmethod
    def of(actual: Real, expected: Real) -> Errors:
        """Errors of an array."""
        error = np.abs(actual - expected)
        return Errors(float(error.max()), float(error.mean()))

    def meets(self, bar: tuple[float, float]) -> bool:
        """Whether both stay within a pair of bounds."""
        return self.largest <= bar[0] and self.mean <= bar[1]

    def __str__(self) -> str:
        return f"{self.largest:10.2e} {self.mean:10.2e}"


def float_softmax(x: Real) -> Real:
    """The softmax of rows in float64."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def softmax_errors(logits: Real, setting: tuple[int, int, int, int]) -> tuple[Errors, Errors]:
    """Errors of the softmax operator on logits as 16-bit words: against the float softmax of the same words, and of the logits
    before they became words."""
    table_bits, _, probability_bits, bits = setting
    scale = float(np.abs(logits).max()) / 32767
    words = np.floor(logits / scale + 0.5).astype(np.int64)
    operator = Softmax(**softmax_parameters(scale, *setting))  # type: ignore[arg-type]
    y = operator.reference([words, exponent_knots(table_bits, probability_bits)]) / ((1 << bits) - 1)
    exact = words.astype(np.float64) * scale
    return Errors.of(y, float_softmax(exact)), Errors.of(y, float_softmax(logits))


def attention_errors(logits: Real, fraction_bits: int, probability_bits: int) -> Errors:
    """Errors of attention's weights over their sum, which is what scales the values of a row."""
    distance = logits.max(axis=-1, keepdims=True) - logits
    t = np.floor(distance * math.log2(math.e) * 2.0**fraction_bits + 0.5).astype(np.int64)
    p = weights(t, exponent_table(fraction_bits, probability_bits), fraction_bits, probability_bits)
    return Errors.of(p / p.sum(axis=-1, keepdims=True), float_softmax(logits))


def rectifier_errors(delta: Callable[[Real], Real], reach: float, bits: int, segments: int = SEGMENTS) -> tuple[Errors, int]:
    """Errors of the smooth operator for every 16-bit word of [-8, 8) and outputs of ``bits`` bits in the same range, and the
    fractional bits of its table."""
    words = np.arange(-(1 << 15), 1 << 15)
    scale, step = RANGE / (1 << 15), RANGE / (1 << (bits - 1))
    attributes, table = smooth_parameters(delta, reach, scale, step, (bits, True, 0), segments)
    operator = Smooth(**attributes)  # type: ignore[arg-type]
    x = words * scale
    expected = np.maximum(x, 0) - delta(np.abs(x))
    fraction = int(attributes["output_shift"]) - int(attributes["interpolation_bits"]) - round(math.log2(step))
    inside = expected <= step * ((1 << (bits - 1)) - 1)
    return Errors.of((operator.reference([words, table]) * step)[inside], expected[inside]), fraction


def chord_errors(delta: Callable[[Real], Real]) -> Errors:
    """Errors of linear interpolation between exact entries rounded to 22 fractional bits, as the original does it, without any
    further rounding."""
    knots = np.floor(delta(np.arange(SEGMENTS + 1) / 32.0) * 2.0**22 + 0.5) * 2.0**-22
    a = np.abs(np.arange(-(1 << 15), 1 << 15) * (RANGE / (1 << 15)))
    place = np.minimum(a * 32.0, SEGMENTS - 1e-9)
    k = place.astype(np.int64)
    chords = np.where(a < REACH, knots[k] + (knots[k + 1] - knots[k]) * (place - k), 0.0)
    return Errors.of(chords, delta(a))


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    logits = np.random.default_rng(arguments.seed).normal(0.0, DEVIATION, (arguments.rows, KEYS))
    document: dict[str, object] = {"rows": arguments.rows, "seed": arguments.seed}

    print(f"Softmax, {arguments.rows} rows of {KEYS} keys, logits of standard deviation {DEVIATION:g}")
    print("bits: table  interpolation  weight  output | of its words: max, mean | and of the logits: max, mean")
    rows: list[dict[str, Any]] = []
    wide = None
    for setting in SOFTMAX_SETTINGS:
        own, whole = softmax_errors(logits, setting)
        wide = own if setting == WIDE else wide
        print(f"{setting[0]:11d} {setting[1]:14d} {setting[2]:7d} {setting[3]:7d} | {own} | {whole}")
        rows.append({"bits": setting, "words": asdict(own), "logits": asdict(whole)})
    document["softmax"] = rows

    print("\nAttention's weights over their sum, a quarter of the rows: errors by fraction bits (down) and weight bits (across)")
    widths = range(4, 9)
    grid = {(f, p): attention_errors(logits[: arguments.rows // 4], f, p) for f in range(2, 11) for p in widths}
    for name in ("largest", "mean"):
        print(f"{name:>8} " + " ".join(f"{p:10d}" for p in widths))
        for f in range(2, 11):
            print(f"{f:8d} " + " ".join(f"{getattr(grid[f, p], name):10.2e}" for p in widths))
    document["attention"] = [{"fraction_bits": f, "probability_bits": p, **asdict(e)} for (f, p), e in grid.items()]

    print(f"\nSmooth rectifiers, every 16-bit word of [-8, 8): {SEGMENTS + 1} entries")
    print("function      reach  output bits  fractional bits of the table | max, mean")
    rows = []
    for name, delta, reach in (("gelu", gelu_delta, REACH), ("silu", silu_delta, 16.0)):
        for bits in (24, 16, 12, 8):
            errors, fraction = rectifier_errors(delta, reach, bits)
            print(f"{name:10s} {reach:8.1f} {bits:12d} {fraction:29d} | {errors}")
            rows.append({"function": name, "reach": reach, "bits": bits, "fraction_bits": fraction, **asdict(errors)})
    print(f"gelu by chords between exact entries, step 2^-5, nothing else rounded | {chord_errors(gelu_delta)}")
    document["smooth"] = rows

    gelu, fraction = rectifier_errors(gelu_delta, REACH, 24)
    assert wide is not None
    met = wide.meets(SOFTMAX_BAR) and gelu.meets(GELU_BAR) and fraction <= 22
    print(f"\nsoftmax {wide} within {SOFTMAX_BAR[0]:.2e} {SOFTMAX_BAR[1]:.2e}: {wide.meets(SOFTMAX_BAR)}")
    print(f"gelu    {gelu} within {GELU_BAR[0]:.2e} {GELU_BAR[1]:.2e}: {gelu.meets(GELU_BAR)}, {fraction} fractional bits")
    if arguments.json:
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
