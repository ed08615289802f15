"""From the nodes that cannot be compiled to the reasons why: a few causes, and what follows from each.

The model is imported once more with the known obstacles supposed away (:mod:`edgeflow.sw.importer.obstacles`). Causes are these,
and what is refused even then; whatever only the first import refuses is a consequence. Among what is left, nodes that are merely
parts of a larger form are consequences of the node near them that says why the form does not stand.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from edgeflow.hw.diagnosis import Cause, Diagnosis, RefusedNode
from edgeflow.hw.errors import ModelError
from edgeflow.quant.canonical.base import registry
from edgeflow.sw.importer.canonical import Problem, problems
from edgeflow.sw.importer.obstacles.base import STAND_IN, Kind, Obstacle
from edgeflow.sw.importer.obstacles.kinds import NO_OPERATOR, kind_of
from edgeflow.sw.rewrite.base import DOMAIN, ORIGIN

_NEAR = 4  # edges between a part of a form and the node that says why the form does not stand
_PARTS = frozenset((
    "Add", "Cast", "Concat", "Div", "Equal", "Erf", "Exp", "Expand", "Gather", "MatMul", "Mul", "Neg", "Not", "Pow", "Reciprocal",
    "ReduceMean", "ReduceSum", "Reshape", "Slice", "Softmax", "Sqrt", "Sub", "Tanh", "Transpose", "Unsqueeze", "View", "Where",
))  # fmt: skip
"""Operators that have no integer form alone but are parts of forms that have one."""


@dataclass(frozen=True)
class Supposed:
    """A model imported as far as it goes with the known obstacles taken away, and these."""

    model: ir.Model
    obstacles: Sequence[Obstacle]


def diagnosed(model: ir.Model, count: int, suppose: Callable[[], Supposed]) -> Diagnosis:
    """Why ``model``, imported as far as it goes, is refused; ``count``: nodes of its file. ``suppose`` imports it once more."""
    refused = [_node(problem) for problem in problems(model)]
    try:
        supposed = suppose()
    except ModelError:  # what stands in the way of the second import is all the same in the first
        supposed = Supposed(model, ())
    causes = [*_recognised(supposed.obstacles), *_left(supposed.model)]
    known = {node.node for cause in causes for node in (*cause.nodes, *cause.consequences)}
    following = [node for node in refused if node.node not in known]
    causes = _folded(model, causes, following)
    return Diagnosis("the model", tuple(causes), max(count, len(refused)), _operators(supposed.model))


def _node(problem: Problem) -> RefusedNode:
    return RefusedNode(problem.origin, problem.operator, problem.reason)


def _recognised(obstacles: Iterable[Obstacle]) -> list[Cause]:
    by_kind: dict[Kind, list[RefusedNode]] = {}
    for entry in obstacles:
        by_kind.setdefault(entry.kind, []).append(RefusedNode(entry.node, entry.operator, entry.kind.reason))
    return [_cause(kind, nodes) for kind, nodes in by_kind.items()]


def _cause(kind: Kind, nodes: Iterable[RefusedNode]) -> Cause:
    return Cause(kind.name, kind.reason, kind.remedy, tuple({node.node: node for node in nodes}.values()))


def _left(model: ir.Model) -> list[Cause]:
    """Causes among what is refused although the known obstacles are away."""
    left = [problem for problem in problems(model) if problem.node.op_type != STAND_IN]
    saying = [problem for problem in left if _says_why(problem)]
    near = _nearest({problem.node: problem for problem in saying}, _NEAR)
    by_kind: dict[Kind, list[RefusedNode]] = {}
    follow: dict[Kind, list[RefusedNode]] = {}
    kinds = {problem.node: kind_of(problem) for problem in left}
    for problem in left:
        cause = near.get(problem.node)
        if problem in saying or cause is None:
            by_kind.setdefault(kinds[problem.node], []).append(_node(problem))
        else:
            follow.setdefault(kinds[cause.node], []).append(_node(problem))
    causes = [_cause(kind, nodes) for kind, nodes in by_kind.items()]
    taken = {node.node for cause in causes for node in cause.nodes}
    return [
        replace(cause, consequences=tuple({node.node: node for node in follow.get(kind, ()) if node.node not in taken}.values()))
        for cause, kind in zip(causes, by_kind, strict=True)
    ]


def _says_why(problem: Problem) -> bool:
    """Whether a refusal is more than that a part of some form is left over."""
    part = problem.node.op_type in _PARTS or problem.node.op_type in registry()
    return not part or (problem.refused and problem.reason != NO_OPERATOR)


def _nearest(causes: Mapping[ir.Node, Problem], most: int) -> dict[ir.Node, Problem]:
    """For every node within so many edges of a cause, whichever way they point, the nearest one."""
    nearest = dict(causes)
    wanted = deque((node, 0) for node in causes)
    while wanted:
        node, distance = wanted.popleft()
        if distance == most:
            continue
        for other in _neighbours(node):
            if other not in nearest:
                nearest[other] = nearest[node]
                wanted.append((other, distance + 1))
    return nearest


def _neighbours(node: ir.Node) -> list[ir.Node]:
    above = [value.producer() for value in node.inputs if value is not None]
    below = [reader for value in node.outputs for reader, _ in value.uses()]
    return [other for other in (*above, *below) if other is not None]


def _folded(model: ir.Model, causes: Sequence[Cause], following: Collection[RefusedNode]) -> list[Cause]:
    """The causes with what follows from them: each node under the one that stands nearest in the graph."""
    if not causes or not following:
        return list(causes)
    owner = {node.node: at for at, cause in enumerate(causes) for node in (*cause.consequences, *cause.nodes)}
    nearest: dict[ir.Node, int] = {}
    wanted: deque[ir.Node] = deque()
    for node in model.graph:
        at = owner.get(node.metadata_props.get(ORIGIN, ""))
        if at is not None:
            nearest[node] = at
            wanted.append(node)
    while wanted:
        node = wanted.popleft()
        for other in _neighbours(node):
            if other not in nearest:
                nearest[other] = nearest[node]
                wanted.append(other)
    by_origin = {node.metadata_props.get(ORIGIN, ""): at for node, at in nearest.items()}
    follow: list[list[RefusedNode]] = [[] for _ in causes]
    for entry in {node.node: node for node in following}.values():
        follow[by_origin.get(entry.node, 0)].append(entry)
    return [replace(cause, consequences=(*cause.consequences, *more)) for cause, more in zip(causes, follow, strict=True)]


def _operators(model: ir.Model) -> dict[str, int]:
    """The canonical operators among the nodes that are not refused."""
    refused = {problem.node for problem in problems(model)}
    return dict(Counter(node.op_type for node in model.graph if node not in refused and not _is_stand_in(node)))


def _is_stand_in(node: ir.Node) -> bool:
    return node.op_type == STAND_IN and node.domain == DOMAIN
