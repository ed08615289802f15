"""Forms that the exporters of the zoo do not write: old operator sets, odd layouts, fused operators."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from import_check import check
from onnx import TensorProto
from onnx_graphs import Graph, layer_norm_11, normal

import edgeflow
from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.ops.attention import padded_head
from edgeflow.quant.canonical.inputs import decode_outputs, encode_inputs
from edgeflow.quant.techniques.sqnr import signal_to_noise
from edgeflow.sim.executor import Executor
from edgeflow.sw.importer import agreement, import_model, run, session

CASES = Path(__file__).parents[2] / "cases"


@pytest.mark.parametrize("spelling", ["pow-div", "mul-div", "twice-div", "mul-reciprocal", "pow-rsqrt"])
def test_layer_norm_of_opset_11(spelling: str, tmp_path: Path) -> None:
    g = Graph(11)
    x = g.input("x", ["n", 5, 8])
    g.output(layer_norm_11(g, x, 8, spelling))
    _, counts = check(g.save(tmp_path), {"x": normal((3, 5, 8))})
    assert counts == {"LayerNormalization": 1}


def test_encoder_of_opset_11(tmp_path: Path) -> None:
    """Attribute axes, Split with sizes as attribute, Softmax that flattens, Gemm on flattened tokens."""
    g = Graph(11)
    x = g.input("x", ["n", 6, 8])
    y = layer_norm_11(g, x, 8)
    flat = g.node("Reshape", y, g.constant(np.array([-1, 8])))
    qkv = g.node("Reshape", g.node("Gemm", flat, g.weight(24, 8), g.weight(24), transB=1), g.constant(np.array([-1, 6, 24])))
    q, k, v = (
        g.node("Transpose", g.node("Reshape", part, g.constant(np.array([0, 6, 2, 4]))), perm=[0, 2, 1, 3])
        for part in g.node("Split", qkv, outputs=3, axis=2, split=[8, 8, 8])
    )
    scores = g.node("Div", g.node("MatMul", q, g.node("Transpose", k, perm=[0, 1, 3, 2])), g.constant(np.float32(2)))
    context = g.node("MatMul", g.node("Softmax", scores, axis=3), v)
    merged = g.node("Reshape", g.node("Transpose", context, perm=[0, 2, 1, 3]), g.constant(np.array([-1, 8])))
    projected = g.node("Gemm", merged, g.weight(8, 8), g.weight(8), alpha=0.5, beta=2.0)
    x = g.node("Add", x, g.node("Reshape", projected, g.constant(np.array([-1, 6, 8]))))
    first = g.node("Squeeze", g.node("Slice", x, *(g.constant(np.array([n])) for n in (0, 1, 1))), axes=[1])
    g.output(g.node("Softmax", first))
    model, counts = check(g.save(tmp_path), {"x": normal((3, 6, 8))})
    assert counts == {"LayerNormalization": 1, "Linear": 4, "Attention": 1, "Add": 1, "SelectTokens": 1, "Softmax": 1}
    attention = next(node for node in model.graph if node.op_type == "Attention")
    assert attention.attributes["scale"].as_float() == 0.5


@pytest.mark.parametrize("order", list(itertools.permutations("3hd")))
def test_any_order_of_heads_in_one_qkv(order: tuple[str, ...], tmp_path: Path) -> None:
    """One qkv Linear whose columns are laid out as any order of (q k v, head, feature): only the weights change."""
    heads, size, tokens = 2, 4, 5
    sizes = {"3": 3, "h": heads, "d": size}
    g = Graph(17)
    x = g.input("x", ["n", tokens, 8])
    qkv = g.node("Add", g.node("MatMul", x, g.weight(8, 24)), g.weight(24))
    split = g.node("Reshape", qkv, g.constant(np.array([-1, tokens, *(sizes[axis] for axis in order)])))
    perm = [2 + order.index("3"), 0, 2 + order.index("h"), 1, 2 + order.index("d")]
    parts = g.node("Transpose", split, perm=perm)
    q, k, v = (g.node("Gather", parts, g.constant(np.array(part)), axis=0) for part in range(3))
    p = g.node("Softmax", g.node("MatMul", q, g.node("Transpose", k, perm=[0, 1, 3, 2])), axis=-1)
    # The context goes back feature-major: the permutation must end up in the rows of the last weight.
    context = g.node("Transpose", g.node("MatMul", p, v), perm=[0, 2, 3, 1])
    g.output(g.node("MatMul", g.node("Reshape", context, g.constant(np.array([0, 0, -1]))), g.weight(8, 8)))
    _, counts = check(g.save(tmp_path), {"x": normal((2, tokens, 8))})
    assert counts == {"Linear": 4, "Attention": 1}


def test_heads_folded_into_the_batch(tmp_path: Path) -> None:
    g = Graph(13)
    x = g.input("x", ["n", 5, 8])

    def heads(y: str) -> Any:
        apart = g.node("Transpose", g.node("Reshape", y, g.constant(np.array([-1, 5, 2, 4]))), perm=[0, 2, 1, 3])
        return g.node("Reshape", apart, g.constant(np.array([-1, 5, 4])))

    q, k, v = (heads(g.node("MatMul", x, g.weight(8, 8))) for _ in range(3))
    scores = g.node("MatMul", g.node("Mul", q, g.constant(np.float32(0.5))), g.node("Transpose", k, perm=[0, 2, 1]))
    context = g.node("Reshape", g.node("MatMul", g.node("Softmax", scores, axis=-1), v), g.constant(np.array([-1, 2, 5, 4])))
    g.output(g.node("Reshape", g.node("Transpose", context, perm=[0, 2, 1, 3]), g.constant(np.array([0, 0, 8]))))
    _, counts = check(g.save(tmp_path), {"x": normal((3, 5, 8))})
    assert counts == {"Linear": 3, "Attention": 1}


def test_attention_with_einsum(tmp_path: Path) -> None:
    g = Graph(13)
    x = g.input("x", ["n", 5, 8])

    def heads(y: str) -> Any:
        return g.node("Reshape", y, g.constant(np.array([0, 5, 2, 4])))

    q, k, v = (heads(g.node("Einsum", x, g.weight(8, 8), equation="bnk,ko->bno")) for _ in range(3))
    p = g.node("Softmax", g.node("Einsum", q, k, equation="bihd,bjhd->bhij"), axis=-1)
    context = g.node("Einsum", p, v, equation="bhij,bjhd->bihd")
    g.output(g.node("Reshape", context, g.constant(np.array([0, 0, 8]))))
    _, counts = check(g.save(tmp_path), {"x": normal((3, 5, 8))})
    assert counts == {"Linear": 3, "Attention": 1}


@pytest.mark.parametrize("channels", [1, 3])
def test_positions_beside_more_axes(channels: int, tmp_path: Path) -> None:
    """Hugging Face's PatchTST adds a constant of tokens to what a linear layer makes of channels and tokens."""
    g = Graph(17)
    x = g.input("x", ["n", channels, 5, 8])
    g.output(g.node("Relu", g.node("Add", g.node("MatMul", x, g.weight(8, 12)), g.weight(5, 12))))
    path = g.save(tmp_path)
    data = {"x": normal((96, channels, 5, 8))}
    _, counts = check(path, data)
    assert counts == {"Linear": 1, "Add": 1, "Relu": 1}
    build = edgeflow.compile(path, calibration=data, output=tmp_path / "build")
    assert edgeflow.verify(build, data, samples=4).passed
    assert build.report["accuracy"]["sqnr_db"] > 30


