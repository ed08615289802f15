"""What every rewrite rule shares: the base class, and the vocabulary in which rules read a graph and build values of known shape.

A rule has a ``pattern`` of onnxscript (the anchor, the last node of the form), a ``check`` that walks up from it and either refuses
with a reason or returns what it has found, a frozen dataclass, and a ``rewrite`` that builds the replacement from that. While rules
run, every value has a static shape (the batch is bound to a number), every constant is an initializer, and all data movement is a
``View`` (see :mod:`edgeflow.sw.rewrite.view`).
"""

from __future__ import annotations

import dataclasses
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter.pattern import RewriteRule

from edgeflow.hw.arrays import Array
from edgeflow.hw.errors import ModelError

DOMAIN = "edgeflow"
"""Operator domain of EdgeFlow's own canonical operators."""
ORIGIN = "edgeflow.origin"
"""Metadata key: name of the ONNX node that a node comes from."""
ORIGIN_TYPE = "edgeflow.origin_type"
"""Metadata key: operator type of that node, for messages."""
ORIGINAL = "edgeflow.original"
"""Metadata key: name of the tensor of the ONNX file that a node's output is, where it is one of the file's."""
RULES = "edgeflow.rules"
"""Metadata key: names of the rewrite rules that made a node, the last one last."""
REFUSED = "edgeflow.refused"
"""Metadata key: why a rule that looked at the node could not take it."""
BATCH = "edgeflow.batch"
"""Metadata key of the graph: the number to which the batch is bound while rules run."""

_numbers = itertools.count()


Match = TypeVar("Match")
"""What a rule finds where its form stands: a frozen dataclass of its own."""
_MATCH = "match"


@dataclasses.dataclass(frozen=True)
class Refused:
    """A rule's form does not stand at a node, because of ``reason``."""

    reason: str


@dataclasses.dataclass(frozen=True)
class Kept:
    """The match of a form that computes one of its own operands."""

    value: ir.Value


class Rule(ABC, Generic[Match]):
    """Base of all rules. A rule keeps nothing but what it was made with: what it finds goes from ``check`` to ``rewrite``."""

    def __init__(self, name: str | None = None) -> None:
        self.name = name or type(self).__name__

    @abstractmethod
    def pattern(self, op: Any, /, *operands: Any, **others: Any) -> Any:
        """The anchor, of operands that are named by the parameters."""

    @abstractmethod
    def check(self, root: ir.Node, /, *operands: Any, **others: Any) -> Match | Refused:
        """What stands above the anchor ``root``, whose operands have the names of the pattern's; or why it is not the form."""

    @abstractmethod
    def rewrite(self, op: Any, match: Match) -> ir.Value:
        """The value that replaces the anchor's, built with ``op``."""

    @classmethod
    def rule(cls, *arguments: Any, **keywords: Any) -> RewriteRule:
        """The rewrite rule of an instance made from the arguments."""
        return _AtAnchor(cls(*arguments, **keywords))

    def replacement(self, op: Any, **bindings: Any) -> ir.Value:
        """What onnxscript calls with the bindings of a match: those of the pattern, and what :meth:`check` has found."""
        return self.rewrite(op, match=bindings[_MATCH])

    @staticmethod
    def refuse(reason: str, node: ir.Node | None = None) -> Refused:
        """The form does not stand here, because of ``reason``; given ``node``, the reason is kept for the user's message."""
        if node is not None:
            node.metadata_props[REFUSED] = reason
        return Refused(reason)


class _AtAnchor(RewriteRule):
    """A rule as onnxscript applies it: the result of its check becomes a binding of the match, beside the operands of the pattern.

    Nodes between the anchor and the inputs often have other users: dead ones are removed after each round. The operator type of a
    node is looked at before anything else; most nodes are none of a rule's business.
    """

    def __init__(self, rule: Rule[Any]) -> None:
        super().__init__(rule.pattern, rule.replacement, name=rule.name)
        self._check = rule.check
        self._anchor = self._target_pattern.output_node.op_type

    def match(self, model: ir.Model, graph_or_function: Any, node: ir.Node, **options: Any) -> Any:
        match = super().match(model, graph_or_function, node, **options)
        if not match:
            return match
        checked = self._check(node, **match.bindings)
        if isinstance(checked, Refused):
            return match.fail(checked.reason)
        match.bind(_MATCH, checked)
        return match

    def try_rewrite(self, model: ir.Model, graph_or_function: Any, node: ir.Node, **options: Any) -> Any:
        if node.op_type != self._anchor:
            return None
        before = _rules_behind(node)
        rewritten = super().try_rewrite(model, graph_or_function, node, **options)
        for new in () if rewritten is None else rewritten.new_nodes:
            new.metadata_props[RULES] = ", ".join(dict.fromkeys((*before, str(self.name))))
        return rewritten


def _rules_behind(node: ir.Node) -> list[str]:
    """Rules that made a node, or the nodes that it alone reads."""
    makers = [value.producer() for value in node.inputs if value is not None and consumers(value) == 1]
    rules = [maker.metadata_props.get(RULES, "") for maker in (*makers, node) if maker is not None]
    return [name for names in rules for name in names.split(", ") if name]


def origin_of(value: ir.Value) -> dict[str, str]:
    """Origin metadata of the node that produces ``value`` (empty for a graph input)."""
    node = value.producer()
    if node is None:
        return {}
    return {key: node.metadata_props[key] for key in (ORIGIN, ORIGIN_TYPE) if key in node.metadata_props}


