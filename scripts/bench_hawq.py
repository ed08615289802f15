"""HAWQ's bits against the same bits for all layers and against random bits, at one budget; and what the Hessian costs in time.

    python scripts/bench_hawq.py vit|minilm [--budget size|latency] [--images 2000] [--random 20] [--json FILE] [--plot FILE]
    python scripts/bench_hawq.py time [--samples 64] [--probes 20]      # needs scripts/export_models.py deit-tiny

The budget is half the size at 8 bits (or --share), which 4-bit weights in every layer meet exactly (first and last layer
included, for all rivals); or the predicted latency half way between 8 bits and 4 bits everywhere. Sensitivities come from
calibration samples and the model's own outputs, without labels. All rivals are quantized in the same way, weights rounded to
nearest unless --rounding says otherwise. Intervals are 95 percent: of a difference between allocations over the test samples
(in pairs), of the random mean over the allocations.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from edgeflow.hw.boards import load_board
from edgeflow.hw.errors import EdgeFlowError, VerificationError
from edgeflow.models.data import load_fashion_mnist
from edgeflow.models.text import rated_documents, tokenize
from edgeflow.models.wheels import cache_folder
from edgeflow.quant.config import LayerBits, QuantizationConfig
from edgeflow.quant.conversion import convert
from edgeflow.quant.float_graph import FloatGraph
from edgeflow.quant.hawq.allocate import Allocation, Task, allocation, bops_cost, front, size_cost, solve, task
from edgeflow.quant.hawq.layers import attention_bops, find_layers, layers_config
from edgeflow.quant.hawq.objective import Objective
from edgeflow.quant.hawq.sensitivity import Metric, Sensitivity, measure
from edgeflow.quant.inputs import check_inputs, decode_outputs, encode_inputs, model_inputs
from edgeflow.quant.observe import observe
from edgeflow.sim.executor import Executor
from edgeflow.sw.accuracy import float_outputs
from edgeflow.sw.bits import LatencyTable, Target, draw
from edgeflow.sw.importer import import_model

VIT = Path(__file__).resolve().parent.parent / "examples" / "fashion_mnist_vit"
RESAMPLES = 1000
METRICS: Mapping[str, Metric] = {"HAWQ": "hessian", "FIT": "fisher"}
BATCH = 50

Array = NDArray[Any]
Arrays = Mapping[str, Array]
Bits = Mapping[str, LayerBits]


@dataclass(frozen=True)
class Case:
    """A model with its calibration data, what it is tested on, and ``score(outputs)``, a figure of every sample."""

    name: str
    path: Path
    calibration: Arrays
    inputs: Arrays
    output: str
    score: Callable[[Array], Array]
    what: str


def vit_case(images: int) -> Case:
    """The Fashion-MNIST ViT; the score of an image is 100 where its class is right."""
    test = load_fashion_mnist("test")
    labels = test.labels[:images]
    with np.load(VIT / "calibration.npz") as archive:
        calibration = dict(archive)
    inputs = {"image": test.images(slice(images))}
    return Case(
        "vit", VIT / "model.onnx", calibration, inputs, "logits", lambda y: 100.0 * (y.argmax(axis=1) == labels), "top-1, percent"
    )


def minilm_case(images: int) -> Case:
    """MiniLM on the rated documents; the score of a document is the cosine of its embedding with the float model's."""
    path = cache_folder() / "minilm"
    with np.load(path / "calibration.npz") as archive:
        calibration = dict(archive)
    inputs = tokenize(rated_documents().documents[:images], calibration["input_ids"].shape[1])
    model = import_model(path / "model.onnx", shapes={name: array.shape for name, array in calibration.items()})
    expected = float_outputs(model, check_inputs(model_inputs(model), inputs))["sentence_embedding"].astype(np.float64)

    def cosine(y: Array) -> Array:
        y = y.astype(np.float64)
        found: Array = (y * expected).sum(axis=1) / np.linalg.norm(y, axis=1) / np.linalg.norm(expected, axis=1)
        return found

    return Case("minilm", path / "model.onnx", calibration, inputs, "sentence_embedding", cosine, "cosine with float")


@dataclass(frozen=True)
class Scores:
    """Of every sample: the case's figure, and the energy of the output and of its error."""

    figure: Array
    signal: Array
    noise: Array

    def sqnr(self, chosen: Array | None = None) -> float:
        """SQNR of the output in dB, over all samples or some."""
        part = slice(None) if chosen is None else chosen
        return float(10 * np.log10(self.signal[part].sum() / self.noise[part].sum()))


