"""Omega: by how much the loss is expected to rise when a layer gets a number of bits.

HAWQ-V2 (arXiv 1911.03852): ``Omega_i(b) = Tr(H_i) / n_i * ||Q_b(a_i) - a_i||^2``, the mean eigenvalue of a block of the Hessian
times the squared error that quantization makes there; for activations both are averaged over samples. Here the block is that of
what a linear layer makes, and the error is that of the layer's output with weights and input of ``b`` bits, rounded as the
quantizer will round them (quant/techniques/hawq/rounding.py). An error ``E`` of the weights in ``y = W x`` is a squared error of
the output of ``Tr(E S E^T)``, ``S`` the second moment of ``x``: that is what compensating rounding makes small (GPTQ, arXiv
2210.17323, equation 1), while ``||E||^2`` grows. The weights' own block is the same curvature seen through ``S``, under the
assumption that errors are alike in all directions, which compensated rounding breaks on purpose.

Errors of an output are uneven over tokens and channels: each counts by its share of the diagonal of its block, which the Fisher
information gives. Equal shares are the published formula.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgeflow.hw.arrays import Real
from edgeflow.hw.progress import Progress
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.convert.plan import Plan
from edgeflow.quant.formats.config import LayerBits, QuantizationConfig
from edgeflow.quant.formats.interpretation import Interpretation
from edgeflow.quant.formats.statistics import Statistics
from edgeflow.quant.integers.parameters import NARROW_WEIGHT_RATIOS, WEIGHT_RATIOS, weight_ends
from edgeflow.quant.techniques.hawq.fisher import fisher_traces
from edgeflow.quant.techniques.hawq.hessian import Traces, top_eigenvalues, traces
from edgeflow.quant.techniques.hawq.layers import ACTIVATION_BITS, FULL, WEIGHT_BITS, Layer, layers_config
from edgeflow.quant.techniques.hawq.objective import Objective
from edgeflow.quant.techniques.hawq.rounding import output_errors

Metric = Literal["hessian", "fisher"]
METRICS: tuple[Metric, ...] = ("hessian", "fisher")
LEAST_SHARE = 1e-4  # of the largest trace, that a block's probe is scaled for at least
FISHER_DRAWS = 4


@dataclass(frozen=True)
class Sensitivity:
    """``omega[layer][bits]``; ``traces`` by what the layers' nodes make; ``seconds`` by what they were spent on."""

    metric: Metric
    omega: Mapping[str, Mapping[LayerBits, float]]
    traces: Traces
    seconds: Mapping[str, float]


def measure(
    graph: FloatGraph,
    statistics: Mapping[str, Statistics],
    layers: Sequence[Layer],
    objective: Objective,
    config: QuantizationConfig,
    *,
    metrics: Sequence[Metric] = ("hessian",),
    probes: int = 50,
    tolerance: float = 0.1,
    progress: Progress | None = None,
) -> dict[Metric, Sensitivity]:
    """Sensitivity of every layer to its bits, by each of ``metrics``, which share all that they can.

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

    widths = {FULL.activation, *(bits for layer in layers for bits in layer.widths)}
    formats = {bits: activation_formats(graph, statistics, layers, config, bits) for bits in widths}
    lap("formats")
    outputs = {output: layer for layer in layers for output in layer.outputs}
    fisher = fisher_traces(objective, list(outputs), draws=FISHER_DRAWS, seed=config.seed, progress=progress)
    lap("Fisher traces")
    estimates: dict[Metric, Traces] = {"fisher": fisher}
    if "hessian" in metrics:
        estimates["hessian"] = traces(
            objective,
            list(outputs),
            activations=True,
            balance=_balance(fisher),
            probes=probes,
            tolerance=tolerance,
            seed=config.seed,
            progress=progress,
        )
        lap("Hessian traces")
    omega: dict[Metric, dict[str, dict[LayerBits, float]]] = {
        metric: {layer.name: dict.fromkeys(layer.choices(), 0.0) for layer in layers} for metric in metrics
    }
    for number, (output, errors) in enumerate(output_errors(graph, statistics, layers, objective, formats, config)):
        counted = {bits: float(np.sum(error * fisher.shares[output])) for bits, error in errors.items()}
        for metric in metrics:
            eigenvalue = max(estimates[metric].mean[output], estimates[metric].error[output]) / estimates[metric].count[output]
            for bits, error in counted.items():
                omega[metric][outputs[output].name][bits] += eigenvalue * error
        if progress is not None:
            progress("rounding errors", number + 1, len(outputs))
    lap("rounding errors")
    return {metric: Sensitivity(metric, omega[metric], estimates[metric], seconds) for metric in metrics}


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
    perturbations = []
    for layer in layers:
        total = 0.0
        for name in layer.weights:
            weight = _matrix(graph, name).T
            largest = np.abs(weight).max(axis=1, keepdims=True)
            total += values[name] * float(
                np.sum((_difference(weight / np.maximum(largest, 1e-30), bits[layer.name].weight) * largest) ** 2)
            )
        perturbations.append((layer.name, total))
    return sorted(perturbations, key=lambda item: (-item[1], item[0]))


def activation_formats(
    graph: FloatGraph, statistics: Mapping[str, Statistics], layers: Sequence[Layer], config: QuantizationConfig, bits: int
) -> dict[str, Interpretation]:
    """The format of every tensor that the layers read, when all are read with the same bits."""
    choice = {layer.name: LayerBits(weight=8, activation=bits) for layer in layers}
    plan = Plan(graph, statistics, layers_config(config, choice))
    formats = {}
    for name in dict.fromkeys(name for layer in layers for name in layer.activations):
        chosen = plan.chosen(name)
        if chosen.qtype.bits > max(ACTIVATION_BITS):
            chosen = Interpretation(plan.narrow(name, graph.uses_of(name)[0].node))
        formats[name] = chosen
    return formats


def _matrix(graph: FloatGraph, name: str) -> Real:
    """A weight as ``(K, N)``; that of a patch embedding with its columns in the order of the patches."""
    array = graph.constant(name)
    assert array is not None
    weight = array.astype(np.float64)
    return weight if weight.ndim == 2 else weight.reshape(len(weight), -1).T


def _difference(weight: Real, bits: int) -> Real:
    """What rounding to ``bits`` adds to a weight ``(N, K)``, rows of magnitude up to 1, each row with its best clipping."""
    low, high = weight_ends(bits)
    best, smallest = np.full(len(weight), np.inf), np.zeros_like(weight)
    for ratio in WEIGHT_RATIOS if bits == max(WEIGHT_BITS) else NARROW_WEIGHT_RATIOS:
        step = ratio / high
        difference = np.clip(np.floor(weight / step + 0.5), low, high) * step - weight
        error = np.einsum("nk,nk->n", difference, difference)
        better = error < best
        best[better], smallest[better] = error[better], difference[better]
    return smallest


def _balance(fisher: Traces) -> dict[str, float]:
    """Factors of the probes that even out the blocks' contributions."""
    largest = max(fisher.mean.values(), default=0.0)
    return {name: max(mean, LEAST_SHARE * largest, 1e-30) ** -0.5 for name, mean in fisher.mean.items()}
