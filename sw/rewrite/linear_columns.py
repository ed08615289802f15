"""Views that pick or permute features beside a Linear go into the columns or rows of its weight."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeflow.hw.arrays import Array
from edgeflow.sw.rewrite.base import DOMAIN, Refused, Rule, constant, operand, origin_of, produced_by, shape_of
from edgeflow.sw.rewrite.view import index_of, is_plain, is_view, linear, make_view, view_above


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


@dataclasses.dataclass(frozen=True)
class Split:
    """A View beside a Linear, both nodes, and the source row and the columns of its rows."""

    view: ir.Node
    linear: ir.Node
    rows: Array
    columns: Array

    @property
    def index(self) -> Array:
        """The View's rows alone, where features are already as it puts them."""
        width = len(self.columns)
        return self.rows[..., None] * width + np.arange(width)

    @property
    def weight_and_bias(self) -> tuple[Array, Array]:
        weight, bias = constant(operand(self.linear, 1)), constant(operand(self.linear, 2))
        if weight is None or bias is None:
            raise AssertionError("a Linear without constant weight and bias")
        return weight, bias


class ColumnsOfLinear(Rule[Split]):
    """``View(Linear(x))`` that picks features -> a Linear that computes only those (one qkv Linear becomes three)."""

    def pattern(self, op: Any, y: Any) -> Any:
        return op.View(y, _domain=DOMAIN)

    def check(self, root: ir.Node, y: ir.Value) -> Split | Refused:
        node = produced_by(y, "Linear", domain=DOMAIN)
        if node is None or is_plain(root) or y.is_graph_output():
            return self.refuse("not a feature view of a Linear")
        if not all(is_view(user) for user, _ in y.uses()):
            return self.refuse("the whole Linear has another user")
        split = rows_and_columns(root, shape_of(y)[-1])
        if split is None or np.array_equal(split[1], np.arange(shape_of(y)[-1])):
            return self.refuse("the view does not pick the same features in every row")
        return Split(root, node, *split)

    def rewrite(self, op: Any, match: Split) -> ir.Value:
        weight, bias = match.weight_and_bias
        x, origin = operand(match.linear, 0), origin_of(match.linear.outputs[0])
        value = linear(op, x, weight[:, match.columns], bias[match.columns], origin)
        return make_view(op, value, match.index, shape_of(match.view.outputs[0]))


class RowsOfLinear(Rule[Split]):
    """``Linear(View(x))`` where the view permutes the features of each row -> the permutation applied to the weight's rows."""

    def pattern(self, op: Any, x: Any, w: Any, b: Any) -> Any:
        return op.Linear(x, w, b, _domain=DOMAIN)

    def check(self, root: ir.Node, x: ir.Value, w: ir.Value, b: ir.Value) -> Split | Refused:
        view = view_above(x)
        if view is None or is_plain(view):
            return self.refuse("not a Linear of a view that moves features")
        width = shape_of(operand(view, 0))[-1]
        split = rows_and_columns(view, width)
        if split is None or len(split[1]) != width or np.array_equal(split[1], np.arange(width)):
            return self.refuse("the view does not permute the features of each row")
        if not np.array_equal(np.sort(split[1]), np.arange(width)):
            return self.refuse("the view repeats features")
        return Split(view, root, *split)

    def rewrite(self, op: Any, match: Split) -> ir.Value:
        weight, bias = match.weight_and_bias
        moved = np.empty_like(weight)
        moved[match.columns] = weight
        x = match.view.outputs[0]
        rows = make_view(op, operand(match.view, 0), match.index, shape_of(x), origin_of(x))
        return linear(op, rows, moved, bias)
