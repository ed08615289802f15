"""Patch embedding: a convolution whose kernel is its stride."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter.pattern import MatchResult

from edgeflow.sw.rewrite.base import DOMAIN, Rule, constant, initializer, shape_of, typed
from edgeflow.sw.rewrite.view import make_view


class ConvToPatchEmbed(Rule):
    """2-D ``Conv`` with stride = kernel, no padding, dilation or groups -> ``edgeflow::PatchEmbed`` seen as (batch, D, h, w)."""

    def pattern(self, op: Any, image: Any, weight: Any) -> Any:
        return op.Conv(image, weight, _allow_other_inputs=True)

    def check(self, context: Any, image: ir.Value, weight: ir.Value) -> MatchResult:
        node = context.root
        kernel = constant(weight)
        if kernel is None or kernel.ndim != 4:
            return self.refuse("only 2-D convolutions with constant weights are supported", node)
        height, width = kernel.shape[2:]
        attributes = node.attributes
        strides = tuple(attributes["strides"].as_ints()) if "strides" in attributes else (1, 1)
        pads = tuple(attributes["pads"].as_ints()) if "pads" in attributes else (0, 0, 0, 0)
        dilations = tuple(attributes["dilations"].as_ints()) if "dilations" in attributes else (1, 1)
        if strides != (height, width):
            return self.refuse(f"kernel {height}x{width} with stride {strides}: only stride = kernel is supported", node)
        whole = shape_of(image)[2] % height == 0 and shape_of(image)[3] % width == 0
        padding = attributes.get_string("auto_pad", "NOTSET")
        if any(pads) or (padding not in ("NOTSET", "VALID") and not whole):
            return self.refuse("it pads the image", node)
        if dilations != (1, 1) or attributes.get_int("group", 1) != 1:
            return self.refuse("it is dilated or grouped", node)
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        vector = np.zeros(kernel.shape[0], np.float32) if bias is None else constant(bias)
        if vector is None:
            return self.refuse("its bias is not constant", node)
        self.kernel, self.bias, self.root = kernel, vector, node
        return self.accept()

    def rewrite(self, op: Any, image: ir.Value, weight: ir.Value) -> ir.Value:
        shape = shape_of(self.root.outputs[0])
        batch, channels, tokens = shape[0], shape[1], math.prod(shape[2:])
        value: ir.Value = op.PatchEmbed(
            image,
            initializer(self.kernel, "weight"),
            initializer(self.bias, "bias"),
            kernel=[int(size) for size in self.kernel.shape[2:]],
            _domain=DOMAIN,
        )
        typed(value, (batch, tokens, channels), image)
        index = np.arange(batch * tokens * channels).reshape(batch, tokens, channels).transpose(0, 2, 1)
        return make_view(op, value, index, shape)
