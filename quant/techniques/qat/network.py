"""A canonical float graph as a torch module whose linear layers and attention read quantized tensors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeflow.hw.graph import QType
from edgeflow.quant.canonical.base import Role, Training, operator
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.linear import LinearLayer
from edgeflow.quant.convert.widths import Widths
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.formats.statistics import Statistics
from edgeflow.quant.integers.parameters import clipped_steps, weight_ends
from edgeflow.quant.nodes import origin, required_input
from edgeflow.quant.techniques.qat.quantizer_sites import find_sites, first_formats
from edgeflow.quant.techniques.qat.quantizers import Activation, Layer, like, plain

STEP_SPREAD = 256  # steps of a layer's weights share a multiplier's shift: none starts this many times below the largest
EVALUATED = 64  # samples at a time


class QuantizedNetwork(nn.Module):
    """A network in training.

    ``sites`` and ``activations`` belong together; ``layers`` by the place of their node in the graph, the same for nodes that share
    weight and bias. ``constants`` are the other floats of the model, which train where they are no single numbers.
    """

    def __init__(
        self,
        graph: FloatGraph,
        statistics: Mapping[str, Statistics],
        config: QuantizationConfig,
    ) -> None:
        """``statistics`` of the float graph give the formats to start with, ``config`` the bits."""
        super().__init__()
        self.graph = graph
        self.sites = find_sites(graph)
        self.activations = nn.ModuleList(Activation(first) for first in first_formats(graph, self.sites, statistics, config))
        self.layers = nn.ModuleList()
        self.place: dict[int, int] = {}  # of the layer of a node
        self._make_layers(Widths(graph, config), statistics)
        self._readings = {(use.node, use.index): i for i, site in enumerate(self.sites) for use in site.readings}
        self.constants = nn.ParameterDict()
        self._names: dict[str, str] = {}
        self._integers: dict[str, Tensor] = {}
        self._keep_constants()

    def _make_layers(self, widths: Widths, statistics: Mapping[str, Statistics]) -> None:
        known: dict[tuple[str, str], int] = {}
        for place, node in enumerate(self.graph.nodes):
            op = operator(node)
            if not isinstance(op, LinearLayer):
                continue
            key = required_input(node, 1), required_input(node, 2)
            if key not in known:
                known[key] = len(self.layers)
                weight, bias = (self.graph.constant(name) for name in key)
                assert weight is not None
                assert bias is not None
                matrix = op.matrix(weight.astype(np.float64)).T
                bits = widths.weight(op.origin)
                steps = first_steps(np.ascontiguousarray(matrix), op.input_power(statistics, matrix.shape[1]), bits)
                self.layers.append(Layer(_tensor(matrix), _tensor(bias), bits, _tensor(steps)))
            self.place[place] = known[key]

    def _keep_constants(self) -> None:
        weights = {required_input(node, i) for node in self.graph.layers() for i in (1, 2)}
        for name, value in self.graph.model.graph.initializers.items():
            uses = [(operator(use.node), use.index) for use in self.graph.uses_of(name)]
            if value.const_value is None or (name in weights and all(op.training is Training.LAYER for op, _ in uses)):
                continue
            array = np.array(value.const_value.numpy())
            if array.dtype != np.float32:
                self._integers[name] = torch.from_numpy(array)
                continue
            trained = array.size > 1 and all(op.operand(i).role in (Role.VALUE, Role.PARAMETER) for op, i in uses)
            self._names[name] = key = f"c{len(self._names)}"
            self.constants[key] = nn.Parameter(torch.from_numpy(array), requires_grad=trained)

    def parameter_of(self, name: str) -> NDArray[Any] | None:
        """A constant of the model as trained, by name; None for those of linear layers and for integers."""
        key = self._names.get(name)
        return None if key is None else self.constants[key].detach().numpy().copy()

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        wanted: Collection[str],
        visit: Callable[[int, Tensor, Mapping[str, Tensor]], None] | None = None,
    ) -> dict[str, Tensor]:
        """The ``wanted`` values of the graph for ``inputs (batch, ...)``.

        ``visit(place, x, values)`` is called before every linear layer computes, with what it reads and all values so far.
        """
        values: dict[str, Tensor] = {name: self.constants[key] for name, key in self._names.items()}
        values |= self._integers
        values |= inputs
        formats: dict[int, Any] = {}
        for place, node in enumerate(self.graph.nodes):
            operands, op = [], operator(node)
            for index, value in enumerate(node.inputs):
                if value is None or (place in self.place and index):
                    continue
                name = str(value.name)
                site = self._readings.get((node, index))
                if site is None:
                    operands.append(values[name])
                elif name == self.sites[site].value:
                    if site not in formats:
                        formats[site] = self.activations[site](values[name])
                    operands.append(formats[site])
                else:  # moved since
                    operands.append(like(values[name], formats[site]))
            if isinstance(op, LinearLayer):
                layer, kernel = self.layer(place), self.graph.constant(op.input(1))
                assert kernel is not None
                x = like(op.torch_rows(plain(operands[0]), kernel.shape), operands[0])
                if visit is not None:
                    visit(place, plain(x), values)
                values[op.output] = layer(x)
            else:
                values[op.output] = op.torch(*map(plain, operands))
        return {name: values[name] for name in wanted}

    def outputs(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """The network's outputs for model inputs ``(samples, ...)``, as Brevitas computes them in evaluation."""
        names, count = self.graph.outputs, len(next(iter(arrays.values())))
        parts = []
        with evaluating(self):
            for start in range(0, count, EVALUATED):
                inputs = {
                    name: torch.from_numpy(np.ascontiguousarray(array[start : start + EVALUATED])) for name, array in arrays.items()
                }
                parts.append(self(inputs, names))
        return {name: torch.cat([part[name] for part in parts]).numpy() for name in names}

    def formats(self) -> list[QType]:
        """The format of every site as learned so far."""
        return [self._activation(i).qtype() for i in range(len(self.sites))]

    def _activation(self, site: int) -> Activation:
        activation = self.activations[site]
        assert isinstance(activation, Activation)
        return activation

    def layer(self, place: int) -> Layer:
        """The layer of the node at a place of the graph."""
        layer = self.layers[self.place[place]]
        assert isinstance(layer, Layer)
        return layer

    def switch(self, layers: Collection[str]) -> None:
        """Quantize the linear layers of these names (of the model's own nodes) and what they read, not the others."""
        on = [i not in self.place or origin(node) in layers for i, node in enumerate(self.graph.nodes)]
        place = {node: i for i, node in enumerate(self.graph.nodes)}
        readers = [[place[use.node] for use in site.readings if place[use.node] in self.place] for site in self.sites]
        reading = [any(on[i] for i in places) for places in readers]
        for i, (site, wanted) in enumerate(zip(self.sites, reading, strict=True)):
            self._activation(i).switch(wanted or site.attention)
        for index in self.place:
            self.layer(index).switch(on[index])


def first_steps(weight: NDArray[np.float64], power: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    """The steps ``(N,)`` of a weight ``(N, K)`` with the least squared error of the output; ``power (K,)`` is the mean square of
    each input."""
    largest = np.abs(weight).max(axis=1)
    largest = np.maximum(largest, max(float(largest.max()), 1e-30) / STEP_SPREAD)
    return clipped_steps(weight, largest / weight_ends(bits)[1], power, bits)


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float32))


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """The network in evaluation, without gradients, while the block runs."""
    before = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(before)
