"""What a user may choose about quantization-aware training."""

from __future__ import annotations

from typing import Literal, TypedDict

from pydantic import BaseModel, ConfigDict, Field

OrderName = Literal["together", "hawq"]


class FineTuning(BaseModel):
    """Options of quantization-aware training.

    The learning rate rises over the ``warmup`` share of the steps and falls along a cosine to 0 (AdamW). With ``order`` hawq,
    layers are quantized one after another over the first half of the steps, in ``stages``, those whose quantization disturbs the
    loss most first (HAWQ, arXiv 1905.03696), while all parameters train; with ``together`` all are quantized from the start. The
    parameters of the epoch with the least loss on the ``validation`` share of the samples are kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=3, ge=1, le=10_000, description="passes over the training samples")
    batch: int = Field(default=32, ge=1, description="samples of a step")
    learning_rate: float = Field(default=3e-4, gt=0.0, le=1.0, description="largest learning rate of weights and other floats")
    scale_rate: float = Field(default=2e-3, ge=0.0, le=1.0, description="largest learning rate of the logarithms of scales")
    weight_decay: float = Field(default=1e-4, ge=0.0, lt=1.0, description="decay of weights; biases and scales have none")
    warmup: float = Field(default=0.05, ge=0.0, lt=1.0, description="share of the steps in which the learning rate rises")
    validation: float = Field(default=0.1, gt=0.0, lt=1.0, description="share of the samples that choose the best epoch")
    calibration: int = Field(default=256, ge=1, description="training samples that the first scales come from")
    order: OrderName = "together"
    stages: int = Field(default=4, ge=1, description="of quantizing layers one after another, where order is hawq")
    seed: int = Field(default=0, ge=0, description="seed of every random choice")


class FineTuningOptions(TypedDict, total=False):
    """The fields of :class:`FineTuning`, as keyword arguments."""

    epochs: int
    batch: int
    learning_rate: float
    scale_rate: float
    weight_decay: float
    warmup: float
    validation: float
    calibration: int
    order: OrderName
    stages: int
    seed: int
