"""Bits for every layer of a model, chosen for a board: HAWQ with the cycle simulator in the loop.

The sensitivity of every layer (quant/hawq) stands against what its bits cost: size, bit operations, or latency as the cycle
simulator predicts it. Latency is tabulated by layer from whole programs that give every layer the same bits, once for each form in
which the array and the weight stream know them. What the sum over layers leaves out (neighbours that store their rows in another
way) is made up for by simulating the chosen allocation and asking again for as much less as it was over the limit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import onnx_ir as ir
from numpy.typing import NDArray

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.boards import Board
from edgeflow.hw.errors import InputError
from edgeflow.hw.fit import SHARE
from edgeflow.hw.progress import Progress
from edgeflow.quant.config import LayerBits, QuantizationConfig
from edgeflow.quant.float_graph import FloatGraph
from edgeflow.quant.given import has_given_formats
from edgeflow.quant.hawq.allocate import (
    Allocation,
    Cost,
    Task,
    allocation,
    bops_cost,
    cheapest,
    front,
    limits_of,
    size_cost,
    solve,
    task,
)
from edgeflow.quant.hawq.budget import UNIT, Budget, parse_budgets
from edgeflow.quant.hawq.layers import FULL, Layer, attention_bops, find_layers, layers_config
from edgeflow.quant.hawq.objective import Objective
from edgeflow.quant.hawq.sensitivity import Metric, Sensitivity, measure
from edgeflow.quant.observe import observe
from edgeflow.quant.ptq import quantize
from edgeflow.sim.cycles import CycleReport, estimate
from edgeflow.sw.configure import configure
from edgeflow.sw.lowering import lower

Array = NDArray[Any]

# The widest of the bits that the hardware treats alike: weights lie in memory in bytes, half bytes or quarter bytes, and the array
# does two products in one where both operands have up to NARROW bits.
NARROW = 4
WEIGHT_FORMS = (8, NARROW, 2)
ACTIVATION_FORMS = (8, NARROW)
TABLE_SAMPLES = 2  # of calibration data for programs whose numbers do not matter
ATTEMPTS = 6  # at an allocation whose whole program keeps a latency limit
FRONT_POINTS = 17
MethodName = Literal["hawq", "fit"]
METHODS: Mapping[str, Metric] = {"hawq": "hessian", "fit": "fisher"}


@dataclass(frozen=True)
class BitRequest:
    """How bits are to be chosen: ``budgets``; ``labels (samples,)`` of the calibration data, if there are any; the ``metric``;
    ``samples`` and ``probes`` of the Hessian at most; ``ends``: the first and the last layer, too."""

    budgets: tuple[Budget, ...]
    labels: Array | None = None
    metric: Metric = "hessian"
    samples: int = 64
    probes: int = 32
    tolerance: float = 0.1
    ends: bool = False


def bit_request(method: str | None, budget: str | Sequence[str]) -> BitRequest | None:
    """What a user asks for: ``method`` is hawq or fit, or None to leave the bits as configured. InputError for half a request."""
    budgets = parse_budgets([budget] if isinstance(budget, str) else budget)
    if method is None:
        if budgets:
            raise InputError("a budget says how bits are to be chosen: add --bits hawq (in Python bits='hawq')")
        return None
    if method not in METHODS:
        raise InputError(f"bits are chosen by {' or '.join(METHODS)}, not by {method!r}")
    if not budgets:
        raise InputError("option --bits needs a limit to choose bits under: add --budget latency=0.8x, size=0.5x or bops=0.5x")
    return BitRequest(budgets, metric=METHODS[method])


@dataclass(frozen=True)
class BitChoice:
    """Bits by layer, as part of ``config``. ``architecture``: the accelerator that a latency budget was kept on, None without one.
    ``document`` is what ``bits.json`` holds."""

    bits: Mapping[str, LayerBits]
    config: QuantizationConfig
    architecture: Architecture | None
    document: Mapping[str, Any]


@dataclass(frozen=True)
class Target:
    """Where latency is predicted: a board, its clock and the accelerator, or how to choose it."""

    board: Board
    clock_mhz: float
    architecture: Architecture | None = None
    share: float = SHARE
    sizes: Mapping[str, int] | None = None


class LatencyTable:
    """Predicted latency of a model by its layers' bits, on one accelerator.

    Without a given one it is chosen for 4 bits wherever bits are free, so that it has the array's 4-bit mode; it also takes weights
    of 2 bits four to a byte.
    """

    def __init__(
        self,
        model: ir.Model,
        data: Mapping[str, Array],
        layers: Sequence[Layer],
        config: QuantizationConfig,
        target: Target,
        progress: Progress | None = None,
    ) -> None:
        self._model = model
        self._few = {name: array[:TABLE_SAMPLES] for name, array in data.items()}
        self._layers = layers
        self._config = config.model_copy(update={"rounding": "nearest"})
        self._target = target
        self.architecture = target.architecture or self._configured(progress)
        self.cost = self._tabulated(progress)

    def predict(self, bits: Mapping[str, LayerBits]) -> CycleReport:
        """The predicted execution of a whole allocation."""
        graph = quantize(self._model, self._few, layers_config(self._config, bits)).graph
        return estimate(lower(graph, self.architecture), graph, self._target.board, self._target.clock_mhz)

    def _configured(self, progress: Progress | None) -> Architecture:
        narrow = {layer.name: FULL if layer.fixed else LayerBits(weight=NARROW, activation=NARROW) for layer in self._layers}
        graph = quantize(self._model, self._few, layers_config(self._config, narrow)).graph
        target = self._target
        return configure(
            graph,
            target.board,
            target.clock_mhz,
            share=target.share,
            sizes=target.sizes,
            precisions=(min(WEIGHT_FORMS),),
            progress=progress,
        )

    def _tabulated(self, progress: Progress | None) -> Cost:
        forms = [(w, a) for w in WEIGHT_FORMS for a in ACTIVATION_FORMS]
        cycles: dict[tuple[int, int], dict[str, int]] = {}
        rest = 0
        for number, (w, a) in enumerate(forms):
            bits = {layer.name: FULL if layer.fixed else LayerBits(weight=w, activation=a) for layer in self._layers}
            report = self.predict(bits)
            names = {layer.name for layer in self._layers}
            found = dict.fromkeys(names, 0)
            for line in report.layers:
                if line.name in names:
                    found[line.name] += line.cycles
            cycles[w, a] = found
            if (w, a) == (8, 8):
                rest = report.cycles - sum(found.values())
            if progress is not None:
                progress("latency by bits", number + 1, len(forms))
        scale = self._target.clock_mhz * 1e3
        return Cost(
            rest / scale,
            {layer.name: {c: cycles[_form(c)][layer.name] / scale for c in layer.choices()} for layer in self._layers},
        )


def choose_bits(
    model: ir.Model,
    data: Mapping[str, Array],
    config: QuantizationConfig,
    request: BitRequest,
    target: Target,
    progress: Progress | None = None,
) -> BitChoice:
    """Bits for every layer of a canonical model under the budgets; ``data`` are checked calibration arrays.

    InputError where a budget cannot be kept (it names the smallest that can) or the model has no layers; CalibrationError where the
    labels do not fit.
    """
    if config.layers:
        raise InputError("bits are to be allocated, but the quantization option layers gives them: leave one of the two out")
    graph = FloatGraph(model)
    if has_given_formats(graph):
        raise InputError("bits are to be allocated, but the model is quantized already and keeps its own; give the float model")
    layers = find_layers(graph, request.ends)
    few = {name: array[: request.samples] for name, array in data.items()}
    labels = request.labels
    if labels is not None and labels.ndim == 1 and len(labels) == len(next(iter(data.values()))):
        labels = labels[: request.samples]
    objective = Objective(graph, few, labels)
    costs = {"size": size_cost(layers), "bops": bops_cost(layers, attention_bops(graph, config))}
    table: LatencyTable | None = None
    if any(budget.name == "latency" for budget in request.budgets):
        table = LatencyTable(model, data, layers, config, target, progress)
        costs["latency"] = table.cost
    # Whether the budgets can be kept at all is known before the sensitivities are: these take longest.
    nothing = Task(layers, {layer.name: dict.fromkeys(layer.choices(), 0.0) for layer in layers}, costs)
    limits = limits_of(nothing, request.budgets)
    solve(nothing, limits)
    statistics = observe(graph, dict(data), config, progress)
    found = measure(
        graph,
        statistics,
        layers,
        objective,
        config,
        metric=request.metric,
        probes=request.probes,
        tolerance=request.tolerance,
        progress=progress,
    )
    problem = task(layers, found, costs)
    if table is None:
        made, report = solve(problem, limits), None
    else:
        made, report = within_latency(problem, limits, table)
    document = _document(problem, found, request, limits, made, table, report, target)
    return BitChoice(made.bits, layers_config(config, made.bits), None if table is None else table.architecture, document)


def within_latency(problem: Task, limits: Mapping[str, float], table: LatencyTable) -> tuple[Allocation, CycleReport]:
    """The allocation whose whole program keeps the latency limit as the cycle simulator predicts it, and that prediction."""
    asked, limit = dict(limits), limits["latency"]
    made = solve(problem, asked)
    for _ in range(ATTEMPTS):
        report = table.predict(made.bits)
        if report.latency_ms <= limit:
            return made, report
        asked["latency"] = min(asked["latency"], made.costs["latency"]) - (report.latency_ms - limit)
        try:
            made = solve(problem, asked)
        except InputError:
            break
    made = cheapest(problem, "latency", {name: value for name, value in limits.items() if name != "latency"})
    report = table.predict(made.bits)
    least = report.latency_ms
    if least <= limit:
        return made, report
    share = least / problem.costs["latency"].total(problem.full())
    raise InputError(
        f"budget latency={limit:.6g} ms is impossible: the whole program comes down to {least:.6g} ms; "
        f"the smallest feasible budget is latency={math.ceil(share * 1e4) / 1e4:g}x"
    )


def write_bits(folder: Path, choice: BitChoice) -> None:
    """Write ``bits.json`` and the drawn Pareto fronts, ``bits.png``, into a build folder."""
    (folder / "bits.json").write_text(json.dumps(choice.document, indent=1) + "\n")
    draw(folder / "bits.png", choice.document)


def method_or_layers(text: str | None) -> tuple[MethodName | None, dict[str, LayerBits]]:
    """What ``--bits`` says: a method by which to choose, or the bits of the layers in a file; InputError for neither."""
    if text is None or text in METHODS:
        return cast("MethodName | None", text), {}
    if not Path(text).is_file():
        raise InputError(f"option --bits takes {' or '.join(METHODS)}, or the bits.json of a build, and {text!r} is no such file")
    return None, read_bits(Path(text))


def read_bits(file: Path) -> dict[str, LayerBits]:
    """Bits of every layer from a ``bits.json``; InputError where the file is none."""
    advice = "give the bits.json of a build that compile --bits made"
    try:
        layers = json.loads(file.read_text())["layers"]
        return {layer["name"]: LayerBits(weight=layer["weight_bits"], activation=layer["activation_bits"]) for layer in layers}
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}): {advice}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} does not hold the bits of layers: {advice}") from error


def draw(file: Path, document: Mapping[str, Any]) -> None:
    """The Pareto fronts of sensitivity against every cost, with the chosen allocation and equal bits for all layers."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fronts = document["fronts"]
    figure = Figure(figsize=(1 + 4.4 * len(fronts), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
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


def _form(bits: LayerBits) -> tuple[int, int]:
    """The bits among those tabulated that the hardware treats like the given ones."""
    return min(w for w in WEIGHT_FORMS if w >= bits.weight), min(a for a in ACTIVATION_FORMS if a >= bits.activation)


def _point(made: Allocation) -> dict[str, Any]:
    return {"omega": made.omega, **made.costs}


def _document(
    problem: Task,
    found: Sensitivity,
    request: BitRequest,
    limits: Mapping[str, float],
    made: Allocation,
    table: LatencyTable | None,
    report: CycleReport | None,
    target: Target,
) -> dict[str, Any]:
    full = allocation(problem, problem.full())
    equal = []
    for weight in (8, 7, 6, 5, 4, 3, 2):
        for activation in (8, 4):
            bits = {
                layer.name: FULL if layer.fixed else LayerBits(weight=weight, activation=activation) for layer in problem.layers
            }
            equal.append({"weight_bits": weight, "activation_bits": activation, **_point(allocation(problem, bits))})
    document: dict[str, Any] = {
        "metric": found.metric,
        "labels": request.labels is not None,
        "budgets": [str(budget) for budget in request.budgets],
        "limits": dict(limits),
        "units": {name: UNIT[name] for name in problem.costs} | {"omega": "expected rise of the loss"},
        "probes": found.weight_traces.probes if found.metric == "hessian" else 0,
        "converged": found.weight_traces.converged and found.activation_traces.converged,
        "full": _point(full),
        "chosen": _point(made),
        "uniform": equal,
        "seconds": dict(found.seconds),
        "layers": [
            {
                "name": layer.name,
                "weight_bits": made.bits[layer.name].weight,
                "activation_bits": made.bits[layer.name].activation,
                "fixed": layer.fixed,
                "parameters": layer.parameters,
                "macs": layer.macs,
                "trace": sum(found.weight_traces.mean[name] for name in layer.weights),
                "trace_error": math.sqrt(sum(found.weight_traces.error[name] ** 2 for name in layer.weights)),
                "omega": {str(bits): value for bits, value in found.weights[layer.name].items()},
            }
            for layer in problem.layers
        ],
        "activations": {
            name: {
                "trace": found.activation_traces.mean[name],
                "trace_error": found.activation_traces.error[name],
                "omega": {str(bits): value for bits, value in by_bits.items()},
            }
            for name, by_bits in found.activations.items()
        },
        "fronts": {name: [_point(point) for point in front(problem, name, FRONT_POINTS)] for name in problem.costs},
    }
    if table is not None and report is not None:
        document["latency"] = {
            "board": target.board.name,
            "clock_mhz": target.clock_mhz,
            "predicted_ms": report.latency_ms,
            "sum_of_layers_ms": made.costs["latency"],
            "predicted": "by the cycle simulator; nothing was measured",
        }
    return document
