"""Quantization-aware training: what training does, that nothing is lost on the way back, and what is refused."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from canonical_models import linear, model, node, weights

import edgeflow
from edgeflow.hw.errors import CalibrationError, InputError, ModelError, ToolchainError
from edgeflow.quant.canonical.base import operator
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.inputs import decode_outputs, encode_inputs
from edgeflow.quant.canonical.linear import LinearLayer
from edgeflow.quant.canonical.session import FloatSession
from edgeflow.quant.convert.observe import observe
from edgeflow.quant.formats.config import LayerBits, QuantizationConfig
from edgeflow.quant.formats.prequantized import fixed_format
from edgeflow.quant.nodes import origin
from edgeflow.quant.ptq import Quantized, quantize
from edgeflow.quant.techniques.qat.equalize import equalized
from edgeflow.quant.techniques.qat.options import FineTuning
from edgeflow.quant.techniques.qat.tune import Tuned, finetune
from edgeflow.sim.executor import Executor
from edgeflow.sw.cli import main as cli
from edgeflow.sw.files.arrays import write_npz

pytestmark = pytest.mark.skipif(find_spec("brevitas") is None, reason="Brevitas is not installed: pip install 'edgeflow[qat]'")
SAMPLES = 256
Arrays = dict[str, np.ndarray]


def block(rng: np.random.Generator, constants: Arrays, x: str, name: str) -> list[Any]:
    """A transformer block of eight channels and two heads."""
    for norm in ("n", "m"):
        constants[f"{name}.{norm}.s"] = np.exp(rng.normal(size=8)).astype(np.float32)
        constants[f"{name}.{norm}.b"] = rng.normal(size=8).astype(np.float32)
    return [
        node("LayerNormalization", [x, f"{name}.n.s", f"{name}.n.b"], f"{name}.n", axis=-1, epsilon=1e-5),
        *(linear(rng, constants, f"{name}.n", f"{name}.{part}", 8, 8) for part in "qkv"),
        node("Attention", [f"{name}.q", f"{name}.k", f"{name}.v"], f"{name}.p", heads=2, scale=0.5),
        linear(rng, constants, f"{name}.p", f"{name}.o", 8, 8),
        node("Add", [x, f"{name}.o"], f"{name}.r"),
        node("LayerNormalization", [f"{name}.r", f"{name}.m.s", f"{name}.m.b"], f"{name}.m", axis=-1, epsilon=1e-5),
        linear(rng, constants, f"{name}.m", f"{name}.h", 8, 16),
        node("Gelu", [f"{name}.h"], f"{name}.g"),
        linear(rng, constants, f"{name}.g", f"{name}.f", 16, 8),
        node("Add", [f"{name}.r", f"{name}.f"], f"{name}.y"),
    ]


def transformer(seed: int = 0) -> ir.Model:
    """Patches of an image and a class token through one block; three classes."""
    rng = np.random.default_rng(seed)
    constants: Arrays = {
        "e.w": weights(rng, 8, 1, 2, 2) * 2,
        "e.b": rng.normal(size=8).astype(np.float32),
        "cls": rng.normal(size=(1, 1, 8)).astype(np.float32),
        "places": rng.normal(size=(1, 5, 8)).astype(np.float32) * np.float32(0.5),
        "s.s": np.ones(8, np.float32),
        "s.b": np.zeros(8, np.float32),
    }
    nodes = [
        node("PatchEmbed", ["image", "e.w", "e.b"], "e", kernel=[2, 2]),
        node("ConstantTokens", ["e", "cls"], "c"),
        node("Concat", ["c", "e"], "j", axis=1),
        node("Add", ["j", "places"], "x"),
        *block(rng, constants, "x", "b"),
        node("LayerNormalization", ["b.y", "s.s", "s.b"], "s", axis=-1, epsilon=1e-5),
        node("SelectTokens", ["s"], "t", start=0, stop=1, squeeze=1),
        linear(rng, constants, "t", "y", 8, 3),
    ]
    return shaped(model(nodes, {"image": ("float32", (1, 4, 4))}, {"y": (3,)}, constants), images(2))


def rectified(seed: int = 0) -> ir.Model:
    """Three linear layers with ReLU."""
    rng = np.random.default_rng(seed)
    constants: Arrays = {}
    nodes = [
        linear(rng, constants, "x", "a", 6, 12),
        node("Relu", ["a"], "ar"),
        linear(rng, constants, "ar", "b", 12, 12),
        node("Relu", ["b"], "br"),
        linear(rng, constants, "br", "y", 12, 4),
    ]
    return shaped(model(nodes, {"x": ("float32", (6,))}, {"y": (4,)}, constants), {"x": np.ones((2, 6), np.float32)})


def shaped(network: ir.Model, arrays: Arrays) -> ir.Model:
    """A model whose values have shapes, as the importer leaves them."""
    values = [value for place in network.graph for value in place.outputs]
    outputs = FloatSession(network, [str(value.name) for value in values]).run(arrays)
    for value in values:
        value.shape = ir.Shape(["batch", *outputs[str(value.name)].shape[1:]])
        value.dtype = ir.DataType.FLOAT
    return network


def images(count: int = SAMPLES, seed: int = 1) -> Arrays:
    return {"image": np.random.default_rng(seed).random((count, 1, 4, 4)).astype(np.float32)}


def classes(network: ir.Model, arrays: Arrays, output: str = "y") -> np.ndarray:
    """The float model's own classes."""
    labels: np.ndarray = FloatSession(network, [output]).run(arrays)[output].argmax(axis=1)
    return labels


