"""The import as one list of passes, each of which says what it requires and what it ensures."""

from __future__ import annotations

import os
from collections.abc import Mapping

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxscript.rewriter.pattern import RewriteRuleSet

from edgeflow.hw.errors import ModelError, UnsupportedError
from edgeflow.quant.canonical.inputs import note_unread, unread_inputs
from edgeflow.quant.formats.prequantized import add_warnings
from edgeflow.sw.importer.bind import BOUND_BATCH, Shapes, bind_shapes
from edgeflow.sw.importer.canonical import NotCanonicalError, verify_canonical
from edgeflow.sw.importer.canonical_files import read_own
from edgeflow.sw.importer.conditions import (
    AXES_EXPLICIT,
    BATCH_BOUND,
    BATCH_SYMBOLIC,
    CONSTANTS_FOLDED,
    CONSTANTS_REGISTERED,
    FINISHED,
    MOVEMENT_IS_VIEWS,
    NAMES_DISTINCT,
    NO_BRANCHES,
    NO_VIEWS,
    NOTHING_INERT,
    ORIGINALS_NOTED,
    ORIGINS_KNOWN,
    SHAPES_KNOWN,
)
from edgeflow.sw.importer.diagnose import Supposed, diagnosed
from edgeflow.sw.importer.finalize import finish, note_originals, readable_names, symbolic_batch
from edgeflow.sw.importer.fold import fill_uniform, fold, inline_branches, register_constants
from edgeflow.sw.importer.formats import sample_sources, set_formats
from edgeflow.sw.importer.host_choices import HOST_CHOICES, leave_choices
from edgeflow.sw.importer.integer_inputs import real_inputs
from edgeflow.sw.importer.load import QUANTIZERS, UNREAD, load
from edgeflow.sw.importer.masks import probe_masks
from edgeflow.sw.importer.materialize import materialize_views, spread_constants
from edgeflow.sw.importer.movement import explicit_axes, movement_to_views, remove_inert, widen_attention_masks
from edgeflow.sw.importer.obstacles import suppose_away
from edgeflow.sw.importer.placed_errors import placed
from edgeflow.sw.importer.step import Step, run_passes
from edgeflow.sw.rewrite import rule_sets
from edgeflow.sw.rewrite.base import BATCH, REFUSED

NODES = "edgeflow.nodes"
"""Key in an imported model's ``meta`` of the number of nodes of its file; not there for a canonical file."""
MAX_ROUNDS = 100
"""More rounds of rewriting than any model needs; reaching it means that two rules undo each other."""
STATIC = (SHAPES_KNOWN, CONSTANTS_FOLDED)
CANONICAL_FORMS = (BATCH_BOUND, *STATIC, AXES_EXPLICIT, NOTHING_INERT, MOVEMENT_IS_VIEWS)
"""What rules, and what becomes of the views that they leave, count on."""

Passes = tuple[ir.passes.PassBase, ...]


def evaluation(shapes: Shapes) -> Passes:
    """Make a graph static: constant branches taken, constants folded, every shape known."""
    return (
        Step("bind the batch", lambda model: bind_batch(model, shapes), ensures=(BATCH_BOUND,)),
        Step("take constant branches", lambda model: inline_branches(model, shapes), ensures=(NO_BRANCHES,)),
        Step("widen attention masks", widen_attention_masks, requires=(NO_BRANCHES,)),
        Step(
            "fold constants", lambda model: fold(model, shapes),
            requires=(BATCH_BOUND, NO_BRANCHES), ensures=(*STATIC, CONSTANTS_REGISTERED),
        ),
        Step(
            "fill uniform look-ups", lambda model: fill_uniform(model, shapes),
            requires=STATIC, ensures=(*STATIC, CONSTANTS_REGISTERED),
        ),
    )  # fmt: skip


def canonicalization(shapes: Shapes) -> Passes:
    """Rewrite a static model into canonical operators as far as the rules reach, and refuse what is left, node by node."""
    return (*preparation(shapes), *rewriting(), Step("verify", verify_canonical, requires=(FINISHED,)))


def preparation(shapes: Shapes) -> Passes:
    """Bring a static model into the form that rules read."""
    return (
        Step("leave choices to the host", leave_choices, requires=(BATCH_BOUND, *STATIC), ensures=STATIC),
        RemoveUnusedNodesPass(),
        Step("note originals", note_originals, requires=(ORIGINS_KNOWN,), ensures=(ORIGINALS_NOTED,)),
        Step("probe masks", lambda model: probe_masks(model, shapes), requires=(BATCH_BOUND, *STATIC), ensures=STATIC),
        RemoveUnusedNodesPass(),
        Step("write axes out", explicit_axes, requires=(SHAPES_KNOWN,), ensures=(AXES_EXPLICIT,)),
        Step("remove what is inert", remove_inert, requires=(SHAPES_KNOWN,), ensures=(NOTHING_INERT,)),
        Step("movement to views", movement_to_views, requires=STATIC, ensures=(SHAPES_KNOWN, MOVEMENT_IS_VIEWS)),
        Step(
            "integer inputs to real ones", real_inputs,
            requires=(SHAPES_KNOWN, MOVEMENT_IS_VIEWS), ensures=(SHAPES_KNOWN, MOVEMENT_IS_VIEWS),
        ),
    )  # fmt: skip


