"""What the linter knows about values: expressions read from text, and integers known up to multiples of unknowns."""

from __future__ import annotations

import random

import pytest

from edgeflow.hw.lint.affine import FOLDED, Affine, combine, either, known, unknown
from edgeflow.hw.lint.expressions import Expression, integer, read

OPERATORS = sorted(FOLDED)


def evaluate(value: Affine, unknowns: dict[str, int]) -> int:
    """Return the value that an affine integer has for given values of its unknowns."""
    return value.constant + sum(factor * unknowns[symbol.key] for symbol, factor in value.terms)


def shown(expression: Expression | None) -> str:
    """Write an expression with every bracket."""
    assert expression is not None
    parts = [shown(argument) for argument in expression.arguments]
    return f"{expression.text}({' '.join(parts)})" if parts else expression.text


def test_linear_operators_agree_with_integers() -> None:
    generator = random.Random(5)
    x, y = unknown("x", frozenset((1,))), unknown("y", frozenset((2,)))
    for _ in range(300):
        numbers = {"x": generator.randrange(-50, 50), "y": generator.randrange(-50, 50)}
        value, expected = known(0), 0
        for _ in range(6):
            operand = generator.choice([x, y, known(generator.randrange(9))])
            word = generator.choice(["+", "-"])
            value = combine(word, value, operand)
            expected = FOLDED[word](expected, evaluate(operand, numbers))
            scale = generator.randrange(1, 5)
            value, expected = combine("*", value, known(scale)), expected * scale
        assert evaluate(value, numbers) == expected
        assert (expected - value.constant) % value.stride == 0 if value.stride else expected == value.constant


@pytest.mark.parametrize("word", OPERATORS)
def test_known_integers_fold_like_cpp(word: str) -> None:
    assert combine(word, known(23), known(3)).known == {
        "+": 26, "-": 20, "*": 69, "/": 7, "%": 2, "<<": 184, ">>": 2, "&": 3, "|": 23, "^": 20, "<": 0, "<=": 0, ">": 1,
        ">=": 1, "==": 0, "!=": 1, "&&": 1, "||": 1,
    }[word]  # fmt: skip


def test_division_rounds_towards_zero() -> None:
    assert combine("/", known(-7), known(2)).known == -3
    assert combine("%", known(-7), known(2)).known == -1


def test_multiples_divide_exactly() -> None:
    rows = combine("+", combine("*", unknown("row", frozenset((1,))), known(64)), known(37))
    assert combine("%", rows, known(32)) == known(5)
    assert combine("&", rows, known(63)) == known(37)
    assert combine("/", rows, known(32)) == combine("+", combine("*", unknown("row", frozenset((1,))), known(2)), known(1))
    assert combine(">>", rows, known(6)) == unknown("row", frozenset((1,)))
    assert combine("%", rows, known(48)).known is None


def test_a_choice_keeps_what_both_share() -> None:
    condition = unknown("wide", frozenset((1,)))
    lanes = either(condition, known(32), known(64))
    assert lanes.stride == 32
    assert lanes.constant == 0
    assert combine("*", unknown("n", frozenset((2,))), lanes).stride == 32
    assert either(known(1), known(32), known(64)) == known(32)
    assert either(condition, known(8), known(8)) == known(8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + b * c", "+(a *(b c))"),
        ("a - b - c", "-(-(a b) c)"),
        ("a < b ? c : d << 2", "?(<(a b) c <<(d 2))"),
        ("x = y += 3", "=(x +=(y 3))"),
        ("edgeflow::Memory<C>::LINE_WORDS * 4", "*(edgeflow::Memory<C>::LINE_WORDS 4)"),
        ("f<C, 4>(a[i].byte[2])", "(f<C,4> (byte((a i)) 2))"),
        ("i < n && n > (m)", "&&(<(i n) >(n m))"),
        ("unsigned(lane) < lanes", "<((unsigned lane) lanes)"),
        ("(unsigned long)x >> 0x1Fu", ">>((unsigned x) 0x1Fu)"),
        ("static_cast<ap_uint<8>>(x)", "(static_cast<ap_uint<8>> x)"),
        ("stream.read()", "(read(stream))"),
        ("-x->y++", "-(++(y(x)))"),
    ],
)
def test_expressions_are_read_with_their_precedence(text: str, expected: str) -> None:
    assert shown(read(text)) == expected


@pytest.mark.parametrize("text", ["a +", "f(a b)", "int x", "@", "a ? b", "[i]"])
def test_what_is_no_expression_is_not_read(text: str) -> None:
    assert read(text) is None


def test_integer_literals() -> None:
    assert [integer(text) for text in ("0", "42u", "0x1F", "0b101", "017", "1'000", "1.5")] == [0, 42, 31, 5, 15, 1000, None]
