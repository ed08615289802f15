"""HAWQ's bits against the same bits for all layers and against random bits, at one size; and what the Hessian costs in time.

    python scripts/bench_hawq.py vit|minilm [--seed 0] [--images 2000] [--random 5] [--quick] [--json FILE] [--plot FILE]
    python scripts/bench_hawq.py time [--samples 64] [--probes 20]      # needs scripts/export_models.py deit-tiny

The budget is half the size at 8 bits (or --share), which 4-bit weights in every layer meet exactly (first and last layer
included, for all rivals). Bits are chosen as compile chooses them, with its rounding: sensitivities from calibration samples and
the model's own outputs, without labels, and allocations compared on samples held out of the calibration data. "taken" is the
allocation that compile hands over. All are tested on other samples. The seed decides which samples are held out, the probes, the
kept rows and the random allocations. Intervals are 95 percent: of a difference between allocations over the test samples (in
pairs), of the random mean over the allocations. --quick takes fewer of everything: it shows that the bench runs.
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
from scipy import stats

from edgeflow.hw.arrays import Array, Arrays
from edgeflow.hw.boards import load_board
from edgeflow.hw.errors import EdgeFlowError, VerificationError
from edgeflow.models.data import load_fashion_mnist
from edgeflow.models.text import rated_documents, tokenize
from edgeflow.models.wheels import cache_folder
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.inputs import check_inputs, decode_outputs, encode_inputs, model_inputs
from edgeflow.quant.convert.observe import observe
from edgeflow.quant.formats.config import LayerBits, QuantizationConfig
from edgeflow.quant.ptq import quantize
from edgeflow.quant.techniques.hawq.allocate import Task, size_cost, solve, task
from edgeflow.quant.techniques.hawq.budget import parse_budgets
from edgeflow.quant.techniques.hawq.layers import find_layers, layers_config
from edgeflow.quant.techniques.hawq.objective import Objective
from edgeflow.quant.techniques.hawq.sensitivity import measure
from edgeflow.sim.executor import Executor
from edgeflow.sw.importer import import_model
from edgeflow.sw.measure.accuracy import float_outputs
from edgeflow.sw.measure.samples import UserData, choose_samples
from edgeflow.sw.search.bit_allocation import choose_bits, draw
from edgeflow.sw.search.bit_requests import BitRequest
from edgeflow.sw.search.latency_tables import Target

VIT = Path(__file__).resolve().parent.parent / "examples" / "fashion_mnist_vit"
RESAMPLES = 1000
BOARD = "kv260"
UNIFORM = "uniform"
QUICK = {"images": 25, "random": 2, "samples": 8, "probes": 4}
BATCH = 50

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
        cosines: Array = (y * expected).sum(axis=1) / np.linalg.norm(y, axis=1) / np.linalg.norm(expected, axis=1)
        return cosines

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
    """One model: its float outputs, the bits chosen for it, and the score of any allocation."""

    def __init__(self, case: Case, config: QuantizationConfig, share: float, samples: int, probes: int) -> None:
        self.case, self.config, self.samples = case, config, samples
        self.model = import_model(case.path, shapes={name: array.shape for name, array in case.calibration.items()})
        self.inputs = check_inputs(model_inputs(self.model), case.inputs)
        split = choose_samples(self.model, UserData(case.calibration), None, config.seed)
        self.arrays = split.calibration
        self.layers = find_layers(FloatGraph(self.model), ends=True)
        self.expected = float_outputs(self.model, self.inputs)[case.output].astype(np.float64)
        board = load_board(BOARD)
        request = BitRequest(parse_budgets([f"size={share}x"]), samples=samples, probes=probes, ends=True)
        held_out = None if split.unseen is None else split.unseen.arrays
        start = time.perf_counter()
        target = Target(board, board.clock_mhz)
        self.choice = choose_bits(self.model, self.arrays, config, request, target, held_out=held_out)
        self.seconds = time.perf_counter() - start
        print(f"bits chosen in {self.seconds:.0f} s ({listed(self.choice.document['seconds'])})", flush=True)
        print(self.choice.document["decision"], flush=True)
        nothing = {layer.name: dict.fromkeys(layer.choices(), 0.0) for layer in self.layers}
        self.problem = Task(self.layers, nothing, {"size": size_cost(self.layers)})
        self.limit = float(self.choice.document["limits"]["size"])

    def score(self, bits: Bits) -> Scores:
        """How an allocation does on all samples, quantized as compile would."""
        graph = quantize(self.model, self.arrays, layers_config(self.config, bits)).graph
        executor = Executor(graph)
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


def random_bits(problem: Task, limit: float, rng: np.random.Generator) -> dict[str, LayerBits]:
    """Random bits of weights that use up a size: drawn uniformly, lowered one by one at random until they fit, then raised while
    they do. Activations keep 8 bits."""
    level = {layer.name: int(rng.integers(2, 9)) for layer in problem.layers}

    def fits() -> bool:
        return problem.feasible(bits(level), {"size": limit})

    while not fits():
        level[rng.choice([name for name, width in level.items() if width > 2])] -= 1
    for name in rng.permutation(list(level)):
        while level[name] < 8:
            level[name] += 1
            if not fits():
                level[name] -= 1
                break
    return bits(level)


def bits(level: Mapping[str, int]) -> dict[str, LayerBits]:
    """Allocations with activations of 8 bits."""
    return {name: LayerBits(weight=width) for name, width in level.items()}


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
    differences = [difference(rng.integers(n, size=n)) for _ in range(RESAMPLES)]
    low, high = np.percentile(differences, [2.5, 97.5])
    return {"mean": difference(None), "low": float(low), "high": float(high)}


def run(bench: Bench, count: int, seed: int) -> dict[str, Any]:
    """All rivals at one budget."""
    full = bench.problem.costs["size"].total(bench.problem.full())
    rivals = {
        UNIFORM if trial.candidate.name.startswith(UNIFORM) else trial.candidate.name.upper(): trial.candidate.bits
        for trial in bench.choice.trials
    }
    rivals |= {"taken": bench.choice.bits, "8 bits": bench.problem.full()}
    known: dict[tuple[LayerBits, ...], Scores] = {}
    scores: dict[str, Scores] = {}
    rows: dict[str, Any] = {}
    for name, bits in rivals.items():
        key = tuple(bits.values())
        scores[name] = known[key] = known.get(key) or bench.score(bits)
        rows[name] = row(bench, bits, full, scores[name])
        show(name, rows[name], bench.case.what)
    rng = np.random.default_rng(seed)
    drawn: list[Scores] = []
    lines = []
    for number in range(count):
        bits = random_bits(bench.problem, bench.limit, rng)
        drawn.append(bench.score(bits))
        lines.append(row(bench, bits, full, drawn[-1]))
        show(f"random {number}", lines[-1], bench.case.what)
    comparison: dict[str, Any] = {}
    for name in ("taken", "HAWQ"):
        for rival in (UNIFORM, "FIT"):
            comparison[f"{name} less {rival}"] = interval(scores[name].figure - scores[rival].figure)
            comparison[f"{name} less {rival}, dB"] = resampled(scores[name], [scores[rival]], rng)
        if drawn:
            comparison[f"{name} less random mean"] = interval(scores[name].figure - np.mean([one.figure for one in drawn], axis=0))
            comparison[f"{name} less random mean, dB"] = resampled(scores[name], drawn, rng)
    if drawn:
        comparison["random mean"] = interval(np.array([line["score"] for line in lines]))
        comparison["random mean, dB"] = interval(np.array([line["sqnr_db"] for line in lines]))
    return {
        "model": bench.case.name,
        "limit": bench.limit,
        "share": bench.limit / full,
        "samples": len(bench.expected),
        "sensitivity_samples": bench.samples,
        "what": bench.case.what,
        "seed": seed,
        "rounding": bench.config.rounding,
        "seconds_to_choose": bench.seconds,
        "decision": bench.choice.document["decision"],
        "rows": rows,
        "random": lines,
        "comparison": comparison,
    }


def row(bench: Bench, bits: Bits, full: float, scores: Scores) -> dict[str, Any]:
    """Figures of one allocation."""
    widths = [b.weight for b in bits.values()]
    figures = {"score": float(scores.figure.mean()), "sqnr_db": scores.sqnr()}
    return {**figures, "share": bench.problem.costs["size"].total(bits) / full, "weight_bits": widths}


def show(name: str, line: Mapping[str, Any], what: str) -> None:
    """One line of the table."""
    widths = "".join(map(str, line["weight_bits"]))
    print(
        f"  {name:10} {what} {line['score']:9.4f}  SQNR {line['sqnr_db']:6.2f} dB  size {line['share']:.4f}x  {widths}", flush=True
    )


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
    sensitivity = measure(graph, statistics, layers, objective, config, probes=probes, tolerance=0.0)["hessian"]
    seconds |= sensitivity.seconds
    start = time.perf_counter()
    problem = task(layers, sensitivity, {"size": size_cost(layers)})
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
    lines = [f"| allocation, seed {result['seed']} | size | {result['what']} | SQNR of the output, dB |", "|---|---|---|---|"]
    for name, line in result["rows"].items():
        lines.append(f"| {name} | {line['share']:.4f}x | {line['score']:.4f} | {line['sqnr_db']:.2f} |")
    if result["random"]:
        mean, decibel = comparison["random mean"], comparison["random mean, dB"]
        around = f"{mean['mean']:.4f} ({mean['low']:.4f} to {mean['high']:.4f})"
        lines.append(
            f"| mean of {len(result['random'])} random | at most {result['share']:.4f}x | {around} | "
            f"{decibel['mean']:.2f} ({decibel['low']:.2f} to {decibel['high']:.2f}) |"
        )
    for name, figure in comparison.items():
        if f"{name}, dB" in comparison and " less " in name:
            sqnr = comparison[f"{name}, dB"]
            lines.append(
                f"| {name} | | {figure['mean']:+.4f} ({figure['low']:+.4f} to {figure['high']:+.4f}) | "
                f"{sqnr['mean']:+.2f} ({sqnr['low']:+.2f} to {sqnr['high']:+.2f}) |"
            )
    return "\n".join(lines)


def failures(result: Mapping[str, Any]) -> list[str]:
    """What does not hold: what is handed over must not be below equal bits, beyond the interval, and above random bits."""
    where = f"{result['model']}, seed {result['seed']}, at {result['share']:.3f}x of the 8-bit size"
    comparison = result["comparison"]
    failed = []
    if comparison[f"taken less {UNIFORM}, dB"]["high"] < 0:
        failed.append(f"{where}: the bits that were chosen are worse than the same bits for all layers")
    if result["random"] and comparison["taken less random mean, dB"]["low"] <= 0:
        failed.append(f"{where}: the bits that were chosen are not better than the mean of random allocations")
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one bench; status 1 where what it promises does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("vit", "minilm", "time"))
    parser.add_argument("--share", type=float, default=0.5, help="of the size at 8 bits: the budget")
    parser.add_argument("--images", type=int, default=2000, help="test images or documents at most")
    parser.add_argument("--random", type=int, default=5, help="random allocations")
    parser.add_argument("--rounding", choices=("nearest", "auto"), default="auto", help="auto: as compile does")
    parser.add_argument("--samples", type=int, default=64, help="samples of the sensitivities, or of the time")
    parser.add_argument("--probes", type=int, default=16, help="probes of the Hessian at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help=", ".join(f"--{name} {value}" for name, value in QUICK.items()))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args(arguments)
    if options.quick:
        vars(options).update(QUICK)
    failed: list[str] = []
    start = time.perf_counter()
    try:
        if options.what == "time":
            result = time_hessian(options.samples, options.probes, options.seed)
        else:
            case = vit_case(options.images) if options.what == "vit" else minilm_case(options.images)
            config = QuantizationConfig(rounding=options.rounding, seed=options.seed)
            bench = Bench(case, config, options.share, options.samples, options.probes)
            result = run(bench, options.random, options.seed)
            print(markdown(result))
            if options.plot is not None:
                draw(options.plot, bench.choice.document)
            failed = failures(result)
        print(f"{time.perf_counter() - start:.0f} s in all")
        if options.json is not None:
            options.json.write_text(json.dumps(result, indent=1) + "\n")
        if failed:
            raise VerificationError("; ".join(failed))
    except EdgeFlowError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
