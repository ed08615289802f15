"""Every wrong or unsupported model ends in one line that names what is wrong, where, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_graphs import Graph, normal

import edgeflow
from edgeflow.hw.errors import EdgeFlowError, InputError, ModelError, UnsupportedError
from edgeflow.sw.importer import import_model

CASES = Path(__file__).parents[2] / "cases"


def message(error: type[EdgeFlowError], path: Path, **options: Any) -> str:
    """The message with which the import of ``path`` fails: one line, of the wrong-input family."""
    with pytest.raises(error) as caught:
        import_model(path, **options)
    assert isinstance(caught.value, InputError)
    text = str(caught.value)
    assert "\n" not in text
    return text


def small(opset: int = 17) -> Graph:
    g = Graph(opset)
    g.output(g.node("MatMul", g.input("x", ["n", 4, 8]), g.weight(8, 6, name="w")))
    return g


def test_missing_file(tmp_path: Path) -> None:
    assert "nothing.onnx: no such file" in message(ModelError, tmp_path / "nothing.onnx")


def test_folder_instead_of_file(tmp_path: Path) -> None:
    assert "cannot be read" in message(ModelError, tmp_path)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 this is a zip file", b"hello world" * 100, bytes(range(256))])
def test_not_onnx(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.onnx"
    path.write_bytes(data)
    assert "weights.onnx: is not an ONNX model" in message(ModelError, path)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99])
def test_truncated(part: float, tmp_path: Path) -> None:
    path = small().save(tmp_path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    assert "truncated" in message(ModelError, path)


@pytest.mark.parametrize("opset", [1, 6, 26, 99])
def test_operator_set_out_of_range(opset: int, tmp_path: Path) -> None:
    model = small().model()
    model.opset_import[0].version = opset
    onnx.save(model, tmp_path / "model.onnx")
    text = message(UnsupportedError, tmp_path / "model.onnx")
    assert f"operator set {opset} is not supported" in text
    assert "7 to 25" in text


def test_operator_that_cannot_be_raised(tmp_path: Path) -> None:
    g = Graph(9)
    x = g.input("x", ["n", 4, 8])
    g.output(g.node("Nothing", g.node("Clip", x, min=0.0)))
    text = message(UnsupportedError, g.save(tmp_path))
    assert "operator set 9 cannot be raised to 11" in text
    assert "export with opset 11 to 25" in text


def test_batch_on_another_axis() -> None:
    """The sequence first, as nn.Transformer has it by default: its name, or the output's first axis, says which is the batch."""
    with np.load(CASES / "seq_first_input.npz") as data:
        shapes = {name: data[name].shape for name in data.files}
    text = message(ModelError, CASES / "seq_first_input.onnx", shapes=shapes)
    assert "input 'x': the batch is axis 1 ('batch'), but must be axis 0" in text


def test_batch_of_any_name_on_another_axis(tmp_path: Path) -> None:
    g = Graph(17)
    x = g.node("Transpose", g.input("x", [4, "many", 8]), perm=[1, 0, 2])
    y = g.node("MatMul", x, g.weight(8, 3))
    g.outputs.append(helper.make_tensor_value_info(y, TensorProto.FLOAT, ["many", 4, 3]))
    assert "input 'x': the batch is axis 1 ('many')" in message(ModelError, g.save(tmp_path))


def test_one_sample_on_another_axis(tmp_path: Path) -> None:
    """Sizes that are fixed say it by the output, whose first axis is the batch."""
    g = Graph(17)
    x = g.node("MatMul", g.input("x", [12, 1, 8]), g.weight(8, 3))
    y = g.node("ReduceMean", x, axes=[0], keepdims=0)
    g.outputs.append(helper.make_tensor_value_info(y, TensorProto.FLOAT, [1, 3]))
    assert "input 'x': the batch is axis 1 (1), but must be axis 0; export" in message(ModelError, g.save(tmp_path))


def test_training_mode(tmp_path: Path) -> None:
    text = message(UnsupportedError, CASES / "training_mode_batchnorm.onnx")
    assert "exported in training mode: /bn/BatchNormalization (BatchNormalization); call model.eval() and export again" in text
    g = small()
    g.outputs.clear()
    y = g.node("MatMul", "x", "w")
    g.output(g.node("Dropout", y, g.constant(np.float32(0.1)), g.constant(np.bool_(True))))
    assert "exported in training mode: Dropout_2 (Dropout)" in message(UnsupportedError, g.save(tmp_path))


