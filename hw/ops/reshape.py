"""The same elements in the same order under another shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeflow.hw.architecture import ROW_ELEMENTS
from edgeflow.hw.arrays import IntArray
from edgeflow.hw.graph import Format
from edgeflow.hw.ops.base import (
    Case,
    Constants,
    Instruction,
    Kernel,
    LoweringContext,
    Port,
    draw,
    register,
)
from edgeflow.hw.ops.movement import MoveOperator, Target, move, strides


@register
@dataclass(frozen=True)
class Reshape(MoveOperator):
    """Input ``x``; output of ``shape``, which has as many elements."""

    shape: tuple[int, ...]

    name: ClassVar[str] = "reshape"
    ports: ClassVar[tuple[Port, ...]] = (Port("x"),)

    def infer(self, inputs: Sequence[Format]) -> Format:
        x = inputs[0]
        if any(size < 1 for size in self.shape) or math.prod(self.shape) != math.prod(x.shape):
            raise ValueError(f"the shape {self.shape} must have the {math.prod(x.shape)} elements of {x.shape}")
        return Format(self.shape, x.bits, x.signed)

    def reference(self, inputs: Sequence[IntArray]) -> IntArray:
        return inputs[0].reshape(inputs[0].shape[0], *self.shape)

    def kernel(self, inputs: Sequence[Format], constants: Constants) -> Kernel:
        return lambda activations: activations[0].reshape(activations[0].shape[0], *self.shape)

    def view(self, inputs: Sequence[Format]) -> int | None:
        """0, the input that the output shares its memory with, where rows keep their length or have no padding; else None."""
        x, out = inputs[0].channels, self.infer(inputs).channels
        return 0 if x == out or (x % ROW_ELEMENTS == 0 and out % ROW_ELEMENTS == 0) else None

    def lower(self, inputs: Sequence[Format], constants: Constants, context: LoweringContext) -> list[Instruction]:
        x, out = inputs[0], self.movable(inputs, constants, context)
        context.require(not constants, "the input is a constant: fold the reshape")
        loops = list(zip(x.shape, strides(x), strict=True))
        return [move(context.address(0), 0, loops, Target(context.output_address(), out, out.rows, out.channels))]

    @classmethod
    def cases(cls, rng: np.random.Generator) -> list[Case]:
        cases = []
        for shape, new, bits, signed in [
            ((49, 96), (49, 3, 32), 8, True),
            ((3, 7, 20), (3, 140), 16, True),
            ((5, 64), (320,), 8, False),
            ((6, 10), (4, 15), 8, False),
            ((33,), (33, 1), 8, True),
            ((2, 3, 4, 5), (120,), 16, False),
            ((1, 70), (70,), 16, False),
            ((4, 128), (8, 64), 16, True),
            ((4, 32), (8, 16), 16, True),
        ]:
            x = Format(shape, bits, signed)
            data = draw(rng, x, 2)
            cases.append(Case(f"{shape} to {new}", cls(new), (x,), (data,), frozenset()))
        return cases
