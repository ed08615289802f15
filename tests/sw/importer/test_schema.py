"""Models that are not as ONNX says are refused before anything reads them, with file and place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import AttributeProto, TensorProto, helper, numpy_helper
from onnx_graphs import Graph

from edgeflow.hw.errors import ModelError, UnsupportedError
from edgeflow.sw.importer import import_model, run, session
from edgeflow.sw.importer.fold import set_types

Change = Callable[[onnx.ModelProto], object]
QONNX = "qonnx.custom_op.general"


def network() -> Graph:
    """Two linear layers with a transposition between them."""
    g = Graph(17)
    x = g.node("MatMul", g.input("x", ["n", 4, 8]), g.weight(8, 6, name="w"))
    y = g.node("Transpose", x, perm=[0, 2, 1])
    g.output(g.node("MatMul", y, g.weight(4, 3, name="v")))
    return g


def refusal(proto: onnx.ModelProto, folder: Path) -> str:
    """The one line with which a model is refused."""
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError) as caught:
        import_model(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text


def _bytes_as_text(proto: onnx.ModelProto, old: bytes, new: bytes) -> None:
    """Text that is not UTF-8, which no setter accepts: written into the message as it is."""
    data = proto.SerializeToString()
    assert data.count(old) == 1
    proto.Clear()
    proto.MergeFromString(data.replace(old, new))


def _attribute(proto: onnx.ModelProto, node: int, attribute: onnx.AttributeProto) -> None:
    del proto.graph.node[node].attribute[:]
    proto.graph.node[node].attribute.append(attribute)


def _reference(proto: onnx.ModelProto) -> None:
    entry = AttributeProto(name="perm", type=AttributeProto.INTS, ref_attr_name="ghost")
    _attribute(proto, 1, entry)


def _typed_data(proto: onnx.ModelProto) -> None:
    weight = proto.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.uint64_data.extend([1] * 48)


def _dimensions(proto: onnx.ModelProto, *sizes: int) -> None:
    del proto.graph.initializer[0].dims[:]
    proto.graph.initializer[0].dims.extend(sizes)


def _external(proto: onnx.ModelProto, location: str, **entries: str) -> None:
    weight = proto.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        weight.external_data.add(key=key, value=value)


CHANGES: dict[str, tuple[Change, str]] = {
    "operator name": (lambda p: _bytes_as_text(p, b"\x22\tTranspose", b"\x22\tTransp\xf4se"), "as op type, which is no text"),
    "attribute of another type": (
        lambda p: _attribute(p, 1, helper.make_attribute("perm", 2)),
        "node 'Transpose_1' (Transpose): attribute 'perm' is INT and must be INTS",
    ),
    "attribute of another operator": (
        lambda p: _attribute(p, 1, helper.make_attribute("axes", [2])),
        "node 'Transpose_1' (Transpose): Transpose has no attribute 'axes'",
    ),
    "attribute twice": (
        lambda p: p.graph.node[1].attribute.append(p.graph.node[1].attribute[0]),
        "node 'Transpose_1' (Transpose) has two attributes 'perm'",
    ),
    "attribute without a type": (lambda p: _attribute(p, 1, AttributeProto(name="perm")), "attribute 'perm' has no type"),
    "attribute that holds something else": (
        lambda p: _attribute(p, 1, AttributeProto(name="perm", type=AttributeProto.INTS, f=1.0)),
        "attribute 'perm' says that it is INTS, and holds something else",
    ),
    "reference outside a function": (_reference, "attribute 'perm' refers to 'ghost' of a function, and stands in none"),
    "operands": (lambda p: p.graph.node[0].input.pop(), "node 'MatMul_0' (MatMul) has 1 inputs; MatMul has 2"),
    "operand that is needed": (
        lambda p: p.graph.node[0].input.__setitem__(0, ""),
        "node 'MatMul_0' (MatMul): its operand 0 is missing",
    ),
    "outputs": (lambda p: p.graph.node[1].output.append("more"), "has 2 outputs; Transpose has 1"),
    "no output": (lambda p: p.graph.node[1].output.__setitem__(0, ""), "has no output"),
    "value computed twice": (
        lambda p: p.graph.node[2].output.__setitem__(0, p.graph.node[0].output[0]),
        "computes two values 'matmul0_0'",
    ),
    "elements in another field": (_typed_data, "initializer 'w' holds its FLOAT elements in uint64_data"),
    "fewer elements": (lambda p: _dimensions(p, 8, 7), "initializer 'w' holds 192 bytes, and its dimensions [8, 7] say 224"),
    "negative dimension": (lambda p: _dimensions(p, -8, -6), "initializer 'w' has a negative dimension"),
    "elements of no type": (lambda p: setattr(p.graph.initializer[0], "data_type", 999), "initializer 'w' has no type"),
    "input of no type": (
        lambda p: setattr(p.graph.input[0].type.tensor_type, "elem_type", 999),
        "value 'x' has no type that ONNX knows",
    ),
    "name of external data": (lambda p: _external(p, "w.bin\0.txt"), "embedded null"),
    "length of external data": (
        lambda p: _external(p, "model.onnx", offset="0", length="12"),
        "tensor 'w' holds 12 bytes, and its dimensions [8, 6] say 192",
    ),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_model_that_is_not_as_onnx_says(kind: str, tmp_path: Path) -> None:
    change, expected = CHANGES[kind]
    proto = network().model()
    import_model(network().save(tmp_path, "right.onnx"))
    change(proto)
    assert expected in refusal(proto, tmp_path)


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (helper.make_node("Sum", ["x", "", "x"], ["y"], "node"), "node 'node' (Sum): its operand 1 is missing"),
        (helper.make_node("Concat", ["x", ""], ["y"], "node", axis=-1), "node 'node' (Concat): its operand 1 is missing"),
        (helper.make_node("Split", ["x", "sizes"], ["", "y"], "node", axis=-1), "node 'node' (Split): its output 0 is missing"),
        (helper.make_node("Split", ["x", "sizes"], ["y", ""], "node", axis=-1), "node 'node' (Split): its output 1 is missing"),
        (helper.make_node("TopK", ["x", "best"], ["y", ""], "node"), "node 'node' (TopK): its output 1 is missing"),
    ],
)
def test_what_onnx_names_has_a_name(node: onnx.NodeProto, expected: str, tmp_path: Path) -> None:
    """The first and every further one of a list: onnxruntime ends the process where one of these is missing."""
    g = Graph(18)
    g.input("x", ["n", 4, 8])
    g.constant(np.array([3, 5]), "sizes")
    g.constant(np.array([2]), "best")
    g.nodes.append(node)
    g.output(g.node("Relu", "y"))
    assert expected in refusal(g.model(), tmp_path)


def calling(operands: list[str], results: list[str], body: list[onnx.NodeProto], names: tuple[str, ...]) -> onnx.ModelProto:
    """A call of a function ``(a, b) => names`` whose last result leaves the model."""
    g = Graph(18)
    g.input("x", ["n", 4, 8])
    g.constant(np.array([3, 5]), "sizes")
    g.nodes.append(helper.make_node("Function", operands, results, "call", domain="own"))
    g.output(g.node("MatMul", results[-1], g.weight(8 if len(names) == 1 else 5, 3)))
    proto = g.model()
    proto.functions.append(helper.make_function("own", "Function", ["a", "b"], names, body, [helper.make_opsetid("", 18)]))
    proto.opset_import.append(helper.make_opsetid("own", 1))
    return proto


@pytest.mark.parametrize("operands", [["x", ""], ["x"]])
@pytest.mark.parametrize("op", ["Sum", "Max", "Add"])
def test_what_a_call_leaves_out_and_its_function_needs(op: str, operands: list[str], tmp_path: Path) -> None:
    """onnxruntime ends the process here, too."""
    proto = calling(operands, ["y"], [helper.make_node(op, ["a", "b"], ["r"], "inner")], ("r",))
    assert f"({op}): its operand 1 is missing" in refusal(proto, tmp_path)


@pytest.mark.parametrize(
    "proto",
    [
        calling(["x", ""], ["y"], [helper.make_node("Clip", ["a", "b"], ["r"], "inner")], ("r",)),
        calling(["x", "sizes"], ["", "y"], [helper.make_node("Split", ["a", "b"], ["r", "s"], "inner", axis=-1)], ("r", "s")),
    ],
)
def test_what_a_call_may_leave_out(proto: onnx.ModelProto, tmp_path: Path) -> None:
    """An operand without which the operator inside can do, and a result that nobody reads: as onnxruntime computes them."""
    onnx.save(proto, tmp_path / "model.onnx")
    x = np.random.default_rng(5).normal(size=(3, 4, 8)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": x})
    (actual,) = run(session(import_model(tmp_path / "model.onnx")), {"x": x}).values()
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_operands_that_an_operator_can_do_without_have_no_name(tmp_path: Path) -> None:
    g = Graph(18)
    x = g.node("MatMul", g.input("x", ["n", 4, 8]), g.weight(8, 3))
    g.output(g.node("Clip", x, "", g.constant(np.float32(6))))
    import_model(g.save(tmp_path))


def test_the_attributes_of_onnxruntimes_operators(tmp_path: Path) -> None:
    """Their schemas are those that onnxruntime itself has."""
    g = Graph(17)
    x = g.input("x", ["n", 4, 8])
    g.output(g.node("MultiHeadAttention", x, x, x, domain="com.microsoft", num_heads="two"))
    assert "attribute 'num_heads' is STRING and must be INT" in refusal(g.model(), tmp_path)


def quantized(*operands: str, **attributes: object) -> Graph:
    """A linear layer behind a quantizer of QONNX; ``operands`` name constants of its own, in place of sound ones."""
    g = Graph(17)
    x = g.input("x", ["n", 4, 8])
    constants: dict[str, Any] = {"scale": np.float32(0.1), "zero": np.float32(0), "bits": np.float32(8)}
    wrong: dict[str, tuple[str, Any]] = {
        "no zero": ("zero", np.zeros(0, np.float32)), "infinite zero": ("zero", np.float32(np.inf)),
        "no bits": ("bits", np.zeros(0, np.float32)), "text as scale": ("scale", np.array(["a"], object)),
    }  # fmt: skip
    constants |= dict(wrong[name] for name in operands)
    names = [g.constant(array, name) for name, array in constants.items()]
    y = g.node("Quant", x, *names, domain=QONNX, **attributes)
    g.output(g.node("MatMul", y, g.weight(8, 3)))
    return g


@pytest.mark.parametrize("operand", ["no zero", "infinite zero", "no bits", "text as scale"])
def test_quantizers_whose_operands_are_no_numbers(operand: str, tmp_path: Path) -> None:
    text = refusal(quantized(operand).model(), tmp_path)
    assert "(Quant): its" in text
    assert "holds no finite numbers" in text


def test_a_rounding_mode_that_is_no_text(tmp_path: Path) -> None:
    text = refusal(quantized(rounding_mode=b"\xff\xfe\x00bad").model(), tmp_path)
    assert "attribute 'rounding_mode' is no text" in text


@pytest.mark.parametrize(
    ("scales", "axis", "expected"),
    [(7, 1, "it has 7 scales for a constant of shape (8, 3)"), (3, 5, "its axis 5 is none of a constant of shape (8, 3)")],
)
def test_scales_that_do_not_fit_the_constant(scales: int, axis: int, expected: str, tmp_path: Path) -> None:
    g = Graph(17)
    x = g.input("x", ["n", 4, 8])
    words, scale = g.constant(np.ones((8, 3), np.int8)), g.constant(np.full(scales, 0.1, np.float32))
    zero = g.constant(np.zeros(scales, np.int8))
    g.output(g.node("MatMul", x, g.node("DequantizeLinear", words, scale, zero, axis=axis)))
    assert expected in refusal(g.model(), tmp_path)


def test_an_operator_that_nobody_defines_is_left_to_the_importer(tmp_path: Path) -> None:
    g = network()
    g.nodes[1].op_type = "Frobnicate"
    path = g.save(tmp_path)
    with pytest.raises(UnsupportedError, match="Frobnicate"):
        import_model(path)


def test_weights_listed_among_the_inputs_are_as_onnx_says(tmp_path: Path) -> None:
    """Old exporters list them there, too; tensors of int4 are packed."""
    g = network()
    g.input("w", [8, 6])
    packed = helper.make_tensor("four", TensorProto.INT4, [3], [1, -2, 3])
    assert len(packed.raw_data or packed.int32_data) == 2
    g.initializers.append(packed)
    g.opset = 21
    model = import_model(g.save(tmp_path))
    assert [value.name for value in model.graph.inputs] == ["x"]
    assert numpy_helper.to_array(packed).shape == (3,)


def test_types_that_inference_does_not_find() -> None:
    """What onnx raises there is a line of the importer's."""
    g = network()
    g.nodes.append(helper.make_node("Neg", ["x"], [""], "unnamed"))
    with pytest.raises(ModelError, match=r"^the model is inconsistent: .*Output 0 is out of bounds.*; export it again$"):
        set_types(ir.from_proto(g.model()))
