"""Where a network is quantized in training: the tensors that linear layers and attention read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeflow.hw.graph import QType
from edgeflow.quant.canonical.base import operator
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.convert.widths import Widths
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.formats.interpretation import Demand
from edgeflow.quant.formats.ranges import asymmetric, symmetric, tensor_groups
from edgeflow.quant.formats.statistics import Statistics
from edgeflow.quant.nodes import Use


@dataclass(frozen=True)
class Site:
    """A tensor that is quantized: its ``value`` in the float graph, and the readings that get it so. One format for the tensor
    commutes with moving it: readings behind a move count, and so does the move."""

    value: str
    attention: bool
    readings: tuple[Use, ...]


def find_sites(graph: FloatGraph) -> tuple[Site, ...]:
    """The tensors that linear layers, and apart from them those that attention reads as queries, keys or values."""
    sites: dict[tuple[str, bool], list[Use]] = {}
    for node in graph.nodes:
        op = operator(node)
        for index in op.array_operands():
            value, readings = op.input(index), [Use(node, index)]
            attention = op.demand(index) is Demand.ATTENTION
            while (maker := graph.operator(value)) is not None and maker.moves and maker.keeps_format and graph.sole_use(value):
                readings.append(Use(maker.node, 0))
                value = maker.input(0)
            known = sites.setdefault((value, attention), [])
            known += [use for use in readings if use not in known]
    return tuple(Site(value, attention, tuple(readings)) for (value, attention), readings in sites.items())


def first_formats(
    graph: FloatGraph, sites: tuple[Site, ...], statistics: Mapping[str, Statistics], config: QuantizationConfig
) -> tuple[QType, ...]:
    """The format that each site starts with, from calibration as in post-training quantization, with one scale a tensor.

    Inputs of the network and outputs of activation functions get a zero point where they reach below 0 at all, everything else is
    signed around 0.
    """
    widths = Widths(graph, config)
    formats = []
    for site in sites:
        stats = statistics[site.value]
        bits = config.attention_bits if site.attention else widths.activation(site.value)
        maker = graph.operator(site.value)
        if not site.attention and (maker is None or maker.tabulated):
            chosen = asymmetric(stats, bits, config)
            formats.append(QType(bits, False, chosen.scale, chosen.zero_point + (1 << (bits - 1))))
        else:
            scale = symmetric(stats, bits, tensor_groups(len(stats.mean)), config).scale
            formats.append(QType(bits, True, float(scale[0])))
    return tuple(formats)
