"""What passes of the import require of a model and ensure: conditions that are checked, and named by the first place that fails."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from edgeflow.sw.importer.finalize import ORIGINALS
from edgeflow.sw.importer.fold import constants_read, influence
from edgeflow.sw.importer.functions import OPSET
from edgeflow.sw.importer.movement import is_movement
from edgeflow.sw.importer.onnx_operators import traits
from edgeflow.sw.rewrite.base import BATCH, DOMAIN, ORIGIN, REFUSED, batch_of, consumers
from edgeflow.sw.rewrite.view import is_view


@dataclass(frozen=True)
class Condition:
    """``says`` states the condition; ``problems`` yields the places where it does not hold."""

    says: str
    problems: Callable[[ir.Model], Iterator[str]]

    def problem(self, model: ir.Model) -> str | None:
        """The first place where the condition does not hold; None if it holds."""
        return next(self.problems(model), None)


def _values(model: ir.Model) -> Iterator[ir.Value]:
    """Inputs, and everything computed that is read."""
    yield from model.graph.inputs
    yield from (value for node in model.graph for value in node.outputs if consumers(value))


def _bound(model: ir.Model) -> Iterator[str]:
    if BATCH not in model.graph.metadata_props:
        yield "the graph"


def _branches(model: ir.Model) -> Iterator[str]:
    for node in model.graph:
        if any(attribute.type == ir.AttributeType.GRAPH for attribute in node.attributes.values()):
            yield f"node {node.name!r}"


def _shapeless(model: ir.Model) -> Iterator[str]:
    for value in _values(model):
        if value.shape is None or value.dtype is None or not value.shape.is_static():
            yield f"value {value.name!r}"


def _foldable(model: ir.Model) -> Iterator[str]:
    reach = influence(model.graph).value
    for node in model.graph:
        if not any(reach[value] for value in node.outputs):
            yield f"node {node.name!r}"


def _unregistered(model: ir.Model) -> Iterator[str]:
    graph, read = model.graph, constants_read(model.graph)
    for value in read - set(graph.initializers.values()) - set(graph.inputs):
        yield f"constant {value.name!r}"
    for name, value in graph.initializers.items():
        if value not in read:
            yield f"initializer {name!r}"


def _default_axes(model: ir.Model) -> Iterator[str]:
    for node in model.graph:
        if traits(node).last_axis_since is not None and "axis" not in node.attributes:
            yield f"node {node.name!r}"


def _inert(model: ir.Model) -> Iterator[str]:
    for node in model.graph:
        if traits(node).inert(node) and not node.outputs[0].is_graph_output():
            yield f"node {node.name!r}"


def _movement(model: ir.Model) -> Iterator[str]:
    for node in model.graph:
        if is_movement(node):
            yield f"node {node.name!r}"


def _views(model: ir.Model) -> Iterator[str]:
    for node in model.graph:
        if is_view(node) and REFUSED not in node.metadata_props:
            yield f"node {node.name!r}"


def _bound_axes(model: ir.Model) -> Iterator[str]:
    yield from _bound(model)
    batch = batch_of(model.graph)
    for value in _values(model):
        if value.shape is None or (value.shape and value.shape[0] == batch):
            yield f"value {value.name!r}"


def _unnamed(model: ir.Model) -> Iterator[str]:
    graph = model.graph
    yield from _repeated("node", [node.name for node in graph])
    values = [value.name for value in _values(model)]
    yield from _repeated("value", [*values, *graph.initializers])


def _repeated(what: str, names: Collection[str | None]) -> Iterator[str]:
    taken: set[str] = set()
    for name in names:
        if not name or name in taken:
            yield f"{what} {name!r}"
        taken.add(name or "")


def _unnoted(model: ir.Model) -> Iterator[str]:
    if ORIGINALS not in model.meta:
        yield "the model"


def _originless(model: ir.Model) -> Iterator[str]:
    for node in model.graph:
        if ORIGIN not in node.metadata_props:
            yield f"node {node.name!r}"


def _unfinished(model: ir.Model) -> Iterator[str]:
    if dict(model.opset_imports) != {"": OPSET, DOMAIN: 1} or BATCH in model.graph.metadata_props:
        yield "the graph"


BATCH_BOUND = Condition("the batch is bound to a number", _bound)
NO_BRANCHES = Condition("no node has subgraphs", _branches)
SHAPES_KNOWN = Condition("every value has a type and a fixed shape", _shapeless)
CONSTANTS_FOLDED = Condition("what no input reaches is an initializer", _foldable)
CONSTANTS_REGISTERED = Condition("the initializers are the constants that nodes read", _unregistered)
AXES_EXPLICIT = Condition("no axis is left to a default that operator sets differ in", _default_axes)
NOTHING_INERT = Condition("nothing is left that does nothing at inference", _inert)
MOVEMENT_IS_VIEWS = Condition("all data movement is a View", _movement)
NO_VIEWS = Condition("a View that is left says why", _views)
BATCH_SYMBOLIC = Condition("every first axis that was the bound batch is symbolic", _bound_axes)
NAMES_DISTINCT = Condition("nodes and values have names of their own", _unnamed)
ORIGINS_KNOWN = Condition("every node says which one of the file it comes from", _originless)
ORIGINALS_NOTED = Condition("the values of the file are noted", _unnoted)
FINISHED = Condition("operator sets are those of a canonical model, and the batch is bound no longer", _unfinished)
