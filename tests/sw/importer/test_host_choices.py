"""ArgMax, ArgMin and TopK at the outputs: the scores are the output, and what the warning says computes the rest exactly."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx_graphs import Graph, normal

import edgeflow
from edgeflow.hw.errors import UnsupportedError
from edgeflow.quant.formats.prequantized import model_warnings
from edgeflow.sw.importer import import_model, run, session

FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "classes": ("ArgMax", {"axis": -1, "keepdims": 0}),
    "axis kept": ("ArgMax", {"axis": 2}),
    "over tokens": ("ArgMax", {"axis": 1, "keepdims": 0}),
    "last of equals": ("ArgMax", {"axis": -1, "keepdims": 0, "select_last_index": 1}),
    "smallest": ("ArgMin", {"axis": -1, "keepdims": 1}),
    "last of the smallest": ("ArgMin", {"axis": 1, "select_last_index": 1}),
    "top 3": ("TopK", {"axis": -1}),
    "lowest 2 over tokens": ("TopK", {"axis": 1, "largest": 0}),
}


def chosen(form: str, folder: Path, scores_too: bool) -> Path:
    """Scores of small integers, many of them equal, and a choice among them."""
    op_type, attributes = FORMS[form]
    g = Graph(17)
    weight = g.constant(np.random.default_rng(3).integers(-1, 2, (4, 6)).astype(np.float32))
    scores = g.node("MatMul", g.input("x", ["n", 5, 4]), weight)
    if scores_too:
        g.output(scores)
    if op_type == "TopK":
        best, places = g.node("TopK", scores, g.constant(np.array([3 if "3" in form else 2])), outputs=2, **attributes)
        g.output(best)
    else:
        places = g.node(op_type, scores, **attributes)
    g.output(g.node("Cast", g.node("Unsqueeze", places, g.constant(np.array([1]))), to=TensorProto.FLOAT))
    return g.save(folder)


def left_to_the_host(warnings: tuple[str, ...]) -> dict[str, str]:
    """The expression by the name of the output that it computes."""
    matches = [
        re.fullmatch(r"output '(\S+)' \(.*\) is left to the host, which computes it from .*?: (.*)", line) for line in warnings
    ]
    return {match[1]: match[2] for match in matches if match is not None}


@pytest.mark.parametrize("scores_too", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_the_warning_computes_what_is_left_out(form: str, scores_too: bool, tmp_path: Path) -> None:
    path = chosen(form, tmp_path, scores_too)
    model = import_model(path)
    assert [node.op_type for node in model.graph] == ["Linear"]
    assert [value.name for value in model.graph.outputs] == ["matmul0_0"]
    x = np.random.default_rng(4).integers(-2, 3, (16, 5, 4)).astype(np.float32)
    outputs, expected = run(session(model), {"x": x}), run(session(path), {"x": x})
    expressions = left_to_the_host(model_warnings(model))
    assert set(expressions) == set(expected) - set(outputs)
    for name, expression in expressions.items():
        actual = eval(expression, {"numpy": np, "outputs": outputs})
        assert actual.dtype == expected[name].dtype
        np.testing.assert_array_equal(actual, expected[name])


def test_a_classifier_that_returns_its_label(tmp_path: Path) -> None:
    """The report and the original model, which is still the reference, are of the scores."""
    g = Graph(17)
    hidden = g.node("Relu", g.node("MatMul", g.input("x", ["n", 16]), g.weight(16, 24)))
    scores = g.node("Add", g.node("MatMul", hidden, g.weight(24, 5)), g.weight(5))
    g.output(g.node("ArgMax", scores, axis=-1, keepdims=0))
    proto = g.model()
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    data = {"x": normal((96, 16))}
    build = edgeflow.compile(path, calibration=data, output=tmp_path / "build")
    report = build.report
    (line,) = report["warnings"]
    assert line == (
        f"output {proto.graph.output[0].name!r} (ArgMax at ArgMax_4) is left to the host, which computes it from {scores!r},"
        f" which is an output instead: outputs[{scores!r}].argmax(axis=-1)"
    )
    assert report["accuracy"]["top1_agreement"] > 0.9
    verification = edgeflow.verify(build, data, samples=4)
    assert verification.passed
    assert verification.reference == "original"
    labels = eval(left_to_the_host((line,))[proto.graph.output[0].name], {"outputs": edgeflow.simulate(build, data)})
    assert np.mean(labels == next(iter(run(session(path), data).values()))) > 0.9


def test_a_choice_that_the_network_goes_on_with_is_refused(tmp_path: Path) -> None:
    g = Graph(17)
    scores = g.node("MatMul", g.input("x", ["n", 8]), g.weight(8, 5))
    place = g.node("ArgMax", scores, axis=-1, keepdims=0)
    g.output(place)
    g.output(g.node("Gather", g.weight(5, 3), place))
    with pytest.raises(UnsupportedError, match="ArgMax"):
        import_model(g.save(tmp_path))
