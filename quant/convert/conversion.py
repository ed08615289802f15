"""From a float graph whose activations have been observed to the integer graph."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from edgeflow.hw.errors import InputError, UnsupportedError
from edgeflow.hw.graph import Graph, Overflow, QType
from edgeflow.hw.progress import Progress
from edgeflow.hw.verify import NUMBERS, STRUCTURE, violations
from edgeflow.quant.canonical.base import operator
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.masks import mask_values, reads_mask, vocabulary
from edgeflow.quant.convert.context import Context
from edgeflow.quant.convert.decisions import Selection
from edgeflow.quant.convert.fixed_formats import has_fixed_formats
from edgeflow.quant.convert.layer_inputs import Replay
from edgeflow.quant.convert.plan import Plan
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.formats.interpretation import Correspondence
from edgeflow.quant.formats.prequantized import model_warnings
from edgeflow.quant.formats.ranges import TensorRange
from edgeflow.quant.formats.statistics import Statistics
from edgeflow.quant.integers.builder import GraphBuilder
from edgeflow.quant.integers.compensate import LayerErrors
from edgeflow.quant.nodes import origin, output_name, required_input, sample_shape

SAMPLES = 8  # that a quantized model keeps, to be run on


@dataclass(frozen=True)
class Contribution:
    """What a technique brings: signal-to-noise ratio in dB of every output, as quantized and with that technique alone left out."""

    technique: str
    with_db: Mapping[str, float]
    without_db: Mapping[str, float]


@dataclass(frozen=True)
class Quantized:
    """An integer graph and how it came about.

    ``ranges`` has a line for every activation whose range was chosen, by name; ``correspondence`` the float tensor behind every
    integer tensor that has one; ``warnings`` what the user should know, a line each;
    ``layers`` what compensated rounding brought the linear layers that have it, by the float value that they make;
    ``indices`` the format in which a linear layer's output indexes the table of the function behind it, by that output;
    ``model`` the canonical float model, ``config`` the options, and ``samples`` some of the samples that it was made of;
    ``contributions`` what each technique brought the outputs, if the configuration asks for that;
    ``selection`` which techniques were left out where, or ``selection_note`` why that was not looked at, if it asks for that.
    """

    graph: Graph
    ranges: Mapping[str, TensorRange]
    correspondence: Mapping[str, Correspondence]
    warnings: tuple[str, ...]
    layers: Mapping[str, LayerErrors]
    indices: Mapping[str, QType]
    model: ir.Model = field(repr=False)
    config: QuantizationConfig = field(repr=False)
    samples: Mapping[str, NDArray[Any]] = field(repr=False)
    contributions: tuple[Contribution, ...] = ()
    selection: Selection | None = None
    selection_note: str = ""


def convert(
    graph: FloatGraph,
    statistics: dict[str, Statistics],
    arrays: Mapping[str, NDArray[Any]],
    config: QuantizationConfig,
    progress: Progress | None = None,
) -> Quantized:
    """The integer graph of a canonical float graph whose activations have been observed on the checked ``arrays``.

    It is verified. UnsupportedError where the accelerator has no form of a node, or where the model's numbers ask for more bits
    than it has: a constant, or a register that could overflow its width in the C++ for some input.
    """
    _check_sites(graph, config)
    plan = Plan(graph, statistics, config)
    builder = GraphBuilder(graph.model.graph.name or "model", [*graph.inputs, *graph.producers])
    replay = Replay(graph, arrays, builder, _replayed(graph, plan))
    context = Context(graph, statistics, config, plan, builder, replay)
    for name in graph.inputs:
        _add_input(name, context)
    for i, node in enumerate(graph.nodes):
        absorbed = plan.fused_linear(node)
        if absorbed is None:
            operator(node).convert(context)
        else:
            operator(node).convert_fused(operator(absorbed), context)
        if progress is not None:
            progress("quantize", i + 1, len(graph.nodes))
    outputs = tuple(context.tensor(name) for name in graph.outputs)
    used = {name for node in builder.nodes for name in node.inputs} | set(outputs)
    ranges = {name: line for name, line in plan.ranges.items() if name in used}
    warnings = (*model_warnings(graph.model), *plan.warnings, *_warnings(ranges))
    integer_graph = builder.graph(outputs)
    _verify(integer_graph, has_fixed_formats(graph))
    return Quantized(
        graph=integer_graph,
        ranges=ranges,
        correspondence=dict(builder.correspondence),
        warnings=warnings,
        layers=context.layers,
        indices=context.indices,
        model=graph.model,
        config=config,
        samples={name: array[:SAMPLES].copy() for name, array in arrays.items()},
    )


def _verify(graph: Graph, fixed: bool) -> None:
    """Every rule of integer graphs. What breaks those on numbers comes from the model, most of all from formats that it brings
    along (``fixed``), which nothing here may change; what breaks the others would be this converter's fault."""
    wrong = violations(graph, STRUCTURE)
    if wrong:
        raise AssertionError(f"integer graph {graph.name}: {wrong}")
    wrong = violations(graph, NUMBERS)
    if wrong:
        hint = "; it counts steps that the model's own quantizers fix" if fixed else ""
        raise UnsupportedError(f"integer graph {graph.name}: {wrong}{hint}")


