"""What every rewrite rule shares: the base class, and helpers that read and build values of known shape.

A rule is an onnxscript :class:`RewriteRuleClassBase`: ``pattern`` names the anchor (the last node of the form), ``check`` walks
up from it and refuses with a reason, ``rewrite`` builds the replacement. While rules run, every value has a static shape (the
batch is bound to a number), every constant is an initializer, and all data movement is a ``View`` (see
:mod:`edgeflow.sw.rewrite.view`).
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import pattern

from edgeflow.hw.arrays import Array

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


class _Anchored(pattern.RewriteRule):
    """A rewrite rule that looks at the operator type of a node before anything else; most nodes are none of its business."""

    anchor: str

    def try_rewrite(self, model: ir.Model, graph_or_function: Any, node: ir.Node, **options: Any) -> Any:
        if node.op_type != self.anchor:
            return None
        before = _rules_behind(node)
        found = super().try_rewrite(model, graph_or_function, node, **options)
        for made in () if found is None else found.new_nodes:
            made.metadata_props[RULES] = ", ".join(dict.fromkeys((*before, str(self.name))))
        return found


def _rules_behind(node: ir.Node) -> list[str]:
    """Rules that made a node, or what it alone reads."""
    makers = [value.producer() for value in node.inputs if value is not None and consumers(value) == 1]
    made = [maker.metadata_props.get(RULES, "") for maker in (*makers, node) if maker is not None]
    return [name for names in made for name in names.split(", ") if name]


class Rule(pattern.RewriteRuleClassBase):
    """Base of all rules. ``check`` returns :meth:`refuse` or a true ``MatchResult``; state found there is kept on ``self``."""

    def __init__(self) -> None:
        # Nodes between the anchor and the inputs often have other users: dead ones are removed after each round instead.
        super().__init__(remove_nodes=True)

    @classmethod
    def rule(cls, *arguments: Any, **keywords: Any) -> pattern.RewriteRule:
        """The rewrite rule of an instance made from the arguments."""
        instance = cls(*arguments, **keywords)
        made = _Anchored(instance.pattern, instance.rewrite, instance.check, name=instance.name, remove_nodes=instance.remove_nodes)
        made.anchor = made._target_pattern.output_node.op_type
        return made

    @staticmethod
    def accept() -> pattern.MatchResult:
        """The form matches."""
        return pattern.MatchResult()

    @staticmethod
    def refuse(reason: str, node: ir.Node | None = None) -> pattern.MatchResult:
        """The form does not match, because of ``reason``; given ``node``, the reason is kept for the user's message."""
        if node is not None:
            node.metadata_props[REFUSED] = reason
        return pattern.MatchResult().fail(reason)


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


def shape_of(value: ir.Value) -> tuple[int, ...]:
    """The static shape of a value; rules run only after every shape is known."""
    if value.shape is None:
        raise AssertionError(f"value {value.name!r} has no shape")
    return tuple(int(size) for size in value.shape.numpy())


def produced_by(value: ir.Value | None, op_type: str, domain: str = "") -> ir.Node | None:
    """The node that produces ``value`` if it is of the given operator type, else None."""
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == op_type and node.domain == domain else None


def integers(node: ir.Node, name: str) -> tuple[int, ...] | None:
    """Integers that an operator takes as attribute ``name`` in old opsets and as second input in newer ones."""
    if name in node.attributes:
        return tuple(node.attributes[name].as_ints())
    array = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return None if array is None else tuple(int(entry) for entry in array.reshape(-1))


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


def shrink(array: Array) -> Array:
    """``array`` with every axis along which all slices are equal cut to length 1."""
    for axis, size in enumerate(array.shape):
        if size > 1:
            first = np.take(array, [0], axis=axis)
            if np.array_equal(np.broadcast_to(first, array.shape), array):
                array = first
    return array
