"""What EdgeFlow exports, it takes back: the same words again, and what was changed in between counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from network_zoo import NETWORKS
from numpy.typing import NDArray
from onnx import helper, numpy_helper

import edgeflow
from edgeflow.hw.errors import ModelError, UnsupportedError
from edgeflow.hw.graph import Graph
from edgeflow.hw.graph_equality import differences
from edgeflow.quant.canonical.inputs import check_inputs, decode_outputs, encode_inputs, model_inputs
from edgeflow.quant.convert.conversion import Quantized
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.ptq import quantize
from edgeflow.quant.techniques.sqnr import signal_to_noise
from edgeflow.sim.executor import Executor
from edgeflow.sw.export import FORMATS
from edgeflow.sw.files.arrays import read_npz
from edgeflow.sw.importer import import_model

Arrays = dict[str, NDArray[Any]]
CASES = Path(__file__).parent.parent / "cases"
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "W8A8": {},
    "W4A4": {"weight_bits": 4, "activation_bits": 4},
    "W2A4": {"weight_bits": 2, "activation_bits": 4, "equalization": False},
}
FORMS = {"W8A8": "qdq", "W4A4": "qonnx", "W2A4": "qdq"}

Get = Callable[[str], tuple[ir.Model, Arrays]]


def load(path: Path, data: Arrays) -> ir.Model:
    return import_model(path, shapes={name: array.shape for name, array in data.items()})


def again(proto: onnx.ModelProto, data: Arrays, folder: Path) -> tuple[ir.Model, Quantized]:
    """An exported model, imported and quantized on other data than before, of which no range may depend."""
    onnx.save(proto, folder / "exported.onnx")
    returned = load(folder / "exported.onnx", data)
    return returned, quantize(returned, {name: array[:3] for name, array in data.items()})


def words(graph: Graph, model: ir.Model, data: Arrays) -> list[NDArray[np.int64]]:
    """Every output of the integer network, in order."""
    outputs = Executor(graph).run(encode_inputs(graph, check_inputs(model_inputs(model), data)))
    return [np.asarray(outputs[name]) for name in graph.outputs]


@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - {"vit-dynamo"}))
def test_networks_come_back(name: str, networks: Get, tmp_path: Path) -> None:
    """Every network of the suite: the same integer network, and again when that is exported in the other form."""
    model, data = networks(name)
    for configuration, form in FORMS.items():
        quantized = quantize(model, data, QuantizationConfig(**CONFIGURATIONS[configuration]))
        returned, same = again(FORMATS[form](model, quantized), data, tmp_path)
        assert list(differences(quantized.graph, same.graph)) == [], configuration
        assert not same.warnings
        if configuration == "W8A8":
            twice, third = again(FORMATS["qonnx"](returned, same), data, tmp_path)
            assert list(differences(quantized.graph, third.graph)) == []
            expected, actual = (words(g, m, data) for g, m in ((quantized.graph, model), (third.graph, twice)))
            for a, b in zip(expected, actual, strict=True):
                np.testing.assert_array_equal(b, a)


@pytest.mark.parametrize("form", ["qdq", "qonnx"])
def test_other_settings_come_back(form: str, networks: Get, tmp_path: Path) -> None:
    """Streams of few bits, constants among them, percentile ranges, queries and keys of 5 bits, one scale for a layer's weights."""
    model, data = networks("vit")
    config = QuantizationConfig(residual_bits=11, observer="percentile", attention_bits=5, channel_weights=False, one_sided=False)
    quantized = quantize(model, data, config)
    _, same = again(FORMATS[form](model, quantized), data, tmp_path)
    assert list(differences(quantized.graph, same.graph)) == []
    assert not same.warnings


