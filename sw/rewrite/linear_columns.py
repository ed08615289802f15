"""Views that pick or permute features beside a Linear go into the columns or rows of its weight."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter.pattern import MatchResult

from edgeflow.hw.arrays import Array
from edgeflow.sw.rewrite.base import DOMAIN, Rule, constant, origin_of, produced_by, shape_of
from edgeflow.sw.rewrite.view import index_of, is_plain, linear, make_view


def rows_and_columns(node: ir.Node, width: int) -> tuple[Array, Array] | None:
    """Split a View's index array into source rows (one an output row) and columns (the same in each row), or None."""
    index = index_of(node)
    if index.ndim == 0 or index.size == 0:
        return None
    rows, columns = index // width, index % width
    first = columns.reshape(-1, columns.shape[-1])[0]
    if not np.array_equal(rows, np.broadcast_to(rows[..., :1], rows.shape)):
        return None
    if not np.array_equal(columns, np.broadcast_to(first, columns.shape)):
        return None
    return rows[..., 0], first


class ColumnsOfLinear(Rule):
    """``View(Linear(x))`` that picks features -> a Linear that computes only those (one qkv Linear becomes three)."""

    def pattern(self, op: Any, y: Any) -> Any:
        return op.View(y, _domain=DOMAIN)

    def check(self, context: Any, y: ir.Value) -> MatchResult:
        node = produced_by(y, "Linear", DOMAIN)
        if node is None or is_plain(context.root) or y.is_graph_output():
            return self.refuse("not a feature view of a Linear")
        if any(user.op_type != "View" or user.domain != DOMAIN for user, _ in y.uses()):
            return self.refuse("the whole Linear has another user")
        split = rows_and_columns(context.root, shape_of(y)[-1])
        if split is None or np.array_equal(split[1], np.arange(shape_of(y)[-1])):
            return self.refuse("the view does not pick the same features in every row")
        self.node, (self.rows, self.columns) = node, split
        self.shape = shape_of(context.root.outputs[0])
        return self.accept()

    def rewrite(self, op: Any, y: ir.Value) -> ir.Value:
        x, weight, bias = self.node.inputs[0], constant(self.node.inputs[1]), constant(self.node.inputs[2])
        if x is None or weight is None or bias is None:
            raise AssertionError("a Linear without constant weight and bias")
        value = linear(op, x, weight[:, self.columns], bias[self.columns], origin_of(y))
        width = len(self.columns)
        return make_view(op, value, self.rows[..., None] * width + np.arange(width), self.shape)


class RowsOfLinear(Rule):
    """``Linear(View(x))`` where the view permutes the features of each row -> the permutation applied to the weight's rows."""

    def pattern(self, op: Any, x: Any, w: Any, b: Any) -> Any:
        return op.Linear(x, w, b, _domain=DOMAIN)

    def check(self, context: Any, x: ir.Value, w: ir.Value, b: ir.Value) -> MatchResult:
        node = produced_by(x, "View", DOMAIN)
        if node is None or is_plain(node) or node.inputs[0] is None:
            return self.refuse("not a Linear of a view that moves features")
        width = shape_of(node.inputs[0])[-1]
        split = rows_and_columns(node, width)
        if split is None or len(split[1]) != width or np.array_equal(split[1], np.arange(width)):
            return self.refuse("the view does not permute the features of each row")
        if not np.array_equal(np.sort(split[1]), np.arange(width)):
            return self.refuse("the view repeats features")
        self.source, (self.rows, self.columns) = node.inputs[0], split
        return self.accept()

    def rewrite(self, op: Any, x: ir.Value, w: ir.Value, b: ir.Value) -> ir.Value:
        weight, bias = constant(w), constant(b)
        if weight is None or bias is None:
            raise AssertionError("a Linear without constant weight and bias")
        moved = np.empty_like(weight)
        moved[self.columns] = weight
        width = len(self.columns)
        rows = make_view(op, self.source, self.rows[..., None] * width + np.arange(width), shape_of(x), origin_of(x))
        return linear(op, rows, moved, bias)
