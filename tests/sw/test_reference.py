"""The original model is the reference: what it is for every kind of file, and what differs from it is refused by name."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from command_line import Terminal
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from onnx_graphs import Graph, normal
from operator_harness import ARCHITECTURES
from tiny_transformer import Tiny

import edgeflow
from edgeflow.hw.errors import InputError, ModelError
from edgeflow.quant.canonical.inputs import check_inputs, model_inputs
from edgeflow.sw.files.arrays import write_npz
from edgeflow.sw.importer import import_model, masks
from edgeflow.sw.importer.original import files_of
from edgeflow.sw.measure import reference
from edgeflow.sw.measure.reference import Reference, hold_to_original, keep_original, reference_of
from edgeflow.sw.measure.samples import UserData, choose_samples
from edgeflow.sw.rewrite.activations import GeluErf
from edgeflow.sw.rewrite.linear import FoldIntoLinear, MatMulToLinear

CASES = Path(__file__).parents[1] / "cases"
OVERLAY = ARCHITECTURES["16x16 axi128"]
TOKENS, WIDTH = 5, 8

Arrays = dict[str, NDArray[Any]]


def by_onnxruntime(model: Path | onnx.ModelProto, inputs: Arrays, *, one_by_one: bool = False, optimize: bool = True) -> Arrays:
    """What onnxruntime computes of a file, apart from EdgeFlow's own code."""
    options = onnxruntime.SessionOptions()
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    count = len(next(iter(inputs.values())))
    groups = [slice(i, i + 1) for i in range(count)] if one_by_one else [slice(0, count)]
    rows = [session.run(names, {name: array[group] for name, array in inputs.items()}) for group in groups]
    return {name: np.concatenate([row[i] for row in rows]) for i, name in enumerate(names)}


def check(path: Path, inputs: Arrays) -> Reference:
    model = import_model(path, shapes={name: array.shape for name, array in inputs.items()})
    return hold_to_original(path, model, check_inputs(model_inputs(model), inputs))


def tokens(tiny: Tiny, samples: int) -> NDArray[np.float32]:
    """Inputs of the tiny transformer."""
    with np.load(tiny.calibration) as archive:
        return np.asarray(archive["tokens"][:samples], np.float32)


# What the reference is


def test_a_build_holds_the_original_and_measures_against_it(tiny: Tiny, tiny_build: Path) -> None:
    build = edgeflow.open_build(tiny_build)
    assert (tiny_build / reference.MODEL).read_bytes() == tiny.model.read_bytes()
    assert build.report["reference"] == {"kind": "original", "note": None}
    inputs = {"tokens": tokens(tiny, 5)}
    outputs = edgeflow.simulate(build, inputs, engine="float")
    np.testing.assert_array_equal(outputs["logits"], by_onnxruntime(tiny.model, inputs)["logits"])
    assert edgeflow.verify(build, samples=2).reference == "original"


def test_the_terminal_and_the_page_say_what_the_reference_is(tiny_build: Path, terminal: Terminal) -> None:
    assert "reference" in terminal.run("report", tiny_build).out
    assert "(reference: original)" in (tiny_build / "report.html").read_text()


