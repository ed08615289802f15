"""Models that are quantized already keep their words, scales and bits: onnxruntime's, every spelling, and bad ones."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from quantized_measures import integers, sqnr
from tiny_transformer import tiny_transformer

from edgeflow.hw.arrays import Array
from edgeflow.hw.errors import EdgeFlowError, UnsupportedError
from edgeflow.hw.graph import QType
from edgeflow.hw.graph_equality import differences
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.inputs import decode_outputs, encode_inputs
from edgeflow.quant.convert.fixed_formats import produced_format
from edgeflow.quant.formats.prequantized import fixed_format, model_warnings
from edgeflow.quant.ptq import quantize
from edgeflow.sim.executor import Executor
from edgeflow.sw.export import export_qdq
from edgeflow.sw.importer import import_model, run, session

VIT = Path(__file__).resolve().parents[3] / "examples" / "fashion_mnist_vit"


# onnxruntime


class _Images:
    """Calibration data as onnxruntime wants it."""

    def __init__(self, images: Array) -> None:
        self.batches = iter([{"image": images[i : i + 16]} for i in range(0, len(images), 16)])

    def get_next(self) -> dict[str, Array] | None:
        return next(self.batches, None)


@pytest.mark.parametrize(("per_channel", "signed"), [(False, False), (True, True)])
def test_a_model_quantized_by_onnxruntime(tmp_path: Path, per_channel: bool, signed: bool) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    calibration = np.load(VIT / "calibration.npz")["image"][:64]
    test = np.load(VIT / "test.npz")["image"][:200]
    path = tmp_path / "model.onnx"
    logging.disable(logging.WARNING)  # it says much
    try:
        quantize_static(
            VIT / "model.onnx",
            path,
            _Images(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=per_channel,
            activation_type=QuantType.QInt8 if signed else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"ActivationSymmetric": signed},
        )
    finally:
        logging.disable(logging.NOTSET)
    expected = run(session(path), {"image": test})["logits"]
    model = import_model(path)
    scales = {float(s) for tensor in onnx.load(path).graph.initializer if tensor.name.endswith("_scale")
              for s in numpy_helper.to_array(tensor).reshape(-1)}  # fmt: skip
    linear = [node for node in model.graph if node.op_type in ("Linear", "PatchEmbed")]
    for node in linear:
        x, weight = fixed_format(node, 0), fixed_format(node, 1)
        assert x is not None
        assert weight is not None
        assert {float(s) for s in np.atleast_1d(x.scales)} | {float(s) for s in np.atleast_1d(weight.scales)} <= scales
        assert isinstance(weight.scale, tuple) == per_channel
    lines = model_warnings(model)
    assert len(lines) == 1
    assert "quantizers of intermediate results are left out, since EdgeFlow computes these inside one operator" in lines[0]
    quantized = quantize(model, {"image": calibration})
    assert any("zero point" in line for line in quantized.warnings) != signed  # attention's operands
    words = Executor(quantized.graph).run(encode_inputs(quantized.graph, {"image": test}))
    logits = decode_outputs(quantized.graph, words)["logits"]
    assert (logits.argmax(1) == expected.argmax(1)).mean() >= 0.97
    assert sqnr(expected, logits) > 25


# Every spelling of a quantizer


def layer(
    *,
    opset: int = 21,
    weight: Array | None = None,
    weight_type: int = TensorProto.INT8,
    weight_scale: Any = 0.25,
    weight_zero: Any = None,
    weight_axis: int = 1,
    activation_type: int = TensorProto.INT8,
    activation_scale: Any = 0.5,
    activation_zero: Any = 0,
    clip: tuple[int, int] | None = None,
    attributes: dict[str, Any] | None = None,
) -> onnx.ModelProto:
    """``y = DQ(Clip(Q(x))) @ DQ(W)`` with x (2, 4) and W (4, 3)."""
    words = np.arange(-6, 6).reshape(4, 3) if weight is None else weight
    constants = [
        _tensor("w", words, weight_type),
        numpy_helper.from_array(np.asarray(weight_scale, np.float32), "ws"),
        _tensor("wz", np.zeros_like(weight_scale) if weight_zero is None else weight_zero, weight_type),
        numpy_helper.from_array(np.asarray(activation_scale, np.float32), "xs"),
        _tensor("xz", activation_zero, activation_type),
    ]
    options = attributes or {}
    nodes = [helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"], "quantize", **options)]
    last = "q"
    if clip is not None:
        constants += [_tensor("low", clip[0], activation_type), _tensor("high", clip[1], activation_type)]
        nodes.append(helper.make_node("Clip", ["q", "low", "high"], ["c"], "clip"))
        last = "c"
    nodes += [
        helper.make_node("DequantizeLinear", [last, "xs", "xz"], ["d"], "dequantize", **options),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["v"], "weights", axis=weight_axis),
        helper.make_node("MatMul", ["d", "v"], ["y"], "product"),
    ]
    return _model(nodes, constants, opset)


def _tensor(name: str, values: Any, kind: int) -> onnx.TensorProto:
    array = np.asarray(values)
    return helper.make_tensor(name, kind, array.shape, array.reshape(-1).tolist())


def _model(nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto], opset: int = 21) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])],
        constants,
    )
    domains = [helper.make_opsetid("", opset), helper.make_opsetid("qonnx.custom_op.general", 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=10)


def qonnx(op_type: str = "Quant", scale: Any = 0.5, zero: Any = 0.0, bits: Any = 4.0, **attributes: Any) -> onnx.ModelProto:
    """``y = Quant(x) @ W``."""
    constants = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in (
        ("s", scale), ("z", zero), ("b", bits), ("w", np.ones((4, 3))), ("out", 2.0))]  # fmt: skip
    inputs = {"Quant": ["x", "s", "z", "b"], "BipolarQuant": ["x", "s"], "Trunc": ["x", "s", "z", "b", "out"]}[op_type]
    nodes = [
        helper.make_node(op_type, inputs, ["d"], "quantize", domain="qonnx.custom_op.general", **attributes),
        helper.make_node("MatMul", ["d", "w"], ["y"], "product"),
    ]
    return _model(nodes, constants)


def linear_of(proto: onnx.ModelProto, folder: Path) -> tuple[QType | None, QType | None, Array]:
    """The formats of the only layer's input and weights, and its real weights."""
    onnx.save(proto, folder / "model.onnx")
    model = import_model(folder / "model.onnx")
    (node,) = (node for node in model.graph if node.op_type == "Linear")
    weight = node.inputs[1]
    assert weight is not None
    assert weight.const_value is not None
    return fixed_format(node, 0), fixed_format(node, 1), weight.const_value.numpy()


