"""Position embeddings whose ids a model counts itself: the tokens so far that are not padding."""

from __future__ import annotations

import dataclasses
from typing import Any

import onnx_ir as ir

from edgeflow.sw.rewrite.base import DOMAIN, Refused, Rule, constant, either_order, produced_by, scalar, shape_of, typed


def _without_cast(value: ir.Value | None) -> ir.Value | None:
    while (node := produced_by(value, "Cast")) is not None:
        value = node.inputs[0]
    return value


def _integer(value: ir.Value | None) -> int | None:
    number = scalar(value)
    return int(number) if number is not None and number == int(number) else None


def counted_positions(value: ir.Value | None) -> tuple[ir.Value, int] | str | None:
    """Ids (batch, tokens) and padding id with ``value = cumsum(ids != padding, axis 1) * (ids != padding) + padding``.

    Why not, for what counts in another way; None for what does not count."""
    for total, added in either_order(produced_by(_without_cast(value), "Add")):
        start = _integer(added)
        for count, factor in either_order(produced_by(_without_cast(total), "Mul")) if start is not None else ():
            tokens = produced_by(_without_cast(count), "CumSum")
            if tokens is None or _without_cast(tokens.inputs[0]) is not _without_cast(factor):
                continue
            kept = _kept(_without_cast(factor))
            if kept is None:
                return "it counts something else than the ids that are not padding"
            ids, padding = kept
            plain = not tokens.attributes.get_int("exclusive", 0) and not tokens.attributes.get_int("reverse", 0)
            if _integer(tokens.inputs[1]) not in (1, -1) or not plain or len(shape_of(ids)) != 2:
                return "it does not count the tokens from the first on"
            if padding != start or padding < 0:
                return f"it counts from {start} on where the padding id is {padding}"
            return ids, padding
    return None


def _kept(value: ir.Value | None) -> tuple[ir.Value, int] | None:
    """Ids and padding id with ``value = not (ids == padding)``."""
    inverted = produced_by(value, "Not")
    for ids, number in either_order(produced_by(inverted.inputs[0], "Equal")) if inverted is not None else ():
        padding = _integer(number)
        if constant(ids) is None and padding is not None:
            return ids, padding
    return None


@dataclasses.dataclass(frozen=True)
class Counted:
    """Rows of a table by position among the ids other than ``padding``."""

    table: ir.Value
    ids: ir.Value
    padding: int


class CountedPositions(Rule[Counted]):
    """``Gather(table, positions)`` of positions that are counted from the ids -> ``edgeflow::PositionEmbedding(ids, table)``.

    The positions are those of ``create_position_ids_from_input_ids`` (fairseq, and Hugging Face's RoBERTa and MPNet).
    """

    def pattern(self, op: Any, table: Any, positions: Any) -> Any:
        return op.Gather(table, positions)

    def check(self, root: ir.Node, table: ir.Value, positions: ir.Value) -> Counted | Refused:
        array = constant(table)
        if array is None or array.ndim != 2 or root.attributes.get_int("axis", 0) != 0 or array.dtype.kind != "f":
            return self.refuse("the table is not a constant float matrix gathered by rows")
        counted = counted_positions(positions)
        if counted is None:
            return self.refuse("the positions are not counted")
        if isinstance(counted, str):
            return self.refuse(counted, root)
        ids, padding = counted
        last = padding + shape_of(ids)[1]
        if last >= len(array):
            reason = f"{shape_of(ids)[1]} tokens reach position {last}, but the table has {len(array)} rows"
            return self.refuse(reason, root)
        return Counted(table, ids, padding)

    def rewrite(self, op: Any, match: Counted) -> ir.Value:
        value: ir.Value = op.PositionEmbedding(match.ids, match.table, padding=match.padding, _domain=DOMAIN)
        return typed(value, (*shape_of(match.ids), shape_of(match.table)[1]), match.table)