@pytest.mark.parametrize(("queries", "keys", "rank"), [(6, 6, 6), (5, 7, 5), (9, 4, 4), (20, 20, 2)])
def test_constant_bias_of_the_scores(queries: int, keys: int, rank: int, tmp_path: Path) -> None:
    """Relative positions: MPNet's in front of the scale's division, and another behind it."""
    g = Graph(17)
    x, y = g.input("x", ["n", queries, 8]), g.input("y", ["n", keys, 8])
    operands = []
    for value, tokens, width in ((x, queries, 12), (y, keys, 12), (y, keys, 8)):
        heads = g.node("Reshape", g.node("MatMul", value, g.weight(8, width)), g.constant(np.array([0, tokens, 2, -1])))
        operands.append(g.node("Transpose", heads, perm=[0, 2, 1, 3]))
    q, k, v = operands
    random = np.random.default_rng(1)
    factors = random.normal(size=(2, queries, rank)), random.normal(size=(2, rank, keys))
    scores = g.node("MatMul", q, g.node("Transpose", k, perm=[0, 1, 3, 2]))
    scores = g.node(
        "Div", g.node("Add", scores, g.constant((factors[0] @ factors[1]).astype(np.float32))), g.constant(np.float32(2))
    )
    scores = g.node("Add", g.constant(random.normal(size=(1, 1, 1, keys)).astype(np.float32)), scores)
    y = g.node("MatMul", g.node("Softmax", scores, axis=-1), v)
    g.output(g.node("Reshape", g.node("Transpose", y, perm=[0, 2, 1, 3]), g.constant(np.array([0, queries, 8]))))
    model, counts = check(g.save(tmp_path), {"x": normal((3, queries, 8)), "y": normal((3, keys, 8))})
    assert counts == {"Linear": 3, "Attention": 1, "Add": 2}
    (attention,) = [node for node in model.graph if node.op_type == "Attention"]
    widths = [value.shape[-1] for value in attention.inputs if value is not None and value.shape is not None]
    assert widths == [2 * padded_head(6 + (rank if queries < 20 else rank + 2))] * 2 + [8]


