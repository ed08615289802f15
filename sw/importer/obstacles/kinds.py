"""What to call, and to do about, a node that is refused for itself: by its operator, or by what the rules say of it."""

from __future__ import annotations

from edgeflow.sw.importer.canonical import NO_OPERATOR, Problem
from edgeflow.sw.importer.obstacles.attention import CAUSAL, FUSED, ROTARY
from edgeflow.sw.importer.obstacles.base import Kind
from edgeflow.sw.importer.obstacles.normalization import L2_NORM, RMS_NORM
from edgeflow.sw.importer.onnx_operators import refusal

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


LAYER_NORM = "replace it by LayerNorm over the channels and fine-tune the model"
_REFUSALS = {
    "RMS norm": RMS_NORM,
    "L2 norm": L2_NORM,
    "rotation": ROTARY,
    "cache": CACHE,
    "recurrence": RECURRENT,
    "upsampling": Kind("transposed convolution", IMAGE, HOST),
    "pooling": Kind("pooling of images", IMAGE, HOST),
    "resizing": Kind("resized image", IMAGE, HOST),
    "group norm": Kind("group normalization", IMAGE, LAYER_NORM),
    "instance norm": Kind("instance normalization", IMAGE, LAYER_NORM),
}
"""By what :func:`edgeflow.sw.importer.onnx_operators.refusal` says of an operator."""


def kind_of(problem: Problem) -> Kind:
    """The kind of obstacle that a refused node is."""
    operator, reason = problem.operator, problem.reason
    known = refusal(operator)
    if known is not None:
        return _REFUSALS[known]
    if operator == "Conv":
        return Kind(CONVOLUTION, reason, CONVOLUTION_REMEDY)
    if problem.node.op_type == "Softmax":
        if problem.refused:
            return Kind("attention in another form", reason, "write attention as softmax(scale * Q K^T + mask of the keys) V")
        return Kind("softmax inside the network", reason, HOST)
    if operator in FUSED:
        return CAUSAL if "causal" in reason and "bias" not in reason else Kind("attention in another form", reason, HOST)
    if operator in ("MatMul", "Gemm", "Einsum") and reason == NO_OPERATOR:
        return Kind(
            "product of two activations", "both factors depend on the input, and the product is not part of an attention", HOST
        )
    return Kind(operator, reason, HOST)
