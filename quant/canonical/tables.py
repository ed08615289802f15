"""Elementwise functions as tables: the range of the index, the entries, and what smooth rectifiers take from ReLU."""

from __future__ import annotations

import numpy as np

from edgeflow.hw.arrays import Real
from edgeflow.hw.graph import QType
from edgeflow.quant.canonical.contexts import Function
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.formats.ranges import STILL, reach, tensor_groups
from edgeflow.quant.formats.statistics import Statistics

SEARCH_VALUES = 1 << 12
SAME = 2.0**-20  # both sides of a rectifier agree to this much of its range: float32 evaluates it
SHRINK = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def index_range(stats: Statistics, function: Function, bits: int, config: QuantizationConfig) -> tuple[float, float]:
    """The range of the argument that the table's index covers.

    With observer ``auto`` or ``mse`` it is the range with the least squared error after the function, by search over the sampled
    arguments: where the function is flat the range may end early. Neither end is bound to 0.
    """
    low, high = float(stats.minimum.min()), float(stats.maximum.max())
    if high - low <= STILL * max(-low, high):  # constant on the calibration data, but for float32's rounding: a guess
        size = max(-low, high) or 1.0
        return low - size, low + size
    least, most = reach(stats, tensor_groups(len(stats.mean)), config)
    low, high = float(least.min()), float(most.max())
    if config.observer == "minmax":
        return low, high
    values = stats.rows.reshape(-1)
    if config.observer == "percentile":
        ends = np.percentile(values, [100.0 - config.percentile, config.percentile])
        return float(ends[0]), float(ends[1])
    rng = np.random.default_rng(config.seed)
    sample = rng.choice(values, min(SEARCH_VALUES, values.size), replace=False).astype(np.float64)
    sample = np.append(sample, [low, high])
    expected = function(sample)
    middle = float(np.median(sample))
    steps = (1 << bits) - 1

    def error(ends: tuple[float, float]) -> float:
        scale = (ends[1] - ends[0]) / steps
        index = np.clip(np.floor((sample - ends[0]) / scale + 0.5), 0, steps)
        difference = function(ends[0] + scale * index) - expected
        return float(np.dot(difference, difference))

    left, right = ([end + (middle - end) * share for share in SHRINK] for end in (low, high))
    return min(((a, b) for a in left for b in right), key=error)


def index_type(low: float, high: float, bits: int) -> QType:
    """The format of a table's index that covers ``[low, high]``; its zero point may lie outside the format."""
    scale = (high - low) / ((1 << bits) - 1)
    return QType(bits, True, scale, -(1 << (bits - 1)) - int(np.floor(low / scale + 0.5)))


def table_values(function: Function, index: QType) -> Real:
    """The function's value at every index, from the least."""
    return function(index.dequantize(np.arange(index.minimum, index.maximum + 1)))


def rectifier_delta(function: Function, limit: float) -> Function | None:
    """What a smooth rectifier takes from ReLU, a function of ``|x|``: ``-f(-a) = a - f(a)`` for ``0 <= a <= limit``; None for other
    functions."""
    a = np.linspace(0.0, limit, SEARCH_VALUES)
    with np.errstate(all="ignore"):
        difference = np.abs(-function(-a) - (a - function(a))).max()
    return (lambda x: -function(-x)) if difference <= SAME * max(limit, 1.0) else None


def delta_reach(delta: Function, limit: float, tolerance: float) -> float:
    """Where delta falls below ``tolerance`` for good, or ``limit``."""
    low, high = 0.0, limit
    for _ in range(2):  # a function such as HardSwish ends at a corner, which the last knot has to meet
        a = np.linspace(low, high, SEARCH_VALUES)
        beyond = np.flatnonzero(np.abs(delta(a)) > tolerance)
        if not len(beyond) or beyond[-1] + 1 == len(a):
            return high
        low, high = float(a[beyond[-1]]), float(a[beyond[-1] + 1])
    return high