def test_constant_bias_of_too_many_scores(tmp_path: Path) -> None:
    g = Graph(17)
    x = g.input("x", ["n", 460, 8])
    q, k, v = (g.node("MatMul", x, g.weight(8, 4)) for _ in range(3))
    scores = g.node("Add", g.node("MatMul", q, g.node("Transpose", k, perm=[0, 2, 1])), g.weight(460, 460))
    g.output(g.node("MatMul", g.node("Softmax", scores, axis=-1), v))
    with pytest.raises(UnsupportedError, match="its constant bias of 460 x 460 scores takes heads of 512 channels"):
        import_model(g.save(tmp_path))


def _keys_mask(g: Graph, mask: str, spelling: str) -> tuple[str, str]:
    """Role and value of a (n, keys) float mask written in several ways."""
    wide = g.node("Unsqueeze", mask, g.constant(np.array([1, 2])))
    if spelling == "subtract":
        return "add", g.node("Mul", g.node("Sub", g.constant(np.float32(1)), wide), g.constant(np.float32(-3e38)))
    if spelling == "where":
        kept = g.node("Cast", wide, to=TensorProto.BOOL)
        return "add", g.node("Where", kept, g.constant(np.float32(0)), g.constant(np.float32(-np.inf)))
    if spelling == "expanded":
        kept = g.node("Equal", wide, g.constant(np.float32(0)))
        spread = g.node("Expand", kept, g.constant(np.array([1, 2, 5, 5])))
        return "drop", spread
    return "keep", g.node("Greater", wide, g.constant(np.float32(0.5)))


@pytest.mark.parametrize("spelling", ["subtract", "where", "expanded", "greater"])
def test_padding_masks_are_found_by_probing(spelling: str, tmp_path: Path) -> None:
    g = Graph(17)
    x, mask = g.input("x", ["n", 5, 8]), g.input("mask", ["n", 5])
    split = g.constant(np.array([0, 5, 2, 4]))
    q, k, v = (
        g.node("Transpose", g.node("Reshape", g.node("MatMul", x, g.weight(8, 8)), split), perm=[0, 2, 1, 3]) for _ in range(3)
    )
    scores = g.node("MatMul", q, g.node("Transpose", k, perm=[0, 1, 3, 2]))
    role, value = _keys_mask(g, mask, spelling)
    low = g.constant(np.float32(-1e9))
    if role == "add":
        scores = g.node("Add", scores, value)
    else:
        scores = g.node("Where", value, *((scores, low) if role == "keep" else (low, scores)))
    context = g.node("MatMul", g.node("Softmax", scores, axis=-1), v)
    g.output(g.node("Reshape", g.node("Transpose", context, perm=[0, 2, 1, 3]), g.constant(np.array([0, 0, 8]))))
    weights = np.ones((3, 5), np.float32)
    weights[0, 3:], weights[2, 1] = 0, 0
    model, counts = check(g.save(tmp_path), {"x": normal((3, 5, 8)), "mask": weights})
    attention = next(node for node in model.graph if node.op_type == "Attention")
    read = attention.inputs[3]
    assert read is not None
    if spelling in ("subtract", "greater"):  # fractions do not all take part
        assert counts == {"Linear": 3, "Attention": 1, "Attends": 1}
        source = read.producer()
        assert source is not None
        read = source.inputs[0]
    else:
        assert counts == {"Linear": 3, "Attention": 1}
    assert read is not None
    assert read.name == "mask"