def _check_sites(graph: FloatGraph, config: QuantizationConfig) -> None:
    """InputError where ``config.without`` names a tensor that the model does not have."""
    for technique, sites in config.without.items():
        for site in sites:
            if site not in graph.producers and site not in graph.inputs:
                near = difflib.get_close_matches(site, [*graph.inputs, *graph.producers], n=1)
                hint = f"did you mean {near[0]!r}?" if near else "model.canonical.onnx in the build folder has their names"
                raise InputError(f"quantization option without: {technique}: the model has no tensor {site!r}; {hint}")


def _replayed(graph: FloatGraph, plan: Plan) -> list[str]:
    """Float values that compensated rounding compares with: the outputs of its layers, and the residuals added to them."""
    names = []
    for node in graph.layers():
        if plan.widths.compensated(node):
            names.append(output_name(node))
            fused = plan.fused_into(output_name(node))
            if fused is not None and len(fused.inputs) > 1:
                names += [name for i in range(len(fused.inputs)) if graph.constant(name := required_input(fused, i)) is None]
    return names


def _add_input(name: str, context: Context) -> None:
    """Declare a model input: token ids and masks as they are, real values in the format of the plan."""
    value = next(v for v in context.graph.model.graph.inputs if v.name == name)
    shape = sample_shape(value)
    uses = context.graph.uses_of(name)
    rows = vocabulary(context.graph, name)
    if rows is not None:
        qtype = QType(32, False, 1.0, overflow=Overflow.ERROR)
        context.set(name, context.builder.input(name, shape, qtype, limit=rows - 1))
    elif (uses or name not in context.statistics) and all(reads_mask(use) for use in uses):  # integers that nothing reads, too
        qtype = QType(8, False, 1.0, overflow=Overflow.ERROR)
        context.set(name, context.builder.input(name, shape, qtype, limit=1, attend=_attend(context.graph, name)))
    elif name in context.statistics:
        context.set(name, context.builder.input(name, shape, context.plan.qtype(name)))
    else:
        readers = ", ".join(f"{origin(use.node)} ({use.node.op_type})" for use in uses)
        raise UnsupportedError(f"input {name!r}: integers are supported as token ids or as a key mask, but it is read by {readers}")


def _attend(graph: FloatGraph, name: str) -> tuple[tuple[float, float], ...] | None:
    """Values of a key mask that take part, where they are not all but 0."""
    if all(operator(use.node).raw_mask() is None for use in graph.uses_of(name)):
        return None
    return mask_values(next(value for value in graph.model.graph.inputs if value.name == name)).attend


def _warnings(ranges: Mapping[str, TensorRange]) -> tuple[str, ...]:
    """Tensors that were constant on the calibration data: their range says nothing of other data."""
    return tuple(
        f"{name}: every value was {line.minimum:g} on the calibration data; the range of this tensor is a guess"
        for name, line in ranges.items()
        if line.minimum == line.maximum
    )
