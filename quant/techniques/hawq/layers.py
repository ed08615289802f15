"""The layers whose bits are allocated, and what a choice of bits costs in memory and in bit operations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgeflow.hw.errors import InputError
from edgeflow.quant.canonical.base import operator
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.linear import linear_layer
from edgeflow.quant.formats.config import LayerBits, QuantizationConfig
from edgeflow.quant.nodes import origin, output_name, required_input

FULL = LayerBits(weight=8, activation=8)
WEIGHT_BITS = (2, 3, 4, 5, 6, 7, 8)
ACTIVATION_BITS = (4, 8)  # the array gains from 4 bits, and from no width between


@dataclass(frozen=True)
class Layer:
    """One linear layer of the model, which may have become several nodes of the canonical graph (queries, keys and values of one
    product, say).

    ``weights``: names of its weights; ``outputs`` and ``activations``: what its nodes make and read, in the same order.
    ``parameters``: number of weights; ``macs`` of one sample. ``fixed``: its bits are not to be chosen: 8.
    ``widths``: of the activation, in ascending order, that may be chosen.
    """

    name: str
    weights: tuple[str, ...]
    outputs: tuple[str, ...]
    activations: tuple[str, ...]
    parameters: int
    macs: int
    fixed: bool
    widths: tuple[int, ...] = ACTIVATION_BITS

    def choices(self) -> tuple[LayerBits, ...]:
        """The bits that the layer may have, the most first."""
        if self.fixed:
            return (FULL,)
        return tuple(LayerBits(weight=w, activation=a) for a in reversed(self.widths) for w in reversed(WEIGHT_BITS))

    def size(self, bits: LayerBits) -> int:
        """Bits of memory that the weights take."""
        return self.parameters * bits.weight

    def bops(self, bits: LayerBits) -> int:
        """Bit operations of one sample: multiply-accumulates times bits of both operands (HAWQ-V3, arXiv 2011.10680)."""
        return self.macs * bits.weight * bits.activation


def find_layers(graph: FloatGraph, ends: bool = False, widths: tuple[int, ...] = ACTIVATION_BITS) -> tuple[Layer, ...]:
    """The linear layers of a model in the order of the network.

    The first layer and the last are fixed unless ``ends``; an embedding counts as the first. InputError for a model without any.
    """
    nodes = graph.layers()
    first = next((op.origin for op in graph.operators if op.weighted), "")
    if not nodes:
        raise InputError("the model has no linear layer: there are no weights to allocate bits to")
    fixed = set() if ends else {first, origin(nodes[-1])}
    layers = []
    for name in dict.fromkeys(origin(node) for node in nodes):
        mine = [node for node in nodes if origin(node) == name]
        weights = tuple(required_input(node, 1) for node in mine)
        arrays = [graph.constant(weight) for weight in weights]
        sizes = [array.size for array in arrays if array is not None]
        macs = 0
        for node, array in zip(mine, arrays, strict=True):
            assert array is not None
            shape = [size for size in node.outputs[0].shape or () if isinstance(size, int)]
            outputs = array.shape[linear_layer(node).output_axis]
            macs += int(np.prod(shape, dtype=np.int64)) * (array.size // outputs)
        outputs_of = tuple(output_name(node) for node in mine)
        reads = tuple(required_input(node, 0) for node in mine)
        layers.append(Layer(name, weights, outputs_of, reads, sum(sizes), macs, name in fixed, widths))
    return tuple(layers)


def attention_bops(graph: FloatGraph, config: QuantizationConfig) -> int:
    """Bit operations of one sample in the products of attention, whose bits are not allocated."""
    total = 0
    for node in graph.nodes:
        shapes = [tuple(size for size in (v.shape or ()) if isinstance(size, int)) for v in node.inputs if v is not None]
        total += operator(node).bit_operations(shapes, config)
    return total


def layers_config(config: QuantizationConfig, bits: Mapping[str, LayerBits]) -> QuantizationConfig:
    """``config`` with the bits of every layer given."""
    return config.model_copy(update={"layers": dict(bits)})