def _counted(tmp_path: Path, rows: int = 9, start: int = 1, **options: Any) -> Path:
    """Positions counted from the ids that are not 1, and a token type at each of them, which is always 0."""
    g = Graph(13)
    ids = g.input("ids", ["n", 6], TensorProto.INT64)
    kept = g.node("Cast", g.node("Not", g.node("Equal", ids, g.constant(np.int64(1)))), to=TensorProto.INT32)
    count = g.node("Mul", g.node("CumSum", kept, g.constant(np.int32(1)), **options), kept)
    positions = g.node("Add", g.node("Cast", count, to=TensorProto.INT64), g.constant(np.int64(start)))
    types = g.node("GatherElements", g.constant(np.zeros((3, 20), np.int64)), positions, axis=1)
    words = g.node("Add", g.node("Gather", g.weight(7, 8), ids), g.node("Gather", g.weight(2, 8), types))
    g.output(g.node("Add", words, g.node("Gather", g.weight(rows, 8), positions)))
    return g.save(tmp_path)


def test_positions_counted_from_the_ids(tmp_path: Path) -> None:
    ids = np.array([[3, 1, 4, 1, 1, 5], [1, 1, 1, 1, 1, 1], [2, 3, 4, 5, 6, 2]])
    model, counts = check(_counted(tmp_path), {"ids": ids}, shapes={"ids": (3, 6)})
    assert counts == {"Embedding": 1, "PositionEmbedding": 1, "Add": 2}
    (positions,) = [node for node in model.graph if node.op_type == "PositionEmbedding"]
    assert positions.attributes["padding"].as_int() == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"exclusive": 1}, "it does not count the tokens from the first on"),
        ({"reverse": 1}, "it does not count the tokens from the first on"),
        ({"start": 2}, "it counts from 2 on where the padding id is 1"),
        ({"rows": 7}, "6 tokens reach position 7, but the table has 7 rows"),
    ],
)
def test_positions_counted_otherwise_are_refused(options: dict[str, int], reason: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=reason):
        import_model(_counted(tmp_path, **options))


@pytest.mark.parametrize("rank", [3, 4])
def test_fused_onnx_attention_with_grouped_keys(rank: int, tmp_path: Path) -> None:
    g = Graph(23)
    x = g.input("x", ["n", 5, 8])
    q, k, v = (g.node("MatMul", x, g.weight(8, width)) for width in (8, 4, 4))
    if rank == 3:
        y = g.node("Attention", q, k, v, q_num_heads=2, kv_num_heads=1, scale=0.3)
    else:
        parts = [
            g.node("Transpose", g.node("Reshape", part, g.constant(np.array([0, 5, heads, 4]))), perm=[0, 2, 1, 3])
            for part, heads in ((q, 2), (k, 1), (v, 1))
        ]
        fused = g.node("Transpose", g.node("Attention", *parts), perm=[0, 2, 1, 3])
        y = g.node("Reshape", fused, g.constant(np.array([0, 0, 8])))
    g.output(y)
    model, counts = check(g.save(tmp_path), {"x": normal((3, 5, 8))})
    assert counts == {"Linear": 3, "Attention": 1}
    attention = next(node for node in model.graph if node.op_type == "Attention")
    np.testing.assert_allclose(attention.attributes["scale"].as_float(), 0.3 if rank == 3 else 0.5, rtol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
def test_fused_microsoft_attention(masked: bool, tmp_path: Path) -> None:
    g = Graph(17)
    x = g.input("x", ["n", 5, 8])
    inputs: dict[str, Any] = {"x": normal((3, 5, 8))}
    q, k, v = (g.node("MatMul", x, g.weight(8, 8)) for _ in range(3))
    extra = [g.weight(24)]
    if masked:
        extra.append(g.input("mask", ["n", 5], TensorProto.INT32))
        inputs["mask"] = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 1, 0, 1]], np.int32)
    g.output(g.node("MultiHeadAttention", q, k, v, *extra, num_heads=2, domain="com.microsoft"))
    _, counts = check(g.save(tmp_path), inputs)
    assert counts == {"Linear": 3, "Attention": 1}


