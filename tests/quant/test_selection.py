"""Techniques are kept where the output's error falls: sites by name, what hurts is left out, bounded and repeatable work."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from canonical_models import linear, model, node, weights

import edgeflow
from edgeflow.hw.errors import InputError
from edgeflow.hw.graph import Graph
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.inputs import decode_outputs, encode_inputs
from edgeflow.quant.canonical.session import FloatSession
from edgeflow.quant.convert.conversion import convert
from edgeflow.quant.convert.decisions import joined
from edgeflow.quant.convert.observe import observe
from edgeflow.quant.formats.config import SELECTION_WORK, TECHNIQUES, QuantizationConfig
from edgeflow.quant.nodes import output_name
from edgeflow.quant.ptq import quantize
from edgeflow.sim.executor import Executor

Arrays = dict[str, Any]
DIM = 24


PLAIN = QuantizationConfig(**{key: value for options in TECHNIQUES.values() for key, value in options.items()})


def error(network: Graph, data: Arrays) -> float:
    """The mean logarithm of the samples' squared errors against the float model."""
    model = reader()
    expected = FloatSession(model, ["y"]).run(data)["y"]
    actual = decode_outputs(network, Executor(network).run(encode_inputs(network, data)))["y"]
    return float(np.exp(np.mean(np.log(np.sum(np.square(expected - actual), axis=1)))))


def block() -> ir.Model:
    """One post-norm block with attention and GELU, then a head."""
    rng = np.random.default_rng(0)
    constants: Arrays = {}
    for name in ("n1", "n2"):
        constants[f"{name}.g"] = rng.uniform(0.2, 3, DIM).astype(np.float32)
        constants[f"{name}.o"] = rng.normal(size=DIM).astype(np.float32)
    nodes = [linear(rng, constants, "x", "first", 12, DIM)]
    nodes += [linear(rng, constants, "first", name, DIM, DIM) for name in "qkv"]
    nodes.append(node("Attention", ["q", "k", "v"], "a", heads=2, scale=(DIM / 2) ** -0.5))
    nodes += [linear(rng, constants, "a", "o", DIM, DIM), node("Add", ["first", "o"], "r1")]
    nodes.append(node("LayerNormalization", ["r1", "n1.g", "n1.o"], "n1", axis=-1, epsilon=1e-6))
    nodes += [linear(rng, constants, "n1", "f", DIM, 2 * DIM), node("Gelu", ["f"], "g", approximate="none")]
    nodes += [linear(rng, constants, "g", "s", 2 * DIM, DIM), node("Add", ["n1", "s"], "r2")]
    nodes.append(node("LayerNormalization", ["r2", "n2.g", "n2.o"], "n2", axis=-1, epsilon=1e-6))
    nodes.append(linear(rng, constants, "n2", "head", DIM, 6))
    return model(nodes, {"x": ("float32", (5, 12))}, {"head": (5, 6)}, constants)


def samples(count: int, seed: int = 1) -> Arrays:
    return {"x": np.random.default_rng(seed).normal(size=(count, 5, 12)).astype(np.float32)}


def same(first: Graph, second: Graph) -> bool:
    constants, others = first.constants, second.constants
    equal = all(name in others and np.array_equal(array, others[name]) for name, array in constants.items())
    return equal and first.nodes == second.nodes and first.tensors == second.tensors


@pytest.mark.parametrize("technique", list(TECHNIQUES))
def test_a_technique_left_out_at_every_tensor_is_switched_off(technique: str) -> None:
    network, data = block(), samples(24)
    graph = FloatGraph(network)
    config = QuantizationConfig(weight_bits=4, activation_bits=4)
    statistics = observe(graph, data, config)
    everywhere = (*graph.inputs, *(output_name(n) for n in graph.nodes))
    off = convert(graph, statistics, data, config.model_copy(update=dict(TECHNIQUES[technique]))).graph
    whole = convert(graph, statistics, data, config).graph
    assert not same(off, whole)
    assert same(off, convert(graph, statistics, data, config.model_copy(update={"without": {technique: everywhere}})).graph)


def test_a_technique_left_out_at_one_tensor_changes_that_one_alone() -> None:
    network, data = block(), samples(24)
    graph = FloatGraph(network)
    statistics = observe(graph, data, QuantizationConfig())
    whole = convert(graph, statistics, data, QuantizationConfig()).graph
    without = convert(graph, statistics, data, QuantizationConfig(without={"equalization": ("g",)})).graph
    assert {name for name in whole.tensors if whole.tensors[name] != without.tensors[name]} == {"g"}
    bias = convert(graph, statistics, data, QuantizationConfig(without={"bias correction": ("s",)})).graph
    changed = {name for name in whole.constants if not np.array_equal(whole.constants[name], bias.constants[name])}
    assert changed == {"r2/bias"}
    scales = convert(graph, statistics, data, QuantizationConfig(without={"equalization": ("q",)})).graph
    assert {name for name in whole.tensors if whole.tensors[name] != scales.tensors[name]} == {"q", "k"}


def test_names_of_techniques_and_tensors_are_checked() -> None:
    with pytest.raises(InputError, match="option without: there is no technique 'equalisation'; there are clipped ranges, "):
        edgeflow.quantization(without={"equalisation": ("g",)})
    with pytest.raises(InputError, match="equalization: the model has no tensor 'head1'; did you mean 'head'"):
        quantize(block(), samples(4), QuantizationConfig(without={"equalization": ("head1",)}))


