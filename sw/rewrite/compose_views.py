"""A view of a view is one view; a view that moves nothing is nothing."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from onnxscript.rewriter.pattern import MatchResult

from edgeflow.sw.rewrite.base import DOMAIN, Rule, origin_of, produced_by, shape_of
from edgeflow.sw.rewrite.view import index_of, is_plain, make_view


class ComposeViews(Rule):
    """``View(View(x))`` -> ``View(x)`` with the composed index array."""

    def pattern(self, op: Any, x: Any) -> Any:
        return op.View(x, _domain=DOMAIN)

    def check(self, context: Any, x: ir.Value) -> MatchResult:
        above = produced_by(x, "View", DOMAIN)
        if above is None:
            return self.refuse("not a view of a view")
        self.lower, self.upper = context.root, above
        return self.accept()

    def rewrite(self, op: Any, x: ir.Value) -> ir.Value:
        source = self.upper.inputs[0]
        if source is None:
            raise AssertionError("a View without input")
        shape = shape_of(self.lower.outputs[0])
        index = None
        if not is_plain(self.lower) and not is_plain(self.upper):
            index = index_of(self.upper).reshape(-1)[index_of(self.lower)]
        elif not is_plain(self.lower):
            index = index_of(self.lower)
        elif not is_plain(self.upper):
            index = index_of(self.upper)
        value = make_view(op, source, index, shape, origin_of(self.lower.outputs[0]))
        return op.Identity(value) if value is source else value


class IdentityView(Rule):
    """A View with the shape and order of its source -> its source."""

    def pattern(self, op: Any, x: Any) -> Any:
        return op.View(x, _domain=DOMAIN)

    def check(self, context: Any, x: ir.Value) -> MatchResult:
        if not is_plain(context.root) or shape_of(x) != shape_of(context.root.outputs[0]):
            return self.refuse("the view moves something")
        return self.accept()

    def rewrite(self, op: Any, x: ir.Value) -> ir.Value:
        value: ir.Value = op.Identity(x)
        return value
