"""The verifier of canonical float graphs: every node is one of the operators of ``edgeflow.quant.canonical``, as that states it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeflow.hw.errors import ModelError, UnsupportedError
from edgeflow.quant.canonical.base import BATCH_NAME, FloatOperator, find, sizes
from edgeflow.sw.importer.functions import OPSET
from edgeflow.sw.rewrite.base import ORIGIN, ORIGIN_TYPE, REFUSED


def verify_canonical(model: ir.Model) -> None:
    """Check that ``model`` is a canonical float graph.

    Raises
    ------
    UnsupportedError
        Naming every node that is not canonical, with its operator type and the reason.
    ModelError
        The graph as a whole breaks a rule: operator set version, batch axis of an input or output, constants that are not finite.
    """
    problems = [(node, reason) for node in model.graph for reason in (_problem(node),) if reason]
    if problems:
        listed = "; ".join(
            f"{node.metadata_props.get(ORIGIN, node.name)} ({node.metadata_props.get(ORIGIN_TYPE, node.op_type)}: {reason})"
            for node, reason in problems
        )
        raise UnsupportedError(f"{len(problems)} unsupported node(s): {listed}; export the model without them")
    if model.opset_imports.get("") != OPSET:
        raise ModelError(f"the canonical operator set version is {OPSET}, not {model.opset_imports.get('')}")
    for value in (*model.graph.inputs, *model.graph.outputs):
        if value.shape is None or not value.shape or not _is_batch(value.shape[0]):
            raise ModelError(f"the first axis of {value.name!r} is not the batch; export the model with the batch first")
    for name, value in model.graph.initializers.items():
        array = None if value.const_value is None else value.const_value.numpy()
        if array is None or (array.dtype.kind == "f" and not np.isfinite(array).all()):
            raise ModelError(f"constant {name!r} holds NaN or infinity")


def _is_batch(entry: int | ir.SymbolicDim) -> bool:
    return isinstance(entry, ir.SymbolicDim) and entry.value == BATCH_NAME


def _problem(node: ir.Node) -> str | None:
    """Why ``node`` is not canonical, or None."""
    op = find(node)
    refused = node.metadata_props.get(REFUSED)
    if op is None:
        return refused or "there is no integer operator for it"
    if refused is not None:
        return refused
    return _misfit(op, node)


def _misfit(op: FloatOperator, node: ir.Node) -> str | None:
    """Why a node does not fit what its operator states."""
    count = sum(value is not None for value in node.inputs)
    least, most = op.arity()
    if not least <= count <= most or None in node.inputs:
        return f"it has {count} inputs"
    extra = set(node.attributes) - set(op.attributes)
    if extra:
        return f"attribute {sorted(extra)[0]!r} is not supported"
    fixed = [value is not None and value.const_value is not None for value in node.inputs]
    if any(not is_fixed and op.operand(i).constant is True for i, is_fixed in enumerate(fixed)):
        return "its weights are not constant"
    if any(is_fixed and op.operand(i).constant is False for i, is_fixed in enumerate(fixed)) or all(fixed):
        return "an operand that should depend on the input is constant"
    shape = () if node.outputs[0].shape is None else sizes(node.outputs[0].shape)
    if not shape or shape[0] != BATCH_NAME:
        return "the first axis of its output is not the batch"
    if node.domain == "" and node.outputs[0].dtype != ir.DataType.FLOAT:
        return f"it computes {node.outputs[0].dtype} where only float32 is supported"
    return op.check(shape)