def changed(model: onnx.ModelProto, kind: int) -> onnx.ModelProto:
    """The model with weights, inputs and outputs in another floating-point type."""
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(dtype), tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = kind
    return model


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE], ids=["half", "double"])
def test_other_precisions_run_in_float32(kind: int, tiny: Tiny, tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    onnx.save(changed(onnx.load(tiny.model), kind), path)
    inputs = {"tokens": tokens(tiny, 6)}
    held = check(path, inputs)
    assert str(held) == "original (in float32)"
    rounded = onnx.load(path)
    for tensor in rounded.graph.initializer:
        if tensor.data_type == kind:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    for value in (*rounded.graph.input, *rounded.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT
    np.testing.assert_array_equal(held.outputs(inputs)["logits"], by_onnxruntime(rounded, inputs)["logits"])


def quantized_by_hand(folder: Path, form: str) -> Path:
    """``relu(q(x) w) w2`` with 8-bit activations and weights, in QDQ or QONNX."""
    g = Graph(17)
    x = g.input("x", ("batch", TOKENS, WIDTH))
    random = np.random.default_rng(2)

    def activation(value: str, scale: float) -> str:
        step = g.constant(np.float32(scale))
        if form == "qdq":
            zero = g.constant(np.int8(0))
            return str(g.node("DequantizeLinear", g.node("QuantizeLinear", value, step, zero), step, zero))
        options = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
        return quant(value, step, options)

    def quant(value: str, step: str, options: dict[str, Any]) -> str:
        zero, bits = g.constant(np.float32(0)), g.constant(np.float32(8))
        return str(g.node("Quant", value, step, zero, bits, domain="qonnx.custom_op.general", **options))

    def weight(rows: int, columns: int) -> str:
        words, step = random.integers(-127, 128, (rows, columns)), g.constant(np.float32(0.004))
        if form == "qdq":
            return str(g.node("DequantizeLinear", g.constant(words.astype(np.int8)), step, g.constant(np.int8(0))))
        real = g.constant((words * 0.004 + random.uniform(-0.001, 0.001, words.shape)).astype(np.float32))
        return quant(real, step, {"signed": 1, "narrow": 1, "rounding_mode": "ROUND"})

    first = g.node("Add", g.node("MatMul", activation(x, 0.03), weight(WIDTH, 12)), g.weight(12))
    second = activation(g.node("Relu", first), 0.02)
    g.output(g.node("Add", g.node("MatMul", second, weight(12, 3)), g.weight(3)))
    return g.save(folder, f"{form}.onnx")


def by_hand(path: Path, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the QONNX file computes, node by node in NumPy."""
    functions: dict[str, Callable[..., NDArray[Any]]] = {"MatMul": np.matmul, "Add": np.add, "Relu": lambda v: np.maximum(v, 0)}
    graph = onnx.load(path).graph
    values: dict[str, Any] = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer} | {"x": x}
    for node in graph.node:
        a = [values[name] for name in node.input]
        if node.op_type == "Quant":
            narrow = next(attribute.i for attribute in node.attribute if attribute.name == "narrow")
            result = np.clip(np.rint(a[0] / a[1]), -128 + narrow, 127) * a[1]
        else:
            result = functions[node.op_type](*a)
        values[node.output[0]] = result.astype(np.float32)
    return np.asarray(values[graph.output[0].name])


def test_a_quantized_file_is_its_own_reference(tmp_path: Path) -> None:
    path, inputs = quantized_by_hand(tmp_path, "qdq"), {"x": normal((10, TOKENS, WIDTH))}
    held = check(path, inputs)
    assert str(held) == "original (with its quantizers)"
    (expected,), (own,) = by_onnxruntime(path, inputs, optimize=False).values(), held.outputs(inputs).values()
    np.testing.assert_array_equal(own, expected)
    (canonical,) = dataclasses.replace(held, original=None).outputs(inputs).values()
    assert np.abs(own - canonical).max() > 1e-3  # it has no quantizers


def test_qonnx_runs_in_standard_operators(tmp_path: Path) -> None:
    path, inputs = quantized_by_hand(tmp_path, "qonnx"), {"x": normal((10, TOKENS, WIDTH))}
    held = check(path, inputs)
    assert str(held) == "original (with its quantizers)"
    (own,) = held.outputs(inputs).values()
    np.testing.assert_allclose(own, by_hand(path, inputs["x"]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", ["ROUND", "HALF_EVEN", "HALF_UP", "HALF_DOWN", "UP", "DOWN", "FLOOR", "CEIL", "ROUND_TO_ZERO"])
def test_every_rounding_of_qonnx(mode: str, tmp_path: Path) -> None:
    from edgeflow.sw.importer.original import read_original

    g = Graph(17)
    x = g.input("x", ("batch", 9))
    operands = [g.constant(np.float32(number)) for number in (0.5, 0, 4)]
    g.output(g.node("Quant", x, *operands, domain="qonnx.custom_op.general", signed=1, narrow=0, rounding_mode=mode))
    values = np.array([[-1.3, -1.25, -0.75, -0.2, 0.0, 0.25, 0.75, 1.1, 9.0]], np.float32)
    (actual,) = by_onnxruntime(read_original(g.save(tmp_path)).as_written(), {"x": values}).values()
    rounded = {
        "ROUND": [-3, -2, -2, 0, 0, 0, 2, 2, 7],
        "HALF_EVEN": [-3, -2, -2, 0, 0, 0, 2, 2, 7],
        "HALF_UP": [-3, -3, -2, 0, 0, 1, 2, 2, 7],
        "HALF_DOWN": [-3, -2, -1, 0, 0, 0, 1, 2, 7],
        "UP": [-3, -3, -2, -1, 0, 1, 2, 3, 7],
        "DOWN": [-2, -2, -1, 0, 0, 0, 1, 2, 7],
        "FLOOR": [-3, -3, -2, -1, 0, 0, 1, 2, 7],
        "CEIL": [-2, -2, -1, 0, 0, 1, 2, 3, 7],
        "ROUND_TO_ZERO": [-2, -2, -1, 0, 0, 0, 1, 2, 7],
    }[mode]
    np.testing.assert_array_equal(actual, np.array([rounded]) * 0.5)


def test_signs_of_qonnx(tmp_path: Path) -> None:
    g = Graph(17)
    x = g.input("x", ("batch", TOKENS, WIDTH))
    signs = g.node("BipolarQuant", g.weight(WIDTH, 3), g.constant(np.float32(0.25)), domain="qonnx.custom_op.general")
    g.output(g.node("MatMul", x, signs))
    path, inputs = g.save(tmp_path), {"x": normal((4, TOKENS, WIDTH))}
    weight = numpy_helper.to_array(onnx.load(path).graph.initializer[0])
    (own,) = check(path, inputs).outputs(inputs).values()
    np.testing.assert_allclose(own, inputs["x"] @ np.where(weight >= 0, 0.25, -0.25), rtol=0, atol=1e-5)


@pytest.mark.parametrize("declared", [1, 3, "batch"], ids=["one", "three", "any"])
def test_batches_that_the_file_fixes(declared: int | str, tmp_path: Path) -> None:
    g = Graph(17)
    x = g.input("x", (declared, TOKENS, WIDTH))
    size = declared if isinstance(declared, int) else 1  # a symbolic batch, and a reshape to a batch of one
    flat = g.node("Reshape", g.node("MatMul", x, g.weight(WIDTH, 6)), g.constant(np.array([size, TOKENS * 6])))
    g.output(g.node("MatMul", flat, g.weight(TOKENS * 6, 3)))
    path, inputs = g.save(tmp_path), {"x": normal((7, TOKENS, WIDTH))}
    held = check(path, inputs)
    assert held.kind == "original"
    padded = {"x": np.concatenate([inputs["x"], inputs["x"][-1:], inputs["x"][-1:]])}
    groups = [{"x": padded["x"][i : i + size]} for i in range(0, 9, size)]
    expected = np.concatenate([next(iter(by_onnxruntime(path, group).values())) for group in groups])[:7]
    (own,) = held.outputs(inputs).values()
    np.testing.assert_array_equal(own, expected)


def test_external_data_goes_into_the_build(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "build").mkdir()
    path = tmp_path / "model" / "tiny.onnx"
    onnx.save(onnx.load(tiny.model), path, save_as_external_data=True, location="tiny.bin", size_threshold=200)
    inputs = {"tokens": tokens(tiny, 4)}
    expected = by_onnxruntime(path, inputs)
    assert check(path, inputs).kind == "original"
    assert keep_original(tmp_path / "build", files_of(path)) == {"file": reference.MODEL, "files": []}
    shutil.rmtree(tmp_path / "model")
    np.testing.assert_array_equal(by_onnxruntime(tmp_path / "build" / reference.MODEL, inputs)["logits"], expected["logits"])


def test_a_model_too_large_to_copy(tiny: Tiny, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "LARGEST", 100)
    other, build = workplace / "other", workplace / "other" / "build"
    shutil.copytree(workplace / "build", build)
    (build / reference.MODEL).unlink()
    model = other / "large.onnx"
    shutil.copy(tiny.model, model)
    facts = keep_original(build, [model])
    assert not (build / reference.MODEL).exists()
    manifest = json.loads((build / "manifest.json").read_text())
    del manifest["files"][reference.MODEL]
    manifest["reference"] |= facts
    (build / "manifest.json").write_text(json.dumps(manifest))
    inputs = {"tokens": tokens(tiny, 2)}
    outputs = edgeflow.simulate(build, inputs, engine="float")
    np.testing.assert_array_equal(outputs["logits"], by_onnxruntime(tiny.model, inputs)["logits"])
    for change, message in ((lambda: model.write_bytes(b"x"), "was changed"), (model.unlink, "is gone")):
        change()
        with pytest.raises(InputError, match=f"large.onnx.*{message}: put it back, or compile again"):
            reference_of(edgeflow.open_build(build))
    assert edgeflow.verify(build, samples=1).reference.startswith("canonical (")  # words are hold_to_original all the same


def test_a_file_that_onnxruntime_does_not_run_is_never_called_the_original(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ModelError("onnxruntime cannot load the model: no kernel for this")

    monkeypatch.setattr(reference, "OriginalSession", refuse)
    held = check(tiny.model, {"tokens": tokens(tiny, 4)})
    assert str(held) == "canonical (onnxruntime does not run the original model: no kernel for this)"
    assert held.outputs({"tokens": tokens(tiny, 4)})["logits"].shape == (4, 4)


# What differs


def _approximate(rewrite: Callable[..., Any]) -> Callable[..., Any]:
    """The other GELU: it differs by less than a thousandth."""
    return lambda self, op, match: rewrite(self, op, dataclasses.replace(match, attributes={"approximate": "tanh"}))


def _spoilt(rewrite: Callable[..., Any]) -> Callable[..., Any]:
    """A rewrite whose result is a little too large."""

    def wrong(self: Any, op: Any, **values: Any) -> Any:
        value = rewrite(self, op, **values)
        weight = value.producer().inputs[1]
        weight.const_value = ir.tensor(weight.const_value.numpy() * np.float32(1.001), name=weight.name)
        return value

    return wrong


def test_a_wrong_rule_is_refused_by_name(tiny: Tiny, tmp_path: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GeluErf, "rewrite", _approximate(GeluErf.rewrite))
    message = terminal.refused("compile", tiny.model, "--calib", tiny.calibration, "-o", tmp_path / "build")
    assert "another function than the model's" in message
    assert "'gelu'" in message
    assert "GeluErf" in message
    assert not (tmp_path / "build").exists()


def test_an_early_wrong_rule_is_named_behind_later_ones(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MatMulToLinear, "rewrite", _spoilt(MatMulToLinear.rewrite))
    with pytest.raises(ModelError, match=r"sample \d+, tensor '\w+' of node .*MatMulToLinear") as caught:
        check(tiny.model, {"tokens": tokens(tiny, 8)})
    assert FoldIntoLinear.__name__ in str(caught.value)


def test_a_wrong_constant_in_a_quantized_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MatMulToLinear, "rewrite", _spoilt(MatMulToLinear.rewrite))
    inputs = {"x": normal((10, TOKENS, WIDTH))}
    with pytest.raises(ModelError, match=r"MatMulToLinear|cannot be followed|not on"):
        check(quantized_by_hand(tmp_path, "qdq"), inputs)


def test_a_difference_on_drawn_masks_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data has ones only; a mask that is taken for "anything but 0 takes part" is told by the values drawn beside it."""
    g = Graph(17)
    x, m = g.input("x", ("batch", TOKENS, WIDTH)), g.input("m", ("batch", TOKENS))
    column = g.node("Unsqueeze", m, g.constant(np.array([2])))
    total = g.node("ReduceSum", g.node("Mul", x, column), g.constant(np.array([1])), keepdims=0)
    g.output(g.node("Div", total, g.node("ReduceSum", column, g.constant(np.array([1])), keepdims=0)))
    path, inputs = g.save(tmp_path), {"x": normal((8, TOKENS, WIDTH)), "m": np.ones((8, TOKENS), np.float32)}
    assert check(path, inputs).kind == "original"
    monkeypatch.setattr(masks, "_mask", lambda _, entry, *__: entry)
    with pytest.raises(ModelError, match=r"on drawn masks and ids.*MaskedMean"):
        check(path, inputs)


# Masks, end to end


def test_values_other_than_one_are_padding(tmp_path: Path) -> None:
    data = dict(np.load(CASES / "mask_eq1_values_0_1_2.npz"))
    assert set(np.unique(data["m"])) == {0, 1, 2}
    path = CASES / "mask_eq1_values_0_1_2.onnx"
    build = edgeflow.compile(path, calibration=data, output=tmp_path / "b", overlay=OVERLAY)
    expected, actual = by_onnxruntime(path, data)["y"], edgeflow.simulate(build, data)["y"]
    assert 10 * np.log10(np.sum(expected**2) / np.sum((expected - actual) ** 2)) > 30
    assert edgeflow.verify(build, samples=2).passed
    exported = edgeflow.export(build, tmp_path / "out.onnx")
    there = by_onnxruntime(exported, data, optimize=False)["y"]
    assert 10 * np.log10(np.sum(expected**2) / np.sum((expected - there) ** 2)) > 30


@pytest.mark.parametrize("name", ["weighted_mean_int_counts", "weighted_mean_pool_float"])
def test_weights_are_refused_by_sample_and_value(name: str, tmp_path: Path, terminal: Terminal) -> None:
    message = terminal.refused("compile", CASES / f"{name}.onnx", "--calib", CASES / f"{name}.npz", "-o", tmp_path / "b")
    assert f"input '{'w' if 'float' in name else 'm'}', sample 0, holds" in message


def test_zeros_and_ones_compile_and_other_weights_are_refused_afterwards(tmp_path: Path, terminal: Terminal) -> None:
    path = CASES / "weighted_mean_pool_float.onnx"
    data = dict(np.load(CASES / "weighted_mean_pool_float.npz"))
    soft = {"x": data["x"], "w": data["w"]}
    hard = {"x": data["x"], "w": (data["w"] >= np.median(data["w"], axis=1, keepdims=True)).astype(np.float32)}
    build = edgeflow.compile(path, calibration=hard, output=tmp_path / "b", overlay=OVERLAY)
    expected, actual = by_onnxruntime(path, hard)["y"], edgeflow.simulate(build, hard)["y"]
    assert 10 * np.log10(np.sum(expected**2) / np.sum((expected - actual) ** 2)) > 25
    np.savez(tmp_path / "soft.npz", **soft)
    simulate = ("simulate", "--outputs", tmp_path / "o.npz")
    for command, *options in (simulate, (*simulate, "--engine", "float"), ("verify",)):
        message = terminal.refused(command, build.folder, "--inputs", tmp_path / "soft.npz", *options)
        assert "input 'w', sample 0, holds" in message


def test_random_data_draws_masks_that_the_model_has() -> None:
    from edgeflow.sw.measure.random_data import random_inputs

    drawn = random_inputs(import_model(CASES / "weighted_mean_pool_float.onnx"), 16, 0)
    assert set(np.unique(drawn["w"])) == {0.0, 1.0}


# Samples of which no key takes part


@pytest.fixture
def equal_to_one() -> tuple[Path, Arrays]:
    """A model whose keys take part where the mask is 1, with data of 96 samples."""
    data = dict(np.load(CASES / "mask_eq1_values_0_1_2.npz"))
    numbers = np.arange(96) % len(data["m"])
    rng = np.random.default_rng(5)
    x = data["x"][numbers]
    return CASES / "mask_eq1_values_0_1_2.onnx", {
        "x": (x + 0.1 * rng.standard_normal(x.shape)).astype(x.dtype),
        "m": data["m"][numbers],
    }


def test_samples_without_keys_measure_nothing(equal_to_one: tuple[Path, Arrays]) -> None:
    path, data = equal_to_one
    data["m"][::3] = 2
    samples = choose_samples(import_model(path), UserData(data), None, 0)
    assert samples.unseen is not None
    assert 0 < len(samples.unseen) < 24
    assert (samples.unseen.arrays["m"] == 1).any(axis=1).all()
    count = 24 - len(samples.unseen)
    assert any(line.startswith(f"{count} of the 24 samples that measure accuracy leave no key") for line in samples.warnings)


def test_where_no_sample_has_a_key_nothing_is_measured(equal_to_one: tuple[Path, Arrays]) -> None:
    path, data = equal_to_one
    data["m"][:] = 2
    samples = choose_samples(import_model(path), UserData(data), None, 0)
    assert samples.unseen is None
    assert samples.reason.startswith("all samples that would measure accuracy leave no key")
    assert hold_to_original(path, import_model(path), samples.calibration).kind == "original"  # on drawn masks, which have keys


def test_a_model_that_was_compared_on_nothing_is_not_called_proven(
    equal_to_one: tuple[Path, Arrays], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, data = equal_to_one
    data["m"][:] = 2
    monkeypatch.setattr(reference, "corner_values", lambda *_: None)
    held = hold_to_original(path, import_model(path), data)
    assert held.kind == "canonical"
    assert held.note == "on no sample are the original model's outputs finite and leaves every mask a key"


def test_simulate_and_verify_say_where_no_key_takes_part(
    equal_to_one: tuple[Path, Arrays], tmp_path: Path, terminal: Terminal
) -> None:
    path, data = equal_to_one
    build = edgeflow.compile(path, calibration=data, output=tmp_path / "b", overlay=OVERLAY)
    few = {name: array[:6].copy() for name, array in data.items()}
    whole = edgeflow.verify(build, few)
    few["m"][[1, 4]] = 2
    with pytest.warns(UserWarning, match=r"2 of 6 samples leave no key that takes part \(first sample 1, counted from 0\)"):
        edgeflow.simulate(build, few)
    verification = edgeflow.verify(build, few)
    assert verification.passed
    assert whole.warnings == ()
    assert "2 of 6 samples leave no key" in verification.warnings[0]
    assert verification.sqnr_db["y"] > 30
    few["m"][:] = 2
    assert edgeflow.verify(build, few).sqnr_db == {}
    write_npz(tmp_path / "few.npz", few)
    for command, *options in (("verify",), ("simulate", "--outputs", tmp_path / "o.npz")):
        result = json.loads(terminal.run("--json", command, build.folder, "--inputs", tmp_path / "few.npz", *options).out)
        assert "6 of 6 samples leave no key" in result["warnings"][0]
        assert str(tmp_path / "few.npz") in result["warnings"][0]
