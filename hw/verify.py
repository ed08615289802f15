"""The integer graph's verifier: a table of rules, each of which yields what it finds wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from edgeflow.hw.errors import VerificationError
from edgeflow.hw.graph import Graph
from edgeflow.hw.ops import operator

Rule = Callable[[Graph], Iterator[str]]


def _scales_fit(graph: Graph) -> Iterator[str]:
    for name, tensor in graph.tensors.items():
        if isinstance(tensor.qtype.scale, tuple) and tensor.shape[-1:] != (len(tensor.qtype.scale),):
            yield f"tensor {name} of shape {tensor.shape} has {len(tensor.qtype.scale)} scales"


def _defined_once_in_order(graph: Graph) -> Iterator[str]:
    known = set(graph.inputs) | set(graph.constants)
    for node in graph.nodes:
        for name in node.inputs:
            if name not in known:
                yield f"node {node.origin} ({node.op}) reads {name} before it is computed"
        if node.output in known:
            yield f"node {node.origin} ({node.op}) computes {node.output}, which exists already"
        known.add(node.output)
    for name in graph.outputs:
        if name not in known:
            yield f"output {name} is never computed"


def _types_declared(graph: Graph) -> Iterator[str]:
    names = [*graph.inputs, *graph.constants, *(node.output for node in graph.nodes)]
    for name in names:
        if name not in graph.tensors:
            yield f"tensor {name} has no type"


def _constants_shaped(graph: Graph) -> Iterator[str]:
    for name, value in graph.constants.items():
        format = graph.tensors[name].format
        if value.shape != format.shape:
            yield f"constant {name} has shape {value.shape}, its type says {format.shape}"
        elif value.dtype != np.int64:
            yield f"constant {name} is {value.dtype}, it must be int64"


def _constants_in_range(graph: Graph) -> Iterator[str]:
    for name, value in graph.constants.items():
        format = graph.tensors[name].format
        if value.size and (value.min() < format.minimum or value.max() > format.maximum):
            kind = "signed" if format.signed else "unsigned"
            yield f"constant {name} leaves its {kind} {format.bits}-bit format: [{value.min()}, {value.max()}]"


def _ports_filled(graph: Graph) -> Iterator[str]:
    for node in graph.nodes:
        ports = operator(node).ports
        needed = sum(not port.optional for port in ports)
        if not needed <= len(node.inputs) <= len(ports):
            yield f"node {node.origin} ({node.op}) has {len(node.inputs)} inputs, it takes {needed} to {len(ports)}"
        for name, port in zip(node.inputs, ports, strict=False):
            if port.constant and name not in graph.constants:
                yield f"node {node.origin} ({node.op}): its {port.name}, {name}, must be a constant"


def _types_agree(graph: Graph) -> Iterator[str]:
    for node in graph.nodes:
        try:
            inferred = operator(node).infer(graph.formats(node))
        except ValueError as error:
            yield f"node {node.origin} ({node.op}): {error}"
            continue
        declared = graph.tensors[node.output].format
        if inferred != declared:
            yield f"node {node.origin} ({node.op}): {node.output} is declared {declared}, the operator makes {inferred}"


def _registers_fit(graph: Graph) -> Iterator[str]:
    for node in graph.nodes:
        for register in operator(node).registers(graph.formats(node), graph.node_constants(node)):
            if not register.fits:
                yield (
                    f"node {node.origin} ({node.op}): {register.name} needs [{register.minimum}, {register.maximum}], "
                    f"more than its {register.width.bits} bits"
                )


STRUCTURE: tuple[Rule, ...] = (
    _types_declared,
    _scales_fit,
    _defined_once_in_order,
    _constants_shaped,
    _ports_filled,
    _types_agree,
)
"""What every integer graph is, whatever its numbers are."""
NUMBERS: tuple[Rule, ...] = (_constants_in_range, _registers_fit)
"""Whether the bits of the accelerator are enough for the numbers of a graph that is sound otherwise."""


def violations(graph: Graph, rules: tuple[Rule, ...]) -> str:
    """What the first failing one of some rules has to say, at most five lines of it as one; empty where all hold."""
    for rule in rules:
        lines = list(rule(graph))
        if lines:
            return "; ".join(lines[:5]) + (f"; and {len(lines) - 5} more" if len(lines) > 5 else "")
    return ""


def verify_graph(graph: Graph) -> None:
    """Check every rule; VerificationError lists what the first failing rule has to say.

    The last rule is the proof that no accumulator, product or table entry can overflow its width in the C++, for any input.
    """
    wrong = violations(graph, (*STRUCTURE, *NUMBERS))
    if wrong:
        raise VerificationError(f"integer graph {graph.name}: {wrong}")
