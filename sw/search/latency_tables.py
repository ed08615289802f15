"""Predicted latency of a model by its layers' bits: the plain 8-bit build that limits refer to, and tables for allocations.

Latency is tabulated by layer from whole programs that give every layer the same bits, once for each form in which the array and the
weight stream know them. What the sum over layers leaves out (neighbours that store their rows in another way) is made up for by
simulating the chosen allocation and asking again for as much less as it was over the limit.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from edgeflow.hw.accelerator_options import SHARE
from edgeflow.hw.architecture import Architecture
from edgeflow.hw.arrays import Array
from edgeflow.hw.boards import Board
from edgeflow.hw.errors import BoardError, InputError
from edgeflow.hw.fit import excess
from edgeflow.hw.progress import Progress
from edgeflow.quant.convert.conversion import Quantized
from edgeflow.quant.formats.config import LayerBits, QuantizationConfig
from edgeflow.quant.ptq import quantize
from edgeflow.quant.techniques.hawq.allocate import Allocation, Cost, Task, cheapest, solve
from edgeflow.quant.techniques.hawq.layers import FULL, Layer, layers_config
from edgeflow.sim.cycles import CycleReport, estimate
from edgeflow.sw.compiler.lowering import lower
from edgeflow.sw.compiler.network import Network
from edgeflow.sw.search.accelerator import configure, extended

# The widest of the bits that the hardware treats alike: weights lie in memory in bytes, half bytes or quarter bytes, and the array
# does two products in one where both operands have up to NARROW bits.
NARROW = 4
WEIGHT_FORMS = (8, NARROW, 2)
ACTIVATION_FORMS = (8, NARROW)
TABLE_SAMPLES = 2  # of calibration data for programs whose numbers do not matter
ATTEMPTS = 6  # at an allocation whose whole program keeps a latency limit


@dataclass(frozen=True)
class Target:
    """Where latency is predicted: a board, its clock and the accelerator, or how to choose it."""

    board: Board
    clock_mhz: float
    architecture: Architecture | None = None
    share: float = SHARE
    sizes: Mapping[str, int] | None = None

    def configured(self, network: Network, precisions: tuple[int, ...] = (), progress: Progress | None = None) -> Architecture:
        """The accelerator given, or the best one for a network."""
        if self.architecture is not None:
            return self.architecture
        return configure(
            network, self.board, self.clock_mhz, share=self.share, sizes=self.sizes, precisions=precisions, progress=progress
        )


@dataclass(frozen=True)
class PlainBuild:
    """The model with 8 bits in every layer on the accelerator that is best for that: what a compilation without a choice of bits
    makes. ``weight_bytes``: of the weight image, parameters included."""

    quantized: Quantized
    architecture: Architecture
    report: CycleReport
    weight_bytes: int


def plain_config(config: QuantizationConfig) -> QuantizationConfig:
    """The same options with 8 bits in every layer; techniques are chosen anew, as a compilation to 8 bits would."""
    return config.model_copy(
        update={"weight_bits": FULL.weight, "activation_bits": FULL.activation, "layers": {}, "ablation": False}
    )


def plain_build(
    model: ir.Model, data: Mapping[str, Array], config: QuantizationConfig, target: Target, progress: Progress | None = None
) -> PlainBuild:
    """Quantize a canonical model to 8 bits and predict it; raises what a compilation would."""
    quantized = quantize(model, data, plain_config(config), progress)
    network = Network(quantized.graph)
    architecture = target.configured(network, progress=progress)
    program = lower(network, architecture)
    report = estimate(program, quantized.graph, target.board, target.clock_mhz)
    return PlainBuild(quantized, architecture, report, len(program.weights))


class Forms:
    """Integer networks of a model by the bits of its layers, whose numbers do not matter: only formats and shapes do."""

    def __init__(self, model: ir.Model, data: Mapping[str, Array], layers: Sequence[Layer], config: QuantizationConfig) -> None:
        self._model = model
        self._few = {name: array[:TABLE_SAMPLES] for name, array in data.items()}
        self._config = config.model_copy(update={"rounding": "nearest", "ablation": False, "selection_work": 0.0})
        self._known: dict[tuple[LayerBits, ...], Network] = {}
        self.layers = tuple(layers)

    def network(self, bits: Mapping[str, LayerBits]) -> Network:
        """The network of an allocation."""
        key = tuple(bits[layer.name] for layer in self.layers)
        if key not in self._known:
            self._known[key] = Network(quantize(self._model, self._few, layers_config(self._config, bits)).graph)
        return self._known[key]

    def equal(self, weight: int, activation: int) -> dict[str, LayerBits]:
        """The same bits for all layers that are not fixed."""
        return {layer.name: FULL if layer.fixed else LayerBits(weight=weight, activation=activation) for layer in self.layers}


def accelerators(forms: Forms, target: Target, plain: PlainBuild, progress: Progress | None = None) -> list[Architecture]:
    """The accelerators that bits are allocated for: two that are best for 4 bits wherever bits are free, so that they have the
    array's 4-bit mode, the first of which also takes weights of 2 bits four to a byte, for which others may have to shrink; and
    that of the 8-bit build; or the one that was given. Those that do not fit the board are left out."""
    if target.architecture is not None:
        return [target.architecture]
    four = forms.network(forms.equal(NARROW, NARROW))
    same = extended(plain.architecture, forms.network(forms.equal(FULL.weight, FULL.activation)))
    accelerators = []
    for precisions in ((min(WEIGHT_FORMS),), ()):
        with contextlib.suppress(BoardError):
            accelerators.append(target.configured(four, precisions, progress))
    if not excess(same, target.board, target.share):
        accelerators.append(same)
    return list(dict.fromkeys(accelerators))


class LatencyTable:
    """Predicted latency of a model by its layers' bits, on one accelerator: ``cost`` by layer, and of any whole program."""

    def __init__(self, forms: Forms, target: Target, architecture: Architecture, progress: Progress | None = None) -> None:
        self._forms = forms
        self._target = target
        self.architecture = architecture
        self.cost = self._tabulated(progress)

    def predict(self, bits: Mapping[str, LayerBits]) -> CycleReport:
        """The predicted execution of a whole allocation."""
        network = self._forms.network(bits)
        return estimate(lower(network, self.architecture), network.graph, self._target.board, self._target.clock_mhz)

    def _tabulated(self, progress: Progress | None) -> Cost:
        forms = [(w, a) for w in WEIGHT_FORMS for a in ACTIVATION_FORMS]
        layers = self._forms.layers
        cycles: dict[LayerBits, dict[str, int]] = {}
        rest = 0
        for number, (w, a) in enumerate(forms):
            report = self.predict(self._forms.equal(w, a))
            by_layer = dict.fromkeys((layer.name for layer in layers), 0)
            for line in report.layers:
                if line.name in by_layer:
                    by_layer[line.name] += line.cycles
            cycles[LayerBits(weight=w, activation=a)] = by_layer
            if (w, a) == (8, 8):
                rest = report.cycles - sum(by_layer.values())
            if progress is not None:
                progress("latency by bits", number + 1, len(forms))
        scale = self._target.clock_mhz * 1e3
        return Cost(
            rest / scale, {layer.name: {c: cycles[form(c)][layer.name] / scale for c in layer.choices()} for layer in layers}
        )


