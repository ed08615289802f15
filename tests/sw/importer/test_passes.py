"""Passes of the import hold what they ensure, refuse a model that is not what they require, and say nothing new to users."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx_graphs import Graph
from onnx_ir.passes import PostconditionError, PreconditionError

from edgeflow.hw.errors import ModelError, UnsupportedError
from edgeflow.sw.importer import conditions, passes
from edgeflow.sw.importer.bind import Shapes, bind_shapes
from edgeflow.sw.importer.conditions import Condition
from edgeflow.sw.importer.fold import register_constants
from edgeflow.sw.importer.load import load
from edgeflow.sw.importer.step import Step, run_passes

CASES = Path(__file__).parents[2] / "cases"


def opened(path: Path) -> tuple[ir.Model, Shapes]:
    model = load(path)
    samples = path.with_suffix(".npz")
    shapes = {name: array.shape for name, array in np.load(samples).items()} if samples.exists() else {}
    return model, bind_shapes(model, None, {str(v.name): shapes[str(v.name)] for v in model.graph.inputs if v.name in shapes})


def steps(shapes: Shapes) -> tuple[ir.passes.PassBase, ...]:
    return (*passes.evaluation(shapes), *passes.canonicalization(shapes))


def hold_throughout(path: Path) -> None:
    """What a pass ensures holds behind it, and behind onnx_ir's own passes that follow. (Every import of every test checks the
    former.)"""
    model, shapes = opened(path)
    standing: tuple[Condition, ...] = ()
    for step in steps(shapes):
        assert step(model).model is model
        standing = step.ensured if isinstance(step, Step) else standing
        for condition in standing:
            assert condition.problem(model) is None, (str(step), condition.says)


@pytest.mark.parametrize("name", ["vit-script17", "vit-fixed1", "bert-eager-script14", "prenorm-sequencefirst-script14"])
def test_passes_ensure_what_they_say_on_exports(name: str, exported: Callable[[str], Any]) -> None:
    hold_throughout(exported(name)[1])


@pytest.mark.parametrize("name", ["VALID_constant_if", "clip_two_tower", "weighted_mean_pool_float", "act_relu6_ts"])
def test_passes_ensure_what_they_say_on_cases(name: str) -> None:
    hold_throughout(CASES / f"{name}.onnx")


def order(model: ir.Model, shapes: Shapes, name: str) -> tuple[str, ...]:
    """The names of the conditions that a pass misses when it comes first."""
    step = next(step for step in steps(shapes) if str(step) == name)
    assert isinstance(step, Step)
    return tuple(condition.says for condition in step.required if condition.problem(model) is not None)


DEMANDING = [str(step) for step in steps({"x": (2, 3)}) if isinstance(step, Step) and step.required]


@pytest.mark.parametrize("name", [name for name in DEMANDING if name not in ("widen attention masks", "note originals")])
def test_a_pass_out_of_order_is_refused(name: str) -> None:
    model, shapes = opened(CASES / "VALID_constant_if.onnx")
    step = next(step for step in steps(shapes) if str(step) == name)
    missing = order(model, shapes, name)
    assert missing
    with pytest.raises(PreconditionError, match=f"^pass '{name}' requires that {missing[0]}, but .+ is not so$"):
        run_passes(model, step)


def test_masks_are_widened_before_branches_are_taken() -> None:
    model, shapes = opened(CASES / "VALID_constant_if.onnx")
    assert order(model, shapes, "widen attention masks") == (conditions.NO_BRANCHES.says,)


def test_every_condition_is_required_by_a_pass_that_another_one_prepares() -> None:
    known = {value for value in vars(conditions).values() if isinstance(value, Condition)}
    listed = [step for step in steps({"x": (2, 3)}) if isinstance(step, Step)]
    assert {condition for step in listed for condition in (*step.required, *step.ensured)} == known
    from_file = {conditions.ORIGINS_KNOWN}
    for number, step in enumerate(listed):
        before = {condition for earlier in listed[:number] for condition in earlier.ensured}
        assert set(step.required) <= before | from_file, str(step)


@pytest.mark.parametrize(
    ("condition", "spoil"),
    [
        (conditions.NAMES_DISTINCT, lambda graph: setattr(graph[0], "name", "")),
        (conditions.NAMES_DISTINCT, lambda graph: setattr(graph[0].outputs[0], "name", None)),
        (conditions.SHAPES_KNOWN, lambda graph: setattr(graph[0].outputs[0], "shape", None)),
        (conditions.CONSTANTS_REGISTERED, lambda graph: graph.initializers.clear()),
        (conditions.ORIGINS_KNOWN, lambda graph: graph[0].metadata_props.clear()),
        (conditions.FINISHED, lambda graph: graph.opset_imports.clear()),
        (conditions.BATCH_SYMBOLIC, lambda graph: setattr(graph[0].outputs[0], "shape", ir.Shape((2, 3)))),
    ],
    ids=lambda entry: getattr(entry, "says", ""),
)
def test_a_pass_that_breaks_its_promise_is_caught(condition: Condition, spoil: Callable[[ir.Graph], object]) -> None:
    model, shapes = opened(CASES / "VALID_constant_if.onnx")
    run_passes(model, *passes.evaluation(shapes), *passes.canonicalization(shapes)[:-2])
    step = Step("spoil", lambda changed: spoil(changed.graph), ensures=(condition,))
    if condition is not conditions.FINISHED and condition is not conditions.SHAPES_KNOWN:
        assert condition.problem(model) is None
    with pytest.raises(PostconditionError, match=f"^pass 'spoil' ensures that {condition.says}"):
        run_passes(model, step)


def test_what_a_user_reads_is_what_the_pass_says(tmp_path: Path) -> None:
    g = Graph(17)
    x = g.input("x", ("batch", 3))
    g.output(g.node("NonZero", x))
    path = g.save(tmp_path)
    with pytest.raises(UnsupportedError, match=r"^[^\n]*NonZero is the only obstacle[^\n]*$") as caught:
        passes.import_model(path)
    assert isinstance(caught.value, ModelError)


def test_a_new_constant_with_a_name_of_the_file_gets_another() -> None:
    x = ir.Value(name="x", shape=ir.Shape((2, 3)), type=ir.TensorType(ir.DataType.FLOAT))
    theirs, ours = (
        ir.Value(name="constant.7", shape=ir.Shape(()), type=x.type, const_value=ir.tensor(np.array(number, np.float32)))
        for number in (1.0, 2.0)
    )
    first = ir.node("Add", [x, theirs])
    second = ir.node("Mul", [first.outputs[0], ours])
    graph = ir.Graph([x], [second.outputs[0]], nodes=[first, second], initializers=[theirs], opset_imports={"": 20}, name="g")
    model = ir.Model(graph, ir_version=10)
    assert conditions.CONSTANTS_REGISTERED.problem(model) == "constant 'constant.7'"
    register_constants(model)
    assert conditions.CONSTANTS_REGISTERED.problem(model) is None
    constants = {
        name: float(value.const_value.numpy()) for name, value in graph.initializers.items() if value.const_value is not None
    }
    assert constants == {"constant.7": 1.0, "constant.7_": 2.0}
