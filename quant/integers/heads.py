"""Heads of attention: padded to what the accelerator takes, in weights and in formats, and the factors of their outputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgeflow.hw.arithmetic import dyadic
from edgeflow.hw.arrays import IntArray, Real
from edgeflow.hw.graph import QType
from edgeflow.hw.ops.attention import MAXIMUM_OUTPUT_SHIFT, NUMERATOR_BITS
from edgeflow.quant.formats.interpretation import HeadPadding

NUMERATOR_LIMIT = (1 << NUMERATOR_BITS) - 1


def pad_outputs(
    weight: IntArray, bias: IntArray, multiplier: IntArray, padding: HeadPadding
) -> tuple[IntArray, IntArray, IntArray]:
    """Spread output channels to their places in padded heads, with channels of zeros between."""
    channels, size = padding.positions, padding.size
    wide = np.zeros((size, weight.shape[1]), dtype=np.int64)
    wide_bias, wide_multiplier = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    wide[channels], wide_bias[channels], wide_multiplier[channels] = weight, bias, multiplier
    return wide, wide_bias, wide_multiplier


def pad_qtype(qtype: QType, padding: HeadPadding) -> QType:
    """A per-channel format with the scale 1 in padding channels."""
    scales = np.ones(padding.size)
    scales[padding.positions] = qtype.scales
    return replace(qtype, scale=tuple(map(float, scales)))


def numerators(factor: Real) -> tuple[IntArray, int]:
    """Numerators from 1 to 2^16 - 1, one a head, and their common shift, the largest that fits: ``factor`` is next to
    ``numerator / 2^shift``."""
    shift = dyadic(factor, NUMERATOR_BITS)[1]
    shift = min(shift, MAXIMUM_OUTPUT_SHIFT)
    words = np.clip(np.floor(factor * 2.0**shift + 0.5), 1, NUMERATOR_LIMIT)
    return words.astype(np.int64), shift