def shown(qtype: QType | None) -> tuple[int, bool, Any, int]:
    """Bits, sign, scale, zero point."""
    assert qtype is not None
    return qtype.bits, qtype.signed, qtype.scale, qtype.zero_point


@pytest.mark.parametrize(
    ("options", "activation", "weights"),
    [
        ({}, (8, True, 0.5, 0), (8, True, 0.25, 0)),
        ({"opset": 11, "weight_axis": 1}, (8, True, 0.5, 0), (8, True, 0.25, 0)),
        ({"opset": 25}, (8, True, 0.5, 0), (8, True, 0.25, 0)),
        ({"clip": (-8, 7)}, (4, True, 0.5, 0), (8, True, 0.25, 0)),
        ({"activation_type": TensorProto.UINT8, "clip": (0, 15)}, (4, False, 0.5, 0), (8, True, 0.25, 0)),
        ({"activation_type": TensorProto.UINT8, "activation_zero": 100}, (8, True, 0.5, -28), (8, True, 0.25, 0)),
        ({"activation_type": TensorProto.UINT8, "activation_zero": 128}, (8, True, 0.5, 0), (8, True, 0.25, 0)),
        ({"activation_type": TensorProto.INT4, "weight_type": TensorProto.INT4}, (4, True, 0.5, 0), (4, True, 0.25, 0)),
        ({"activation_type": TensorProto.UINT4}, (4, False, 0.5, 0), (8, True, 0.25, 0)),
        ({"weight_scale": [0.25, 0.5, 1.0], "weight_zero": [0, 0, 0]}, (8, True, 0.5, 0), (8, True, (0.25, 0.5, 1.0), 0)),
        (
            {"weight_type": TensorProto.UINT8, "weight_zero": 128, "weight": np.arange(122, 134).reshape(4, 3)},
            (8, True, 0.5, 0),
            (8, True, 0.25, 0),
        ),
        (
            {"weight_type": TensorProto.UINT8, "weight_zero": 100, "weight": np.arange(94, 106).reshape(4, 3)},
            (8, True, 0.5, 0),
            (8, True, 0.25, 0),
        ),
        ({"activation_scale": [0.5]}, (8, True, 0.5, 0), (8, True, 0.25, 0)),
    ],
)
def test_quantize_and_dequantize(tmp_path: Path, options: dict[str, Any], activation: Any, weights: Any) -> None:
    if options.get("opset", 21) < 13:
        options = {key: value for key, value in options.items() if key != "weight_axis"}
    x, w, real = linear_of(layer(**options), tmp_path)
    assert (shown(x), shown(w)) == (activation, weights)
    scale = np.asarray(options.get("weight_scale", 0.25))
    np.testing.assert_array_equal(real, np.arange(-6, 6).reshape(4, 3) * scale)


