"""8-bit post-training quantization: a canonical float model and calibration data become an integer graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.graph import Graph, Overflow, QType
from edgeflow.hw.progress import Progress
from edgeflow.quant.builder import Correspondence, GraphBuilder
from edgeflow.quant.config import QuantizationConfig
from edgeflow.quant.convert import convert_node
from edgeflow.quant.convert.context import Context
from edgeflow.quant.float_graph import FloatGraph, Use, origin, parameter, sample_shape
from edgeflow.quant.inputs import check_ids, check_inputs, model_inputs
from edgeflow.quant.observe import Statistics, observe
from edgeflow.quant.plan import Plan
from edgeflow.quant.ranges import TensorRange


@dataclass(frozen=True)
class Quantized:
    """An integer graph and how it came about.

    ``ranges`` has a line for every activation whose range was chosen, by name; ``correspondence`` the float tensor behind every
    integer tensor that has one; ``warnings`` what the user should know, a line each.
    """

    graph: Graph
    ranges: Mapping[str, TensorRange]
    correspondence: Mapping[str, Correspondence]
    warnings: tuple[str, ...]


def quantize(
    model: ir.Model,
    calibration: Mapping[str, NDArray[Any]],
    config: QuantizationConfig | None = None,
    progress: Progress | None = None,
) -> Quantized:
    """Quantize a canonical model (see sw/importer) on calibration data, which has an array for every model input, samples first.

    ``progress(what, done, total)`` is called from time to time. Raises CalibrationError where the data does not fit the model, and
    UnsupportedError where the accelerator has no form of a node.
    """
    config = config or QuantizationConfig()
    arrays = check_inputs(model_inputs(model), calibration)
    graph = FloatGraph(model)
    for name in graph.inputs:
        vocabulary = _vocabulary(graph, name)
        if vocabulary is not None:
            check_ids(name, arrays[name], vocabulary - 1, "calibration data")
    statistics = observe(graph, arrays, config, progress)
    return convert(graph, statistics, config, progress)


def convert(
    graph: FloatGraph, statistics: dict[str, Statistics], config: QuantizationConfig, progress: Progress | None = None
) -> Quantized:
    """The integer graph of a canonical float graph whose activations have been observed."""
    plan = Plan(graph, statistics, config)
    builder = GraphBuilder(graph.model.graph.name or "model", [*graph.inputs, *graph.producers])
    context = Context(graph, statistics, config, plan, builder)
    for name in graph.inputs:
        _add_input(name, context)
    for i, node in enumerate(graph.nodes):
        convert_node(node, context)
        if progress is not None:
            progress("quantize", i + 1, len(graph.nodes))
    outputs = tuple(context.tensor(name) for name in graph.outputs)
    used = {name for node in builder.nodes for name in node.inputs} | set(outputs)
    ranges = {name: line for name, line in plan.ranges.items() if name in used}
    return Quantized(builder.graph(outputs), ranges, dict(builder.correspondence), _warnings(ranges))


def _add_input(name: str, context: Context) -> None:
    """Declare a model input: token ids and masks as they are, real values in the format of the plan."""
    value = next(v for v in context.graph.model.graph.inputs if v.name == name)
    shape = sample_shape(value)
    uses = context.graph.uses_of(name)
    vocabulary = _vocabulary(context.graph, name)
    if vocabulary is not None:
        qtype = QType(32, False, 1.0, overflow=Overflow.ERROR)
        context.set(name, context.builder.input(name, shape, qtype, limit=vocabulary - 1))
    elif (uses or name not in context.statistics) and all(_reads_mask(use) for use in uses):  # integers that nothing reads, too
        qtype = QType(8, False, 1.0, overflow=Overflow.ERROR)
        context.set(name, context.builder.input(name, shape, qtype, limit=1))
    elif name in context.statistics:
        context.set(name, context.builder.input(name, shape, context.plan.qtype(name)))
    else:
        readers = ", ".join(f"{origin(use.node)} ({use.node.op_type})" for use in uses)
        raise UnsupportedError(f"input {name!r}: integers are supported as token ids or as a key mask, but it is read by {readers}")


def _vocabulary(graph: FloatGraph, name: str) -> int | None:
    """Rows of the smallest table that an input of token ids is looked up in; None for other inputs."""
    uses = graph.uses_of(name)
    if not uses or any(use.node.op_type != "Embedding" for use in uses):
        return None
    return min(len(parameter(graph, use.node, 1)) for use in uses)


def _reads_mask(use: Use) -> bool:
    return (use.node.op_type, use.index) in (("Attention", 3), ("MeanPool", 1))


def _warnings(ranges: Mapping[str, TensorRange]) -> tuple[str, ...]:
    """Tensors that were constant on the calibration data: their range says nothing of other data."""
    return tuple(
        f"{name}: every value was {line.minimum:g} on the calibration data; the range of this tensor is a guess"
        for name, line in ranges.items()
        if line.minimum == line.maximum
    )