def _activations() -> dict[str, Any]:
    def half(g: Graph, x: str, gate: str) -> str:
        return g.node("Mul", g.node("Mul", x, gate), g.constant(np.float32(0.5)))

    def erf_gate(g: Graph, x: str) -> str:
        inner = g.node("Erf", g.node("Mul", x, g.constant(np.float32(math.sqrt(0.5)))))
        return g.node("Add", g.constant(np.float32(1)), inner)

    def cubic(g: Graph, x: str, by_pow: bool) -> str:
        square = g.node("Mul", x, x)
        cube = g.node("Pow", x, g.constant(np.float32(3))) if by_pow else g.node("Mul", square, x)
        inner = g.node("Add", x, g.node("Mul", cube, g.constant(np.float32(0.044715))))
        gate = g.node("Tanh", g.node("Mul", inner, g.constant(np.float32(math.sqrt(2 / math.pi)))))
        return half(g, x, g.node("Add", gate, g.constant(np.float32(1))))

    def factored(g: Graph, x: str) -> str:
        """x * (a + b x^2), as some optimizers write the argument of tanh."""
        a, b = math.sqrt(2 / math.pi), 0.044715 * math.sqrt(2 / math.pi)
        slope = g.node("Add", g.node("Mul", g.node("Mul", x, x), g.constant(np.float32(b))), g.constant(np.float32(a)))
        gate = g.node("Add", g.node("Tanh", g.node("Mul", slope, x)), g.constant(np.float32(1)))
        return g.node("Mul", g.node("Mul", x, g.constant(np.float32(0.5))), gate)

    def hard(g: Graph, x: str) -> str:
        clipped = g.node("Clip", g.node("Add", x, g.constant(np.float32(3))), g.constant(np.float32(0)), g.constant(np.float32(6)))
        return g.node("Div", g.node("Mul", x, clipped), g.constant(np.float32(6)))

    return {
        "erf, half last": (lambda g, x: half(g, x, erf_gate(g, x)), "Gelu"),
        "erf, half first": (lambda g, x: g.node("Mul", g.node("Mul", g.constant(np.float32(0.5)), x), erf_gate(g, x)), "Gelu"),
        "erf, halved gate": (lambda g, x: g.node("Mul", x, g.node("Mul", g.constant(np.float32(0.5)), erf_gate(g, x))), "Gelu"),
        "tanh, cube by Pow": (lambda g, x: cubic(g, x, True), "Gelu"),
        "tanh, cube by Mul": (lambda g, x: cubic(g, x, False), "Gelu"),
        "tanh, factored": (factored, "Gelu"),
        "silu": (lambda g, x: g.node("Mul", g.node("Sigmoid", x), x), "Silu"),
        "quick": (lambda g, x: g.node("Mul", x, g.node("Sigmoid", g.node("Mul", g.constant(np.float32(1.702)), x))), "QuickGelu"),
        "hard": (hard, "HardSwish"),
        "softplus": (lambda g, x: g.node("Softplus", x), "Softplus"),
    }


@pytest.mark.parametrize("name", list(_activations()))
def test_activation_spellings(name: str, tmp_path: Path) -> None:
    build, operator = _activations()[name]
    g = Graph(14)
    x = g.node("MatMul", g.input("x", ["n", 5, 8]), g.weight(8, 8))
    g.output(build(g, x))
    _, counts = check(g.save(tmp_path), {"x": 3 * normal((3, 5, 8))})
    assert counts == {"Linear": 1, operator: 1}


def test_steeper_silu_is_scaled_silu(tmp_path: Path) -> None:
    g = Graph(14)
    x = g.input("x", ["n", 8])
    g.output(g.node("Mul", x, g.node("Sigmoid", g.node("Mul", x, g.constant(np.float32(2))))))
    _, counts = check(g.save(tmp_path), {"x": normal((3, 8))})
    assert counts == {"Mul": 2, "Silu": 1}


