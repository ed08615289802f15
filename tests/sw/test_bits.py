"""Bits under a budget, from the command line's request to the program: kept, bit-exact, and clear where they cannot be."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from operator_harness import narrowed
from perceptrons import CLASSES, SAMPLES, perceptron
from scipy.stats import spearmanr

import edgeflow
from edgeflow.hw.architecture import Architecture
from edgeflow.hw.boards import load_board
from edgeflow.hw.cpp_widths import WIDE_PRODUCT
from edgeflow.hw.errors import UnsupportedError
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.convert.observe import observe
from edgeflow.quant.formats.config import LayerBits
from edgeflow.quant.ptq import quantize
from edgeflow.quant.techniques.hawq.allocate import Cost, Task
from edgeflow.quant.techniques.hawq.budget import parse_budgets
from edgeflow.quant.techniques.hawq.layers import Layer, find_layers, layers_config
from edgeflow.quant.techniques.hawq.objective import Objective
from edgeflow.quant.techniques.hawq.sensitivity import METRICS, measure
from edgeflow.sw.cli.main import main
from edgeflow.sw.compiler.lowering import lower
from edgeflow.sw.compiler.network import Network
from edgeflow.sw.flow import steps
from edgeflow.sw.search.accelerator import configure, extended
from edgeflow.sw.search.bit_allocation import as_built, choose_bits, exceeded
from edgeflow.sw.search.bit_requests import BitRequest
from edgeflow.sw.search.bit_trials import Candidate, Measurement, Trial, best, decision
from edgeflow.sw.search.early_budgets import least_latency
from edgeflow.sw.search.latency_tables import Forms, LatencyTable, Target, accelerators, plain_build, within_latency

pytest.importorskip("torch")


@pytest.fixture
def model_file(tiny: Any) -> Path:
    path: Path = tiny.model
    return path


@pytest.fixture
def data(tiny: Any) -> dict[str, Any]:
    return dict(np.load(tiny.calibration))


def choose(model_file: Path, data: dict[str, Any], *budgets: str, held_out: Any = None, **options: Any) -> Any:
    board = edgeflow.load_board("kv260")
    request = BitRequest(parse_budgets(budgets), **{"probes": 8, **options})
    target = Target(board, board.clock_mhz)
    return choose_bits(edgeflow.load(model_file), data, edgeflow.quantization(), request, target, held_out=held_out)


@pytest.mark.parametrize("metric", ["hessian", "fisher"])
def test_half_the_size_of_all_layers_is_kept(model_file: Path, data: dict[str, Any], metric: str) -> None:
    chosen = choose(model_file, data, "size=0.5x", metric=metric, ends=True)
    layers = find_layers(FloatGraph(edgeflow.load(model_file)), ends=True)
    full, size = (
        sum(layer.size(bits(layer)) for layer in layers) for bits in (lambda _: LayerBits(), lambda layer: chosen.bits[layer.name])
    )
    assert 0.4 * full < size <= 0.5 * full
    assert chosen.config.layers == chosen.bits
    assert chosen.document["chosen"]["omega"] <= next(
        p["omega"] for p in chosen.document["uniform"] if (p["weight_bits"], p["activation_bits"]) == (4, 8)
    )
    assert chosen.document["chosen"]["size"] * 8 == size


def test_the_first_layer_and_the_last_keep_8_bits(model_file: Path, data: dict[str, Any]) -> None:
    layers = find_layers(FloatGraph(edgeflow.load(model_file)))
    chosen = choose(model_file, data, "bops=0.6x", metric="fisher")
    assert [layer.fixed for layer in layers] == [True, *[False] * (len(layers) - 2), True]
    assert chosen.bits[layers[0].name] == chosen.bits[layers[-1].name] == LayerBits()
    assert chosen.document["chosen"]["bops"] <= 0.6 * chosen.document["full"]["bops"]


def test_a_latency_budget_holds_for_the_build_and_its_words_agree(tmp_path: Path) -> None:
    data = perceptron(tmp_path / "perceptron.onnx")
    options: dict[str, Any] = {"calibration": data, "bits": "fit", "sizes": {"pi": 16, "po": 8}}
    build = edgeflow.compile(tmp_path / "perceptron.onnx", output=tmp_path / "build", budget="latency=0.85x", **options)
    document = json.loads((tmp_path / "build" / "bits.json").read_text())
    assert (tmp_path / "build" / "bits.png").stat().st_size > 1000
    assert build.report["latency_ms"] <= document["limits"]["latency"]
    plain = edgeflow.compile(tmp_path / "perceptron.onnx", output=tmp_path / "plain", calibration=data, sizes=options["sizes"])
    (kept,) = build.report["bits"]["choice"]["budgets"]
    assert kept["reference"] == plain.report["latency_ms"]
    assert kept["limit"] == 0.85 * plain.report["latency_ms"]
    assert kept["reached"] == build.report["latency_ms"]
    assert "8-bit build for kv260" in kept["reference_is"]
    assert document["latency"]["predicted_ms"] == pytest.approx(build.report["latency_ms"])
    bits = {line["name"]: (line["weight_bits"], line["activation_bits"]) for line in document["layers"]}
    assert (8, 8) in list(bits.values())[1:-1]
    assert (4, 4) in list(bits.values())[1:-1]
    assert {line["name"]: line["weight_bits"] for line in build.report["layers"] if line["name"] in bits} == {
        name: weight for name, (weight, _) in bits.items()
    }
    assert edgeflow.verify(build, samples=2).passed


def test_a_latency_limit_that_8_bits_keep_gives_the_8_bit_build(tmp_path: Path) -> None:
    """Fewer bits would be as fast at best, and less accurate: the build that dominates is handed over, and that is said."""
    data = perceptron(tmp_path / "perceptron.onnx", layers=4)
    options: dict[str, Any] = {"calibration": data, "sizes": {"pi": 16, "po": 8}, "bits": "fit", "budget": "latency=1x"}
    report = edgeflow.compile(tmp_path / "perceptron.onnx", output=tmp_path / "build", **options).report
    (budget,) = report["bits"]["choice"]["budgets"]
    assert report["latency_ms"] == budget["reached"] <= budget["reference"] == budget["limit"]
    assert report["bits"]["note"] == "all layers have 8 bits"
    assert {line["weight_bits"] for line in report["layers"] if line["weight_bits"]} == {8}


def test_the_allocation_taken_is_never_below_equal_bits(tmp_path: Path) -> None:
    data = perceptron(tmp_path / "perceptron.onnx", tokens=4, width=24, layers=6)
    held_out = {"x": np.random.default_rng(9).standard_normal((32, 4, 24)).astype(np.float32)}
    model, config = edgeflow.load(tmp_path / "perceptron.onnx"), edgeflow.quantization()
    chosen = choose(tmp_path / "perceptron.onnx", data, "size=0.5x", ends=True, held_out=held_out)
    trials = {trial["name"]: trial for trial in chosen.document["trials"]}
    uniform = trials["uniform 4-bit weights, 8-bit activations"]
    equal = {name: LayerBits(weight=4) for name in chosen.bits}
    assert uniform["sqnr_db"] == Measurement(model, data, held_out).sqnr(layers_config(config, equal))
    (taken,) = (trial for trial in trials.values() if trial["taken"])
    assert taken["sqnr_db"] == Measurement(model, data, held_out).sqnr(chosen.config)
    assert taken["sqnr_db"] == max(trial["sqnr_db"] for trial in trials.values())
    assert all(trial["costs"]["size"] <= chosen.document["limits"]["size"] for trial in trials.values())
    assert chosen.document["measured_on"] == {"data": "held_out", "samples": 32}
    assert f"{uniform['sqnr_db']:.2f} dB" in chosen.document["decision"]


def test_the_sensitivity_orders_layers_as_the_measured_error_does(tmp_path: Path) -> None:
    """Each layer alone at 3 bits, with the rounding that is used there: compensated."""
    data = perceptron(tmp_path / "perceptron.onnx", tokens=8, width=32, layers=6)
    model, config = edgeflow.load(tmp_path / "perceptron.onnx"), edgeflow.quantization()
    graph = FloatGraph(model)
    layers = find_layers(graph, ends=True)
    measurement = Measurement(model, {"x": data["x"][:12]}, {"x": data["x"][12:]})
    sensitivities = measure(graph, observe(graph, data, config), layers, Objective(graph, data), config, metrics=METRICS, probes=16)
    low = LayerBits(weight=3)
    noise = []
    for layer in layers:
        bits = {other.name: low if other is layer else LayerBits() for other in layers}
        noise.append(-measurement.sqnr(layers_config(config, bits)))
    for sensitivity in sensitivities.values():
        assert spearmanr([sensitivity.omega[layer.name][low] for layer in layers], noise).statistic >= 0.8


def test_a_better_rival_is_taken_and_named() -> None:
    bits = {"layer": LayerBits(weight=4)}
    costs = {"size": 50.0}
    names = {"hawq": 31.15, "uniform 4-bit weights, 8-bit activations": 32.09}
    trials = [Trial(Candidate(name, bits, costs), sqnr) for name, sqnr in names.items()]
    taken = best(trials)
    assert taken is trials[1]
    line = decision(taken, trials, "hawq", "64 held-out samples")
    assert line.startswith("uniform 4-bit weights, 8-bit activations taken instead of HAWQ's: 32.09 dB on 64 held-out samples")
    assert "HAWQ 31.15 dB" in line
    cheaper = Trial(Candidate("fit", bits, {"size": 49.0}), 32.09)
    assert best([*trials, cheaper]) is cheaper


def test_bits_of_a_file_make_the_same_network(model_file: Path, data: dict[str, Any], tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", **data)
    run = ["compile", str(model_file), "--calib", str(tmp_path / "data.npz")]
    chosen, again = tmp_path / "chosen", tmp_path / "again"
    assert main([*run, "-o", str(chosen), "--bits", "fit", "--budget", "size=0.6x"]) == 0
    assert main([*run, "-o", str(again), "--bits", str(chosen / "bits.json")]) == 0
    one, other = edgeflow.open_build(chosen).graph, edgeflow.open_build(again).graph
    assert one.tensors == other.tensors
    assert all(np.array_equal(one.constants[name], other.constants[name]) for name in one.constants)


def test_a_method_that_is_none_and_no_file_is_one_line(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compile", str(model_file), "-o", str(tmp_path / "b"), "--bits", "hawk", "--budget", "size=0.6x"]) == 2
    error = capsys.readouterr().err
    assert "--bits takes hawq or fit, or the bits.json of a build, and 'hawk' is no such file" in error
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": "hawq", "budget": "size=0.01x"}, "smallest feasible one is size="),
        ({"bits": "hawq", "budget": "latency=0.01x"}, "smallest feasible one is latency="),
        ({"bits": "hawq"}, "needs a limit"),
        ({"budget": "size=0.5x"}, "add --bits hawq"),
        ({"bits": "best", "budget": "size=0.5x"}, "hawq or fit, not by 'best'"),
        ({"bits": "fit", "budget": "cost=1x"}, "unknown budget 'cost'"),
        ({"bits": "fit", "budget": "size=0.5x", "labels": np.zeros(3, np.int64)}, "there are 3 for 16 samples"),
        ({"bits": "fit", "budget": "size=0.5x", "labels": np.full(SAMPLES, CLASSES)}, f"{CLASSES} is no class"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    model_file: Path, data: dict[str, Any], tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(edgeflow.EdgeFlowError, match=message) as caught:
        edgeflow.compile(model_file, calibration=data, output=tmp_path / "build", **options)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ("size=0.01x", "budget size=0.01x .* is impossible: the smallest feasible one is size="),
        ("latency=0.9x,size=10B", "budget size=.* is impossible: the smallest feasible one is size="),
        ("bops=1", "is impossible: the smallest feasible one is bops="),
        ("latency=1e-9s", "products of the linear layers alone take .* ms on the largest array for kv260"),
    ],
)
def test_budgets_that_no_prediction_is_needed_for_are_refused_before_the_model_runs(
    model_file: Path, data: dict[str, Any], tmp_path: Path, budget: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def runs(*_: object) -> None:
        raise AssertionError("the model runs")

    monkeypatch.setattr(steps, "hold_to_original", runs)
    with pytest.raises(edgeflow.InputError, match=message):
        edgeflow.compile(model_file, calibration=data, output=tmp_path / "build", bits="hawq", budget=budget)
    with pytest.raises(AssertionError, match="the model runs"):
        edgeflow.compile(model_file, calibration=data, output=tmp_path / "build", bits="hawq", budget="size=0.9x,latency=0.9x")


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("board", ["kv260", "pynq-z2"])
def test_no_build_is_faster_than_the_least_latency(
    model_file: Path, data: dict[str, Any], tmp_path: Path, bits: int, board: str
) -> None:
    config = edgeflow.quantization(weight_bits=bits, activation_bits=bits, selection_work=0)
    build = edgeflow.compile(model_file, calibration=data, output=tmp_path / "build", board=board, config=config)
    layers = find_layers(FloatGraph(edgeflow.load(model_file)))
    predicted = build.report["latency_ms"]
    chosen = Architecture.model_validate(json.loads((tmp_path / "build" / "overlay.json").read_text())["architecture"])
    clock = load_board(board).clock_mhz
    any_array, own_array = (least_latency(layers, Target(load_board(board), clock, array)) for array in (None, chosen))
    assert any_array is not None
    assert own_array is not None
    assert 0 < any_array <= own_array < predicted


def test_layers_that_are_given_are_not_allocated_again(model_file: Path, data: dict[str, Any], tmp_path: Path) -> None:
    name = find_layers(FloatGraph(edgeflow.load(model_file)))[1].name
    config = edgeflow.quantization(layers={name: {"weight": 4}})
    with pytest.raises(edgeflow.InputError, match="leave one of the two out"):
        edgeflow.compile(model_file, calibration=data, output=tmp_path / "b", bits="fit", budget="size=0.5x", config=config)


def test_without_torch_the_message_says_what_to_install(
    model_file: Path, data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(edgeflow.ToolchainError, match=r"edgeflow\[train\]"):
        edgeflow.compile(model_file, calibration=data, output=tmp_path / "b", bits="fit", budget="size=0.5x")


class Whole:
    """Stands in for a latency table whose whole programs take ``more`` times what their layers add up to, and ``rest``."""

    def __init__(self, problem: Task, more: float, rest: float) -> None:
        self.problem, self.more, self.rest = problem, more, rest

    def predict(self, bits: Mapping[str, LayerBits]) -> Any:
        return SimpleNamespace(latency_ms=self.more * self.problem.costs["latency"].total(bits) + self.rest)


def latency_problem() -> Task:
    """Twenty layers of 1 ms, or half with 4 bits, that are less and less sensitive."""
    layers = tuple(Layer(f"l{i}", (f"w{i}",), (f"o{i}",), (f"t{i}",), 100, 100, False) for i in range(20))
    omega = {
        layer.name: {c: 4.0 ** -min(c.weight, c.activation) * 0.8**i for c in layer.choices()} for i, layer in enumerate(layers)
    }
    cost = {layer.name: {c: 1.0 if max(c.weight, c.activation) > 4 else 0.5 for c in layer.choices()} for layer in layers}
    return Task(layers, omega, {"latency": Cost(0.0, cost)})


def test_weights_of_two_bits_are_a_form_of_their_own(tmp_path: Path) -> None:
    """One row: the array waits for its weights, so latency falls with the bytes they take."""
    data = perceptron(tmp_path / "perceptron.onnx", tokens=1, width=256)
    model = edgeflow.load(tmp_path / "perceptron.onnx")
    layers = find_layers(FloatGraph(model))
    board = edgeflow.load_board("kv260")
    forms = Forms(model, data, layers, edgeflow.quantization())
    target = Target(board, board.clock_mhz, sizes={"pi": 16, "po": 16})
    first, *others = accelerators(forms, target, plain_build(model, data, edgeflow.quantization(), target))
    assert 2 in first.precisions
    assert all(2 not in other.precisions for other in others)
    assert {4 in other.precisions for other in others} == {True, False}
    fixed = Target(board, board.clock_mhz, first)
    assert accelerators(forms, fixed, plain_build(model, data, edgeflow.quantization(), fixed)) == [first]
    table = LatencyTable(forms, target, first)
    for layer in layers[1:-1]:
        latency = {w: table.cost.layers[layer.name][LayerBits(weight=w, activation=8)] for w in (8, 5, 4, 3, 2)}
        assert latency[8] == latency[5] > latency[4] == latency[3] > latency[2]


def test_tables_and_trials_of_bits_prove_their_registers(tmp_path: Path) -> None:
    """As every integer graph: a product that is too narrow in the C++ refuses the network, whoever asks for it."""
    data = perceptron(tmp_path / "perceptron.onnx", tokens=1, width=64)
    model = edgeflow.load(tmp_path / "perceptron.onnx")
    config = edgeflow.quantization()
    forms = Forms(model, data, find_layers(FloatGraph(model)), config)
    with narrowed(WIDE_PRODUCT, 20):
        with pytest.raises(UnsupportedError, match=r"product needs .* more than its 20 bits"):
            forms.network(forms.equal(8, 8))
        with pytest.raises(UnsupportedError, match=r"product needs .* more than its 20 bits"):
            edgeflow.quantize(model, data)
    forms.network(forms.equal(8, 8))


def test_a_latency_limit_is_kept_by_the_whole_program() -> None:
    problem = latency_problem()
    best, report = within_latency(problem, {"latency": 15.0}, Whole(problem, 1.1, 0.2))  # type: ignore[arg-type]
    assert report.latency_ms == pytest.approx(1.1 * best.costs["latency"] + 0.2)
    assert 14.0 < report.latency_ms <= 15.0
    narrow = [name for name, bits in best.bits.items() if bits == LayerBits(weight=4, activation=4)]
    assert narrow == [f"l{i}" for i in range(20 - len(narrow), 20)]  # the least sensitive ones


def test_a_latency_limit_that_the_whole_program_cannot_keep_is_refused() -> None:
    problem = latency_problem()
    with pytest.raises(edgeflow.InputError, match=r"whole program comes down to 12.1 ms.*latency=0.605x"):
        within_latency(problem, {"latency": 11.5}, Whole(problem, 1.1, 1.1))  # type: ignore[arg-type]


def test_a_limit_that_the_whole_network_exceeds_is_said(model_file: Path, data: dict[str, Any]) -> None:
    chosen = choose(model_file, data, "latency=1x", metric="fisher")
    limit = chosen.document["limits"]["latency"]
    assert exceeded(as_built(chosen, limit)) == []
    (line,) = exceeded(as_built(chosen, 1.01 * limit))
    assert line.startswith("budget latency=1x is not kept: ")


def test_an_accelerator_takes_the_units_that_a_network_adds(model_file: Path, data: dict[str, Any]) -> None:
    network = Network(quantize(edgeflow.load(model_file), data).graph)
    board = edgeflow.load_board("kv260")
    whole = configure(network, board, board.clock_mhz)
    lacking = whole.model_copy(update={"units": tuple(unit for unit in whole.units if unit != "elementwise")})
    assert "elementwise" in whole.units
    assert set(extended(lacking, network).units) == set(whole.units)
    lower(network, extended(lacking, network))
