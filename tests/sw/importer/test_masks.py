"""Padding masks of every kind: values do what they do in the model itself, and nothing else is taken for a mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto
from onnx_graphs import Graph, normal

from edgeflow.hw.errors import CalibrationError, ModelError
from edgeflow.quant.canonical.inputs import check_inputs, model_inputs
from edgeflow.sw.importer import import_model
from edgeflow.sw.measure.reference import hold_to_original

TOKENS, WIDTH = 5, 8
Build = Callable[[Graph, str], str]


def attention(g: Graph, x: str, masked: Callable[[str], str]) -> str:
    """``softmax(masked(x x^T)) x`` with one head."""
    scores = g.node("MatMul", x, g.node("Transpose", x, perm=[0, 2, 1]))
    scaled = g.node("Mul", scores, g.constant(np.float32(0.3)))
    return str(g.node("MatMul", g.node("Softmax", masked(scaled), axis=-1), x))


def row(g: Graph, m: str) -> str:
    return str(g.node("Unsqueeze", m, g.constant(np.array([1]))))


def number(g: Graph, value: Any, like: str) -> str:
    return g.constant(np.array(value, np.float32 if like == "float" else np.int64))


def additive(g: Graph, keep: str) -> Callable[[str], str]:
    """Scores plus 0 where ``keep`` is 1, plus -10000 where it is 0."""
    away = g.node("Mul", g.node("Sub", g.constant(np.float32(1)), keep), g.constant(np.float32(-10000)))
    return lambda scores: str(g.node("Add", scores, row(g, away)))


def as_float(g: Graph, m: str) -> str:
    return str(g.node("Cast", m, to=TensorProto.FLOAT))


def as_bool(g: Graph, m: str) -> str:
    return str(g.node("Cast", m, to=TensorProto.BOOL))


def where(g: Graph, attends: str) -> Callable[[str], str]:
    return lambda scores: str(g.node("Where", row(g, attends), scores, g.constant(np.float32(-1e9))))


def where_not(g: Graph, padding: str) -> Callable[[str], str]:
    return lambda scores: str(g.node("Where", row(g, padding), g.constant(np.float32(-np.inf)), scores))


def weighted_mean(g: Graph, x: str, weight: str) -> str:
    """``sum(x w) / max(sum(w), 1e-9)`` over the tokens."""
    column = g.node("Unsqueeze", weight, g.constant(np.array([2])))
    total = g.node("ReduceSum", g.node("Mul", x, column), g.constant(np.array([1])), keepdims=0)
    count = g.node("Clip", g.node("ReduceSum", column, g.constant(np.array([1])), keepdims=0), g.constant(np.float32(1e-9)))
    return str(g.node("Div", total, count))


def largest(g: Graph, masked: str, name: str = "ReduceMax") -> str:
    """The largest, or the smallest, over the tokens."""
    return str(g.node(name, masked, g.constant(np.array([1])), keepdims=0))


def column(g: Graph, m: str) -> str:
    return str(g.node("Unsqueeze", m, g.constant(np.array([2]))))


def equal(g: Graph, value: str, number: int) -> str:
    return str(g.node("Equal", value, g.constant(np.array(number, np.int64))))


def bits(g: Graph, m: str, number: int) -> str:
    return str(g.node("BitwiseAnd", m, g.constant(np.array(number, np.int64))))


def modulo(g: Graph, m: str, number: int) -> str:
    return str(g.node("Mod", m, g.constant(np.array(number, np.int64))))


def linear(g: Graph, m: str, factor: int, addend: int) -> str:
    return str(g.node("Add", g.node("Mul", m, number(g, factor, "int")), number(g, addend, "int")))


def halved_twice(g: Graph, m: str) -> str:
    """Where ``2 (m // 2) = m``: integer division, not by a remainder."""
    two = g.constant(np.array(2, np.int64))
    return str(g.node("Equal", g.node("Mul", g.node("Div", m, two), two), m))


def fraction(g: Graph, m: str) -> str:
    """Where ``m - floor(m) > 0.5``."""
    return str(g.node("Greater", g.node("Sub", m, g.node("Floor", m)), number(g, 0.5, "float")))


def above(g: Graph, value: str, threshold: float) -> str:
    return str(g.node("Greater", value, number(g, threshold, "float")))


def within(g: Graph, value: str, low: float, high: float) -> str:
    least = g.node("GreaterOrEqual", value, number(g, low, "float"))
    return str(g.node("And", least, g.node("LessOrEqual", value, number(g, high, "float"))))


def above_but_for_squares(g: Graph, m: str, low: int, high: int) -> str:
    """Where ``m > 0`` and not ``low^2 <= m m <= high^2``: a hole that no constant names."""
    square, ends = g.node("Mul", m, m), [g.constant(np.array(end * end, np.int64)) for end in (low, high)]
    hole = g.node("And", g.node("GreaterOrEqual", square, ends[0]), g.node("LessOrEqual", square, ends[1]))
    return str(g.node("And", g.node("Greater", m, g.constant(np.array(0, np.int64))), g.node("Not", hole)))


def off_a_curve(g: Graph, m: str, level: float, margin: float) -> str:
    """Where ``m > 0`` and ``|exp(m) - level| > margin``."""
    distance = g.node("Abs", g.node("Sub", g.node("Exp", m), number(g, level, "float")))
    return str(
        g.node("And", g.node("Greater", m, number(g, 0.0, "float")), g.node("Greater", distance, number(g, margin, "float")))
    )


@dataclass(frozen=True)
class Case:
    """A mask: its graph behind input ``m``, the values with which keys take part, those with which they do not, and some that the
    network cannot honour."""

    kind: str
    build: Callable[[Graph, str, str], str]
    attend: tuple[float, ...]
    ignore: tuple[float, ...]
    refuse: tuple[float, ...] = ()


CASES = {
    "a hole that squares make": Case(
        "int64",
        lambda g, x, m: attention(g, x, where(g, above_but_for_squares(g, m, 5010, 5400))),
        (1, 2, 1000),
        (0,),
        (5100, 5390),
    ),
    "a hole that a curve makes": Case(
        "float", lambda g, x, m: attention(g, x, where(g, off_a_curve(g, m, 1.5, 0.002))), (1,), (0,), (0.405, 0.4054)
    ),
    "anything but 0": Case("int64", lambda g, x, m: attention(g, x, where(g, as_bool(g, m))), (1, 2, -1, 1000), (0,)),
    "booleans": Case("bool", lambda g, x, m: attention(g, x, where(g, m)), (1,), (0,)),
    "booleans of padding": Case("bool", lambda g, x, m: attention(g, x, where_not(g, g.node("Not", m))), (1,), (0,)),
    "integers, (1 - m) * -10000": Case(
        "int64", lambda g, x, m: attention(g, x, additive(g, as_float(g, m))), (1,), (0,), (2, -1, 7)
    ),
    "floats, (1 - m) * -10000": Case("float", lambda g, x, m: attention(g, x, additive(g, m)), (1,), (0,), (0.5, 2, -1, 0.999)),
    "equal to 1": Case(
        "int64", lambda g, x, m: attention(g, x, where(g, g.node("Equal", m, number(g, 1, "int")))), (1,), (0, 2, 3, -1, 1000)
    ),
    "equal to a number of its own": Case(
        "int64", lambda g, x, m: attention(g, x, where(g, g.node("Equal", m, number(g, 7103, "int")))), (7103,), (0, 1, 7102, 7104)
    ),
    "above one half": Case(
        "float",
        lambda g, x, m: attention(g, x, where(g, g.node("Greater", m, number(g, 0.5, "float")))),
        (1, 0.75, 0.51, 12),
        (0, 0.5, 0.25, -3),
    ),
    "above a threshold": Case(
        "float",
        lambda g, x, m: attention(g, x, where(g, g.node("Greater", m, number(g, 0.37, "float")))),
        (1, 0.38),
        (0, 0.36, 0.37),
    ),
    "padding where 1": Case("int64", lambda g, x, m: attention(g, x, where_not(g, as_bool(g, m))), (0,), (1, 2, -1)),
    "added as it is": Case(
        "float", lambda g, x, m: attention(g, x, lambda s: str(g.node("Add", s, row(g, m)))), (0,), (-1e4, -1e9), (-1, 1, -100)
    ),
    "logarithms": Case(
        "float",
        lambda g, x, m: attention(g, x, lambda s: str(g.node("Add", s, row(g, g.node("Log", m))))),
        (1,),
        (0,),
        (0.5, 2, -1),
    ),
    "a mean": Case("float", weighted_mean, (1,), (0,), (0.5, 2, -1)),
    "a mean by counts": Case("int64", lambda g, x, m: weighted_mean(g, x, as_float(g, m)), (1,), (0,), (2, 7)),
    "a mean over what is not 0": Case(
        "int64", lambda g, x, m: weighted_mean(g, x, as_float(g, as_bool(g, m))), (1, 2, -4), (0,)
    ),
    "odd": Case(
        "int64",
        lambda g, x, m: attention(g, x, where(g, equal(g, modulo(g, m, 2), 1))),
        (1, 3, 13, 15, 17, 21, 51, 1023),
        (0, 2, 14, 256, -4),
        (2001, 3000, -2001),
    ),
    "a remainder of 3": Case(
        "int64",
        lambda g, x, m: attention(g, x, where(g, equal(g, modulo(g, m, 7), 3))),
        (3, 10, 17, 1018, -4),
        (0, 1, 4, 7, 130, 200),
        (2001, -300),
    ),
    "a bit": Case(
        "int64",
        lambda g, x, m: attention(g, x, where_not(g, equal(g, bits(g, m, 4), 0))),
        (4, 12, 20, 132),
        (0, 1, 16, 24, 128),
        (1500, -777),
    ),
    "even, by division": Case(
        "int64", lambda g, x, m: attention(g, x, where(g, halved_twice(g, m))), (0, 2, 14, 100), (1, 13, 99, 257), (5000,)
    ),
    "a solution of constants": Case(
        "int64", lambda g, x, m: attention(g, x, where_not(g, equal(g, linear(g, m, 3, 1), 111112))), (0, 1, 37036, 37038), (37037,)
    ),
    "a fraction": Case(
        "float", lambda g, x, m: attention(g, x, where(g, fraction(g, m))), (0.75, 0.99), (0, 1, 0.25, 0.5), (37.8, 20.6, 0.61)
    ),
    "a wave": Case(
        "float",
        lambda g, x, m: attention(g, x, where(g, above(g, g.node("Sin", m), 0.5))),
        (0.75, 1, 2.5),
        (0, -1, 0.25),
        (13.2, 37.0),
    ),
    "a step": Case(
        "float", lambda g, x, m: attention(g, x, where(g, above(g, g.node("Floor", m), 0.5))), (1, 1.3, 7.77, 1e5), (0, 0.99, -3.3)
    ),
    "cut off to integers": Case(
        "float",
        lambda g, x, m: attention(g, x, where(g, equal(g, g.node("Cast", m, to=TensorProto.INT64), 1))),
        (1, 1.2),
        (0, 0.9, -3.3, 40.5),
    ),
    "up to the largest number": Case(
        "float", lambda g, x, m: attention(g, x, where(g, within(g, m, 0.3, 3.4028235e38))), (1, 0.3), (0, 0.29)
    ),
    "largest": Case(
        "int64",
        lambda g, x, m: largest(g, g.node("Where", column(g, as_bool(g, m)), x, g.constant(np.float32(-1e9)))),
        (1, -3, 700),
        (0,),
    ),
    "largest of padding": Case(
        "bool", lambda g, x, m: largest(g, g.node("Where", column(g, m), g.constant(np.float32(-np.inf)), x)), (False,), (True,)
    ),
    "largest of a sum": Case(
        "int64",
        lambda g, x, m: largest(
            g,
            g.node(
                "Add",
                x,
                g.node("Mul", column(g, g.node("Sub", number(g, 1, "float"), as_float(g, m))), number(g, -1e9, "float")),
            ),
        ),
        (1,),
        (0,),
        (2,),
    ),
    "smallest": Case(
        "float",
        lambda g, x, m: largest(g, g.node("Where", column(g, as_bool(g, m)), x, g.constant(np.float32(1e9))), "ReduceMin"),
        (1, 0.5),
        (0,),
    ),
    "counted above, weighed below": Case(
        "int64",
        lambda g, x, m: weighted_mean(g, x, as_float(g, g.node("Min", m, number(g, 1, "int")))),
        (1, 2, 900),
        (0,),
        (-1, -5, -200),
    ),
}  # fmt: skip
TYPES = {"int64": TensorProto.INT64, "float": TensorProto.FLOAT, "bool": TensorProto.BOOL}


def file_of(case: Case, folder: Path) -> Path:
    g = Graph(18)
    x = g.input("x", ("batch", TOKENS, WIDTH))
    m = g.input("m", ("batch", TOKENS), TYPES[case.kind])
    g.output(case.build(g, g.node("MatMul", x, g.weight(WIDTH, WIDTH)), m))
    return g.save(folder)


def masks(case: Case, values: tuple[float, ...], samples: int = 12) -> NDArray[Any]:
    """Random masks of values, each with one key at least."""
    rng = np.random.default_rng(3)
    drawn = rng.choice(values, (samples, TOKENS))
    drawn[:, 1] = rng.choice(case.attend, samples)
    return drawn.astype(np.dtype("float32" if case.kind == "float" else case.kind))


@pytest.mark.parametrize("name", CASES)
def test_values_do_what_they_do_in_the_model(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    path = file_of(case, tmp_path)
    model = import_model(path)
    data = {"x": normal((12, TOKENS, WIDTH)), "m": masks(case, case.attend + case.ignore)}
    assert hold_to_original(path, model, check_inputs(model_inputs(model), data)).kind == "original"
    values = next(spec.mask for spec in model_inputs(model) if spec.name == "m")
    assert values is not None
    kind = masks(case, case.attend).dtype
    assert values.attends(np.array(case.attend, kind)).all()
    assert not values.attends(np.array(case.ignore, kind)).any()


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.refuse])
def test_other_values_are_refused_by_name(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    specs = model_inputs(import_model(file_of(case, tmp_path)))
    for value in case.refuse:
        wrong = masks(case, case.attend + case.ignore)
        wrong[3, 2] = value
        with pytest.raises(CalibrationError, match=r"input 'm', sample 3, holds .* at \(2,\)") as caught:
            check_inputs(specs, {"x": normal((12, TOKENS, WIDTH)), "m": wrong})
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "build"),
    [
        ("float", lambda g, x, m: attention(g, x, lambda s: str(g.node("Mul", s, row(g, m))))),
        ("int64", lambda g, x, m: attention(g, x, additive(g, g.node("CumSum", as_float(g, m), g.constant(np.array(1)))))),
        ("int64", lambda g, x, m: largest(g, g.node("Mul", x, column(g, as_float(g, m))))),
        ("int64", lambda g, x, m: largest(g, g.node("Where", column(g, as_bool(g, m)), x, g.constant(np.float32(-1))))),
        ("int64", lambda g, x, m: largest(g, g.node("Where", column(g, as_bool(g, m)), x, number(g, -1e9, "float")), "ReduceMin")),
    ],
    ids=["scores times a mask", "a sum over keys", "largest of zeros and tokens", "largest above -1", "smallest of what is low"],
)
def test_what_is_no_padding_mask_is_not_taken_for_one(kind: str, build: Callable[[Graph, str, str], str], tmp_path: Path) -> None:
    path = file_of(Case(kind, build, (1,), (0,)), tmp_path)
    with pytest.raises(ModelError, match="obstacle"):
        import_model(path)
