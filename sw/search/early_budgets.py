"""Budgets that cannot be kept, refused before anything runs: by the sizes of the layers, and by the products of the array alone.

What only predictions tell (a latency above this bound, or relative to the best 8-bit build) is refused where these are
made (sw/search/bit_allocation.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from edgeflow.hw.accelerator_options import SIZES
from edgeflow.hw.architecture import Architecture
from edgeflow.hw.array_resources import products
from edgeflow.hw.errors import InputError
from edgeflow.hw.fit import limits, multiplier_width
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.convert.fixed_formats import has_fixed_formats
from edgeflow.quant.formats.config import LayerBits, QuantizationConfig
from edgeflow.quant.techniques.hawq.allocate import Cost, Task, bops_cost, limits_of, size_cost, solve
from edgeflow.quant.techniques.hawq.layers import ACTIVATION_BITS, FULL, Layer, attention_bops, find_layers
from edgeflow.sw.search.bit_requests import BitRequest
from edgeflow.sw.search.latency_tables import NARROW, Target


@dataclass(frozen=True)
class Layers:
    """The layers whose bits are asked for, and what choices cost of what no prediction is needed for."""

    graph: FloatGraph
    layers: tuple[Layer, ...]
    costs: Mapping[str, Cost]

    @property
    def indifferent(self) -> dict[str, dict[LayerBits, float]]:
        """Sensitivities for what can be kept at all: all 0."""
        return {layer.name: dict.fromkeys(layer.choices(), 0.0) for layer in self.layers}


def asked_layers(model: ir.Model, config: QuantizationConfig, request: BitRequest) -> Layers:
    """The layers of a canonical model for a request; InputError where it has none, or bits of its own."""
    if config.layers:
        raise InputError("bits are to be allocated, but the quantization option layers gives them: leave one of the two out")
    graph = FloatGraph(model)
    if has_fixed_formats(graph):
        raise InputError("bits are to be allocated, but the model is quantized already and keeps its own; give the float model")
    # Narrow activations take no fewer bytes of weights.
    widths = ACTIVATION_BITS if any(budget.name != "size" for budget in request.budgets) else (FULL.activation,)
    layers = find_layers(graph, request.ends, widths)
    return Layers(graph, layers, {"size": size_cost(layers), "bops": bops_cost(layers, attention_bops(graph, config))})


def check_budgets(model: ir.Model, config: QuantizationConfig, request: BitRequest, target: Target) -> None:
    """InputError where the budgets of a request cannot be kept, as far as that is known of a model that has not run."""
    asked = asked_layers(model, config, request)
    problem = Task(asked.layers, asked.indifferent, asked.costs)
    solve(problem, limits_of(problem, [budget for budget in request.budgets if budget.name in asked.costs]))
    latency = next((budget for budget in request.budgets if budget.name == "latency" and not budget.relative), None)
    least = None if latency is None else least_latency(asked.layers, target)
    if latency is not None and least is not None and latency.value < least:
        array = "the array" if target.architecture is not None else f"the largest array for {target.board.name}"
        raise InputError(
            f"budget {latency} is impossible: the products of the linear layers alone take {least:.4g} ms on {array}; raise it"
        )


def least_latency(layers: Sequence[Layer], target: Target) -> float | None:
    """Milliseconds that the array computes for the linear layers of one sample at least, with the fewest bits and every multiplier
    busy; None where no array fits the board."""
    size = _largest_array(target)
    halved = target.architecture is None or NARROW in target.architecture.precisions
    passes = sum(layer.macs / (2 if halved and not layer.fixed else 1) for layer in layers)
    return None if size is None else passes / size / (target.clock_mhz * 1e3)


def _largest_array(target: Target) -> int | None:
    """Products of 8 bits in a cycle of the accelerator, or of the largest array whose multipliers the board has."""
    if target.architecture is not None:
        return target.architecture.pi * target.architecture.po
    fixed = target.sizes or {}
    most = limits(target.board, target.share)["dsp"]
    pairs = itertools.product(*((fixed[name],) if name in fixed else SIZES[name] for name in ("pi", "po")))
    # Everything but the array as small as it can be.
    rest = {"epilogue": 2, "axi_bits": 32, "max_channels": 64, "precisions": (8,), "dsp_bits": multiplier_width(target.board)}
    arrays = (Architecture.model_validate({"pi": pi, "po": po, **rest}) for pi, po in pairs)
    return max((array.pi * array.po for array in arrays if products(array)[0] <= most), default=None)
