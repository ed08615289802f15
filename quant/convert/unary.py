"""Elementwise functions of one tensor as tables, in a linear layer's epilogue or alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir

from edgeflow.hw.arrays import Real
from edgeflow.hw.graph import QType
from edgeflow.hw.ops.smooth import ENTRY_BITS, smooth_parameters
from edgeflow.quant.canonical.graph import origin, output_name, required_input
from edgeflow.quant.canonical.session import open_session, run_session
from edgeflow.quant.convert.context import Context
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.formats.observe import Statistics
from edgeflow.quant.formats.prequantized import INDEX, given_format
from edgeflow.quant.formats.ranges import STILL, reach, tensor_groups

TABLE_BITS = 10  # index width of a table that stands alone
SEARCH_VALUES = 1 << 12
SAME = 2.0**-20  # both sides of a rectifier agree to this much of its range: float32 evaluates it
SHRINK = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

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
    single.ir_version = proto.ir_version
    session = open_session(single, threads=1)

    def function(x: Real) -> Real:
        flat = np.ascontiguousarray(x, dtype=np.float32).reshape(-1)
        y: Real = np.nan_to_num(run_session(session, {"x": flat})["y"].astype(np.float64)).reshape(x.shape)
        return y

    return function


def index_range(stats: Statistics, function: Function, bits: int, config: QuantizationConfig) -> tuple[float, float]:
    """The range of the argument that the table's index covers.

    With observer ``auto`` or ``mse`` it is the range with the least squared error after the function, by search over the sampled
    arguments: where the function is flat the range may end early. Neither end is bound to 0.
    """
    low, high = float(stats.minimum.min()), float(stats.maximum.max())
    if high - low <= STILL * max(-low, high):  # constant on the calibration data, but for float32's rounding: a guess
        size = max(-low, high) or 1.0
        return low - size, low + size
    least, most = reach(stats, tensor_groups(len(stats.mean)), config)
    low, high = float(least.min()), float(most.max())
    if config.observer == "minmax":
        return low, high
    values = stats.rows.reshape(-1)
    if config.observer == "percentile":
        ends = np.percentile(values, [100.0 - config.percentile, config.percentile])
        return float(ends[0]), float(ends[1])
    rng = np.random.default_rng(config.seed)
    sample = rng.choice(values, min(SEARCH_VALUES, values.size), replace=False).astype(np.float64)
    sample = np.append(sample, [low, high])
    expected = function(sample)
    middle = float(np.median(sample))
    steps = (1 << bits) - 1

    def error(ends: tuple[float, float]) -> float:
        scale = (ends[1] - ends[0]) / steps
        index = np.clip(np.floor((sample - ends[0]) / scale + 0.5), 0, steps)
        difference = function(ends[0] + scale * index) - expected
        return float(np.dot(difference, difference))

    left, right = ([end + (middle - end) * share for share in SHRINK] for end in (low, high))
    return min(((a, b) for a in left for b in right), key=error)


def index_type(low: float, high: float, bits: int) -> QType:
    """The format of a table's index that covers ``[low, high]``; its zero point may lie outside the format."""
    scale = (high - low) / ((1 << bits) - 1)
    return QType(bits, True, scale, -(1 << (bits - 1)) - int(np.floor(low / scale + 0.5)))


def table_values(function: Function, index: QType) -> Real:
    """The function's value at every index, from the least."""
    return function(index.dequantize(np.arange(index.minimum, index.maximum + 1)))


def rectifier_delta(function: Function, limit: float) -> Function | None:
    """What a smooth rectifier takes from ReLU, a function of ``|x|``: ``-f(-a) = a - f(a)`` for ``0 <= a <= limit``; None for other
    functions."""
    a = np.linspace(0.0, limit, SEARCH_VALUES)
    with np.errstate(all="ignore"):
        difference = np.abs(-function(-a) - (a - function(a))).max()
    return (lambda x: -function(-x)) if difference <= SAME * max(limit, 1.0) else None


def delta_reach(delta: Function, limit: float, tolerance: float) -> float:
    """Where delta falls below ``tolerance`` for good, or ``limit``."""
    low, high = 0.0, limit
    for _ in range(2):  # a function such as HardSwish ends at a corner, which the last knot has to meet
        a = np.linspace(low, high, SEARCH_VALUES)
        beyond = np.flatnonzero(np.abs(delta(a)) > tolerance)
        if not len(beyond) or beyond[-1] + 1 == len(a):
            return high
        low, high = float(a[beyond[-1]]), float(a[beyond[-1] + 1])
    return high


def _convert_smooth(function: Function, source: str, output: str, out: QType, where: str, context: Context) -> bool:
    """A smooth rectifier of a wide tensor: ReLU minus an interpolated table. False if the function or its scales are not that."""
    x = context.qtype(source)
    step, fine = float(x.scales), float(out.scales)
    limit = (max(-x.minimum, x.maximum) + 1) * step
    delta = rectifier_delta(function, limit)
    if delta is None:
        return False
    reach = delta_reach(delta, limit, fine / 8)
    try:
        attributes, table = smooth_parameters(delta, reach, step, fine, (out.bits, out.signed, out.zero_point))
    except ValueError:
        return False
    constant = context.builder.constant(f"{output}/table", table, ENTRY_BITS)
    context.set(output, context.builder.node("smooth", [source, constant], output, out, where, attributes))
    return True


def convert_unary(node: ir.Node, context: Context) -> None:
    """A function that no linear layer absorbed: of a wide tensor, ReLU minus a table where it has that form; else requantize to the
    index of an exact table."""
    source, output, where = required_input(node, 0), output_name(node), origin(node)
    out, stream = context.plan.qtype(output), context.stream(source, node)
    function = unary_function(context.graph.model, node)
    if context.qtype(stream).bits > TABLE_BITS and _convert_smooth(function, stream, output, out, where, context):
        return
    wanted = given_format(node, INDEX)
    if wanted is None:
        wanted = index_type(*index_range(context.statistics[source], function, TABLE_BITS, context.config.at(source)), TABLE_BITS)
    index = context.requantize(stream, wanted, f"{output}/index", where)
    entries = out.quantize(table_values(function, wanted))
    table = context.builder.constant(f"{output}/table", entries, out.bits, out.signed)
    context.set(output, context.builder.node("table", [index, table], output, out, where, {"minimum": wanted.minimum}))