def within_latency(problem: Task, limits: Mapping[str, float], table: LatencyTable) -> tuple[Allocation, CycleReport]:
    """The allocation whose whole program keeps the latency limit as the cycle simulator predicts it, and that prediction."""
    asked, limit = dict(limits), limits["latency"]
    best = solve(problem, asked)
    for _ in range(ATTEMPTS):
        report = table.predict(best.bits)
        if report.latency_ms <= limit:
            return best, report
        asked["latency"] = min(asked["latency"], best.costs["latency"]) - (report.latency_ms - limit)
        try:
            best = solve(problem, asked)
        except InputError:
            break
    best = cheapest(problem, "latency", {name: value for name, value in limits.items() if name != "latency"})
    report = table.predict(best.bits)
    least = report.latency_ms
    if least <= limit:
        return best, report
    share = least / problem.reference("latency")
    raise InputError(
        f"budget latency={limit:.6g} ms is impossible: the whole program comes down to {least:.6g} ms; "
        f"the smallest feasible budget is latency={math.ceil(share * 1e4) / 1e4:g}x"
    )


def form(bits: LayerBits) -> LayerBits:
    """The bits among those tabulated that the hardware treats like the given ones."""
    return LayerBits(
        weight=min(w for w in WEIGHT_FORMS if w >= bits.weight), activation=min(a for a in ACTIVATION_FORMS if a >= bits.activation)
    )