def test_data_movement_that_stays(tmp_path: Path) -> None:
    """Token mixing needs real transposes; slices of tokens and channels become selections."""
    g = Graph(17)
    x = g.input("x", ["n", 6, 8])
    mixed = g.node("Transpose", g.node("MatMul", g.node("Transpose", x, perm=[0, 2, 1]), g.weight(6, 6)), perm=[0, 2, 1])
    y = g.node("Relu", g.node("Add", x, mixed))
    tokens = g.node("Slice", y, *(g.constant(np.array([n])) for n in (1, 5, 1)))
    channels = g.node("Slice", y, *(g.constant(np.array([n])) for n in (2, 6, 2)))
    g.output(g.node("MatMul", g.node("Reshape", tokens, g.constant(np.array([0, -1]))), g.weight(32, 3)))
    g.output(g.node("Sigmoid", channels))
    _, counts = check(g.save(tmp_path), {"x": normal((3, 6, 8))})
    selected = {"SelectTokens": 1, "Reshape": 1, "SelectChannels": 1, "Sigmoid": 1}
    assert counts == {"Transpose": 2, "Linear": 2, "Add": 1, "Relu": 1, **selected}


def test_channel_slices_of_a_linear_split_its_weight(tmp_path: Path) -> None:
    g = Graph(17)
    wide = g.node("MatMul", g.input("x", ["n", 5, 8]), g.weight(8, 12))
    left, right = g.node("Split", wide, g.constant(np.array([6, 6])), outputs=2, axis=-1)
    g.output(g.node("Mul", left, g.node("Sigmoid", right)))
    model, counts = check(g.save(tmp_path), {"x": normal((3, 5, 8))})
    assert counts == {"Linear": 2, "Sigmoid": 1, "Mul": 1}
    assert {tuple(node.inputs[1].shape or ()) for node in model.graph if node.op_type == "Linear" and node.inputs[1]} == {(8, 6)}


@pytest.mark.parametrize("spelling", ["sequence first", "pooled map", "features by tokens"])
def test_means_over_tokens_in_other_layouts(spelling: str, tmp_path: Path) -> None:
    g = Graph(17)
    y = g.node("MatMul", g.input("x", ["n", 6, 8]), g.weight(8, 4))
    if spelling == "sequence first":
        z = g.node("ReduceMean", g.node("Transpose", y, perm=[1, 0, 2]), axes=[0], keepdims=0)
    elif spelling == "pooled map":
        grid = g.node("Reshape", g.node("Transpose", y, perm=[0, 2, 1]), g.constant(np.array([0, 4, 2, 3])))
        z = g.node("Flatten", g.node("GlobalAveragePool", grid))
    else:
        z = g.node("ReduceMean", g.node("Transpose", y, perm=[0, 2, 1]), axes=[-1], keepdims=0)
    g.output(z)
    _, counts = check(g.save(tmp_path), {"x": normal((3, 6, 8))})
    assert counts == {"Linear": 1, "MeanPool": 1}


@pytest.mark.parametrize("opset", [13, 17, 18, 20])
@pytest.mark.parametrize(("axis", "keepdims"), [(1, 0), (1, 1), (-2, 0), (-2, 1), (2, 0), (-1, 1)])
@pytest.mark.parametrize("name", ["Max", "Min"])
def test_extremes_over_tokens_or_channels(name: str, opset: int, axis: int, keepdims: int, tmp_path: Path) -> None:
    g = Graph(opset)
    y = g.node("MatMul", g.input("x", ["n", 6, 8]), g.weight(8, 4))
    axes: tuple[tuple[str, ...], dict[str, Any]] = ((g.constant(np.array([axis])),), {}) if opset > 17 else ((), {"axes": [axis]})
    g.output(g.node(f"Reduce{name}", y, *axes[0], **axes[1], keepdims=keepdims))
    model, counts = check(g.save(tmp_path), {"x": normal((3, 6, 8))})
    channels = axis in (2, -1)
    assert counts == {"Linear": 1, f"{name}Pool": 1} | ({"Transpose": 1} if channels else {}) | ({"Reshape": 1} if keepdims else {})
    kept = 6 if channels else 4
    expected = ["batch", *([kept] if not keepdims else [kept, 1] if channels else [1, kept])]
    assert [entry.value if isinstance(entry, ir.SymbolicDim) else entry for entry in model.graph.outputs[0].shape or ()] == expected


