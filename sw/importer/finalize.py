"""The last steps: the batch becomes symbolic again, names become readable, EdgeFlow's functions are attached."""

from __future__ import annotations

import onnx_ir as ir

from edgeflow.quant.canonical.base import BATCH_NAME, find
from edgeflow.sw.importer.functions import OPSET, attach_functions
from edgeflow.sw.rewrite.base import BATCH, DOMAIN, ORIGIN, ORIGIN_TYPE, ORIGINAL, REFUSED, RULES, batch_of, shape_of

ORIGINALS = "edgeflow.originals"
"""Key in a model's ``meta`` of the names of the values of its file, while it is rewritten."""
_KEPT = (ORIGIN, ORIGIN_TYPE, ORIGINAL, REFUSED, RULES)


def symbolic_batch(model: ir.Model) -> None:
    """Give every activation whose first axis is the bound batch the symbolic first axis "batch".

    That it is the batch, and not an axis of the same length, follows from the operators: all canonical ones act on samples
    apart, and views were proven to by :func:`edgeflow.sw.importer.materialize.per_sample`.
    """
    graph = model.graph
    batch = batch_of(graph)
    for value in (*graph.inputs, *(output for node in graph for output in node.outputs)):
        shape = shape_of(value)
        if shape and shape[0] == batch:
            value.shape = ir.Shape([BATCH_NAME, *shape[1:]])


def note_originals(model: ir.Model) -> None:
    """Note the names of the values that nodes of the file make, for :func:`readable_names`."""
    model.meta[ORIGINALS] = frozenset(str(output.name) for node in model.graph for output in node.outputs)


def readable_names(model: ir.Model) -> None:
    """Name nodes after their origin, values after their node and constants after node and role; each name once.

    Rules give a replacement the name of the value that it replaces: a node whose output has a noted name keeps it as metadata, for
    the comparison of both models.
    """
    graph, original = model.graph, model.meta.pop(ORIGINALS)
    for node in graph:
        node.metadata_props.pop(ORIGINAL, None)
        if node.outputs[0].name in original:
            node.metadata_props[ORIGINAL] = str(node.outputs[0].name)
    taken = {str(value.name) for value in (*graph.inputs, *graph.outputs)}

    def unique(name: str) -> str:
        candidate, count = name, 1
        while candidate in taken:
            count += 1
            candidate = f"{name}_{count}"
        taken.add(candidate)
        return candidate

    constants = list(graph.initializers.values())
    graph.initializers.clear()
    for value in (*constants, *(output for node in graph for output in node.outputs)):
        if not value.is_graph_output():
            value.name = None
    nodes: set[str] = set()
    for node in graph:
        node.name = _distinct(node.metadata_props.get(ORIGIN, node.op_type), nodes)
        for key in [key for key in node.metadata_props if key not in _KEPT]:
            del node.metadata_props[key]
        for value in node.outputs:
            if value.name is None:
                value.name = unique(f"{node.name}.out")
        op = find(node)
        for position, operand in enumerate(node.inputs):
            if operand is not None and operand.const_value is not None and operand.name is None:
                role = "constant" if op is None or op.operand(position).constant is None else op.operand(position).name
                operand.name = unique(f"{node.name}.{role}")
                operand.const_value.name = operand.name
                graph.register_initializer(operand)


def _distinct(name: str, taken: set[str]) -> str:
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    taken.add(candidate)
    return candidate


def finish(model: ir.Model) -> None:
    """Set operator set versions, attach the functions and drop what only the import needed."""
    model.opset_imports.clear()
    model.opset_imports.update({"": OPSET, DOMAIN: 1})
    model.graph.metadata_props.pop(BATCH, None)
    model.metadata_props.clear()
    model.ir_version = 10
    model.producer_name = "edgeflow"
    for node in model.graph:
        node.version = None
    attach_functions(model)
