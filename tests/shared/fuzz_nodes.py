"""Mutations of nodes, their operands and their attributes."""

from __future__ import annotations

from typing import Any

import onnx
from fuzz_parts import FLOATS, INTEGERS, Random, all_nodes, all_values, any_node, change_list, pick
from onnx import AttributeProto, TensorProto, helper

OPERATORS = (
    "Add", "Sub", "Mul", "Div", "MatMul", "Gemm", "Relu", "Tanh", "Sigmoid", "Erf", "Softmax", "Exp", "Log", "Sqrt", "Pow",
    "Neg", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Gather", "Slice", "Concat", "Split", "Expand", "Tile", "Shape",
    "Identity", "ReduceMean", "ReduceSum", "ReduceMax", "Where", "Clip", "Cast", "Equal", "LayerNormalization",
    "BatchNormalization", "Conv", "QuantizeLinear", "DequantizeLinear", "Dropout", "Flatten", "Constant", "ConstantOfShape",
    "Range", "NonZero", "TopK", "Loop", "ScatterND", "CumSum", "Einsum", "Attention", "Gelu", "HardSwish", "RandomNormal",
    "Nothing",
)  # fmt: skip


# Nodes


def drop_node(random: Random, proto: onnx.ModelProto) -> bool:
    del proto.graph.node[int(random.integers(len(proto.graph.node)))]
    return True


def repeat_node(random: Random, proto: onnx.ModelProto) -> bool:
    copy = onnx.NodeProto()
    copy.CopyFrom(pick(random, proto.graph.node))
    if random.random() < 0.7:
        copy.output[:] = [f"{name}_again" for name in copy.output]
    proto.graph.node.append(copy)
    return True


def other_operator(random: Random, proto: onnx.ModelProto) -> bool:
    any_node(random, proto).op_type = pick(random, OPERATORS)
    return True


def other_operator_alone(random: Random, proto: onnx.ModelProto) -> bool:
    """An operator that takes as many operands, without the attributes of the old one."""
    node = any_node(random, proto)
    node.op_type, node.domain = pick(random, OPERATORS), ""
    del node.attribute[:]
    return True


def other_domain(random: Random, proto: onnx.ModelProto) -> bool:
    any_node(random, proto).domain = pick(
        random, ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "qonnx.custom_op.general", "x.y", "ü")
    )
    return True


def other_operand(random: Random, proto: onnx.ModelProto) -> bool:
    """Another value of the graph, perhaps one that the node's own output leads to: a cycle."""
    node = any_node(random, proto)
    if not node.input:
        return False
    node.input[int(random.integers(len(node.input)))] = pick(random, all_values(proto))
    return True


def cycle(random: Random, proto: onnx.ModelProto) -> bool:
    node = pick(random, [node for node in proto.graph.node if node.input])
    later = proto.graph.node[int(random.integers(len(proto.graph.node)))]
    node.input[0] = later.output[0]
    return True


def lost_operand(random: Random, proto: onnx.ModelProto) -> bool:
    node = any_node(random, proto)
    if not node.input:
        return False
    node.input[int(random.integers(len(node.input)))] = pick(random, ("", "nowhere"))
    return True


def operand_count(random: Random, proto: onnx.ModelProto) -> bool:
    node = any_node(random, proto)
    if node.input and random.random() < 0.5:
        node.input.pop()
    else:
        node.input.append(pick(random, all_values(proto)))
    return True


def swapped_operands(random: Random, proto: onnx.ModelProto) -> bool:
    node = pick(random, [node for node in all_nodes(proto) if len(node.input) > 1])
    node.input[:] = list(random.permutation(list(node.input)))
    return True


def outputs(random: Random, proto: onnx.ModelProto) -> bool:
    node = any_node(random, proto)
    if random.random() < 0.5:
        node.output.append(pick(random, ("", "more", *all_values(proto))))
    else:
        node.output[int(random.integers(len(node.output)))] = pick(random, ("", "more", *all_values(proto)))
    return True


def node_order(random: Random, proto: onnx.ModelProto) -> bool:
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes[position] for position in random.permutation(len(nodes)))
    return True


def names(random: Random, proto: onnx.ModelProto) -> bool:
    """Names that are long, empty, equal, or hold what file systems and terminals act on."""
    name = pick(random, ("", "x" * 5000, "../../up", "\x1b[2J", "a\0b", "<script>", "名前", "%s%n", "{0}", "y//shape", "a,b"))
    if random.random() < 0.5:
        for node in proto.graph.node:
            node.name = name
        return True
    old = pick(random, all_values(proto))
    for node in all_nodes(proto):
        for field in (node.input, node.output):
            field[:] = [name if entry == old else entry for entry in field]
    for value in (*proto.graph.input, *proto.graph.initializer, *proto.graph.output):
        value.name = name if value.name == old else value.name
    return True


def long_chain(random: Random, proto: onnx.ModelProto) -> bool:
    """Far more nodes in a row than any model has."""
    kind = pick(random, ("Identity", "Relu", "Neg"))
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
    return [(node, attribute) for node in all_nodes(proto) for attribute in node.attribute]


def drop_attribute(random: Random, proto: onnx.ModelProto) -> bool:
    pairs = _attributes(proto)
    if not pairs:
        return False
    node, attribute = pick(random, pairs)
    node.attribute.remove(attribute)
    return True


def attribute_value(random: Random, proto: onnx.ModelProto) -> bool:
    """A value of the same type."""
    pairs = [pair for pair in _attributes(proto) if pair[1].type not in (AttributeProto.GRAPH, AttributeProto.TENSOR)]
    if not pairs:
        return False
    attribute = pick(random, pairs)[1]
    match attribute.type:
        case AttributeProto.INT:
            attribute.i = pick(random, INTEGERS)
        case AttributeProto.FLOAT:
            attribute.f = pick(random, FLOATS)
        case AttributeProto.STRING:
            attribute.s = pick(random, (b"", b"\xff\xfe", b"ROUND", b"FLOOR", b"x" * 3000, b"a,b->c", b"tanh"))
        case AttributeProto.INTS:
            change_list(random, attribute.ints, INTEGERS)
        case AttributeProto.FLOATS:
            change_list(random, attribute.floats, FLOATS)
        case _:
            return False
    return True


def attribute_type(random: Random, proto: onnx.ModelProto) -> bool:
    pairs = _attributes(proto)
    if not pairs:
        return False
    node, old = pick(random, pairs)
    values: list[Any] = [1, 0.5, "text", [1, 2], [0.5], ["a"], helper.make_tensor("t", TensorProto.FLOAT, [1], [1.0])]
    attribute = helper.make_attribute(old.name, values[int(random.integers(len(values)))])
    if random.random() < 0.3:
        attribute.type = int(random.integers(0, 16))  # type: ignore[assignment]
    node.attribute.remove(old)
    node.attribute.append(attribute)
    return True


def more_attributes(random: Random, proto: onnx.ModelProto) -> bool:
    name = pick(random, ("axis", "axes", "keepdims", "to", "perm", "epsilon", "alpha", "transA", "value", "block_size", "other"))
    value = pick(random, [1, -1, 99, [0], [1, 0], 0.5, "text"])
    any_node(random, proto).attribute.append(helper.make_attribute(name, value))
    return True


def referred_attribute(random: Random, proto: onnx.ModelProto) -> bool:
    pairs = _attributes(proto)
    if not pairs:
        return False
    attribute = pick(random, pairs)[1]
    kind = attribute.type
    attribute.CopyFrom(AttributeProto(name=attribute.name, type=kind, ref_attr_name=pick(random, ("alpha", "ghost"))))
    return True
