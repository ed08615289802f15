"""Quantization of small canonical models: near the float model, accumulators proved, structure as said."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from canonical_models import linear, model, node, weights

from edgeflow.hw.errors import CalibrationError, UnsupportedError
from edgeflow.hw.graph import Graph
from edgeflow.hw.graph_equality import differences
from edgeflow.hw.ops.attention import MAXIMUM_OUTPUT_SHIFT
from edgeflow.hw.verify import verify_graph
from edgeflow.quant.canonical.base import registry
from edgeflow.quant.canonical.inputs import check_inputs, decode_outputs, encode_inputs, model_inputs
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.integers.heads import numerators
from edgeflow.quant.integers.parameters import clipped_steps
from edgeflow.quant.ptq import Quantized, quantize
from edgeflow.quant.techniques.sqnr import signal_to_noise, tensor_sqnr
from edgeflow.sim.executor import Executor

Arrays = dict[str, Any]


def near_float(network: ir.Model, data: Arrays, least_db: float, config: QuantizationConfig | None = None) -> Quantized:
    """Quantize on ``data``, prove the registers, and hold every tensor to ``least_db`` and every output to its name; no residual
    is narrow."""
    quantized = quantize(network, data, config)
    verify_graph(quantized.graph)
    assert min(residual_bits(quantized.graph), default=16) > 8
    assert quantized.graph.outputs == tuple(value.name for value in network.graph.outputs)
    arrays = check_inputs(model_inputs(network), data)
    ratios = tensor_sqnr(network, quantized, arrays)
    assert set(quantized.graph.outputs) <= set(ratios)
    low = {name: db for name, db in ratios.items() if not db >= least_db}
    assert not low, low
    return quantized


def residual_bits(graph: Graph) -> list[int]:
    """Widths of the residuals in the epilogues of linear layers."""
    fused = [n for n in graph.nodes if n.op == "linear" and n.attributes["has_residual"]]
    return [graph.tensors[n.inputs[4]].qtype.bits for n in fused]


def ops(graph: Graph) -> list[str]:
    return [n.op for n in graph.nodes]


def normal(seed: int, *shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def norm(constants: Arrays, x: str, output: str, channels: int, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    constants[f"{output}.g"] = rng.uniform(0.2, 3, channels).astype(np.float32)
    constants[f"{output}.o"] = rng.normal(size=channels).astype(np.float32)
    return node("LayerNormalization", [x, f"{output}.g", f"{output}.o"], output, axis=-1, epsilon=1e-6)


def block(
    constants: Arrays, x: str, dim: int, heads: int, prefix: str, mask: tuple[str, ...] = (), post: bool = False
) -> list[Any]:
    """One encoder block, pre-norm or post-norm; its output is ``prefix`` + "y"."""
    rng = np.random.default_rng(len(prefix))
    p = prefix
    first = x if post else f"{p}n1"
    nodes = [] if post else [norm(constants, x, f"{p}n1", dim, 1)]
    nodes += [linear(rng, constants, first, f"{p}{name}", dim, dim) for name in "qkv"]
    nodes.append(node("Attention", [f"{p}q", f"{p}k", f"{p}v", *mask], f"{p}a", heads=heads, scale=(dim / heads) ** -0.5))
    nodes += [linear(rng, constants, f"{p}a", f"{p}p", dim, dim), node("Add", [x, f"{p}p"], f"{p}r")]
    middle = f"{p}n2"
    nodes += [norm(constants, f"{p}r", middle, dim, 2), linear(rng, constants, middle, f"{p}f", dim, 2 * dim)]
    nodes += [node("Gelu", [f"{p}f"], f"{p}g", approximate="none"), linear(rng, constants, f"{p}g", f"{p}s", 2 * dim, dim)]
    nodes.append(node("Add", [f"{p}s", middle if post else f"{p}r"], f"{p}t" if post else f"{p}y"))
    return [*nodes, norm(constants, f"{p}t", f"{p}y", dim, 3)] if post else nodes


def test_vision_transformer_with_class_token() -> None:
    constants: Arrays = {"w": weights(np.random.default_rng(0), 32, 1, 4, 4), "b": np.zeros(32, np.float32)}
    constants |= {"token": normal(1, 1, 1, 32), "positions": normal(2, 1, 10, 32)}
    nodes = [
        node("PatchEmbed", ["image", "w", "b"], "patches", kernel=[4, 4]),
        node("ConstantTokens", ["patches", "token"], "tokens"),
        node("Concat", ["tokens", "patches"], "joined", axis=1),
        node("Add", ["joined", "positions"], "x"),
        *block(constants, "x", 32, 2, "b"),
        norm(constants, "by", "n", 32, 4),
        node("SelectTokens", ["n"], "class", start=0, stop=1, squeeze=1),
        linear(np.random.default_rng(5), constants, "class", "logits", 32, 5),
    ]
    network = model(nodes, {"image": ("float32", (1, 12, 12))}, {"logits": (5,)}, constants)
    rng = np.random.default_rng(0)
    # The normalization before the head is calibrated for the class token, so its other tokens may saturate.
    quantized = quantize(network, {"image": rng.uniform(0, 1, (64, 1, 12, 12)).astype(np.float32)})
    verify_graph(quantized.graph)
    graph = quantized.graph
    assert ops(graph) == [
        *("patches", "linear", "concat", "add"),
        *("layernorm", "linear", "linear", "linear", "attention", "linear", "layernorm", "linear", "linear"),
        *("layernorm", "select", "linear"),
    ]
    image = graph.tensors["image"].qtype
    assert (image.bits, image.signed, image.zero_point) == (8, False, 0)
    assert graph.tensors["x"].qtype.bits == graph.tensors["br"].qtype.bits == graph.tensors["logits"].qtype.bits == 16
    assert graph.tensors["bn1"].qtype.bits == graph.tensors["bg"].qtype.bits == 8
    assert len(graph.tensors["bn1"].qtype.scales) == 32
    assert {n.output: n.origin for n in graph.nodes}["br"] == "bp"  # the linear layer that the addition is fused into
    arrays = {"image": rng.uniform(0, 1, (40, 1, 12, 12)).astype(np.float32)}
    ratios = tensor_sqnr(network, quantized, arrays)
    assert ratios.pop("n") < ratios["class"]
    assert min(ratios.values()) > 26
    assert ratios["logits"] > 30


def test_masked_text_encoder_post_norm() -> None:
    constants: Arrays = {"table": normal(1, 50, 32), "types": normal(2, 2, 32), "positions": normal(3, 8, 32)}
    nodes = [
        node("Embedding", ["ids", "table"], "words"),
        node("Embedding", ["kinds", "types"], "kind"),
        node("Add", ["words", "kind"], "sum"),
        node("Add", ["sum", "positions"], "placed"),
        norm(constants, "placed", "x", 32, 7),
        *block(constants, "x", 32, 2, "a", ("mask",), post=True),
        *block(constants, "ay", 32, 2, "bb", ("mask",), post=True),
        node("MeanPool", ["bby", "mask"], "pooled"),
    ]
    inputs = {"ids": ("int64", (8,)), "kinds": ("int64", (8,)), "mask": ("int64", (8,))}
    network = model(nodes, inputs, {"bby": (8, 32), "pooled": (32,)}, constants)
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 9, 64)
    data = {
        "ids": rng.integers(0, 50, (64, 8)),
        "kinds": rng.integers(0, 2, (64, 8)),
        "mask": (np.arange(8) < lengths[:, None]).astype(np.int64),
    }
    quantized = near_float(network, data, 24)
    graph = quantized.graph
    assert graph.tensors["ids"].limit == 49
    assert graph.tensors["kinds"].limit == graph.tensors["mask"].limit == 1
    assert graph.tensors["x"].qtype.bits == 16
    assert graph.tensors["x/narrow"].qtype.bits == 8
    assert sum(n.output.startswith("x/narrow") for n in graph.nodes) == 1  # one copy for three readers
    # Masked tokens have no influence.
    executor = Executor(graph)
    words = encode_inputs(graph, data)
    other = {**words, "ids": np.where(words["mask"] == 0, 49 - words["ids"], words["ids"])}
    assert (executor.run(words)["pooled"] == executor.run(other)["pooled"]).all()


@pytest.mark.parametrize(("heads", "wide"), [(1, 64), (2, 64), (3, 48)])
def test_heads_that_the_lines_do_not_hold_are_padded(heads: int, wide: int) -> None:
    constants: Arrays = {}
    network = model(block(constants, "x", 36, heads, "b"), {"x": ("float32", (7, 36))}, {"by": (7, 36)}, constants)
    quantized = near_float(network, {"x": normal(0, 60, 7, 36)}, 28)
    for name in ("bq", "bk", "bv", "ba"):
        assert quantized.graph.tensors[name].shape == (7, wide)
        channels = quantized.correspondence[name].channels
        assert channels is not None
        np.testing.assert_array_equal(channels, [h * wide // heads + c for h in range(heads) for c in range(36 // heads)])
    taken = quantized.correspondence["bq"].channels
    assert taken is not None
    unused = np.setdiff1d(np.arange(wide), taken)
    words = Executor(quantized.graph).run_all(encode_inputs(quantized.graph, {"x": normal(1, 2, 7, 36)}))
    assert not words["ba"][..., unused].any()
    assert words["ba"].any()


@pytest.mark.parametrize("heads", [2, 3])
def test_attention_between_values_that_others_read_too(heads: int) -> None:
    """Shared operands and an output that no linear layer reads: copies in attention's formats, padding and all."""
    constants: Arrays = {}
    rng = np.random.default_rng(0)
    nodes = [
        linear(rng, constants, "x", "q", 48, 48),
        linear(rng, constants, "x", "v", 48, 48),
        node("Attention", ["q", "x", "v"], "a", heads=heads, scale=0.2),
        node("Add", ["a", "q"], "y"),
    ]
    network = model(nodes, {"x": ("float32", (6, 48))}, {"y": (6, 48)}, constants)
    quantized = near_float(network, {"x": normal(1, 50, 6, 48)}, 28)
    assert quantized.graph.tensors["a"].qtype.bits == 16
    assert quantized.graph.tensors["a"].shape == (6, 48)