@pytest.mark.parametrize(
    ("options", "activation"),
    [
        ({"signed": 1}, (4, True, 0.5, 0)),
        ({"signed": 0}, (4, False, 0.5, 0)),
        ({"signed": 0, "zero": 3.0}, (4, True, 0.5, -5)),
        ({"signed": 1, "rounding_mode": "HALF_UP"}, (4, True, 0.5, 0)),
    ],
)
def test_quant(tmp_path: Path, options: dict[str, Any], activation: Any) -> None:
    x, weight, _ = linear_of(qonnx(**options), tmp_path)
    assert shown(x) == activation
    assert weight is None


def test_quant_of_old_operator_sets(tmp_path: Path) -> None:
    """QONNX's zoo is in opset 9: a new number where no standard operator changed, ONNX's converter where one did."""
    proto = qonnx(signed=1)
    proto.opset_import[0].version = 9
    proto.ir_version = 4
    assert shown(linear_of(proto, tmp_path)[0]) == (4, True, 0.5, 0)
    sliced = helper.make_node("Slice", ["y"], ["first"], "slice", axes=[1], starts=[0], ends=[2])
    proto.graph.node.append(sliced)
    del proto.graph.output[:]
    proto.graph.output.append(helper.make_tensor_value_info("first", TensorProto.FLOAT, [2, 2]))
    assert shown(linear_of(proto, tmp_path)[0]) == (4, True, 0.5, 0)


def test_weights_of_one_bit(tmp_path: Path) -> None:
    proto = qonnx(signed=1)
    proto.graph.node[1].input[1] = "v"
    proto.graph.initializer[3].CopyFrom(numpy_helper.from_array(np.array([[1, -2, 3]] * 4, np.float32), "w"))
    proto.graph.node.insert(0, helper.make_node("BipolarQuant", ["w", "s"], ["v"], "sign", domain="qonnx.custom_op.general"))
    _, weight, real = linear_of(proto, tmp_path)
    assert shown(weight) == (2, True, 0.5, 0)
    np.testing.assert_array_equal(real, [[0.5, -0.5, 0.5]] * 4)


def test_scales_that_the_model_computes(tmp_path: Path) -> None:
    proto = layer()
    proto.graph.initializer.append(numpy_helper.from_array(np.array(2.0, np.float32), "two"))
    for node in proto.graph.node:
        for i, name in enumerate(node.input):
            if name == "xs":
                node.input[i] = "xs2"
    proto.graph.node.insert(0, helper.make_node("Mul", ["xs", "two"], ["xs2"], "scale"))
    x, _, _ = linear_of(proto, tmp_path)
    assert shown(x) == (8, True, 1.0, 0)


def test_quantizers_behind_data_movement_and_for_each_reader(tmp_path: Path) -> None:
    """A quantizer on either side of a transposition means the same; two equal ones in a row, or one for each reader, are one."""
    proto = layer()
    proto.graph.initializer.append(numpy_helper.from_array(np.array([2, 2, 2], np.int64), "shape"))
    proto.graph.initializer.append(numpy_helper.from_array(np.array([2, 4], np.int64), "flat"))
    del proto.graph.node[-1]
    proto.graph.node.extend(
        [
            helper.make_node("Reshape", ["d", "shape"], ["r"], "split"),
            helper.make_node("QuantizeLinear", ["r", "xs", "xz"], ["q2"], "quantize2"),
            helper.make_node("DequantizeLinear", ["q2", "xs", "xz"], ["d2"], "dequantize2"),
            helper.make_node("Reshape", ["d2", "flat"], ["f"], "join"),
            helper.make_node("MatMul", ["f", "v"], ["y"], "product"),
        ]
    )
    onnx.save(proto, tmp_path / "model.onnx")
    model = import_model(tmp_path / "model.onnx")
    (node,) = model.graph
    assert shown(fixed_format(node, 0)) == (8, True, 0.5, 0)
    assert model_warnings(model) == ()


