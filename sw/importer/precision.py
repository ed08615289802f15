"""One floating-point type: half, bfloat16 and double precision become float32 before anything else looks at a model.

What a model's own type was makes no difference to its integer form, whose ranges come from calibration.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import numpy_helper

_OTHERS = frozenset((onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE))
_TYPE_ATTRIBUTES = frozenset(("to", "dtype", "softmax_precision"))


def single_precision(
    graphs: Iterable[onnx.GraphProto], nodes: Iterable[onnx.NodeProto], tensors: Iterable[onnx.TensorProto]
) -> bool:
    """Change every tensor, declaration and type attribute in place, and say whether any was of another type; the tensors' data must
    be in memory."""
    changed = False
    for tensor in tensors:
        if tensor.data_type in _OTHERS:
            with np.errstate(over="ignore"):  # infinity is refused, or is a mask, later
                array = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
            changed = True
    for graph in graphs:
        for value in (*graph.input, *graph.output, *graph.value_info):
            if value.type.HasField("tensor_type") and value.type.tensor_type.elem_type in _OTHERS:
                value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
                changed = True
    for node in nodes:
        for attribute in node.attribute:
            if attribute.name in _TYPE_ATTRIBUTES and attribute.type == onnx.AttributeProto.INT and attribute.i in _OTHERS:
                attribute.i = onnx.TensorProto.FLOAT
                changed = True
    return changed
