"""What holds for every rule: it settles, it leaves canonical graphs alone, and it refuses with a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgeflow.quant.canonical.base import registry
from edgeflow.sw.importer.functions import attach_functions, function
from edgeflow.sw.rewrite import rule_sets
from edgeflow.sw.rewrite.activations import factors, polynomial
from edgeflow.sw.rewrite.base import DOMAIN

RULES = {rule.name: rule for rules in rule_sets() for rule in rules}


def test_rules_have_distinct_names() -> None:
    for rules in rule_sets():
        names = [rule.name for rule in rules if not rule.name.startswith("SinkBelow")]
        assert len(names) == len(set(names))


def test_every_own_operator_has_a_function_body() -> None:
    for name, op in registry().items():
        for overload in op.bodies:
            assert function(name, overload).outputs


@pytest.mark.parametrize(("op_type", "overload"), [("Attention", "masked"), ("MeanPool", "masked"), ("SelectTokens", "squeeze")])
def test_overloads_differ_from_the_plain_function(op_type: str, overload: str) -> None:
    plain, other = function(op_type), function(op_type, overload)
    assert [node.op_type for node in plain] != [node.op_type for node in other]


def test_only_used_functions_are_attached() -> None:
    x = ir.Value(name="x", shape=ir.Shape(("batch", 3)), type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.node("Silu", [x], domain=DOMAIN)
    model = ir.Model(ir.Graph([x], [node.outputs[0]], nodes=[node], opset_imports={"": 20, DOMAIN: 1}, name="g"), ir_version=10)
    attach_functions(model)
    assert [identifier[1] for identifier in model.functions] == ["Silu"]


def _number(value: float) -> ir.Value:
    return ir.Value(name=f"n{value}", shape=ir.Shape(()), const_value=ir.tensor(np.array(value, np.float32)))


def _op(op_type: str, *operands: ir.Value) -> ir.Value:
    return ir.node(op_type, list(operands)).outputs[0]


def test_polynomial_reads_every_spelling_of_a_cubic() -> None:
    x = ir.Value(name="x")
    cube = _op("Pow", x, _number(3))
    spelt = _op("Mul", _number(2), _op("Add", x, _op("Mul", cube, _number(0.5))))
    factored = _op("Mul", x, _op("Add", _number(2), _op("Mul", x, x)))
    for value in (spelt, factored):
        terms = {degree: entry for degree, entry in (polynomial(value, x) or {}).items() if entry}
        assert terms == {1: 2.0, 3: 1.0}
    assert polynomial(_op("Div", _op("Sub", x, _number(1)), _number(4)), x) == {0: -0.25, 1: 0.25}
    assert polynomial(_op("Mul", x, ir.Value(name="y")), x) is None
    assert polynomial(_op("Div", x, x), x) is None


def test_factors_flatten_products() -> None:
    x, y = ir.Value(name="x"), ir.Value(name="y")
    number, parts = factors(_op("Mul", _op("Div", x, _number(4)), _op("Mul", _number(2), y)))
    assert number == 0.5
    assert parts == [x, y]


def test_every_rule_file_is_in_the_rule_sets() -> None:
    import edgeflow.sw.rewrite as package

    helpers = {"base", "view", "heads", "score_bias", "__init__"}
    files = {path.stem for path in Path(str(package.__file__)).parent.glob("*.py")} - helpers
    used = {type(rule._replacement_pattern._function.__self__).__module__.rsplit(".", 1)[1] for rule in RULES.values()}
    assert files == used
