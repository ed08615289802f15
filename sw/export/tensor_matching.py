"""Which integer tensor stands behind every reading of the float model, found by walking the integer graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import onnx_ir as ir

from edgeflow.hw.graph import Graph, Node, QType
from edgeflow.quant.canonical.base import Training, operator
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.formats.interpretation import Correspondence
from edgeflow.quant.nodes import output_name, required_input

RESIDUAL = 4  # input of an integer linear layer
_TRANSPARENT = ("requantize", "patches")  # their output stands for the value that their input stands for


@dataclass(frozen=True)
class Readings:
    """A canonical float model beside its integer graph."""

    model: FloatGraph
    graph: Graph
    correspondence: Mapping[str, Correspondence]

    @cached_property
    def makers(self) -> dict[str, Node]:
        """The integer node that makes each tensor."""
        return {node.output: node for node in self.graph.nodes}

    @cached_property
    def _first(self) -> dict[str, str]:
        tensors: dict[str, str] = {}
        for tensor in (*self.graph.inputs, *self.makers):
            if tensor in self.correspondence:
                value = self.correspondence[tensor].name
                if value == tensor or value not in tensors:
                    tensors[value] = tensor
        return tensors

    def tensor(self, value: str) -> str | None:
        """The tensor that carries a float value for its readers; None where there is none (masks, what a layer absorbs).

        It has the value's name, or is the first that stands for it. Others are copies of it, or a sum before its rounding.
        """
        return self._first.get(value)

    def value(self, tensor: str) -> str | None:
        """The float value that a tensor stands for."""
        if tensor in self.correspondence:
            return self.correspondence[tensor].name
        maker = self.makers.get(tensor)
        return self.value(maker.inputs[0]) if maker is not None and maker.op in _TRANSPARENT else None

    def format(self, tensor: str) -> QType:
        """The format of a tensor for the channels of the model; one scale where all channels have the same."""
        qtype = self.channel_format(tensor)
        return qtype if np.ptp(qtype.scales) else replace(qtype, scale=float(qtype.scales.flat[0]))

    def channel_format(self, tensor: str) -> QType:
        """The format of a tensor for the channels of the model, with a scale for each where the tensor has that."""
        qtype = self.graph.tensors[tensor].qtype
        scales, known = qtype.scales, self.correspondence.get(tensor)
        if not scales.ndim or known is None or known.channels is None:
            return qtype
        return replace(qtype, scale=tuple(map(float, scales[known.channels])))

    def maker(self, node: ir.Node) -> Node | None:
        """The integer node that computes a float node, or the layer that absorbs it; None for constants."""
        output = output_name(node)
        tensor = self.tensor(output)
        if tensor is None:
            use = self.model.sole_use(output)
            absorbed = use is not None and operator(node).training is Training.LAYER
            return self.maker(use.node) if use is not None and absorbed else None
        producer = self.makers[tensor]
        while producer.op == "requantize" and self.value(producer.inputs[0]) == output:  # a sum made in more bits
            producer = self.makers[producer.inputs[0]]
        return operator(node).integer_maker(producer, self.makers)

    def operand(self, node: ir.Node, index: int) -> str | None:
        """The tensor that stands for input ``index`` of a float node; None where the node reads the float value itself."""
        maker = self.maker(node)
        if maker is None:
            return None
        op = operator(node)
        if op.training is Training.LAYER or maker.op == "table":
            x = maker.inputs[0]
            known = x in self.correspondence or x not in self.makers
            return x if known else self.makers[x].inputs[0]  # behind patches, or the index of a table
        if op.places_operands:
            return op.integer_operand(index, maker, self.makers)
        name, inputs = required_input(node, index), maker.inputs
        if maker.op == "linear":
            inputs = inputs[RESIDUAL : RESIDUAL + 1] if maker.attributes["has_residual"] else ()
        if self.model.constant(name) is not None:
            wide = maker.op in ("add", "multiply", "linear")
            return next((tensor for tensor in inputs if tensor in self.graph.constants), None) if wide else None
        return next((tensor for tensor in inputs if self.value(tensor) == name), None)
