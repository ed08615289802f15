"""Einsum of two operands as a matrix product between views."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter.pattern import MatchResult

from edgeflow.sw.rewrite.base import Rule, constant, initializer, shape_of, typed
from edgeflow.sw.rewrite.view import make_view


class EinsumToMatMul(Rule):
    """``Einsum(a, b)`` without repeated or summed-out labels -> MatMul of the operands brought to (batch, rows, columns)."""

    def pattern(self, op: Any, a: Any, b: Any) -> Any:
        return op.Einsum(a, b)

    def check(self, context: Any, a: ir.Value, b: ir.Value) -> MatchResult:
        equation = context.root.attributes.get_string("equation", "").replace(" ", "")
        terms, arrow, result = equation.partition("->")
        first, comma, second = terms.partition(",")
        plain = all(part.isalpha() and len(set(part)) == len(part) for part in (first, second, result))
        if not arrow or not comma or not plain:
            reason = f"equation {equation!r} is not a product of two tensors with explicit, distinct labels"
            return self.refuse(reason, context.root)
        if constant(a) is not None:
            a, b, first, second = b, a, second, first
        shared = [label for label in first if label in second]
        if any(label not in result and label not in shared for label in first + second):
            return self.refuse(f"equation {equation!r} sums over one operand alone", context.root)
        self.operands, self.labels, self.result = (a, b), (first, second), result
        self.batch = [label for label in result if label in shared]
        self.summed = [label for label in shared if label not in result]
        self.rows = [label for label in result if label not in second]
        self.columns = [label for label in result if label not in first]
        return self.accept()

    def rewrite(self, op: Any, a: ir.Value, b: ir.Value) -> ir.Value:
        left, right = self.operands
        sizes = dict(zip(self.labels[0], shape_of(left), strict=True)) | dict(zip(self.labels[1], shape_of(right), strict=True))

        def length(labels: list[str]) -> int:
            return math.prod(sizes[label] for label in labels)

        lead = tuple(sizes[label] for label in self.batch)
        # Without batch labels the rows keep their axes, so that a product with a constant matrix stays a Linear on tokens.
        rows = tuple(sizes[label] for label in self.rows) if not self.batch else (length(self.rows),)
        x = self._arranged(op, left, self.labels[0], self.batch + self.rows + self.summed, (*lead, *rows, length(self.summed)))
        y = self._arranged(op, right, self.labels[1], self.batch + self.summed + self.columns,
                           (*lead, length(self.summed), length(self.columns)))  # fmt: skip
        product = typed(op.MatMul(x, y), (*lead, *rows, length(self.columns)), left)
        order = self.batch + self.rows + self.columns
        index = np.arange(length(order)).reshape([sizes[label] for label in order])
        index = index.transpose([order.index(label) for label in self.result])
        value = make_view(op, product, index, index.shape)
        return op.Identity(value) if value is left else value

    @staticmethod
    def _arranged(op: Any, value: ir.Value, labels: str, order: list[str], shape: tuple[int, ...]) -> ir.Value:
        perm = [labels.index(label) for label in order]
        array = constant(value)
        if array is not None:
            return initializer(array.transpose(perm).reshape(shape))
        sizes = shape_of(value)
        index = np.arange(math.prod(sizes)).reshape(sizes).transpose(perm)
        return make_view(op, value, index, shape)