class Bench:
    """One model: its float outputs, its sensitivities, and the score of any allocation."""

    def __init__(self, case: Case, config: QuantizationConfig, budget: str, board: str, samples: int, probes: int) -> None:
        self.case, self.config, self.samples = case, config, samples
        self.model = import_model(case.path, shapes={name: array.shape for name, array in case.calibration.items()})
        specs = model_inputs(self.model)
        self.arrays, self.inputs = check_inputs(specs, case.calibration), check_inputs(specs, case.inputs)
        self.graph = FloatGraph(self.model)
        self.statistics = observe(self.graph, self.arrays, config)
        self.layers = find_layers(self.graph, ends=True)
        self.expected = float_outputs(self.model, self.inputs)[case.output].astype(np.float64)
        objective = Objective(self.graph, {name: array[:samples] for name, array in self.arrays.items()})
        self.sensitivity: dict[str, Sensitivity] = {}
        for name, metric in METRICS.items():
            start = time.perf_counter()
            found = measure(self.graph, self.statistics, self.layers, objective, config, metric=metric, probes=probes)
            self.sensitivity[name] = found
            print(f"{name}: {time.perf_counter() - start:.1f} s, {listed(found.seconds)}", flush=True)
        self.costs = {"size": size_cost(self.layers), "bops": bops_cost(self.layers, attention_bops(self.graph, config))}
        if budget == "latency":
            chosen = load_board(board)
            table = LatencyTable(self.model, self.arrays, self.layers, config, Target(chosen, chosen.clock_mhz))
            self.costs["latency"] = table.cost
        self.problems = {name: task(self.layers, found, self.costs) for name, found in self.sensitivity.items()}

    def score(self, bits: Bits) -> Scores:
        """How an allocation does on all samples."""
        quantized = convert(self.graph, self.statistics, self.arrays, layers_config(self.config, bits))
        executor, graph = Executor(quantized.graph), quantized.graph
        parts = []
        for i in range(0, len(self.expected), BATCH):
            words = encode_inputs(graph, {name: array[i : i + BATCH] for name, array in self.inputs.items()})
            parts.append(decode_outputs(graph, executor.run(words))[self.case.output])
        y = np.concatenate(parts)
        axes = tuple(range(1, y.ndim))
        return Scores(self.case.score(y), np.square(self.expected).sum(axis=axes), np.square(self.expected - y).sum(axis=axes))


def listed(seconds: Mapping[str, float]) -> str:
    """Seconds by what they were spent on."""
    return ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())


def same(problem: Task, weight: int, activation: int) -> dict[str, LayerBits]:
    """The same bits for all layers."""
    return {layer.name: LayerBits(weight=weight, activation=activation) for layer in problem.layers}


def random_bits(problem: Task, budget: str, limit: float, rng: np.random.Generator) -> dict[str, LayerBits]:
    """Random bits that use up a budget: drawn uniformly, lowered one by one at random until they fit, then raised while they do.

    Under a size budget activations keep 8 bits; under one of latency a layer has 8 bits or 4, weights and activations alike, as
    other mixtures gain nothing.
    """
    names = [layer.name for layer in problem.layers]
    groups = [[name] for name in names]
    if budget == "latency":
        for a, b in problem.pairs():
            one = next(group for group in groups if a in group)
            other = next(group for group in groups if b in group)
            if one is not other:
                one += other
                groups.remove(other)
    ladder = [LayerBits(weight=w, activation=8) for w in range(2, 9)]
    if budget == "latency":
        ladder = [LayerBits(weight=4, activation=4), LayerBits(weight=8, activation=8)]
    level = [int(rng.integers(len(ladder))) for _ in groups]

    def bits() -> dict[str, LayerBits]:
        return {name: ladder[at] for group, at in zip(groups, level, strict=True) for name in group}

    while not problem.feasible(bits(), {budget: limit}):
        level[rng.choice([i for i, at in enumerate(level) if at > 0])] -= 1
    for i in rng.permutation(len(groups)):
        while level[i] + 1 < len(ladder):
            level[i] += 1
            if not problem.feasible(bits(), {budget: limit}):
                level[i] -= 1
                break
    return bits()


def interval(values: Array) -> dict[str, float]:
    """Mean and its 95 percent interval (Student's t)."""
    n, mean = len(values), float(np.mean(values))
    half = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else np.inf
    return {"mean": mean, "low": mean - half, "high": mean + half}


def resampled(one: Scores, others: Sequence[Scores], rng: np.random.Generator) -> dict[str, float]:
    """SQNR of one allocation less the mean SQNR of others, and its 95 percent interval by resampling the test samples."""

    def difference(chosen: Array | None) -> float:
        return one.sqnr(chosen) - float(np.mean([other.sqnr(chosen) for other in others]))

    n = len(one.noise)
    found = [difference(rng.integers(n, size=n)) for _ in range(RESAMPLES)]
    low, high = np.percentile(found, [2.5, 97.5])
    return {"mean": difference(None), "low": float(low), "high": float(high)}


