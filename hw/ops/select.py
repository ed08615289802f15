"""A slice of one axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeflow.hw.architecture import ROW_ELEMENTS, storage_bytes
from edgeflow.hw.arrays import Array, IntArray
from edgeflow.hw.graph import Format
from edgeflow.hw.ops.base import Case, Constants, Instruction, Kernel, LoweringContext, Port, draw, register
from edgeflow.hw.ops.movement import MoveOperator, Target, move, strides


@register
@dataclass(frozen=True)
class Select(MoveOperator):
    """Input ``x``; output ``x[..., start:stop, ...]`` along ``axis``, which ``squeeze`` drops (then ``stop`` is ``start + 1``)."""

    axis: int
    start: int
    stop: int
    squeeze: bool

    name: ClassVar[str] = "select"
    ports: ClassVar[tuple[Port, ...]] = (Port("x"),)

    def infer(self, inputs: Sequence[Format]) -> Format:
        x = inputs[0]
        if not 0 <= self.axis < len(x.shape):
            raise ValueError(f"axis must lie between 0 and {len(x.shape) - 1}, not {self.axis}")
        if not 0 <= self.start < self.stop <= x.shape[self.axis]:
            raise ValueError(f"the slice {self.start}:{self.stop} must lie inside axis {self.axis} of {x.shape} and not be empty")
        if self.squeeze and self.stop != self.start + 1:
            raise ValueError(f"only a slice of one element can lose its axis, not {self.start}:{self.stop}")
        kept = () if self.squeeze else (self.stop - self.start,)
        return Format((*x.shape[: self.axis], *kept, *x.shape[self.axis + 1 :]), x.bits, x.signed)

    def reference(self, inputs: Sequence[IntArray]) -> IntArray:
        return self._slice(inputs[0])

    def kernel(self, inputs: Sequence[Format], constants: Constants) -> Kernel:
        return lambda activations: self._slice(activations[0])

    def _slice(self, x: Array) -> Array:
        axes = (slice(None),) * (self.axis + 1)
        return x[(*axes, self.start if self.squeeze else slice(self.start, self.stop))]

    def view(self, inputs: Sequence[Format]) -> int | None:
        """Whole rows that lie together, or a line-aligned part of a single row."""
        x = inputs[0]
        if math.prod(x.shape[: self.axis]) != 1:
            return None
        first = self.start * strides(x)[self.axis]
        lines, rest = divmod(first, ROW_ELEMENTS)
        return None if rest else lines * storage_bytes(x.bits)

    def lower(self, inputs: Sequence[Format], constants: Constants, context: LoweringContext) -> list[Instruction]:
        x, out = inputs[0], self.movable(inputs, constants, context)
        context.require(not constants, "the input is a constant: fold the selection")
        steps = strides(x)
        loops = [(self.stop - self.start if i == self.axis else size, steps[i]) for i, size in enumerate(x.shape)]
        target = Target(context.output_address(), out, out.rows, out.channels)
        return [move(context.address(0), self.start * steps[self.axis], loops, target)]

    @classmethod
    def cases(cls, rng: np.random.Generator) -> list[Case]:
        cases = []
        for shape, bits, signed, op in [
            ((50, 96), 16, True, cls(0, 0, 1, True)),
            ((50, 96), 8, True, cls(0, 1, 50, False)),
            ((5, 200), 8, True, cls(1, 64, 128, False)),
            ((5, 200), 16, False, cls(1, 3, 90, False)),
            ((5, 48), 8, False, cls(1, 16, 48, False)),
            ((5, 9), 8, True, cls(1, 8, 9, True)),
            ((4, 3, 20), 8, True, cls(1, 1, 3, False)),
            ((4, 3, 20), 16, True, cls(1, 2, 3, True)),
            ((2, 3, 4, 70), 8, True, cls(3, 69, 70, True)),
            ((130,), 16, False, cls(0, 64, 67, False)),
        ]:
            x = Format(shape, bits, signed)
            data = draw(rng, x, 2)
            name = f"{op.start}:{op.stop} of axis {op.axis} of {shape}"
            cases.append(Case(name, op, (x,), (data,), frozenset()))
        return cases
