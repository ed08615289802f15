"""Moving scales and offsets of channels between layers, so that one scale serves a tensor nearly as well as one a channel.

Post-training quantization gives narrow tensors a scale and an offset per channel (quant/formats/plan.py). The same network with
these folded into its float weights needs one scale a tensor: what a layer normalization, the linear layer before a ReLU, or the
values of attention make is divided, and the weights that read it are multiplied. The float network computes the same (Nagel et al.,
arXiv 1906.04721, section 4.1; RepQ-ViT, arXiv 2212.08254); training then moves both as it likes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeflow.hw.arrays import Real
from edgeflow.quant.canonical.base import Scaling, operator
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.convert.plan import Plan
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.formats.interpretation import Demand, Interpretation
from edgeflow.quant.formats.statistics import Statistics
from edgeflow.quant.nodes import output_name, required_input


def equalized(graph: FloatGraph, statistics: Mapping[str, Statistics], config: QuantizationConfig) -> dict[str, NDArray[Any]]:
    """New values, by name, of the constants that change."""
    if not config.equalization:
        return {}
    plan = Plan(graph, statistics, config)
    folding = _Folding(graph)
    for node in graph.nodes:
        name = output_name(node)
        op = operator(node)
        if [op.demand(i) for i in op.array_operands()] == [Demand.ATTENTION] * 3:
            _attention(node, plan, folding)
        elif plan.demands(name) == {Demand.NARROW} and op.scaling is not Scaling.NO:
            maker = node if op.scaling is Scaling.AFFINE else plan.fused_linear(node)
            if maker is None:
                continue
            readers = _readers(graph, name)
            if folding.free(maker, *readers):
                ratio, offset = _channels(plan.chosen(name))
                if op.scaling is Scaling.HOMOGENEOUS:
                    offset = np.zeros_like(offset)
                folding.divide(maker, ratio, offset)
                folding.multiply(readers, ratio, offset)
    return {name: array.astype(np.float32) for name, array in folding.changed.items()}


def _attention(node: ir.Node, plan: Plan, folding: _Folding) -> None:
    """Balance queries against keys, centre keys, and give values the scales and offsets of the output's channels."""
    graph = plan.graph
    makers = [graph.operator(required_input(node, i)) for i in range(3)]
    if any(maker is None or not maker.any_scales or graph.sole_use(maker.output) is None for maker in makers):
        return
    query, key, value = (maker.node for maker in makers if maker is not None)
    formats = plan.attention(node)
    if folding.free(query, key):
        ratio = np.sqrt(formats.query.qtype.scales / formats.key.qtype.scales)
        folding.divide(query, ratio, np.zeros_like(ratio))
        centre = formats.key.offset if formats.key.offset is not None else np.zeros_like(ratio)
        folding.divide(key, 1.0 / ratio, centre)  # what every key has in common, softmax does not see
    name = output_name(node)
    readers = _readers(graph, name)
    if plan.demands(name) == {Demand.NARROW} and folding.free(value, *readers):
        ratio, offset = _channels(formats.output)
        folding.divide(value, ratio, offset)  # weights of attention sum to 1: the output has the offsets of the values
        folding.multiply(readers, ratio, offset)


def _channels(chosen: Interpretation) -> tuple[Real, Real]:
    """Scale of every channel over their geometric mean, and its offset."""
    scales = np.atleast_1d(chosen.qtype.scales)
    ratio = scales / np.exp(np.log(scales).mean())
    return ratio, np.zeros_like(ratio) if chosen.offset is None else chosen.offset


def _readers(graph: FloatGraph, name: str) -> list[ir.Node]:
    """The linear layers that read a value, directly or after a selection of tokens."""
    layers = []
    for use in graph.uses_of(name):
        reader = operator(use.node)
        if reader.moves:
            layers += _readers(graph, reader.output)
        else:
            layers.append(use.node)
    return layers


class _Folding:
    """The constants of a network as they change, in double precision."""

    def __init__(self, graph: FloatGraph) -> None:
        self._graph = graph
        self.changed: dict[str, Real] = {}

    def free(self, *nodes: ir.Node) -> bool:
        """Whether the weights of all nodes are theirs alone."""
        return all(len(self._graph.uses_of(required_input(node, i))) == 1 for node in nodes for i in (1, 2))

    def divide(self, node: ir.Node, ratio: Real, offset: Real) -> None:
        """Have a linear layer or layer normalization make ``(y - offset) / ratio`` in place of ``y``."""
        self._set(node, 1, self._get(node, 1) / ratio)
        self._set(node, 2, (self._get(node, 2) - offset) / ratio)

    def multiply(self, nodes: list[ir.Node], ratio: Real, offset: Real) -> None:
        """Have linear layers read ``x * ratio + offset`` in place of ``x``."""
        for node in nodes:
            weight = self._get(node, 1)
            self._set(node, 2, self._get(node, 2) + offset @ weight)
            self._set(node, 1, weight * ratio[:, None])

    def _get(self, node: ir.Node, index: int) -> Real:
        name = required_input(node, index)
        if name not in self.changed:
            array = self._graph.constant(name)
            assert array is not None
            self.changed[name] = array.astype(np.float64)
        return self.changed[name]

    def _set(self, node: ir.Node, index: int, array: Real) -> None:
        self.changed[required_input(node, index)] = array
