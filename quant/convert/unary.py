"""Elementwise functions of one tensor as tables: 256 entries in a linear layer's epilogue, 1024 alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray

from edgeflow.hw.graph import IntArray, QType
from edgeflow.quant.config import QuantizationConfig
from edgeflow.quant.convert.context import Context
from edgeflow.quant.float_graph import origin, output_name, required_input
from edgeflow.quant.observe import Statistics
from edgeflow.quant.session import MAXIMUM_IR_VERSION

TABLE_BITS = 10  # index width of a table that stands alone
SEARCH_VALUES = 1 << 13
SHRINK = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
REFINE = (-0.075, -0.05, -0.025, 0.0, 0.025, 0.05, 0.075)

Real = NDArray[np.float64]
Function = Callable[[Real], Real]


def unary_function(model: ir.Model, node: ir.Node) -> Function:
    """The function of a unary node, evaluated by onnxruntime in float32 exactly as the float model does."""
    proto = ir.to_proto(model)
    alone = onnx.helper.make_node(node.op_type, ["x"], ["y"], domain=node.domain, overload=node.overload or None)
    alone.attribute.extend(ir.to_proto(attribute) for attribute in node.attributes.values())
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None]) for name in "xy"]
    wanted = [f for f in proto.functions if f.domain == node.domain and f.name == node.op_type]
    graph = onnx.helper.make_graph([alone], "unary", value[:1], value[1:])
    single = onnx.helper.make_model(graph, opset_imports=proto.opset_import, functions=wanted)
    single.ir_version = min(proto.ir_version, MAXIMUM_IR_VERSION)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(single.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def function(x: Real) -> Real:
        flat = np.ascontiguousarray(x, dtype=np.float32).reshape(-1)
        y: Real = np.nan_to_num(session.run(["y"], {"x": flat})[0].astype(np.float64)).reshape(x.shape)
        return y

    return function


def index_range(stats: Statistics, function: Function, bits: int, out: QType, config: QuantizationConfig) -> tuple[float, float]:
    """The range of the argument that the table's index covers.

    With observer ``auto`` or ``mse`` it is the range with the least squared error after the function, by search over the sampled
    arguments: where the function is flat the range may end early. Neither end is bound to 0.
    """
    low, high = float(stats.minimum.min()), float(stats.maximum.max())
    if high - low < 1e-9:
        return low - 1e-6, low + 1e-6
    if config.observer == "minmax":
        return low, high
    values = stats.rows.reshape(-1)
    if config.observer == "percentile":
        ends = np.percentile(values, [100.0 - config.percentile, config.percentile])
        return float(ends[0]), float(ends[1])
    rng = np.random.default_rng(config.seed)
    sample = rng.choice(values, min(SEARCH_VALUES, values.size), replace=False).astype(np.float64)
    expected = function(sample)
    middle = float(np.median(sample))

    def error(a: float, b: float) -> float:
        scale = (b - a) / ((1 << bits) - 1)
        table = out.dequantize(out.quantize(function(a + scale * np.arange(1 << bits, dtype=np.float64))))
        index = np.clip(np.floor((sample - a) / scale + 0.5), 0, (1 << bits) - 1).astype(np.intp)
        difference = table[index] - expected
        return float(np.dot(difference, difference))

    def search(left: tuple[float, ...], right: tuple[float, ...]) -> tuple[float, float]:
        pairs = [(a, b) for a in left for b in right if 0.0 <= a < 1.0 and 0.0 <= b < 1.0]
        return min(pairs, key=lambda pair: error(low + (middle - low) * pair[0], high + (middle - high) * pair[1]))

    a, b = search(SHRINK, SHRINK)
    a, b = search(tuple(a + d for d in REFINE), tuple(b + d for d in REFINE))
    return low + (middle - low) * a, high + (middle - high) * b


def table_entries(function: Function, low: float, high: float, bits: int, out: QType) -> tuple[IntArray, float, int]:
    """The table for indices ``-2^(bits-1) ..`` over ``[low, high]``, with the index's scale and zero point."""
    scale = (high - low) / ((1 << bits) - 1)
    half = 1 << (bits - 1)
    zero_point = -half - int(np.floor(low / scale + 0.5))
    index = np.arange(-half, half, dtype=np.float64)
    return out.quantize(function((index - zero_point) * scale)), scale, zero_point


def convert_unary(node: ir.Node, context: Context) -> None:
    """A function that no linear layer absorbed: requantize to the index, then the table."""
    source, output = required_input(node, 0), output_name(node)
    out = context.plan.qtype(output)
    function = unary_function(context.graph.model, node)
    low, high = index_range(context.statistics[source], function, TABLE_BITS, out, context.config)
    entries, scale, zero_point = table_entries(function, low, high, TABLE_BITS, out)
    where = origin(node)
    stream = context.stream(source, node)
    # The zero point may lie far outside the index's format: the requantize node adds it as a number of its own.
    index = context.requantize(stream, QType(TABLE_BITS, True, scale, zero_point), f"{output}/index", where)
    table = context.builder.constant(f"{output}/table", entries, out.bits, out.signed)
    attributes: dict[str, Any] = {}
    context.set(output, context.builder.node("table", [index, table], output, out, where, attributes))
