"""What the integers of a tensor stand for, and what their readers want."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from edgeflow.hw.arrays import IntArray, Real
from edgeflow.hw.graph import QType, TensorType


class Demand(Enum):
    """How a reader wants its operand."""

    NARROW = "narrow"  # up to 8 bits, a scale per channel
    NARROW_UNIFORM = "narrow uniform"  # up to 8 bits, one scale
    ATTENTION = "attention"
    STREAM = "stream"
    CONTROL = "control"  # masks, token ids and the like: integers by nature
    BEHIND = "behind"  # the demand of the readers of the moved value

    @property
    def quantized(self) -> bool:
        """Whether the array reads the operand: it then has few bits, in training, too."""
        return self in (Demand.NARROW, Demand.NARROW_UNIFORM, Demand.ATTENTION)


@dataclass(frozen=True)
class Interpretation:
    """What an activation's integers stand for: ``(q - zero_point) * scale + offset``. ``offset (C,)`` is known to the readers of
    a narrow tensor alone; None stands for zeros."""

    qtype: QType
    offset: Real | None = None


@dataclass(frozen=True)
class AttentionFormats:
    """Formats of an attention node's operands and output, for the channels of the model (head padding left out).

    ``score_scale (heads,)`` is what one unit of an integer score stands for in the model's q . k; ``numerator (heads,)`` over
    ``2^output_shift`` is the values' scale over that of the output.
    """

    query: Interpretation
    key: Interpretation
    value: Interpretation
    output: Interpretation
    score_scale: Real
    numerator: IntArray
    output_shift: int


@dataclass(frozen=True)
class HeadPadding:
    """Where the model's channels stand, ``positions (C,)``, among the ``size`` channels of an attention node with padded heads."""

    positions: NDArray[np.int64]
    size: int


@dataclass(frozen=True)
class Correspondence:
    """The float tensor that an integer tensor stands for.

    ``channels`` says where the float model's channels stand in the integer tensor when attention heads are padded; ``offset`` (one
    number a channel of the float model) is added to what the integers stand for by their format. None: the same channels, nothing.
    """

    name: str
    channels: NDArray[np.int64] | None = None
    offset: Real | None = None

    def real(self, tensor: TensorType, integers: NDArray[np.integer]) -> Real:
        """The real values of the float tensor that integers of ``tensor`` stand for."""
        values = tensor.qtype.dequantize(integers)
        if self.channels is not None:
            values = values[..., self.channels]
        return values if self.offset is None else values + self.offset
