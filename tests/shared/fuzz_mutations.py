"""Mutations of ONNX models: each changes one thing of a kind that files get wrong, or are made to get wrong.

A mutation takes a seeded generator and the model, weights inside, and returns whether it could change anything. ``SPOILS`` change
the file after it has been written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

Random = np.random.Generator
Mutation = Callable[[Random, onnx.ModelProto], bool]
Entry = TypeVar("Entry")

OPERATORS = (
    *(
        "Add",
        "Sub",
        "Mul",
        "Div",
        "MatMul",
        "Gemm",
        "Relu",
        "Tanh",
        "Sigmoid",
        "Erf",
        "Softmax",
        "Exp",
        "Log",
        "Sqrt",
        "Pow",
        "Neg",
    ),
    *("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Gather", "Slice", "Concat", "Split", "Expand", "Tile", "Shape", "Identity"),
    *("ReduceMean", "ReduceSum", "ReduceMax", "Where", "Clip", "Cast", "Equal", "LayerNormalization", "BatchNormalization", "Conv"),
    *(
        "QuantizeLinear",
        "DequantizeLinear",
        "Dropout",
        "Flatten",
        "Constant",
        "ConstantOfShape",
        "Range",
        "NonZero",
        "TopK",
        "Loop",
    ),
    *("ScatterND", "CumSum", "Einsum", "Attention", "Gelu", "HardSwish", "RandomNormal", "Nothing"),
)
INTEGERS = (0, 1, -1, 2, 3, 7, -7, 99, 1 << 20, (1 << 31) - 1, 1 << 31, -(1 << 63), (1 << 63) - 1)
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e38, -1e38, float("inf"), float("-inf"), float("nan"))
SIZES = (0, 1, 2, 3, 5, 1 << 16, 1 << 31, 1 << 40)


def _graphs(graph: onnx.GraphProto) -> list[onnx.GraphProto]:
    inner = [entry for node in graph.node for attribute in node.attribute for entry in (attribute.g, *attribute.graphs)]
    return [graph, *(more for entry in inner if entry.node or entry.output for more in _graphs(entry))]


def _nodes(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
    inside = [node for graph in _graphs(proto.graph) for node in graph.node]
    return inside + [node for function in proto.functions for node in function.node]


def _pick(random: Random, entries: Sequence[Entry]) -> Entry:
    return entries[int(random.integers(len(entries)))]


def _node(random: Random, proto: onnx.ModelProto) -> onnx.NodeProto:
    return _pick(random, _nodes(proto))


def _values(proto: onnx.ModelProto) -> list[str]:
    graph = proto.graph
    names = [entry.name for entry in (*graph.input, *graph.initializer)]
    return names + [name for node in graph.node for name in node.output]


# Nodes


def drop_node(random: Random, proto: onnx.ModelProto) -> bool:
    del proto.graph.node[int(random.integers(len(proto.graph.node)))]
    return True


def repeat_node(random: Random, proto: onnx.ModelProto) -> bool:
    copy = onnx.NodeProto()
    copy.CopyFrom(_pick(random, proto.graph.node))
    if random.random() < 0.7:
        copy.output[:] = [f"{name}_again" for name in copy.output]
    proto.graph.node.append(copy)
    return True


def other_operator(random: Random, proto: onnx.ModelProto) -> bool:
    _node(random, proto).op_type = _pick(random, OPERATORS)
    return True


def other_operator_alone(random: Random, proto: onnx.ModelProto) -> bool:
    """An operator that takes as many operands, without the attributes of the old one."""
    node = _node(random, proto)
    node.op_type, node.domain = _pick(random, OPERATORS), ""
    del node.attribute[:]
    return True


def other_domain(random: Random, proto: onnx.ModelProto) -> bool:
    _node(random, proto).domain = _pick(
        random, ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "qonnx.custom_op.general", "x.y", "ü")
    )
    return True


def other_operand(random: Random, proto: onnx.ModelProto) -> bool:
    """Another value of the graph, perhaps one that the node's own output leads to: a cycle."""
    node = _node(random, proto)
    if not node.input:
        return False
    node.input[int(random.integers(len(node.input)))] = _pick(random, _values(proto))
    return True


def cycle(random: Random, proto: onnx.ModelProto) -> bool:
    node = _pick(random, [node for node in proto.graph.node if node.input])
    later = proto.graph.node[int(random.integers(len(proto.graph.node)))]
    node.input[0] = later.output[0]
    return True