def integer(tuned: Tuned, arrays: Arrays) -> tuple[Quantized, Arrays]:
    """The integer graph of a tuned model, and its outputs."""
    quantized = quantize(tuned.model, arrays)
    graph = quantized.graph
    return quantized, decode_outputs(graph, Executor(graph).run(encode_inputs(graph, arrays)))


NAMES = ("e", "b.q", "b.k", "b.v", "b.o", "b.h", "b.f", "y")
LOW = QuantizationConfig(weight_bits=2, activation_bits=3)
SHORT = FineTuning(epochs=6, batch=32, learning_rate=3e-3)


@pytest.fixture(scope="module")
def tuned() -> Tuned:
    network = transformer()
    return finetune(network, images(), classes(network, images()), LOW, SHORT)


def test_the_loss_falls(tuned: Tuned) -> None:
    first, last = tuned.epochs[0], tuned.epochs[tuned.best]
    assert [epoch.number for epoch in tuned.epochs] == list(range(7))
    assert tuned.best == min(tuned.epochs, key=lambda epoch: (epoch.validation_loss, -epoch.number)).number
    assert last.validation_loss < 0.8 * first.validation_loss
    assert tuned.epochs[-1].loss < tuned.epochs[1].loss
    assert last.top1 is not None
    assert first.top1 is not None
    assert last.top1 >= first.top1


def test_nothing_is_lost_in_translation(tuned: Tuned) -> None:
    from edgeflow.quant.techniques.qat.translate import compare

    held = images(128, seed=5)
    quantized, outputs = integer(tuned, held)
    translation = compare(tuned.network, quantized)
    assert (translation.weights, translation.differ) == (8 * 4 + 4 * 64 + 2 * 128 + 24, 0)
    assert (translation.formats, translation.changed) == (11, ())
    own = tuned.network.outputs(held)["y"]
    assert np.mean(own.argmax(1) == outputs["y"].argmax(1)) > 0.9


def test_a_changed_word_or_format_is_seen(tuned: Tuned) -> None:
    """The comparison can fail."""
    from dataclasses import replace

    from edgeflow.quant.techniques.qat.translate import compare

    quantized, _ = integer(tuned, images(32))
    graph = quantized.graph
    layer = next(n for n in graph.nodes if n.op == "linear" and n.output == "b.q")
    graph.constants[layer.inputs[1]][3, 2] += 1
    attention = next(n for n in graph.nodes if n.op == "attention")
    kind = graph.tensors[attention.inputs[0]]
    scale = tuple(2 * step for step in kind.qtype.scales)
    tensors = {**graph.tensors, attention.inputs[0]: replace(kind, qtype=replace(kind.qtype, scale=scale))}
    translation = compare(tuned.network, replace(quantized, graph=replace(graph, tensors=tensors)))
    assert (translation.differ, translation.changed) == (1, ("b.p input 0",))


