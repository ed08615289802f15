"""Values of a graph that depend on no input, evaluated one by one as they are asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from edgeflow.hw.arrays import Array
from edgeflow.sw.importer.fold import influence
from edgeflow.sw.importer.onnx_operators import stored_tensor, traits

_PLAIN = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}


class Constants:
    """Lazy evaluation of the constant part of a graph, with the reference implementation of ONNX."""

    def __init__(self, graph: ir.Graph) -> None:
        self._reach = influence(graph).value
        self._opset = graph.opset_imports.get("", 20)
        self._known: dict[ir.Value, Array | None] = {}

    def array(self, value: ir.Value) -> Array | None:
        """The array of a value that depends on no input; None for any other, and for what cannot be evaluated."""
        if value.const_value is not None:
            return _widened(value.const_value.numpy())
        if value not in self._known:
            self._known[value] = self._evaluate(value)
        return self._known[value]

    def kind(self, value: ir.Value) -> ir.DataType | None:
        """The element type of a constant as the file stores it."""
        if value.const_value is not None:
            return value.const_value.dtype
        stored = stored_tensor(value.producer())
        if stored is not None:
            return stored.dtype
        array = self.array(value)
        return None if array is None else ir.DataType.from_numpy(array.dtype)

    def _evaluate(self, value: ir.Value) -> Array | None:
        node = value.producer()
        if node is None or self._reach.get(value) or node.domain != "":
            return None
        stored = stored_tensor(node)
        if stored is not None:
            return _widened(stored.numpy())
        if traits(node).stores:
            for attribute, dtype in _PLAIN.items():
                if attribute in node.attributes:
                    return np.asarray(node.attributes[attribute].value, dtype)
            return None
        operands: dict[str, Array] = {}
        for operand in node.inputs:
            if operand is not None:
                array = self.array(operand)
                if array is None:
                    return None
                operands[str(operand.name)] = array
        if any(attribute.type == ir.AttributeType.GRAPH for attribute in node.attributes.values()):
            return None
        proto = ir.to_proto(node)
        kinds = {name: onnx.helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in operands.items()}
        graph = onnx.helper.make_graph(
            [proto],
            "constant",
            [onnx.helper.make_tensor_value_info(name, element, None) for name, element in kinds.items()],
            [onnx.ValueInfoProto(name=str(value.name))],
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", self._opset)])
        try:
            outputs: Any = ReferenceEvaluator(model).run([str(value.name)], dict(operands))
        except Exception:  # the reference implementation lacks operators and raises what it likes
            return None
        return np.asarray(outputs[0])


def _widened(array: Array) -> Array:
    """Integers of types that NumPy does not know, such as int4, as int8 ones; anything else as it is."""
    if array.dtype.kind == "V" or array.dtype.name in ("int4", "uint4", "int2", "uint2"):
        return array.astype(np.int8)
    return array