def lost_operand(random: Random, proto: onnx.ModelProto) -> bool:
    node = _node(random, proto)
    if not node.input:
        return False
    node.input[int(random.integers(len(node.input)))] = _pick(random, ("", "nowhere"))
    return True


def operand_count(random: Random, proto: onnx.ModelProto) -> bool:
    node = _node(random, proto)
    if node.input and random.random() < 0.5:
        node.input.pop()
    else:
        node.input.append(_pick(random, _values(proto)))
    return True


def swapped_operands(random: Random, proto: onnx.ModelProto) -> bool:
    node = _pick(random, [node for node in _nodes(proto) if len(node.input) > 1])
    node.input[:] = list(random.permutation(list(node.input)))
    return True


def outputs(random: Random, proto: onnx.ModelProto) -> bool:
    node = _node(random, proto)
    if random.random() < 0.5:
        node.output.append(_pick(random, ("", "more", *_values(proto))))
    else:
        node.output[int(random.integers(len(node.output)))] = _pick(random, ("", "more", *_values(proto)))
    return True


def node_order(random: Random, proto: onnx.ModelProto) -> bool:
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes[position] for position in random.permutation(len(nodes)))
    return True


def names(random: Random, proto: onnx.ModelProto) -> bool:
    """Names that are long, empty, equal, or hold what file systems and terminals act on."""
    name = _pick(random, ("", "x" * 5000, "../../up", "\x1b[2J", "a\0b", "<script>", "名前", "%s%n", "{0}", "y//shape", "a,b"))
    if random.random() < 0.5:
        for node in proto.graph.node:
            node.name = name
        return True
    old = _pick(random, _values(proto))
    for node in _nodes(proto):
        for field in (node.input, node.output):
            field[:] = [name if entry == old else entry for entry in field]
    for value in (*proto.graph.input, *proto.graph.initializer, *proto.graph.output):
        value.name = name if value.name == old else value.name
    return True


def long_chain(random: Random, proto: onnx.ModelProto) -> bool:
    """Far more nodes in a row than any model has."""
    kind = _pick(random, ("Identity", "Relu", "Neg"))
    output = proto.graph.output[0]
    last = output.name
    output.name = "end"
    for number in range(1500):
        proto.graph.node.append(helper.make_node(kind, [last], [f"link{number}"]))
        last = f"link{number}"
    proto.graph.node.append(helper.make_node("Identity", [last], ["end"]))
    return True


# Attributes


def _attributes(proto: onnx.ModelProto) -> list[tuple[onnx.NodeProto, onnx.AttributeProto]]:
    return [(node, attribute) for node in _nodes(proto) for attribute in node.attribute]


def drop_attribute(random: Random, proto: onnx.ModelProto) -> bool:
    pairs = _attributes(proto)
    if not pairs:
        return False
    node, attribute = _pick(random, pairs)
    node.attribute.remove(attribute)
    return True


def attribute_value(random: Random, proto: onnx.ModelProto) -> bool:
    """A value of the same type."""
    pairs = [pair for pair in _attributes(proto) if pair[1].type not in (AttributeProto.GRAPH, AttributeProto.TENSOR)]
    if not pairs:
        return False
    attribute = _pick(random, pairs)[1]
    match attribute.type:
        case AttributeProto.INT:
            attribute.i = _pick(random, INTEGERS)
        case AttributeProto.FLOAT:
            attribute.f = _pick(random, FLOATS)
        case AttributeProto.STRING:
            attribute.s = _pick(random, (b"", b"\xff\xfe", b"ROUND", b"FLOOR", b"x" * 3000, b"a,b->c", b"tanh"))
        case AttributeProto.INTS:
            _change_list(random, attribute.ints, INTEGERS)
        case AttributeProto.FLOATS:
            _change_list(random, attribute.floats, FLOATS)
        case _:
            return False
    return True


def _change_list(random: Random, entries: Any, values: Sequence[Any]) -> None:
    choice = random.integers(4)
    if choice == 0 or not entries:
        entries.append(_pick(random, values))
    elif choice == 1:
        entries.pop()
    elif choice == 2:
        del entries[:]
    else:
        entries[int(random.integers(len(entries)))] = _pick(random, values)