def test_bits_are_those_of_the_configuration() -> None:
    network = transformer()
    config = QuantizationConfig(
        weight_bits=4, activation_bits=5, attention_bits=6, layers={"b.f": LayerBits(weight=2, activation=3)}
    )
    result = finetune(network, images(64), None, config, FineTuning(epochs=1))
    graph = FloatGraph(result.model)
    bits = {}
    for place in graph.nodes:
        if isinstance(operator(place), LinearLayer):
            x, weight = fixed_format(place, 0), fixed_format(place, 1)
            assert x is not None
            assert weight is not None
            bits[origin(place)] = (weight.bits, x.bits)
            words = graph.constant(operator(place).input(1))
            assert words is not None
            exact = words.reshape(len(words), -1).T / weight.scales if place.op_type == "PatchEmbed" else words / weight.scales
            assert np.abs(exact - np.round(exact)).max() < 1e-4
        if place.op_type == "Attention":
            assert [q.bits for i in range(3) if (q := fixed_format(place, i)) is not None] == [6, 6, 6]
    usual = dict.fromkeys(("b.q", "b.k", "b.v", "b.o", "b.h"), (4, 5))
    assert bits == {"e": (8, 8), **usual, "b.f": (2, 3), "y": (8, 8)}


def test_token_models_learn_their_own_outputs() -> None:
    """Ids, a key mask and a table, with an output that is no class: the float model is the target."""
    from edgeflow.quant.techniques.qat.translate import compare

    rng = np.random.default_rng(7)
    constants: Arrays = {"table": rng.normal(size=(20, 8)).astype(np.float32)}
    nodes = [node("Embedding", ["ids", "table"], "x"), *block(rng, constants, "x", "b"), node("MeanPool", ["b.y", "mask"], "y")]
    for place in nodes:
        if place.op_type == "Attention":
            place.input.append("mask")
            place.overload = "masked"
    ids = rng.integers(0, 20, (128, 6))
    arrays = {"ids": ids, "mask": (np.arange(6) < rng.integers(2, 7, (128, 1))).astype(np.int64)}
    network = shaped(model(nodes, {"ids": ("int64", (6,)), "mask": ("int64", (6,))}, {"y": (8,)}, constants), arrays)
    result = finetune(network, arrays, None, LOW, FineTuning(epochs=6, batch=16, learning_rate=2e-3))
    assert result.epochs[result.best].validation_loss < 0.9 * result.epochs[0].validation_loss
    assert result.epochs[0].top1 is None
    translation = compare(result.network, integer(result, arrays)[0])
    assert (translation.differ, translation.changed) == (0, ())
    table = result.model.graph.initializers["table"].const_value
    assert table is not None
    assert not np.array_equal(table.numpy(), constants["table"])
    with pytest.raises(CalibrationError, match="input 'ids' holds 20; ids must lie in 0 to 19"):
        finetune(network, {**arrays, "ids": ids + 1}, None, LOW)


def test_relu_networks_come_back_word_by_word() -> None:
    """Brevitas's integers and the executor's, in every tensor that a layer reads."""
    import torch

    from edgeflow.quant.techniques.qat.network import evaluating

    relus, rng = rectified(), np.random.default_rng(3)
    arrays = {"x": rng.standard_normal((512, 6)).astype(np.float32)}
    config = QuantizationConfig(weight_bits=3, activation_bits=4, layers={"y": LayerBits(weight=8, activation=4)})
    result = finetune(relus, arrays, classes(relus, arrays), config, FineTuning(epochs=3, batch=32))
    held = {"x": rng.standard_normal((2000, 6)).astype(np.float32)}
    graph = quantize(result.model, arrays, QuantizationConfig()).graph
    words = Executor(graph).run_all(encode_inputs(graph, held), ["x", "ar", "br"])
    network = result.network
    with evaluating(network):
        real = network({"x": torch.from_numpy(held["x"])}, ["x", "ar", "br"])
        for site, activation, qtype in zip(network.sites, network.activations, network.formats(), strict=True):
            expected = activation(real[site.value]).int().numpy()
            assert graph.tensors[site.value].qtype == qtype
            difference = np.abs(expected - words[site.value])
            assert difference.max() <= 1
            assert np.count_nonzero(difference) == 0


