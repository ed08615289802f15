"""Attention whose queries are constant: pooling by learned queries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_graphs import Graph, normal

import edgeflow
from edgeflow.hw.errors import UnsupportedError
from edgeflow.quant.techniques.sqnr import signal_to_noise
from edgeflow.sw.importer import agreement, import_model, run, session

TOKENS, WIDTH, HEADS = 9, 16, 2


def pooled(folder: Path, queries: int, scale: float = 0.4, masked: bool = False) -> Path:
    """Tokens, of which ``queries`` learned queries of two heads make as many vectors; then a layer."""
    g = Graph(17)
    x = g.node("Add", g.node("MatMul", g.input("x", ["n", TOKENS, 12]), g.weight(12, WIDTH)), g.weight(WIDTH))
    split = g.constant(np.array([0, TOKENS, HEADS, WIDTH // HEADS]))
    k, v = (g.node("Reshape", g.node("MatMul", x, g.weight(WIDTH, WIDTH)), split) for _ in range(2))
    q = g.constant(normal((1, HEADS, queries, WIDTH // HEADS), 8))
    scores = g.node("MatMul", q, g.node("Transpose", k, perm=[0, 2, 3, 1]))
    scores = g.node("Mul", scores, g.constant(np.float32(scale)))
    if masked:
        mask = g.node("Unsqueeze", g.input("mask", ["n", TOKENS], onnx.TensorProto.BOOL), g.constant(np.array([1, 2])))
        scores = g.node("Where", mask, scores, g.constant(np.float32(-1e9)))
    context = g.node("MatMul", g.node("Softmax", scores, axis=-1), g.node("Transpose", v, perm=[0, 2, 1, 3]))
    merged = g.node("Reshape", g.node("Transpose", context, perm=[0, 2, 1, 3]), g.constant(np.array([0, 0, WIDTH])))
    g.output(g.node("MatMul", merged, g.weight(WIDTH, 5)))
    return g.save(folder)


@pytest.mark.parametrize("queries", [1, 3, TOKENS])
@pytest.mark.parametrize("scale", [0.4, -0.4])
@pytest.mark.parametrize("masked", [False, True])
def test_constant_queries_are_imported(queries: int, scale: float, masked: bool, tmp_path: Path) -> None:
    path = pooled(tmp_path, queries, scale, masked)
    data = {"x": normal((3, TOKENS, 12))}
    if masked:
        data["mask"] = np.arange(TOKENS) < np.array([[1], [5], [TOKENS]])
    model = import_model(path)
    worst = agreement(path, model, data)
    assert max(worst.values()) < 1e-5, worst
    assert [node.op_type for node in model.graph].count("Attention") == 1


@pytest.mark.parametrize("queries", [1, 3])
def test_constant_queries_to_the_last_word(queries: int, tmp_path: Path) -> None:
    path, data = pooled(tmp_path, queries), {"x": normal((96, TOKENS, 12))}
    build = edgeflow.compile(path, calibration=data, output=tmp_path / "build")
    verification = edgeflow.verify(build, data, samples=4)
    assert verification.passed
    assert verification.reference == "original"
    outputs, expected = edgeflow.simulate(build, data), run(session(path), data)
    assert all(signal_to_noise(array, outputs[name]) > 30 for name, array in expected.items())


def test_more_queries_than_keys_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="more learned queries than keys"):
        import_model(pooled(tmp_path, TOKENS + 1))
