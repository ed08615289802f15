"""What every choice of a layer's bits does to the layer's output, with the rounding that the quantizer uses.

Rounding that compensates (quant/techniques/compensate.py) makes errors of weights larger, and shapes them so that the layer's
output hardly changes: the norm of the weights' errors says nothing of it. So the layer is rounded as the quantizer would round it,
fitted to its quantized input, and its output on samples compared with the float layer's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from edgeflow.hw.arrays import Real
from edgeflow.hw.host import processors
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.linear import linear_layer
from edgeflow.quant.canonical.torch_graph import one_thread
from edgeflow.quant.formats.config import LayerBits, QuantizationConfig
from edgeflow.quant.formats.interpretation import Demand, Interpretation
from edgeflow.quant.formats.statistics import Statistics
from edgeflow.quant.integers.compensate import input_moments, moments
from edgeflow.quant.integers.parameters import FULL, rounded_layer
from edgeflow.quant.techniques.hawq.layers import Layer
from edgeflow.quant.techniques.hawq.objective import Objective

Single = NDArray[np.float32]
HELD_BYTES = 256 << 20  # of layers' operands at a time


@dataclass(frozen=True)
class Operands:
    """Of the linear node that makes ``output``: its input ``x (samples, ..., K)``, its product ``y (samples, ..., N)``, and which
    rows count, where a key mask excludes some."""

    output: str
    x: Single
    y: Single
    valid: NDArray[np.bool_] | None


def output_errors(
    graph: FloatGraph,
    statistics: Mapping[str, Statistics],
    layers: Sequence[Layer],
    objective: Objective,
    formats: Mapping[int, Mapping[str, Interpretation]],
    config: QuantizationConfig,
) -> Iterator[tuple[str, dict[LayerBits, Real]]]:
    """For every linear node, by its output's name, the squared error of that output (mean over the objective's samples; the shape
    of one sample) by the bits of weights and input.

    ``formats``: of every tensor that is read, by its bits. Samples that the key mask excludes do not count.
    """
    reads = {output: tensor for layer in layers for output, tensor in zip(layer.outputs, layer.activations, strict=True)}
    choices = {output: layer.choices() for layer in layers for output in layer.outputs}

    def errors(operands: Operands) -> tuple[str, dict[LayerBits, Real]]:
        node = graph.producers[operands.output]
        layer = linear_layer(node)
        weight, bias = layer.matrix(graph.parameter(node, 1)), graph.parameter(node, 2)
        uniform = layer.operand(0).demand is Demand.NARROW_UNIFORM
        by_bits: dict[LayerBits, Real] = {}
        for bits in sorted({choice.activation for choice in choices[operands.output]}):
            wanted = sorted({choice.weight for choice in choices[operands.output] if choice.activation == bits})
            format = formats[bits][reads[operands.output]]
            if uniform and format.qtype.scales.size > 1:
                format = Interpretation(replace(format.qtype, scale=float(format.qtype.scales.max())))
            by_weight_bits = _errors(weight, bias, operands, format, bits, wanted, config)
            by_bits |= {LayerBits(weight=w, activation=bits): error for w, error in by_weight_bits}
        return operands.output, by_bits

    # One thread a layer: the products are small.
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(processors()) as pool:
        for group in _groups(objective, {output: _size(graph, statistics, output) for output in reads}):
            yield from pool.map(errors, _operands(objective, group))


def _errors(
    weight: Real,
    bias: Real,
    operands: Operands,
    format: Interpretation,
    bits: int,
    weights: Iterable[int],
    config: QuantizationConfig,
) -> Iterator[tuple[int, Real]]:
    """Squared errors of a layer's output by the bits of its weights; its input has a format of ``bits``."""
    x, y = operands.x, operands.y
    scale = np.broadcast_to(format.qtype.scales, weight.shape[:1])
    if format.offset is not None:
        x = x - format.offset.astype(np.float32)
        bias = bias + format.offset @ weight
    u = (format.qtype.quantize(x) - format.qtype.zero_point).astype(np.float32).reshape(-1, x.shape[-1])
    wanted = y.reshape(len(u), -1)
    counted = np.ones(len(u), np.bool_) if operands.valid is None else operands.valid.reshape(-1)
    folded = np.ascontiguousarray((weight * scale[:, None]).T)
    inputs = input_moments(u[counted])
    seen = moments(inputs, wanted[counted])
    for width in weights:
        narrow = min(width, bits) < FULL
        compensated = narrow if config.rounding == "auto" else config.rounding == "compensated"
        integers, offset = rounded_layer(folded, bias, inputs, seen if compensated else None, width, config)
        error = np.square(u @ integers.T.astype(np.float32) + offset.astype(np.float32) - wanted)
        error[~counted] = 0.0
        yield width, error.reshape(y.shape).mean(axis=0, dtype=np.float64)


def _groups(objective: Objective, sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Nodes by the outputs' names, as many in a group as ``HELD_BYTES`` hold; ``sizes``: elements of one sample's operands."""
    group: list[str] = []
    held = 0
    for output, size in sizes.items():
        need = 4 * objective.samples * size
        if group and held + need > HELD_BYTES:
            yield group
            group, held = [], 0
        group.append(output)
        held += need
    yield group


def _size(graph: FloatGraph, statistics: Mapping[str, Statistics], output: str) -> int:
    """Elements of a linear node's input and output for one sample."""
    shape = statistics[output].shape
    return math.prod(shape[:-1]) * (shape[-1] + graph.parameter(graph.producers[output], 1).size // shape[-1])


@one_thread()
def _operands(objective: Objective, outputs: Sequence[str]) -> list[Operands]:
    """Operands of the nodes that make ``outputs``, from one run of the model."""
    parts: dict[str, list[tuple[Single, Single]]] = {output: [] for output in outputs}
    masks = []
    for piece in objective.pieces():
        traced = objective.model.run(piece.inputs, (), operands=outputs).operands
        for output, (before, after) in traced.items():
            parts[output].append((before.numpy(), after.numpy()))
        if piece.valid is not None:
            masks.append(piece.valid.numpy())
    operands = []
    for output, pairs in parts.items():
        x, y = np.concatenate([pair[0] for pair in pairs]), np.concatenate([pair[1] for pair in pairs])
        masked = bool(masks) and x.ndim >= 3 and x.shape[1] == masks[0].shape[1]
        valid = np.concatenate(masks) if masked else None
        if valid is not None and x.ndim > 3:
            valid = np.broadcast_to(valid.reshape(*valid.shape, *[1] * (x.ndim - 3)), x.shape[:-1])
        operands.append(Operands(output, x, y, valid))
    return operands
