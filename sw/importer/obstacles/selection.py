"""What chooses by computed numbers, and inputs of integers that are numbers: gates of experts, chosen classes, images of bytes."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from edgeflow.sw.importer.integer_inputs import cast_inputs
from edgeflow.sw.importer.movement import bypass
from edgeflow.sw.importer.obstacles.base import Kind, Obstacle, activations, is_a, obstacle, readers, stand_in
from edgeflow.sw.rewrite.base import operand
from edgeflow.sw.rewrite.view import view_above

GATE = Kind(
    "mixture of experts",
    "a gate chooses what is computed with each token (TopK, ArgMax); programs of the accelerator do the same with every token",
    "use a dense model, or one that runs all experts and adds them up with constant weights",
)
CHOSEN_CLASS = Kind(
    "choice at the output",
    "the model ends in the place of its largest value, which no unit of the accelerator looks for, in a form that is not left to"
    " the host: only ArgMax, ArgMin and TopK of each sample, cast and reshaped at most, are",
    "export the model without it, so that it returns the scores, and choose on the host: scores.argmax(axis=-1)",
)
INTEGER_INPUT = Kind(
    "integer input",
    "an input of integers is cast to real numbers; only integers of 8 bits that nothing else reads are taken so, others as token"
    " ids or as a key mask",
    "export the model with a float32 input, without the cast, and convert on the host: x.astype(numpy.float32)",
)
_CHOOSES = ("TopK", "ArgMax", "ArgMin", "Hardmax")


def integer_inputs(graph: ir.Graph) -> Iterator[Obstacle]:
    """Inputs of integers, a uint8 image say, that are cast to real numbers."""
    for node, path in cast_inputs(graph):
        yield obstacle(_of_type(path[-1]), node)
        for value in path:
            value.type = ir.TensorType(ir.DataType.FLOAT)
        bypass(graph, node, path[0])


def _of_type(entry: ir.Value) -> Kind:
    kind = "integer" if entry.dtype is None else entry.dtype.name.lower()
    return Kind(f"{kind} input", f"input {entry.name!r}: {INTEGER_INPUT.reason}", INTEGER_INPUT.remedy)


def selected_outputs(graph: ir.Graph) -> Iterator[Obstacle]:
    """Outputs that are the place, or the value, of what is largest."""
    for node in list(graph):
        if not is_a(node, *_CHOOSES):
            continue
        ends = list(_ends(node))
        source = operand(node, 0)
        if not ends or any(not value.is_graph_output() for value in ends):
            continue
        yield obstacle(CHOSEN_CLASS, node)
        kept = [value for value in graph.outputs if value not in ends]
        kept += [source] if source not in kept and source.producer() is not None else []
        graph.outputs.clear()
        graph.outputs.extend(kept)


def _ends(node: ir.Node) -> Iterator[ir.Value]:
    """The values that a node's outputs become by casts and movement alone: what is read by others, or leaves the graph."""
    for value in node.outputs:
        for reader in readers(value):
            if is_a(reader, "Cast", "Identity") or view_above(reader.outputs[0]) is not None:
                yield from _ends(reader)
            else:
                yield value
        if value.is_graph_output():
            yield value


def gates(graph: ir.Graph) -> Iterator[Obstacle]:
    """Choices that the network goes on with, up to where they meet the rest of it."""
    taken: set[ir.Node] = set()
    for node in list(graph):
        if not is_a(node, *_CHOOSES) or node in taken:
            continue
        yield obstacle(GATE, node)
        region, last = _region(graph, node)
        taken |= region
        if last is not None:
            region |= set(_probabilities(region))
            read = [value for inner in region for value in activations(inner) if value.producer() not in region]
            stand_in(last, last.outputs[0], read)


def _probabilities(region: set[ir.Node]) -> Iterator[ir.Node]:
    """The softmaxes, and what only moves them, that a region alone reads."""
    for node in region:
        for value in activations(node):
            while (above := value.producer()) is not None and above not in region and set(readers(value)) <= region:
                view = view_above(value)
                if view is None:
                    if is_a(above, "Softmax"):
                        yield above
                    break
                value = operand(view, 0)


def _region(graph: ir.Graph, first: ir.Node) -> tuple[set[ir.Node], ir.Node | None]:
    """The nodes that depend on a choice, up to the first through whose output alone it goes on, together with other activations;
    and that node, None where there is none."""
    region = {first}
    begun = False
    for node in graph:
        begun = begun or node is first
        if node is first or not begun or not any(value.producer() in region for value in activations(node)):
            continue
        region.add(node)
        live = {
            value for inner in region for value in inner.outputs
            if value.is_graph_output() or any(reader not in region for reader in readers(value))
        }  # fmt: skip
        beside = any(value.producer() not in region for value in activations(node))
        joins = beside or all(value.producer() is not first for value in activations(node))
        if joins and live == {node.outputs[0]} and node.outputs[0].dtype == ir.DataType.FLOAT:
            return region, node
    return region, None