def attribute_type(random: Random, proto: onnx.ModelProto) -> bool:
    pairs = _attributes(proto)
    if not pairs:
        return False
    node, old = _pick(random, pairs)
    values: list[Any] = [1, 0.5, "text", [1, 2], [0.5], ["a"], helper.make_tensor("t", TensorProto.FLOAT, [1], [1.0])]
    attribute = helper.make_attribute(old.name, values[int(random.integers(len(values)))])
    if random.random() < 0.3:
        attribute.type = int(random.integers(0, 16))  # type: ignore[assignment]
    node.attribute.remove(old)
    node.attribute.append(attribute)
    return True


def more_attributes(random: Random, proto: onnx.ModelProto) -> bool:
    name = _pick(random, ("axis", "axes", "keepdims", "to", "perm", "epsilon", "alpha", "transA", "value", "block_size", "other"))
    value = _pick(random, [1, -1, 99, [0], [1, 0], 0.5, "text"])
    _node(random, proto).attribute.append(helper.make_attribute(name, value))
    return True


def referred_attribute(random: Random, proto: onnx.ModelProto) -> bool:
    pairs = _attributes(proto)
    if not pairs:
        return False
    attribute = _pick(random, pairs)[1]
    kind = attribute.type
    attribute.CopyFrom(AttributeProto(name=attribute.name, type=kind, ref_attr_name=_pick(random, ("alpha", "ghost"))))
    return True


# Shapes and types


def input_shape(random: Random, proto: onnx.ModelProto) -> bool:
    shape = _pick(random, proto.graph.input).type.tensor_type.shape
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
            dim.dim_value = _pick(random, (*SIZES, -1))
        else:
            dim.dim_param = _pick(random, ("n", "", "other"))
    return True


def no_shape(random: Random, proto: onnx.ModelProto) -> bool:
    value = _pick(random, (*proto.graph.input, *proto.graph.output))
    if random.random() < 0.5:
        value.ClearField("type")
    else:
        value.type.tensor_type.ClearField("shape")
    return True


def value_type(random: Random, proto: onnx.ModelProto) -> bool:
    value = _pick(random, (*proto.graph.input, *proto.graph.output))
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
    name = _pick(random, [name for node in proto.graph.node for name in node.output])
    kind = int(random.integers(1, 17))
    proto.graph.value_info.append(
        helper.make_tensor_value_info(name, kind, [_pick(random, SIZES) for _ in range(int(random.integers(4)))])
    )
    return True


def tensor_dims(random: Random, proto: onnx.ModelProto) -> bool:
    if not proto.graph.initializer:
        return False
    tensor = _pick(random, proto.graph.initializer)
    _change_list(random, tensor.dims, (*SIZES, -1))
    return True


def tensor_shape(random: Random, proto: onnx.ModelProto) -> bool:
    """A sound tensor of another shape."""
    if not proto.graph.initializer:
        return False
    tensor = _pick(random, proto.graph.initializer)
    array = numpy_helper.to_array(tensor)
    flat = array.reshape(-1)
    options = [flat, array[None], array.T, flat[:0], flat[:1], np.concatenate([flat, flat])]
    other = np.ascontiguousarray(options[int(random.integers(len(options)))])
    tensor.CopyFrom(numpy_helper.from_array(other, tensor.name))
    return True


def tensor_type(random: Random, proto: onnx.ModelProto) -> bool:
    if not proto.graph.initializer:
        return False
    tensor = _pick(random, proto.graph.initializer)
    if random.random() < 0.4:
        tensor.data_type = int(random.integers(0, 30))
        return True
    kind = _pick(random, (np.float16, np.float64, np.int8, np.uint8, np.int32, np.int64, np.uint64, np.bool_, np.complex64))
    with np.errstate(all="ignore"):
        array: Any = numpy_helper.to_array(tensor).astype(kind)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return True


def tensor_field(random: Random, proto: onnx.ModelProto) -> bool:
    """Elements in another field, too few, or twice."""
    if not proto.graph.initializer:
        return False
    tensor = _pick(random, proto.graph.initializer)
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
    tensor = _pick(random, tensors)
    array = numpy_helper.to_array(tensor).copy()
    value = _pick(random, FLOATS)
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
    tensor = _pick(random, tensors)
    array = numpy_helper.to_array(tensor).copy()
    if array.size:
        array.reshape(-1)[int(random.integers(array.size))] = _pick(random, INTEGERS)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return True


