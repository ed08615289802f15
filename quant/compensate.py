"""Weights whose errors compensate each other, from calibration data (post-training, no gradients).

A layer's squared output error is a quadratic form in the errors of an output's weights: ``e H e`` with ``H`` the covariance of the
layer's quantized input. Two steps use it. The weights are first fitted, by ridge regression, to what the float layer makes of the
float input (ERQ, arXiv 2407.06794): that takes off what the quantization of everything before the layer adds. Then weights are
rounded one input channel after another, and the channels still to come are shifted by what best cancels the error made so far
(GPTQ, arXiv 2210.17323).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK = 64  # channels rounded before the rest is updated
DAMPING = 0.01  # of the mean diagonal, added to the covariance that rounding follows
RIDGE = 0.1  # of the mean diagonal: how far the fit trusts the samples against the float weights

Real = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """What rows of a layer's input ``u (n, K)`` and wanted output ``y (n, N)`` say of it.

    ``covariance (K, K)`` is that of ``u``; ``cross (K, N)`` that of ``u`` with ``y``; ``u_mean`` and ``y_mean`` the means;
    ``variance (N,)`` that of ``y``, ``power`` the mean square of all ``y``.
    """

    covariance: Real
    cross: Real
    u_mean: Real
    y_mean: Real
    variance: Real
    power: float

    def error(self, weight: Real, bias: Real) -> float:
        """Mean squared error of ``u . weight^T + bias``, ``weight (N, K)``, over rows and outputs."""
        product = weight @ self.covariance
        spread = self.variance - 2 * np.einsum("nk,kn->n", weight, self.cross) + np.einsum("nk,nk->n", product, weight)
        mean = weight @ self.u_mean + bias - self.y_mean
        return float(np.maximum(spread, 0.0).mean() + np.square(mean).mean())


@dataclass(frozen=True)
class LayerErrors:
    """What each step brought one layer, as the signal-to-noise ratio in dB of what it makes of its quantized input, against the
    float layer's output on the float input, on calibration data.

    Each field includes the steps of those before it: weights rounded to the nearest; with the bias corrected; fitted to the
    quantized input; with compensated rounding. A step that is switched off repeats the field before it.
    """

    nearest_db: float
    bias_correction_db: float
    input_correction_db: float
    compensated_db: float


def moments(u: NDArray[np.float32], y: NDArray[np.float32]) -> Moments:
    """Moments of rows."""
    u_mean, y_mean = u.mean(axis=0, dtype=np.float64), y.mean(axis=0, dtype=np.float64)
    a, b = u - u_mean.astype(np.float32), y - y_mean.astype(np.float32)
    n = max(len(u), 1)
    variance = np.square(b).mean(axis=0, dtype=np.float64)
    covariance, cross = (a.T @ a).astype(np.float64) / n, (a.T @ b).astype(np.float64) / n
    return Moments(covariance, cross, u_mean, y_mean, variance, float((variance + y_mean**2).mean()))


def fitted(weight: Real, seen: Moments) -> Real:
    """``weight (N, K)`` moved towards the least squared error on the samples."""
    size = len(seen.covariance)
    damped = seen.covariance + np.eye(size) * (RIDGE * _mean_diagonal(seen.covariance))
    missing = seen.cross - seen.covariance @ weight.T
    moved: Real = weight + np.linalg.solve(damped, missing).T
    return moved


def rounded(weight: Real, step: Real, ends: tuple[int, int], covariance: Real) -> Real:
    """Integers ``q (N, K)`` for which ``q * step`` is near ``weight`` where the inputs say that it matters; ``step (N,)``."""
    order = np.argsort(-np.diag(covariance), kind="stable")
    size = len(order)
    damped = covariance[np.ix_(order, order)] + np.eye(size) * (DAMPING * _mean_diagonal(covariance))
    inverse = np.linalg.inv(damped)
    upper = np.linalg.cholesky((inverse + inverse.T) / 2).T
    left = np.ascontiguousarray(weight[:, order].T)
    q = np.empty_like(left)
    low, high = ends
    for start in range(0, size, BLOCK):
        stop = min(start + BLOCK, size)
        errors = np.empty((stop - start, left.shape[1]))
        for k in range(start, stop):
            q[k] = np.clip(np.floor(left[k] / step + 0.5), low, high)
            errors[k - start] = (left[k] - q[k] * step) / upper[k, k]
            left[k + 1 : stop] -= np.outer(upper[k, k + 1 : stop], errors[k - start])
        left[stop:] -= upper[start:stop, stop:].T @ errors
    found = np.empty_like(q)
    found[order] = q
    return found.T


def _mean_diagonal(covariance: Real) -> float:
    return max(float(np.trace(covariance)) / len(covariance), 1e-12)
