"""Patch embedding: a convolution whose kernel is its stride."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeflow.hw.arrays import Array
from edgeflow.quant.canonical.inputs import integers_of
from edgeflow.sw.rewrite.base import DOMAIN, Refused, Rule, constant, either_order, initializer, produced_by, shape_of, typed
from edgeflow.sw.rewrite.view import make_view, trace


@dataclasses.dataclass(frozen=True)
class Patches:
    """A convolution of patches side by side; ``kernel``: of two axes, the first of 1 where the signal has one; ``shape``: of its
    result."""

    image: ir.Value
    kernel: Array
    bias: Array
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Rescaled:
    """A patch embedding ``node`` of an ``image`` of integers, with the scaling of the image in ``kernel`` and ``bias``."""

    node: ir.Node
    image: ir.Value
    kernel: Array
    bias: Array


class IntegersToPatchEmbed(Rule[Rescaled]):
    """``PatchEmbed(x * a + b)`` of an input of integers -> ``PatchEmbed(x)`` with a and b, of one number or one a channel, in its
    weights and bias: the layer reads the integers exactly."""

    def pattern(self, op: Any, image: Any, weight: Any, bias: Any) -> Any:
        return op.PatchEmbed(image, weight, bias, _domain=DOMAIN)

    def check(self, node: ir.Node, image: ir.Value, weight: ir.Value, bias: ir.Value) -> Rescaled | Refused:
        kernel, offset = constant(weight), constant(bias)
        if kernel is None or offset is None:
            return self.refuse("its weights are computed")
        kernel, offset, x = kernel.astype(np.float64), offset.astype(np.float64), image
        while (step := _by_channel(x)) is not None:
            x, number, adds = step
            if adds:
                offset = offset + np.einsum("dchw,c->d", kernel, np.broadcast_to(number, kernel.shape[1]))
            else:
                kernel = kernel * number[:, None, None]
        if x is image or integers_of(trace(x).value) is None:
            return self.refuse("no input of integers is scaled above it")
        return Rescaled(node, x, kernel.astype(np.float32), offset.astype(np.float32))

    def rewrite(self, op: Any, match: Rescaled) -> ir.Value:
        value: ir.Value = op.PatchEmbed(
            match.image,
            initializer(match.kernel, "weight"),
            initializer(match.bias, "bias"),
            kernel=[int(size) for size in match.kernel.shape[2:]],
            _domain=DOMAIN,
        )
        return typed(value, shape_of(match.node.outputs[0]), match.image)


def _by_channel(value: ir.Value) -> tuple[ir.Value, Array, bool] | None:
    """x, c (one number, or one a channel) and whether it is added, of an image ``x * c`` or ``x + c`` of the shape of x."""
    for x, other in either_order(produced_by(value, "Mul", "Add")):
        number = constant(other)
        if number is None or shape_of(x) != shape_of(value):
            continue
        channels = shape_of(x)[1]
        if number.size == 1 or (number.size == channels and number.ndim in (3, 4) and number.shape[-3:] == (channels, 1, 1)):
            return x, number.reshape(-1).astype(np.float64), produced_by(value, "Add") is not None
    return None


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
