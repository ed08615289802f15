"""What a user may choose about calibration and quantization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, TypedDict

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from edgeflow.hw.cpp_widths import ACCUMULATOR_MULTIPLIER_BITS, MULTIPLIER_BITS

ObserverName = Literal["auto", "minmax", "percentile", "mse"]
RoundingName = Literal["auto", "nearest", "compensated"]

# What switches each technique off. Without compensated rounding weights are not fitted to the quantized input either.
TECHNIQUES: Mapping[str, Mapping[str, Any]] = {
    "clipped ranges": {"observer": "minmax"},
    "allowance": {"allowance": False},
    "equalization": {"equalization": False},
    "one-sided formats": {"one_sided": False},
    "weight scales per channel": {"channel_weights": False},
    "bias correction": {"bias_correction": False},
    "input correction": {"input_correction": False},
    "compensated rounding": {"rounding": "nearest"},
}
SELECTION_WORK = 90.0  # what compile and quantize spend on the choice of techniques unless told otherwise


class LayerBits(BaseModel):
    """Bits of one linear layer: of its weights, and of the activation that it reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: int = Field(default=8, ge=2, le=8)
    activation: int = Field(default=8, ge=2, le=8)


class QuantizationConfig(BaseModel):
    """Options of post-training quantization.

    ``weight_bits`` and ``activation_bits`` are those of linear layers and of what they read; the first layer (where the model looks
    up tokens, its tables) and the last one keep 8 (HAWQ-V3, arXiv 2011.10680). ``layers`` overrules both for the layers that it
    names, by the name of the model's own node. Layers that share an input read it with the bits of the one that asks for most.

    ``observer`` picks the range of every narrow activation: ``minmax``; ``percentile`` of the absolute values (of both tails where
    a range is asymmetric); ``mse``, the clipping with the least squared error; or ``auto``, min-max unless one of
    the others has a clearly smaller squared error on that tensor. Ranges from few samples are first widened by what other data is
    expected to add (``allowance``, quant/formats/allowance.py). With ``auto`` and ``mse`` the weights are clipped, too.

    ``rounding`` of weights: to the nearest integer, or compensated: the rounding errors of a layer's weights cancel each other as
    far as the calibration data tells (GPTQ, arXiv 2210.17323); ``auto`` compensates layers of less than 8 bits.

    ``without`` leaves techniques (see TECHNIQUES) out at single tensors of the canonical float model: what concerns a format, at
    the tensor that has it (queries and keys of attention at the queries); what concerns a layer's weights, at the tensor that it
    makes. With ``selection_work`` such places are found by measuring the output (see quant/techniques/selection.py). It bounds
    work, not time, so that every machine finds the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight_bits: int = Field(default=8, ge=2, le=8, description="width of the weights of linear layers")
    activation_bits: int = Field(default=8, ge=2, le=8, description="width of what linear layers read")
    attention_bits: int = Field(default=8, ge=3, le=8, description="width of queries, keys and values")
    layers: Mapping[str, LayerBits] = Field(default_factory=dict, description="bits of single linear layers, by node name")
    residual_bits: int = Field(default=16, ge=9, le=16, description="width of the residual stream and of network outputs")
    residual_headroom: float = Field(
        default=2.0, ge=1.0, le=16.0, description="range of the residual stream over the largest value seen"
    )
    observer: ObserverName = "auto"
    allowance: bool = Field(
        default=True, description="ranges from few calibration samples are widened by what other data is expected to add"
    )
    percentile: float = Field(
        default=99.99, gt=50.0, le=100.0, description="percent of the values that the percentile observer keeps"
    )
    equalization: bool = Field(
        default=True, description="scales and offsets per channel where the layers around a tensor can fold them"
    )
    one_sided: bool = Field(
        default=True, description="formats without sign from the least value up for what comes out of an activation function"
    )
    channel_weights: bool = Field(default=True, description="a scale for the weights of each output channel, not one for a layer")
    bias_correction: bool = Field(default=True, description="take what quantization adds to the mean of an output off its bias")
    rounding: RoundingName = "auto"
    input_correction: bool = Field(
        default=True, description="where rounding is compensated, first fit the weights to the quantized input"
    )
    without: Mapping[str, tuple[str, ...]] = Field(
        default_factory=dict, description="float tensors at which a technique is left out, by the technique's name"
    )
    selection_work: float = Field(
        default=0.0,
        ge=0.0,
        allow_inf_nan=False,
        description="billions of multiply-accumulates to spend on leaving out techniques that hurt; 0 keeps them all",
    )
    ablation: bool = Field(default=False, description="quantize again without each technique, and report what it brings")
    multiplier_bits: int = Field(
        default=ACCUMULATOR_MULTIPLIER_BITS,
        ge=8,
        le=ACCUMULATOR_MULTIPLIER_BITS,
        description=f"width of requantization multipliers; {MULTIPLIER_BITS} where the accelerator takes no more",
    )
    exponent_fraction_bits: int = Field(default=6, ge=2, le=10, description="log2 of the softmax exponential's table size")
    softmax_bits: int = Field(default=24, ge=9, le=24, description="width of probabilities that leave the network")
    probability_bits: int = Field(default=8, ge=4, le=8, description="width of the unnormalised attention probabilities")
    sample_values: int = Field(default=1 << 17, ge=1 << 10, description="values of each tensor that are kept for the range search")
    seed: int = Field(default=0, ge=0, description="seed of the choice of rows that are kept")

    @property
    def short_multiplier_bits(self) -> int:
        """Width of the multipliers of everything but linear layers' accumulators."""
        return min(self.multiplier_bits, MULTIPLIER_BITS)

    @field_validator("without")
    @classmethod
    def _known(cls, value: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
        for name in value:
            if name not in TECHNIQUES:
                message = f"there is no technique {name!r}; there are {', '.join(TECHNIQUES)}"
                raise PydanticCustomError("technique", "{message}", {"message": message})
        return value

    def at(self, site: str) -> Self:
        """The options that hold at a float tensor: those of the network, less the techniques that are left out there."""
        off = {key: value for name, sites in self.without.items() if site in sites for key, value in TECHNIQUES[name].items()}
        return self.model_copy(update=off) if off else self


class QuantizationOptions(TypedDict, total=False):
    """The fields of :class:`QuantizationConfig`, as keyword arguments."""

    weight_bits: int
    activation_bits: int
    attention_bits: int
    layers: Mapping[str, LayerBits | Mapping[str, int]]
    residual_bits: int
    residual_headroom: float
    observer: ObserverName
    allowance: bool
    percentile: float
    equalization: bool
    one_sided: bool
    channel_weights: bool
    bias_correction: bool
    rounding: RoundingName
    input_correction: bool
    without: Mapping[str, Sequence[str]]
    selection_work: float
    ablation: bool
    multiplier_bits: int
    exponent_fraction_bits: int
    softmax_bits: int
    probability_bits: int
    sample_values: int
    seed: int
