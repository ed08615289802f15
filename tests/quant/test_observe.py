"""Calibration statistics: exact where they say so, bounded in memory, blind to masked tokens, and firm about NaN."""

from __future__ import annotations

import numpy as np
import pytest
from canonical_models import linear, model, node

from edgeflow.hw.errors import CalibrationError
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.convert.observe import MINIMUM_ROWS, observe
from edgeflow.quant.formats.config import QuantizationConfig


def test_statistics_are_those_of_all_samples() -> None:
    rng = np.random.default_rng(0)
    constants: dict[str, np.ndarray] = {}
    graph = FloatGraph(model([linear(rng, constants, "x", "y", 6, 4)], {"x": ("float32", (5, 6))}, {"y": (5, 4)}, constants))
    x = rng.normal(size=(37, 5, 6)).astype(np.float32)
    calls: list[tuple[str, int, int]] = []
    statistics = observe(graph, {"x": x}, QuantizationConfig(), lambda *step: calls.append(step))
    y = x @ constants["y.w"] + constants["y.b"]
    assert set(statistics) == {"x", "y"}
    for name, array in (("x", x), ("y", y)):
        rows, stats = array.reshape(-1, array.shape[-1]), statistics[name]
        assert stats.shape == array.shape[1:]
        assert stats.count == len(rows)
        np.testing.assert_allclose(stats.minimum, rows.min(axis=0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(stats.maximum, rows.max(axis=0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(stats.mean, rows.mean(axis=0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(stats.rows, rows, rtol=1e-4, atol=1e-5)  # few enough that all are kept, in order
    assert calls[-1] == ("calibrate", 37, 37)


def test_sample_of_rows_is_bounded_and_seeded() -> None:
    constants = {"s": np.array([2.0], np.float32)}
    graph = FloatGraph(model([node("Mul", ["x", "s"], "y")], {"x": ("float32", (100, 8))}, {"y": (100, 8)}, constants))
    x = np.random.default_rng(0).normal(size=(50, 100, 8)).astype(np.float32)
    config = QuantizationConfig(sample_values=4096)
    first, again = (observe(graph, {"x": x}, config)["x"] for _ in range(2))
    other = observe(graph, {"x": x}, config.model_copy(update={"seed": 1}))["x"]
    assert first.rows.shape == (512, 8)
    assert (first.rows == again.rows).all()
    assert not np.array_equal(first.rows, other.rows)
    whole = {row.tobytes() for row in x.reshape(-1, 8)}
    assert all(row.tobytes() in whole for row in first.rows)
    narrow = observe(graph, {"x": x}, QuantizationConfig(sample_values=1024))["x"]
    assert len(narrow.rows) == MINIMUM_ROWS


def test_tokens_that_the_mask_excludes_are_left_out() -> None:
    nodes = [node("Attention", ["x", "x", "x", "m"], "a", heads=1, scale=1.0), node("MeanPool", ["a", "m"], "p")]
    inputs = {"x": ("float32", (4, 16)), "m": ("int64", (4,))}
    graph = FloatGraph(model(nodes, inputs, {"p": (16,)}, {}))
    x = np.ones((3, 4, 16), np.float32)
    mask = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]])
    x[mask == 0] = 1000.0
    statistics = observe(graph, {"x": x, "m": mask}, QuantizationConfig())
    assert statistics["x"].maximum.max() == 1.0
    assert statistics["x"].count == 7
    assert statistics["p"].count == 3
    assert "m" not in statistics


def test_every_token_counts_where_not_all_nodes_read_the_mask() -> None:
    nodes = [node("Attention", ["x", "x", "x", "m"], "a", heads=1, scale=1.0), node("MeanPool", ["a"], "p")]
    inputs = {"x": ("float32", (4, 16)), "m": ("int64", (4,))}
    graph = FloatGraph(model(nodes, inputs, {"p": (16,)}, {}))
    statistics = observe(graph, {"x": np.ones((3, 4, 16), np.float32), "m": np.eye(3, 4, dtype=np.int64)}, QuantizationConfig())
    assert statistics["x"].count == 12


def test_nan_inside_the_model_names_the_tensor() -> None:
    graph = FloatGraph(model([node("Log", ["x"], "depth")], {"x": ("float32", (3,))}, {"depth": (3,)}, {}))
    with pytest.raises(CalibrationError, match=r"tensor 'depth' of the float model holds NaN or infinite values"):
        observe(graph, {"x": np.array([[1.0, -1.0, 2.0]], np.float32)}, QuantizationConfig())


def test_values_whose_squares_overflow_name_the_tensor() -> None:
    graph = FloatGraph(model([node("Tanh", ["x"], "depth")], {"x": ("float32", (3,))}, {"depth": (3,)}, {}))
    with pytest.raises(CalibrationError, match=r"tensor 'x' of the float model reaches 1\.0e\+38"):
        observe(graph, {"x": np.full((2, 3), -1e38, np.float32)}, QuantizationConfig())
