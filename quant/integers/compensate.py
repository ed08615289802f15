"""Weights whose errors compensate each other, from calibration data (post-training, no gradients).

A layer's squared output error is a quadratic form in the errors of an output's weights: ``e H e`` with ``H`` the covariance of the
layer's quantized input. Two steps use it. The weights are first fitted, by ridge regression, to what the float layer makes of the
float input (ERQ, arXiv 2407.06794): that takes off what the quantization of everything before the layer adds. Then weights are
rounded one input channel after another, and the channels still to come are shifted by what best cancels the error made so far
(GPTQ, arXiv 2210.17323).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, lapack

from edgeflow.hw.arrays import Real

BLOCK = 64  # channels rounded before the rest is updated
DAMPING = 0.01  # of the mean diagonal, added to the covariance that rounding follows
RIDGE = 0.1  # of the mean diagonal: how far the fit trusts the samples against the float weights
SMALLEST = 1e-12  # mean variance that counts


@dataclass(frozen=True)
class InputMoments:
    """``mean (K,)`` and ``covariance (K, K)`` of the rows that a layer reads; ``centred (n, K)`` are these without their mean.

    Layers that read the same tensor share this, and the factors that it is solved with."""

    mean: Real
    covariance: Real
    centred: NDArray[np.float32]

    @cached_property
    def ridge(self) -> Real:
        """Lower Cholesky factor of the covariance with the ridge."""
        return self._factor(RIDGE, np.arange(len(self.mean)))

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Input channels, those of the largest variance first: the order of rounding."""
        return np.argsort(-np.diag(self.covariance), kind="stable")

    @cached_property
    def upper(self) -> Real:
        """Upper Cholesky factor of the inverse of the damped covariance, channels in the order of rounding."""
        # With the channels reversed, A = U U^T for an upper U, so that A^-1 = (U^-1)^T U^-1.
        lower = self._factor(DAMPING, self.order[::-1])
        inverse, info = lapack.dtrtri(lower, lower=1)
        assert info == 0
        return np.ascontiguousarray(inverse[::-1, ::-1])

    def _factor(self, share: float, order: NDArray[np.int64]) -> Real:
        added = share * max(float(np.trace(self.covariance)) / len(order), SMALLEST)
        factor: Real = cholesky(self.covariance[np.ix_(order, order)] + added * np.eye(len(order)), lower=True)
        return factor


@dataclass(frozen=True)
class Moments:
    """What rows of a layer's input ``u (n, K)`` and wanted output ``y (n, N)`` say of it.

    ``cross (K, N)`` is the covariance of both; ``mean`` and ``variance (N,)`` those of ``y``, ``power`` the mean square of all
    ``y``.
    """

    inputs: InputMoments
    cross: Real
    mean: Real
    variance: Real
    power: float

    def error(self, weight: Real, bias: Real) -> float:
        """Mean squared error of ``u . weight^T + bias``, ``weight (N, K)``, over rows and outputs."""
        product = weight @ self.inputs.covariance
        spread = self.variance - 2 * np.einsum("nk,kn->n", weight, self.cross) + np.einsum("nk,nk->n", product, weight)
        mean = weight @ self.inputs.mean + bias - self.mean
        return float(np.maximum(spread, 0.0).mean() + np.square(mean).mean())


@dataclass(frozen=True)
class LayerErrors:
    """What each step brought one layer: the signal-to-noise ratio in dB of its output on the quantized input, against the float
    layer's output on the float input, on calibration data.

    Each field includes the steps of those before it: weights rounded to the nearest; with the bias corrected; fitted to the
    quantized input; with compensated rounding. A step that is switched off repeats the field before it.
    """

    nearest_db: float
    bias_correction_db: float
    input_correction_db: float
    compensated_db: float


def input_moments(u: NDArray[np.float32]) -> InputMoments:
    """Moments of rows ``(n, K)``."""
    mean = u.mean(axis=0, dtype=np.float64)
    centred = u - mean.astype(np.float32)
    return InputMoments(mean, (centred.T @ centred).astype(np.float64) / max(len(u), 1), centred)


def moments(inputs: InputMoments, y: NDArray[np.float32]) -> Moments:
    """Moments of the rows behind ``inputs`` and of the outputs wanted for them."""
    mean = y.mean(axis=0, dtype=np.float64)
    centred = y - mean.astype(np.float32)
    cross = (inputs.centred.T @ centred).astype(np.float64) / max(len(y), 1)
    variance = np.square(centred).mean(axis=0, dtype=np.float64)
    return Moments(inputs, cross, mean, variance, float((variance + mean**2).mean()))


def fitted(weight: Real, seen: Moments) -> Real:
    """``weight (N, K)`` moved towards the least squared error on the samples."""
    missing = seen.cross - seen.inputs.covariance @ weight.T
    moved: Real = weight + cho_solve((seen.inputs.ridge, True), missing).T
    return moved


def rounded(weight: Real, step: Real, ends: tuple[int, int], inputs: InputMoments) -> Real:
    """Integers ``q (N, K)`` for which ``q * step`` is near ``weight`` where the inputs say that it matters; ``step (N,)``."""
    order, upper = inputs.order, inputs.upper
    size = len(order)
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
    integers = np.empty_like(q)
    integers[order] = q
    return integers.T