def test_training_starts_from_compensated_weights() -> None:
    """Which are fitted to what they read, and within half a step of the integers that compensated rounding chose."""
    network, start = transformer(), {}
    for rounding in ("nearest", "auto"):
        config = LOW.model_copy(update={"rounding": rounding})
        start[rounding] = finetune(network, images(), classes(network, images()), config, FineTuning(epochs=1, learning_rate=1e-6))
    assert start["auto"].epochs[0].validation_loss < 0.9 * start["nearest"].epochs[0].validation_loss


def test_equalizing_changes_no_float_output() -> None:
    for network, arrays, output in ((transformer(), images(), "y"), (rectified(), {"x": np.ones((4, 6), np.float32)}, "y")):
        graph = FloatGraph(network)
        before = FloatSession(network, [output]).run(arrays)[output]
        changed = equalized(graph, observe(graph, arrays, LOW), LOW)
        originals = {name: array for name in changed if (array := graph.constant(name)) is not None}
        assert originals.keys() == changed.keys()
        assert any(not np.array_equal(array, originals[name]) for name, array in changed.items())
        for name, array in changed.items():
            network.graph.initializers[name].const_value = ir.tensor(array, name=name)
        np.testing.assert_allclose(FloatSession(network, [output]).run(arrays)[output], before, rtol=1e-4, atol=1e-4)


def test_one_seed_one_result() -> None:
    def content(seed: int) -> bytes:
        from edgeflow.sw.importer.canonical_files import model_bytes

        return model_bytes(finetune(transformer(), images(64), None, LOW, FineTuning(epochs=1, seed=seed)).model)

    assert content(3) == content(3)
    assert content(3) != content(4)


def test_layers_are_quantized_in_hawq_order() -> None:
    network = transformer()
    result = finetune(
        network, images(128), classes(network, images(128)), LOW, FineTuning(epochs=4, batch=32, order="hawq", stages=3)
    )
    omegas = [omega for _, omega in result.order]
    assert {name for name, _ in result.order} == set(NAMES)
    assert omegas == sorted(omegas, reverse=True)
    assert result.best > 0
    from edgeflow.quant.techniques.qat.translate import compare

    assert compare(result.network, integer(result, images(32))[0]).differ == 0


def test_stages_end_with_every_layer() -> None:
    from edgeflow.quant.techniques.qat.tune import _stage

    counts = [_stage(step, 40, 4, 10) for step in range(40)]
    assert counts == sorted(counts)
    assert (counts[0], counts[4], counts[5], counts[14], counts[15]) == (3, 3, 5, 8, 10)


def test_switching_a_layer_off_leaves_it_in_floats(tuned: Tuned) -> None:
    from edgeflow.quant.techniques.qat.quantizers import Activation

    network = tuned.network
    before = network.outputs(images(8))["y"]
    network.switch([])
    for activation in network.activations:
        assert isinstance(activation, Activation)
        activation.switch(False)
    assert not np.array_equal(network.outputs(images(8))["y"], before)
    network.switch(NAMES)
    np.testing.assert_array_equal(network.outputs(images(8))["y"], before)


