"""Quantization as others do it, to compare with: onnxruntime's plain min-max, and the output of softmax alone quantized."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
from bench_accuracy import Runner, float_runner, static_runner
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationMethod, QuantType

from edgeflow.hw.arrays import Array, Arrays

PRODUCTS = ("Conv", "Gemm", "MatMul")


def minmax_runner(model: Path, calibration: Arrays, bits: int, folder: Path, everything: bool) -> Runner:
    """onnxruntime's quantize_static with min-max ranges, one scale a tensor, weights signed and symmetric, activations unsigned
    with a zero point, of 4 or 8 bits: the operands of every matrix product, those of attention, the first and the last layer
    included, and the rest float; or ``everything``, quantize_static's own default: what every operator reads and makes."""
    weight, activation = {4: (QuantType.QInt4, QuantType.QUInt4), 8: (QuantType.QInt8, QuantType.QUInt8)}[bits]
    return static_runner(
        model,
        calibration,
        folder,
        None if everything else PRODUCTS,
        per_channel=False,
        weight_type=weight,
        activation_type=activation,
        calibrate_method=CalibrationMethod.MinMax,
        extra_options={} if everything else {"OpTypesToExcludeOutputQuantization": list(PRODUCTS)},
    )


def softmax_runner(model: Path, calibration: Arrays, bits: int, logarithmic: bool) -> Runner:
    """The float model with the output of every softmax alone in ``bits``: uniform from 0 to the largest value on the calibration
    data, one scale a tensor; or ``logarithmic``, the nearest power of two from 2^0 down to 2^(1 - 2^bits), as in FQ-ViT (arXiv
    2111.13824)."""
    proto = onnx.load(model)
    largest = _largest(proto, [node.output[0] for node in proto.graph.node if node.op_type == "Softmax"], calibration)
    steps = (1 << bits) - 1
    nodes: list[onnx.NodeProto] = []
    for node in proto.graph.node:
        nodes.append(node)
        if node.op_type == "Softmax":
            name = node.output[0]
            node.output[0] = before = f"{name}/float"
            nodes += _power_of_two(before, name, steps) if logarithmic else _uniform(before, name, steps, largest[name])
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        onnx.save(proto, file)
        return float_runner(file)


def _uniform(before: str, after: str, steps: int, largest: float) -> list[onnx.NodeProto]:
    return [
        _constant(f"{after}/step", largest / steps),
        _constant(f"{after}/least", 0.0),
        _constant(f"{after}/most", steps),
        helper.make_node("Div", [before, f"{after}/step"], [f"{after}/scaled"]),
        helper.make_node("Round", [f"{after}/scaled"], [f"{after}/rounded"]),
        helper.make_node("Clip", [f"{after}/rounded", f"{after}/least", f"{after}/most"], [f"{after}/word"]),
        helper.make_node("Mul", [f"{after}/word", f"{after}/step"], [after]),
    ]


def _power_of_two(before: str, after: str, steps: int) -> list[onnx.NodeProto]:
    return [
        _constant(f"{after}/two", 2.0),
        _constant(f"{after}/tiny", 2.0**-100),
        _constant(f"{after}/log2", np.log(2.0)),
        _constant(f"{after}/least", -steps),
        _constant(f"{after}/most", 0.0),
        helper.make_node("Max", [before, f"{after}/tiny"], [f"{after}/positive"]),
        helper.make_node("Log", [f"{after}/positive"], [f"{after}/natural"]),
        helper.make_node("Div", [f"{after}/natural", f"{after}/log2"], [f"{after}/exponent"]),
        helper.make_node("Round", [f"{after}/exponent"], [f"{after}/rounded"]),
        helper.make_node("Clip", [f"{after}/rounded", f"{after}/least", f"{after}/most"], [f"{after}/word"]),
        helper.make_node("Pow", [f"{after}/two", f"{after}/word"], [after]),
    ]


def _constant(name: str, value: float) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(value, dtype=np.float32)))


def _largest(proto: onnx.ModelProto, tensors: list[str], calibration: Arrays) -> dict[str, float]:
    """The largest value of each tensor on the calibration data."""
    probe = onnx.ModelProto()
    probe.CopyFrom(proto)
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "probe.onnx"
        onnx.save(probe, file)
        outputs: dict[str, Array] = float_runner(file)(calibration)
    return {name: float(outputs[name].max()) for name in tensors}
