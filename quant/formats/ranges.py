"""Choosing the range that an integer format covers, from calibration statistics.

A symmetric range has one scale for every group of channels (a tensor, an attention head, a channel) and no zero point; an
asymmetric one has a scale and a zero point for the whole tensor. Errors are squared differences between the real values and what
their integers stand for, saturation included, averaged over the sampled rows and, with the weight of one row, the extremes that the
sample has missed: those of the calibration data, and what other data is expected to add where that is few
(quant/formats/allowance.py). At few bits, where a wider range costs more than such a row, clipping takes the allowance back.

Clipping trades many small errors for few large ones, which fall together on the outlying tokens (a class token, say) that matter
most. So the observer "auto" takes min-max unless clipping lowers the squared error by a quarter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgeflow.hw.arrays import Real
from edgeflow.hw.graph import QType
from edgeflow.quant.formats.allowance import expected_reach
from edgeflow.quant.formats.compiled import largest_products, mean_square_errors
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.formats.statistics import Statistics

RATIOS = (1.0, 0.93, 0.86, 0.8, 0.72, 0.64, 0.56, 0.48, 0.4, 0.3)
CLIPPING_GAIN = 0.75  # "auto" clips where the squared error falls to this share of min-max's, or below
CHANNELS_GAIN = 0.5  # scales per channel that cost a pass over the tensor are taken where the error falls to this share, or below
BALANCES = (0.0, 0.25, 0.4, 0.5, 0.6, 0.75, 1.0)
BALANCE_VALUES = 1 << 18
SCALE_SPREAD = 256  # scales of channels reach no further apart: multipliers with a common shift must serve all
TINY = 1e-30  # a range below this holds nothing but zeros
GRID_ERROR, GRID_LEVELS = 1e-3, 16  # of a step, how far values on a grid may lie off it; and how many of its levels they have
STILL = 1e-6  # values that vary by no more than this share of the largest are constant, but for float32's rounding


@dataclass(frozen=True)
class SymmetricRange:
    """``scale`` is one number for each group; ``error`` the mean squared error of a value."""

    scale: Real
    method: str
    error: float


@dataclass(frozen=True)
class AsymmetricRange:
    """Real value of ``q`` is ``(q - zero_point) * scale`` for signed ``q``."""

    scale: float
    zero_point: int
    method: str
    error: float


@dataclass(frozen=True)
class TensorRange:
    """One line of the report: what was seen of a tensor and what its format covers.

    ``clip_low`` and ``clip_high`` are the least and the largest real value that the integers stand for (over all channels);
    ``granularity`` is tensor, head or channel.
    """

    name: str
    bits: int
    granularity: str
    method: str
    minimum: float
    maximum: float
    clip_low: float
    clip_high: float


def tensor_groups(channels: int) -> NDArray[np.int64]:
    """All channels in one group."""
    return np.zeros(channels, dtype=np.int64)


def channel_groups(channels: int) -> NDArray[np.int64]:
    """Every channel its own group."""
    return np.arange(channels, dtype=np.int64)


def head_groups(channels: int, heads: int) -> NDArray[np.int64]:
    """Channels of one attention head in one group."""
    return np.repeat(np.arange(heads, dtype=np.int64), channels // heads)


def shifted(stats: Statistics, offset: Real | None, factor: Real | None) -> Statistics:
    """Statistics of ``(x - offset) * factor`` per channel; ``factor`` is positive, None leaves a step out."""
    if offset is not None:
        single = offset.astype(np.float32)
        stats = replace(
            stats,
            minimum=stats.minimum - offset,
            maximum=stats.maximum - offset,
            mean=stats.mean - offset,
            rows=stats.rows - single,
            lows=stats.lows - single,
            highs=stats.highs - single,
        )
    if factor is not None:
        single = factor.astype(np.float32)
        stats = replace(
            stats,
            minimum=stats.minimum * factor,
            maximum=stats.maximum * factor,
            mean=stats.mean * factor,
            rows=stats.rows * single,
            lows=stats.lows * single,
            highs=stats.highs * single,
        )
    return stats


def joined(a: Statistics, b: Statistics) -> Statistics:
    """Statistics of two tensors of the same channels seen as one."""
    count = a.count + b.count
    kept = min(len(a.lows), len(b.lows))
    return Statistics(
        shape=a.shape,
        count=count,
        minimum=np.minimum(a.minimum, b.minimum),
        maximum=np.maximum(a.maximum, b.maximum),
        mean=(a.mean * a.count + b.mean * b.count) / count,
        rows=np.concatenate([a.rows, b.rows]),
        samples=min(a.samples, b.samples),
        lows=np.minimum(a.lows[:kept], b.lows[:kept]),
        highs=np.maximum(a.highs[:kept], b.highs[:kept]),
    )


def reach(stats: Statistics, groups: NDArray[np.int64], config: QuantizationConfig) -> tuple[Real, Real]:
    """The least and the largest value ``(C,)`` that a range must provide for: seen or, with ``config.allowance``, expected."""
    return expected_reach(stats, groups) if config.allowance else (stats.minimum, stats.maximum)


def middle(stats: Statistics, config: QuantizationConfig) -> Real:
    """The middle of every channel's range."""
    low, high = reach(stats, channel_groups(len(stats.mean)), config)
    return (low + high) / 2


