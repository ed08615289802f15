"""Position embedding: rows of an int8 table by a token's position among the tokens that are not padding."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeflow.hw import cpp_widths as widths
from edgeflow.hw.architecture import LINE_BYTES, storage_bytes
from edgeflow.hw.arrays import Array, IntArray
from edgeflow.hw.graph import Format
from edgeflow.hw.ops.base import Case, Constants, Kernel, LoweringContext, Register, register
from edgeflow.hw.ops.embedding import IDS, Embedding


def positions(ids: IntArray, padding: int) -> IntArray:
    """Position of every id (..., tokens): ``padding + n`` for the n-th that is not ``padding``, and ``padding`` for those that are.

    That is ``create_position_ids_from_input_ids`` of fairseq and of Hugging Face's RoBERTa.
    """
    kept = ids != padding
    return np.where(kept, padding + np.cumsum(kept, axis=-1), padding)


@register
@dataclass(frozen=True)
class PositionEmbedding(Embedding):
    """Inputs: ``ids (S,)``, ``table (V, D)`` and ``multiplier (V,)`` as those of an embedding. Output ``(S, D)`` of ``bits``,
    ``signed``.

    ``p_t`` by :func:`positions`; ``i = min(p_t, V - 1)``, ``y_t = sat(rq(table[i], multiplier[i], shift))``.
    """

    padding: int

    name: ClassVar[str] = "position_embedding"

    def infer(self, inputs: Sequence[Format]) -> Format:
        out, ids = super().infer(inputs), inputs[IDS]
        if not 0 <= self.padding <= ids.maximum:
            raise ValueError(f"the padding must be an id of {ids.bits} bits, not {self.padding}")
        return out

    def reference(self, inputs: Sequence[IntArray]) -> IntArray:
        return super().reference([positions(inputs[IDS], self.padding), *inputs[1:]])

    def kernel(self, inputs: Sequence[Format], constants: Constants) -> Kernel:
        gather = super().kernel(inputs, constants)

        def run(activations: Sequence[Array]) -> Array:
            return gather([positions(activations[IDS].astype(np.int64), self.padding)])

        return run

    def registers(self, inputs: Sequence[Format], constants: Constants) -> tuple[Register, ...]:
        position = Register("position", widths.TOKEN_ID, self.padding, self.padding + inputs[IDS].channels)
        return (*super().registers(inputs, constants), position)

    def rows_read(self, ids: Format, context: LoweringContext) -> dict[str, int]:
        """A block of rows reads the ids of those before it, too, to count them."""
        before = context.first_row
        lines = before * storage_bytes(ids.bits) // LINE_BYTES
        tokens = before + ids.channels
        return {"ids": context.address(IDS) - lines, "tokens": tokens, "before": before, "counted": 1, "padding": self.padding}

    @classmethod
    def cases(cls, rng: np.random.Generator) -> list[Case]:
        cases = []
        for number, case in enumerate(Embedding.cases(rng)):
            ids = case.inputs[IDS].copy()
            padding = (0, 1, 3)[number % 3]
            ids[rng.random(ids.shape) < 0.3] = padding  # also between other tokens
            ids[-1, ids.shape[-1] // 2 :] = padding
            op = cls(**{f.name: getattr(case.operator, f.name) for f in dataclasses.fields(Embedding)}, padding=padding)
            cases.append(dataclasses.replace(case, operator=op, inputs=(ids, *case.inputs[1:])))
        return cases
