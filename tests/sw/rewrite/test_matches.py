"""Rules keep no state: what a check finds goes to the rewrite as a frozen value. And the vocabulary that they read graphs with."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import typing
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnxscript.rewriter.pattern import RewriteRuleSet

from edgeflow.sw.rewrite import rule_sets
from edgeflow.sw.rewrite.base import DOMAIN, REFUSED, RULES, Kept, Refused, Rule, either_order, plus_number, times_number
from edgeflow.sw.rewrite.layer_norm import FusedLayerNorm

FOLDER = Path(inspect.getfile(Rule)).parent
RULE_CLASSES = sorted({type(rule._replacement_pattern._function.__self__) for rules in rule_sets() for rule in rules}, key=str)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_nothing_is_kept_on_self_outside_init(path: Path) -> None:
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, ast.FunctionDef) and function.name != "__init__":
            kept = {
                ast.unparse(node)
                for node in ast.walk(function)
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del)
                and isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            }  # fmt: skip
            assert not kept, f"{path.name}:{function.lineno} assigns to {kept}"


@pytest.mark.parametrize("rule", RULE_CLASSES, ids=lambda rule: rule.__name__)
def test_a_check_returns_a_frozen_match_or_a_reason(rule: type[Rule[object]]) -> None:
    returned = set(typing.get_args(typing.get_type_hints(rule.check)["return"]))
    taken = typing.get_type_hints(rule.rewrite)["match"]
    assert Refused in returned
    matches = returned - {Refused}
    assert matches == ({taken} if inspect.isclass(taken) else set(typing.get_args(taken)))
    assert all(map(dataclasses.is_dataclass, matches))
    assert all(match.__dataclass_params__.frozen for match in matches)


def value(name: str, *shape: int) -> ir.Value:
    return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT))


def number(entry: float, *shape: int) -> ir.Value:
    return ir.Value(name=f"c{entry}", shape=ir.Shape(shape), const_value=ir.tensor(np.full(shape, entry, np.float32)))


def apply(op_type: str, *operands: ir.Value, shape: tuple[int, ...] = (2, 3), domain: str = "") -> ir.Value:
    output = ir.node(op_type, list(operands), domain=domain).outputs[0]
    output.shape, output.type = ir.Shape(shape), ir.TensorType(ir.DataType.FLOAT)
    return output


def producer(output: ir.Value) -> ir.Node:
    node = output.producer()
    assert node is not None
    return node


def test_numbers_beside_a_tensor_are_read_in_every_order() -> None:
    x = value("x", 2, 3)
    assert times_number(apply("Mul", x, number(4.0))) == (x, 4.0)
    assert times_number(apply("Mul", number(4.0, 1, 1), x)) == (x, 4.0)
    assert times_number(apply("Div", x, number(4.0))) == (x, 0.25)
    assert plus_number(apply("Add", number(4.0), x)) == (x, 4.0)


def test_what_is_no_number_beside_a_tensor() -> None:
    x = value("x", 2, 3)
    for other in (
        apply("Div", number(4.0), x), apply("Div", x, number(0.0)), apply("Mul", x, number(4.0, 3)), apply("Mul", x, x),
        apply("Mul", x, number(4.0, 1, 1, 1), shape=(1, 2, 3)), apply("Mul", x, number(4.0), domain=DOMAIN), x,
    ):  # fmt: skip
        assert times_number(other) is None
    assert plus_number(apply("Sub", x, number(4.0))) is None
    assert list(either_order(apply("Neg", x).producer())) == []


class _Twice(Rule[Kept]):
    """``Neg(Neg(x))`` -> x; refuses anything else for the user."""

    def pattern(self, op: typing.Any, y: typing.Any) -> typing.Any:
        return op.Neg(y)

    def check(self, root: ir.Node, y: ir.Value) -> Kept | Refused:
        above = y.producer()
        if above is None or above.op_type != "Neg" or above.inputs[0] is None:
            return self.refuse("only once", root)
        return Kept(above.inputs[0])

    def rewrite(self, op: typing.Any, match: Kept) -> ir.Value:
        return typing.cast(ir.Value, op.Relu(match.value))


def test_a_rule_hands_its_match_over_and_leaves_its_name() -> None:
    x = value("x", 2, 3)
    once = apply("Neg", x)
    twice = apply("Neg", once)
    y = value("y", 2, 3)
    other = apply("Neg", y)
    nodes = [producer(v) for v in (once, twice, other)]
    graph = ir.Graph([x, y], [twice, other], nodes=nodes, opset_imports={"": 20}, name="g")
    assert RewriteRuleSet([_Twice.rule()]).apply_to_model(ir.Model(graph, ir_version=10)) == 1
    relu = producer(graph.outputs[0])
    assert (relu.op_type, relu.inputs[0], relu.metadata_props[RULES]) == ("Relu", x, "_Twice")
    assert producer(other).metadata_props[REFUSED] == "only once"


def test_a_rule_is_named_after_its_class() -> None:
    assert FusedLayerNorm.rule().name == "FusedLayerNorm"
