"""Models that are valid and out of the ordinary: unread inputs, symbolic dimensions, external data, branches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from import_check import check
from onnx_graphs import Graph, layer_norm_11, normal

import edgeflow
from edgeflow.hw.errors import CalibrationError
from edgeflow.quant.techniques.sqnr import signal_to_noise
from edgeflow.sw.importer import import_model, run, session, to_proto

CASES = Path(__file__).parents[2] / "cases"


@pytest.mark.parametrize("name", ["passthrough_output", "VALID_constant_if"])
def test_valid_models_compile(name: str, tmp_path: Path) -> None:
    """An input that is an output as well; a branch that is not taken and reads what the other reads."""
    data = {"x": normal((8, 4, 8))}
    check(CASES / f"{name}.onnx", data)
    build = edgeflow.compile(CASES / f"{name}.onnx", calibration=data, output=tmp_path / "build")
    outputs, expected = edgeflow.simulate(build, data), run(session(CASES / f"{name}.onnx"), data)
    assert set(outputs) == set(expected)
    assert all(signal_to_noise(expected[key], outputs[key]) > 30 for key in expected)


def test_inputs_that_nothing_reads() -> None:
    """A learning rate that was left among the inputs is a scalar; it needs no data and may have some."""
    with np.load(CASES / "unused_scalar_input.npz") as archive:
        data = dict(archive)
    path = CASES / "unused_scalar_input.onnx"
    for arrays in (data, {**data, "lr": np.array(0.1, np.float32)}):
        model = import_model(path, shapes={name: array.shape for name, array in arrays.items()})
        assert [value.name for value in model.graph.inputs] == ["x"]
        quantized = edgeflow.quantize(model, arrays)
        assert quantized.graph.inputs == ("x",)
    with pytest.raises(CalibrationError, match="unknown input 'rate'"):
        edgeflow.quantize(model, {**data, "rate": np.array(0.1, np.float32)})
    outputs = run(session(model), data)
    expected = run(session(path), {**data, "lr": np.array(0.1, np.float32)})
    np.testing.assert_allclose(outputs["y"], expected["y"], atol=1e-5)


def test_symbolic_dimensions_are_bound_by_option_or_data(tmp_path: Path) -> None:
    g = Graph(17)
    x = g.input("x", ["n", "tokens", 8])
    g.output(g.node("ReduceMean", g.node("MatMul", x, g.weight(8, 4)), axes=[1], keepdims=0))
    path = g.save(tmp_path)
    for options in ({"dims": {"tokens": 7}}, {"shapes": {"x": (64, 7, 8)}}):
        model, counts = check(path, {"x": normal((3, 7, 8))}, **options)
        assert counts == {"Linear": 1, "MeanPool": 1}
        assert [str(size) for size in model.graph.inputs[0].shape or ()] == ["batch", "7", "8"]


def test_symbolic_batch_with_reshapes_to_one(tmp_path: Path) -> None:
    g = Graph(17)
    y = g.node("Reshape", g.node("MatMul", g.input("x", ["n", 5, 8]), g.weight(8, 4)), g.constant(np.array([1, 20])))
    g.output(g.node("MatMul", y, g.weight(20, 3)))
    path = g.save(tmp_path)
    model, counts = check(path, {"x": normal((1, 5, 8))})
    assert counts == {"Linear": 2, "Reshape": 1}
    three = run(session(model), {"x": normal((3, 5, 8))})
    assert next(iter(three.values())).shape == (3, 3)


def test_external_data_beside_the_model(tmp_path: Path) -> None:
    g = Graph(17)
    g.output(g.node("MatMul", g.input("x", ["n", 8]), g.weight(8, 64)))
    path = tmp_path / "model.onnx"
    onnx.save(g.model(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    check(path, {"x": normal((3, 8))})


def test_constant_branch_is_taken(tmp_path: Path) -> None:
    """An If on a shape, as the script exporter writes squeezes of unknown axes."""
    g = Graph(17)
    x = g.input("x", ["n", 5, 8])
    y = g.node("MatMul", x, g.weight(8, 4))
    length = g.node("Gather", g.node("Shape", y), g.constant(np.array(1)), axis=0)
    condition = g.node("Equal", length, g.constant(np.array(1)))
    then = onnx.helper.make_graph(
        [onnx.helper.make_node("Neg", [y], ["a"], name="neg")], "then", [], [onnx.helper.make_tensor_value_info("a", 1, None)]
    )
    other = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", [y], ["b"], name="relu")], "else", [], [onnx.helper.make_tensor_value_info("b", 1, None)]
    )
    g.output(g.node("If", condition, then_branch=then, else_branch=other))
    _, counts = check(g.save(tmp_path), {"x": normal((3, 5, 8))})
    assert counts == {"Linear": 1, "Relu": 1}


@pytest.mark.parametrize("axes", [[1, 1], [1, -2], [-2, 1, 1]])
def test_an_axis_named_twice_is_reduced_once(tmp_path: Path, axes: list[int]) -> None:
    """As onnxruntime does."""
    for opset in (17, 18):
        g = Graph(opset)
        x = g.node("MatMul", g.input("x", ["n", 5, 8]), g.weight(8, 4))
        if opset < 18:
            g.output(g.node("ReduceMean", x, axes=axes, keepdims=0))
        else:
            g.output(g.node("ReduceMean", x, g.constant(np.array(axes)), keepdims=0))
        _, counts = check(g.save(tmp_path), {"x": normal((3, 5, 8))})
        assert counts == {"Linear": 1, "MeanPool": 1}


def test_the_last_axis_named_twice_in_a_layer_normalization(tmp_path: Path) -> None:
    g = Graph(17)
    x = g.input("x", ["n", 5, 8])
    centred = g.node("Sub", x, g.node("ReduceMean", x, axes=[2, -1]))
    variance = g.node("ReduceMean", g.node("Mul", centred, centred), axes=[-1, -1])
    root = g.node("Sqrt", g.node("Add", variance, g.constant(np.float32(1e-5))))
    g.output(g.node("Div", centred, root))
    _, counts = check(g.save(tmp_path), {"x": normal((3, 5, 8))})
    assert counts == {"LayerNormalization": 1}


def test_canonical_models_are_valid_onnx(tmp_path: Path) -> None:
    g = Graph(11)
    g.output(layer_norm_11(g, g.input("x", ["n", 5, 8]), 8))
    onnx.checker.check_model(to_proto(import_model(g.save(tmp_path))), full_check=True)