LABELS = np.zeros(64, dtype=np.int64)
REFUSED = {
    "too many labels": (images(64), np.zeros(65, np.int64), CalibrationError, "labels: there are 65 for 64 samples"),
    "no class": (images(64), LABELS + 3, CalibrationError, "labels: 3 is no class of output 'y', which has 3 (0 to 2)"),
    "real labels": (images(64), LABELS + 0.5, CalibrationError, "labels: an array of integers (samples,) is expected"),
    "few samples": (images(7), None, CalibrationError, "training data: fine-tuning needs at least 8 samples, not 7"),
    "no such input": ({"imag": images(8)["image"]}, None, CalibrationError, "training data: unknown input 'imag'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_data_that_do_not_fit_are_refused(case: str) -> None:
    arrays, labels, kind, message = REFUSED[case]
    with pytest.raises(kind) as caught:
        finetune(transformer(), arrays, labels, LOW)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_models_that_cannot_be_tuned_are_refused(tuned: Tuned) -> None:
    with pytest.raises(InputError, match="quantized already: fine-tune the float model"):
        finetune(tuned.model, images(), None, LOW)
    empty = model([node("Relu", ["x"], "y")], {"x": ("float32", (4,))}, {"y": (4,)}, {})
    with pytest.raises(InputError, match="no linear layer: there is nothing to fine-tune"):
        finetune(empty, {"x": np.ones((8, 4), np.float32)}, None, LOW)


def test_a_missing_brevitas_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "brevitas", None)
    with pytest.raises(ToolchainError, match=r"pip install 'edgeflow\[qat\]'"):
        finetune(transformer(), images(), None, LOW)


def test_wrong_options_are_named() -> None:
    with pytest.raises(InputError, match=r"quantization option weight_bits: .*greater than or equal to 2"):
        edgeflow.quantization(weight_bits=1)
    with pytest.raises(InputError, match="fine-tuning option epochs: "):
        edgeflow.fine_tuning(epochs=0)


def test_a_file_keeps_the_formats(tuned: Tuned, tmp_path: Path) -> None:
    file = tmp_path / "tuned.onnx"
    edgeflow.save(tuned.model, file)
    read = edgeflow.load(file)
    for before, after in zip(tuned.model.graph, read.graph, strict=True):
        assert (before.op_type, before.metadata_props) == (after.op_type, after.metadata_props)
    graphs = FloatGraph(tuned.model), FloatGraph(read)
    for name in tuned.model.graph.initializers:
        expected, array = (graph.constant(name) for graph in graphs)
        assert expected is not None
        assert array is not None
        np.testing.assert_array_equal(array, expected)
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_was_changed_is_refused(tuned: Tuned, tmp_path: Path) -> None:
    import onnx

    from edgeflow.sw.importer.canonical_files import model_bytes

    proto = onnx.load_from_string(model_bytes(tuned.model))
    proto.graph.node[-1].op_type = "Strange"
    onnx.save(proto, tmp_path / "changed.onnx")
    with pytest.raises(ModelError, match=r"changed.onnx: .*Strange|changed.onnx: .*unsupported"):
        edgeflow.load(tmp_path / "changed.onnx")


def test_from_the_command_line_to_a_build(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network, arrays = transformer(), images(64)
    edgeflow.save(network, tmp_path / "model.onnx")
    write_npz(tmp_path / "train.npz", arrays | {"label": classes(network, arrays)})
    write_npz(tmp_path / "calibration.npz", arrays)
    where = [str(tmp_path / name) for name in ("model.onnx", "train.npz", "tuned.onnx", "calibration.npz", "build")]
    options = ["--labels", "label", "--weight-bits", "2", "--activation-bits", "4", "--epochs", "2", "--batch", "32"]
    assert cli.main(["--json", "finetune", where[0], "--data", where[1], "-o", where[2], *options]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [epoch["epoch"] for epoch in document["epochs"]] == [0, 1, 2]
    assert document["epochs"][0]["loss"] is None
    assert document["samples"] == 64
    assert cli.main(["--json", "compile", where[2], "--calib", where[3], "-o", where[4]]) == 0
    layers = json.loads(capsys.readouterr().out)["layers"]  # the fifth carries channels out of padded heads
    assert [layer["weight_bits"] for layer in layers if layer["op"] == "linear"] == [8, 2, 2, 2, 8, 2, 2, 2, 8]


def test_the_command_line_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edgeflow.save(transformer(), tmp_path / "model.onnx")
    write_npz(tmp_path / "train.npz", images(64) | {"label": LABELS})
    (tmp_path / "bits.json").write_text("{}")
    call = ["finetune", str(tmp_path / "model.onnx"), "--data", str(tmp_path / "train.npz"), "-o", str(tmp_path / "out.onnx")]
    for extra, message in (
        (["--labels", "labels"], "option --labels names 'labels', but the arrays are image, label"),
        ([], "the model has no input 'label'"),
        (["--labels", "label", "--bits", str(tmp_path / "bits.json")], "bits.json does not hold the bits of layers"),
        (["--labels", "label", "--weight-bits", "9"], "'--weight-bits'"),
        (["--labels", "label", "--lr", "0"], "fine-tuning option learning_rate: "),
    ):
        assert cli.main([*call, *extra]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert message in lines[0]
    assert not (tmp_path / "out.onnx").exists()
