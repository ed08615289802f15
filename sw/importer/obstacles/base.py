"""What every recogniser of an obstacle shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from edgeflow.sw.rewrite.base import DOMAIN, ORIGIN, ORIGIN_TYPE, constant

STAND_IN = "Obstacle"
"""Operator type, in EdgeFlow's domain, of what stands in the place of a form that was taken away."""


@dataclass(frozen=True)
class Kind:
    """A kind of obstacle, in the words of :class:`edgeflow.hw.diagnosis.Cause`."""

    name: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class Obstacle:
    """Where one of a kind stands: the node of the file, and its operator."""

    kind: Kind
    node: str
    operator: str


def obstacle(kind: Kind, node: ir.Node) -> Obstacle:
    """An obstacle at a node."""
    return Obstacle(
        kind, node.metadata_props.get(ORIGIN, node.name or node.op_type), node.metadata_props.get(ORIGIN_TYPE, node.op_type)
    )


def stand_in(node: ir.Node, value: ir.Value, sources: Sequence[ir.Value | None]) -> None:
    """Let the readers of ``value``, which ``node`` makes, read one node that computes it from ``sources`` in no known way."""
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    read = list(dict.fromkeys(source for source in sources if source is not None and constant(source) is None))
    placed = ir.node(STAND_IN, read, domain=DOMAIN)
    placed.metadata_props.update({key: node.metadata_props[key] for key in (ORIGIN, ORIGIN_TYPE) if key in node.metadata_props})
    placed.outputs[0].shape, placed.outputs[0].type = value.shape, value.type
    placed.outputs[0].name, value.name = value.name, f"{value.name}.supposed"
    graph.insert_after(node, placed)
    ir.convenience.replace_all_uses_with(value, placed.outputs[0], replace_graph_outputs=True)


def is_a(node: ir.Node, *op_types: str) -> bool:
    """Whether a node is one of the operators that a recogniser looks for, of any domain."""
    return node.op_type in op_types


def activations(node: ir.Node) -> list[ir.Value]:
    """The operands of a node that are computed."""
    return [value for value in node.inputs if value is not None and constant(value) is None]


def readers(value: ir.Value) -> list[ir.Node]:
    """The nodes that read a value, each once."""
    return list(dict.fromkeys(node for node, _ in value.uses()))