@pytest.mark.parametrize("scale", [0.25, [0.25, 0.5, 1.0]])
def test_weights_that_rewriting_scales_and_transposes(tmp_path: Path, scale: Any) -> None:
    """``0.3 * x W^T`` with quantized W: the words stay, the scales get the factor."""
    zero = None if isinstance(scale, float) else [0, 0, 0]
    proto = layer(weight=np.arange(-6, 6).reshape(4, 3).T, weight_scale=scale, weight_zero=zero, weight_axis=0)
    proto.graph.node[-1].CopyFrom(helper.make_node("Gemm", ["d", "v"], ["y"], "product", alpha=0.3, transB=1))
    _, weight, real = linear_of(proto, tmp_path)
    assert weight is not None
    np.testing.assert_allclose(np.broadcast_to(weight.scales, 3), 0.3 * np.broadcast_to(scale, 3), rtol=1e-6)
    np.testing.assert_allclose(real / weight.scales, np.arange(-6, 6).reshape(4, 3), rtol=0, atol=1e-4)


def test_a_wide_stream_and_an_output(tmp_path: Path) -> None:
    """16 bits where no linear layer reads them; a residual that is read as it is and quantized; an output's own format."""
    constants = {
        "s16": np.float32(3e-4), "z16": np.uint16(32768), "s8": np.float32(0.03), "z8": np.int8(0), "so": np.float32(0.1),
        "zo": np.uint8(120), "g": np.ones(4, np.float32), "b": np.zeros(4, np.float32), "w": np.eye(4, dtype=np.int8) * 100,
        "ws": np.float32(0.01),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s16", "z16"], ["q16"], "q16"),
        helper.make_node("DequantizeLinear", ["q16", "s16", "z16"], ["d16"], "d16"),
        helper.make_node("LayerNormalization", ["d16", "g", "b"], ["n"], "norm", axis=-1),
        helper.make_node("QuantizeLinear", ["n", "s8", "z8"], ["q8"], "q8"),
        helper.make_node("DequantizeLinear", ["q8", "s8", "z8"], ["d8"], "d8"),
        helper.make_node("DequantizeLinear", ["w", "ws"], ["v"], "v"),
        helper.make_node("MatMul", ["d8", "v"], ["p"], "product"),
        helper.make_node("Add", ["p", "n"], ["sum"], "sum"),
        helper.make_node("QuantizeLinear", ["sum", "so", "zo"], ["qo"], "qo"),
        helper.make_node("DequantizeLinear", ["qo", "so", "zo"], ["y"], "do"),
    ]
    proto = _model(nodes, [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()])
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4
    onnx.save(proto, tmp_path / "model.onnx")
    model = import_model(tmp_path / "model.onnx")
    norm, linear, add = model.graph
    assert shown(fixed_format(norm, 0)) == (16, True, float(np.float32(3e-4)), 0)
    assert shown(fixed_format(linear, 0)) == (8, True, float(np.float32(0.03)), 0)
    assert [fixed_format(add, i) for i in range(2)] == [None, None]
    assert shown(fixed_format(add, None)) == (8, True, float(np.float32(0.1)), -8)
    x = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    graph = quantize(model, {"x": x}).graph
    assert {name: graph.tensors[name].qtype.scale for name in ("x", "y")} == {
        "x": float(np.float32(3e-4)),
        "y": float(np.float32(0.1)),
    }
    actual = decode_outputs(graph, Executor(graph).run(encode_inputs(graph, {"x": x})))["y"]
    expected = np.concatenate([run(session(tmp_path / "model.onnx"), {"x": x[i : i + 2]})["y"] for i in range(0, 200, 2)])
    assert np.abs(actual - expected).max() <= 0.1001
    assert (np.abs(actual - expected) < 0.05).mean() > 0.95


