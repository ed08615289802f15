"""From a trained Brevitas network to a canonical model with its weights and formats, and the check that nothing got lost."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeflow.hw.graph import QType
from edgeflow.quant.canonical.base import operator
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.linear import linear_layer
from edgeflow.quant.convert.conversion import Quantized
from edgeflow.quant.formats.prequantized import set_format
from edgeflow.quant.nodes import output_name, required_input
from edgeflow.quant.techniques.qat.network import QuantizedNetwork, evaluating


@dataclass(frozen=True)
class Words:
    """A layer's parameters as Brevitas computes with them: integers ``weight (N, K)`` with ``scale (N,)``, and the real ``bias
    (N,)``."""

    weight: NDArray[np.int64]
    scale: NDArray[np.float64]
    bias: NDArray[np.float32]
    bits: int

    def qtype(self) -> QType:
        """The format of the weights."""
        return QType(self.bits, True, tuple(map(float, self.scale)))


def layer_words(network: QuantizedNetwork) -> dict[int, Words]:
    """Parameters of every linear layer by the place of its node in the graph.

    The bias is rounded to its accumulator's unit, unless nodes with different input scales share it.
    """
    sites = {(use.node, use.index): i for i, site in enumerate(network.sites) for use in site.readings}
    shared = {layer: [n for n, other in network.place.items() if other == layer] for layer in network.place.values()}
    words, formats = {}, network.formats()
    with evaluating(network):
        for place, index in network.place.items():
            layer = network.layer(place)
            quantized = layer.quant_weight()
            scale = quantized.scale.reshape(-1).numpy()
            bias = layer.bias.numpy().copy()
            inputs = {sites[network.graph.nodes[other], 0] for other in shared[index]}
            if len(inputs) == 1:
                step = np.float64(formats[inputs.pop()].scales) * scale.astype(np.float64)
                bias = (np.floor(bias / step + 0.5) * step).astype(np.float32)
            words[place] = Words(quantized.int().numpy().astype(np.int64), scale.astype(np.float64), bias, layer.bits)
    return words


def tuned_model(network: QuantizedNetwork) -> ir.Model:
    """A copy of the network's model with the trained constants, whose nodes say in which formats they read their operands."""
    model = ir.from_proto(ir.to_proto(network.graph.model))
    graph = FloatGraph(model)
    place = {node: i for i, node in enumerate(network.graph.nodes)}
    for site, qtype in zip(network.sites, network.formats(), strict=True):
        for use in site.readings:
            set_format(graph.nodes[place[use.node]], use.index, qtype)
    for at, words in layer_words(network).items():
        node = graph.nodes[at]
        set_format(node, 1, words.qtype())
        weight = (words.weight * words.scale[:, None]).astype(np.float32)
        old = graph.constant(required_input(node, 1))
        assert old is not None
        _replace(model, required_input(node, 1), linear_layer(node).weight_of(weight.T, old.shape))
        _replace(model, required_input(node, 2), words.bias)
    for name in list(model.graph.initializers):
        trained = network.parameter_of(name)
        if trained is not None:
            _replace(model, name, trained)
    return model


def _replace(model: ir.Model, name: str, array: NDArray[np.float32]) -> None:
    model.graph.initializers[name].const_value = ir.tensor(np.ascontiguousarray(array), name=name)


@dataclass(frozen=True)
class Translation:
    """How an integer graph compares with the Brevitas network that it comes from: ``weights`` words and how many of them
    ``differ``, ``formats`` of tensors that linear layers and attention read and the names of those that are ``changed``."""

    weights: int
    differ: int
    formats: int
    changed: tuple[str, ...]


def compare(network: QuantizedNetwork, quantized: Quantized) -> Translation:
    """Compare every weight word, and every format in which a linear layer or attention reads a tensor, with the integer graph of
    the network's :func:`tuned_model`.

    The integer layer of a float node is the one whose weights are named after the output of the node, or of the node that absorbed
    it.
    """
    graph, words = quantized.graph, layer_words(network)
    reading = {(use.node, use.index): i for i, site in enumerate(network.sites) for use in site.readings}
    formats = network.formats()
    count, differ, seen = 0, 0, 0
    changed: list[str] = []
    integer = {node.inputs[1]: node for node in graph.nodes if node.op == "linear"}
    attentions = {node.output.removesuffix("/padded"): node for node in graph.nodes if node.op == "attention"}

    def channels(tensor: str) -> NDArray[np.int64] | slice:
        """Where the model's channels stand in a tensor whose heads may be padded."""
        known = quantized.correspondence.get(tensor)
        return slice(None) if known is None or known.channels is None else known.channels

    for place, node in enumerate(network.graph.nodes):
        name = output_name(node)
        if place in network.place:
            readers = [output_name(use.node) for use in network.graph.uses_of(name)]
            layer = next(integer[key] for key in (f"{other}/weight" for other in (name, *readers)) if key in integer)
            actual = graph.constants[layer.inputs[1]][channels(layer.output)][:, channels(layer.inputs[0])]
            expected = words[place].weight
            count += expected.size
            differ += expected.size if actual.shape != expected.shape else int(np.count_nonzero(actual != expected))
            operands = {0: layer.inputs[0]}
        elif name in attentions:
            operands = {i: attentions[name].inputs[i] for i in operator(node).array_operands()}
        else:
            continue
        for index, tensor in operands.items():
            seen += 1
            if not _same(graph.tensors[tensor].qtype, formats[reading[node, index]], channels(tensor)):
                changed.append(f"{name} input {index}")
    return Translation(count, differ, seen, tuple(changed))


def _same(actual: QType, expected: QType, channels: NDArray[np.int64] | slice) -> bool:
    """Whether a tensor has a format with one scale, in the channels that are the model's."""
    alike = replace(actual, scale=expected.scale) == expected
    return alike and bool(np.all(np.atleast_1d(actual.scales)[channels if actual.scales.ndim else slice(None)] == expected.scales))