def rewriting() -> Passes:
    """Apply the rules, and turn what they leave into canonical operators where it has such a form."""
    return (
        Step("apply the rules", apply_rules, requires=CANONICAL_FORMS, ensures=(SHAPES_KNOWN, NOTHING_INERT, MOVEMENT_IS_VIEWS)),
        Step("materialize views", materialize_views, requires=(BATCH_BOUND, SHAPES_KNOWN), ensures=(SHAPES_KNOWN, NO_VIEWS)),
        Step("spread constants", spread_constants, requires=(BATCH_BOUND, SHAPES_KNOWN, NO_VIEWS), ensures=(SHAPES_KNOWN,)),
        RemoveUnusedNodesPass(),
        Step("register constants", register_constants, ensures=(CONSTANTS_REGISTERED,)),
        Step("symbolic batch", symbolic_batch, requires=(BATCH_BOUND, SHAPES_KNOWN, NO_VIEWS), ensures=(BATCH_SYMBOLIC,)),
        Step(
            "readable names", readable_names,
            requires=(CONSTANTS_REGISTERED, ORIGINALS_NOTED), ensures=(CONSTANTS_REGISTERED, NAMES_DISTINCT),
        ),
        Step("finish", finish, requires=(BATCH_SYMBOLIC, NAMES_DISTINCT), ensures=(FINISHED,)),
    )  # fmt: skip


def bind_batch(model: ir.Model, shapes: Shapes) -> None:
    """Note the one batch of all inputs in the graph; ModelError where they differ."""
    batches = {name: shape[0] for name, shape in shapes.items()}
    if len(set(batches.values())) != 1:
        listed = ", ".join(f"{name!r} has {size}" for name, size in batches.items())
        raise ModelError(f"the first axis of every input must be one and the same batch, but {listed}; export the batch first")
    model.graph.metadata_props[BATCH] = str(next(iter(batches.values()), BOUND_BATCH))


def apply_rules(model: ir.Model) -> int:
    """Run all rewrite rules until none applies; returns the number of rewrites."""
    return sum(_settle(model, rules) for rules in rule_sets())


def _settle(model: ir.Model, rules: RewriteRuleSet) -> int:
    total = 0
    for _ in range(MAX_ROUNDS):
        for node in model.graph:
            node.metadata_props.pop(REFUSED, None)
        count = rules.apply_to_model(model)
        RemoveUnusedNodesPass()(model)
        remove_inert(model)
        if not count:
            return total
        total += count
    raise AssertionError(f"the rewrite rules do not settle within {MAX_ROUNDS} rounds")


def import_model(
    path: str | os.PathLike[str],
    *,
    dims: Mapping[str, int] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    data: str = "the data",
) -> ir.Model:
    """Read an ONNX model and return its canonical float graph, with a symbolic batch and every other axis fixed.

    Parameters
    ----------
    path
        The ``.onnx`` file, operator set 7 to 25; external data only from its own folder.
    dims
        Sizes of symbolic dimensions other than the batch, by name.
    shapes
        Shapes by input name (of calibration data, say), as another source of those sizes.
    data
        What the shapes come from, for messages.

    Raises
    ------
    ModelError, UnsupportedError
        One line saying what is wrong with the file, or listing every node that cannot be expressed.
    """
    try:
        return _import(path, dims, shapes, data)
    except ModelError as error:
        raise placed(path, error) from error


def _import(
    path: str | os.PathLike[str], dims: Mapping[str, int] | None, shapes: Mapping[str, tuple[int, ...]] | None, data: str
) -> ir.Model:
    own = read_own(path)
    if own is not None:
        unread = unread_inputs(own)
        bind_shapes(
            own, dims, {name: shape for name, shape in (shapes or {}).items() if name not in unread}, data=data
        )  # checks both
        return own
    model = load(path)
    unread = model.meta.get(UNREAD, ())
    shapes = {name: shape for name, shape in (shapes or {}).items() if name not in unread}
    bound = bind_shapes(model, dims, shapes, data=data)
    count = len(list(model.graph.all_nodes()))
    try:
        run_passes(model, *evaluation(bound))
    except UnsupportedError:
        raise
    except ModelError:
        # A model may declare a symbolic batch and yet hold reshapes to a batch of one.
        single = bind_shapes(model, dims, shapes, batch=1, data=data)
        if single == bound:
            raise
        model = load(path)
        run_passes(model, *evaluation(single))
        bound = single
    quantizers = model.meta.get(QUANTIZERS)
    samples = None if quantizers is None else sample_sources(model, bound, quantizers)
    try:
        run_passes(model, *canonicalization(bound))
    except NotCanonicalError as error:
        raise UnsupportedError(diagnosed(error.model, count, lambda: _supposed(path, bound))) from error
    _check_elements(model)
    model.meta.pop(QUANTIZERS, None)
    if quantizers is not None and samples is not None:
        set_formats(model, bound, quantizers, samples)
    add_warnings(model, model.meta.get(HOST_CHOICES, ()))
    note_unread(model, unread)
    model.meta[NODES] = count
    return model


def _check_elements(model: ir.Model) -> None:
    """ModelError for a tensor of no elements, which no data measures."""
    for node in model.graph:
        for value in node.outputs:
            if value.shape is not None and 0 in value.shape[1:]:
                raise ModelError(
                    f"node {node.name!r} makes {value.name!r} of shape {value.shape}, which holds nothing; export it again"
                )


def _supposed(path: str | os.PathLike[str], bound: Shapes) -> Supposed:
    """The model at ``path`` as far as it can be imported with the known obstacles supposed away."""
    model = load(path)
    run_passes(model, *evaluation(bound), *preparation(bound))
    obstacles = suppose_away(model)
    run_passes(model, *rewriting())
    return Supposed(model, obstacles)
