"""Everything that does not depend on the inputs becomes a constant, and every value gets its shape.

With all input shapes known, onnxruntime itself evaluates the model once: shape computations, position ids, causal masks and
constant branches come out as arrays, whatever operators an exporter wrote them with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np
import onnx
import onnx_ir as ir

from edgeflow.hw.arrays import Array
from edgeflow.hw.diagnosis import Cause, Diagnosis, RefusedNode
from edgeflow.hw.errors import ModelError, UnsupportedError
from edgeflow.hw.reading import reading
from edgeflow.quant.canonical.session import Weights
from edgeflow.sw.importer.bind import Shapes
from edgeflow.sw.importer.budgets import check_sizes
from edgeflow.sw.importer.onnx_operators import traits
from edgeflow.sw.importer.runtime import cut_to, light_proto, run, session
from edgeflow.sw.rewrite.base import initializer

Dependence = Mapping[ir.Value, frozenset[str]]

_DYNAMIC = Cause(
    "control flow that depends on the input",
    "which nodes run, and how often, is computed (If, Loop, Scan); programs of the accelerator do the same for every sample",
    "export the model for one case, without the branch or loop",
)
SAMPLE_SEED = 20240601


@dataclasses.dataclass(frozen=True)
class Influence:
    """Names of the inputs that the value, and the shape, of every tensor depend on."""

    value: Dependence
    shape: Dependence


def influence(graph: ir.Graph) -> Influence:
    """Which inputs each value depends on; the shape of a tensor does not depend on what is in it unless an operator says so."""
    none: frozenset[str] = frozenset()
    value: dict[ir.Value, frozenset[str]] = {entry: frozenset((str(entry.name),)) for entry in graph.inputs}
    shape: dict[ir.Value, frozenset[str]] = {}
    for node in graph:
        operands = [entry for entry in node.inputs if entry is not None]
        reached = none.union(*(value.get(entry, none) for entry in operands), *_captured(node, value))
        sized = none.union(*(shape.get(entry, none) for entry in operands))
        operator = traits(node)
        if operator.sized_from is not None:
            sized = sized.union(*(value.get(entry, none) for entry in operands[operator.sized_from :]))
        if operator.reads_shape:
            reached = sized
        if operator.random:
            reached |= {"random numbers"}
        for output in node.outputs:
            value[output], shape[output] = reached, sized
    return Influence(value, shape)


def _captured(node: ir.Node, value: Mapping[ir.Value, frozenset[str]]) -> Iterable[frozenset[str]]:
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            for inner in attribute.as_graph().all_nodes():
                for entry in inner.inputs:
                    if entry is not None and entry in value:
                        yield value[entry]


def sample_inputs(model: ir.Model, shapes: Shapes, integer: int = 1) -> dict[str, Array]:
    """Seeded inputs of the bound shapes: normal floats, integers all equal to ``integer``, booleans all true."""
    random = np.random.default_rng(SAMPLE_SEED)
    inputs: dict[str, Array] = {}
    for entry in model.graph.inputs:
        name, kind = str(entry.name), (entry.dtype or ir.DataType.FLOAT).numpy()
        if np.issubdtype(kind, np.floating):
            inputs[name] = random.standard_normal(shapes[name]).astype(kind)
        else:
            inputs[name] = np.full(shapes[name], integer, kind)
    return inputs


def run_sample(
    model: ir.Model, proto: onnx.ModelProto, shapes: Shapes, wanted: list[str], weights: Weights | None = None
) -> dict[str, Array]:
    """Values of ``wanted`` on sample inputs; integers are ones, or zeros where a table has but one row. ``weights`` are those that
    the message only names."""
    part = cut_to(proto, wanted)
    check_sizes(part, shapes)
    runner = session(part, optimize=False, weights=weights)
    try:
        return run(runner, sample_inputs(model, shapes), wanted)
    except ModelError:
        if all(entry.dtype == ir.DataType.FLOAT for entry in model.graph.inputs):
            raise
        return run(runner, sample_inputs(model, shapes, integer=0), wanted)


def inline_branches(model: ir.Model, shapes: Shapes) -> None:
    """Replace every If whose condition is constant by the branch that it takes; :class:`UnsupportedError` for other control
    flow."""
    graph = model.graph
    while True:
        reach = influence(graph).value
        flow = [node for node in graph if any(a.type == ir.AttributeType.GRAPH for a in node.attributes.values())]
        if not flow:
            return
        stuck = [node for node in flow if not traits(node).branches or (node.inputs[0] is not None and reach.get(node.inputs[0]))]
        if stuck:
            nodes = (RefusedNode(node.name or node.op_type, node.op_type, _DYNAMIC.reason) for node in stuck)
            raise UnsupportedError(Diagnosis("the model", (dataclasses.replace(_DYNAMIC, nodes=tuple(nodes)),)))
        node = flow[0]
        condition = node.inputs[0]
        if condition is None:
            raise ModelError(f"node {node.name!r}: {node.op_type} without a condition; export the model again")
        if condition.const_value is not None:
            flag = condition.const_value.numpy()
        else:
            proto, weights = light_proto(model)
            flag = run_sample(model, proto, shapes, [str(condition.name)], weights)[str(condition.name)]
        if flag.size != 1 or flag.dtype != np.bool_:
            raise ModelError(f"{node.name} ({node.op_type}): its condition is {flag.dtype} {flag.shape}, not one boolean")
        taken = bool(flag.reshape(()))
        for name, attribute in node.attributes.items():
            if attribute.type == ir.AttributeType.GRAPH and len(attribute.as_graph().outputs) != len(node.outputs):
                raise ModelError(
                    f"{node.name} ({node.op_type}): its {name} has {len(attribute.as_graph().outputs)} outputs, the node"
                    f" {len(node.outputs)}; export the model again"
                )
        _inline(graph, node, node.attributes["then_branch" if taken else "else_branch"].as_graph())


def _inline(graph: ir.Graph, node: ir.Node, branch: ir.Graph) -> None:
    for attribute in node.attributes.values():  # what the other branch reads is read no longer
        if attribute.type == ir.AttributeType.GRAPH and attribute.as_graph() is not branch:
            for unused in list(attribute.as_graph().all_nodes()):
                for position in range(len(unused.inputs)):
                    unused.replace_input_with(position, None)
    for name, value in list(branch.initializers.items()):
        branch.initializers.pop(name)
        value.name = f"{node.name}.{name}"
        graph.register_initializer(value)
    nodes = list(branch)
    outputs = list(branch.outputs)
    branch.outputs.clear()
    branch.remove(nodes)
    for inner in nodes:
        for output in inner.outputs:
            output.name = f"{node.name}.{output.name}"
    graph.insert_before(node, nodes)
    for position, value in enumerate(graph.outputs):
        if value in node.outputs:
            kept = ir.node("Identity", [outputs[list(node.outputs).index(value)]], name=f"{node.name}.output")
            kept.metadata_props.update(node.metadata_props)
            graph.insert_before(node, kept)
            kept.outputs[0].name, value.name = value.name, f"{value.name}.replaced"
            graph.outputs[position] = kept.outputs[0]
    ir.convenience.replace_all_uses_with(node.outputs, outputs)
    graph.remove(node, safe=True)


def fold(model: ir.Model, shapes: Shapes) -> None:
    """Turn values that no input reaches into initializers, remove what that leaves unused, and set every shape and type.

    Raises :class:`ModelError` when onnxruntime cannot run the model on the bound shapes or an output is constant.
    """
    graph = model.graph
    reach = influence(graph).value
    fixed = [node for node in graph if not any(reach[output] for output in node.outputs)]
    fixed_values = {output for node in fixed for output in node.outputs}
    needed = [
        value for value in fixed_values
        if value.is_graph_output() or any(reach[user.outputs[0]] for user, _ in value.uses())
    ]  # fmt: skip
    needed.sort(key=lambda value: str(value.name))
    for value in graph.outputs:
        if not reach.get(value):
            raise ModelError(f"output {value.name!r} does not depend on any input; export the model without it")
    moving = [output for node in graph for output in node.outputs if reach[output] and output.name]
    arrays = _shapes_and_constants(model, shapes, [str(v.name) for v in moving], [str(v.name) for v in needed])
    for value in needed:
        replacement = initializer(arrays[str(value.name)])
        ir.convenience.replace_all_uses_with(value, replacement)
    graph.remove(fixed, safe=True)
    register_constants(model)
    set_types(model)
    for value in moving:
        value.shape = ir.Shape([int(size) for size in arrays[_shape_name(str(value.name))]])
    for value in graph.inputs:
        value.shape = ir.Shape(shapes[str(value.name)])


def fill_uniform(model: ir.Model, shapes: Shapes) -> bool:
    """Replace every selection of elements from a constant whose elements are all equal by that constant, and fold what becomes
    constant with it; returns whether there was one.

    Hugging Face's encoders look the token types of a sentence, all 0, up by its positions. Shapes must be known.
    """
    graph, changed = model.graph, False
    for node in list(graph):
        data = node.inputs[0] if traits(node).picks else None
        array = None if data is None or data.const_value is None else data.const_value.numpy()
        if array is None or array.size == 0 or np.any(array != array.flat[0]) or node.outputs[0].is_graph_output():
            continue
        shape = tuple(int(size) for size in node.outputs[0].shape.numpy())  # type: ignore[union-attr]
        ir.convenience.replace_all_uses_with(node.outputs[0], initializer(np.full(shape, array.flat[0])))
        graph.remove(node, safe=True)
        changed = True
    if changed:
        register_constants(model)
        fold(model, shapes)
    return changed


def _shape_name(name: str) -> str:
    return f"{name}//shape"


def _shapes_and_constants(model: ir.Model, shapes: Shapes, moving: list[str], needed: list[str]) -> dict[str, Array]:
    proto, weights = light_proto(model)
    proto.graph.node.extend(onnx.helper.make_node("Shape", [name], [_shape_name(name)], name=_shape_name(name)) for name in moving)
    return run_sample(model, proto, shapes, [*needed, *(_shape_name(name) for name in moving)], weights)


def constants_read(graph: ir.Graph) -> set[ir.Value]:
    """The constants that nodes of a graph read, or that are its outputs."""
    read = {value for node in graph for value in node.inputs if value is not None and value.const_value is not None}
    return read | {value for value in graph.outputs if value.const_value is not None}


def register_constants(model: ir.Model) -> None:
    """Make the initializers of the graph exactly the constants that its nodes read."""
    graph, read = model.graph, constants_read(model.graph)
    for name, value in list(graph.initializers.items()):
        if value not in read:
            del graph.initializers[name]
    for value in read:
        if value.producer() is None and not value.is_graph_input() and graph.initializers.get(str(value.name)) is not value:
            while value.name in graph.initializers:  # the file has a constant of the name that a new one got
                value.name = f"{value.name}_"
            graph.register_initializer(value)


def set_types(model: ir.Model) -> None:
    """Take element types from ONNX type inference; operators it does not know yield float."""
    proto, _ = light_proto(model)
    del proto.graph.value_info[:]
    for entry in proto.graph.output:
        entry.type.tensor_type.ClearField("shape")
    with reading("the model is inconsistent", "export it again", ModelError):
        inferred = onnx.shape_inference.infer_shapes(proto)
    kinds = {entry.name: entry.type.tensor_type.elem_type for entry in (*inferred.graph.value_info, *inferred.graph.output)}
    for node in model.graph:
        for output in node.outputs:
            kind = kinds.get(str(output.name), 0)
            output.type = ir.TensorType(ir.DataType(kind) if kind else ir.DataType.FLOAT)
