"""Where training starts: weights that already compensate the quantization of their inputs, from calibration data alone.

As post-training quantization does it (quant/techniques/compensate.py), in the network in training: one pass over the calibration
samples, in which every linear layer, before it computes, is fitted to what the float network makes, and its rounding errors
compensate each other. A trained weight starts as near to the fitted one as its integer allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeflow.quant.canonical.base import Training, operator
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.torch_graph import TorchGraph
from edgeflow.quant.convert.observe import valid_tokens
from edgeflow.quant.convert.widths import Widths
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.integers.compensate import InputMoments, fitted, input_moments, moments, rounded
from edgeflow.quant.integers.parameters import weight_ends
from edgeflow.quant.nodes import output_name, required_input
from edgeflow.quant.techniques.qat.network import QuantizedNetwork, evaluating, first_steps

SAMPLE_BYTES = 1 << 30  # of all values of the samples that the pass holds
INSIDE = 0.45  # of a step, that a weight may be from what its integer stands for


def compensate(network: QuantizedNetwork, arrays: Mapping[str, NDArray[Any]], config: QuantizationConfig) -> None:
    """Give the layers of fewer than 8 bits (those that ``config.rounding`` says) their first weights, steps and biases.

    ``arrays`` are checked model inputs; as many samples are used as fit into memory.
    """
    graph = network.graph
    values = sum(int(np.prod([size for size in node.outputs[0].shape or () if isinstance(size, int)])) for node in graph.nodes)
    count = max(1, SAMPLE_BYTES // (8 * max(values, 1)))  # float32, in both networks
    few = {name: array[:count] for name, array in arrays.items()}
    inputs = {name: torch.from_numpy(np.array(array)) for name, array in few.items()}
    wanted = [output_name(node) for node in graph.nodes]
    with torch.no_grad():
        expected = {**inputs, **TorchGraph(graph).run(inputs, wanted).values}
    with evaluating(network):
        network(inputs, (), visit=_Start(network, Widths(graph, config), config, expected, valid_tokens(graph, few)))


class _Start:
    """Called for every linear layer with the place of its node, its input and all values so far."""

    def __init__(
        self,
        network: QuantizedNetwork,
        widths: Widths,
        config: QuantizationConfig,
        expected: Mapping[str, Tensor],
        valid: NDArray[np.bool_] | None,
    ) -> None:
        self._network, self._widths, self._config = network, widths, config
        self._expected = expected
        self._valid = None if valid is None else torch.from_numpy(valid)
        self._done: set[int] = set()
        self._inputs: tuple[tuple[str, tuple[int, ...]], InputMoments] | None = None

    def __call__(self, place: int, x: Tensor, values: Mapping[str, Tensor]) -> None:
        network = self._network
        node, index = network.graph.nodes[place], network.place[place]
        if index in self._done or not self._widths.compensated(node):
            return
        self._done.add(index)
        weight = network.graph.constant(required_input(node, 1))
        assert weight is not None
        source = required_input(node, 0), weight.shape[2:]  # the same tensor as other patches has other rows
        if self._inputs is None or self._inputs[0] != source:
            self._inputs = source, input_moments(self._rows(x))
        inputs = self._inputs[1]
        output = self._expected[output_name(node)]
        lost = self._lost(node, values) if self._config.input_correction else None
        seen = moments(inputs, self._rows(output if lost is None else output + lost))
        layer = network.layer(place)
        weight = layer.weight.detach().numpy().astype(np.float64)
        if self._config.input_correction:
            weight = fitted(weight, seen)
        step = first_steps(weight, np.diag(inputs.covariance), layer.bits)
        q = rounded(weight, step, weight_ends(layer.bits), inputs)
        near = np.clip(weight, (q - INSIDE) * step[:, None], (q + INSIDE) * step[:, None])
        bias = layer.bias.detach().numpy().astype(np.float64)
        if self._config.bias_correction:
            bias = seen.mean - (q * step[:, None]) @ inputs.mean
        layer.begin(near, bias, step)

    def _lost(self, node: ir.Node, values: Mapping[str, Tensor]) -> Tensor | None:
        """The quantization error of the other operand of an addition that reads the output, which the layer can compensate."""
        graph: FloatGraph = self._network.graph
        use = graph.sole_use(output_name(node))
        if use is None or not (adder := operator(use.node)).sums:
            return None
        other = adder.input(1 - use.index)
        maker = graph.operator(other)
        if (
            maker is None
            or maker.training is Training.LAYER
            or other not in values
            or values[other].shape != self._expected[other].shape
        ):
            return None
        return self._expected[other] - values[other]

    def _rows(self, value: Tensor) -> NDArray[np.float32]:
        """Rows ``(n, C)`` of a value without the tokens that the key mask excludes."""
        if self._valid is not None and value.ndim >= 3 and value.shape[1] == self._valid.shape[1]:
            value = value[self._valid]
        rows: NDArray[np.float32] = value.reshape(-1, value.shape[-1]).numpy()
        return rows
