"""The canonical operator set of the float graph, as data, and the verifier that reads it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from edgeflow.hw.errors import ModelError, UnsupportedError
from edgeflow.sw.importer.functions import OPSET
from edgeflow.sw.rewrite import OWN_UNARY, UNARY
from edgeflow.sw.rewrite.base import DOMAIN, ORIGIN, ORIGIN_TYPE, REFUSED

BATCH_NAME = "batch"
"""Name of the symbolic first axis of every activation of a canonical model."""


@dataclasses.dataclass(frozen=True)
class Operator:
    """One canonical operator: where it is defined, how many inputs it takes, which attributes it may carry.

    ``constants`` lists the inputs that must be initializers, ``activations`` those that must be computed; an input in neither
    may be one or the other.
    """

    domain: str
    inputs: tuple[int, int]
    attributes: frozenset[str]
    description: str
    constants: tuple[int, ...] = ()
    activations: tuple[int, ...] = (0,)


def _own(
    inputs: tuple[int, int], attributes: str, description: str, constants: tuple[int, ...] = (), activations: int = 1
) -> Operator:
    return Operator(DOMAIN, inputs, frozenset(attributes.split()), description, constants, tuple(range(activations)))


def _standard(inputs: tuple[int, int], attributes: str, description: str, constants: tuple[int, ...] = ()) -> Operator:
    return Operator("", inputs, frozenset(attributes.split()), description, constants)


_ATTRIBUTES = {"Gelu": "approximate", "HardSigmoid": "alpha beta", "LeakyRelu": "alpha", "Elu": "alpha", "Celu": "alpha",
               "Selu": "alpha gamma", "Clip": "minimum maximum"}  # fmt: skip

_TABLE: Mapping[str, Operator] = {
    "Linear": _own((3, 3), "", "x (batch, ..., K) times weight (K, N) plus bias (N,)", (1, 2)),
    "PatchEmbed": _own((3, 3), "kernel", "image (batch, C, H, W) by weight (D, C, kh, kw), stride = kernel, plus bias (D,): "
                       "(batch, tokens, D), tokens row by row", (1, 2)),
    "Attention": _own((3, 4), "heads scale", "softmax(scale q k^T) v by head; q, k, v (batch, tokens, heads * head size), "
                      "features head-major, v's heads of any size; mask (batch, keys), nonzero = attend", activations=3),
    "Attends": _own((3, 3), "", "whether values of a mask (batch, keys) lie in one of the intervals low (n,) to high (n,)", (1, 2)),
    "Embedding": _own((2, 2), "", "rows of table (V, D) at integer ids (batch, ...)", (1,)),
    "PositionEmbedding": _own((2, 2), "padding", "rows of table (V, D) by position among the integer ids (batch, tokens) other "
                              "than padding, from padding + 1 on; padding itself has row padding", (1,)),
    "MeanPool": _own((1, 2), "", "mean over axis 1 of (batch, tokens, D); mask (batch, tokens), nonzero = counted"),
    "SelectTokens": _own((1, 1), "start stop squeeze", "tokens start to stop of axis 1; squeeze drops the axis of a single token"),
    "SelectChannels": _own((1, 1), "start stop", "channels start to stop of the last axis"),
    "ConstantTokens": _own((2, 2), "", "constant tokens (1, ...) for every sample; of x only the batch size is read", (1,)),
    **{name: _own((1, 1), _ATTRIBUTES.get(name, ""), "elementwise") for name in OWN_UNARY},
    **{name: _standard((1, 1), _ATTRIBUTES.get(name, ""), "elementwise") for name in UNARY},
    "LayerNormalization": _standard((3, 3), "axis epsilon", "over the last axis, scale and bias (D,)", (1, 2)),
    "Add": Operator("", (2, 2), frozenset(), "two activations of one shape, or one and a constant broadcast to it", activations=()),
    "Mul": Operator("", (2, 2), frozenset(), "two activations of one shape, or one and a constant broadcast to it", activations=()),
    "Concat": _standard((2, 1 << 16), "axis", "activations joined along an axis other than the batch"),
    "Reshape": _standard((2, 2), "", "regroups the axes of each sample; its shape starts with 0 (the batch)", (1,)),
    "Transpose": _standard((1, 1), "perm", "permutes the axes of each sample"),
    "Softmax": _standard((1, 1), "axis", "over the last axis, at the end of the network only"),
}  # fmt: skip


def canonical_operators() -> Mapping[str, Operator]:
    """The canonical operators by name."""
    return _TABLE


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


def _shape(value: ir.Value) -> tuple[int | str | None, ...]:
    if value.shape is None:
        return ()
    return tuple(entry if isinstance(entry, int) else entry.value for entry in value.shape)


def _problem(node: ir.Node) -> str | None:
    """Why ``node`` is not canonical, or None."""
    operator = _TABLE.get(node.op_type)
    refused = node.metadata_props.get(REFUSED)
    if operator is None or operator.domain != node.domain:
        return refused or "there is no integer operator for it"
    if refused is not None:
        return refused
    count = sum(value is not None for value in node.inputs)
    if not operator.inputs[0] <= count <= operator.inputs[1] or None in node.inputs:
        return f"it has {count} inputs"
    extra = set(node.attributes) - operator.attributes
    if extra:
        return f"attribute {sorted(extra)[0]!r} is not supported"
    fixed = [value is not None and value.const_value is not None for value in node.inputs]
    if any(not fixed[position] for position in operator.constants):
        return "its weights are not constant"
    if any(fixed[position] for position in operator.activations) or all(fixed):
        return "an operand that should depend on the input is constant"
    shape = _shape(node.outputs[0])
    if not shape or shape[0] != BATCH_NAME:
        return "the first axis of its output is not the batch"
    if node.domain == "" and node.outputs[0].dtype != ir.DataType.FLOAT:
        return f"it computes {node.outputs[0].dtype} where only float32 is supported"
    return _CHECKS[node.op_type](node, shape) if node.op_type in _CHECKS else None


def _binary(node: ir.Node, shape: tuple[int | str | None, ...]) -> str | None:
    for value in node.inputs:
        if value is None:
            continue
        if value.const_value is None:
            if _shape(value) != shape:
                return f"its operands have shapes {_shape(node.inputs[0])} and {_shape(node.inputs[1])}"  # type: ignore[arg-type]
        elif len(value.const_value.shape) >= len(shape) and value.const_value.shape[0] != 1:
            return "its constant differs between samples"
    return None


def _softmax(node: ir.Node, shape: tuple[int | str | None, ...]) -> str | None:
    if node.attributes.get_int("axis", -1) != -1:
        return "it is not over the last axis"
    used = list(node.outputs[0].uses())
    return f"a softmax over {shape} inside the network is supported only as part of an attention" if used else None


def _concat(node: ir.Node, shape: tuple[int | str | None, ...]) -> str | None:
    return "it joins along the batch" if node.attributes.get_int("axis", 0) % len(shape) == 0 else None


_CHECKS = {"Add": _binary, "Mul": _binary, "Softmax": _softmax, "Concat": _concat}
