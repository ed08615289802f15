"""Patch embedding: a convolution whose kernel is its stride."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeflow.hw.arrays import Array
from edgeflow.sw.rewrite.base import DOMAIN, Refused, Rule, constant, initializer, shape_of, typed
from edgeflow.sw.rewrite.view import make_view


@dataclasses.dataclass(frozen=True)
class Patches:
    """A convolution of patches side by side; ``kernel``: of two axes, the first of 1 where the signal has one; ``shape``: of its
    result."""

    image: ir.Value
    kernel: Array
    bias: Array
    shape: tuple[int, ...]


class ConvToPatchEmbed(Rule[Patches]):
    """``Conv`` with stride = kernel, no padding, dilation or groups -> ``edgeflow::PatchEmbed`` seen as (batch, D, h, w).

    A signal (batch, C, length) is an image of one row.
    """

    def pattern(self, op: Any, image: Any, weight: Any) -> Any:
        return op.Conv(image, weight, _allow_other_inputs=True)

    def check(self, node: ir.Node, image: ir.Value, weight: ir.Value) -> Patches | Refused:
        kernel = constant(weight)
        if kernel is None or kernel.ndim not in (3, 4):
            return self.refuse("only convolutions over one or two axes with constant weights are supported", node)
        sizes, ones = kernel.shape[2:], (1,) * (kernel.ndim - 2)
        attributes = node.attributes
        strides = tuple(attributes["strides"].as_ints()) if "strides" in attributes else ones
        pads = tuple(attributes["pads"].as_ints()) if "pads" in attributes else ()
        dilations = tuple(attributes["dilations"].as_ints()) if "dilations" in attributes else ones
        if strides != sizes:
            size, stride = ("x".join(map(str, lengths)) for lengths in (sizes, strides))
            return self.refuse(f"kernel {size} with stride {stride}: only stride = kernel is supported", node)
        whole = all(length % size == 0 for length, size in zip(shape_of(image)[2:], sizes, strict=True))
        padding = attributes.get_string("auto_pad", "NOTSET")
        if any(pads) or (padding not in ("NOTSET", "VALID") and not whole):
            return self.refuse(f"it pads the {'image' if kernel.ndim == 4 else 'signal'}", node)
        if dilations != ones or attributes.get_int("group", 1) != 1:
            return self.refuse("it is dilated or grouped", node)
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        vector = np.zeros(kernel.shape[0], np.float32) if bias is None else constant(bias)
        if vector is None:
            return self.refuse("its bias is not constant", node)
        kernel = kernel.reshape(*kernel.shape[:2], -1, kernel.shape[-1])
        return Patches(image, kernel, vector, shape_of(node.outputs[0]))

    def rewrite(self, op: Any, match: Patches) -> ir.Value:
        batch, channels, *rows_and_columns = match.shape
        tokens = math.prod(rows_and_columns)
        image = match.image
        if len(match.shape) == 3:
            size, channels_in, length = shape_of(image)
            image = make_view(op, image, None, (size, channels_in, 1, length))
        value: ir.Value = op.PatchEmbed(
            image,
            initializer(match.kernel, "weight"),
            initializer(match.bias, "bias"),
            kernel=[int(size) for size in match.kernel.shape[2:]],
            _domain=DOMAIN,
        )
        typed(value, (batch, tokens, channels), match.image)
        index = np.arange(batch * tokens * channels).reshape(batch, tokens, channels).transpose(0, 2, 1)
        return make_view(op, value, index, match.shape)