# The graph


def interface(random: Random, proto: onnx.ModelProto) -> bool:
    """Inputs and outputs that are missing, doubled, constant, inputs, or computed nowhere."""
    graph = proto.graph
    choice = random.integers(7)
    if choice == 0:
        graph.input.pop()
    elif choice == 1:
        graph.output.append(graph.output[0])
    elif choice == 2:
        graph.output.append(graph.input[0])
    elif choice == 3 and graph.initializer:
        graph.output.append(helper.make_tensor_value_info(graph.initializer[0].name, TensorProto.FLOAT, None))
    elif choice == 4:
        graph.output[0].name = _pick(random, ("nowhere", "", *_values(proto)))
    elif choice == 5:
        graph.input.append(graph.input[0])
    else:
        graph.output.append(helper.make_tensor_value_info(_pick(random, _values(proto)), TensorProto.FLOAT, None))
    return True


def doubled_initializer(random: Random, proto: onnx.ModelProto) -> bool:
    if not proto.graph.initializer:
        return False
    proto.graph.initializer.append(_pick(random, proto.graph.initializer))
    return True


def versions(random: Random, proto: onnx.ModelProto) -> bool:
    choice = random.integers(4)
    if choice == 0:
        proto.ir_version = _pick(random, (0, 1, 3, 7, 9, 13, 99))
    elif choice == 1:
        del proto.opset_import[:]
    elif choice == 2:
        proto.opset_import.add(domain="", version=int(random.integers(1, 26)))
    else:
        proto.opset_import[0].version = _pick(random, (-1, 0, 6, 7, 9, 10, 11, 13, 15, 18, 20, 23, 25, 26, 1 << 40))
    return True


def sparse(random: Random, proto: onnx.ModelProto) -> bool:
    values = helper.make_tensor("sparse", TensorProto.FLOAT, [2], [1.0, 2.0])
    places = helper.make_tensor("places", TensorProto.INT64, [2], [int(random.integers(-3, 99)), 1])
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [8]))
    node = _pick(random, [node for node in proto.graph.node if node.input])
    node.input[-1] = "sparse"
    return True


# Functions and control flow


def functions(random: Random, proto: onnx.ModelProto) -> bool:
    """Functions that call themselves, miss, are defined twice, or have another number of operands."""
    if not proto.functions:
        return False
    function = _pick(random, proto.functions)
    choice = random.integers(7)
    if choice == 0:
        function.node.append(helper.make_node(function.name, list(function.input), ["again"], domain=function.domain))
    elif choice == 1:
        proto.functions.remove(function)
    elif choice == 2:
        proto.functions.append(function)
    elif choice == 3:
        function.input.append("another")
    elif choice == 4:
        del function.opset_import[:]
    elif choice == 5:
        function.output[0] = "nowhere"
    else:
        del function.attribute[:]
    return True


def doubling_functions(random: Random, proto: onnx.ModelProto) -> bool:
    """Each function calls the one before twice."""
    levels = int(random.integers(3, 40))
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("twice", 1)]
    body = [helper.make_node("Relu", ["x"], ["y"])]
    proto.functions.append(helper.make_function("twice", "f0", ["x"], ["y"], body, imports))
    for level in range(1, levels):
        calls = [helper.make_node(f"f{level - 1}", [a], [b], domain="twice") for a, b in (("x", "h"), ("h", "y"))]
        proto.functions.append(helper.make_function("twice", f"f{level}", ["x"], ["y"], calls, imports))
    proto.opset_import.add(domain="twice", version=1)
    last = proto.graph.output[0].name
    proto.graph.output[0].name = "doubled"
    proto.graph.node.append(helper.make_node(f"f{levels - 1}", [last], ["doubled"], domain="twice"))
    return True


