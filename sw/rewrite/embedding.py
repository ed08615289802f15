"""Looking rows of a constant table up by token ids."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from onnxscript.rewriter.pattern import MatchResult

from edgeflow.sw.rewrite.base import DOMAIN, REFUSED, Rule, constant, shape_of, typed


class GatherToEmbedding(Rule):
    """``Gather(table, ids)`` along axis 0 of a constant float matrix -> ``edgeflow::Embedding(ids, table)``."""

    def pattern(self, op: Any, table: Any, ids: Any) -> Any:
        return op.Gather(table, ids)

    def check(self, context: Any, table: ir.Value, ids: ir.Value) -> MatchResult:
        array = constant(table)
        if array is None or constant(ids) is not None:
            return self.refuse("the indices depend on the input, but the data is not a constant table", context.root)
        if array.ndim != 2 or context.root.attributes.get_int("axis", 0) != 0 or array.dtype.kind != "f":
            return self.refuse("the table is not a float matrix gathered by rows", context.root)
        if REFUSED in context.root.metadata_props:
            return self.refuse("the rule of counted positions has said why not")
        return self.accept()

    def rewrite(self, op: Any, table: ir.Value, ids: ir.Value) -> ir.Value:
        value: ir.Value = op.Embedding(ids, table, _domain=DOMAIN)
        return typed(value, (*shape_of(ids), shape_of(table)[1]), table)
