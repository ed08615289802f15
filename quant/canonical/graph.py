"""The canonical float graph as the quantizer reads it: names, constants, producers and consumers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from edgeflow.hw.arrays import Real
from edgeflow.quant.canonical.base import FloatOperator, layers, operator
from edgeflow.quant.canonical.session import FloatSession
from edgeflow.quant.formats.exact_constants import exact_constant
from edgeflow.quant.nodes import Use, origin, output_name, required_input


@dataclass(frozen=True)
class FloatGraph:
    """Read access to a canonical model by value name."""

    model: ir.Model

    @cached_property
    def nodes(self) -> tuple[ir.Node, ...]:
        """The nodes in topological order."""
        return tuple(self.model.graph)

    @cached_property
    def operators(self) -> tuple[FloatOperator, ...]:
        """The nodes as operators; UnsupportedError for a node that is no canonical operator."""
        return tuple(operator(node) for node in self.nodes)

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
        """Every reading of each value; the number of samples alone does not count, nor what constants for every sample are made
        of."""
        readings: dict[str, list[Use]] = {}
        for op in self.operators:
            for i, value in enumerate(op.node.inputs):
                if value is not None and not op.reads_nothing(i):
                    readings.setdefault(str(value.name), []).append(Use(op.node, i))
        return {name: tuple(uses) for name, uses in readings.items()}

    @cached_property
    def every_tensor(self) -> FloatSession:
        """What every node computes, in onnxruntime."""
        return FloatSession(self.model, [output_name(node) for node in self.nodes])

    def uses_of(self, name: str) -> tuple[Use, ...]:
        """The readings of a value; none for an unused output."""
        return self.uses.get(name, ())

    def sole_use(self, name: str) -> Use | None:
        """The only reading of a value that is not a model output."""
        uses = self.uses_of(name)
        return uses[0] if len(uses) == 1 and name not in self.outputs else None

    def constant(self, name: str) -> NDArray[Any] | None:
        """The array of an initializer, or of constant tokens with a leading batch axis of 1; None for an activation."""
        name = self._repeated(name)
        value = self.model.graph.initializers.get(name)
        return None if value is None or value.const_value is None else value.const_value.numpy()

    def exact(self, name: str) -> Real | None:
        """The same in double precision, as it was before it was rounded where the model knows (see
        quant/formats/exact_constants.py)."""
        name = self._repeated(name)
        array = self.constant(name)
        return None if array is None else exact_constant(self.model.graph.initializers[name], array)

    def parameter(self, node: ir.Node, index: int) -> Real:
        """A constant input in double precision."""
        array = self.exact(required_input(node, index))
        if array is None:
            raise ValueError(f"{origin(node)}: input {index} of {node.op_type} must be a constant")
        return array

    def operator(self, name: str) -> FloatOperator | None:
        """The operator that makes a value; None for inputs and constants."""
        producer = self.producers.get(name)
        return None if producer is None else operator(producer)

    def layers(self) -> list[ir.Node]:
        """The linear layers, in order."""
        return layers(self.nodes)

    def _repeated(self, name: str) -> str:
        """The initializer behind a constant that is repeated for every sample; any other value as it is."""
        producer = self.operator(name)
        constant = None if producer is None else producer.repeated_constant()
        return name if constant is None else constant