def magnitudes(stats: Statistics, config: QuantizationConfig) -> Real:
    """The largest absolute value that every channel's range must provide for; not 0."""
    low, high = reach(stats, channel_groups(len(stats.mean)), config)
    values = np.maximum(-low, high)
    raised: Real = np.maximum(values, STILL * max(float(values.max()), STILL))
    return raised


def stream_scale(stats: Statistics, bits: int, config: QuantizationConfig) -> float:
    """Scale of a wide symmetric tensor: the largest absolute value seen, times the headroom for values not seen, or the largest
    that is expected if that is more."""
    low, high = reach(stats, tensor_groups(len(stats.mean)), config)
    largest = max(float(stats.magnitude.max()) * config.residual_headroom, -float(low.min()), float(high.max()))
    return (largest if largest > TINY else config.residual_headroom) / ((1 << (bits - 1)) - 1)


def symmetric(
    stats: Statistics, bits: int, groups: NDArray[np.int64], config: QuantizationConfig, signed: bool = True
) -> SymmetricRange:
    """A scale for each group of channels; ``groups`` names the group of every channel, numbered from 0. Unsigned: for values from
    0."""
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    count = int(groups.max()) + 1
    ends = reach(stats, groups, config)
    whole = _guessed(_group_maximum(np.maximum(-ends[0], ends[1]), groups, count))
    candidates: dict[str, Real] = {}
    if config.observer in ("auto", "minmax"):
        candidates["minmax"] = whole
    if config.observer in ("auto", "percentile"):
        clip = _percentiles(stats, groups, count, config.percentile)
        candidates["percentile"] = np.where(clip > STILL * whole, clip, whole)  # a group that hardly ever is not 0 keeps its range
    if config.observer in ("auto", "mse"):
        candidates["mse"] = _least_error(stats, ends, groups, whole, low, high)
    best: SymmetricRange | None = None
    for method, clip in candidates.items():
        scale = np.maximum(clip, TINY) / high
        error = float(_symmetric_error(stats, ends, scale[groups], low, high).mean())
        if best is None or error < best.error * (CLIPPING_GAIN if best.method == "minmax" else 1.0):
            best = SymmetricRange(scale, method, error)
    assert best is not None
    return best


def asymmetric(stats: Statistics, bits: int, config: QuantizationConfig) -> AsymmetricRange:
    """One scale and zero point for the whole tensor; 0.0 is represented exactly, and so are values that lie on the grid of what was
    seen, such as pixels."""
    seen = min(float(stats.minimum.min()), 0.0), max(float(stats.maximum.max()), 0.0)
    ends = reach(stats, tensor_groups(len(stats.mean)), config)
    low, high = min(float(ends[0].min()), 0.0), max(float(ends[1].max()), 0.0)
    if high - low <= TINY:
        high = 1.0
    candidates: dict[str, list[tuple[float, float]]] = {}
    if config.observer in ("auto", "minmax"):
        if seen[1] - seen[0] > TINY and on_grid(stats, affine(*seen, bits)[0]):
            (low, high), ends = seen, (stats.minimum, stats.maximum)
        candidates["minmax"] = [(low, high)]
    if config.observer in ("auto", "percentile"):
        tail = 100.0 - config.percentile
        tails = np.percentile(stats.rows, [tail, config.percentile])
        left, right = min(float(tails[0]), 0.0), max(float(tails[1]), 0.0)
        candidates["percentile"] = [(left, right) if right - left > STILL * (high - low) else (low, high)]
    if config.observer in ("auto", "mse"):
        candidates["mse"] = [(low * a, high * b) for a in RATIOS[::2] for b in RATIOS[::2]]
    best: AsymmetricRange | None = None
    for method, ends_list in candidates.items():
        for a, b in ends_list:
            scale, zero_point = affine(a, b, bits)
            error = _asymmetric_error(stats, ends, scale, zero_point, bits)
            if best is None or error < best.error * (CLIPPING_GAIN if best.method == "minmax" else 1.0):
                best = AsymmetricRange(scale, zero_point, method, error)
    assert best is not None
    return best


