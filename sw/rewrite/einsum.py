"""Einsum of two operands as a matrix product between views."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeflow.sw.rewrite.base import Refused, Rule, constant, initializer, shape_of, typed
from edgeflow.sw.rewrite.view import make_view


@dataclasses.dataclass(frozen=True)
class Product:
    """Two operands with the labels of their axes, those of the result, and the part that each label has in a matrix product."""

    operands: tuple[ir.Value, ir.Value]
    labels: tuple[str, str]
    result: str
    batch: list[str]
    summed: list[str]
    rows: list[str]
    columns: list[str]

    def length(self, labels: list[str]) -> int:
        """Elements along some axes."""
        return math.prod(self.sizes[label] for label in labels)

    @property
    def sizes(self) -> dict[str, int]:
        """The length of every axis."""
        return {
            label: size
            for value, labels in zip(self.operands, self.labels, strict=True)
            for label, size in zip(labels, shape_of(value), strict=True)
        }


class EinsumToMatMul(Rule[Product]):
    """``Einsum(a, b)`` without repeated or summed-out labels -> MatMul of the operands brought to (batch, rows, columns)."""

    def pattern(self, op: Any, a: Any, b: Any) -> Any:
        return op.Einsum(a, b)

    def check(self, root: ir.Node, a: ir.Value, b: ir.Value) -> Product | Refused:
        equation = root.attributes.get_string("equation", "").replace(" ", "")
        terms, arrow, result = equation.partition("->")
        first, comma, second = terms.partition(",")
        plain = all(part.isalpha() and len(set(part)) == len(part) for part in (first, second, result))
        if not arrow or not comma or not plain:
            reason = f"equation {equation!r} is not a product of two tensors with explicit, distinct labels"
            return self.refuse(reason, root)
        if constant(a) is not None:
            a, b, first, second = b, a, second, first
        shared = [label for label in first if label in second]
        if any(label not in result and label not in shared for label in first + second):
            return self.refuse(f"equation {equation!r} sums over one operand alone", root)
        return Product(
            (a, b),
            (first, second),
            result,
            batch=[label for label in result if label in shared],
            summed=[label for label in shared if label not in result],
            rows=[label for label in result if label not in second],
            columns=[label for label in result if label not in first],
        )

    def rewrite(self, op: Any, match: Product) -> ir.Value:
        (left, right), sizes, length = match.operands, match.sizes, match.length
        lead = tuple(sizes[label] for label in match.batch)
        # Without batch labels the rows keep their axes, so that a product with a constant matrix stays a Linear on tokens.
        rows = tuple(sizes[label] for label in match.rows) if not match.batch else (length(match.rows),)
        x = self._arranged(op, left, match.labels[0], match.batch + match.rows + match.summed, (*lead, *rows, length(match.summed)))
        y = self._arranged(op, right, match.labels[1], match.batch + match.summed + match.columns,
                           (*lead, length(match.summed), length(match.columns)))  # fmt: skip
        product = typed(op.MatMul(x, y), (*lead, *rows, length(match.columns)), left)
        order = match.batch + match.rows + match.columns
        index = np.arange(length(order)).reshape([sizes[label] for label in order])
        index = index.transpose([order.index(label) for label in match.result])
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
