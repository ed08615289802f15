"""The canonical float model in onnxruntime: a refusal is an error of ours."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from canonical_models import linear, model

from edgeflow.hw.errors import ModelError
from edgeflow.quant.canonical.session import MAXIMUM_IR_VERSION, FloatSession, open_session


def test_a_model_that_cannot_be_loaded_is_one_clear_error() -> None:
    network = model([linear(np.random.default_rng(0), {}, "x", "y", 8, 8)], {"x": ("float32", (8,))}, {"y": (8,)}, {})
    with pytest.raises(ModelError, match=r"^onnxruntime cannot load the model: .+; check the export$"):
        FloatSession(network, ["y"])


def test_inputs_that_cannot_be_run_are_one_clear_error() -> None:
    constants: dict[str, np.ndarray] = {}
    network = model([linear(np.random.default_rng(0), constants, "x", "y", 8, 8)], {"x": ("float32", (8,))}, {"y": (8,)}, constants)
    with pytest.raises(ModelError, match=r"^onnxruntime cannot run the model: .+; check the input values$"):
        FloatSession(network, ["y"]).run({"x": np.zeros((1, 7), dtype=np.float32)})


def test_a_session_leaves_the_message_as_it_was() -> None:
    constants: dict[str, np.ndarray] = {}
    nodes = [
        linear(np.random.default_rng(0), constants, "x", "h", 8, 8),
        linear(np.random.default_rng(1), constants, "h", "y", 8, 8),
    ]
    message = ir.to_proto(model(nodes, {"x": ("float32", (8,))}, {"y": (8,)}, constants))
    message.ir_version = MAXIMUM_IR_VERSION + 1
    before = message.SerializeToString(deterministic=True)
    assert [output.name for output in open_session(message, ["y", "h"]).get_outputs()] == ["y", "h"]
    assert message.SerializeToString(deterministic=True) == before