def bursts(count: int, seed: int) -> Arrays:
    """One row a sample, of channels that hardly ever leave a narrow band, and then far."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-0.2, 0.2, size=(count, DIM))
    x[np.arange(count), rng.integers(0, DIM, count)] = rng.choice((-1.0, 1.0), count)
    return {"x": x.astype(np.float32)}


def reader() -> ir.Model:
    """A linear layer that passes its input on to another one, in a tensor with a scale for every channel."""
    rng = np.random.default_rng(0)
    constants: Arrays = {"w1": 4 * np.eye(DIM, dtype=np.float32), "b1": np.zeros(DIM, np.float32)}
    constants["w2"], constants["b2"] = weights(rng, DIM, 8), np.zeros(8, np.float32)
    nodes = [node("Linear", ["x", "w1", "b1"], "copy"), node("Linear", ["copy", "w2", "b2"], "y")]
    return model(nodes, {"x": ("float32", (DIM,))}, {"y": (8,)}, constants)


def test_what_hurts_is_left_out_and_reported() -> None:
    """A percentile that cuts bursts off is a clipping that hurts wherever it acts."""
    data = bursts(96, 2)
    config = QuantizationConfig(observer="percentile", percentile=90.0, selection_work=5.0)
    quantized = quantize(reader(), data, config)
    selection = quantized.selection
    assert selection is not None
    decisions = {line.technique: line for line in selection.decisions}
    assert "copy" in decisions["clipped ranges"].left_out
    assert decisions["clipped ranges"].without_db > decisions["clipped ranges"].with_db + 3
    assert selection.chosen_db > selection.all_db + 3
    assert selection.chosen_db >= selection.none_db - 0.1
    assert same(
        quantized.graph,
        quantize(reader(), data, config.model_copy(update={"selection_work": 0.0, "without": selection.without})).graph,
    )


def test_equalization_that_hurts_is_left_out() -> None:
    """Where few samples hold few of the bursts, ranges of single channels are too short, and the range of the tensor is not."""
    data = bursts(40, 3)
    selection = quantize(reader(), data, QuantizationConfig(selection_work=5.0)).selection
    assert selection is not None
    decision = next(line for line in selection.decisions if line.technique == "equalization")
    assert "copy" in decision.left_out
    assert decision.without_db > decision.with_db + 3


def test_the_same_is_found_again_within_the_work() -> None:
    network, data = block(), samples(64)
    first, second = (quantize(network, data, QuantizationConfig(selection_work=4.0)).selection for _ in range(2))
    assert first == second
    assert first is not None
    assert 3 <= first.trials <= first.allowed
    assert "selection_work was used up before" in first.note
    more = quantize(network, data, QuantizationConfig(selection_work=8.0)).selection
    assert more is not None
    assert 7 <= more.trials <= more.allowed <= 2 * first.allowed + 1
    assert more.note == ""


def test_what_is_not_looked_at_is_said() -> None:
    network = block()
    quantized = quantize(network, samples(31), QuantizationConfig(selection_work=4.0))
    assert quantized.selection is None
    assert "takes 32 distinct calibration samples, not 31" in quantized.selection_note
    copies = {"x": np.concatenate([samples(31)["x"]] * 4)}
    quantized = quantize(network, copies, QuantizationConfig(selection_work=4.0))
    assert quantized.selection is None
    assert "takes 32 distinct calibration samples, not 31" in quantized.selection_note
    quantized = quantize(network, samples(40), QuantizationConfig(selection_work=0.001))
    assert quantized.selection is None
    enough = re.search("raise selection_work to ([0-9]+) or more", quantized.selection_note)
    assert enough is not None
    assert quantize(network, samples(40), QuantizationConfig(selection_work=int(enough[1]) + 0.5)).selection is not None
    assert quantize(network, samples(40)).selection is None
    assert edgeflow.quantization().selection_work == SELECTION_WORK


def test_sites_of_two_choices_are_joined() -> None:
    assert joined({"a": ("x",)}, {"a": ("y", "x"), "b": ("z",)}) == {"a": ("x", "y"), "b": ("z",)}


def test_copies_of_samples_choose_nothing_new() -> None:
    """A copy that a network is fitted to is no sample that it was not fitted to."""
    data = bursts(40, 3)
    copies = {"x": np.repeat(data["x"], 3, axis=0)}
    config = QuantizationConfig(selection_work=5.0)
    assert quantize(reader(), copies, config).selection == quantize(reader(), data, config).selection


@pytest.mark.parametrize("seed", range(4))
def test_plain_ranges_are_taken_where_they_are_better(seed: int) -> None:
    """Bursts in whole channels, which few samples hold: what is fitted to a channel is fitted to chance."""
    data, unseen = bursts(36, 10 + seed), bursts(400, 50 + seed)
    chosen = quantize(reader(), data, QuantizationConfig(observer="percentile", percentile=80.0, selection_work=5.0))
    selection = chosen.selection
    assert selection is not None
    assert selection.chosen_db >= max(selection.all_db, selection.none_db) - 0.1
    plain = quantize(reader(), data, PLAIN)
    assert error(chosen.graph, unseen) <= error(plain.graph, unseen) * 1.02


def test_no_technique_at_all_is_plain_quantization() -> None:
    """Where plain ranges won, the network is the one that has every technique switched off."""
    network, data = block(), samples(40)
    graph = FloatGraph(network)
    everywhere = (*graph.inputs, *(output_name(n) for n in graph.nodes))
    config = QuantizationConfig(without=dict.fromkeys(TECHNIQUES, everywhere))
    assert same(quantize(network, data, config).graph, quantize(network, data, PLAIN).graph)
