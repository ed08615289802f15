"""What a user may choose about calibration and quantization."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from edgeflow.hw.arithmetic import MULTIPLIER_BITS

ObserverName = Literal["auto", "minmax", "percentile", "mse"]


class QuantizationConfig(BaseModel):
    """Options of 8-bit post-training quantization.

    ``observer`` picks the range of every 8-bit activation: ``minmax``; ``percentile`` of the absolute values (of both tails where
    a range is asymmetric); ``mse``, the clipping with the least squared error; or ``auto``, min-max unless one of
    the others has a clearly smaller squared error on that tensor.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    activation_bits: Literal[8] = 8
    weight_bits: Literal[8] = 8
    residual_bits: int = Field(default=16, ge=9, le=16, description="width of the residual stream and of network outputs")
    residual_headroom: float = Field(
        default=2.0, ge=1.0, le=16.0, description="range of the residual stream over the largest value seen"
    )
    observer: ObserverName = "auto"
    percentile: float = Field(
        default=99.99, gt=50.0, le=100.0, description="percent of the values that the percentile observer keeps"
    )
    multiplier_bits: int = Field(
        default=MULTIPLIER_BITS, ge=8, le=MULTIPLIER_BITS, description="width of requantization multipliers"
    )
    exponent_fraction_bits: int = Field(default=6, ge=2, le=10, description="log2 of the softmax exponential's table size")
    softmax_bits: int = Field(default=24, ge=9, le=24, description="width of probabilities that leave the network")
    probability_bits: int = Field(default=8, ge=4, le=8, description="width of the unnormalised attention probabilities")
    sample_values: int = Field(default=1 << 17, ge=1 << 10, description="values of each tensor that are kept for the range search")
    seed: int = Field(default=0, ge=0, description="seed of the choice of rows that are kept")
