"""What mutations of models are made of: a model's nodes and values, draws, and numbers that files get wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import onnx

Random = np.random.Generator
Entry = TypeVar("Entry")

INTEGERS = (0, 1, -1, 2, 3, 7, -7, 99, 1 << 20, (1 << 31) - 1, 1 << 31, -(1 << 63), (1 << 63) - 1)
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e38, -1e38, float("inf"), float("-inf"), float("nan"))
SIZES = (0, 1, 2, 3, 5, 1 << 16, 1 << 31, 1 << 40)


def all_graphs(graph: onnx.GraphProto) -> list[onnx.GraphProto]:
    inner = [entry for node in graph.node for attribute in node.attribute for entry in (attribute.g, *attribute.graphs)]
    return [graph, *(more for entry in inner if entry.node or entry.output for more in all_graphs(entry))]


def all_nodes(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
    inside = [node for graph in all_graphs(proto.graph) for node in graph.node]
    return inside + [node for function in proto.functions for node in function.node]


def pick(random: Random, entries: Sequence[Entry]) -> Entry:
    return entries[int(random.integers(len(entries)))]


def any_node(random: Random, proto: onnx.ModelProto) -> onnx.NodeProto:
    return pick(random, all_nodes(proto))


def all_values(proto: onnx.ModelProto) -> list[str]:
    graph = proto.graph
    names = [entry.name for entry in (*graph.input, *graph.initializer)]
    return names + [name for node in graph.node for name in node.output]


def change_list(random: Random, entries: Any, values: Sequence[Any]) -> None:
    choice = random.integers(4)
    if choice == 0 or not entries:
        entries.append(pick(random, values))
    elif choice == 1:
        entries.pop()
    elif choice == 2:
        del entries[:]
    else:
        entries[int(random.integers(len(entries)))] = pick(random, values)
