"""16-bit copies of narrow residuals: a linear layer reads its residual from the wide memory, whatever its bits."""

from __future__ import annotations

import dataclasses

import numpy as np

from edgeflow.hw.arrays import IntArray
from edgeflow.hw.graph import Graph, Node, QType, TensorType
from edgeflow.hw.ops import make_node, operator
from edgeflow.hw.ops.requantize import Requantize
from edgeflow.hw.verify import verify_graph


def with_wide_copies(graph: Graph) -> Graph:
    """The same graph with a 16-bit copy of every residual of up to 8 bits that cannot lie in the wide memory itself; verified."""
    operators = [operator(node) for node in graph.nodes]
    widens = {node.output: op.widens for node, op in zip(graph.nodes, operators, strict=True)}
    # Tensors that nothing reads but from the wide memory.
    shared = set(graph.outputs)
    for node, op in zip(graph.nodes, operators, strict=True):
        shared |= {name for index, name in enumerate(node.inputs) if not op.reads_wide(index)}
    tensors, constants = dict(graph.tensors), dict(graph.constants)
    nodes: list[Node] = []
    for node, op in zip(graph.nodes, operators, strict=True):
        inputs = list(node.inputs)
        for index, name in enumerate(node.inputs):
            if not op.reads_wide(index) or name in constants or tensors[name].format.bits > 8:
                continue
            if name not in shared and widens.get(name, False):
                continue
            inputs[index] = f"{name}/wide"
            if inputs[index] not in tensors:
                nodes.append(_copy(tensors, constants, name, inputs[index], node.origin))
        nodes.append(dataclasses.replace(node, inputs=tuple(inputs)))
    if len(nodes) == len(graph.nodes):
        return graph
    copied = dataclasses.replace(graph, tensors=tensors, constants=constants, nodes=tuple(nodes))
    verify_graph(copied)
    return copied


def _copy(tensors: dict[str, TensorType], constants: dict[str, IntArray], name: str, copy: str, origin: str) -> Node:
    source = tensors[name]
    tensors[copy] = TensorType(source.shape, QType(16, True, source.qtype.scale, source.qtype.zero_point))
    channels = source.format.channels
    ones = f"{copy}/multiplier"
    tensors[ones] = TensorType((channels,), QType(32, True, 1.0))
    constants[ones] = np.ones(channels, dtype=np.int64)
    return make_node(Requantize(shift=0, zero_point=0, bits=16, signed=True, half_even=False), (name, ones), copy, origin)