@pytest.mark.parametrize("steps", [(0.75,), (0.6, 0.75)])
def test_quantizers_behind_quantizers(steps: tuple[float, ...], tmp_path: Path) -> None:
    """A value is made in the steps of the first quantizer and read in those of the last; any between are told."""
    proto = layer()
    del proto.graph.node[-1]
    source = "d"
    for number, step in enumerate(steps):
        scale, words, real = (f"{name}{number}" for name in ("xs", "q", "d"))
        proto.graph.initializer.append(numpy_helper.from_array(np.array(step, np.float32), scale))
        proto.graph.node.append(helper.make_node("QuantizeLinear", [source, scale, "xz"], [words], f"quantize{number}"))
        proto.graph.node.append(helper.make_node("DequantizeLinear", [words, scale, "xz"], [real], f"dequantize{number}"))
        source = real
    proto.graph.node.append(helper.make_node("MatMul", [source, "v"], ["y"], "product"))
    onnx.save(proto, tmp_path / "model.onnx")
    model = import_model(tmp_path / "model.onnx")
    first, last = produced_format(FloatGraph(model), "x"), fixed_format(model.graph.node("product"), 0)
    assert first is not None
    assert last is not None
    assert (first[0].scale, last.scale) == (0.5, 0.75)
    line = "dequantize1: quantizes values that another quantizer has rounded to other steps; only this quantizer is kept"
    assert model_warnings(model) == ((line,) if len(steps) > 1 else ())
    x = (np.random.default_rng(2).normal(size=(64, 4)) * 20).astype(np.float32)
    graph = quantize(model, {"x": x}).graph
    assert [graph.tensors[node.inputs[0]].qtype.scale for node in graph.nodes] == [0.5, 0.75]


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (
            layer(activation_scale=[0.5, 0.5, 0.25, 0.5], activation_zero=[0] * 4),
            "weights: the weights are read with activations that have a scale for each channel",
        ),
        (layer(weight_scale=np.ones((2, 3)), weight_zero=np.zeros((2, 3)), weight_axis=0), "weights .*: scales for blocks of 'w'"),
        (
            layer(weight_scale=[1.0] * 3 + [2.0], weight_zero=[0] * 4, weight_axis=0),
            "weights: weights with a scale for each input",
        ),
        (layer(activation_type=TensorProto.INT16), "dequantize: product would read 16 bits; linear layers read at most 8"),
        (layer(activation_scale=0.0), "dequantize .*: its scale is not positive"),
        (layer(clip=(0, 1)), "dequantize .*: an activation of 1 bit is not supported"),
        (
            layer(weight_type=TensorProto.UINT8, weight_zero=0, weight=np.full((4, 3), 200)),
            "weights: its weights, counted from the zero point, reach from 200 to 200",
        ),
        (layer(weight_type=TensorProto.INT16, weight=np.full((4, 3), 999)), "weights: its weights, .*, reach from 999 to 999"),
        (qonnx(rounding_mode="FLOOR"), "quantize .*: rounding mode FLOOR of an activation is not supported"),
        (qonnx(rounding_mode="ROUND_TO_ZERO"), "quantize .*: rounding mode ROUND_TO_ZERO of an activation is not supported"),
        (qonnx(scale=[[0.5], [0.25]]), "quantize: an activation with scales along another axis than that of its channels"),
        (qonnx(scale=np.linspace(1, 2, 8).reshape(2, 4)), "quantize .*: scales for blocks are not supported"),
        (qonnx(zero=[0.0, 1.0, 0.0, 0.0]), "quantize .*: an activation with a zero point for each channel"),
        (qonnx(bits=2.5), "quantize .*: 2.5 bits"),
        (qonnx(zero=0.5), "quantize .*: its zero point 0.5 is not an integer"),
        (qonnx("BipolarQuant"), "quantize .*: activations of one bit are not supported"),
        (qonnx("Trunc"), "quantize .*: cutting bits off is not supported"),
    ],
)
def test_what_is_refused(tmp_path: Path, proto: onnx.ModelProto, message: str) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    with pytest.raises(EdgeFlowError, match=message) as caught:
        import_model(path)
    assert isinstance(caught.value, UnsupportedError) or "not positive" in message or "integer" in message
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_integer_operators_and_inputs_are_refused(tmp_path: Path) -> None:
    proto = layer()
    proto.graph.node.insert(1, helper.make_node("Add", ["q", "q"], ["sum"], "integers"))
    proto.graph.node[2].input[0] = "sum"
    onnx.save(proto, tmp_path / "model.onnx")
    with pytest.raises(UnsupportedError, match=r"integers \(Add\): it computes on quantized integers"):
        import_model(tmp_path / "model.onnx")
    proto = layer()
    del proto.graph.node[0]
    proto.graph.node[0].input[0] = "x"
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.INT8
    onnx.save(proto, tmp_path / "model.onnx")
    with pytest.raises(UnsupportedError, match=r"dequantize \(DequantizeLinear\): input 'x' of the model holds integers"):
        import_model(tmp_path / "model.onnx")
    proto = layer()
    proto.graph.output[0].name = "q"
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.INT8
    onnx.save(proto, tmp_path / "model.onnx")
    with pytest.raises(UnsupportedError, match=r"quantize \(QuantizeLinear\): its integers leave the model as they are"):
        import_model(tmp_path / "model.onnx")
    proto = layer()
    proto.graph.node[1].input[1] = "ws"
    onnx.save(proto, tmp_path / "model.onnx")
    with pytest.raises(UnsupportedError, match=r"its scale or zero point is not that of quantize \(QuantizeLinear\)"):
        import_model(tmp_path / "model.onnx")