def run(bench: Bench, budget: str, share: float, count: int, seed: int) -> dict[str, Any]:
    """All rivals at one budget."""
    problem = bench.problems["HAWQ"]
    cost = problem.costs[budget]
    full, narrow = cost.total(problem.full()), cost.total(same(problem, 4, 4))
    limit = full * share if budget == "size" else (full + narrow) / 2
    rivals = {name: solve(p, {budget: limit}) for name, p in bench.problems.items()}
    rivals["uniform"] = allocation(problem, same(problem, *((int(8 * share), 8) if budget == "size" else (4, 4))))
    rivals["8 bits"] = allocation(problem, problem.full())
    scores: dict[str, Scores] = {}
    rows: dict[str, Any] = {}
    for name, made in rivals.items():
        scores[name] = bench.score(made.bits)
        rows[name] = row(made, budget, full, scores[name])
        show(name, rows[name], bench.case.what)
    rng = np.random.default_rng(seed)
    drawn: list[Scores] = []
    lines = []
    for number in range(count):
        made = allocation(problem, random_bits(problem, budget, limit, rng))
        drawn.append(bench.score(made.bits))
        lines.append(row(made, budget, full, drawn[-1]))
        show(f"random {number}", lines[-1], bench.case.what)
    best = scores["HAWQ"]
    comparison: dict[str, Any] = {
        "random mean": interval(np.array([line["score"] for line in lines])),
        "random mean SQNR, dB": interval(np.array([line["sqnr_db"] for line in lines])),
        "HAWQ - random mean": interval(best.figure - np.mean([one.figure for one in drawn], axis=0)),
        "HAWQ - random mean SQNR, dB": resampled(best, drawn, rng),
    }
    for rival in ("uniform", "FIT"):
        comparison[f"HAWQ - {rival}"] = interval(best.figure - scores[rival].figure)
        comparison[f"HAWQ - {rival} SQNR, dB"] = resampled(best, [scores[rival]], rng)
    comparison["random allocations with a lower SQNR"] = sum(line["sqnr_db"] < rows["HAWQ"]["sqnr_db"] for line in lines)
    omegas = [[found.weights[layer.name][4] for layer in bench.layers] for found in bench.sensitivity.values()]
    comparison["rank correlation of Omega, Hessian and Fisher"] = float(stats.spearmanr(*omegas).statistic)
    return {
        "model": bench.case.name,
        "budget": budget,
        "limit": limit,
        "share": limit / full,
        "samples": len(bench.expected),
        "sensitivity_samples": bench.samples,
        "what": bench.case.what,
        "seed": seed,
        "rows": rows,
        "random": lines,
        "comparison": comparison,
        "traces": {
            name: {
                "probes": found.weight_traces.probes,
                "seconds": dict(found.seconds),
                "weights": {w: [found.weight_traces.mean[w], found.weight_traces.error[w]] for w in found.weight_traces.mean},
            }
            for name, found in bench.sensitivity.items()
        },
    }


def row(made: Allocation, budget: str, full: float, scores: Scores) -> dict[str, Any]:
    """Figures of one allocation."""
    bits = [[b.weight, b.activation] for b in made.bits.values()]
    figures = {"score": float(scores.figure.mean()), "sqnr_db": scores.sqnr()}
    return {**figures, "share": made.costs[budget] / full, "omega": made.omega, "bits": bits}


def show(name: str, line: Mapping[str, Any], what: str) -> None:
    """One line of the table."""
    cost = f"cost {line['share']:.4f}x  Omega {line['omega']:.3e}"
    print(f"  {name:10} {what} {line['score']:9.4f}  SQNR {line['sqnr_db']:6.2f} dB  {cost}", flush=True)


def time_hessian(samples: int, probes: int, seed: int) -> dict[str, Any]:
    """Where the time goes for DeiT-Tiny's shape with random weights and random images."""
    path = cache_folder() / "deit_tiny" / "model.onnx"
    model = import_model(path)
    graph = FloatGraph(model)
    spec = model_inputs(model)[0]
    images = np.random.default_rng(seed).standard_normal((samples, *spec.shape)).astype(np.float32)
    config = QuantizationConfig(seed=seed)
    start = time.perf_counter()
    statistics = observe(graph, {spec.name: images}, config)
    seconds = {"observation": time.perf_counter() - start}
    start = time.perf_counter()
    objective = Objective(graph, {spec.name: images})
    seconds["float outputs"] = time.perf_counter() - start
    layers = find_layers(graph)
    cpu = time.process_time()
    found = measure(graph, statistics, layers, objective, config, probes=probes, tolerance=0.0)
    seconds |= found.seconds
    start = time.perf_counter()
    problem = task(layers, found, {"size": size_cost(layers)})
    solve(problem, {"size": problem.costs["size"].total(problem.full()) / 2})
    seconds["integer programme"] = time.perf_counter() - start
    result = {"samples": samples, "probes": probes, "batch": objective.batch, "layers": len(layers), "seconds": seconds}
    result["processor_seconds"] = time.process_time() - cpu
    for name, value in seconds.items():
        print(f"  {name:32} {value:8.1f} s")
    print(f"  processor time {result['processor_seconds']:.1f} s, batches of {objective.batch}")
    return result


