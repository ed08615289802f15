"""Finding padding masks by probing: what a mask subgraph computes, not how it is written.

Where something computed from one (batch, keys) input meets the rest of the network, the cut value is evaluated on masks of all
ones, of a single zero at every position, and on seeded random masks. If its value is that of a padding mask in one of the known
roles, and depends on nothing else, the subgraph is replaced by an internal ``edgeflow::KeyMask(input; kind, layout)``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgeflow.hw.errors import ModelError
from edgeflow.sw.importer.bind import Shapes
from edgeflow.sw.importer.fold import influence, sample_inputs
from edgeflow.sw.importer.run import cut_to, run, session, to_proto
from edgeflow.sw.rewrite.attention import MASKED
from edgeflow.sw.rewrite.base import DOMAIN, shape_of

Array = npt.NDArray[Any]
Role = tuple[str, str]
"""Kind (additive, keep, drop, factor, count) and layout (keys: last axis, tokens: second axis, sample: neither)."""

_RANDOM_MASKS = 4
_SEED = 7


def probe_masks(model: ir.Model, shapes: Shapes) -> None:
    """Replace every subgraph that turns a mask input into a padding mask by an internal KeyMask node."""
    graph = model.graph
    reach = influence(graph).value
    found: list[tuple[ir.Value, ir.Value, Role]] = []
    for entry in graph.inputs:
        if len(shape_of(entry)) != 2:
            continue
        alone = frozenset((str(entry.name),))
        cut = [
            output for node in graph for output in node.outputs
            if reach[output] == alone and any(reach[user.outputs[0]] != alone for user, _ in output.uses())
        ]  # fmt: skip
        if cut:
            roles = _probe(model, shapes, entry, cut)
            found += [(entry, value, roles[value][0]) for value in cut if roles.get(value)]
        if entry.dtype == ir.DataType.BOOL:
            _wrap_direct(graph, entry, [(user, at) for user, at in entry.uses() if reach[user.outputs[0]] != alone])
    for entry, value, role in found:
        _replace(graph, entry, value, role)


def _wrap_direct(graph: ir.Graph, entry: ir.Value, users: list[tuple[ir.Node, int]]) -> None:
    """A boolean input used as it is, as a condition."""
    if not users:
        return
    node = ir.node("KeyMask", [entry], {"kind": "keep", "layout": "keys"}, domain=DOMAIN)
    node.outputs[0].shape, node.outputs[0].type = entry.shape, entry.type
    graph.insert_before(graph[0], node)
    for user, position in users:
        user.replace_input_with(position, node.outputs[0])


def _replace(graph: ir.Graph, entry: ir.Value, value: ir.Value, role: Role) -> None:
    producer = value.producer()
    if producer is None:
        raise AssertionError("a cut value without producer")
    node = ir.node("KeyMask", [entry], {"kind": role[0], "layout": role[1]}, domain=DOMAIN)
    node.metadata_props.update(producer.metadata_props)
    node.outputs[0].shape, node.outputs[0].type = value.shape, value.type
    graph.insert_after(producer, node)
    ir.convenience.replace_all_uses_with(value, node.outputs[0])


def _masks(batch: int, keys: int) -> Iterator[npt.NDArray[np.bool_]]:
    """Masks (batch, keys): all ones, each single zero, seeded random ones with at least one key in each sample."""
    yield np.ones((batch, keys), np.bool_)
    if keys > 1:
        for start in range(0, keys, batch):
            mask = np.ones((batch, keys), np.bool_)
            for sample in range(batch):
                mask[sample, (start + sample) % keys] = False
            yield mask
    random = np.random.default_rng(_SEED)
    for _ in range(_RANDOM_MASKS):
        mask = random.random((batch, keys)) < 0.5
        mask[np.arange(batch), random.integers(0, keys, batch)] = True
        yield mask


def _probe(model: ir.Model, shapes: Shapes, entry: ir.Value, cut: list[ir.Value]) -> dict[ir.Value, list[Role]]:
    """Roles that each cut value plays under all masks."""
    names = [str(value.name) for value in cut]
    runner = session(cut_to(to_proto(model), names), optimize=False)
    inputs = sample_inputs(model, shapes)
    batch, keys = shape_of(entry)
    kind = (entry.dtype or ir.DataType.FLOAT).numpy()
    open_roles: dict[ir.Value, list[Role]] = {}
    for mask in _masks(batch, keys):
        try:
            found = run(runner, {**inputs, str(entry.name): mask.astype(kind)}, names)
        except ModelError:
            return {}
        for value in cut:
            roles = open_roles.get(value)
            array = found[str(value.name)]
            fitting = _roles(array, mask)
            open_roles[value] = fitting if roles is None else [role for role in roles if role in fitting]
        if not any(open_roles.values()):
            return {}
    return open_roles


def _roles(array: Array, mask: npt.NDArray[np.bool_]) -> list[Role]:
    """Every role in which ``array`` is a padding mask for ``mask``."""
    batch, keys = mask.shape
    roles: list[Role] = []
    if array.ndim >= 2 and array.shape[-1] == keys and array.size % (batch * keys) == 0:
        roles += [(kind, "keys") for kind in _kinds(array.reshape(batch, -1, keys), mask[:, None, :])]
    if array.ndim >= 2 and array.shape[:2] == (batch, keys):
        roles += [(kind, "tokens") for kind in _kinds(array.reshape(batch, keys, -1), mask[:, :, None])]
    if array.ndim >= 1 and array.shape[0] == batch and array.dtype.kind in "fiu":
        count = mask.sum(axis=1).reshape(batch, 1)
        if np.allclose(array.reshape(batch, -1), count, rtol=1e-6, atol=1e-6):
            roles.append(("count", "sample"))
    return roles


def _kinds(array: Array, mask: npt.NDArray[np.bool_]) -> list[str]:
    mask = np.broadcast_to(mask, array.shape)
    if array.dtype == np.bool_:
        return [kind for kind, wanted in (("keep", mask), ("drop", ~mask)) if np.array_equal(array, wanted)]
    kinds = []
    if np.array_equal(array, mask.astype(array.dtype)):
        kinds.append("factor")
    if array.dtype.kind == "f" and np.all(array[mask] == 0) and np.all(array[~mask] <= MASKED):
        kinds.append("additive")
    return kinds
