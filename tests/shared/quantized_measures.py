"""What the tests of models that are quantized already measure of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeflow.hw.arrays import Array
from edgeflow.hw.graph import Graph
from edgeflow.quant.canonical.inputs import encode_inputs
from edgeflow.sim.executor import Executor


def sqnr(expected: Array, actual: Array) -> float:
    """Signal-to-noise ratio in dB."""
    return float(10 * np.log10(np.square(expected).mean() / max(np.square(expected - actual).mean(), 1e-30)))


def integers(graph: Graph, x: Array) -> dict[str, NDArray[np.int64]]:
    """Every tensor of a graph with one input."""
    return Executor(graph).run_all(encode_inputs(graph, {graph.inputs[0]: x}))


def formats(graph: Graph) -> dict[str, tuple[int, bool, float]]:
    """Bits, sign and scale of the tensors with one scale."""
    return {
        name: (tensor.qtype.bits, tensor.qtype.signed, tensor.qtype.scale)
        for name, tensor in graph.tensors.items()
        if isinstance(tensor.qtype.scale, float)
    }