def conditional(random: Random, proto: onnx.ModelProto) -> bool:
    """A node inside a branch; the other one is like it, or is not."""
    position = int(random.integers(len(proto.graph.node)))
    node = proto.graph.node[position]
    if len(node.output) != 1:
        return False
    inner = onnx.NodeProto()
    inner.CopyFrom(node)
    inner.output[0] = "inner"
    declared = [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)]
    then = helper.make_graph([inner], "then", [], declared)
    operand = next((name for name in node.input if name), "")
    bodies = [[inner], [helper.make_node("Identity", [operand], ["inner"])], [], [helper.make_node("Relu", ["ghost"], ["inner"])]]
    other = helper.make_graph(bodies[int(random.integers(4))], "else", [], declared if random.random() < 0.8 else [])
    condition = _pick(random, ("condition", "condition", *_values(proto)))
    proto.graph.initializer.append(numpy_helper.from_array(np.array(bool(random.integers(2))), "condition"))
    proto.graph.node.remove(node)
    kind = "If" if random.random() < 0.9 else "Loop"
    branch = helper.make_node(kind, [condition], [node.output[0]], name="branch", then_branch=then, else_branch=other)
    proto.graph.node.insert(position, branch)
    return True


# Quantizers


def _quantizers(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in proto.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear", "Quant", "BipolarQuant")]


def quantizer_operand(random: Random, proto: onnx.ModelProto) -> bool:
    nodes = _quantizers(proto)
    if not nodes:
        return False
    node = _pick(random, nodes)
    position = int(random.integers(1, len(node.input)))
    numbers = (0, -1, np.nan, np.inf, 1e-45, 1e38, 0.5, 2, 33)
    words = (np.int8(5), np.uint8(200), np.int32(1 << 30), np.int64(1), np.zeros(8, np.int8), np.bool_(True))
    vectors = (np.zeros(0), np.full(6, 0.1), np.full((2, 3), 0.1), np.full((1, 6), 0.1))
    arrays: list[Any] = [*(np.asarray(entry, np.float32) for entry in (*numbers, *vectors)), *words, np.array(["x"], object)]
    name = f"operand{len(proto.graph.initializer)}"
    proto.graph.initializer.append(numpy_helper.from_array(np.asarray(arrays[int(random.integers(len(arrays)))]), name))
    node.input[position] = name
    return True


def quantizer_source(random: Random, proto: onnx.ModelProto) -> bool:
    """A quantizer on another value, or with another value as its scale."""
    nodes = _quantizers(proto)
    if not nodes:
        return False
    node = _pick(random, nodes)
    node.input[0 if random.random() < 0.6 else int(random.integers(len(node.input)))] = _pick(random, _values(proto))
    return True


def inserted_quantizer(random: Random, proto: onnx.ModelProto) -> bool:
    """A pair of quantizers, or half of one, anywhere."""
    consumers = [node for node in proto.graph.node if node.input and node.input[0]]
    node = _pick(random, consumers)
    points: list[Any] = [np.uint8(128), np.int8(0), np.int8(-128), np.int16(3), np.int32(0)]
    scale = numpy_helper.from_array(np.asarray(_pick(random, (0.1, 1e-6, 1e6)), np.float32), "inserted_scale")
    zero = numpy_helper.from_array(np.asarray(points[int(random.integers(len(points)))]), "inserted_zero")
    proto.graph.initializer.extend((scale, zero))
    pair = [
        helper.make_node("QuantizeLinear", [node.input[0], "inserted_scale", "inserted_zero"], ["inserted_q"], name="inserted_q"),
        helper.make_node("DequantizeLinear", ["inserted_q", "inserted_scale", "inserted_zero"], ["inserted_d"], name="inserted_d"),
    ]
    node.input[0] = "inserted_d"
    if random.random() < 0.2:
        node.input[0] = "inserted_q"
    elif random.random() < 0.2:
        pair[0].op_type = "Identity"
        del pair[0].input[1:]
    position = list(proto.graph.node).index(node)
    for offset, entry in enumerate(pair):
        proto.graph.node.insert(position + offset, entry)
    return True


def own_metadata(random: Random, proto: onnx.ModelProto) -> bool:
    """What EdgeFlow's own files say beside their nodes, made up."""
    keys = ("exact", "quantizer", "origin", "formats", "format.0", "refused", "batch")
    texts = ("", "{}", "[]", "null", '{"bits": 8}', '{"bits": "x", "scale": []}', "99", "-1", '{"bits": 8, "scale": 1e999}')
    entry = _pick(random, [*_nodes(proto), proto.graph, proto, *proto.graph.initializer])
    entry.metadata_props.add(key=f"edgeflow.{_pick(random, keys)}", value=_pick(random, texts))
    return True


# Sizes


def huge(random: Random, proto: onnx.ModelProto) -> bool:
    """Constants of gigabytes, in a few bytes."""
    size = int(10 ** random.uniform(3, 12))
    graph = proto.graph
    graph.initializer.append(numpy_helper.from_array(np.array([size]), "size"))
    graph.initializer.append(numpy_helper.from_array(np.array(size), "end"))
    graph.initializer.append(numpy_helper.from_array(np.array(0), "start"))
    graph.initializer.append(numpy_helper.from_array(np.array(1), "step"))
    graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "zero"))
    choice = random.integers(5)
    if choice == 0:
        graph.node.append(helper.make_node("ConstantOfShape", ["size"], ["big"]))
    elif choice == 1:
        graph.node.append(helper.make_node("Expand", ["zero", "size"], ["big"]))
    elif choice == 2:
        graph.node.append(helper.make_node("Tile", ["zero", "size"], ["big"]))
    elif choice == 3:
        graph.node.append(helper.make_node("Range", ["start", "end", "step"], ["steps"]))
        graph.node.append(helper.make_node("Cast", ["steps"], ["big"], to=TensorProto.FLOAT))
    else:
        last = "zero"
        for level in range(int(random.integers(5, 60))):
            graph.node.append(helper.make_node("Concat", [last, last], [f"twice{level}"], axis=0))
            last = f"twice{level}"
        graph.node.append(helper.make_node("Identity", [last], ["big"]))
    graph.node.append(helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0))
    last = graph.output[0].name
    graph.output[0].name = "shifted"
    operand = "sum" if random.random() < 0.6 else "big"
    graph.node.append(helper.make_node("Add", [last, operand], ["shifted"]))
    return True


