"""The canonical float model in onnxruntime: a refusal is an error of ours."""

from __future__ import annotations

import numpy as np
import pytest
from canonical_models import linear, model

from edgeflow.hw.errors import ModelError
from edgeflow.quant.canonical.session import FloatSession


def test_a_model_that_cannot_be_loaded_is_one_clear_error() -> None:
    network = model([linear(np.random.default_rng(0), {}, "x", "y", 8, 8)], {"x": ("float32", (8,))}, {"y": (8,)}, {})
    with pytest.raises(ModelError, match=r"^onnxruntime cannot load the model: .+; check the export$"):
        FloatSession(network, ["y"])


def test_inputs_that_cannot_be_run_are_one_clear_error() -> None:
    constants: dict[str, np.ndarray] = {}
    network = model([linear(np.random.default_rng(0), constants, "x", "y", 8, 8)], {"x": ("float32", (8,))}, {"y": (8,)}, constants)
    with pytest.raises(ModelError, match=r"^onnxruntime cannot run the model: .+; check the input values$"):
        FloatSession(network, ["y"]).run({"x": np.zeros((1, 7), dtype=np.float32)})
