"""What to call, and to do about, a node that is refused for itself: by its operator, or by what the rules say of it."""

from __future__ import annotations

from dataclasses import dataclass

from edgeflow.sw.importer.canonical import NO_OPERATOR, Problem
from edgeflow.sw.importer.obstacles.attention import CAUSAL, FUSED, ROTARY
from edgeflow.sw.importer.obstacles.base import Kind, is_a
from edgeflow.sw.importer.obstacles.normalization import L2_NORM, RMS_NORM

__all__ = ["NO_OPERATOR", "kind_of"]

HOST = "end the exported model before it, or replace it by operators that compile (README, What it can take)"
RECURRENT = Kind(
    "recurrent layer", "each token waits for the one before it, which the accelerator has no unit for", "replace it by attention"
)
CONVOLUTION = "convolution that is not a patch embedding"
CONVOLUTION_REMEDY = (
    "only convolutions whose stride is their kernel compile; run those before the first transformer layer on the host, or train"
    " with patches that do not overlap"
)
CACHE = Kind(
    "key and value cache",
    "the model is a decoder that takes the keys and values of earlier tokens",
    "compile an encoder, or export it without a cache (use_cache=False)",
)
IMAGE = "is made for images that are convolved; after the patches there are tokens"


@dataclass(frozen=True)
class Refused:
    """What to call an operator that nothing compiles, in any domain."""

    operator: str
    kind: Kind


_BY_OPERATOR = {
    refused.operator: refused.kind
    for refused in (
        Refused("RMSNormalization", RMS_NORM),
        Refused("SimplifiedLayerNormalization", RMS_NORM),
        Refused("SkipSimplifiedLayerNormalization", RMS_NORM),
        Refused("LpNormalization", L2_NORM),
        Refused("RotaryEmbedding", ROTARY),
        Refused("GroupQueryAttention", CACHE),
        Refused("DecoderMaskedMultiHeadAttention", CACHE),
        Refused("LSTM", RECURRENT),
        Refused("GRU", RECURRENT),
        Refused("RNN", RECURRENT),
        Refused("ConvTranspose", Kind("transposed convolution", IMAGE, HOST)),
        Refused("MaxPool", Kind("pooling of images", IMAGE, HOST)),
        Refused("AveragePool", Kind("pooling of images", IMAGE, HOST)),
        Refused("Resize", Kind("resized image", IMAGE, HOST)),
        Refused(
            "GroupNormalization",
            Kind("group normalization", IMAGE, "replace it by LayerNorm over the channels and fine-tune the model"),
        ),
        Refused(
            "InstanceNormalization",
            Kind("instance normalization", IMAGE, "replace it by LayerNorm over the channels and fine-tune the model"),
        ),
    )
}


def _named(operator: str, *names: str) -> bool:
    """Whether the operator of the file that a refused node comes from is one of these."""
    return operator in names


def kind_of(problem: Problem) -> Kind:
    """The kind of obstacle that a refused node is."""
    operator, reason = problem.operator, problem.reason
    known = _BY_OPERATOR.get(operator.rpartition(".")[2])
    if known is not None:
        return known
    if _named(operator, "Conv"):
        return Kind(CONVOLUTION, reason, CONVOLUTION_REMEDY)
    if is_a(problem.node, "Softmax") and problem.refused:
        return Kind("attention in another form", reason, "write attention as softmax(scale * Q K^T + mask of the keys) V")
    if is_a(problem.node, "Softmax"):
        return Kind("softmax inside the network", reason, HOST)
    if _named(operator, *FUSED):
        return CAUSAL if "causal" in reason and "bias" not in reason else Kind("attention in another form", reason, HOST)
    if _named(operator, "MatMul", "Gemm", "Einsum") and reason == NO_OPERATOR:
        return Kind(
            "product of two activations", "both factors depend on the input, and the product is not part of an attention", HOST
        )
    return Kind(operator, reason, HOST)
