"""A view of a view is one view; a view that moves nothing is nothing."""

from __future__ import annotations

import dataclasses
from typing import Any

import onnx_ir as ir

from edgeflow.sw.rewrite.base import DOMAIN, Kept, Refused, Rule, operand, origin_of, shape_of
from edgeflow.sw.rewrite.view import index_of, is_plain, make_view, view_above


@dataclasses.dataclass(frozen=True)
class TwoViews:
    """A View and the one that it reads."""

    lower: ir.Node
    upper: ir.Node


class ComposeViews(Rule[TwoViews]):
    """``View(View(x))`` -> ``View(x)`` with the composed index array."""

    def pattern(self, op: Any, x: Any) -> Any:
        return op.View(x, _domain=DOMAIN)

    def check(self, root: ir.Node, x: ir.Value) -> TwoViews | Refused:
        above = view_above(x)
        return self.refuse("not a view of a view") if above is None else TwoViews(root, above)

    def rewrite(self, op: Any, match: TwoViews) -> ir.Value:
        lower, upper = match.lower, match.upper
        source, result = operand(upper, 0), lower.outputs[0]
        index = None
        if not is_plain(lower) and not is_plain(upper):
            index = index_of(upper).reshape(-1)[index_of(lower)]
        elif not is_plain(lower):
            index = index_of(lower)
        elif not is_plain(upper):
            index = index_of(upper)
        value = make_view(op, source, index, shape_of(result), origin_of(result))
        return op.Identity(value) if value is source else value


class IdentityView(Rule[Kept]):
    """A View with the shape and order of its source -> its source."""

    def pattern(self, op: Any, x: Any) -> Any:
        return op.View(x, _domain=DOMAIN)

    def check(self, root: ir.Node, x: ir.Value) -> Kept | Refused:
        if not is_plain(root) or shape_of(x) != shape_of(root.outputs[0]):
            return self.refuse("the view moves something")
        return Kept(x)

    def rewrite(self, op: Any, match: Kept) -> ir.Value:
        value: ir.Value = op.Identity(match.value)
        return value