# Quantizers inside attention


def queries_quantized(scale: float, zero_point: np.generic) -> onnx.ModelProto:
    """The tiny transformer, whose heads are padded, with a pair of quantizers on the queries of its heads."""
    proto = tiny_transformer()
    scores = next(node for node in proto.graph.node if node.name == "node_scores")
    operands = ["pair_scale", "pair_zero"]
    proto.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in zip(operands, (np.float32(scale), zero_point), strict=True)
    )
    pair = [
        helper.make_node("QuantizeLinear", [scores.input[0], *operands], ["pair_q"], name="pair_q"),
        helper.make_node("DequantizeLinear", ["pair_q", *operands], ["pair_d"], name="pair_d"),
    ]
    scores.input[0] = "pair_d"
    place = list(proto.graph.node).index(scores)
    for node in reversed(pair):
        proto.graph.node.insert(place, node)
    return proto


@pytest.mark.parametrize("zero_point", [np.int8(0), np.int8(-20)])
def test_a_quantizer_on_the_queries_of_padded_heads(tmp_path: Path, zero_point: np.generic) -> None:
    """The layer makes the words of the quantizer; what attention reads is a copy, and that is padded."""
    onnx.save(queries_quantized(0.03, zero_point), tmp_path / "model.onnx")
    model = import_model(tmp_path / "model.onnx")
    x = np.random.default_rng(0).normal(size=(16, 5, 16)).astype(np.float32)
    quantized = quantize(model, {"tokens": x})
    outputs = decode_outputs(quantized.graph, integers(quantized.graph, x))
    expected = run(session(model), {"tokens": x})
    for name, value in outputs.items():
        assert sqnr(expected[name], value) > 25


def test_a_zero_point_beyond_32_bits(tmp_path: Path) -> None:
    onnx.save(queries_quantized(1e6, np.int16(-32768)), tmp_path / "model.onnx")
    with pytest.raises(UnsupportedError, match=r"more than 32 bits: the scale 1e\+06 of the quantizer before it is too large"):
        quantize(import_model(tmp_path / "model.onnx"), {"tokens": np.ones((4, 5, 16), np.float32)})


# Steps that lie far apart


def quantized_output(proto: onnx.ModelProto, scale: float, zero_point: int = 0, bias: Any = 0.0) -> onnx.ModelProto:
    """:func:`layer`, with a bias and a quantizer behind it."""
    proto.graph.node[-1].output[0] = "product"
    operands = ["ys", "yz"]
    proto.graph.initializer.extend(
        (
            _tensor("ys", scale, TensorProto.FLOAT),
            _tensor("yz", zero_point, TensorProto.INT8),
            _tensor("b", bias, TensorProto.FLOAT),
        )
    )
    proto.graph.node.append(helper.make_node("Add", ["product", "b"], ["sum"], "add"))
    proto.graph.node.append(helper.make_node("QuantizeLinear", ["sum", *operands], ["yq"], "quantize_y"))
    proto.graph.node.append(helper.make_node("DequantizeLinear", ["yq", *operands], ["y"], "dequantize_y"))
    return proto


