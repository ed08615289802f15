"""Omega: by how much the loss is expected to rise when a layer gets a number of bits.

HAWQ-V2 (arXiv 1911.03852): ``Omega_i(b) = Tr(H_i) / n_i * ||Q_b(W_i) - W_i||^2``, the mean eigenvalue of the layer's block of the
Hessian times the summed squared error of its quantized weights; for an activation the same, averaged over samples. Both factors
are taken in the coordinates in which the weights are rounded: scales of input channels folded in, each output channel over its
range. There the error is spread evenly, which the formula supposes, while the curvature of a plain weight follows the power of
its input. Below 8 bits errors are uneven all the same, where a few channels outweigh the rest: every weight's squared error
counts by its share of the diagonal, which the Fisher information gives. Equal shares are the published formula.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeflow.hw.progress import Progress
from edgeflow.quant.config import LayerBits, QuantizationConfig
from edgeflow.quant.convert.linear import NARROW_WEIGHT_RATIOS, WEIGHT_RATIOS, weight_ends
from edgeflow.quant.float_graph import FloatGraph
from edgeflow.quant.hawq.fisher import fisher_traces
from edgeflow.quant.hawq.hessian import Traces, top_eigenvalues, traces
from edgeflow.quant.hawq.layers import ACTIVATION_BITS, WEIGHT_BITS, Layer, layers_config
from edgeflow.quant.hawq.objective import Objective
from edgeflow.quant.observe import Statistics
from edgeflow.quant.plan import Interpretation, Plan

Metric = Literal["hessian", "fisher"]
Real = NDArray[np.float64]
LEAST_SHARE = 1e-4  # of the largest trace, that a block's probe is scaled for at least


@dataclass(frozen=True)
class Sensitivity:
    """``weights[layer][bits]`` and ``activations[tensor][bits]``: Omega. ``traces`` by weight and by tensor, in the coordinates of
    the integers; ``seconds`` by what they were spent on."""

    metric: Metric
    weights: Mapping[str, Mapping[int, float]]
    activations: Mapping[str, Mapping[int, float]]
    weight_traces: Traces
    activation_traces: Traces
    seconds: Mapping[str, float]


def measure(
    graph: FloatGraph,
    statistics: Mapping[str, Statistics],
    layers: Sequence[Layer],
    objective: Objective,
    config: QuantizationConfig,
    *,
    metric: Metric = "hessian",
    probes: int = 50,
    tolerance: float = 0.1,
    progress: Progress | None = None,
) -> Sensitivity:
    """Sensitivity of every layer and of every activation that the layers read.

    ``hessian``: at most ``probes`` probes, fewer where all standard errors are within ``tolerance``; the probes are scaled by the
    Fisher traces, so that large blocks do not drown small ones. ``fisher``: FIT, without a Hessian. A trace that cannot be told
    from 0 counts as its standard error.
    """
    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def lap(what: str) -> None:
        nonlocal clock
        seconds[what] = seconds.get(what, 0.0) + time.perf_counter() - clock
        clock = time.perf_counter()

    formats = {bits: activation_formats(graph, statistics, layers, config, bits) for bits in ACTIVATION_BITS}
    full = formats[max(ACTIVATION_BITS)]
    weights = {w: (layer, a) for layer in layers for w, a in zip(layer.weights, layer.activations, strict=True)}
    tensors = list(full)
    scales: dict[str, Real] = {name: steps(interpretation) for name, interpretation in full.items()}
    folded: dict[str, Real] = {}
    for name, (_, tensor) in weights.items():
        folded[name], scales[name] = _coordinates(_matrix(graph, name), full[tensor])
    lap("formats")
    outputs: dict[str, list[str]] = {}
    for layer in layers:
        for name, output in zip(layer.weights, layer.outputs, strict=True):
            outputs.setdefault(name, []).append(output)
    fisher = fisher_traces(objective, outputs, tensors, scales=scales, draws=4, seed=config.seed, progress=progress)
    lap("Fisher traces")
    of_weights, of_tensors = _part(fisher, list(weights)), _part(fisher, tensors)
    if metric == "hessian":
        options: dict[str, Any] = {"probes": probes, "tolerance": tolerance, "seed": config.seed, "progress": progress}
        whole = {name: _whole(graph, name, scale) if name in weights else scale for name, scale in scales.items()}
        of_weights = traces(objective, list(weights), scales=whole, balance=_balance(of_weights), **options)
        lap("Hessian traces of weights")
        of_tensors = traces(objective, tensors, activations=True, scales=whole, balance=_balance(of_tensors), **options)
        lap("Hessian traces of activations")
    by_weight = {name: _errors(folded[name], fisher.shares[name].T) for name in weights}
    omega: dict[str, dict[int, float]] = {layer.name: dict.fromkeys(WEIGHT_BITS, 0.0) for layer in layers}
    for name, (layer, _) in weights.items():
        mean = _positive(of_weights, name) / of_weights.count[name]
        for bits in WEIGHT_BITS:
            omega[layer.name][bits] += mean * by_weight[name][bits]
    lap("rounding errors")
    activations = {
        name: {
            bits: _positive(of_tensors, name) * _mean_error(statistics[name].rows, formats[bits][name], scales[name])
            for bits in ACTIVATION_BITS
        }
        for name in tensors
    }
    lap("rounding errors")
    return Sensitivity(metric, omega, activations, of_weights, of_tensors, seconds)


def tuning_order(
    graph: FloatGraph,
    layers: Sequence[Layer],
    objective: Objective,
    bits: Mapping[str, LayerBits],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[tuple[str, float]]:
    """The order in which HAWQ (arXiv 1905.03696) fine-tunes quantized layers: by descending ``lambda_i ||Q(W_i) - W_i||^2``, with
    the largest eigenvalue of the layer's block and the squared error at its bits. Returns layers with that figure."""
    names = list(dict.fromkeys(name for layer in layers for name in layer.weights))
    values = top_eigenvalues(objective, names, seed=seed, progress=progress)
    found = []
    for layer in layers:
        total = 0.0
        for name in layer.weights:
            weight = _matrix(graph, name).T
            largest = np.abs(weight).max(axis=1, keepdims=True)
            total += values[name] * float(
                np.sum((_difference(weight / np.maximum(largest, 1e-30), bits[layer.name].weight) * largest) ** 2)
            )
        found.append((layer.name, total))
    return sorted(found, key=lambda item: (-item[1], item[0]))