def batch_norm(opset: int, outputs: int, **attributes: Any) -> Graph:
    g = Graph(opset)
    y = g.node("MatMul", g.input("x", ["n", 16]), g.weight(16, 8))
    running = [g.constant(np.full(8, value, np.float32)) for value in (1.5, 0.5, 0.25, 2.0)]
    g.output(g.node("BatchNormalization", y, *running, outputs=outputs, **attributes)[0])
    return g


@pytest.mark.parametrize("opset", range(7, 18))
def test_batch_norm_in_training_mode(opset: int, tmp_path: Path) -> None:
    """Before operator set 14 the number of outputs says it, from then on an attribute."""
    training = batch_norm(opset, 5) if opset < 14 else batch_norm(opset, 3, training_mode=1)
    path = training.save(tmp_path)
    expected = "exported in training mode: BatchNormalization_1 (BatchNormalization); call model.eval() and export again"
    assert expected in message(UnsupportedError, path)
    with pytest.raises(UnsupportedError, match="exported in training mode"):
        edgeflow.load(path)
    plain = batch_norm(opset, 1)
    import_model(plain.save(tmp_path))
    if opset < 14:  # names that are left empty are no outputs
        plain.nodes[-1].output.extend([""] * 4)
        import_model(plain.save(tmp_path))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(value: float, tmp_path: Path) -> None:
    g = small()
    array = np.ones((8, 6), np.float32)
    array[3, 2] = value
    g.initializers[0].CopyFrom(onnx.numpy_helper.from_array(array, "w"))
    assert "initializer 'w' holds NaN or infinity" in message(ModelError, g.save(tmp_path))


