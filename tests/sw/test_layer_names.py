"""Layers have names of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import edgeflow
from edgeflow.hw.graph import Graph
from edgeflow.hw.layer_names import layer_names
from edgeflow.hw.ops.base import operator

Get = Callable[[str], tuple[Any, Any]]


def quantized(networks: Get, name: str) -> Graph:
    return edgeflow.quantize(*networks(name)).graph


@pytest.mark.parametrize("name", ["vit", "bert-mean"])
def test_no_two_layers_share_a_name(networks: Get, name: str) -> None:
    graph = quantized(networks, name)
    names = layer_names(graph)
    assert list(names) == [node.output for node in graph.nodes]
    assert len(set(names.values())) == len(names)
    assert all(names[node.output].startswith(node.origin) for node in graph.nodes)


def test_queries_keys_and_values_say_what_they_are(networks: Get) -> None:
    """Those of one matrix product are told apart by the attention that reads them; layers that are alone keep the model's name."""
    graph = quantized(networks, "vit")
    names = layer_names(graph)
    for node in graph.nodes:
        if node.op != "attention":
            continue
        layers = [names[name] for name in node.inputs[: [port.name for port in operator(node).ports].index("exponent")]]
        origin = layers[0].removesuffix(" (query)")
        assert layers == [f"{origin} ({role})" for role in ("query", "key", "value")]
    alone = [node for node in graph.nodes if sum(other.origin == node.origin for other in graph.nodes) == 1]
    assert alone
    assert all(names[node.output] == node.origin for node in alone)