MUTATIONS: dict[str, tuple[Mutation, ...]] = {
    "nodes": (drop_node, repeat_node, other_operator, other_operator_alone, other_domain, outputs, node_order, names, long_chain),
    "operands": (other_operand, lost_operand, operand_count, swapped_operands),
    "cycles": (cycle,),
    "attributes": (drop_attribute, attribute_value, attribute_value, attribute_type, more_attributes, referred_attribute),
    "shapes": (input_shape, no_shape, declared_shape, tensor_dims, tensor_shape, integers),
    "types": (value_type, tensor_type, tensor_field),
    "elements": (elements, sparse),
    "interface": (interface, doubled_initializer, versions),
    "functions": (functions, doubling_functions),
    "branches": (conditional,),
    "quantizers": (quantizer_operand, quantizer_source, inserted_quantizer, own_metadata),
    "sizes": (huge,),
    "external data": (),
    "bytes": (),
}
"""Mutations by kind; those of external data and bytes change files (:data:`SPOILS`)."""


def spoil_external(random: Random, file: Path) -> None:
    """Where a tensor lies, of a model with its weights beside it."""
    proto = onnx.ModelProto.FromString(file.read_bytes())
    data = file.with_suffix(".bin")
    tensors = [tensor for tensor in proto.graph.initializer if tensor.external_data]
    tensor = _pick(random, tensors)
    choice = random.integers(5)
    if choice == 0:
        data.write_bytes(data.read_bytes()[: int(random.integers(data.stat().st_size))])
    elif choice == 1:
        data.unlink()
    elif choice == 2:
        del tensor.external_data[int(random.integers(len(tensor.external_data)))]
    else:
        entry = _pick(random, tensor.external_data)
        places = ("", ".", "..", "/etc/passwd", "../model.bin", "a\0b", data.name + "/x", "x" * 5000)
        numbers = ("-1", "1", "3", "99999999", "x", "", "1e3", "9" * 40, "0x10", "١")
        entry.value = _pick(random, places if entry.key == "location" else numbers)
    file.write_bytes(proto.SerializeToString())


def spoil_bytes(random: Random, file: Path) -> None:
    """Flip, cut or repeat bytes of the message."""
    content = bytearray(file.read_bytes())
    for _ in range(int(random.integers(1, 4))):
        position = int(random.integers(len(content)))
        choice = random.integers(4)
        if choice == 0:
            content[position] ^= 1 << int(random.integers(8))
        elif choice == 1:
            content[position] = int(random.integers(256))
        elif choice == 2:
            del content[position : position + int(random.integers(1, 9))]
        else:
            content[position:position] = content[position : position + int(random.integers(1, 9))]
        content = content or bytearray(b"\0")
    file.write_bytes(bytes(content))


SPOILS: dict[str, Callable[[Random, Path], None]] = {"external data": spoil_external, "bytes": spoil_bytes}
