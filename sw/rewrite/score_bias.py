"""A constant bias of attention's scores (MPNet's and Swin's relative positions) as more channels of queries and keys.

The accelerator's scores are products of queries and keys alone. A matrix B (queries, keys) is itself such a product, U V^T, so that
``q k^T + B = [q, U] [k, V]^T``: with U the identity (times a number for each query), V^T is B, row by row; or U and V come from B's
singular value decomposition, if its rank is low enough to make heads smaller. What is the same for all keys of a query drops out of
the softmax and is taken off first.
"""

from __future__ import annotations

import numpy as np

from edgeflow.hw.arrays import Array
from edgeflow.hw.ops.attention import MAXIMUM_HEAD, padded_head

NEGLIGIBLE = 1e-7
"""Singular values below this part of the largest are rounding errors of float32."""


def score_channels(bias: Array, size: int) -> tuple[Array, Array]:
    """``U (heads, queries, r)`` and ``V (heads, keys, r)`` with ``U V^T = bias (heads, queries, keys)`` up to a number a query.

    ``size`` is that of the heads without them.
    """
    real = bias.astype(np.float64)
    real = real - (real.max(axis=-1, keepdims=True) + real.min(axis=-1, keepdims=True)) / 2
    left, right = _identity(real)
    if real.shape[1] > real.shape[2]:
        right, left = _identity(real.swapaxes(1, 2))
    u, s, vt = np.linalg.svd(real, full_matrices=False)
    rank = max(int(np.sum(s > NEGLIGIBLE * s.max(axis=1, keepdims=True), axis=1).max(initial=0)), 1)
    if padded_head(size + rank) < padded_head(size + left.shape[-1]):
        root = np.sqrt(s[:, None, :rank])
        left, right = u[:, :, :rank] * root, vt[:, :rank].swapaxes(1, 2) * root
    return left.astype(np.float32), right.astype(np.float32)


def _identity(real: Array) -> tuple[Array, Array]:
    """A diagonal matrix and the rows of ``real`` over its numbers: both of the same magnitude, as is best for one scale."""
    number = np.sqrt(np.abs(real).max(axis=-1))
    number[number == 0] = 1.0
    return np.eye(real.shape[1]) * number[:, :, None], (real / number[:, :, None]).swapaxes(1, 2)


def too_wide(bias: Array, size: int) -> str | None:
    """Why a bias needs heads that no accelerator takes; None if it does not."""
    wide = padded_head(size + score_channels(bias, size)[0].shape[-1])
    if wide <= MAXIMUM_HEAD:
        return None
    _, queries, keys = bias.shape
    return f"its constant bias of {queries} x {keys} scores takes heads of {wide} channels, and there are at most {MAXIMUM_HEAD}"
