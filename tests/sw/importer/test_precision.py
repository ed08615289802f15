"""Models in half, bfloat16 and double precision are imported as float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_graphs import Graph, normal

from edgeflow.hw.errors import ModelError
from edgeflow.quant.canonical.session import FloatSession
from edgeflow.sw.importer import import_model

TYPES = {"half": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16, "double": TensorProto.DOUBLE}


def layer(kind: int, weight: np.ndarray) -> onnx.ModelProto:
    """``relu(x . weight)`` through a cast, its weights in an initializer and its bias in a Constant node of the type."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    g = Graph(17)
    x = g.node("Cast", g.input("x", ["n", 8]), to=kind)
    bias = g.node("Constant", value=numpy_helper.from_array(np.full(3, 0.5).astype(dtype), "bias"))
    g.output(g.node("Relu", g.node("Add", g.node("MatMul", x, g.constant(weight.astype(dtype))), bias)))
    model = g.model()
    model.graph.output[0].type.tensor_type.elem_type = kind
    return model


@pytest.mark.parametrize("name", TYPES)
def test_everything_becomes_float32(name: str, tmp_path: Path) -> None:
    weight, x = np.round(normal((8, 3)) * 4) / 4, normal((5, 8))  # quarters: exact in every type
    onnx.save(layer(TYPES[name], weight), tmp_path / "m.onnx")
    model = import_model(tmp_path / "m.onnx")
    (output,) = FloatSession(model, [str(model.graph.outputs[0].name)]).run({"x": x}).values()
    assert output.dtype == np.float32
    np.testing.assert_allclose(output, np.maximum(x @ weight + 0.5, 0), rtol=1e-5, atol=1e-6)
    assert {node.op_type for node in model.graph} == {"Linear", "Relu"}


def test_a_double_beyond_float32_is_refused(tmp_path: Path) -> None:
    onnx.save(layer(TensorProto.DOUBLE, np.full((8, 3), 1e300)), tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="holds NaN or infinity"):
        import_model(tmp_path / "m.onnx")
