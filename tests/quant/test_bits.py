"""Bits by layer: formats really have them, ends keep 8, what shares a tensor agrees, and the networks stay near the float model."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from canonical_models import linear, model, node, weights

import edgeflow
from edgeflow.hw.errors import InputError
from edgeflow.hw.graph import Graph
from edgeflow.hw.verify import verify_graph
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.inputs import decode_outputs, encode_inputs
from edgeflow.quant.canonical.session import FloatSession
from edgeflow.quant.convert.layer_inputs import Replay
from edgeflow.quant.convert.widths import Widths, layer_bits
from edgeflow.quant.formats.config import LayerBits, QuantizationConfig
from edgeflow.quant.ptq import Quantized, quantize
from edgeflow.quant.techniques.sqnr import signal_to_noise
from edgeflow.sim.executor import Executor

Arrays = dict[str, Any]
PLAIN: Arrays = {
    "observer": "minmax",
    "equalization": False,
    "one_sided": False,
    "channel_weights": False,
    "bias_correction": False,
    "rounding": "nearest",
}


def transformer(masked: bool = False, dim: int = 48, heads: int = 3) -> ir.Model:
    """Two pre-norm blocks between a first layer and a head; with a mask, attention leaves tokens out."""
    rng = np.random.default_rng(0)
    constants: Arrays = {}
    nodes = [linear(rng, constants, "x", "first", 24, dim)]
    stream = "first"
    for i in range(2):
        p = f"b{i}."
        for name in ("n1", "n2"):
            constants[f"{p}{name}.g"] = rng.uniform(0.2, 3, dim).astype(np.float32)
            constants[f"{p}{name}.o"] = rng.normal(size=dim).astype(np.float32)
        nodes.append(node("LayerNormalization", [stream, f"{p}n1.g", f"{p}n1.o"], f"{p}n1", axis=-1, epsilon=1e-6))
        nodes += [linear(rng, constants, f"{p}n1", f"{p}{name}", dim, dim) for name in "qkv"]
        mask = ["mask"] if masked else []
        operands = [f"{p}q", f"{p}k", f"{p}v", *mask]
        nodes.append(node("Attention", operands, f"{p}a", heads=heads, scale=(dim / heads) ** -0.5))
        nodes += [linear(rng, constants, f"{p}a", f"{p}o", dim, dim), node("Add", [stream, f"{p}o"], f"{p}r")]
        nodes.append(node("LayerNormalization", [f"{p}r", f"{p}n2.g", f"{p}n2.o"], f"{p}n2", axis=-1, epsilon=1e-6))
        nodes.append(linear(rng, constants, f"{p}n2", f"{p}f", dim, 2 * dim))
        nodes += [node("Gelu", [f"{p}f"], f"{p}g", approximate="none"), linear(rng, constants, f"{p}g", f"{p}s", 2 * dim, dim)]
        stream = f"{p}y"
        nodes.append(node("Add", [f"{p}s", f"{p}r"], stream))
    nodes.append(linear(rng, constants, stream, "head", dim, 10))
    inputs = {"x": ("float32", (9, 24))} | ({"mask": ("int64", (9,))} if masked else {})
    return model(nodes, inputs, {"head": (9, 10)}, constants)


def samples(seed: int, count: int = 80, masked: bool = False) -> Arrays:
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(count, 9, 6)) @ np.random.default_rng(99).normal(size=(6, 24)) + 0.3 * rng.normal(size=(count, 9, 24))
    arrays: Arrays = {"x": mixed.astype(np.float32)}
    if masked:
        arrays["mask"] = (np.arange(9) < rng.integers(1, 10, count)[:, None]).astype(np.int64)
    return arrays


def weight_bits(graph: Graph) -> dict[str, int]:
    return {n.origin: graph.tensors[n.inputs[1]].qtype.bits for n in graph.nodes if n.op == "linear"}


def input_bits(graph: Graph) -> dict[str, int]:
    return {n.origin: graph.tensors[n.inputs[0]].qtype.bits for n in graph.nodes if n.op == "linear"}


def output_db(network: ir.Model, quantized: Quantized, data: Arrays) -> float:
    expected = FloatSession(network, ["head"]).run(data)["head"]
    actual = decode_outputs(quantized.graph, Executor(quantized.graph).run(encode_inputs(quantized.graph, data)))
    return signal_to_noise(expected, actual["head"])


@pytest.mark.parametrize(("weight", "activation"), [(8, 8), (5, 7), (4, 8), (4, 4), (3, 3), (2, 6)])
def test_every_format_has_the_bits_that_were_asked_for(weight: int, activation: int) -> None:
    network, data = transformer(), samples(1)
    graph = quantize(network, data, QuantizationConfig(weight_bits=weight, activation_bits=activation)).graph
    verify_graph(graph)
    ends = {"first", "head"}
    assert weight_bits(graph) == {name: 8 if name in ends else weight for name in weight_bits(graph)}
    assert input_bits(graph) == {name: 8 if name in ends else activation for name in input_bits(graph)}
    for name, values in graph.constants.items():
        if name.endswith("/weight"):
            assert np.abs(values).max() <= 1 << (graph.tensors[name].qtype.bits - 1)
    for operand in "qkv":
        assert graph.tensors[f"b0.{operand}"].qtype.bits == 8
    assert graph.tensors["b0.y"].qtype.bits == 16


def test_attention_has_the_bits_that_were_asked_for_and_fewer_cost_something() -> None:
    network, data, unseen = transformer(), samples(1), samples(2)

    def quantized(**options: Any) -> Quantized:
        return quantize(network, data, QuantizationConfig(**options))

    narrow = quantized(attention_bits=3, probability_bits=4)
    verify_graph(narrow.graph)
    for attention in (n for n in narrow.graph.nodes if n.op == "attention"):
        assert [narrow.graph.tensors[name].qtype.bits for name in attention.inputs[:3]] == [3, 3, 3]
        assert narrow.graph.constants[attention.inputs[3]].max() == 15
    whole = output_db(network, quantized(), unseen)
    for options in ({"attention_bits": 3}, {"probability_bits": 4}):
        assert output_db(network, quantized(**options), unseen) < whole - 1


def test_layers_have_their_own_bits_and_shared_inputs_the_most() -> None:
    layers = {
        "b0.q": LayerBits(weight=2, activation=3),
        "b0.k": LayerBits(weight=5, activation=6),
        "b1.s": LayerBits(weight=7, activation=4),
        "head": LayerBits(weight=4, activation=4),
    }
    network = transformer()
    graph = quantize(network, samples(1), QuantizationConfig(weight_bits=3, activation_bits=5, layers=layers)).graph
    verify_graph(graph)
    bits = weight_bits(graph)
    assert (bits["b0.q"], bits["b0.k"], bits["b0.v"], bits["b1.s"], bits["head"], bits["first"]) == (2, 5, 3, 7, 4, 8)
    read = input_bits(graph)
    assert read["b0.q"] == read["b0.k"] == read["b0.v"] == 6
    assert (read["b1.q"], read["b1.s"], read["head"], read["first"]) == (5, 4, 4, 8)


def test_token_tables_are_the_first_layer() -> None:
    rng = np.random.default_rng(0)
    constants: Arrays = {"table": weights(rng, 20, 16)}
    nodes = [node("Embedding", ["ids", "table"], "e")]
    nodes += [linear(rng, constants, "e", "a", 16, 16), linear(rng, constants, "a", "b", 16, 16)]
    nodes.append(linear(rng, constants, "b", "c", 16, 4))
    graph = FloatGraph(model(nodes, {"ids": ("int64", (5,))}, {"c": (5, 4)}, constants))
    bits_of = layer_bits(graph, QuantizationConfig(weight_bits=4, activation_bits=5))
    assert {name: (bits.weight, bits.activation) for name, bits in bits_of.items()} == {"a": (4, 5), "b": (4, 5), "c": (8, 8)}
    widths = Widths(graph, QuantizationConfig(weight_bits=4, activation_bits=5))
    assert [widths.activation(name) for name in ("e", "a", "b", "c")] == [5, 5, 8, 8]
    assert [widths.weights_behind(name) for name in ("e", "a", "b", "c")] == [4, 4, 8, 8]


def test_a_layer_that_is_not_there_is_one_clear_line() -> None:
    with pytest.raises(InputError, match=r"no linear layer 'b0\.qq'; did you mean 'b0\.q'\?$"):
        quantize(transformer(), samples(1), QuantizationConfig(layers={"b0.qq": LayerBits()}))
    with pytest.raises(InputError, match=r"no linear layer 'zzzzzz'; its layers are first, b0\.q, "):
        quantize(transformer(), samples(1), QuantizationConfig(layers={"zzzzzz": LayerBits()}))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weight_bits": 1}, "weight_bits: .*2"),
        ({"weight_bits": 9}, "weight_bits: .*8"),
        ({"activation_bits": 1}, "activation_bits: .*2"),
        ({"activation_bits": 9}, "activation_bits: .*8"),
        ({"layers": {"a": {"weight": 1, "activation": 8}}}, "layers.a.weight: .*2"),
    ],
)
def test_bits_outside_the_set_are_one_clear_line(options: Arrays, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        edgeflow.quantization(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("weight", "activation", "gain"), [(4, 8, 3), (4, 4, 3), (3, 3, 3), (2, 8, 6)])
def test_the_techniques_beat_plain_minmax_on_unseen_data(weight: int, activation: int, gain: float) -> None:
    network, data, unseen = transformer(), samples(1), samples(2)
    ours, plain = (
        quantize(network, data, QuantizationConfig(weight_bits=weight, activation_bits=activation, **options))
        for options in ({}, PLAIN)
    )
    verify_graph(plain.graph)
    assert output_db(network, ours, unseen) > output_db(network, plain, unseen) + gain


def test_compensated_layers_report_what_each_step_brought() -> None:
    network, data = transformer(), samples(1)
    quantized = quantize(network, data, QuantizationConfig(weight_bits=4))
    assert set(quantized.layers) == {f"b{i}.{name}" for i in range(2) for name in ("q", "k", "v", "o", "f", "s")}
    for errors in quantized.layers.values():
        assert errors.nearest_db <= errors.bias_correction_db < errors.compensated_db
        assert errors.input_correction_db < errors.compensated_db
    off = quantize(network, data, QuantizationConfig(weight_bits=4, bias_correction=False, input_correction=False))
    for errors in off.layers.values():
        assert errors.nearest_db == errors.bias_correction_db == errors.input_correction_db
    assert quantize(network, data, QuantizationConfig(weight_bits=4, rounding="nearest")).layers == {}
    assert quantize(network, data).layers == {}
    assert set(quantize(network, data, QuantizationConfig(rounding="compensated")).layers) == {*quantized.layers, "first", "head"}


def test_ablation_compares_with_each_technique_left_out() -> None:
    network, data = transformer(), samples(1)
    config = QuantizationConfig(weight_bits=4, activation_bits=4, ablation=True, one_sided=False)
    quantized = quantize(network, data, config)
    lines = {line.technique: line for line in quantized.contributions}
    expected = {"clipped ranges", "equalization", "weight scales per channel", "bias correction", "input correction"}
    assert set(lines) == expected | {"compensated rounding", "allowance"}
    first = {"x": data["x"][:64]}
    whole = output_db(network, quantized, first)
    nearest = quantize(network, data, config.model_copy(update={"rounding": "nearest", "ablation": False}))
    line = lines["compensated rounding"]
    assert line.with_db == {"head": whole}
    assert line.without_db == {"head": output_db(network, nearest, first)}
    assert line.without_db["head"] < whole
    assert quantize(network, data, QuantizationConfig(weight_bits=4)).contributions == ()


def test_replay_sees_what_the_finished_network_computes() -> None:
    network, data = transformer(masked=True), samples(3, 21, masked=True)
    quantized = quantize(network, data, QuantizationConfig(weight_bits=4, activation_bits=4))
    graph = quantized.graph

    class Built:
        name, inputs, tensors, constants, nodes = graph.name, list(graph.inputs), graph.tensors, graph.constants, list(graph.nodes)

    replay = Replay(FloatGraph(network), data, Built(), ["b0.q", "b1.y"])  # type: ignore[arg-type]
    expected = Executor(graph).run_all(encode_inputs(graph, data))
    for name in ("head", "b0.a", *expected):  # the last first: what it needs is computed in order
        np.testing.assert_array_equal(replay.words(name), expected[name])
    real = FloatSession(network, ["b1.y"]).run(data)["b1.y"]
    np.testing.assert_allclose(replay.real("b1.y"), real, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(replay.rows(replay.real("b1.y")), replay.real("b1.y")[data["mask"] != 0])


def test_masked_tokens_do_not_count_for_compensation() -> None:
    network, data = transformer(masked=True), samples(3, 40, masked=True)
    other = {name: array.copy() for name, array in data.items()}
    other["x"][data["mask"] == 0] *= 0.5  # within the ranges, so that nothing but what is counted could change
    config = QuantizationConfig(weight_bits=4)
    first, second = (quantize(network, d, config).graph for d in (data, other))
    np.testing.assert_array_equal(first.constants["b0.q/weight"], second.constants["b0.q/weight"])


@pytest.mark.parametrize("options", [{"rounding": "compensated"}, {"weight_bits": 4, "activation_bits": 4}])
def test_padded_heads_keep_their_channels_apart(options: Arrays) -> None:
    data, config, ratios = samples(1), QuantizationConfig(**options), []
    for dim in (48, 60):  # heads of 16 channels, which fit, and of 20, padded to 32
        network = transformer(dim=dim)
        quantized = quantize(network, data, config)
        verify_graph(quantized.graph)
        assert quantized.graph.tensors["b0.a"].shape[-1] == {48: 48, 60: 96}[dim]
        assert quantized.graph.tensors["b0.a"].qtype.bits == config.activation_bits
        ratios.append(output_db(network, quantized, samples(2)))
    assert ratios[1] > ratios[0] - 1


@pytest.mark.parametrize(
    "data", [samples(1, 1), {"x": np.zeros((4, 9, 24), np.float32)}, {"x": np.full((3, 9, 24), -2.5, np.float32)}]
)
def test_little_data_still_compiles_at_low_bits(data: Arrays) -> None:
    quantized = quantize(transformer(), data, QuantizationConfig(weight_bits=2, activation_bits=3))
    verify_graph(quantized.graph)
    outputs = Executor(quantized.graph).run(encode_inputs(quantized.graph, samples(2)))
    assert np.abs(outputs["head"]).max() > 0
