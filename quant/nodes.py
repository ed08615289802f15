"""Nodes of the canonical float graph: their names, their origin in the user's file, their inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

DOMAIN = "edgeflow"
"""Operator domain of EdgeFlow's own canonical operators."""
ORIGIN = "edgeflow.origin"
"""Metadata key: name of the ONNX node that a node comes from."""


@dataclass(frozen=True)
class Use:
    """One reading of a value: the node and which of its inputs."""

    node: ir.Node
    index: int


def origin(node: ir.Node) -> str:
    """The name of the model's own node, for messages."""
    return node.metadata_props.get(ORIGIN) or node.name or node.op_type


def input_name(node: ir.Node, index: int) -> str | None:
    """Name of an input; None where an optional one is left out."""
    if index >= len(node.inputs):
        return None
    value = node.inputs[index]
    return None if value is None else str(value.name)


def required_input(node: ir.Node, index: int) -> str:
    """Name of an input that the operator always has."""
    name = input_name(node, index)
    if name is None:
        raise ValueError(f"{origin(node)}: {node.op_type} has no input {index}")
    return name


def output_name(node: ir.Node) -> str:
    """Name of the first output."""
    return str(node.outputs[0].name)


def sample_shape(value: ir.Value) -> tuple[int, ...]:
    """Shape of one sample of a model input or output: the axes after the batch, which are fixed in a canonical model."""
    assert value.shape is not None
    assert all(isinstance(size, int) for size in value.shape[1:])
    return tuple(size for size in value.shape[1:] if isinstance(size, int))
