"""Formats that a model brings along stay as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from canonical_models import linear, model, node, weights
from numpy.typing import NDArray

from edgeflow.hw.arithmetic import dyadic
from edgeflow.hw.arrays import IntArray
from edgeflow.hw.errors import ModelError
from edgeflow.hw.graph import Graph, QType
from edgeflow.quant.canonical import attention
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.inputs import encode_inputs
from edgeflow.quant.convert.fixed_formats import has_fixed_formats
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.formats.prequantized import fixed_format, set_format
from edgeflow.quant.nodes import output_name
from edgeflow.quant.ptq import quantize
from edgeflow.sim.executor import Executor

Arrays = dict[str, NDArray[Any]]
SAMPLES = 64


def on_grid(rng: np.random.Generator, k: int, n: int, bits: int, scale: float) -> tuple[NDArray[np.float32], IntArray, QType]:
    """Weights that are multiples of a scale, their integers and their format."""
    words = rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), size=(k, n))
    return (words * np.float32(scale)).astype(np.float32), words, QType(bits, True, scale)


def by_output(network: ir.Model) -> dict[str, ir.Node]:
    """The nodes of a model by what they make."""
    return {output_name(n): n for n in network.graph}


def two_layers(rng: np.random.Generator, bits: int = 4, act: str = "Relu") -> tuple[ir.Model, dict[str, IntArray]]:
    """x -> linear -> act -> linear, everything given, power-of-two scales."""
    w1, q1, t1 = on_grid(rng, 12, 16, bits, 2.0**-6)
    w2, q2, t2 = on_grid(rng, 16, 5, bits, 2.0**-5)
    constants: Arrays = {
        "w1": w1,
        "w2": w2,
        "b1": (rng.integers(-40, 40, size=16) * 2.0**-10).astype(np.float32),
        "b2": (rng.integers(-40, 40, size=5) * 2.0**-9).astype(np.float32),
    }
    nodes = [node("Linear", ["x", "w1", "b1"], "h"), node(act, ["h"], "a"), node("Linear", ["a", "w2", "b2"], "y")]
    network = model(nodes, {"x": ("float32", (12,))}, {"y": (5,)}, constants)
    nodes_by_output = by_output(network)
    set_format(nodes_by_output["h"], 0, QType(8, True, 2.0**-4))
    set_format(nodes_by_output["h"], 1, t1)
    set_format(nodes_by_output["y"], 0, QType(bits, False, 2.0**-4))
    set_format(nodes_by_output["y"], 1, t2)
    set_format(nodes_by_output["y"], None, QType(8, True, 2.0**-5))
    return network, {"h": q1, "y": q2}


def run(graph: Graph, inputs: Arrays) -> dict[str, IntArray]:
    return Executor(graph).run(encode_inputs(graph, inputs))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_given_formats_and_words_are_kept_exactly(bits: int) -> None:
    rng = np.random.default_rng(bits)
    network, expected = two_layers(rng, bits)
    x = rng.normal(size=(SAMPLES, 12)).astype(np.float32)
    graph = quantize(network, {"x": x}).graph
    assert graph.tensors["x"].qtype == QType(8, True, 2.0**-4)
    assert graph.tensors["a"].qtype == QType(bits, False, 2.0**-4)
    assert graph.tensors["y"].qtype == QType(8, True, 2.0**-5)
    assert [n.op for n in graph.nodes] == ["linear", "linear"]
    for n, name in zip(graph.nodes, ("h", "y"), strict=True):
        np.testing.assert_array_equal(graph.constants[n.inputs[1]], expected[name].T)
        assert graph.tensors[n.inputs[1]].qtype.bits == bits
        assert not n.attributes["has_table"]


def test_result_is_the_arithmetic_of_the_formats() -> None:
    """Scales are powers of two, so real arithmetic on the grids with one rounding is exact."""
    rng = np.random.default_rng(5)
    network, words = two_layers(rng, 4)
    x = rng.normal(size=(SAMPLES, 12)).astype(np.float32)
    graph = quantize(network, {"x": x}).graph
    constants = FloatGraph(network)
    q = graph.tensors["x"].qtype.quantize(x)
    h = (q * 2.0**-4) @ (words["h"] * 2.0**-6) + constants.constant("b1")
    a = graph.tensors["a"].qtype.quantize(np.maximum(h, 0.0))
    y = (a * 2.0**-4) @ (words["y"] * 2.0**-5) + constants.constant("b2")
    np.testing.assert_array_equal(run(graph, {"x": x})["y"], graph.tensors["y"].qtype.quantize(y))


def test_calibration_data_changes_nothing_that_is_given() -> None:
    rng = np.random.default_rng(6)
    network, _ = two_layers(rng, 4)
    x = rng.normal(size=(SAMPLES, 12)).astype(np.float32)
    a, b = (quantize(network, {"x": x * factor}).graph for factor in (1.0, 37.0))
    assert a.tensors == b.tensors
    assert all(np.array_equal(a.constants[name], b.constants[name]) for name in a.constants)


def test_readers_with_formats_of_their_own_get_copies() -> None:
    rng = np.random.default_rng(7)
    constants: Arrays = {}
    nodes = [linear(rng, constants, "x", "h", 8, 8), linear(rng, constants, "h", "a", 8, 8), linear(rng, constants, "h", "b", 8, 8)]
    nodes.append(node("Add", ["a", "b"], "y"))
    network = model(nodes, {"x": ("float32", (8,))}, {"y": (8,)}, constants)
    formats = QType(8, True, 0.03), QType(6, True, 0.11)
    for name, qtype in zip("ab", formats, strict=True):
        set_format(by_output(network)[name], 0, qtype)
    graph = quantize(network, {"x": rng.normal(size=(SAMPLES, 8)).astype(np.float32)}).graph
    read = [graph.tensors[n.inputs[0]].qtype for n in graph.nodes if n.op == "linear" and n.inputs[0] != "x"]
    assert sorted(read, key=lambda q: q.bits) == sorted(formats, key=lambda q: q.bits)
    assert graph.tensors["h"].qtype.bits == 16


def test_layer_with_given_weights_reads_one_scale() -> None:
    """Weights that stay as they are cannot fold scales of channels."""
    rng = np.random.default_rng(8)
    w, q, qtype = on_grid(rng, 8, 6, 4, 0.05)
    scales = tuple(0.01 * (i + 1) for i in range(6))
    w = (q * np.array(scales)).astype(np.float32)
    constants: Arrays = {"g": np.ones(8, np.float32), "z": np.zeros(8, np.float32), "w": w, "b": np.zeros(6, np.float32)}
    nodes = [node("LayerNormalization", ["x", "g", "z"], "n", axis=-1), node("Linear", ["n", "w", "b"], "y")]
    network = model(nodes, {"x": ("float32", (3, 8))}, {"y": (3, 6)}, constants)
    set_format(by_output(network)["y"], 1, QType(4, True, scales))
    x = (rng.normal(size=(SAMPLES, 3, 8)) * np.linspace(0.1, 4, 8)).astype(np.float32)
    graph = quantize(network, {"x": x}).graph
    assert isinstance(graph.tensors["n"].qtype.scale, float)
    np.testing.assert_array_equal(graph.constants[graph.nodes[-1].inputs[1]], q.T)
    assert qtype.bits == graph.tensors[graph.nodes[-1].inputs[1]].qtype.bits


@pytest.mark.parametrize("zero_point", [0, 3])
def test_attention_with_given_operands(zero_point: int) -> None:
    rng = np.random.default_rng(9)
    constants: Arrays = {}
    nodes = [linear(rng, constants, "x", name, 32, 32) for name in "qkv"]
    nodes += [node("Attention", ["q", "k", "v"], "a", heads=2, scale=0.25), linear(rng, constants, "a", "y", 32, 4)]
    network = model(nodes, {"x": ("float32", (6, 32))}, {"y": (6, 4)}, constants)
    formats = [QType(8, True, 0.02, zero_point), QType(8, True, 0.03, zero_point), QType(6, True, 0.08)]
    for i, qtype in enumerate(formats):
        set_format(by_output(network)["a"], i, qtype)
    set_format(by_output(network)["y"], 0, QType(8, True, 0.015, zero_point))
    x = rng.normal(size=(SAMPLES, 6, 32)).astype(np.float32)
    quantized = quantize(network, {"x": x})
    graph = quantized.graph
    for name, qtype in zip("qkv", formats, strict=True):
        assert graph.tensors[name].qtype == qtype
    attention = next(n for n in graph.nodes if n.op == "attention")
    assert (attention.inputs[:3] == ("q", "k", "v")) == (zero_point == 0)
    read = next(n for n in graph.nodes if n.origin == "y" and n.op == "linear").inputs[0]
    assert graph.tensors[read].qtype == QType(8, True, 0.015, zero_point)
    assert len([w for w in quantized.warnings if "zero point" in w]) == (2 if zero_point else 0)
    plain = quantize(model(nodes, {"x": ("float32", (6, 32))}, {"y": (6, 4)}, constants), {"x": x}).graph
    a, b = (g.tensors["y"].qtype.dequantize(run(g, {"x": x})["y"]) for g in (graph, plain))
    assert np.square(a - b).mean() < 0.01 * np.square(b).mean()


def test_residual_and_normalization_in_given_formats() -> None:
    """An 8-bit residual stream, as QAT frameworks make it, with a zero point at the normalization."""
    rng = np.random.default_rng(10)
    constants: Arrays = {"g": weights(rng, 16) + 1, "z": weights(rng, 16)}
    nodes = [
        linear(rng, constants, "x", "h", 16, 16),
        node("Add", ["h", "x"], "s"),
        node("LayerNormalization", ["s", "g", "z"], "n", axis=-1),
        linear(rng, constants, "n", "m", 16, 16),
        node("Add", ["m", "s"], "y"),
    ]
    network = model(nodes, {"x": ("float32", (4, 16))}, {"y": (4, 16)}, constants)
    nodes_by_output = by_output(network)
    x_type, s_type, n_type, y_type = QType(8, True, 0.03), QType(8, True, 0.05), QType(8, True, 0.04, -5), QType(8, True, 0.06)
    for name, index, qtype in (
        ("h", 0, x_type), ("s", 1, x_type), ("n", 0, s_type), ("y", 1, s_type), ("m", 0, n_type), ("y", None, y_type),
    ):  # fmt: skip
        set_format(nodes_by_output[name], index, qtype)
    x = rng.normal(size=(SAMPLES, 4, 16)).astype(np.float32)
    graph = quantize(network, {"x": x}).graph
    for name, qtype in {"x": x_type, "s": s_type, "n": n_type, "y": y_type}.items():
        assert graph.tensors[name].qtype == qtype
    plain = quantize(model(nodes, {"x": ("float32", (4, 16))}, {"y": (4, 16)}, constants), {"x": x}).graph
    a, b = (g.tensors["y"].qtype.dequantize(run(g, {"x": x})["y"]) for g in (graph, plain))
    assert np.square(a - b).mean() < 0.01 * np.square(b).mean()


def test_weights_off_the_grid_are_refused() -> None:
    network, _ = two_layers(np.random.default_rng(11), 4)
    set_format(by_output(network)["y"], 1, QType(4, True, 0.021))
    with pytest.raises(ModelError, match=r"^y: the weights are not multiples of their scale within 4 bits"):
        quantize(network, {"x": np.ones((4, 12), np.float32)})


def test_metadata_that_is_no_format_is_refused() -> None:
    network, _ = two_layers(np.random.default_rng(12), 4)
    by_output(network)["y"].metadata_props["edgeflow.format.0"] = '{"bits": 4}'
    with pytest.raises(ModelError, match=r"^y: the metadata edgeflow.format.0 is no format"):
        quantize(network, {"x": np.ones((4, 12), np.float32)})


def test_formats_survive_serialization() -> None:
    network, _ = two_layers(np.random.default_rng(13), 4)
    again = ir.from_proto(ir.to_proto(network))
    assert has_fixed_formats(FloatGraph(again))
    for a, b in zip(network.graph, again.graph, strict=True):
        for index in (0, 1, None):
            assert fixed_format(a, index) == fixed_format(b, index)


def test_models_without_formats_have_none() -> None:
    rng = np.random.default_rng(14)
    constants: Arrays = {}
    network = model([linear(rng, constants, "x", "y", 8, 4)], {"x": ("float32", (8,))}, {"y": (4,)}, constants)
    assert not has_fixed_formats(FloatGraph(network))
    quantize(network, {"x": np.ones((4, 8), np.float32)}, QuantizationConfig(weight_bits=4))


def test_the_scale_of_attention_is_that_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model in memory may have more digits than a file holds: they do not count."""
    rng, seen = np.random.default_rng(15), list[NDArray[np.float64]]()
    constants: Arrays = {}
    nodes = [linear(rng, constants, "x", name, 32, 32) for name in "qkv"]
    nodes.append(node("Attention", ["q", "k", "v"], "y", heads=2, scale=0.3))
    network = model(nodes, {"x": ("float32", (6, 32))}, {"y": (6, 32)}, constants)
    by_output(network)["y"].attributes.add(ir.AttrFloat32("scale", 0.3 + 2.0**-40))

    def record(ratio: NDArray[np.float64], bits: int) -> tuple[IntArray, int]:
        seen.append(ratio)
        return dyadic(ratio, bits)

    monkeypatch.setattr(attention, "dyadic", record)
    x = rng.normal(size=(SAMPLES, 6, 32)).astype(np.float32)
    for each in (network, ir.from_proto(ir.to_proto(network))):
        quantize(each, {"x": x})
    np.testing.assert_array_equal(seen[0], seen[1])
