"""The integer graph's verifier: each rule catches the fault it is there for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from small_network import small_network

from edgeflow.hw.errors import VerificationError
from edgeflow.hw.graph import Graph, Node, TensorType
from edgeflow.hw.verify import verify_graph


def with_node(graph: Graph, index: int, change: Callable[[Node], Node]) -> Graph:
    nodes = list(graph.nodes)
    nodes[index] = change(nodes[index])
    return replace(graph, nodes=tuple(nodes))


def with_constant(graph: Graph, name: str, value: np.ndarray) -> Graph:
    return replace(graph, constants={**graph.constants, name: value})


def with_type(graph: Graph, name: str, change: Callable[[TensorType], TensorType]) -> Graph:
    return replace(graph, tensors={**graph.tensors, name: change(graph.tensors[name])})


def untyped(graph: Graph) -> Graph:
    return replace(graph, tensors={name: tensor for name, tensor in graph.tensors.items() if name != "token"})


def overflowing(graph: Graph) -> Graph:
    """The accumulator's worst case is just above 2^31: the bias and 32 products of at most 127 x 128."""
    bias = np.full_like(graph.constants["fc1.0.bias"], (1 << 31) - 1)
    return with_constant(graph, "fc1.0.bias", bias)


FAULTS: dict[str, tuple[Callable[[Graph], Graph], str]] = {
    "a tensor without a type": (untyped, "tensor token has no type"),
    "nodes in the wrong order": (lambda g: replace(g, nodes=g.nodes[::-1]), "before it is computed"),
    "a tensor computed twice": (lambda g: replace(g, nodes=(*g.nodes, g.nodes[-1])), "computes logits, which exists already"),
    "an output that nothing computes": (lambda g: replace(g, outputs=("fc9.out",)), "output fc9.out is never computed"),
    "a constant of another shape": (
        lambda g: with_constant(g, "fc1.0.bias", g.constants["fc1.0.bias"][1:]),
        "constant fc1.0.bias has shape (79,), its type says (80,)",
    ),
    "a constant of another type": (
        lambda g: with_constant(g, "fc1.0.bias", g.constants["fc1.0.bias"].astype(np.float64)),
        "constant fc1.0.bias is float64, it must be int64",
    ),
    "a constant outside its format": (
        lambda g: with_constant(g, "fc1.0.weight", g.constants["fc1.0.weight"] + 1),
        "constant fc1.0.weight leaves its signed 8-bit format: [-126, 128]",
    ),
    "a node with too few inputs": (
        lambda g: with_node(g, 0, lambda n: replace(n, inputs=n.inputs[:3])),
        "node /fc1.0/MatMul (linear) has 3 inputs, it takes 4 to 6",
    ),
    "an activation for weights": (
        lambda g: with_node(g, 1, lambda n: replace(n, inputs=(n.inputs[0], "image", *n.inputs[2:]))),
        "node /fc2.0/MatMul (linear): its weight, image, must be a constant",
    ),
    "an operator that refuses its operands": (
        lambda g: with_node(g, 0, lambda n: replace(n, attributes={**n.attributes, "has_residual": True})),
        "a linear layer has a table or a residual, not both",
    ),
    "a type that the operator does not make": (
        lambda g: with_type(g, "token", lambda t: replace(t, qtype=replace(t.qtype, bits=16))),
        "token is declared",
    ),
    "an accumulator that may overflow": (overflowing, "node /fc1.0/MatMul (linear): accumulator needs"),
    "a multiplier that is too long": (
        lambda g: with_constant(g, "head.multiplier", g.constants["head.multiplier"] + (1 << 24)),
        "node /head/MatMul (linear): multiplier needs [0, ",
    ),
    "a multiplier that is too long for a table's index": (
        lambda g: with_constant(g, "fc1.0.multiplier", g.constants["fc1.0.multiplier"] + (1 << 17)),
        "node /fc1.0/MatMul (linear): multiplier needs [0, ",
    ),
    "a product with its rounding that may overflow": (
        lambda g: with_node(g, 1, lambda n: replace(n, attributes={**n.attributes, "shift": 57})),
        "node /fc2.0/MatMul (linear): product needs [",
    ),
}


def test_a_sound_graph_passes() -> None:
    verify_graph(small_network())


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named(fault: str) -> None:
    change, message = FAULTS[fault]
    with pytest.raises(VerificationError, match=r"^integer graph small: ") as caught:
        verify_graph(change(small_network()))
    assert message in str(caught.value)


def test_many_faults_are_counted() -> None:
    graph = small_network(blocks=5)
    with pytest.raises(VerificationError, match=r"; and \d+ more$"):
        verify_graph(replace(graph, tensors={}))
