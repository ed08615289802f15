"""Patches of an image as rows: the im2col of a convolution whose stride is its kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeflow.hw.graph import Format, IntArray
from edgeflow.hw.ops.base import (
    Array,
    Case,
    Constants,
    Instruction,
    Kernel,
    LoweringContext,
    Port,
    draw,
    register,
)
from edgeflow.hw.ops.movement import MoveOperator, Source, Target, move, strides


@register
@dataclass(frozen=True)
class Patches(MoveOperator):
    """Input: an image ``(C, H, W)``. Output ``(floor(H / kernel_h) * floor(W / kernel_w), C * kernel_h * kernel_w)``: a row for
    each patch, row-major, with columns in the order channel, row, column of the patch. What is left
    over at the lower and right edge is dropped.
    """

    kernel_h: int
    kernel_w: int

    name: ClassVar[str] = "patches"
    ports: ClassVar[tuple[Port, ...]] = (Port("image"),)

    def infer(self, inputs: Sequence[Format]) -> Format:
        image = inputs[0]
        if len(image.shape) != 3:
            raise ValueError(f"the image {image.shape} must have three axes: channels, height, width")
        channels, height, width = image.shape
        if not 1 <= self.kernel_h <= height or not 1 <= self.kernel_w <= width:
            raise ValueError(f"patches of {self.kernel_h} x {self.kernel_w} do not fit an image of {height} x {width}")
        tokens = (height // self.kernel_h) * (width // self.kernel_w)
        return Format((tokens, channels * self.kernel_h * self.kernel_w), image.bits, image.signed)

    def reference(self, inputs: Sequence[IntArray]) -> IntArray:
        return self._patches(inputs[0])

    def kernel(self, inputs: Sequence[Format], constants: Constants) -> Kernel:
        return lambda activations: self._patches(activations[0])

    def _patches(self, x: Array) -> Array:
        samples, channels, height, width = x.shape
        h, w = height // self.kernel_h, width // self.kernel_w
        whole = x[:, :, : h * self.kernel_h, : w * self.kernel_w]
        split = whole.reshape(samples, channels, h, self.kernel_h, w, self.kernel_w)
        return split.transpose(0, 2, 4, 1, 3, 5).reshape(samples, h * w, channels * self.kernel_h * self.kernel_w)

    def lower(self, inputs: Sequence[Format], constants: Constants, context: LoweringContext) -> list[Instruction]:
        image, out = inputs[0], self.infer(inputs)
        context.require(not constants, "the image is a constant: fold the patches")
        channels, height, width = image.shape
        plane, line, _ = strides(image)
        loops = [
            (height // self.kernel_h, self.kernel_h * line),
            (width // self.kernel_w, self.kernel_w),
            (channels, plane),
            (self.kernel_h, line),
            (self.kernel_w, 1),
        ]
        target = Target(context.output_address(), out, out.rows, out.channels)
        return [move(Source(context.address(0), False), loops, target, context.architecture)]

    @classmethod
    def cases(cls, rng: np.random.Generator) -> list[Case]:
        made = []
        for shape, kernel, bits, signed in [
            ((1, 28, 28), (4, 4), 8, False),
            ((3, 32, 48), (16, 16), 8, True),
            ((2, 17, 13), (5, 3), 8, False),
            ((3, 8, 8), (2, 4), 16, True),
            ((4, 3, 3), (1, 1), 8, True),
            ((1, 5, 70), (5, 70), 8, True),
        ]:
            x = Format(shape, bits, signed)
            data = draw(rng, x, 2)
            made.append(Case(f"{kernel[0]}x{kernel[1]} of {shape}", cls(*kernel), (x,), (data,), frozenset()))
        return made
