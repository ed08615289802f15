"""How many bits every linear layer and every tensor that linear layers read has."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import onnx_ir as ir

from edgeflow.hw.errors import InputError
from edgeflow.quant.canonical.base import Training, operator
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.formats.config import LayerBits, QuantizationConfig
from edgeflow.quant.formats.prequantized import fixed_format
from edgeflow.quant.integers.parameters import FULL
from edgeflow.quant.nodes import origin, output_name, required_input


class Widths:
    """Bits of the layers and tensors of one network under a configuration. InputError where ``layers`` names none of its layers."""

    def __init__(self, graph: FloatGraph, config: QuantizationConfig) -> None:
        self._graph = graph
        self._config = config
        self._layers = layer_bits(graph, config)

    def layer(self, name: str) -> LayerBits:
        """Bits of a linear layer, by the name of the model's own node."""
        return self._layers[name]

    def weight(self, name: str) -> int:
        """Bits of a linear layer's weights."""
        return self._layers[name].weight

    def activation(self, value: str) -> int:
        """Bits of a tensor: the most that any linear layer asks for which reads it, directly or moved; 8 where none does."""
        return max(self._asked(value), default=FULL)

    def weights_behind(self, value: str) -> int:
        """The fewest bits of the weights that a tensor is multiplied with; 8 where no linear layer reads it."""
        widths = [FULL]
        for use in self._graph.uses_of(value):
            reader = operator(use.node)
            if reader.training is Training.LAYER:
                widths.append(self.weight(reader.origin))
            elif reader.moves:
                widths.append(self.weights_behind(reader.output))
        return min(widths)

    def compensated(self, node: ir.Node) -> bool:
        """Whether the rounding errors of a linear layer's weights compensate each other; never where the weights are given."""
        if fixed_format(node, 1) is not None:
            return False
        rounding = self._config.at(output_name(node)).rounding
        if rounding == "auto":
            return min(self.weight(origin(node)), self.activation(required_input(node, 0))) < FULL
        return rounding == "compensated"

    def _asked(self, value: str) -> list[int]:
        widths = []
        for use in self._graph.uses_of(value):
            reader = operator(use.node)
            if reader.training is Training.LAYER:
                widths.append(self._layers[reader.origin].activation)
            elif reader.moves:
                widths += self._asked(reader.output)
        return widths


def layer_bits(graph: FloatGraph, config: QuantizationConfig) -> Mapping[str, LayerBits]:
    """Bits of every linear layer by the name of the model's own node, in the order of the network.

    The first layer and the last keep 8 bits unless named; the first may be an embedding, which has 8 bits always. InputError where
    ``config.layers`` names a layer that is not there. Formats that the model brings along come before the configuration.
    """
    linear = graph.layers()
    first = next((op.origin for op in graph.operators if op.weighted), "")
    names = list(dict.fromkeys(map(origin, linear)))
    for name in config.layers:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"its layers are {', '.join(names)}" if names else "it has none"
            raise InputError(f"quantization option layers: the model has no linear layer {name!r}; {hint}")
    usual = LayerBits(weight=config.weight_bits, activation=config.activation_bits)
    ends = {first, names[-1]} if names else set()
    chosen = {name: config.layers.get(name, LayerBits() if name in ends else usual) for name in names}
    for node in linear:
        name, x, weight = origin(node), fixed_format(node, 0), fixed_format(node, 1)
        chosen[name] = LayerBits(
            weight=chosen[name].weight if weight is None else weight.bits,
            activation=chosen[name].activation if x is None else x.bits,
        )
    return chosen
