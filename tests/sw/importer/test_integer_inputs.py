"""Inputs of 8-bit integers that a model casts to float32: the network reads the integers themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto
from onnx_graphs import Graph

import edgeflow
from edgeflow.hw.errors import CalibrationError
from edgeflow.hw.graph import QType
from edgeflow.quant.canonical.inputs import model_inputs
from edgeflow.quant.techniques.sqnr import signal_to_noise
from edgeflow.sw.importer import import_model, run, session
from edgeflow.sw.measure.random_data import random_inputs

MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(3, 1, 1)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32).reshape(3, 1, 1)
KINDS = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8}


def pixels(dtype: str, samples: int = 96) -> Any:
    info = np.iinfo(dtype)
    return np.random.default_rng(2).integers(info.min, info.max + 1, (samples, 3, 8, 8)).astype(dtype)


def classifier(folder: Path, dtype: str, scaling: str) -> Path:
    """Patches of an image of bytes, and a small network behind them."""
    g = Graph(17)
    x = g.input("x", ["n", *((8, 8, 3) if scaling == "channels last" else (3, 8, 8))], KINDS[dtype])
    if scaling == "channels last":
        x = g.node("Transpose", x, perm=[0, 3, 1, 2])
    y = g.node("Cast", x, to=TensorProto.FLOAT)
    if scaling == "multiplied":
        y = g.node("Mul", y, g.constant(np.float32(1 / 255)))
    elif scaling != "none":
        y = g.node("Div", y, g.constant(np.float32(255)))
    if scaling == "normalized":
        y = g.node("Div", g.node("Sub", y, g.constant(MEAN)), g.constant(DEVIATION))
    patches = g.node("Conv", y, g.weight(16, 3, 4, 4), g.weight(16), strides=[4, 4])
    tokens = g.node("Transpose", g.node("Reshape", patches, g.constant(np.array([0, 16, 4]))), perm=[0, 2, 1])
    hidden = g.node("Relu", g.node("MatMul", tokens, g.weight(16, 24)))
    g.output(g.node("MatMul", g.node("ReduceMean", hidden, axes=[1], keepdims=0), g.weight(24, 5)))
    return g.save(folder)


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("scaling", ["divided", "multiplied", "normalized", "none", "channels last"])
def test_the_scaling_goes_into_the_patches(dtype: str, scaling: str, tmp_path: Path) -> None:
    path, x = classifier(tmp_path, dtype, scaling), pixels(dtype, 4)
    data = {"x": x.transpose(0, 2, 3, 1) if scaling == "channels last" else x}
    model = import_model(path)
    assert not {"Cast", "Mul", "Add"} & {node.op_type for node in model.graph}
    (spec,) = model_inputs(model)
    assert (spec.dtype, spec.real) == (dtype, True)
    expected, actual = run(session(path), data), run(session(model), {"x": data["x"].astype(np.float32)})
    for name, array in expected.items():
        np.testing.assert_allclose(actual[name], array, atol=1e-5 * np.abs(array).max())


@pytest.mark.parametrize("dtype", KINDS)
def test_bytes_are_words_of_the_network(dtype: str, tmp_path: Path) -> None:
    path, data = classifier(tmp_path, dtype, "normalized"), {"x": pixels(dtype)}
    build = edgeflow.compile(path, calibration=data, output=tmp_path / "build")
    assert build.graph.tensors["x"].qtype == QType(8, dtype == "int8", 1.0)
    assert [node.inputs[0] for node in build.graph.nodes if node.op == "patches"] == ["x"]
    verification = edgeflow.verify(build, data, samples=4)
    assert verification.passed
    assert verification.reference == "original"
    outputs, expected = edgeflow.simulate(build, data), run(session(path), data)
    for name, array in expected.items():
        assert signal_to_noise(array, outputs[name]) > 30
    for name, array in edgeflow.simulate(build, {"x": data["x"].astype(np.float64)}).items():
        np.testing.assert_array_equal(array, outputs[name])


def test_data_that_are_no_bytes(tmp_path: Path) -> None:
    model, x = import_model(classifier(tmp_path, "uint8", "divided")), pixels("uint8", 4)
    with pytest.raises(
        CalibrationError, match=r"input 'x' holds values that are no integers; the model expects x: uint8 \(samples, 3"
    ):
        edgeflow.quantize(model, {"x": x / np.float32(255)})
    with pytest.raises(CalibrationError, match="input 'x' holds values outside uint8"):
        edgeflow.quantize(model, {"x": x.astype(np.int64) - 1 - x.min()})
    drawn = random_inputs(model, 4, 0)["x"]
    assert drawn.dtype == np.float32
    assert (drawn.min(), drawn.max()) == (0, 255)


def test_bytes_in_front_of_other_layers(tmp_path: Path) -> None:
    """A scaling that no patches follow stays an operator of its own, and what stands for it is right."""
    g = Graph(17)
    y = g.node(
        "Div", g.node("Cast", g.input("x", ["n", 6, 16], TensorProto.UINT8), to=TensorProto.FLOAT), g.constant(np.float32(255))
    )
    g.output(g.node("MatMul", g.node("Relu", g.node("MatMul", y, g.weight(16, 24))), g.weight(24, 5)))
    path = g.save(tmp_path)
    data = {"x": np.random.default_rng(2).integers(0, 256, (96, 6, 16)).astype(np.uint8)}
    build = edgeflow.compile(path, calibration=data, output=tmp_path / "build")
    outputs, expected = edgeflow.simulate(build, data), run(session(path), data)
    for name, array in expected.items():
        assert signal_to_noise(array, outputs[name]) > 30