def test_keys_are_centred_and_scores_do_not_notice() -> None:
    """A large bias of the keys is invisible to softmax and costs no precision."""
    rng = np.random.default_rng(0)
    constants: Arrays = {}
    nodes = [linear(rng, constants, "x", name, 32, 32) for name in "qkv"]
    nodes += [node("Attention", ["q", "k", "v"], "a", heads=2, scale=0.25), linear(rng, constants, "a", "y", 32, 32)]
    constants["k.b"] = constants["k.b"] + 300 * rng.normal(size=32).astype(np.float32)
    network = model(nodes, {"x": ("float32", (9, 32))}, {"y": (9, 32)}, constants)
    quantized = near_float(network, {"x": normal(1, 60, 9, 32)}, 30)
    offset = quantized.correspondence["k"].offset
    assert offset is not None
    assert np.abs(offset).max() > 300


@pytest.mark.parametrize("op", sorted(name for name, op in registry().items() if op.tabulated))
def test_elementwise_functions_fused_and_alone(op: str) -> None:
    rng = np.random.default_rng(0)
    constants: Arrays = {}
    positive = op in ("Log", "Sqrt", "Reciprocal")
    special: dict[str, dict[str, Any]] = {"Gelu": {"approximate": "tanh"}, "LeakyRelu": {"alpha": 0.1}}
    attributes = special.get(op, {})
    nodes = [linear(rng, constants, "x", "u", 24, 40), node(op, ["u"], "f", **attributes)]
    nodes += [linear(rng, constants, "f", "w", 40, 24), node("Add", ["w", "x"], "z"), node(op, ["z"], "y", **attributes)]
    x = normal(1, 60, 6, 24)
    if positive:
        x = np.abs(x) + 0.5
        constants |= {"u.w": np.abs(constants["u.w"]), "u.b": np.abs(constants["u.b"])}
        constants["w.w"], constants["w.b"] = np.abs(constants["w.w"]) * 0.1, np.abs(constants["w.b"]) + 3
    if op == "Exp":  # of an exponential: keep it within the range of linear formats
        constants["w.w"] *= 0.05
    network = model(nodes, {"x": ("float32", (6, 24))}, {"y": (6, 24)}, constants)
    quantized = near_float(network, {"x": x}, 25)
    alone = quantized.graph.nodes[-1]
    assert alone.output == "y"
    assert alone.op == ("smooth" if op in ("Gelu", "HardSwish", "QuickGelu", "Relu", "Silu", "Softplus") else "table")
    fused = next(n for n in quantized.graph.nodes if n.output == "f")
    assert fused.op == "linear"
    assert fused.attributes["has_table"] == (op != "Relu")  # saturation at 0 is the rectifier