def _external(tmp_path: Path, location: str) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    path = folder / "model.onnx"
    onnx.save(small().model(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/hostname", "sub/../../weights.bin", ""])
def test_external_data_outside_the_folder(location: str, tmp_path: Path) -> None:
    path = _external(tmp_path, location)
    (path.parent / "weights.bin").rename(tmp_path / "weights.bin")
    assert "outside the model's own folder" in message(ModelError, path)


def test_external_data_through_a_symbolic_link(tmp_path: Path) -> None:
    path = _external(tmp_path, "weights.bin")
    target = tmp_path / "elsewhere.bin"
    (path.parent / "weights.bin").rename(target)
    (path.parent / "weights.bin").symlink_to(target)
    text = message(ModelError, path)
    assert "tensor 'w'" in text
    assert "outside the model's own folder" in text


def test_external_data_missing(tmp_path: Path) -> None:
    path = _external(tmp_path, "weights.bin")
    (path.parent / "weights.bin").unlink()
    assert "'weights.bin', which does not exist" in message(ModelError, path)


def test_external_data_too_short(tmp_path: Path) -> None:
    path = _external(tmp_path, "weights.bin")
    (path.parent / "weights.bin").write_bytes(b"\0" * 16)
    assert "too short" in message(ModelError, path)


def test_weight_with_too_few_bytes(tmp_path: Path) -> None:
    g = small()
    g.initializers[0].raw_data = g.initializers[0].raw_data[:-4]
    assert "'w'" in message(ModelError, g.save(tmp_path))


def test_unknown_operators_are_listed_together(tmp_path: Path) -> None:
    g = Graph(17)
    x = g.input("x", ["n", 4])
    g.output(g.node("Frobnicate", g.node("Twiddle", x, domain="acme"), domain="acme"))
    text = message(UnsupportedError, g.save(tmp_path))
    assert (
        "2 obstacles: Twiddle and Frobnicate: Twiddle at Twiddle_0 (Twiddle): there is no such ONNX operator of domain 'acme'"
        in text
    )
    assert "Frobnicate_1" in text


def test_unsupported_operators_are_listed_together_with_reasons(tmp_path: Path) -> None:
    g = Graph(17)
    x = g.input("x", ["n", 4, 8])
    y = g.node("MatMul", g.node("CumSum", x, g.constant(np.array(1))), g.weight(8, 8))
    g.output(g.node("LpNormalization", y, axis=-1))
    text = message(UnsupportedError, g.save(tmp_path))
    assert "model.onnx: 2 obstacles: CumSum and L2 normalization: CumSum at CumSum_0 (CumSum): there is no integer operator" in text
    assert "; L2 normalization at LpNormalization_2 (LpNormalization): " in text


def _attention(g: Graph, scores: Any, tokens: int = 4) -> None:
    """An attention whose scores pass through ``scores(value)``."""
    x = g.input("x", ["n", tokens, 8])
    split = g.constant(np.array([0, tokens, 2, 4]))
    q, k, v = (
        g.node("Transpose", g.node("Reshape", g.node("MatMul", x, g.weight(8, 8)), split), perm=[0, 2, 1, 3]) for _ in range(3)
    )
    product = scores(g.node("MatMul", q, g.node("Transpose", k, perm=[0, 1, 3, 2])))
    context = g.node("MatMul", g.node("Softmax", product, axis=-1), v)
    g.output(g.node("Reshape", g.node("Transpose", context, perm=[0, 2, 1, 3]), g.constant(np.array([0, 0, 8]))))


def test_causal_attention(tmp_path: Path) -> None:
    g = Graph(17)
    causal = np.triu(np.full((4, 4), -1e9, np.float32), 1)
    _attention(g, lambda s: g.node("Add", s, g.constant(causal)))
    text = message(UnsupportedError, g.save(tmp_path))
    assert "a causal mask is the only obstacle; 3 nodes follow from it: causal mask at Add_" in text


def test_mask_that_depends_on_the_query(tmp_path: Path) -> None:
    g = Graph(17)
    mask = g.input("mask", ["n", 4])
    row = g.node("Unsqueeze", mask, g.constant(np.array([1, 3])))
    column = g.node("Unsqueeze", mask, g.constant(np.array([1, 2])))
    both = g.node("Mul", g.node("Sub", g.constant(np.float32(1)), g.node("Mul", row, column)), g.constant(np.float32(-1e9)))
    _attention(g, lambda s: g.node("Add", s, both))
    assert "what is added to the scores of attention, or chooses among them, is computed" in message(
        UnsupportedError, g.save(tmp_path)
    )


def test_soft_cap_on_scores(tmp_path: Path) -> None:
    g = Graph(17)
    _attention(g, lambda s: g.node("Tanh", s))
    assert "(Softmax): Tanh between the scores and the softmax is not understood" in message(UnsupportedError, g.save(tmp_path))


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"strides": [1, 1]}, "only stride = kernel is supported"),
        ({"strides": [2, 2], "pads": [1, 1, 1, 1]}, "it pads the image"),
        ({"strides": [2, 2], "dilations": [2, 2]}, "it is dilated or grouped"),
    ],
)
def test_convolutions_that_are_no_patch_embedding(attributes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    g = Graph(17)
    g.output(g.node("Conv", g.input("x", ["n", 1, 8, 8]), g.weight(4, 1, 2, 2), **attributes))
    text = message(UnsupportedError, g.save(tmp_path))
    assert "a convolution that is not a patch embedding is the only obstacle: " in text
    assert "at Conv_0 (Conv): " in text
    assert reason in text


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"strides": [1]}, "kernel 2 with stride 1: only stride = kernel is supported"),
        ({"strides": [2], "pads": [1, 1]}, "it pads the signal"),
        ({"strides": [2], "dilations": [2]}, "it is dilated or grouped"),
        ({"strides": [2], "group": 2}, "it is dilated or grouped"),
    ],
)
def test_convolutions_of_a_signal_that_are_no_patch_embedding(attributes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    g = Graph(17)
    weight = g.weight(4, 2 // attributes.get("group", 1), 2)
    g.output(g.node("Conv", g.input("x", ["n", 2, 8]), weight, **attributes))
    text = message(UnsupportedError, g.save(tmp_path))
    assert "a convolution that is not a patch embedding is the only obstacle: " in text
    assert reason in text


def test_layer_norm_over_two_axes(tmp_path: Path) -> None:
    g = Graph(17)
    g.output(g.node("LayerNormalization", g.input("x", ["n", 4, 8]), g.weight(4, 8), axis=1))
    assert "it normalizes over more than the last axis" in message(UnsupportedError, g.save(tmp_path))


def test_softmax_inside_the_network(tmp_path: Path) -> None:
    g = Graph(17)
    g.output(g.node("MatMul", g.node("Softmax", g.input("x", ["n", 4, 8]), axis=-1), g.weight(8, 2)))
    assert "supported only as part of an attention" in message(UnsupportedError, g.save(tmp_path))


def test_samples_that_mix(tmp_path: Path) -> None:
    g = Graph(17)
    g.output(g.node("Transpose", g.node("Relu", g.input("x", ["n", 8])), perm=[1, 0]))
    assert "(Transpose): its first axis is not the batch" in message(UnsupportedError, g.save(tmp_path))


def test_integer_arithmetic(tmp_path: Path) -> None:
    g = Graph(17)
    g.output(g.node("Abs", g.input("x", ["n", 8], TensorProto.INT64)))
    model = g.model()
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    onnx.save(model, tmp_path / "integer.onnx")
    assert "only float32 is supported" in message(UnsupportedError, tmp_path / "integer.onnx")


def test_control_flow_on_data(tmp_path: Path) -> None:
    g = Graph(17)
    x = g.input("x", ["n", 8])
    positive = g.node("Greater", g.node("ReduceSum", x, keepdims=0), g.constant(np.float32(0)))
    then, otherwise = (
        helper.make_graph([helper.make_node(op, [x], [op])], op, [], [helper.make_tensor_value_info(op, 1, None)])
        for op in ("Relu", "Neg")
    )
    g.output(g.node("If", positive, then_branch=then, else_branch=otherwise))
    text = message(UnsupportedError, g.save(tmp_path))
    assert "control flow that depends on the input is the only obstacle: " in text
    assert "at If_" in text


@pytest.mark.parametrize("taken", [True, False])
@pytest.mark.parametrize("count", [0, 2])
def test_branches_with_another_number_of_outputs(tmp_path: Path, taken: bool, count: int) -> None:
    """Whichever of them is taken."""
    g = Graph(17)
    x = g.node("Relu", g.input("x", ["n", 8]))
    nodes = [helper.make_node(op, [x], [op]) for op in ("Relu", "Neg")]
    ends = [helper.make_tensor_value_info(op, TensorProto.FLOAT, None) for op in ("Relu", "Neg")]
    then = helper.make_graph(nodes[:1], "then", [], ends[:1])
    other = helper.make_graph(nodes[:count], "else", [], ends[:count])
    g.output(g.node("If", g.constant(np.bool_(taken)), then_branch=then, else_branch=other))
    assert f"its else_branch has {count} outputs, the node 1" in message(ModelError, g.save(tmp_path))


def test_constant_output(tmp_path: Path) -> None:
    g = small()
    g.output(g.node("Relu", g.weight(3)))
    assert "does not depend on any input" in message(ModelError, g.save(tmp_path))


def test_inputs_of_different_batch(tmp_path: Path) -> None:
    g = Graph(17)
    g.output(g.node("Add", g.input("x", [2, 8]), g.input("y", [1, 8])))
    assert "one and the same batch, but 'x' has 2, 'y' has 1" in message(ModelError, g.save(tmp_path))


def test_dimension_without_size(tmp_path: Path) -> None:
    g = Graph(17)
    g.output(g.node("Relu", g.input("ids", ["n", "sequence"])))
    path = g.save(tmp_path)
    text = message(ModelError, path)
    assert "'ids'" in text
    assert "--dim sequence=128" in text
    text = message(ModelError, path, dims={"tokens": 3})
    assert "no input has a dimension of that name; symbolic dimensions: n, sequence" in text
    assert "must be at least 1" in message(ModelError, path, dims={"sequence": 0})
    assert "the model has no input 'image'" in message(ModelError, path, shapes={"image": (1, 3)})
    assert "2 axes in the model and 3 in the data" in message(ModelError, path, shapes={"ids": (1, 3, 4)})
    assert "dimension 'sequence' is 5, the data has 7" in message(ModelError, path, dims={"sequence": 5}, shapes={"ids": (1, 7)})


def test_data_against_a_fixed_size(tmp_path: Path) -> None:
    assert "the model fixes size 4, the data has 5" in message(ModelError, small().save(tmp_path), shapes={"x": (1, 5, 8)})


def test_shapes_that_do_not_fit_together(tmp_path: Path) -> None:
    g = Graph(17)
    g.output(g.node("MatMul", g.input("x", ["n", 4, 7]), g.weight(8, 6)))
    assert "onnxruntime cannot" in message(ModelError, g.save(tmp_path))


def test_graph_with_a_dangling_input(tmp_path: Path) -> None:
    model = small().model()
    model.graph.node[0].input[0] = "nowhere"
    onnx.save(model, tmp_path / "model.onnx")
    assert "model.onnx: node 'MatMul_0' reads 'nowhere', which nothing computes" in message(ModelError, tmp_path / "model.onnx")


def test_constant_that_differs_between_samples(tmp_path: Path) -> None:
    g = Graph(17)
    g.output(g.node("Add", g.input("x", [2, 8]), g.constant(normal((2, 8)))))
    assert "its constant differs between samples" in message(UnsupportedError, g.save(tmp_path))


def test_axis_declared_as_minus_one_has_no_size(tmp_path: Path) -> None:
    model = small().model()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = -1
    onnx.save(model, tmp_path / "model.onnx")
    assert "the size of dimension 'axis 1' is not known" in message(ModelError, tmp_path / "model.onnx")
    imported = import_model(tmp_path / "model.onnx", shapes={"x": (2, 4, 8)})
    assert [str(size) for size in imported.graph.inputs[0].shape or ()] == ["batch", "4", "8"]
