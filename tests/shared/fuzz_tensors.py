"""Mutations of shapes, types and elements of inputs and constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from fuzz_parts import FLOATS, INTEGERS, SIZES, Random, change_list, pick
from onnx import TensorProto, helper, numpy_helper


def input_shape(random: Random, proto: onnx.ModelProto) -> bool:
    shape = pick(random, proto.graph.input).type.tensor_type.shape
    choice = random.integers(4)
    if choice == 0:
        shape.dim.add().dim_value = 3
    elif choice == 1 and shape.dim:
        del shape.dim[-1]
    elif choice == 2:
        del shape.dim[:]
    elif shape.dim:
        dim = shape.dim[int(random.integers(len(shape.dim)))]
        dim.Clear()
        if random.random() < 0.7:
            dim.dim_value = pick(random, (*SIZES, -1))
        else:
            dim.dim_param = pick(random, ("n", "", "other"))
    return True


def no_shape(random: Random, proto: onnx.ModelProto) -> bool:
    value = pick(random, (*proto.graph.input, *proto.graph.output))
    if random.random() < 0.5:
        value.ClearField("type")
    else:
        value.type.tensor_type.ClearField("shape")
    return True


def value_type(random: Random, proto: onnx.ModelProto) -> bool:
    value = pick(random, (*proto.graph.input, *proto.graph.output))
    choice = random.random()
    if choice < 0.8:
        value.type.tensor_type.elem_type = int(random.integers(0, 30))
    else:
        inner = onnx.TypeProto()
        inner.CopyFrom(value.type)
        value.type.Clear()
        (value.type.sequence_type if choice < 0.9 else value.type.optional_type).elem_type.CopyFrom(inner)
    return True


def declared_shape(random: Random, proto: onnx.ModelProto) -> bool:
    """A declaration of a computed value that contradicts it."""
    name = pick(random, [name for node in proto.graph.node for name in node.output])
    kind = int(random.integers(1, 17))
    proto.graph.value_info.append(
        helper.make_tensor_value_info(name, kind, [pick(random, SIZES) for _ in range(int(random.integers(4)))])
    )
    return True


def tensor_dims(random: Random, proto: onnx.ModelProto) -> bool:
    if not proto.graph.initializer:
        return False
    tensor = pick(random, proto.graph.initializer)
    change_list(random, tensor.dims, (*SIZES, -1))
    return True


def tensor_shape(random: Random, proto: onnx.ModelProto) -> bool:
    """A sound tensor of another shape."""
    if not proto.graph.initializer:
        return False
    tensor = pick(random, proto.graph.initializer)
    array = numpy_helper.to_array(tensor)
    flat = array.reshape(-1)
    options = [flat, array[None], array.T, flat[:0], flat[:1], np.concatenate([flat, flat])]
    other = np.ascontiguousarray(options[int(random.integers(len(options)))])
    tensor.CopyFrom(numpy_helper.from_array(other, tensor.name))
    return True


def tensor_type(random: Random, proto: onnx.ModelProto) -> bool:
    if not proto.graph.initializer:
        return False
    tensor = pick(random, proto.graph.initializer)
    if random.random() < 0.4:
        tensor.data_type = int(random.integers(0, 30))
        return True
    kind = pick(random, (np.float16, np.float64, np.int8, np.uint8, np.int32, np.int64, np.uint64, np.bool_, np.complex64))
    with np.errstate(all="ignore"):
        array: Any = numpy_helper.to_array(tensor).astype(kind)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return True


def tensor_field(random: Random, proto: onnx.ModelProto) -> bool:
    """Elements in another field, too few, or twice."""
    if not proto.graph.initializer:
        return False
    tensor = pick(random, proto.graph.initializer)
    choice = random.integers(3)
    if choice == 0:
        tensor.float_data.extend([1.0, 2.0])
    elif choice == 1:
        tensor.raw_data = tensor.raw_data[: len(tensor.raw_data) // 2]
    else:
        tensor.ClearField("raw_data")
        tensor.uint64_data.extend([1] * 3)
    return True


def elements(random: Random, proto: onnx.ModelProto) -> bool:
    """Numbers that are not finite, huge, tiny, or all the same."""
    tensors = [tensor for tensor in proto.graph.initializer if tensor.data_type == TensorProto.FLOAT]
    if not tensors:
        return False
    tensor = pick(random, tensors)
    array = numpy_helper.to_array(tensor).copy()
    value = pick(random, FLOATS)
    if random.random() < 0.5:
        array[...] = value
    elif array.size:
        array.reshape(-1)[int(random.integers(array.size))] = value
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return True


def integers(random: Random, proto: onnx.ModelProto) -> bool:
    """Shapes, axes and indices that are constants."""
    tensors = [tensor for tensor in proto.graph.initializer if tensor.data_type == TensorProto.INT64]
    if not tensors:
        return False
    tensor = pick(random, tensors)
    array = numpy_helper.to_array(tensor).copy()
    if array.size:
        array.reshape(-1)[int(random.integers(array.size))] = pick(random, INTEGERS)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return True
