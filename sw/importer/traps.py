"""What would end the process instead of raising, in the libraries that run a model: refused before they see it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from edgeflow.hw.arrays import Array
from edgeflow.hw.errors import ModelError
from edgeflow.hw.reading import reading
from edgeflow.sw.importer.integer_divisors import INTEGERS, branches, check_computed_divisors
from edgeflow.sw.importer.onnx_operators import stored_tensors, traits

Constants = dict[str, Array | None]
"""Integers by name; None for those whose data are in another file."""
# They divide by these.
POSITIVE = frozenset(
    ("blocksize", "dilations", "group", "kv_num_heads", "num_groups", "num_heads", "num_outputs", "q_num_heads", "strides")
)


def check_traps(file: Path, proto: onnx.ModelProto) -> None:
    """ModelError for an attribute that is divided by and is not positive, for integers that a constant divides in a way that
    processors trap: by 0, and the least of a type by -1, and for those that anything else may divide so."""
    for nodes, constants in _scopes(proto):
        for node in nodes:
            where = f"{file}: node {node.name or (node.output[0] if node.output else '')!r} ({node.op_type})"
            for attribute in node.attribute:
                values = [attribute.i] if attribute.type == onnx.AttributeProto.INT else list(attribute.ints)
                if attribute.name in POSITIVE and any(value <= 0 for value in values):
                    raise ModelError(f"{where}: its {attribute.name} must be positive, not {min(values)}; export the model again")
            if traits(node).divides and len(node.input) == 2:
                dividend, divisor = (constants.get(name) for name in node.input)
                _check_division(where, dividend, divisor, known=node.input[0] in constants)
    check_computed_divisors(file, proto)


def _check_division(where: str, dividend: Array | None, divisor: Array | None, known: bool) -> None:
    """``known``: the dividend is a constant, here or in another file."""
    if divisor is None or divisor.dtype.kind not in "iu":
        return
    if (divisor == 0).any():
        raise ModelError(f"{where}: it divides integers by 0; export the model again")
    if divisor.dtype.kind == "u" or not (divisor == -1).any():
        return
    least = np.iinfo(divisor.dtype).min
    if not known:
        raise ModelError(f"{where}: it divides computed integers by -1, which {least:,} cannot be; multiply by -1 and export again")
    if dividend is not None and (dividend == least).any():
        raise ModelError(f"{where}: {least:,} divided by -1 is no number of {divisor.dtype}; export the model again")


def _scopes(proto: onnx.ModelProto) -> Iterator[tuple[Iterable[onnx.NodeProto], Constants]]:
    """The nodes of the graph, of every branch and function, each with the small constants that it may read."""
    graphs: list[tuple[onnx.GraphProto, Constants]] = [(proto.graph, {})]
    for function in proto.functions:
        constants = _constants(function.node, ())
        yield function.node, constants
        graphs += [(inner, constants) for node in function.node for inner in branches(node)]
    while graphs:
        graph, outer = graphs.pop()
        constants = outer | _constants(graph.node, graph.initializer)
        yield graph.node, constants
        graphs += [(inner, constants) for node in graph.node for inner in branches(node)]


def _constants(nodes: Iterable[onnx.NodeProto], initializers: Iterable[onnx.TensorProto]) -> Constants:
    constants: Constants = {}
    for name, tensor in stored_tensors(nodes, initializers).items():
        if tensor.data_type in INTEGERS:
            with reading(f"initializer {name!r}", "export the model again", ModelError):
                there = tensor.data_location != onnx.TensorProto.EXTERNAL
                constants[name] = numpy_helper.to_array(tensor) if there else None
    return constants
