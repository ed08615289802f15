"""The import as one list of named steps."""

from __future__ import annotations

import os
from collections.abc import Mapping

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxscript.rewriter.pattern import RewriteRuleSet

from edgeflow.hw.errors import ModelError, UnsupportedError
from edgeflow.quant.formats.inputs import note_unread, unread_inputs
from edgeflow.sw.importer.bind import BOUND_BATCH, Shapes, bind_shapes
from edgeflow.sw.importer.canonical import verify_canonical
from edgeflow.sw.importer.canonical_files import read_own
from edgeflow.sw.importer.finalize import finish, readable_names, symbolic_batch
from edgeflow.sw.importer.fold import fill_uniform, fold, inline_branches, register_constants
from edgeflow.sw.importer.formats import give_formats, sample_sources
from edgeflow.sw.importer.load import QUANTIZERS, UNREAD, load
from edgeflow.sw.importer.masks import probe_masks
from edgeflow.sw.importer.materialize import materialize_views, spread_constants
from edgeflow.sw.importer.movement import explicit_axes, movement_to_views, remove_inert, widen_attention_masks
from edgeflow.sw.rewrite import rule_sets
from edgeflow.sw.rewrite.base import BATCH, REFUSED

MAX_ROUNDS = 100
"""More rounds of rewriting than any model needs; reaching it means that two rules undo each other."""


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
        where = f"{os.fspath(path)}: "
        if str(error).startswith(where):
            raise
        raise type(error)(where + str(error)) from error


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
    try:
        _evaluate(model, bound)
    except UnsupportedError:
        raise
    except ModelError:
        # A model may declare a symbolic batch and yet hold reshapes to a batch of one.
        single = bind_shapes(model, dims, shapes, batch=1, data=data)
        if single == bound:
            raise
        model = load(path)
        _evaluate(model, single)
        bound = single
    quantizers = model.meta.pop(QUANTIZERS, None)
    samples = None if quantizers is None else sample_sources(model, bound, quantizers)
    canonicalize(model, bound)
    verify_canonical(model)
    if samples is not None:
        give_formats(model, bound, quantizers, samples)
    note_unread(model, unread)
    return model


def _evaluate(model: ir.Model, shapes: Shapes) -> None:
    """Make the graph static: constant branches taken, constants folded, every shape known."""
    batches = {name: shape[0] for name, shape in shapes.items()}
    if len(set(batches.values())) != 1:
        listed = ", ".join(f"{name!r} has {size}" for name, size in batches.items())
        raise ModelError(f"the first axis of every input must be one and the same batch, but {listed}; export the batch first")
    model.graph.metadata_props[BATCH] = str(next(iter(batches.values()), BOUND_BATCH))
    inline_branches(model, shapes)
    widen_attention_masks(model)
    fold(model, shapes)
    if fill_uniform(model):
        fold(model, shapes)


def canonicalize(model: ir.Model, shapes: Shapes) -> None:
    """Rewrite a static model into canonical operators as far as the rules reach; :func:`verify_canonical` tells the rest."""
    RemoveUnusedNodesPass()(model)
    original = {str(output.name) for node in model.graph for output in node.outputs}
    probe_masks(model, shapes)
    RemoveUnusedNodesPass()(model)
    explicit_axes(model)
    remove_inert(model)
    movement_to_views(model)
    apply_rules(model)
    materialize_views(model)
    spread_constants(model)
    RemoveUnusedNodesPass()(model)
    register_constants(model.graph)
    symbolic_batch(model)
    readable_names(model, original)
    finish(model)


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