def markdown(result: Mapping[str, Any]) -> str:
    """The figures as a table, for the documentation."""
    comparison = result["comparison"]
    mean, decibel = comparison["random mean"], comparison["random mean SQNR, dB"]
    lines = [f"| allocation | cost | {result['what']} | SQNR of the output, dB |", "|---|---|---|---|"]
    for name, line in result["rows"].items():
        lines.append(f"| {name} | {line['share']:.4f}x | {line['score']:.4f} | {line['sqnr_db']:.2f} |")
    around = f"{mean['mean']:.4f} ({mean['low']:.4f} to {mean['high']:.4f})"
    lines.append(
        f"| mean of {len(result['random'])} random | at most {result['share']:.4f}x | {around} | "
        f"{decibel['mean']:.2f} ({decibel['low']:.2f} to {decibel['high']:.2f}) |"
    )
    for rival in ("uniform", "FIT", "random mean"):
        figure, sqnr = comparison[f"HAWQ - {rival}"], comparison[f"HAWQ - {rival} SQNR, dB"]
        lines.append(
            f"| HAWQ less {rival} | | {figure['mean']:+.4f} ({figure['low']:+.4f} to {figure['high']:+.4f}) | "
            f"{sqnr['mean']:+.2f} ({sqnr['low']:+.2f} to {sqnr['high']:+.2f}) |"
        )
    return "\n".join(lines)


def plot(bench: Bench, result: Mapping[str, Any], file: Path) -> None:
    """The Pareto front of the budget's cost, with the chosen allocation and the same bits for all layers."""
    problem, budget = bench.problems["HAWQ"], str(result["budget"])
    equal = [allocation(problem, same(problem, w, a)) for w in range(2, 9) for a in (8, 4)]

    def point(made: Allocation) -> dict[str, float]:
        return {"omega": made.omega, budget: made.costs[budget]}

    chosen = solve(problem, {budget: float(result["limit"])})
    fronts = {budget: [point(made) for made in front(problem, budget, 25)]}
    draw(file, {"fronts": fronts, "uniform": [point(made) for made in equal], "chosen": point(chosen)})


def failures(result: Mapping[str, Any]) -> list[str]:
    """What does not hold: the SQNR of the output must be better, beyond the interval."""
    where = f"{result['model']} at {result['share']:.3f}x of the 8-bit {result['budget']}"
    rivals = {"uniform": "the same bits for all layers", "random mean": "the mean of random allocations"}
    return [
        f"{where}: HAWQ is not better than {what}"
        for rival, what in rivals.items()
        if result["comparison"][f"HAWQ - {rival} SQNR, dB"]["low"] <= 0
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one bench; status 1 where HAWQ does not win."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("vit", "minilm", "time"))
    parser.add_argument("--budget", choices=("size", "latency"), default="size")
    parser.add_argument("--share", type=float, default=0.5, help="of the size at 8 bits: the size budget")
    parser.add_argument("--board", default="kv260")
    parser.add_argument("--images", type=int, default=2000, help="test images or documents at most")
    parser.add_argument("--random", type=int, default=20, help="random allocations")
    parser.add_argument("--rounding", choices=("nearest", "auto"), default="nearest")
    parser.add_argument("--samples", type=int, default=64, help="samples of the sensitivities, or of the time")
    parser.add_argument("--probes", type=int, default=20, help="probes of the Hessian at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args(arguments)
    failed: list[str] = []
    try:
        if given.what == "time":
            result = time_hessian(given.samples, given.probes, given.seed)
        else:
            case = vit_case(given.images) if given.what == "vit" else minilm_case(given.images)
            config = QuantizationConfig(rounding=given.rounding, seed=given.seed)
            bench = Bench(case, config, given.budget, given.board, given.samples, given.probes)
            result = run(bench, given.budget, given.share, given.random, given.seed)
            print(markdown(result))
            if given.plot is not None:
                plot(bench, result, given.plot)
            failed = failures(result)
        if given.json is not None:
            given.json.write_text(json.dumps(result, indent=1) + "\n")
        if failed:
            raise VerificationError("; ".join(failed))
    except EdgeFlowError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
