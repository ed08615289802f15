"""Operators of the float graph are told apart in their own classes: what else names them is counted, and may only get less."""

from __future__ import annotations

import ast

import count_operator_names as counter
import pytest


def test_no_place_is_added() -> None:
    rest = counter.beyond(counter.count())
    assert sum(rest.values()) <= counter.REST, f"{rest}; see scripts/count_operator_names.py"
    assert all(number > 0 for number in rest.values()), f"fewer places than ALLOWED says: {rest}"
    assert all(reason for _, reason in counter.ALLOWED.values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("node.op_type == 'Add'", 1),
        ("x in ('Add', 'Linear') and y not in {'Mul'}", 2),
        ("(node.op_type, index) in (('Attention', 3), ('MeanPool', 1))", 1),
        ("match x:\n    case 'Add' | 'Mul': pass\n    case 'other': pass", 2),
        ("TABLE = {'Add': 1, 'other': 2, ('Linear', 1): 3}", 2),
        ("MOVES = frozenset(('Reshape', 'Transpose'))", 1),
        ("[f(x) for x in ('Add', 'Mul')]", 1),
        ("for x in ['Add']: pass", 1),
        ("produced_by(value, 'Add', 'Mul'); ir.node('Add', [x]); a.op_type, a.name = 'Identity', n; kind == 'other'", 0),
    ],
)
def test_what_counts(text: str, expected: int) -> None:
    assert len(list(counter.places(ast.parse(text), counter.operator_names()))) == expected
