"""Views: whatever chain of data movement, the canonical operators that replace it move every element to the same place."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflow.sw.importer.materialize import digits, materialize_views, per_sample
from edgeflow.sw.rewrite.base import BATCH, DOMAIN, REFUSED, shape_of, shrink
from edgeflow.sw.rewrite.view import index_of, is_bijective, row_index, trace


def view_node(shape: tuple[int, ...], index: np.ndarray | None, result: tuple[int, ...] | None = None) -> ir.Node:
    """A View node of a float input of ``shape``."""
    source = ir.Value(name="x", shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT))
    attributes = {} if index is None else {"index": ir.tensor(np.ascontiguousarray(index))}
    node = ir.node("View", [source], attributes, domain=DOMAIN)
    if result is None:
        assert index is not None
        result = index.shape
    node.outputs[0].shape = ir.Shape(result)
    node.outputs[0].type = source.type
    return node


def evaluate(graph: ir.Graph, x: np.ndarray) -> np.ndarray:
    """Run the data movement operators of a graph with NumPy."""
    values = {graph.inputs[0]: x}
    for node in graph:
        source = node.inputs[0]
        assert source is not None
        array = values[source]
        if node.op_type == "Transpose":
            array = array.transpose(tuple(node.attributes["perm"].as_ints()))
        elif node.op_type == "SelectTokens":
            array = array[:, node.attributes["start"].as_int() : node.attributes["stop"].as_int()]
        elif node.op_type == "SelectChannels":
            array = array[..., node.attributes["start"].as_int() : node.attributes["stop"].as_int()]
        else:
            assert node.op_type == "Reshape"
        values[node.outputs[0]] = array.reshape(shape_of(node.outputs[0]))
    return values[graph.outputs[0]]


def materialized(node: ir.Node) -> ir.Graph:
    source = node.inputs[0]
    assert source is not None
    graph = ir.Graph([source], [node.outputs[0]], nodes=[node], opset_imports={"": 20, DOMAIN: 1}, name="one")
    graph.metadata_props[BATCH] = "2"
    materialize_views(ir.Model(graph, ir_version=10))
    return graph


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_reshape_and_transpose_chains_materialize_exactly(sizes: list[int], data: st.DataObject) -> None:
    index = np.arange(2 * math.prod(sizes)).reshape(2, *sizes)
    for _ in range(2):
        index = index.transpose(0, *data.draw(st.permutations(range(1, index.ndim))))
        rest = list(index.shape[1:])
        cut = data.draw(st.integers(0, len(rest) - 1))
        index = index.reshape(2, math.prod(rest[: cut + 1]), *rest[cut + 1 :])
    graph = materialized(view_node((2, *sizes), index))
    x = np.random.default_rng(0).standard_normal((2, *sizes))
    np.testing.assert_array_equal(evaluate(graph, x), x.reshape(-1)[index])


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        (np.s_[:, 0], ["SelectTokens"]),
        (np.s_[:, 1:4], ["SelectTokens"]),
        (np.s_[:, :, 2:5], ["SelectChannels"]),
        (np.s_[:, 1:, :3], ["SelectTokens", "SelectChannels"]),
        (np.s_[:, 2:3], ["SelectTokens"]),
    ],
)
def test_slices_become_selections(cut: tuple[slice, ...], expected: list[str]) -> None:
    index = np.arange(2 * 5 * 6).reshape(2, 5, 6)[cut]
    graph = materialized(view_node((2, 5, 6), index))
    assert [node.op_type for node in graph] == expected
    x = np.random.default_rng(0).standard_normal((2, 5, 6))
    np.testing.assert_array_equal(evaluate(graph, x), x[cut])


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        (np.arange(12).reshape(2, 6)[::-1], "mixes samples"),
        (np.arange(12).reshape(2, 6).T, "first axis is not the batch"),
        (np.arange(12).reshape(2, 6)[:, [0, 0, 1, 2, 3, 4]], "repeats elements"),
        (np.arange(12).reshape(2, 6)[:, [0, 2, 4]], "not contiguous"),
        (np.arange(12).reshape(2, 6)[:, [1, 0, 3, 2, 5, 4]], "irregular order"),
    ],
)
def test_views_without_canonical_form_keep_a_reason(index: np.ndarray, reason: str) -> None:
    node = view_node((2, 6), index)
    graph = materialized(node)
    assert list(graph) == [node]
    assert reason in node.metadata_props[REFUSED]


def test_per_sample_is_the_index_of_one_sample() -> None:
    index = np.arange(24).reshape(2, 3, 4).transpose(0, 2, 1)
    np.testing.assert_array_equal(per_sample(view_node((2, 3, 4), index), 2), np.arange(12).reshape(3, 4).T)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.lists(st.integers(2, 4), min_size=1, max_size=4), st.data())
def test_digits_rebuild_the_permutation(sizes: list[int], data: st.DataObject) -> None:
    index = np.arange(math.prod(sizes)).reshape(sizes).transpose(data.draw(st.permutations(range(len(sizes)))))
    loops = digits(index)
    assert loops is not None
    rebuilt = sum(
        np.arange(length).reshape([-1 if axis == place else 1 for axis in range(len(loops))]) * stride
        for place, (length, stride) in enumerate(loops)
    )
    np.testing.assert_array_equal(np.reshape(rebuilt, -1), index.reshape(-1))


def test_trace_composes_views_and_numbers() -> None:
    first = view_node((2, 6), np.arange(12).reshape(2, 2, 3).transpose(0, 2, 1))
    half = ir.Value(name="half", shape=ir.Shape(()), const_value=ir.tensor(np.array(0.5, np.float32)))
    scaled = ir.node("Mul", [half, first.outputs[0]])
    scaled.outputs[0].shape = first.outputs[0].shape
    last = ir.node("View", [scaled.outputs[0]], domain=DOMAIN)
    last.outputs[0].shape = ir.Shape((2, 6))
    source = trace(last.outputs[0])
    assert source.value is first.inputs[0]
    assert source.factor == 0.5
    np.testing.assert_array_equal(source.index, [[0, 3, 1, 4, 2, 5], [6, 9, 7, 10, 8, 11]])


def test_row_index_and_bijectivity() -> None:
    swap = view_node((2, 3, 4), np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2))
    np.testing.assert_array_equal(row_index(swap), [[0, 3], [1, 4], [2, 5]])
    assert is_bijective(swap)
    flip = view_node((2, 3, 4), np.arange(24).reshape(2, 3, 4)[..., ::-1])
    assert row_index(flip) is None
    assert is_bijective(flip)
    part = view_node((2, 3, 4), np.arange(24).reshape(2, 3, 4)[:, :2])
    assert not is_bijective(part)
    np.testing.assert_array_equal(index_of(view_node((2, 6), None, (3, 4))), np.arange(12).reshape(3, 4))


def test_shrink_cuts_equal_slices() -> None:
    row = np.arange(4.0)
    np.testing.assert_array_equal(shrink(np.broadcast_to(row, (2, 3, 4))), row.reshape(1, 1, 4))
    assert shrink(np.arange(6).reshape(2, 3)).shape == (2, 3)