def test_residual_is_fused_into_the_later_of_two_linear_layers() -> None:
    rng = np.random.default_rng(0)
    constants: Arrays = {}
    nodes = [linear(rng, constants, "x", "a", 16, 16), linear(rng, constants, "x", "b", 16, 16), node("Add", ["b", "a"], "y")]
    network = model(nodes, {"x": ("float32", (3, 16))}, {"y": (3, 16)}, constants)
    graph = near_float(network, {"x": normal(1, 50, 3, 16)}, 35).graph
    assert ops(graph) == ["linear", "linear"]
    assert graph.nodes[1].inputs[-1] == "a"
    assert graph.nodes[1].attributes["has_residual"]


@pytest.mark.parametrize(
    "op", ["input", "Linear", "Gelu", "LayerNormalization", "Attention", "Reshape", "SelectChannels", "Softmax"]
)
@pytest.mark.parametrize("bits", [9, 16])
def test_fused_residuals_are_wide_though_a_linear_layer_reads_them_too(op: str, bits: int) -> None:
    rng = np.random.default_rng(0)
    constants: Arrays = {"shape": np.array([0, 3, 16], np.int64)}
    before = linear(rng, constants, "x", "z", 16, 16)
    source = {
        "input": [],
        "Linear": [linear(rng, constants, "x", "r", 16, 16)],
        "LayerNormalization": [norm(constants, "x", "r", 16, 0)],
        "Attention": [before, node("Attention", ["z", "z", "z"], "r", heads=2, scale=0.3)],
        "Reshape": [before, node("Reshape", ["z", "shape"], "r")],
        "SelectChannels": [linear(rng, constants, "x", "u", 16, 32), node("SelectChannels", ["u"], "r", start=8, stop=24)],
        "Softmax": [before, node("Softmax", ["z"], "r", axis=-1)],
    }.get(op, [before, node(op, ["z"], "r")])
    residual = "r" if source else "x"
    nodes = [*source, linear(rng, constants, residual, "a", 16, 16), node("Add", ["a", residual], "y")]
    network = model(nodes, {"x": ("float32", (3, 16))}, {"y": (3, 16)}, constants)
    graph = quantize(network, {"x": normal(1, 50, 3, 16)}, QuantizationConfig(residual_bits=bits)).graph
    verify_graph(graph)
    assert residual_bits(graph) == [bits]


