"""Bits for every layer of a model, chosen for a board: HAWQ with the cycle simulator in the loop.

The sensitivity of every layer (quant/hawq) stands against what its bits cost: size, bit operations, or latency as the cycle
simulator predicts it (sw/search/latency_tables.py). The allocations that it leads to are then measured beside equal bits for all
layers, and the most accurate is taken (sw/search/bit_trials.py).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.arrays import Array
from edgeflow.hw.errors import InputError
from edgeflow.hw.progress import Progress
from edgeflow.quant.convert.observe import observe
from edgeflow.quant.formats.config import LayerBits, QuantizationConfig
from edgeflow.quant.techniques.hawq.allocate import (
    EXACT,
    Allocation,
    Cost,
    Task,
    allocation,
    cheapest,
    front,
    limits_of,
    solve,
    task,
)
from edgeflow.quant.techniques.hawq.budget import UNIT, Budget
from edgeflow.quant.techniques.hawq.layers import (
    FULL,
    WEIGHT_BITS,
    Layer,
    layers_config,
)
from edgeflow.quant.techniques.hawq.objective import Objective
from edgeflow.quant.techniques.hawq.sensitivity import Metric, Sensitivity, measure
from edgeflow.sw.search.bit_requests import METHODS, BitRequest
from edgeflow.sw.search.bit_trials import Candidate, Measurement, Trial, best, decision, tried
from edgeflow.sw.search.early_budgets import asked_layers
from edgeflow.sw.search.figures import new_figure
from edgeflow.sw.search.latency_tables import (
    Forms,
    LatencyTable,
    PlainBuild,
    Target,
    accelerators,
    form,
    plain_build,
    within_latency,
)

FRONT_POINTS = 17
TRIED: Mapping[Metric, tuple[Metric, ...]] = {"hessian": ("hessian", "fisher"), "fisher": ("fisher",)}  # FIT costs HAWQ nothing
REFERENCE = {"size": "all linear layers at 8 bits", "bops": "all linear layers at 8 bits"}


@dataclass(frozen=True)
class BitChoice:
    """Bits by layer, as part of ``config``. ``architecture``: the accelerator that a latency budget was kept on, None without one.
    ``plain``: the 8-bit build, where a limit referred to it; ``trials``: all allocations that were tried. ``document`` is what
    ``bits.json`` holds."""

    bits: Mapping[str, LayerBits]
    config: QuantizationConfig
    architecture: Architecture | None
    plain: PlainBuild | None
    trials: Sequence[Trial]
    document: Mapping[str, Any]


@dataclass(frozen=True)
class _Place:
    """Where costs are known: without a latency budget one place without a ``table``, with one an accelerator each."""

    costs: Mapping[str, Cost]
    table: LatencyTable | None = None


def choose_bits(
    model: ir.Model,
    data: Mapping[str, Array],
    config: QuantizationConfig,
    request: BitRequest,
    target: Target,
    progress: Progress | None = None,
    held_out: Mapping[str, Array] | None = None,
    random: bool = False,
) -> BitChoice:
    """Bits for every layer of a canonical model under the budgets; ``data`` are checked calibration arrays, ``held_out`` samples
    that allocations are measured on (without, a part of ``data``). ``random`` data measure nothing: then the method's
    allocation is taken as it is.

    InputError where a budget cannot be kept (it names the smallest that can) or the model has no layers; CalibrationError where the
    labels do not fit.
    """
    asked = asked_layers(model, config, request)
    graph, layers, costs, nothing = asked.graph, asked.layers, asked.costs, asked.indifferent
    few = {name: array[: request.samples] for name, array in data.items()}
    labels = request.labels
    if labels is not None and labels.ndim == 1 and len(labels) == len(next(iter(data.values()))):
        labels = labels[: request.samples]
    objective = Objective(graph, few, labels)
    places, references, plain = [_Place(costs)], {}, None
    if any(budget.name == "latency" for budget in request.budgets):
        plain = plain_build(model, data, config, target, progress)
        references = {"latency": plain.report.latency_ms}
        forms = Forms(model, data, layers, config)
        tables = [LatencyTable(forms, target, one, progress) for one in accelerators(forms, target, plain, progress)]
        places = [_Place({**costs, "latency": table.cost}, table) for table in tables]
    # Whether the budgets can be kept at all is known before the sensitivities are: these take longest.
    limits, places = _possible([(place, Task(layers, nothing, place.costs, references)) for place in places], request.budgets)
    statistics = observe(graph, dict(data), config, progress)
    sensitivities = measure(
        graph,
        statistics,
        layers,
        objective,
        config,
        metrics=TRIED[request.metric],
        probes=request.probes,
        tolerance=request.tolerance,
        progress=progress,
    )
    names = {metric: name for name, metric in METHODS.items()}
    candidates, refused = [], None
    for place in places:
        for metric in TRIED[request.metric]:
            problem = task(layers, sensitivities[metric], place.costs, references)
            try:
                candidates.append(_solved(names[metric], problem, limits, place.table))
            except InputError as error:
                refused = refused or error
        candidates += _equal(Task(layers, nothing, place.costs, references), limits, place.table)
    if not candidates:
        assert refused is not None
        raise refused
    method = names[request.metric]
    if random:
        measurement, trials = None, [Trial(candidates[0], math.nan)]
        taken = trials[0]
        reason = f"{method.upper()} taken unmeasured: there are no calibration data to compare allocations on"
    else:
        measurement = Measurement(model, data, held_out, progress)
        trials = tried(candidates, config, measurement, progress)
        taken = best(trials)
        reason = decision(taken, trials, method, measurement.where())
    place = next(place for place in places if place.table is None or place.table.architecture == taken.candidate.architecture)
    problem = task(layers, sensitivities[request.metric], place.costs, references)
    document = _document(problem, sensitivities[request.metric], request, limits, allocation(problem, taken.candidate.bits)) | {
        "taken": taken.candidate.name,
        "decision": reason,
        "measured_on": None if measurement is None else {"data": measurement.origin, "samples": measurement.samples},
        "trials": [_line(trial, taken) for trial in trials],
        "budgets_kept": [_kept(budget, problem, limits, taken, target) for budget in request.budgets],
    }
    if place.table is not None:
        document["latency"] = {
            "board": target.board.name,
            "clock_mhz": target.clock_mhz,
            "predicted_ms": taken.candidate.costs["latency"],
            "sum_of_layers_ms": problem.costs["latency"].total(taken.candidate.bits),
            "predicted": "by the cycle simulator; nothing was measured",
        }
    bits = taken.candidate.bits
    return BitChoice(bits, layers_config(config, bits), taken.candidate.architecture, plain, trials, document)


def _possible(places: Sequence[tuple[_Place, Task]], budgets: Sequence[Budget]) -> tuple[dict[str, float], list[_Place]]:
    """The limits, and the places where they can be kept; InputError of the place that comes nearest where there is none."""
    possible, problems = [], []
    limits = limits_of(places[0][1], budgets)
    for place, problem in places:
        try:
            solve(problem, limits)
        except InputError as error:
            least = cheapest(problem, "latency", {}).costs["latency"] if place.table is not None else 0.0
            problems.append((least, error))
        else:
            possible.append(place)
    if not possible:
        raise min(problems, key=lambda pair: pair[0])[1]
    return limits, possible


def _solved(name: str, problem: Task, limits: Mapping[str, float], table: LatencyTable | None) -> Candidate:
    """The least sensitive allocation within the limits."""
    if table is None:
        best = solve(problem, limits)
        return Candidate(name, best.bits, best.costs)
    best, report = within_latency(problem, limits, table)
    return Candidate(name, best.bits, {**best.costs, "latency": report.latency_ms}, table.architecture)


def _equal(problem: Task, limits: Mapping[str, float], table: LatencyTable | None) -> list[Candidate]:
    """The same bits in all layers that are not fixed: for every width of activations the most bits of weights that keep the limits,
    unless wider activations may have as many."""
    candidates: list[Candidate] = []
    most = 0
    for activation in sorted(problem.layers[0].widths, reverse=True):
        for weight in sorted(WEIGHT_BITS, reverse=True):
            if weight <= most:
                break
            bits = _same(problem.layers, LayerBits(weight=weight, activation=activation))
            costs = {name: cost.total(bits) for name, cost in problem.costs.items()}
            if table is not None:
                alike = form(LayerBits(weight=weight, activation=activation))
                costs["latency"] = table.predict(_same(problem.layers, alike)).latency_ms
            if all(costs[name] <= limit * (1 + EXACT) for name, limit in limits.items()):
                most = weight
                name = f"uniform {weight}-bit weights, {activation}-bit activations"
                candidates.append(Candidate(name, bits, costs, None if table is None else table.architecture))
                break
    return candidates


def _same(layers: Sequence[Layer], bits: LayerBits) -> dict[str, LayerBits]:
    return {layer.name: FULL if layer.fixed else bits for layer in layers}


def _line(trial: Trial, taken: Trial) -> dict[str, Any]:
    finite = math.isfinite(trial.sqnr_db)
    return {
        "name": trial.candidate.name,
        "sqnr_db": trial.sqnr_db if finite else None,
        "costs": dict(trial.candidate.costs),
        "taken": trial is taken,
    }


def _kept(budget: Budget, problem: Task, limits: Mapping[str, float], taken: Trial, target: Target) -> dict[str, Any]:
    """A budget with what it refers to, the limit, and what was reached."""
    what = REFERENCE.get(budget.name, f"the best 8-bit build for {target.board.name}")
    return {
        "name": budget.name,
        "budget": str(budget),
        "unit": UNIT[budget.name],
        "reference": problem.reference(budget.name),
        "reference_is": what,
        "limit": limits[budget.name],
        "reached": taken.candidate.costs[budget.name],
    }


def as_built(choice: BitChoice, latency_ms: float) -> BitChoice:
    """The choice with the predicted latency of the program that was made of it: other samples may have given it other formats than
    those of the program that the limit was kept with."""
    kept = [
        {**line, "reached": latency_ms if line["name"] == "latency" else line["reached"]}
        for line in choice.document["budgets_kept"]
    ]
    return replace(choice, document={**choice.document, "budgets_kept": kept})


def exceeded(choice: BitChoice) -> list[str]:
    """A line for every limit that the program does not keep."""
    return [
        f"budget {line['budget']} is not kept: {line['reached']:.6g} {line['unit']} of {line['limit']:.6g};"
        " the formats of the whole network are slower than those that the limit was tried with: ask for less"
        for line in choice.document["budgets_kept"]
        if line["reached"] > line["limit"] * (1 + EXACT)
    ]


def write_bits(folder: Path, choice: BitChoice) -> None:
    """Write ``bits.json`` and the drawn Pareto fronts, ``bits.png``, into a build folder."""
    (folder / "bits.json").write_text(json.dumps(choice.document, indent=1) + "\n")
    draw(folder / "bits.png", choice.document)


def draw(file: Path, document: Mapping[str, Any]) -> None:
    """The Pareto fronts of sensitivity against every cost, with the chosen allocation and equal bits for all layers."""
    fronts = document["fronts"]
    figure = new_figure(1 + 4.4 * len(fronts), 4.2)
    for axes, (name, points) in zip(figure.subplots(1, len(fronts), squeeze=False)[0], fronts.items(), strict=True):
        axes.step([p[name] for p in points], [p["omega"] for p in points], where="post", color="#0b6e99", linewidth=1.2)
        axes.scatter([p[name] for p in points], [p["omega"] for p in points], s=18, color="#0b6e99", zorder=3, label="front")
        equal = document["uniform"]
        axes.scatter([p[name] for p in equal], [p["omega"] for p in equal], s=18, color="#9aa5b1", label="equal bits")
        chosen = document["chosen"]
        axes.scatter([chosen[name]], [chosen["omega"]], s=60, marker="*", color="#c0392b", zorder=4, label="chosen")
        axes.set_xlabel(f"{name}, {UNIT[name]}" + (" (predicted)" if name == "latency" else ""))
        axes.set_ylabel("sensitivity, sum of Omega")
        axes.set_yscale("log")
        axes.grid(True, which="both", linewidth=0.3)
        axes.legend(frameon=False)
    figure.savefig(file, dpi=150)


def _point(chosen: Allocation) -> dict[str, Any]:
    return {"omega": chosen.omega, **chosen.costs}


def _document(
    problem: Task, sensitivity: Sensitivity, request: BitRequest, limits: Mapping[str, float], chosen: Allocation
) -> dict[str, Any]:
    equal = []
    for weight in sorted(WEIGHT_BITS, reverse=True):
        for activation in sorted(problem.layers[0].widths, reverse=True):
            bits = _same(problem.layers, LayerBits(weight=weight, activation=activation))
            equal.append({"weight_bits": weight, "activation_bits": activation, **_point(allocation(problem, bits))})
    return {
        "metric": sensitivity.metric,
        "labels": request.labels is not None,
        "budgets": [str(budget) for budget in request.budgets],
        "limits": dict(limits),
        "units": {name: UNIT[name] for name in problem.costs} | {"omega": "expected rise of the loss", "sqnr_db": "decibels"},
        "probes": sensitivity.traces.probes if sensitivity.metric == "hessian" else 0,
        "converged": sensitivity.traces.converged,
        "full": _point(allocation(problem, problem.full())),
        "chosen": _point(chosen),
        "uniform": equal,
        "seconds": dict(sensitivity.seconds),
        "layers": [
            {
                "name": layer.name,
                "weight_bits": chosen.bits[layer.name].weight,
                "activation_bits": chosen.bits[layer.name].activation,
                "fixed": layer.fixed,
                "parameters": layer.parameters,
                "macs": layer.macs,
                "trace": sum(sensitivity.traces.mean[name] for name in layer.outputs),
                "trace_error": math.sqrt(sum(sensitivity.traces.error[name] ** 2 for name in layer.outputs)),
                "omega": [
                    {"weight_bits": bits.weight, "activation_bits": bits.activation, "omega": value}
                    for bits, value in problem.omega[layer.name].items()
                ],
            }
            for layer in problem.layers
        ],
        "fronts": {name: [_point(point) for point in front(problem, name, FRONT_POINTS)] for name in problem.costs},
    }
