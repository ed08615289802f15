"""Mutations of a graph and its interface, of functions, branches and quantizers, and constants that are huge."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from fuzz_parts import Random, all_nodes, all_values, pick
from onnx import TensorProto, helper, numpy_helper

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
        graph.output[0].name = pick(random, ("nowhere", "", *all_values(proto)))
    elif choice == 5:
        graph.input.append(graph.input[0])
    else:
        graph.output.append(helper.make_tensor_value_info(pick(random, all_values(proto)), TensorProto.FLOAT, None))
    return True


def doubled_initializer(random: Random, proto: onnx.ModelProto) -> bool:
    if not proto.graph.initializer:
        return False
    proto.graph.initializer.append(pick(random, proto.graph.initializer))
    return True


def versions(random: Random, proto: onnx.ModelProto) -> bool:
    choice = random.integers(4)
    if choice == 0:
        proto.ir_version = pick(random, (0, 1, 3, 7, 9, 13, 99))
    elif choice == 1:
        del proto.opset_import[:]
    elif choice == 2:
        proto.opset_import.add(domain="", version=int(random.integers(1, 26)))
    else:
        proto.opset_import[0].version = pick(random, (-1, 0, 6, 7, 9, 10, 11, 13, 15, 18, 20, 23, 25, 26, 1 << 40))
    return True


def sparse(random: Random, proto: onnx.ModelProto) -> bool:
    values = helper.make_tensor("sparse", TensorProto.FLOAT, [2], [1.0, 2.0])
    places = helper.make_tensor("places", TensorProto.INT64, [2], [int(random.integers(-3, 99)), 1])
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [8]))
    node = pick(random, [node for node in proto.graph.node if node.input])
    node.input[-1] = "sparse"
    return True


# Functions and control flow


def functions(random: Random, proto: onnx.ModelProto) -> bool:
    """Functions that call themselves, miss, are defined twice, or have another number of operands."""
    if not proto.functions:
        return False
    function = pick(random, proto.functions)
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
    condition = pick(random, ("condition", "condition", *all_values(proto)))
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
    node = pick(random, nodes)
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
    node = pick(random, nodes)
    node.input[0 if random.random() < 0.6 else int(random.integers(len(node.input)))] = pick(random, all_values(proto))
    return True


def inserted_quantizer(random: Random, proto: onnx.ModelProto) -> bool:
    """A pair of quantizers, or half of one, anywhere."""
    consumers = [node for node in proto.graph.node if node.input and node.input[0]]
    node = pick(random, consumers)
    points: list[Any] = [np.uint8(128), np.int8(0), np.int8(-128), np.int16(3), np.int32(0)]
    scale = numpy_helper.from_array(np.asarray(pick(random, (0.1, 1e-6, 1e6)), np.float32), "inserted_scale")
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
    entry = pick(random, [*all_nodes(proto), proto.graph, proto, *proto.graph.initializer])
    entry.metadata_props.add(key=f"edgeflow.{pick(random, keys)}", value=pick(random, texts))
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
