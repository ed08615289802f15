"""Models that cannot be compiled: the cause is named, what follows from it is folded under it, and all of it fits a screen."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import Terminal
from onnx import TensorProto, helper
from onnx_graphs import Graph

import edgeflow
from edgeflow.hw.diagnosis import LINES, WIDTH, Cause, Diagnosis, RefusedNode
from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.ops.attention import MAXIMUM_HEAD

CASES = Path(__file__).parents[2] / "cases"
TOKENS, WIDTH_OF_TOKEN = 4, 8
CAUSAL = np.triu(np.full((TOKENS, TOKENS), -1e9, np.float32), 1)
WINDOW = np.where(np.abs(np.subtract.outer(np.arange(TOKENS), np.arange(TOKENS))) > 1, np.float32(-1e9), np.float32(0))

Part = Callable[[Graph, str], str]


def unchanged(_: Graph, value: str) -> str:
    return value


def attention(g: Graph, x: str, scores: Part = unchanged, turned: Part = unchanged) -> str:
    """Attention of two heads, whose scores pass through ``scores``, and queries and keys ``(n, heads, tokens, 4)`` through
    ``turned``."""
    split = g.constant(np.array([0, TOKENS, 2, 4]))
    q, k, v = (
        g.node("Transpose", g.node("Reshape", g.node("MatMul", x, g.weight(8, 8)), split), perm=[0, 2, 1, 3]) for _ in range(3)
    )
    product = g.node("MatMul", turned(g, q), g.node("Transpose", turned(g, k), perm=[0, 1, 3, 2]))
    context = g.node("MatMul", g.node("Softmax", scores(g, product), axis=-1), v)
    merged = g.node("Reshape", g.node("Transpose", context, perm=[0, 2, 1, 3]), g.constant(np.array([0, 0, 8])))
    return str(g.node("MatMul", merged, g.weight(8, 8)))


def half_rotation(g: Graph, x: str) -> str:
    """``x * cos + (-x2, x1) * sin``, as Llama has it."""
    angles = np.outer(np.arange(TOKENS), [1.0, 0.1, 1.0, 0.1]).astype(np.float32)
    first, second = g.node("Split", x, outputs=2, axis=-1)
    swapped = g.node("Concat", g.node("Neg", second), first, axis=-1)
    return str(g.node("Add", g.node("Mul", x, g.constant(np.cos(angles))), g.node("Mul", swapped, g.constant(np.sin(angles)))))


def pair_rotation(g: Graph, x: str) -> str:
    """Neighbouring channels are turned, as the first paper has it."""
    angles = np.outer(np.arange(TOKENS), [1.0, 0.1]).astype(np.float32)
    cos, sin = g.constant(np.cos(angles)), g.constant(np.sin(angles))
    pairs = g.node("Reshape", x, g.constant(np.array([0, 2, TOKENS, 2, 2])))
    even, odd = (g.node("Gather", pairs, g.constant(np.array(at)), axis=-1) for at in (0, 1))
    parts = (
        g.node("Sub", g.node("Mul", even, cos), g.node("Mul", odd, sin)),
        g.node("Add", g.node("Mul", even, sin), g.node("Mul", odd, cos)),
    )
    axis = g.constant(np.array([-1]))
    joined = g.node("Concat", *(g.node("Unsqueeze", part, axis) for part in parts), axis=-1)
    return str(g.node("Reshape", joined, g.constant(np.array([0, 2, TOKENS, 4]))))


def rms_norm(g: Graph, x: str, spelling: str) -> str:
    """x over the root of the mean of its squares, times a weight."""
    two = g.constant(np.float32(2))
    square = g.node("Mul", x, x) if spelling == "reciprocal" else g.node("Pow", x, two)
    mean = g.node("Add", g.node("ReduceMean", square, axes=[-1]), g.constant(np.float32(1e-6)))
    if spelling == "divided":
        y = g.node("Div", x, g.node("Sqrt", mean))
    elif spelling == "reciprocal":
        y = g.node("Mul", x, g.node("Reciprocal", g.node("Sqrt", mean)))
    elif spelling == "one over":
        y = g.node("Mul", x, g.node("Div", g.constant(np.float32(1)), g.node("Sqrt", mean)))
    else:
        y = g.node("Mul", x, g.node("Pow", mean, g.constant(np.float32(-0.5))))
    return str(g.node("Mul", g.weight(8), y))


def network(*layers: Part, opset: int = 17, kind: int = TensorProto.FLOAT, shape: tuple[int, ...] = (TOKENS, 8)) -> Graph:
    """Layers one after another; of input and output, the batch is n."""
    g = Graph(opset)
    value = g.input("x", ["n", *shape], kind)
    for layer in layers:
        value = layer(g, value)
    g.output(value)
    return g


def rms_network(spelling: str) -> Graph:
    return network(lambda g, x: rms_norm(g, x, spelling), dense)


def dense(g: Graph, x: str) -> str:
    return str(g.node("MatMul", x, g.weight(8, 8)))


def masked(mask: Any) -> Part:
    return lambda g, x: attention(g, x, lambda g, s: str(g.node("Add", s, g.constant(mask))))


def chosen(g: Graph, s: str) -> str:
    allowed = g.constant(np.tril(np.ones((1, 1, TOKENS, TOKENS), bool)))
    return str(g.node("Where", allowed, s, g.constant(np.float32(-1e9))))


def causal_and_padded(g: Graph, s: str) -> str:
    """The mask of a decoder whose prompts are padded: both in one."""
    mask = g.input("mask", ["n", TOKENS])
    row = g.node("Unsqueeze", mask, g.constant(np.array([1, 2])))
    both = g.node("Mul", row, g.constant(np.tril(np.ones((TOKENS, TOKENS), np.float32))))
    return str(g.node("Add", s, g.node("Mul", g.node("Sub", g.constant(np.float32(1)), both), g.constant(np.float32(-1e9)))))


def pairs_masked(g: Graph, s: str) -> str:
    mask = g.input("mask", ["n", TOKENS])
    row, column = (g.node("Unsqueeze", mask, g.constant(np.array(axes))) for axes in ([1, 3], [1, 2]))
    both = g.node("Sub", g.constant(np.float32(1)), g.node("Mul", row, column))
    return str(g.node("Add", s, g.node("Mul", both, g.constant(np.float32(-1e9)))))


def l2_norm(g: Graph, x: str) -> str:
    norm = g.node("Clip", g.node("ReduceL2", x, axes=[-1]), g.constant(np.float32(1e-12)))
    return str(g.node("Div", x, norm))


def top1_gate(g: Graph, x: str) -> str:
    """Two experts, of which the likelier one is taken for each token, times its probability."""
    weights = g.node("Softmax", g.node("MatMul", x, g.weight(8, 2)), axis=-1)
    best, place = g.node("TopK", weights, g.constant(np.array([1])), outputs=2, axis=-1)
    both = g.node("Concat", *(g.node("Unsqueeze", dense(g, x), g.constant(np.array([-1]))) for _ in range(2)), axis=-1)
    spread = g.node("Expand", g.node("Unsqueeze", place, g.constant(np.array([-2]))), g.constant(np.array([1, 1, 8, 1])))
    taken = g.node("Squeeze", g.node("GatherElements", both, spread, axis=-1), g.constant(np.array([-1])))
    return dense(g, str(g.node("Mul", taken, best)))


def learned_queries(g: Graph, x: str) -> str:
    """Pooling by more learned queries than there are tokens."""
    scores = g.node("MatMul", g.weight(TOKENS + 1, 8), g.node("Transpose", dense(g, x), perm=[0, 2, 1]))
    return dense(g, str(g.node("MatMul", g.node("Softmax", scores, axis=-1), dense(g, x))))


def image(g: Graph, x: str) -> str:
    pixels = g.node("Div", g.node("Cast", x, to=TensorProto.FLOAT), g.constant(np.float32(255)))
    return dense(g, str(pixels))


def image_channels_last(g: Graph, x: str) -> str:
    return image(g, str(g.node("Transpose", x, perm=[0, 2, 1])))


def hardmax(g: Graph, x: str) -> str:
    return str(g.node("Hardmax", x, axis=-1))


def over_the_batch(g: Graph, x: str) -> str:
    return str(g.node("ArgMax", x, axis=0, keepdims=1))


def transposed_places(g: Graph, x: str) -> str:
    return str(g.node("Transpose", g.node("ArgMax", x, axis=-1), perm=[0, 2, 1]))


def conv(strides: int) -> Part:
    return lambda g, x: str(g.node("Conv", x, g.weight(4, 1, 3, 3), strides=[strides, strides], pads=[1, 1, 1, 1]))


def recurrent(g: Graph, x: str) -> str:
    y, *_ = g.node("LSTM", x, g.weight(1, 16, 8), g.weight(1, 16, 4), outputs=3, hidden_size=4)
    return str(y)


SMALL: dict[str, tuple[Callable[[], Graph], list[tuple[str, str, int, int]]]] = {
    # what it is: the model, and of every cause the name, the operator of its first node, how many nodes, how many consequences
    "causal mask": (lambda: network(masked(CAUSAL)), [("causal mask", "Add", 1, 3)]),
    "causal mask, two layers": (lambda: network(masked(CAUSAL), masked(CAUSAL)), [("causal mask", "Add", 2, 6)]),
    "causal mask, chosen": (lambda: network(lambda g, x: attention(g, x, chosen)), [("causal mask", "Where", 1, 3)]),
    "causal and padding": (lambda: network(lambda g, x: attention(g, x, causal_and_padded)), [("causal mask", "Add", 1, 4)]),
    "window": (lambda: network(masked(WINDOW)), [("constant attention mask", "Add", 1, 3)]),
    "pairs": (lambda: network(lambda g, x: attention(g, x, pairs_masked)), [("mask of queries and keys", "Add", 1, 4)]),
    "rotary": (lambda: network(lambda g, x: attention(g, x, turned=half_rotation)), [("rotary embedding", "Add", 2, 5)]),
    "rotary, pairs": (lambda: network(lambda g, x: attention(g, x, turned=pair_rotation)), [("rotary embedding", "Concat", 2, 7)]),
    "RMSNorm, divided": (partial(rms_network, "divided"), [("RMSNorm", "Div", 1, 2)]),
    "RMSNorm, reciprocal": (partial(rms_network, "reciprocal"), [("RMSNorm", "Mul", 1, 1)]),
    "RMSNorm, one over": (partial(rms_network, "one over"), [("RMSNorm", "Mul", 1, 3)]),
    "RMSNorm, power": (partial(rms_network, "power"), [("RMSNorm", "Mul", 1, 3)]),
    "L2": (lambda: network(dense, l2_norm), [("L2 normalization", "Div", 1, 1)]),
    "gate": (lambda: network(top1_gate), [("mixture of experts", "TopK", 1, 4)]),
    "learned queries": (lambda: network(learned_queries), [("more learned queries than keys", "Softmax", 1, 2)]),
    "image": (lambda: network(image, kind=TensorProto.UINT16), [("uint16 input", "Cast", 1, 0)]),
    "image, channels last": (
        lambda: network(image_channels_last, kind=TensorProto.INT64, shape=(8, TOKENS)),
        [("int64 input", "Cast", 1, 1)],
    ),
    "one at the largest": (lambda: network(dense, hardmax), [("choice at the output", "Hardmax", 1, 0)]),
    "largest of the batch": (lambda: network(dense, over_the_batch), [("choice at the output", "ArgMax", 1, 0)]),
    "places that move": (lambda: network(dense, transposed_places), [("choice at the output", "ArgMax", 1, 1)]),
    "convolution": (lambda: network(conv(1), shape=(1, 6, 6)), [("convolution that is not a patch embedding", "Conv", 1, 0)]),
    "recurrent": (lambda: network(dense, recurrent), [("recurrent layer", "LSTM", 1, 0)]),
    "two of a kind, and another": (
        lambda: network(masked(CAUSAL), lambda g, x: rms_norm(g, x, "divided"), masked(CAUSAL)),
        [("RMSNorm", "Div", 1, 2), ("causal mask", "Add", 2, 6)],
    ),
    "known and unknown": (
        lambda: network(masked(CAUSAL), lambda g, x: str(g.node("CumSum", x, g.constant(np.array(1))))),
        [("causal mask", "Add", 1, 3), ("CumSum", "CumSum", 1, 0)],
    ),
}


def on_a_screen(diagnosis: Diagnosis) -> str:
    """The drawn diagnosis, which is held to a screen."""
    lines = diagnosis.text().splitlines()
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= WIDTH
    return " ".join(" ".join(lines).split())


@pytest.mark.parametrize("what", SMALL)
def test_the_cause_is_named(what: str, tmp_path: Path) -> None:
    make, expected = SMALL[what]
    path = make().save(tmp_path)
    diagnosis = edgeflow.check(path)
    assert [(c.name, c.nodes[0].operator, len(c.nodes), len(c.consequences)) for c in diagnosis.causes] == expected
    assert not diagnosis.compiles
    named = [node.node for cause in diagnosis.causes for node in (*cause.nodes, *cause.consequences)]
    assert len(named) == len(set(named)) == diagnosis.refused
    assert set(named) <= {node.name for node in onnx.load(path).graph.node}
    text = on_a_screen(diagnosis)
    assert text.index(diagnosis.summary) < text.index(expected[0][0] + ":")


CASES_EXPECTED = {
    "rotary_ts": ("rotary embedding", ["/Add_1", "/Add_3"]),
    "rmsnorm_hand_ts": ("RMSNorm", ["/b.0/n1/Mul", "/b.0/n2/Mul"]),
    "edge_moe_top1_ts": ("mixture of experts", ["/TopK"]),
    "seq_first_input": ("batch on another axis", []),
    "training_mode_batchnorm": ("training mode", []),
}


@pytest.mark.parametrize("name", CASES_EXPECTED)
def test_what_exporters_write(name: str) -> None:
    diagnosis = edgeflow.check(CASES / f"{name}.onnx")
    cause, nodes = CASES_EXPECTED[name]
    assert [(c.name, [node.node for node in c.nodes]) for c in diagnosis.causes] == [(cause, nodes)]
    assert f"{cause} is the only obstacle" in on_a_screen(diagnosis)


def test_a_model_that_compiles(tmp_path: Path, terminal: Terminal) -> None:
    path = network(attention, dense).save(tmp_path)
    diagnosis = edgeflow.check(path)
    assert diagnosis.compiles
    assert diagnosis.operators == {"Linear": 5, "Attention": 1}
    assert (diagnosis.nodes, diagnosis.refused) == (17, 0)
    outcome = terminal.run("check", path, "--json")
    assert outcome.status == 0
    assert json.loads(outcome.out) == diagnosis.document()
    assert "all 17 nodes map, to 5 Linear, 1 Attention" in terminal.run("check", path).out


def test_what_has_no_integer_form_is_told_without_data(tmp_path: Path, terminal: Terminal) -> None:
    """A form that the importer knows, with a head wider than attention takes."""
    g = Graph(17)
    x = g.input("x", ["n", 5, 8])
    q, k, v = (g.node("MatMul", x, g.weight(8, MAXIMUM_HEAD + 8)) for _ in range(3))
    scores = g.node("MatMul", q, g.node("Transpose", k, perm=[0, 2, 1]))
    g.output(g.node("MatMul", g.node("Softmax", scores, axis=-1), v))
    path = g.save(tmp_path)
    diagnosis = edgeflow.check(path)
    assert not diagnosis.compiles
    assert f"heads of at most {MAXIMUM_HEAD} channels, not {MAXIMUM_HEAD + 8}" in on_a_screen(diagnosis)
    outcome = terminal.run("check", path)
    assert outcome.status == 2
    assert f"heads of at most {MAXIMUM_HEAD} channels" in terminal.refused("compile", path, "-o", tmp_path / "build")


def test_the_command_ends_with_2_and_the_causes(tmp_path: Path, terminal: Terminal) -> None:
    path = network(masked(CAUSAL)).save(tmp_path)
    outcome = terminal.run("check", path, "--json")
    assert outcome.status == 2
    document = json.loads(outcome.out)
    assert document["compiles"] is False
    assert [cause["name"] for cause in document["causes"]] == ["causal mask"]
    assert document["refused_operators"] == {"MatMul": 2, "Add": 1, "Softmax": 1}
    assert [node["operator"] for node in document["causes"][0]["consequences"]] == ["MatMul", "Softmax", "MatMul"]
    assert terminal.run("check", path).out.rstrip("\n") == edgeflow.check(path).text()


def test_compile_says_the_same(tmp_path: Path, terminal: Terminal) -> None:
    path = network(masked(CAUSAL)).save(tmp_path)
    told = terminal.refused("compile", path, "-o", tmp_path / "build")
    assert f"error: {told}" == edgeflow.check(path).text(mark="error: ")
    document = json.loads(terminal.run("compile", path, "-o", tmp_path / "build", "--json").out)["error"]
    assert document["diagnosis"] == edgeflow.check(path).document()
    assert document["message"] == edgeflow.check(path).line()
    assert not (tmp_path / "build").exists()


def test_an_error_carries_its_diagnosis(tmp_path: Path) -> None:
    path = network(masked(CAUSAL)).save(tmp_path)
    with pytest.raises(UnsupportedError, match="a causal mask is the only obstacle") as caught:
        edgeflow.load(path)
    assert caught.value.diagnosis == edgeflow.check(path)
    with pytest.raises(UnsupportedError, match=r"^model hand: a causal mask") as caught:
        edgeflow.compile(onnx.load(path), output=tmp_path / "build")
    assert caught.value.diagnosis == edgeflow.check(onnx.load(path))


def test_many_causes_fit_a_screen_and_json_has_them_all() -> None:
    causes = tuple(
        Cause(
            f"Operator{i}",
            "there is no integer operator for it " * 3,
            "leave it out",
            (RefusedNode(f"/layer.{i}/node" * 9, f"Op{i}"),),
        )
        for i in range(40)
    )
    diagnosis = Diagnosis("model.onnx", causes, 100, {"Linear": 9})
    text = on_a_screen(diagnosis)
    assert "40 obstacles: Operator0, Operator1, Operator2 and 37 more" in text
    assert "which --json lists in full" in text
    assert "60 of 100 nodes map, to 9 Linear" in text
    assert len(diagnosis.document()["causes"]) == 40
    assert len(diagnosis.line()) < 1000


def test_names_from_the_file_are_shown_harmlessly() -> None:
    node = RefusedNode("\x1b]0;owned\x07\x1b[31m<i>", "Frob")
    diagnosis = Diagnosis("m.onnx", (Cause("Frob", "no \x1b operator", "leave it out", (node,)),), 1)
    for shown in (diagnosis.text(), diagnosis.line()):
        assert "\x1b" not in shown
        assert "\\x1b]0;owned" in shown
    assert "<i>" not in diagnosis._repr_html_()
    assert "&lt;i&gt;" in diagnosis._repr_html_()


def test_control_flow_is_a_cause(tmp_path: Path) -> None:
    g = Graph(17)
    x = g.input("x", ["n", 8])
    positive = g.node("Greater", g.node("ReduceSum", x, keepdims=0), g.constant(np.float32(0)))
    branches: dict[str, Any] = {
        name: helper.make_graph([helper.make_node(op, [x], [name])], name, [], [helper.make_tensor_value_info(name, 1, None)])
        for name, op in (("then_branch", "Relu"), ("else_branch", "Neg"))
    }
    g.output(g.node("If", positive, **branches))
    (cause,) = edgeflow.check(g.save(tmp_path)).causes
    assert (cause.name, cause.nodes[0].operator) == ("control flow that depends on the input", "If")
