"""Concatenation along the first axis (tokens) or the last (channels)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeflow.hw.architecture import row_lines
from edgeflow.hw.arrays import Array, IntArray
from edgeflow.hw.graph import Format
from edgeflow.hw.ops.base import Case, Constants, Instruction, Kernel, LoweringContext, Port, draw, register
from edgeflow.hw.ops.movement import MoveOperator, Target, move, move_constant, strides
from edgeflow.hw.ops.rows import RowSplit

PARTS = 16


@register
@dataclass(frozen=True)
class Concat(MoveOperator):
    """Inputs: 1 to 16 tensors of one integer format that differ in the size of ``axis`` only, some of them constants. ``axis`` is
    the first or the last.

    Output: the inputs one after another along ``axis``.
    """

    axis: int

    name: ClassVar[str] = "concat"
    joins: ClassVar[bool] = True
    ports: ClassVar[tuple[Port, ...]] = tuple(Port(f"part {i}", optional=i > 0) for i in range(PARTS))

    def infer(self, inputs: Sequence[Format]) -> Format:
        first = inputs[0]
        rank, axis = len(first.shape), self.axis
        if not 1 <= len(inputs) <= PARTS:
            raise ValueError(f"a concatenation takes 1 to {PARTS} inputs, not {len(inputs)}")
        if rank == 0 or axis not in (0, rank - 1):
            raise ValueError(f"axis must be the first or the last of {rank}, not {axis}")
        for f in inputs[1:]:
            if (f.bits, f.signed) != (first.bits, first.signed):
                raise ValueError("the inputs of a concatenation must have one integer format: requantize them first")
            if len(f.shape) != rank or f.shape[:axis] != first.shape[:axis] or f.shape[axis + 1 :] != first.shape[axis + 1 :]:
                raise ValueError(f"shapes {first.shape} and {f.shape} must differ in axis {axis} only")
        size = sum(f.shape[axis] for f in inputs)
        return Format((*first.shape[:axis], size, *first.shape[axis + 1 :]), first.bits, first.signed)

    def reference(self, inputs: Sequence[IntArray]) -> IntArray:
        return self._joined(inputs)

    def kernel(self, inputs: Sequence[Format], constants: Constants) -> Kernel:
        if len(constants) == len(inputs):
            raise ValueError("every input of the concatenation is a constant: fold it")
        carrier = np.float32 if inputs[0].bits <= 24 else np.int64
        fixed = {i: value.astype(carrier) for i, value in constants.items()}

        def run(activations: Sequence[Array]) -> Array:
            remaining = iter(activations)
            return self._joined([fixed[i] if i in fixed else next(remaining) for i in range(len(inputs))])

        return run

    def _joined(self, parts: Sequence[Array]) -> Array:
        """Concatenates along the axis after the samples'; constants (which lack that axis) are repeated for every sample."""
        rank = max(part.ndim for part in parts)
        samples = next(part.shape[0] for part in parts if part.ndim == rank)
        whole = [part if part.ndim == rank else np.broadcast_to(part, (samples, *part.shape)) for part in parts]
        return np.concatenate(whole, axis=self.axis + 1)

    def row_split(self, inputs: Sequence[Format], constants: Collection[int]) -> RowSplit | None:
        if self.axis != 0 or len(inputs[0].shape) == 1:
            return None
        return RowSplit(self.infer(inputs).rows, tuple(i for i in range(len(inputs)) if i not in constants), copies=True)

    def lower(self, inputs: Sequence[Format], constants: Constants, context: LoweringContext) -> list[Instruction]:
        out = self.movable(inputs, constants, context)
        context.require(len(constants) < len(inputs), "every input is a constant: fold the concatenation")
        channels = self.axis == len(out.shape) - 1
        line = context.output_address()
        moves, start = [], 0
        for i, f in enumerate(inputs):
            there = line + start * row_lines(out.channels, out.bits)
            if channels:
                target = Target(line, out, f.rows, f.channels, column=start)
                start += f.channels
            else:
                target = Target(line, out, f.rows, f.channels, row=start)
                start += f.rows
            if i in constants:
                moves.append(move_constant(f"part {i}", constants[i], target, context))
            elif channels or context.address(i) != there:  # rows may lie in their place already
                moves.append(move(context.address(i), 0, list(zip(f.shape, strides(f), strict=True)), target))
        return moves

    @classmethod
    def cases(cls, rng: np.random.Generator) -> list[Case]:
        cases = []
        drawn: list[tuple[str, int, list[tuple[int, ...]], int, bool, set[int]]] = [
            ("class token", 0, [(1, 96), (49, 96)], 16, True, {0}),
            ("tokens", 0, [(3, 40), (1, 40), (5, 40)], 8, True, set()),
            ("maps", 0, [(2, 3, 7), (1, 3, 7)], 8, False, {1}),
            ("words of channels", 1, [(5, 64), (5, 32), (5, 48)], 8, True, set()),
            ("odd channels", 1, [(4, 3), (4, 1), (4, 70), (4, 5)], 8, False, {1, 3}),
            ("wide odd channels", 1, [(4, 13), (4, 200), (4, 7)], 16, True, {2}),
            ("one row", 0, [(5,), (61,), (3,)], 16, True, set()),
            ("three rows in one", 0, [(3,), (2,), (65,)], 12, False, {1}),
            ("alone", 2, [(2, 3, 9)], 8, True, set()),
        ]
        for name, axis, shapes, bits, signed, constants in drawn:
            formats = tuple(Format(shape, bits, signed) for shape in shapes)
            inputs = tuple(draw(rng, f, None if i in constants else 2) for i, f in enumerate(formats))
            cases.append(Case(name, cls(axis), formats, inputs, frozenset(constants)))
        return cases
