"""Axes in another order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeflow.hw.arrays import Array, IntArray
from edgeflow.hw.graph import Format
from edgeflow.hw.ops.base import Case, Constants, Instruction, Kernel, LoweringContext, Port, draw, register
from edgeflow.hw.ops.movement import MoveOperator, Target, move, strides

MAXIMUM_RANK = 4


@register
@dataclass(frozen=True)
class Transpose(MoveOperator):
    """Input ``x`` of at most four axes; output axis ``i`` is input axis ``permutation[i]``."""

    permutation: tuple[int, ...]

    name: ClassVar[str] = "transpose"
    ports: ClassVar[tuple[Port, ...]] = (Port("x"),)

    def infer(self, inputs: Sequence[Format]) -> Format:
        x = inputs[0]
        if len(x.shape) > MAXIMUM_RANK:
            raise ValueError(f"a transposition has at most {MAXIMUM_RANK} axes, not {len(x.shape)}")
        if sorted(self.permutation) != list(range(len(x.shape))):
            raise ValueError(f"the permutation {self.permutation} must name each of {len(x.shape)} axes once")
        return Format(tuple(x.shape[axis] for axis in self.permutation), x.bits, x.signed)

    def reference(self, inputs: Sequence[IntArray]) -> IntArray:
        return self._permuted(inputs[0])

    def kernel(self, inputs: Sequence[Format], constants: Constants) -> Kernel:
        return lambda activations: np.ascontiguousarray(self._permuted(activations[0]))

    def _permuted(self, x: Array) -> Array:
        return x.transpose(0, *(axis + 1 for axis in self.permutation))

    def view(self, inputs: Sequence[Format]) -> int | None:
        """0, the input whose memory the output shares, where only axes of size 1 move and rows keep their length; else None."""
        x = inputs[0]
        order = [axis for axis in self.permutation if x.shape[axis] != 1]
        return 0 if order == sorted(order) and self.infer(inputs).channels == x.channels else None

    def lower(self, inputs: Sequence[Format], constants: Constants, context: LoweringContext) -> list[Instruction]:
        x, out = inputs[0], self.movable(inputs, constants, context)
        context.require(not constants, "the input is a constant: fold the transposition")
        steps = strides(x)
        loops = [(x.shape[axis], steps[axis]) for axis in self.permutation]
        return [move(context.address(0), 0, loops, Target(context.output_address(), out, out.rows, out.channels))]

    @classmethod
    def cases(cls, rng: np.random.Generator) -> list[Case]:
        cases = []
        for shape, permutation, bits, signed in [
            ((5, 70), (1, 0), 8, True),
            ((7, 3, 32), (1, 0, 2), 8, True),
            ((7, 3, 20), (1, 0, 2), 16, False),
            ((7, 3, 20), (0, 2, 1), 16, True),
            ((2, 3, 5, 9), (3, 1, 0, 2), 8, False),
            ((1, 6, 40), (1, 0, 2), 8, True),
            ((3, 4, 5), (2, 1, 0), 16, False),
            ((9,), (0,), 8, True),
        ]:
            x = Format(shape, bits, signed)
            data = draw(rng, x, 2)
            cases.append(Case(f"{shape} by {permutation}", cls(permutation), (x,), (data,), frozenset()))
        return cases