def balanced(
    stats: Statistics, weight: Real, qtype: QType, weight_bits: int, config: QuantizationConfig, offset: Real | float = 0.0
) -> SymmetricRange:
    """A scale per channel for ``x - offset`` in the format ``qtype``, whose own scale counts for nothing, that costs the product
    with ``weight (C, N)`` least.

    Candidates are ``(range of the channel)^a (largest weight of the channel)^(a - 1)`` for ``a`` from 0 to 1, one scale for all,
    and clippings of each as the observer allows."""
    low, high = qtype.minimum, qtype.maximum
    base = np.broadcast_to(np.asarray(offset, dtype=np.float64), stats.minimum.shape)
    rows = stats.rows[:: max(1, stats.rows.size // BALANCE_VALUES)] - base.astype(np.float32)
    ends = reach(stats, channel_groups(len(base)), config)
    least, most = ends[0] - base, ends[1] - base
    top = np.maximum(most, -least)
    if config.observer == "percentile":
        top = np.percentile(np.abs(rows), config.percentile, axis=0)
    span = _guessed(np.maximum(top, float(top.max()) / SCALE_SPREAD))
    largest = np.abs(weight).max(axis=1)
    largest = np.maximum(largest, max(float(largest.max()), TINY) / SCALE_SPREAD)
    ratios: tuple[float, ...] = RATIOS[:1]
    if config.observer in ("auto", "mse"):
        ratios = RATIOS[::2] if qtype.bits > 4 else RATIOS
    product = _Product(weight, weight_bits, rows, least, most, stats.count)
    candidates: list[tuple[Real, float]] = []
    for shape in [np.ones_like(span)] + [span**a * largest ** (a - 1) for a in BALANCES]:
        whole = np.maximum(shape, shape.max() / SCALE_SPREAD)
        whole = whole * (float((span / whole).max()) / high)
        candidates += [(whole * ratio, ratio) for ratio in ratios]
    errors = product.errors([scale for scale, _ in candidates], low, high)
    best = int(np.argmin(errors))
    scale, ratio = candidates[best]
    method = config.observer if config.observer != "auto" else "minmax" if ratio == 1.0 else "mse"
    return SymmetricRange(scale, method, errors[best])


@dataclass(frozen=True)
class _Product:
    """The product of values with ``weight (C, N)``: ``rows (n, C)`` of the ``count`` that were seen, between ``least`` and
    ``most (C,)``."""

    weight: Real
    weight_bits: int
    rows: NDArray[np.float32]
    least: Real
    most: Real
    count: int

    @cached_property
    def gain(self) -> Real:
        """Squared error of the product for that of each channel."""
        return np.asarray(np.einsum("cn,cn->c", self.weight, self.weight), dtype=np.float64)

    @cached_property
    def power(self) -> Real:
        """Mean square of each channel."""
        return np.asarray(np.square(self.rows).mean(axis=0, dtype=np.float64), dtype=np.float64)

    def errors(self, scales: Sequence[Real], low: int, high: int) -> list[float]:
        """For each ``scale (C,)`` the expected squared error of all outputs with values rounded to ``low`` to ``high`` times the
        scale: that of rounding and clipping them, and that of rounding the weights, whose steps grow with the largest folded weight
        of an output."""
        steps = largest_products(self.weight, np.stack(scales)) / ((1 << (self.weight_bits - 1)) - 1)
        return [self._error(scale, step, low, high) for scale, step in zip(scales, steps, strict=True)]

    def _error(self, scale: Real, step: Real, low: int, high: int) -> float:
        over = (np.maximum(self.most - high * scale, 0.0) ** 2 + np.maximum(low * scale - self.least, 0.0) ** 2) / self.count
        value_error = float((mean_square_errors(self.rows, scale, low, high) + over) @ self.gain)
        return value_error + float(np.square(step).sum() / 12 * (self.power / scale**2).sum())


def product_error(stats: Statistics, weight: Real, qtype: QType, weight_bits: int, config: QuantizationConfig) -> float:
    """Expected squared error of the product with ``weight (C, N)`` for values in the format ``qtype``; comparable with that of
    :func:`balanced`."""
    rows = stats.rows[:: max(1, stats.rows.size // BALANCE_VALUES)]
    channels, whole = (reach(stats, groups, config) for groups in (channel_groups(len(stats.mean)), tensor_groups(len(stats.mean))))
    # What few values of a channel leave open, the values of all channels bound.
    least, most = np.maximum(channels[0], whole[0]), np.minimum(channels[1], whole[1])
    scale = np.broadcast_to(qtype.scales, stats.mean.shape)
    product = _Product(weight, weight_bits, rows, least, most, stats.count)
    return product.errors([scale], qtype.minimum - qtype.zero_point, qtype.maximum - qtype.zero_point)[0]


def affine(low: float, high: float, bits: int) -> tuple[float, int]:
    """Scale and zero point of a signed format that covers ``[low, high]``, which contains 0."""
    steps = (1 << bits) - 1
    scale = max(high - low, TINY) / steps
    zero_point = int(np.floor(-low / scale + 0.5)) - (1 << (bits - 1))
    return scale, zero_point


def _guessed(seen: Real) -> Real:
    """Largest absolute values by group, those of groups that never moved replaced: other data may move them, and a scale far below
    the others could not share multipliers with them. The guess is the largest of all groups, or 1 where nothing moved."""
    largest = float(seen.max())
    if largest <= TINY:
        return np.ones_like(seen)
    return np.where(seen > STILL * largest, seen, largest)


def _group_maximum(values: Real, groups: NDArray[np.int64], count: int) -> Real:
    result = np.zeros(count)
    np.maximum.at(result, groups, values)
    return result


def _percentiles(stats: Statistics, groups: NDArray[np.int64], count: int, percentile: float) -> Real:
    magnitudes = np.abs(stats.rows)
    if count == len(groups):
        return np.percentile(magnitudes, percentile, axis=0).astype(np.float64)[np.argsort(groups)]
    return np.array([np.percentile(magnitudes[:, groups == g], percentile) for g in range(count)])


def _least_error(stats: Statistics, ends: tuple[Real, Real], groups: NDArray[np.int64], whole: Real, low: int, high: int) -> Real:
    best_error = np.full(len(whole), np.inf)
    best = whole.copy()
    for ratio in RATIOS:
        clip = whole * ratio
        by_channel = _symmetric_error(stats, ends, (np.maximum(clip, TINY) / high)[groups], low, high)
        error = np.bincount(groups, weights=by_channel, minlength=len(whole))
        better = error < best_error
        best_error[better], best[better] = error[better], clip[better]
    return best


def _symmetric_error(stats: Statistics, ends: tuple[Real, Real], scale: Real, low: int, high: int) -> Real:
    """Mean squared error of each channel, whose values reach to ``ends``."""
    inside = mean_square_errors(stats.rows, scale, low, high)
    over = np.maximum(ends[1] - high * scale, 0.0) ** 2 + np.maximum(low * scale - ends[0], 0.0) ** 2
    return np.asarray(inside + over / stats.count, dtype=np.float64)


def on_grid(stats: Statistics, scale: float) -> bool:
    """Whether all values are multiples of a scale but for the rounding of float32, and not just a few levels."""
    steps = stats.rows / scale
    levels = np.round(steps)
    return bool(np.abs(steps - levels).max(initial=0.0) < GRID_ERROR) and len(np.unique(levels)) >= GRID_LEVELS


def _asymmetric_error(stats: Statistics, ends: tuple[Real, Real], scale: float, zero_point: int, bits: int) -> float:
    half = 1 << (bits - 1)
    rows = stats.rows.reshape(-1)[: 1 << 16]
    q = rows * np.float32(1.0 / scale)
    np.add(q, np.float32(0.5), out=q)
    np.floor(q, out=q)
    np.clip(q, -half - zero_point, half - 1 - zero_point, out=q)
    q *= np.float32(scale)
    q -= rows
    inside = float(np.dot(q, q)) / max(rows.size, 1)
    low, high = (-half - zero_point) * scale, (half - 1 - zero_point) * scale
    over = np.maximum(ends[1] - high, 0.0) ** 2 + np.maximum(low - ends[0], 0.0) ** 2
    return inside + float(over.mean()) / stats.count
