"""A function as a pass of onnx_ir, with the conditions that it requires and ensures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from edgeflow.sw.importer.conditions import Condition


class Step(ir.passes.InPlacePass):
    """A function that changes a model in place; what it returns says whether it did (nothing: it may have).

    PreconditionError where it runs on a model that is not as ``requires`` says, PostconditionError where it leaves one that is not
    as ``ensures`` says: errors of the order of passes, or of a pass, never of a user.
    """

    def __init__(
        self,
        name: str,
        function: Callable[[ir.Model], object],
        *,
        requires: Sequence[Condition] = (),
        ensures: Sequence[Condition] = (),
    ) -> None:
        self.name, self.function = name, function
        self.required, self.ensured = tuple(requires), tuple(ensures)

    def __str__(self) -> str:
        return self.name

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        result = self.function(model)
        return ir.passes.PassResult(model, modified=result is None or bool(result))

    def requires(self, model: ir.Model) -> None:
        problem = _problem(self.required, model)
        if problem is not None:
            raise ir.passes.PreconditionError(f"pass {self.name!r} requires that {problem}")

    def ensures(self, model: ir.Model) -> None:
        problem = _problem(self.ensured, model)
        if problem is not None:
            raise ir.passes.PostconditionError(f"pass {self.name!r} ensures that {problem}")


def _problem(conditions: Sequence[Condition], model: ir.Model) -> str | None:
    for condition in conditions:
        where = condition.problem(model)
        if where is not None:
            return f"{condition.says}, but {where} is not so"
    return None


def run_passes(model: ir.Model, *passes: ir.passes.PassBase) -> None:
    """Run passes on a model in place; what a pass raises is raised as it is, so that users read its one line."""
    try:
        ir.passes.Sequential(*passes)(model)
    except ir.passes.PassError as error:
        cause = error.__cause__ or error
        raise cause from cause.__cause__
