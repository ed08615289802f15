"""Patches of an image as rows: the im2col of a convolution whose stride is its kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeflow.hw import field_widths, primitives
from edgeflow.hw.architecture import LINE_BYTES, NIBBLES, Architecture, row_lines, storage_bytes
from edgeflow.hw.arrays import Array, IntArray
from edgeflow.hw.cost import Cycles, Loop, Resources
from edgeflow.hw.graph import Format
from edgeflow.hw.ops.base import (
    Case,
    Constants,
    Instruction,
    InstructionLayout,
    Kernel,
    LoweringContext,
    Operator,
    Port,
    Register,
    VectorUnit,
    draw,
    of_width,
    register,
)
from edgeflow.hw.ops.vector import AXI_DEPTH, SCRATCH_WRITE_DEPTH, check_on_chip

ADDRESS_BITS = field_widths.BYTE_ADDRESS.bits
QUEUE_WORDS = 64  # between reading and writing
QUEUE_DEPTH = 2  # cycles through the queue
ROTATE_DEPTH = 2  # stages of a word's rotation

PATCHES = InstructionLayout(
    "patches",
    13,
    (
        *("image", "words", "steps"),
        *of_width(field_widths.COUNT, "row_words", "height", "across", "down", "kernel_rows", "patch_bytes"),
        *("y", "y_stride", "down_step", "channel_step"),
    ),
    arguments=("memory", "scratch"),
)


@register
@dataclass(frozen=True)
class Patches(VectorUnit, Operator):
    """Input: an image ``(C, H, W)`` in external memory. Output ``(floor(H / kernel_h) * floor(W / kernel_w), C * kernel_h *
    kernel_w)``: a row for each patch, row-major, with columns in the order channel, row, column of the patch. What is left over at
    the lower and right edge is dropped.
    """

    kernel_h: int
    kernel_w: int

    name: ClassVar[str] = "patches"
    header: ClassVar[str] = "patches.hpp"
    reads_lines: ClassVar[bool] = False
    instruction: ClassVar[InstructionLayout] = PATCHES
    counters: ClassVar[tuple[str, ...]] = ("patches", "patches words")
    ports: ClassVar[tuple[Port, ...]] = (Port("image", external=True),)

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

    def registers(self, inputs: Sequence[Format], constants: Constants) -> tuple[Register, ...]:
        return ()

    def macs(self, inputs: Sequence[Format]) -> int:
        return 0

    def demands(self, inputs: Sequence[Format]) -> dict[str, int]:
        return {}

    def pieces(self, image: Format, word_bytes: int) -> int:
        """Cycles of the instruction: pieces of the image that end with a word, a patch's row or a line of the target."""
        channels, height, width = image.shape
        size = storage_bytes(image.bits)
        patch = self.kernel_w * size
        row = np.arange(row_lines(width, image.bits) * LINE_BYTES)
        words = row % word_bytes == 0
        useful = row < width // self.kernel_w * patch
        ends = words | (row % patch == 0) & (row <= width // self.kernel_w * patch)
        # The first column of each row of a patch; a target row starts with a line.
        columns = np.arange(channels * self.kernel_h)[:, None] * patch
        used = ends | useful & ((columns + row % patch) % LINE_BYTES == 0)
        down = height // self.kernel_h
        dropped = channels * (height - down * self.kernel_h)
        return down * int(np.count_nonzero(used)) + dropped * int(np.count_nonzero(words))

    def lower(self, inputs: Sequence[Format], constants: Constants, context: LoweringContext) -> list[Instruction]:
        image, out = inputs[0], self.infer(inputs)
        context.require(not constants, "the image is a constant: fold the patches")
        check_on_chip(context, out, "patches")
        context.require(context.output_storage() != NIBBLES, "only linear layers write two rows to a line")
        channels, height, width = image.shape
        size, word_bytes = storage_bytes(image.bits), context.architecture.word_bytes
        row_words = row_lines(width, image.bits) * LINE_BYTES // word_bytes
        stride = row_lines(out.channels, out.bits) * LINE_BYTES
        patch = self.kernel_w * size
        for what, value in (("rows", height), ("words a row", row_words), ("bytes a row of a patch", patch)):
            context.require(value < 1 << 16, f"an image with {value} {what} exceeds the counters of the unit, of 16 bits")
        across = width // self.kernel_w
        values = {
            "image": context.address(0),
            "words": channels * height * row_words,
            "steps": self.pieces(image, word_bytes),
            "row_words": row_words,
            "height": height,
            "across": across,
            "down": height // self.kernel_h,
            "kernel_rows": self.kernel_h,
            "patch_bytes": patch,
            "y": context.output_address(),
            "y_stride": stride,
            "down_step": across * stride - (self.kernel_h - 1) * patch,
            "channel_step": self.kernel_h * patch,
        }
        return [Instruction(PATCHES, values)]

    @classmethod
    def template_arguments(cls, architecture: Architecture) -> dict[str, int]:
        return {}

    @classmethod
    def cycles(cls, values: Mapping[str, int], architecture: Architecture) -> Cycles:
        """A piece a cycle, from the first word of the burst on. A word has at least one piece, so reading keeps up; where it has
        more, the port is counted as busy for all of them."""
        depth = AXI_DEPTH + QUEUE_DEPTH + ROTATE_DEPTH + SCRATCH_WRITE_DEPTH
        return Cycles({"patches": Loop(values["steps"], 1, 1, depth, "read")}, inside={"patches words": values["words"]})

    @classmethod
    def resources(cls, architecture: Architecture) -> Resources:
        """No multiplier and no block memory.

        LUTs: the queue of words, the rotation of a word by bytes, the adders and choices of four byte addresses and their
        next, counters of 16 bits with their comparisons (four), the bytes left and the three sizes of which the smallest is taken,
        and two comparisons with constants for every byte's write enable (a LUT each, six bits). Registers: a word in each
        stage, addresses and counters.
        """
        a, count, length = architecture, field_widths.COUNT.bits, field_widths.LINE_LENGTH.bits
        address = primitives.adder_luts(ADDRESS_BITS) + primitives.mux_luts(4, ADDRESS_BITS)
        counter = primitives.adder_luts(count) + primitives.comparator_luts(count)
        sizes = 2 * primitives.adder_luts(count) + 3 * (primitives.adder_luts(length) + primitives.comparator_luts(length))
        lut = primitives.queue(a.axi_bits, QUEUE_WORDS, a.dsp_bits).lut + primitives.rotator_luts(
            a.word_bytes, field_widths.BYTE.bits
        )
        lut += 4 * address + 6 * counter + sizes + 2 * LINE_BYTES
        stages = QUEUE_DEPTH + ROTATE_DEPTH + SCRATCH_WRITE_DEPTH
        ff = stages * (a.axi_bits + ADDRESS_BITS + length) + 4 * ADDRESS_BITS + 6 * count
        return Resources(0, lut, ff, 0, 0)

    @classmethod
    def cases(cls, rng: np.random.Generator) -> list[Case]:
        cases = []
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
            cases.append(Case(f"{kernel[0]}x{kernel[1]} of {shape}", cls(*kernel), (x,), (data,), frozenset()))
        return cases
