"""The canonical float graph as the quantizer reads it: names, constants, producers and consumers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeflow.quant.formats.exact_constants import exact_constant

ORIGIN = "edgeflow.origin"


@dataclass(frozen=True)
class Use:
    """One reading of a value: the node and which of its inputs."""

    node: ir.Node
    index: int


@dataclass(frozen=True)
class FloatGraph:
    """Read access to a canonical model by value name."""

    model: ir.Model

    @cached_property
    def nodes(self) -> tuple[ir.Node, ...]:
        """The nodes in topological order."""
        return tuple(self.model.graph)

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the model's inputs."""
        return tuple(str(value.name) for value in self.model.graph.inputs)

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Names of the model's outputs."""
        return tuple(str(value.name) for value in self.model.graph.outputs)

    @cached_property
    def producers(self) -> dict[str, ir.Node]:
        """The node that makes each value."""
        return {str(value.name): node for node in self.nodes for value in node.outputs}

    @cached_property
    def uses(self) -> dict[str, tuple[Use, ...]]:
        """Every reading of each value; constant tokens read no more than the batch size, which does not count."""
        found: dict[str, list[Use]] = {}
        for node in self.nodes:
            if node.op_type == "ConstantTokens":
                continue
            for i, value in enumerate(node.inputs):
                if value is not None:
                    found.setdefault(str(value.name), []).append(Use(node, i))
        return {name: tuple(uses) for name, uses in found.items()}

    def uses_of(self, name: str) -> tuple[Use, ...]:
        """The readings of a value; none for an unused output."""
        return self.uses.get(name, ())

    def sole_use(self, name: str) -> Use | None:
        """The only reading of a value that is not a model output."""
        uses = self.uses_of(name)
        return uses[0] if len(uses) == 1 and name not in self.outputs else None

    def constant(self, name: str) -> NDArray[Any] | None:
        """The array of an initializer, or of constant tokens with a leading batch axis of 1; None for an activation."""
        producer = self.producers.get(name)
        if producer is not None and producer.op_type == "ConstantTokens":
            return self.constant(required_input(producer, 1))
        value = self.model.graph.initializers.get(name)
        return None if value is None or value.const_value is None else value.const_value.numpy()

    def exact(self, name: str) -> NDArray[np.float64] | None:
        """The same in double precision, as it was before it was rounded where the model knows (see
        quant/formats/exact_constants.py)."""
        producer = self.producers.get(name)
        if producer is not None and producer.op_type == "ConstantTokens":
            return self.exact(required_input(producer, 1))
        array = self.constant(name)
        return None if array is None else exact_constant(self.model.graph.initializers[name], array)


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


def parameter(graph: FloatGraph, node: ir.Node, index: int) -> NDArray[np.float64]:
    """A constant input in double precision."""
    array = graph.exact(required_input(node, index))
    if array is None:
        raise ValueError(f"{origin(node)}: input {index} of {node.op_type} must be a constant")
    return array


def sample_shape(value: ir.Value) -> tuple[int, ...]:
    """Shape of one sample of a model input or output: the axes after the batch, which are fixed in a canonical model."""
    assert value.shape is not None
    assert all(isinstance(size, int) for size in value.shape[1:])
    return tuple(size for size in value.shape[1:] if isinstance(size, int))
