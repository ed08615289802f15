"""How far values of other data are expected to reach beyond those of few calibration samples.

The largest value of a channel grows with the number of samples. The tokens of one sample have much in common, but samples are
independent: what counts is the largest value ``M`` of each sample (the method of block maxima: Coles, An Introduction to
Statistical Modeling of Extreme Values, 2001, chapter 3). From ``S`` samples to ``N`` the largest of them is expected to grow by

    (t(N) - t(S)) sigma,    t(n) the quantile of Student's distribution at (n - 3/8) / (n + 1/4)

with ``sigma`` the standard deviation of ``M``: for a normal distribution with known deviation this quantile is the expected largest
of ``n`` values (Blom, Statistical Estimates and Transformed Beta Variables, 1958), and Student's has the uncertainty of a deviation
that was itself estimated from few values. With ``N = ENOUGH`` nothing is added to that many samples or more.

A deviation from few values is a poor one, and that of a channel that did not move at all is none. So variances of channels are
shrunk to a common one, as far as they do not differ by more than so few values explain (the moderated variance of Smyth, Linear
Models and Empirical Bayes Methods for Assessing Differential Expression, 2004, section 6.2): ``d`` degrees of freedom of each
channel's own variance stand against ``d0`` of the common one.

Rare events are not in a deviation: a logit that is large for one word in fifty, a gate that opens now and then. In a tensor that
exists once a sample, few samples show them in some channels. There a channel is also expected to reach as many of its own
(median absolute) deviations as the tenth of all channels that went furthest, with the probability ``1 - S / N`` that the largest of
``N`` samples is not among the ``S`` seen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, polygamma, stdtrit

from edgeflow.hw.arrays import Real
from edgeflow.quant.formats.statistics import Statistics

ENOUGH = 512  # samples whose extremes are taken as they are
STILL_SHARE = 1e-10  # variances below this share of the largest do not tell how much variances differ
LEAST_FREEDOM, MOST_FREEDOM = 4.0, 1e4  # degrees of freedom: with fewer, quantiles are endless; more are as good as infinite
NORMAL_DEVIATION = 1.4826  # of a normal distribution over the median absolute deviation
EFFICIENCY = 0.37  # of the median absolute deviation, against the standard deviation
PRONE = 0.9  # of the channels, ranked by how far they reach in their own deviations: what the others could reach, too
FEWEST_CHANNELS = 8  # that say anything about others
NEWTON_STEPS = 20


def expected_reach(stats: Statistics, groups: NDArray[np.int64]) -> tuple[Real, Real]:
    """The least and the largest value that each channel is expected to take in data of ``ENOUGH`` samples, ``(C,)`` each.

    ``groups (C,)`` numbers the groups of channels that share a range: the expectation of a channel stays within that of its group,
    of which more values are known. Where no value of the tensor was below 0, or none above, none is expected to be.
    """
    if stats.samples >= ENOUGH:
        return stats.minimum, stats.maximum
    below = _expected(-stats.minimum, -stats.lows, -stats.rows, stats, groups)
    low, high = -below, _expected(stats.maximum, stats.highs, stats.rows, stats, groups)
    if float(stats.minimum.min()) >= 0.0:
        low = np.maximum(low, 0.0)
    if float(stats.maximum.max()) <= 0.0:
        high = np.minimum(high, 0.0)
    return low, high


def growth_of_maximum(values: int, enough: int, freedom: float) -> float:
    """By how many standard deviations the largest of ``values`` values is expected to grow until there are ``enough``, where the
    deviation has ``freedom`` degrees of freedom; never below 0."""
    ends = [(n - 0.375) / (n + 0.25) for n in (values, max(values, enough))]
    seen, most = stdtrit(np.clip(freedom, LEAST_FREEDOM, MOST_FREEDOM), ends)  # scipy.stats takes a second to import
    return float(most - seen)


def moderated(variance: Real, freedom: float) -> tuple[Real, float]:
    """Variances ``(C,)`` with ``freedom`` degrees of freedom each, shrunk to a common one; and their degrees of freedom then."""
    moving = variance[variance > STILL_SHARE * float(variance.max(initial=0.0))]
    if len(moving) < 2:
        return variance, freedom
    logs = np.log(moving) - digamma(freedom / 2) + np.log(freedom / 2)
    excess = float(logs.var(ddof=1)) - float(polygamma(1, freedom / 2))
    prior = MOST_FREEDOM if excess <= 0 else min(2 * _inverse_trigamma(excess), MOST_FREEDOM)
    common = np.exp(float(logs.mean()) + digamma(prior / 2) - np.log(prior / 2))
    return (prior * common + freedom * variance) / (prior + freedom), prior + freedom


def _expected(
    most: Real, largest: NDArray[np.float32], rows: NDArray[np.float32], stats: Statistics, groups: NDArray[np.int64]
) -> Real:
    """What channels are expected to reach upwards: ``most (C,)`` was seen, ``largest (k, C)`` in samples, of ``rows (n, C)``."""
    count = int(groups.max()) + 1
    values, single = (rows, True) if stats.samples == 1 else (largest, stats.count == stats.samples)
    reach = most + _growth(values, stats)
    if single:
        reach = np.maximum(reach, most + _rare(values, stats))
    if count == len(groups):
        return reach
    whole = np.full(count, -np.inf)
    np.maximum.at(whole, groups, most)
    by_group = np.stack([values[:, groups == group].max(axis=1) for group in range(count)], axis=1)
    within: Real = np.minimum(reach, (whole + _growth(by_group, stats))[groups])
    return within


def _growth(values: NDArray[np.float32], stats: Statistics) -> Real:
    """By how much the largest of the values ``(k, C)`` of each channel is expected to grow; of a single sample the values are
    those of its rows."""
    seen, enough = stats.samples, ENOUGH
    if stats.samples == 1:
        seen, enough = stats.count, ENOUGH * stats.count
    if len(values) > 1:
        variance, freedom = moderated(values.var(axis=0, ddof=1, dtype=np.float64), len(values) - 1)
    else:  # one value a channel: all that is known is how channels differ
        variance, freedom = np.full(values.shape[1], float(np.square(values, dtype=np.float64).mean())), values.shape[1] - 1
    growth: Real = growth_of_maximum(seen, enough, freedom) * np.sqrt(variance)
    return growth


def _rare(values: NDArray[np.float32], stats: Statistics) -> Real:
    """By how much the largest of the values ``(k, C)`` of each channel is expected to grow if every channel is prone to the same
    rare events."""
    middle = np.median(values, axis=0).astype(np.float64)
    most = values.max(axis=0).astype(np.float64)
    if len(values) < 2:
        return np.zeros_like(most)
    variance = (np.median(np.abs(values - middle), axis=0) * NORMAL_DEVIATION) ** 2
    deviation = np.sqrt(moderated(variance, EFFICIENCY * (len(values) - 1))[0])
    moving = deviation > 0
    if np.count_nonzero(moving) < FEWEST_CHANNELS:
        return np.zeros_like(most)
    others = float(np.quantile((most - middle)[moving] / deviation[moving], PRONE))
    missing: Real = (1 - stats.samples / ENOUGH) * np.maximum(middle + others * deviation - most, 0.0)
    return missing


def _inverse_trigamma(value: float) -> float:
    """The argument at which trigamma has a value: Newton's method (Smyth 2004, appendix)."""
    x = 0.5 + 1.0 / value
    for _ in range(NEWTON_STEPS):
        trigamma = float(polygamma(1, x))
        x += trigamma * (1.0 - trigamma / value) / float(polygamma(2, x))
    return x