def stripped(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A file as another tool leaves it that knows nothing of metadata."""
    for holder in (*proto.graph.node, *proto.graph.value_info, *proto.graph.input):
        del holder.metadata_props[:]
    return proto


@pytest.mark.parametrize(("name", "form"), [("vit", "qdq"), ("bert-mean", "qdq"), ("tanh-gelu", "qonnx")])
def test_without_metadata(name: str, form: str, networks: Get, tmp_path: Path) -> None:
    """The standard quantizers alone: the same network with the same weights, but for the digits that float32 lacks."""
    model, data = networks(name)
    quantized = quantize(model, data)
    returned, same = again(stripped(FORMATS[form](model, quantized)), data, tmp_path)
    assert not same.warnings
    # QuantizeLinear rounds half to even, and so does what is made of it.
    assert any(node.attributes.get("half_even") for node in same.graph.nodes) == (form == "qdq")
    assert [node.op for node in same.graph.nodes] == [node.op for node in quantized.graph.nodes]
    for node, other in zip(quantized.graph.nodes, same.graph.nodes, strict=True):
        if node.op == "linear":
            np.testing.assert_array_equal(same.graph.constants[other.inputs[1]], quantized.graph.constants[node.inputs[1]])
    expected, actual = (words(g, m, data) for g, m in ((quantized.graph, model), (same.graph, returned)))
    for a, b in zip(expected, actual, strict=True):
        assert signal_to_noise(a, b) > 35.0


@pytest.mark.parametrize("form", ["qdq", "qonnx"])
def test_older_exports(form: str, tmp_path: Path) -> None:
    """Exports that say nothing beyond the standard quantizers, scales by channel among them."""
    build = edgeflow.compile(CASES / f"enc_{form}.onnx", calibration=CASES / "enc.npz", output=tmp_path / "build")
    proto, data = onnx.load(CASES / f"enc_{form}.onnx"), read_npz(CASES / "enc.npz")
    assert not build.report["warnings"]
    assert edgeflow.verify(build).passed
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    linear = [node for node in build.graph.nodes if node.op == "linear"]
    if form == "qdq":
        kept = [array.astype(np.int64).T for name, array in stored.items() if name.endswith("/weight/words")]
        assert len(kept) == len(linear)
        for array in kept:  # the words of a head that is padded stand among zeros
            sums = [np.sort(np.abs(build.graph.constants[node.inputs[1]]).sum(axis=1))[-len(array) :] for node in linear]
            assert any(np.array_equal(np.sort(np.abs(array).sum(axis=1)), total) for total in sums)
    real = decode_outputs(build.graph, Executor(build.graph).run(encode_inputs(build.graph, data)))["y"]
    assert real.shape[0] == len(data["x"])


# What was changed counts


@pytest.fixture
def exported(networks: Get) -> tuple[onnx.ModelProto, Arrays, Quantized]:
    model, data = networks("tanh-gelu")
    quantized = quantize(model, data)
    return FORMATS["qdq"](model, quantized), data, quantized


def initializer(proto: onnx.ModelProto, end: str) -> onnx.TensorProto:
    tensors: Iterable[onnx.TensorProto] = proto.graph.initializer
    return next(tensor for tensor in tensors if tensor.name.endswith(end))


def scaled(tensor: onnx.TensorProto, factor: float) -> None:
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), tensor.name))


def test_changed_scale(exported: tuple[onnx.ModelProto, Arrays, Quantized], tmp_path: Path) -> None:
    proto, data, quantized = exported
    name = "/encoder/layers.0/Add.out"
    scaled(initializer(proto, f"{name}/scale"), 1.5)
    changed = again(proto, data, tmp_path)[1]
    assert any(f"{name}/DequantizeLinear: the quantizer was changed after EdgeFlow exported it" in w for w in changed.warnings)
    before = quantized.graph.tensors[name].qtype
    assert changed.graph.tensors[name].qtype.scale == pytest.approx(1.5 * float(before.scales), rel=1e-6)
    assert len(list(differences(quantized.graph, changed.graph))) > 0


def test_changed_bias(exported: tuple[onnx.ModelProto, Arrays, Quantized], tmp_path: Path) -> None:
    proto, data, quantized = exported
    tensor = initializer(proto, "/linear1/MatMul.out/bias")
    scaled(tensor, 2.0)
    changed = again(proto, data, tmp_path)[1]
    assert f"{tensor.name}: the constant was changed after EdgeFlow exported it; its present value is used" in changed.warnings
    assert ["/bias" in line for line in differences(quantized.graph, changed.graph)] == [True]


def test_changed_weights(exported: tuple[onnx.ModelProto, Arrays, Quantized], tmp_path: Path) -> None:
    """Weights are the words in the file: a change needs no warning."""
    proto, data, quantized = exported
    tensor = initializer(proto, "/linear1/MatMul.out/weight/words")
    changed_words = -numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(changed_words, tensor.name))
    changed = again(proto, data, tmp_path)[1]
    lines = list(differences(quantized.graph, changed.graph))
    assert lines
    assert all("/weight" in line or "/bias" in line for line in lines)
    assert any(np.array_equal(c.T, changed_words) for c in changed.graph.constants.values() if c.shape == changed_words.T.shape)
    assert not changed.warnings


def test_changed_offset(exported: tuple[onnx.ModelProto, Arrays, Quantized], tmp_path: Path) -> None:
    proto, data, _ = exported
    scaled(initializer(proto, "/offset"), 1.25)
    assert any("the offset" in line and "was changed" in line for line in again(proto, data, tmp_path)[1].warnings)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"bits": 4}', "3", '{"bits": "x", "signed": 1, "scale": [], "zero_point": 0}'])
def test_metadata_of_others(text: str, exported: tuple[onnx.ModelProto, Arrays, Quantized], tmp_path: Path) -> None:
    """What is under EdgeFlow's key but not what EdgeFlow writes is passed over."""
    proto, data, _ = exported
    for node in proto.graph.node:
        for entry in node.metadata_props:
            entry.value = text
    for value in proto.graph.value_info:
        for entry in value.metadata_props:
            entry.value = text
    assert any("is not what EdgeFlow wrote" in line for line in again(proto, data, tmp_path)[1].warnings)


# Scales by channel of other tools


def by_channel(reader: str, *, weights: bool, axis: int = -1, channels: int = 8) -> onnx.ModelProto:
    """A linear layer, a quantizer with a scale for each channel, and what reads it: MatMul or LayerNormalization."""
    random = np.random.default_rng(3)
    size = 5 if axis in (1, -2) else channels
    arrays: dict[str, NDArray[Any]] = {
        "w": random.normal(size=(8, 8)).astype(np.float32),
        "scale": np.linspace(0.02, 0.06, size).astype(np.float32),
        "zero": np.zeros(size, np.int8),
        "gain": np.ones(8, np.float32),
        "words": random.integers(-127, 128, (8, 8)).astype(np.int8),
        "steps": np.linspace(0.001, 0.002, 8).astype(np.float32),
        "plain": random.normal(size=(8, 8)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "first"),
        helper.make_node("QuantizeLinear", ["h", "scale", "zero"], ["q"], "quantize", axis=axis),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"], "dequantize", axis=axis),
    ]
    if reader == "MatMul":
        nodes.append(helper.make_node("DequantizeLinear", ["words", "steps"], ["v"], "weights", axis=1))
        nodes.append(helper.make_node("MatMul", ["d", "v" if weights else "plain"], ["y"], "last"))
    else:
        nodes.append(helper.make_node("LayerNormalization", ["d", "gain"], ["y"], "last", axis=-1))
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", 5, 8]) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(array, name) for name, array in arrays.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


DATA = {"x": np.random.default_rng(4).normal(size=(32, 5, 8)).astype(np.float32)}


def test_scales_by_channel_are_folded(tmp_path: Path) -> None:
    """A linear layer folds the scales of its input into weights that are free."""
    quantized = again(by_channel("MatMul", weights=False), DATA, tmp_path)[1]
    first = next(node for node in quantized.graph.nodes if node.op == "linear")
    expected = np.linspace(0.02, 0.06, 8).astype(np.float32)
    np.testing.assert_array_equal(quantized.graph.tensors[first.output].qtype.scales, expected)


def test_scales_by_channel_with_weights_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(
        UnsupportedError, match=r"weights: the weights are read with activations that have a scale for each channel"
    ):
        again(by_channel("MatMul", weights=True), DATA, tmp_path)


def test_scales_by_channel_of_a_stream(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"dequantize: a scale for each channel of an input of last \(LayerNormalization\)"):
        again(by_channel("LayerNormalization", weights=False), DATA, tmp_path)


@pytest.mark.parametrize("axis", [1, -2])
def test_scales_of_tokens(axis: int, tmp_path: Path) -> None:
    with pytest.raises(
        UnsupportedError, match=r"dequantize: an activation with scales along another axis than that of its channels"
    ):
        again(by_channel("MatMul", weights=False, axis=axis), DATA, tmp_path)


def test_scales_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        again(by_channel("MatMul", weights=False, channels=7), DATA, tmp_path)
