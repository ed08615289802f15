"""Where a network is quantized in training: the tensors that linear layers and attention read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeflow.hw.graph import QType
from edgeflow.quant.canonical.graph import FloatGraph, Use, required_input
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.formats.observe import Statistics
from edgeflow.quant.formats.plan import UNARY
from edgeflow.quant.formats.ranges import asymmetric, symmetric, tensor_groups
from edgeflow.quant.formats.widths import LINEAR, Widths

MOVED = ("SelectTokens", "Reshape", "Transpose")


@dataclass(frozen=True)
class Site:
    """A tensor that is quantized: its ``value`` in the float graph, and the readings that get it so. One format for the tensor
    commutes with moving it: readings behind a move count, and so does the move."""

    value: str
    attention: bool
    readings: tuple[Use, ...]


def find_sites(graph: FloatGraph) -> tuple[Site, ...]:
    """The tensors that linear layers, and apart from them those that attention reads as queries, keys or values."""
    found: dict[tuple[str, bool], list[Use]] = {}
    for node in graph.nodes:
        attention = node.op_type == "Attention"
        if node.op_type not in LINEAR and not attention:
            continue
        for index in range(3 if attention else 1):
            value, readings = required_input(node, index), [Use(node, index)]
            while (producer := graph.producers.get(value)) is not None and producer.op_type in MOVED and graph.sole_use(value):
                readings.append(Use(producer, 0))
                value = required_input(producer, 0)
            known = found.setdefault((value, attention), [])
            known += [use for use in readings if use not in known]
    return tuple(Site(value, attention, tuple(readings)) for (value, attention), readings in found.items())


def first_formats(
    graph: FloatGraph, sites: tuple[Site, ...], statistics: Mapping[str, Statistics], config: QuantizationConfig
) -> tuple[QType, ...]:
    """The format that each site starts with, from calibration as in post-training quantization, with one scale a tensor.

    Inputs of the network and outputs of activation functions get a zero point where they reach below 0 at all, everything else is
    signed around 0.
    """
    widths = Widths(graph, config)
    made = []
    for site in sites:
        stats = statistics[site.value]
        bits = config.attention_bits if site.attention else widths.activation(site.value)
        producer = graph.producers.get(site.value)
        if not site.attention and (producer is None or producer.op_type in UNARY):
            chosen = asymmetric(stats, bits, config)
            made.append(QType(bits, False, chosen.scale, chosen.zero_point + (1 << (bits - 1))))
        else:
            scale = symmetric(stats, bits, tensor_groups(len(stats.mean)), config).scale
            made.append(QType(bits, True, float(scale[0])))
    return tuple(made)
