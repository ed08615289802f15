"""Looking rows of a constant table up by token ids."""

from __future__ import annotations

import dataclasses
from typing import Any

import onnx_ir as ir

from edgeflow.sw.rewrite.base import DOMAIN, REFUSED, Refused, Rule, constant, shape_of, typed


@dataclasses.dataclass(frozen=True)
class LookUp:
    """Rows of a constant table at computed ids."""

    table: ir.Value
    ids: ir.Value


class GatherToEmbedding(Rule[LookUp]):
    """``Gather(table, ids)`` along axis 0 of a constant float matrix -> ``edgeflow::Embedding(ids, table)``."""

    def pattern(self, op: Any, table: Any, ids: Any) -> Any:
        return op.Gather(table, ids)

    def check(self, root: ir.Node, table: ir.Value, ids: ir.Value) -> LookUp | Refused:
        array = constant(table)
        if array is None or constant(ids) is not None:
            return self.refuse("the indices depend on the input, but the data is not a constant table", root)
        if array.ndim != 2 or root.attributes.get_int("axis", 0) != 0 or array.dtype.kind != "f":
            return self.refuse("the table is not a float matrix gathered by rows", root)
        if REFUSED in root.metadata_props:
            return self.refuse("the rule of counted positions has said why not")
        return LookUp(table, ids)

    def rewrite(self, op: Any, match: LookUp) -> ir.Value:
        value: ir.Value = op.Embedding(match.ids, match.table, _domain=DOMAIN)
        return typed(value, (*shape_of(match.ids), shape_of(match.table)[1]), match.table)