def activation_formats(
    graph: FloatGraph, statistics: Mapping[str, Statistics], layers: Sequence[Layer], config: QuantizationConfig, bits: int
) -> dict[str, Interpretation]:
    """The format of every tensor that the layers read, when all are read with the same bits."""
    choice = {layer.name: LayerBits(weight=8, activation=bits) for layer in layers}
    plan = Plan(graph, statistics, layers_config(config, choice))
    made = {}
    for name in dict.fromkeys(name for layer in layers for name in layer.activations):
        chosen = plan.chosen(name)
        if chosen.qtype.bits > max(ACTIVATION_BITS):
            chosen = Interpretation(plan.narrow(name, graph.uses_of(name)[0].node))
        made[name] = chosen
    return made


def steps(interpretation: Interpretation) -> Real:
    """Steps of an activation, one number or one a channel."""
    return np.asarray(interpretation.qtype.scales, dtype=np.float64)


def _matrix(graph: FloatGraph, name: str) -> Real:
    """A weight as ``(K, N)``; that of a patch embedding with its columns in the order of the patches."""
    array = graph.constant(name)
    assert array is not None
    weight = array.astype(np.float64)
    return weight if weight.ndim == 2 else weight.reshape(len(weight), -1).T


def _whole(graph: FloatGraph, name: str, scale: Real) -> Real:
    """A scale ``(K, N)`` in the shape of the weight."""
    array = graph.constant(name)
    assert array is not None
    return scale if array.ndim == 2 else scale.T.reshape(array.shape)


def _coordinates(weight: Real, x: Interpretation) -> tuple[Real, Real]:
    """The weight ``(N, K)`` with the input's steps folded in, each row over its largest magnitude; and what a unit of it is in the
    plain weight, ``(K, N)``."""
    scale = np.broadcast_to(steps(x), weight.shape[:1])
    folded = (weight * scale[:, None]).T
    largest = np.abs(folded).max(axis=1, keepdims=True)
    largest = np.maximum(largest, max(float(largest.max()), 1e-30) * 1e-6)
    return folded / largest, largest.T / scale[:, None]


def _errors(weight: Real, shares: Real) -> dict[int, float]:
    """Summed squared error of a weight ``(N, K)``, rows of magnitude up to 1, by bits; every element counts by its share."""
    return {bits: float(np.sum(_difference(weight, bits) ** 2 * shares)) for bits in WEIGHT_BITS}


def _difference(weight: Real, bits: int) -> Real:
    """What rounding to ``bits`` adds to a weight ``(N, K)``, rows of magnitude up to 1, each row with its best clipping."""
    low, high = weight_ends(bits)
    best, found = np.full(len(weight), np.inf), np.zeros_like(weight)
    for ratio in WEIGHT_RATIOS if bits == max(WEIGHT_BITS) else NARROW_WEIGHT_RATIOS:
        step = ratio / high
        difference = np.clip(np.floor(weight / step + 0.5), low, high) * step - weight
        error = np.einsum("nk,nk->n", difference, difference)
        better = error < best
        best[better], found[better] = error[better], difference[better]
    return found


def _mean_error(rows: NDArray[np.float32], format: Interpretation, scale: Real) -> float:
    """Mean squared error of an activation's values ``(n, C)``, counted in ``scale``."""
    values = rows.astype(np.float64)
    if format.offset is not None:
        values = values - format.offset
    difference = (format.qtype.dequantize(format.qtype.quantize(values)) - values) / scale
    return float(np.square(difference).mean())


def _positive(found: Traces, name: str) -> float:
    return max(found.mean[name], found.error[name])


def _balance(found: Traces) -> dict[str, float]:
    """Factors of the probes that even out the blocks' contributions."""
    largest = max(found.mean.values(), default=0.0)
    return {name: max(mean, LEAST_SHARE * largest, 1e-30) ** -0.5 for name, mean in found.mean.items()}


def _part(found: Traces, names: Sequence[str]) -> Traces:
    order = {name: i for i, name in enumerate(found.mean)}
    samples = found.samples[:, [order[name] for name in names]]
    mean, error, count = ({name: values[name] for name in names} for values in (found.mean, found.error, found.count))
    return Traces(mean, error, count, samples, found.converged)  # type: ignore[arg-type]
