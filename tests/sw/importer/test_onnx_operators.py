"""What the importer says of operators of ONNX is what ONNX says of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from edgeflow.sw.importer.onnx_operators import _TABLE, QONNX, STANDARD, Quantizes, in_training, moved_indices, traits

SHAPE = (2, 3, 4)
MOVED: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("Reshape", ([4, -1],), {}), ("Flatten", (), {"axis": 2}), ("Unsqueeze", ([1],), {}), ("Transpose", (), {"perm": [2, 0, 1]}),
    ("Transpose", (), {}), ("Slice", ([1], [99], [2], [2]), {}), ("Slice", ([3], [-9], [2], [-1]), {}),
    ("Gather", ([[1, -1]],), {"axis": 1}), ("Expand", ([5, 2, 3, 4],), {}), ("Tile", ([1, 2, 3],), {}),
    ("Split", ([1, 2],), {"axis": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("op_type", "operands", "attributes"), MOVED, ids=str)
def test_data_movement_is_what_onnx_computes(op_type: str, operands: tuple[Any, ...], attributes: dict[str, Any]) -> None:
    outputs = ["y", "z"] if op_type == "Split" else ["y"]
    x = np.random.default_rng(3).standard_normal(SHAPE).astype(np.float32)
    constants = {f"c{i}": np.array(entry, np.int64) for i, entry in enumerate(operands)}
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(op_type, ["x", *constants], outputs, **attributes)], "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, SHAPE)],
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    expected = ReferenceEvaluator(model).run(None, {"x": x})
    node = ir.serde.deserialize_model(model).graph[0]
    for output, array in zip(node.outputs, expected, strict=True):
        output.shape = ir.Shape(array.shape)
    indices = moved_indices(node)
    assert indices is not None
    for index, array in zip(indices, expected, strict=True):
        moved = x.reshape(array.shape) if index is None else x.reshape(-1)[index]
        np.testing.assert_array_equal(moved, array)


def test_every_movement_into_a_view_is_tested() -> None:
    assert {name for name, operator in _TABLE.items() if operator.view is not None} <= {name for name, *_ in MOVED} | {"Squeeze"}


def test_operators_exist_and_have_the_operands_that_the_table_says() -> None:
    for name, operator in _TABLE.items():
        if operator.domains == QONNX or (not onnx.defs.has(name) and "com.microsoft" in operator.domains):
            continue  # onnx knows nothing of these domains
        schema = onnx.defs.get_schema(name)
        last = max((p for p in (operator.training, operator.mask, operator.sized_from) if p is not None), default=0)
        assert schema.max_input >= last, name
        assert operator.trains <= ("training_mode" in schema.attributes)
        assert operator.branches <= {"then_branch", "else_branch"}.issubset(schema.attributes)
        assert (operator.last_axis_since is None) or "axis" in schema.attributes


def node(op_type: str, domain: str = "", outputs: int = 1, inputs: int = 1, **attributes: Any) -> onnx.NodeProto:
    names = [f"y{i}" for i in range(outputs)]
    return onnx.helper.make_node(op_type, [f"x{i}" for i in range(inputs)], names, domain=domain, **attributes)


def test_an_operator_is_known_in_its_own_domains_alone() -> None:
    assert all(traits(node("Reshape", domain)).moves for domain in STANDARD)
    assert not traits(node("Reshape", "com.example")).moves
    assert traits(node("QuantizeLinear", "com.microsoft")).quantizes is Quantizes.TO_INTEGERS
    assert [traits(node("Quant", domain)).quantizes for domain in (QONNX[0], "")] == [Quantizes.BOTH, None]
    assert traits(node("Hardmax")) == traits(node("Anything", "com.example"))


def test_training_mode() -> None:
    assert in_training(node("BatchNormalization", training_mode=1), {}, by_outputs=False)
    assert not in_training(node("BatchNormalization"), {}, by_outputs=True)
    assert in_training(node("BatchNormalization", outputs=3), {}, by_outputs=True)
    assert not in_training(node("BatchNormalization", outputs=3), {}, by_outputs=False)
    flag = {"x2": onnx.numpy_helper.from_array(np.array(True))}
    assert in_training(node("Dropout", inputs=3), flag, by_outputs=False)
    assert not in_training(node("Dropout", inputs=3, outputs=2), {}, by_outputs=True)
    assert not in_training(node("Where", inputs=3), flag, by_outputs=True)
