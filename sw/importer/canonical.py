"""The verifier of canonical float graphs: every node is one of the operators of ``edgeflow.quant.canonical``, as that states it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeflow.hw.errors import ModelError, UnsupportedError
from edgeflow.quant.canonical.base import BATCH_NAME, FloatOperator, find, sizes
from edgeflow.sw.importer.functions import OPSET
from edgeflow.sw.rewrite.base import ORIGIN, ORIGIN_TYPE, REFUSED

NO_OPERATOR = "there is no integer operator for it"


@dataclass(frozen=True)
class Problem:
    """Why a node is not canonical. ``refused``: a rule that looked at it says so."""

    node: ir.Node
    reason: str
    refused: bool

    @property
    def origin(self) -> str:
        """The node of the file that it comes from."""
        return self.node.metadata_props.get(ORIGIN, self.node.name or self.node.op_type)

    @property
    def operator(self) -> str:
        """The operator of that."""
        return self.node.metadata_props.get(ORIGIN_TYPE, self.node.op_type)


class NotCanonicalError(UnsupportedError):
    """``model`` has nodes that are not canonical; the message lists them."""

    def __init__(self, model: ir.Model, refused: Sequence[Problem]) -> None:
        listed = [f"{problem.origin} ({problem.operator}: {problem.reason})" for problem in refused[:3]]
        left = len(refused) - len(listed)
        super().__init__(f"{len(refused)} unsupported node(s): {'; '.join([*listed, *([f'and {left} more'] if left else [])])}")
        self.model = model


def problems(model: ir.Model) -> list[Problem]:
    """Every node that is not canonical, and why."""
    reasons = ((node, _problem(node)) for node in model.graph)
    return [Problem(node, reason, REFUSED in node.metadata_props) for node, reason in reasons if reason]


def verify_canonical(model: ir.Model) -> None:
    """Check that ``model`` is a canonical float graph.

    Raises
    ------
    NotCanonicalError
        Naming every node that is not canonical, with its operator type and the reason.
    ModelError
        The graph as a whole breaks a rule: operator set version, batch axis of an input or output, constants that are not finite.
    """
    refused = problems(model)
    if refused:
        raise NotCanonicalError(model, refused)
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
        return refused or NO_OPERATOR
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