def constant(value: ir.Value | None) -> Array | None:
    """The array of an initializer, or None for anything computed."""
    if value is None or value.const_value is None:
        return None
    return value.const_value.numpy()


def scalar(value: ir.Value | None) -> float | None:
    """The number held by a one-element floating-point or integer initializer, else None."""
    array = constant(value)
    if array is None or array.size != 1 or array.dtype.kind not in "fiu":
        return None
    return float(array.reshape(()))


MOST_AXES = 64  # of an array of NumPy


def shape_of(value: ir.Value) -> tuple[int, ...]:
    """The static shape of a value; rules run only after every shape is known. ModelError for more axes than arrays have."""
    if value.shape is None:
        raise AssertionError(f"value {value.name!r} has no shape")
    if len(value.shape) > MOST_AXES:
        raise ModelError(f"tensor {value.name!r} has {len(value.shape)} axes, more than {MOST_AXES}; reshape it")
    return tuple(int(size) for size in value.shape.numpy())


def produced_by(value: ir.Value | None, *op_types: str, domain: str = "") -> ir.Node | None:
    """The node that produces ``value`` if it is of one of the given operator types, else None."""
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type in op_types and node.domain == domain else None


def operand(node: ir.Node, position: int) -> ir.Value:
    """The operand of a node that its operator demands."""
    value = node.inputs[position]
    if value is None:
        raise AssertionError(f"{node.op_type} {node.name!r} without operand {position}")
    return value


def operands(node: ir.Node | None) -> tuple[ir.Value, ir.Value] | None:
    """Both operands of a node with two; None for any other, and for no node."""
    if node is None or len(node.inputs) != 2 or node.inputs[0] is None or node.inputs[1] is None:
        return None
    return node.inputs[0], node.inputs[1]


def either_order(node: ir.Node | None) -> Iterator[tuple[ir.Value, ir.Value]]:
    """The two operands of a commutative node in both orders; nothing for any other, and for no node."""
    both = operands(node)
    if both is not None:
        yield both
        yield both[1], both[0]


def times_number(value: ir.Value | None) -> tuple[ir.Value, float] | None:
    """x and c of a value ``x * c``, ``c * x`` or ``x / (1 / c)`` of the shape of x."""
    for x, other in either_order(produced_by(value, "Mul")):
        number = _number_beside(x, other)
        if number is not None:
            return x, number
    both = operands(produced_by(value, "Div"))
    number = None if both is None else _number_beside(*both)
    return (both[0], 1.0 / number) if both is not None and number else None


def plus_number(value: ir.Value | None) -> tuple[ir.Value, float] | None:
    """x and c of a value ``x + c`` or ``c + x`` of the shape of x."""
    for x, other in either_order(produced_by(value, "Add")):
        number = _number_beside(x, other)
        if number is not None:
            return x, number
    return None


def _number_beside(x: ir.Value, other: ir.Value) -> float | None:
    """The number in ``other`` unless it gives x more axes."""
    array = constant(other)
    rank = 0 if x.shape is None else len(x.shape)
    return scalar(other) if array is not None and array.ndim <= rank else None


def integers(node: ir.Node, name: str) -> tuple[int, ...] | None:
    """Integers that an operator takes as attribute ``name`` in old opsets and as second input in newer ones."""
    if name in node.attributes:
        return tuple(node.attributes[name].as_ints())
    array = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return None if array is None else tuple(int(entry) for entry in array.reshape(-1))


def reduced_axes(node: ir.Node) -> tuple[int, ...] | None:
    """Axes that a reduction is over, counted from 0, each once, as onnxruntime reads them; None where they are not constant."""
    axes, rank = integers(node, "axes"), len(shape_of(operand(node, 0)))
    return None if axes is None else tuple(sorted({axis % rank for axis in axes}))


def initializer(array: Array, hint: str = "constant") -> ir.Value:
    """A new constant value; the importer registers it in the graph and names it at the end."""
    name = f"{hint}.{next(_numbers)}"
    tensor = ir.tensor(np.array(array, order="C"), name=name)
    return ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)


def typed(value: ir.Value, shape: tuple[int, ...], like: ir.Value, origin: dict[str, str] | None = None) -> ir.Value:
    """Give a new value its shape, the type of ``like`` and, through its node, an origin; returns ``value``."""
    value.shape = ir.Shape(shape)
    value.type = like.type
    node = value.producer()
    if node is not None and origin:
        node.metadata_props.update(origin)
    return value


def consumers(value: ir.Value) -> int:
    """How many node inputs and graph outputs read ``value``."""
    return len(list(value.uses())) + (1 if value.is_graph_output() else 0)


def batch_of(graph: ir.Graph) -> int:
    """The number to which the batch axis is bound in ``graph``."""
    return int(graph.metadata_props[BATCH])


def bound_batch(node: ir.Node) -> int:
    """The number to which the batch axis is bound in the graph of a node."""
    if not isinstance(node.graph, ir.Graph):
        raise AssertionError(f"node {node.name!r} is in no graph")
    return batch_of(node.graph)


def shrink(array: Array) -> Array:
    """``array`` with every axis along which all slices are equal cut to length 1."""
    for axis, size in enumerate(array.shape):
        if size > 1:
            first = np.take(array, [0], axis=axis)
            if np.array_equal(np.broadcast_to(first, array.shape), array):
                array = first
    return array