def test_a_grid_far_coarser_than_the_next(tmp_path: Path) -> None:
    """What the first quantizer takes for 0 is 0 in the second one's format, and all else its largest value, as in onnxruntime."""
    proto = layer(activation_scale=1e6, activation_zero=-128)
    operands = [_tensor("s", 0.1, TensorProto.FLOAT), _tensor("z", 3, TensorProto.INT8)]
    proto.graph.initializer.extend(operands)
    proto.graph.node.insert(2, helper.make_node("QuantizeLinear", ["d", "s", "z"], ["fine"], "fine"))
    proto.graph.node.insert(3, helper.make_node("DequantizeLinear", ["fine", "s", "z"], ["read"], "read"))
    next(node for node in proto.graph.node if node.name == "product").input[0] = "read"
    onnx.save(proto, tmp_path / "model.onnx")
    model = import_model(tmp_path / "model.onnx")
    x = np.random.default_rng(3).choice([-1e6, 0, 1, 1e6, 3e6], (64, 4)).astype(np.float32)
    graph = quantize(model, {"x": x}).graph
    words = integers(graph, x)
    (linear,) = (node for node in graph.nodes if node.op == "linear")
    np.testing.assert_array_equal(words[linear.inputs[0]], np.where(x > 1, 127, 3))


CONSTANT = {
    "a zero point beyond 32 bits": quantized_output(layer(), 1e8, -128),
    "a zero point beyond 64 bits": quantized_output(layer(), 1e20, -128),
    "no multiplier": quantized_output(layer(weight_scale=1e-6), 1e13, bias=1e15 / 2),
    "weights that are 0, with a scale that is next to it": quantized_output(
        layer(weight=np.arange(-6, 6).reshape(4, 3) * [1, 0, 1], weight_scale=[0.25, 1e-12, 0.25]), 0.25, 8, [0.5, 9.75, 0.0]
    ),
}


@pytest.mark.parametrize("case", CONSTANT)
def test_outputs_that_weights_do_not_move(tmp_path: Path, case: str) -> None:
    """They are what onnxruntime computes, and the exported model compiles to the same network."""
    onnx.save(CONSTANT[case], tmp_path / "model.onnx")
    x = (np.random.default_rng(3).normal(size=(64, 4)) * 3).astype(np.float32)
    model = import_model(tmp_path / "model.onnx")
    quantized = quantize(model, {"x": x})
    original = session(tmp_path / "model.onnx", optimize=False)  # its own integer layers have no such biases
    expected = np.concatenate([run(original, {"x": x[i : i + 2]})["y"] for i in range(0, 64, 2)])
    actual = decode_outputs(quantized.graph, integers(quantized.graph, x))["y"]
    np.testing.assert_array_equal(actual.astype(np.float32), expected)
    (tmp_path / "exported.onnx").write_bytes(export_qdq(model, quantized, {}).SerializeToString())
    again = quantize(import_model(tmp_path / "exported.onnx"), {"x": x}).graph
    assert list(differences(quantized.graph, again)) == []


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (
            quantized_output(layer(weight_scale=1e-6), 1e-6, bias=1e4),
            "constant y/bias leaves its signed 32-bit format: .*; it counts steps that the model's own quantizers fix",
        ),
        (
            quantized_output(layer(weight_scale=[1e-6, 1.0, 1.0]), 1e-6, bias=[1e14, 0, 0]),
            "constant y/bias leaves its signed 32-bit format: .*; it counts steps that the model's own quantizers fix",
        ),
        (
            quantized_output(layer(weight_scale=[1e3, 1e-5, 1e3]), 1e-3),
            "product: the scales of its weights reach from 1e-05 to 1000, too far apart for multipliers with one shift",
        ),
    ],
)
def test_steps_too_far_apart_are_refused(tmp_path: Path, proto: onnx.ModelProto, message: str) -> None:
    onnx.save(proto, tmp_path / "model.onnx")
    model = import_model(tmp_path / "model.onnx")
    with pytest.raises(UnsupportedError, match=message):
        quantize(model, {"x": np.ones((4, 4), np.float32)})
