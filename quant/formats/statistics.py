"""What calibration has seen of a tensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeflow.hw.arrays import Real


@dataclass(frozen=True)
class Statistics:
    """What was seen of one tensor, as rows of ``C`` channels.

    ``shape`` is per sample. ``minimum``, ``maximum`` and ``mean`` (float64, ``(C,)``) are over all ``count`` rows; ``rows``
    (float32, ``(n, C)``) is a random sample of them. The rows come from ``samples`` samples; ``lows`` and ``highs`` (float32,
    ``(k, C)``) are the least and the largest values within each of ``k`` of these, drawn at random.
    """

    shape: tuple[int, ...]
    count: int
    minimum: Real
    maximum: Real
    mean: Real
    rows: NDArray[np.float32]
    samples: int
    lows: NDArray[np.float32]
    highs: NDArray[np.float32]

    @property
    def magnitude(self) -> Real:
        """Largest absolute value of each channel."""
        return np.maximum(np.abs(self.minimum), np.abs(self.maximum))