def test_the_largest_of_a_map_and_over_the_batch(tmp_path: Path) -> None:
    g = Graph(17)
    y = g.node("MatMul", g.input("x", ["n", 6, 8]), g.weight(8, 4))
    grid = g.node("Reshape", g.node("Transpose", y, perm=[0, 2, 1]), g.constant(np.array([0, 4, 2, 3])))
    g.output(g.node("Flatten", g.node("GlobalMaxPool", grid)))
    _, counts = check(g.save(tmp_path), {"x": normal((3, 6, 8))})
    assert counts == {"Linear": 1, "MaxPool": 1}
    g = Graph(17)
    g.output(g.node("ReduceMax", g.node("MatMul", g.input("x", ["n", 6, 8]), g.weight(8, 4)), axes=[0]))
    with pytest.raises(UnsupportedError, match=r"\(ReduceMax\): it is not over the tokens of \(batch, tokens, features\)"):
        import_model(g.save(tmp_path))


def test_one_tensor_under_two_output_names(tmp_path: Path) -> None:
    g = Graph(17)
    y = g.node("Relu", g.input("x", ["n", 8]))
    g.output(y)
    g.output(g.node("Identity", y))
    _, counts = check(g.save(tmp_path), {"x": normal((3, 8))})
    assert counts == {"Relu": 1, "Reshape": 1}


def _old(opset: int, folder: Path) -> tuple[Path, Path]:
    """The same network in an old operator set, with attributes where later ones have inputs, and in opset 13."""
    paths = []
    for version in (opset, 13):
        g = Graph(version, seed=3)
        x = g.input("x", ["n", 6, 8])
        y = g.node("MatMul", x, g.weight(8, 8))
        y = g.node("Dropout", g.node("Add", y, g.weight(8)))
        if version < 10:
            y = g.node("Slice", y, starts=[1], ends=[4], axes=[1])
        else:
            y = g.node("Slice", y, *(g.constant(np.array([number])) for number in (1, 4, 1)))
        y = g.node("Relu", g.node("Gemm", g.node("Flatten", y), g.weight(24, 5), g.weight(5)))
        mean = g.node("ReduceMean", x, axes=[1], keepdims=0)
        y = g.node("Add", y, g.node("Relu", g.node("Gemm", mean, g.weight(8, 5), g.weight(5))))
        g.output(g.node("Softmax", y, axis=1))
        paths.append(g.save(folder, f"opset{version}.onnx"))
    return paths[0], paths[1]


@pytest.mark.parametrize("opset", [7, 8, 9, 10])
def test_old_operator_sets_are_raised(opset: int, tmp_path: Path) -> None:
    old, new = _old(opset, tmp_path)
    inputs = {"x": normal((3, 6, 8))}
    model, counts = check(old, inputs)
    assert counts == check(new, inputs)[1]
    assert max(agreement(new, model, inputs).values()) < 1e-5


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("act_relu6_ts", {"Clip": 1}),
        ("vitis465_bn_after_linear_ts", {"BatchNormalization": 0, "Linear": 8}),
        ("negative_attention_scale", {"Attention": 1, "Mul": 0, "Linear": 6}),
    ],
)
def test_forms_of_small_models(name: str, wanted: dict[str, int]) -> None:
    """ReLU6 is an elementwise function; BatchNormalization and the sign of a scale go into the layer above."""
    with np.load(CASES / f"{name}.npz") as archive:
        data = dict(archive)
    model, counts = check(CASES / f"{name}.onnx", data, shapes={key: array.shape for key, array in data.items()})
    assert {key: counts[key] for key in wanted} == wanted
    quantized = edgeflow.quantize(model, data)
    outputs = decode_outputs(quantized.graph, Executor(quantized.graph).run(encode_inputs(quantized.graph, data)))
    assert signal_to_noise(run(session(CASES / f"{name}.onnx"), data)["y"], outputs["y"]) > 20


@pytest.mark.parametrize(("low", "high", "operator"), [(0.0, None, "Relu"), (None, 1.0, "Clip"), (-1.0, 0.5, "Clip")])
def test_clip_with_one_end_or_two(low: float | None, high: float | None, operator: str, tmp_path: Path) -> None:
    g = Graph(13)
    ends = ["" if end is None else g.constant(np.float32(end)) for end in (low, high)]
    g.output(g.node("Clip", g.node("MatMul", g.input("x", ["n", 4, 8]), g.weight(8, 6)), *ends))
    _, counts = check(g.save(tmp_path), {"x": normal((3, 4, 8))})
    assert counts == {"Linear": 1, operator: 1}