def test_a_value_added_to_itself_is_not_fused() -> None:
    rng = np.random.default_rng(0)
    constants: Arrays = {}
    nodes = [linear(rng, constants, "x", "a", 16, 16), node("Add", ["a", "a"], "y")]
    network = model(nodes, {"x": ("float32", (3, 16))}, {"y": (3, 16)}, constants)
    assert ops(near_float(network, {"x": normal(1, 50, 3, 16)}, 35).graph) == ["linear", "add"]


@pytest.mark.parametrize("shape", [(), (1,), (16,), (1, 16), (3, 16), (1, 3, 16), (1, 3, 1)])
@pytest.mark.parametrize("op", ["Add", "Mul"])
def test_constants_of_every_shape(op: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    constants: Arrays = {"c": rng.normal(size=shape).astype(np.float32) * 2, "d": rng.normal(size=shape).astype(np.float32)}
    nodes = [linear(rng, constants, "x", "a", 16, 16), node(op, ["a", "c"], "b"), node("Add", ["b", "a"], "e")]
    nodes += [linear(rng, constants, "e", "f", 16, 16), node(op, ["d", "f"], "y")]
    network = model(nodes, {"x": ("float32", (3, 16))}, {"y": (3, 16)}, constants)
    graph = near_float(network, {"x": normal(1, 50, 3, 16)}, 30).graph
    if op == "Add":  # the last addition is in the epilogue: as a bias where it is the same for all rows
        assert graph.nodes[-1].op == "linear"
        rows_differ = shape[-2:] in ((3, 16), (3, 1))
        assert graph.nodes[-1].attributes["has_residual"] == rows_differ


def test_movement_keeps_words() -> None:
    rng = np.random.default_rng(0)
    constants: Arrays = {"flat": np.array([0, 24], np.int64), "shape": np.array([0, 4, 6], np.int64)}
    nodes = [
        linear(rng, constants, "x", "a", 6, 6),
        node("Transpose", ["a"], "t", perm=[0, 2, 1]),
        linear(rng, constants, "t", "b", 4, 4),
        node("SelectChannels", ["b"], "c", start=1, stop=3),
        node("SelectTokens", ["b"], "d", start=2, stop=5, squeeze=0),
        node("Reshape", ["x", "flat"], "e"),
        linear(rng, constants, "e", "f", 24, 24),
        node("Reshape", ["f", "shape"], "g"),
        node("Concat", ["g", "a"], "h", axis=-1),
    ]
    outputs = {"c": (6, 2), "d": (3, 4), "h": (4, 12)}
    network = model(nodes, {"x": ("float32", (4, 6))}, outputs, constants)
    quantized = near_float(network, {"x": normal(1, 60, 4, 6)}, 33)
    graph = quantized.graph
    words = Executor(graph).run_all(encode_inputs(graph, {"x": normal(2, 3, 4, 6)}))
    assert (words["t"] == words["a"].transpose(0, 2, 1)).all() or graph.tensors["t"].qtype != graph.tensors["a"].qtype
    assert (words["c"] == words["b"][..., 1:3]).all()
    assert (words["d"] == words["b"][:, 2:5]).all()
    assert (words["g"] == words["f"].reshape(3, 4, 6)).all()
    assert (words["h"][..., :6] == words["g"]).all()  # made in the format of where it goes


def test_softmax_at_the_end_sums_to_one() -> None:
    constants: Arrays = {}
    nodes = [linear(np.random.default_rng(0), constants, "x", "a", 16, 10), node("Softmax", ["a"], "y", axis=-1)]
    network = model(nodes, {"x": ("float32", (16,))}, {"y": (10,)}, constants)
    x = normal(1, 80, 16) * 2
    quantized = near_float(network, {"x": x}, 33)
    graph = quantized.graph
    y = decode_outputs(graph, Executor(graph).run(encode_inputs(graph, {"x": x})))["y"]
    assert np.abs(y.sum(axis=-1) - 1).max() < 1e-3


def test_an_input_with_unequal_channels_is_wide_and_read_by_channel() -> None:
    """One 8-bit scale for channels of which the largest is 100 times the smallest costs 10 dB; alike channels lose nothing."""
    constants: Arrays = {}
    size = np.geomspace(1.0, 0.01, 12).astype(np.float32)
    nodes = [linear(np.random.default_rng(0), constants, "x", "y", 12, 16)]
    constants["y.w"] /= size[:, None]
    network = model(nodes, {"x": ("float32", (6, 12))}, {"y": (6, 16)}, constants)
    data = normal(1, 600, 6, 12) * size
    quantized = near_float(network, {"x": data}, 40.0)
    assert quantized.graph.tensors["x"].qtype.bits == 16
    assert ops(quantized.graph) == ["requantize", "linear"]
    assert quantized.ranges["x/narrow"].granularity == "channel"
    uniform = quantize(network, {"x": data}, QuantizationConfig(equalization=False)).graph
    assert (uniform.tensors["x"].qtype.bits, uniform.tensors["x"].qtype.scales.size) == (8, 1)
    alike = quantize(network, {"x": data / size}).graph
    assert (alike.tensors["x"].qtype.bits, alike.tensors["x"].qtype.scales.size) == (8, 1)
    assert ops(alike) == ["linear"]


def test_pixels_that_a_linear_layer_reads_stay_exact() -> None:
    """Unequal channels or not: 256 levels are what 8 bits hold."""
    constants: Arrays = {}
    nodes = [linear(np.random.default_rng(0), constants, "x", "y", 12, 16)]
    network = model(nodes, {"x": ("float32", (6, 12))}, {"y": (6, 16)}, constants)
    pixels = np.random.default_rng(2).integers(0, 256, (40, 6, 12)) * np.geomspace(1.0, 0.02, 12)
    data = (np.floor(pixels) / 255).astype(np.float32)
    data[0, 0, 0] = 1.0  # 40 samples reach no further than what there is
    qtype = quantize(network, {"x": data}).graph.tensors["x"].qtype
    assert (qtype.bits, qtype.signed, qtype.zero_point) == (8, False, 0)
    assert float(qtype.scales) == pytest.approx(1 / 255)


def test_several_inputs_and_outputs() -> None:
    rng = np.random.default_rng(0)
    constants: Arrays = {}
    nodes = [linear(rng, constants, "x", "a", 8, 8), linear(rng, constants, "z", "b", 12, 8), node("Mul", ["a", "b"], "c")]
    nodes += [linear(rng, constants, "c", "y", 8, 3)]
    inputs = {"x": ("float32", (4, 8)), "z": ("float32", (4, 12))}
    network = model(nodes, inputs, {"a": (4, 8), "y": (4, 3)}, constants)
    graph = near_float(network, {"x": normal(1, 60, 4, 8), "z": normal(2, 60, 4, 12)}, 30).graph
    assert graph.inputs == ("x", "z")
    assert graph.tensors["a"].qtype.bits == 16


@pytest.mark.parametrize("observer", ["auto", "minmax", "percentile", "mse"])
def test_every_observer_reports_its_ranges(observer: Any) -> None:
    constants: Arrays = {}
    network = model(block(constants, "x", 32, 2, "b"), {"x": ("float32", (7, 32))}, {"by": (7, 32)}, constants)
    quantized = near_float(network, {"x": normal(0, 60, 7, 32)}, 25, QuantizationConfig(observer=observer))
    methods = {line.method for line in quantized.ranges.values() if line.bits == 8}
    assert methods <= {"minmax", "percentile", "mse"} if observer == "auto" else methods == {observer}
    for name, line in quantized.ranges.items():
        assert name == line.name
        assert line.minimum <= line.maximum
        assert line.clip_low < line.clip_high
        assert line.granularity in ("tensor", "head", "channel")
        if observer == "minmax" and name in quantized.graph.tensors:
            slack = (line.clip_high - line.clip_low) / 100  # a scale of the positive side rounds the other up
            assert line.clip_high >= line.maximum - slack
    assert set(quantized.ranges) <= set(quantized.graph.tensors)


def test_options_change_the_arithmetic() -> None:
    constants: Arrays = {}
    network = model(block(constants, "x", 32, 2, "b"), {"x": ("float32", (7, 32))}, {"by": (7, 32)}, constants)
    data = {"x": normal(0, 60, 7, 32)}
    config = QuantizationConfig(
        residual_bits=12, multiplier_bits=12, exponent_fraction_bits=4, probability_bits=6, residual_headroom=1.0
    )
    graph = near_float(network, data, 22, config).graph
    assert graph.tensors["br"].qtype.bits == 12
    attention = next(n for n in graph.nodes if n.op == "attention")
    assert (attention.attributes["fraction_bits"], attention.attributes["probability_bits"]) == (4, 6)
    assert max(int(graph.constants[n.inputs[3]].max()) for n in graph.nodes if n.op == "linear") < 1 << 12


def test_quantization_is_deterministic() -> None:
    constants: Arrays = {}
    network = model(block(constants, "x", 32, 2, "b"), {"x": ("float32", (7, 32))}, {"by": (7, 32)}, constants)
    first, second = (quantize(network, {"x": normal(0, 60, 7, 32)}).graph for _ in range(2))
    assert first.nodes == second.nodes
    assert first.tensors == second.tensors
    assert all((first.constants[name] == second.constants[name]).all() for name in first.constants)


def test_dead_and_constant_channels_do_no_harm() -> None:
    rng = np.random.default_rng(0)
    constants: Arrays = {}
    nodes = [norm(constants, "x", "n", 16, 1), linear(rng, constants, "n", "f", 16, 16), node("Relu", ["f"], "r")]
    nodes += [linear(rng, constants, "r", "s", 16, 16), linear(rng, constants, "s", "y", 16, 4)]
    constants["n.g"][3] = 0.0
    constants["f.w"][:, 5], constants["f.b"][5] = 0.0, 2.5
    constants["f.w"][:, 6], constants["f.b"][6] = 0.0, -2.5
    constants["s.w"][:, 7] *= 1e-7
    network = model(nodes, {"x": ("float32", (3, 16))}, {"y": (3, 4)}, constants)
    near_float(network, {"x": normal(1, 60, 3, 16)}, 28)


def test_tensor_that_never_changes_is_warned_of() -> None:
    constants: Arrays = {}
    nodes = [linear(np.random.default_rng(0), constants, "x", "a", 8, 8), node("Relu", ["a"], "y")]
    constants["a.b"] = np.full(8, -1e3, np.float32)
    network = model(nodes, {"x": ("float32", (8,))}, {"y": (8,)}, constants)
    quantized = quantize(network, {"x": normal(0, 10, 8)})
    assert quantized.warnings == ("y: every value was 0 on the calibration data; the range of this tensor is a guess",)


def test_integers_that_are_neither_ids_nor_mask_are_refused() -> None:
    constants: Arrays = {"table": normal(0, 5, 16)}
    nodes = [node("Embedding", ["ids", "table"], "e"), node("MeanPool", ["e", "ids"], "y")]
    network = model(nodes, {"ids": ("int64", (3,))}, {"y": (16,)}, constants)
    with pytest.raises(
        UnsupportedError, match=r"input 'ids': integers are supported as token ids or as a key mask.*y \(MeanPool\)"
    ):
        quantize(network, {"ids": np.ones((4, 3), np.int64)})


def test_numerators_fill_sixteen_bits_at_a_common_shift() -> None:
    expected = {
        (1.5, 0.01): ([49_152, 328], 15),
        (2.0, 1e-9): ([32_768, 1], 14),
        (1.999999, 1.0): ([32_768, 16_384], 14),  # 65,536 would not fit
        (65_535.4,): ([65_535], 0),
        (1e-3,): ([4194], MAXIMUM_OUTPUT_SHIFT),
        (1e9,): ([65_535], 0),
    }
    for factors, (words, shift) in expected.items():
        fitted = numerators(np.array(factors))
        assert (fitted[0].tolist(), fitted[1]) == (words, shift), factors


@pytest.mark.parametrize("narrow", [True, False])
def test_attention_whose_output_is_next_to_nothing_beside_its_values(narrow: bool) -> None:
    """Values of opposite signs that cancel: the output's scale is as fine as numerators of 16 bits allow, and no finer."""
    rng = np.random.default_rng(0)
    constants: Arrays = {}
    nodes = [linear(rng, constants, "x", name, 16, 16) for name in "qkv"]
    nodes.append(node("Attention", ["q", "k", "v"], "a", heads=1, scale=1e-9))
    nodes.append(linear(rng, constants, "a", "y", 16, 16) if narrow else node("Add", ["a", "a"], "y"))
    constants["v.b"] = np.zeros(16, dtype=np.float32)
    network = model(nodes, {"x": ("float32", (2, 16))}, {"y": (2, 16)}, constants)
    x = rng.normal(size=(30, 1, 16)).astype(np.float32)
    graph = quantize(network, {"x": np.concatenate([x, -x], axis=1)}).graph
    verify_graph(graph)
    attention = next(n for n in graph.nodes if n.op == "attention")
    scales = [graph.tensors[name].qtype.scales for name in (attention.inputs[2], attention.output)]
    ratio = graph.constants[attention.inputs[5]] / 2.0 ** int(str(attention.attributes["output_shift"]))
    assert ratio == pytest.approx(np.max(scales[0] / scales[1]), rel=2.0**-16)
    assert (graph.constants[attention.inputs[5]] > 1 << 15).all()


def test_heads_too_wide_for_the_score_register_are_refused() -> None:
    network = model(
        [node("Attention", ["x", "x", "x"], "y", heads=1, scale=1.0)], {"x": ("float32", (3, 449))}, {"y": (3, 449)}, {}
    )
    with pytest.raises(UnsupportedError, match="y: attention takes heads of at most 448 channels, not 449"):
        quantize(network, {"x": normal(0, 4, 3, 449)})


def test_negative_attention_scale_is_refused() -> None:
    network = model([node("Attention", ["x", "x", "x"], "y", heads=1, scale=-1.0)], {"x": ("float32", (3, 16))}, {"y": (3, 16)}, {})
    with pytest.raises(UnsupportedError, match="y: the scale of attention must be positive, not -1"):
        quantize(network, {"x": normal(0, 4, 3, 16)})


def test_wrong_calibration_data_is_refused() -> None:
    constants: Arrays = {}
    network = model([linear(np.random.default_rng(0), constants, "x", "y", 8, 8)], {"x": ("float32", (8,))}, {"y": (8,)}, constants)
    with pytest.raises(CalibrationError, match=r"calibration data: input 'x' is missing; give an array x: float32 \(samples, 8\)"):
        quantize(network, {})


@pytest.mark.parametrize("token", [-1, 20])
def test_calibration_ids_outside_the_smallest_table_are_refused(token: int) -> None:
    constants: Arrays = {"table": normal(1, 50, 8), "small": normal(2, 20, 8)}
    nodes = [node("Embedding", ["ids", "table"], "a"), node("Embedding", ["ids", "small"], "b"), node("Add", ["a", "b"], "y")]
    network = model(nodes, {"ids": ("int64", (3,))}, {"y": (3, 8)}, constants)
    message = rf"calibration data: input 'ids' holds {token}; ids must lie in 0 to 19"
    with pytest.raises(CalibrationError, match=message):
        quantize(network, {"ids": np.array([[0, 19, token]])})


def test_signal_to_noise() -> None:
    f = np.array([3.0, 4.0])
    assert signal_to_noise(f, f) == float("inf")
    assert signal_to_noise(f, np.array([3.0, 4.5])) == pytest.approx(20.0)
    assert np.isnan(signal_to_noise(f * 0, f))


@pytest.mark.parametrize(
    "samples", [np.zeros((1, 7, 32), np.float32), np.full((3, 7, 32), -4.0, np.float32), normal(0, 1, 7, 32) * 1e-6]
)
def test_calibration_data_that_says_little_still_compiles(samples: np.ndarray[Any, Any]) -> None:
    """All zeros, one value, hardly anything: the graph is valid, and right on that very data to a part of the output's size."""
    constants: Arrays = {}
    nodes = [linear(np.random.default_rng(9), constants, "x", "h", 32, 32), *block(constants, "h", 32, 2, "b")]
    network = model(nodes, {"x": ("float32", (7, 32))}, {"by": (7, 32)}, constants)
    quantized = quantize(network, {"x": samples})
    verify_graph(quantized.graph)
    assert tensor_sqnr(network, quantized, {"x": samples})["by"] > 20
    Executor(quantized.graph).run(encode_inputs(quantized.graph, {"x": normal(1, 2, 7, 32)}))


def test_a_sample_of_masked_tokens_alone_is_no_obstacle() -> None:
    constants: Arrays = {"table": normal(1, 20, 16)}
    nodes = [node("Embedding", ["ids", "table"], "x"), *block(constants, "x", 16, 1, "b", ("mask",))]
    nodes.append(node("MeanPool", ["by", "mask"], "y"))
    inputs = {"ids": ("int64", (4,)), "mask": ("int64", (4,))}
    network = model(nodes, inputs, {"y": (16,)}, constants)
    rng = np.random.default_rng(0)
    mask = (rng.uniform(size=(32, 4)) < 0.6).astype(np.int64)
    mask[0], mask[1] = 0, 1
    quantized = quantize(network, {"ids": rng.integers(0, 20, (32, 4)), "mask": mask})
    verify_graph(quantized.graph)
    outputs = Executor(quantized.graph).run(encode_inputs(quantized.graph, {"ids": rng.integers(0, 20, (2, 4)), "mask": mask[:2]}))
    assert not outputs["y"][0].any()
    assert outputs["y"][1].any()


def test_copies_of_samples_count_once() -> None:
    """An allowance shrinks with the number of samples, which copies do not raise."""
    rng = np.random.default_rng(4)
    constants: Arrays = {}
    nodes = [linear(rng, constants, "x", "h", 24, 32), node("Gelu", ["h"], "g"), linear(rng, constants, "g", "y", 32, 8)]
    network = model(nodes, {"x": ("float32", (24,))}, {"y": (8,)}, constants)
    x = normal(7, 8, 24)
    once, often = quantize(network, {"x": x}), quantize(network, {"x": np.tile(x, (16, 1))})
    assert list(differences(once.graph, often.graph)) == []


def test_weights_that_single_precision_cannot_divide_by() -> None:
    """Steps of the least numbers that there are: none of them becomes a zero."""
    steps = clipped_steps(np.full((2, 4), 1e-45), np.full(2, 1e-47), np.ones(4), 8)
    assert np.all(np.isfinite(steps))
    assert np.all(steps > 0)


@pytest.mark.parametrize("exponent", [-140, 60, 130])
def test_clipping_does_not_depend_on_the_unit(exponent: int) -> None:
    """Weights, and inputs, of any magnitude, beyond single precision too, are clipped at the same fraction."""
    random = np.random.default_rng(4)
    weight, square = random.standard_t(2, size=(16, 64)), random.random(64)
    step = np.abs(weight).max(axis=1) / 7
    chosen = clipped_steps(weight, step, square, 4)
    assert (chosen < step).any()
    far = clipped_steps(np.ldexp(weight, exponent), np.ldexp(step, exponent), np.ldexp(square, 2 * exponent), 4)
    np.testing.assert_array_equal(far, np.ldexp(chosen, exponent))