@pytest.mark.parametrize(("op", "number", "operator"), [("Max", 0.0, "Relu"), ("Max", -0.5, "Clip"), ("Min", 1.5, "Clip")])
@pytest.mark.parametrize("first", [True, False])
def test_max_and_min_with_a_number(op: str, number: float, operator: str, first: bool, tmp_path: Path) -> None:
    g = Graph(13)
    x, end = g.node("MatMul", g.input("x", ["n", 4, 8]), g.weight(8, 6)), g.constant(np.float32(number))
    g.output(g.node(op, *((end, x) if first else (x, end))))
    _, counts = check(g.save(tmp_path), {"x": normal((3, 4, 8))})
    assert counts == {"Linear": 1, operator: 1}


def test_max_and_min_of_two_tensors_to_the_last_word(tmp_path: Path) -> None:
    """From the file through the C++: a maxout layer, and what it makes held below a row of constants."""
    g = Graph(17)
    x = g.input("x", ["n", 6, 16])
    pieces = [g.node("MatMul", x, g.weight(16, 24)) for _ in range(2)]
    capped = g.node("Min", g.node("Max", *pieces), g.constant(np.abs(normal((24,))) + np.float32(0.5)))
    g.output(g.node("MatMul", capped, g.weight(24, 5)))
    data = {"x": normal((96, 6, 16))}
    path = g.save(tmp_path)
    _, counts = check(path, data)
    assert counts == {"Linear": 3, "Max": 1, "Min": 1}
    build = edgeflow.compile(path, calibration=data, output=tmp_path / "build")
    assert edgeflow.verify(build, data, samples=4).passed
    accuracy = build.report["accuracy"]
    assert accuracy["sqnr_db"] > 30


def test_batch_norm_of_an_image_and_between_tokens(tmp_path: Path) -> None:
    """Over channels in front of the positions, where no Linear is above it."""
    g = Graph(17)
    statistics = [g.weight(4), g.weight(4), g.weight(4), g.constant(np.array([0.5, 1, 2, 3], np.float32))]
    y = g.node("BatchNormalization", g.input("x", ["n", 4, 6]), *statistics)
    g.output(g.node("MatMul", y, g.weight(6, 5)))
    _, counts = check(g.save(tmp_path), {"x": normal((3, 4, 6))})
    assert counts == {"Mul": 1, "Add": 1, "Linear": 1}


def _patches_of_a_signal(folder: Path, biased: bool, length: int = 22, **attributes: Any) -> Path:
    """Patches of 4 samples in 3 channels, as tokens, then a layer and a mean."""
    g = Graph(17)
    operands = [g.input("x", ["n", 3, length]), g.weight(8, 3, 4), *([g.weight(8)] if biased else [])]
    tokens = g.node("Transpose", g.node("Conv", *operands, strides=[4], **attributes), perm=[0, 2, 1])
    g.output(g.node("ReduceMean", g.node("Relu", g.node("MatMul", tokens, g.weight(8, 12))), axes=[1], keepdims=0))
    return g.save(folder)


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(
    "attributes",
    [{}, {"kernel_shape": [4], "dilations": [1], "group": 1, "pads": [0, 0]}, {"auto_pad": "VALID"}],
    ids=["defaults", "written", "valid"],
)
def test_patches_of_a_signal(biased: bool, attributes: dict[str, Any], tmp_path: Path) -> None:
    """A convolution over one axis whose stride is its kernel; two samples at the end are left over."""
    _, counts = check(_patches_of_a_signal(tmp_path, biased, **attributes), {"x": normal((3, 3, 22))})
    assert counts == {"PatchEmbed": 1, "Reshape": 1, "Linear": 1, "Relu": 1, "MeanPool": 1}


def test_patches_of_a_signal_to_the_last_word(tmp_path: Path) -> None:
    data = {"x": normal((64, 3, 22))}
    path = _patches_of_a_signal(tmp_path, True)
    build = edgeflow.compile(path, calibration=data, output=tmp_path / "build")
    assert edgeflow.verify(build, data, samples=4).passed
    outputs, expected = edgeflow.simulate(build, data), run(session(path), data)
    assert all(signal_to_noise(expected[name], outputs[name]) > 30 for name in expected)
    again = edgeflow.compile(tmp_path / "build" / "model.qdq.onnx", calibration=data, output=tmp_path / "again")
    for name, same in edgeflow.simulate(again, data).items():
        np.testing.assert_array_equal(same, outputs[name])
