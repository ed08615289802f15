"""Attention with more than padding masks of keys: causal and other masks, rotated queries and keys, learned queries."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from edgeflow.hw.arrays import Array
from edgeflow.sw.importer.movement import bypass
from edgeflow.sw.importer.obstacles.base import Kind, Obstacle, activations, is_a, obstacle, readers, stand_in
from edgeflow.sw.rewrite.attention import MASKED, is_bias
from edgeflow.sw.rewrite.base import DOMAIN, constant, operand, produced_by, shape_of, times_number
from edgeflow.sw.rewrite.view import view_above

CAUSAL = Kind(
    "causal mask",
    "every token is kept from reading those after it, as in a decoder; the keys of attention can only be masked by an input,"
    " for all queries alike",
    "compile an encoder, which has no such mask, or train and export the model without it (is_causal=False)",
)
CONSTANT_MASK = Kind(
    "constant attention mask",
    "a constant keeps some queries from reading some keys (windows, blocks); the keys of attention can only be masked by an input,"
    " for all queries alike",
    "export the model without the mask, or cut the input into the windows beforehand",
)
COMPUTED_MASK = Kind(
    "mask of queries and keys",
    "what is added to the scores of attention, or chooses among them, is computed, and no padding mask of the keys",
    "give the padding mask as an input (batch, keys) and derive nothing else from it; a bias of the scores has to be constant",
)
ROTARY = Kind(
    "rotary embedding",
    "queries and keys are rotated by angles that depend on the position of the token, which no unit of the accelerator does",
    "use learned or sinusoidal positions, which are added to the tokens, and train the model with them",
)
LEARNED_QUERY = Kind(
    "more learned queries than keys",
    "the queries of attention are constant, and there are more of them than keys; at most as many are taken",
    "learn at most as many queries as there are tokens, or pool with the mean over the tokens, and train the model so",
)
FUSED = ("Attention", "MultiHeadAttention")
_MOST = 64  # values between scores and softmax, or between a layer and the product, that are looked at


def masks(graph: ir.Graph) -> Iterator[Obstacle]:
    """Masks between the scores of attention and its softmax, or in the attributes of an attention in one node."""
    for node in list(graph):
        if is_a(node, "Softmax"):
            for step, kept in _path_to_scores(operand(node, 0)):
                kind = _mask_kind(step, kept)
                if kind is not None:
                    yield obstacle(kind, step)
                    bypass(graph, step, kept)
        elif is_a(node, *FUSED):
            for name in ("is_causal", "unidirectional"):
                if node.attributes.get_int(name, 0):
                    yield obstacle(CAUSAL, node)
                    node.attributes[name] = ir.AttrInt64(name, 0)


def _path_to_scores(value: ir.Value) -> list[tuple[ir.Node, ir.Value]]:
    """The nodes from a softmax up to the product of queries and keys, each with its operand on the way; empty without a product."""
    return _path(value, set()) or []


def _path(value: ir.Value, seen: set[ir.Value]) -> list[tuple[ir.Node, ir.Value]] | None:
    node = value.producer()
    if node is None or value in seen or len(seen) > _MOST:
        return None
    seen.add(value)
    if is_a(node, "MatMul"):
        return [] if len(activations(node)) == 2 else None
    for kept in activations(node):
        if shape_of(kept)[-2:] == shape_of(value)[-2:]:
            above = _path(kept, seen)
            if above is not None:
                return [(node, kept), *above]
    return None


def _mask_kind(step: ir.Node, kept: ir.Value) -> Kind | None:
    """The kind of mask that an operator between scores and softmax applies; None for none, and for one of padded keys."""
    if not is_a(step, "Add", "Where"):
        return None
    others = [value for value in step.inputs if value is not None and value is not kept]
    if any(produced_by(value, "KeyMask", domain=DOMAIN) for value in others):
        return None
    fixed = [array for value in others if (array := constant(value)) is not None]
    if len(fixed) == len(others):
        if is_a(step, "Add") and (is_bias(fixed[0]) or fixed[0].size == 1):
            return None
        return CAUSAL if any(map(_is_causal, fixed)) else CONSTANT_MASK
    return CAUSAL if any(map(_is_causal, _constants_above(others))) else COMPUTED_MASK


def _constants_above(values: list[ir.Value]) -> Iterator[Array]:
    """The constants that values are computed with."""
    for value in _above(values):
        array = constant(value)
        if array is not None:
            yield array


def _above(values: list[ir.Value]) -> list[ir.Value]:
    """Values and what they are computed from, nearest first, as far as it is looked at."""
    values_above = list(dict.fromkeys(values))
    for value in values_above:
        if len(values_above) > _MOST:
            break
        node = value.producer()
        values_above += [
            entry for entry in dict.fromkeys(() if node is None else node.inputs) if entry is not None and entry not in values_above
        ]
    return values_above


def _is_causal(array: Array) -> bool:
    """Whether an array over (queries, keys) says another thing of what lies above its diagonal than of the rest."""
    if array.ndim < 2 or array.shape[-1] < 2 or array.shape[-2] != array.shape[-1]:
        return False
    above = np.triu(np.ones(array.shape[-2:], bool), 1)
    inside, outside = array[..., above], array[..., ~above]
    if array.dtype.kind == "f" and np.all(inside <= MASKED) and np.all(outside > MASKED):
        return True
    return bool(np.all(inside == inside.flat[0]) and np.all(outside == outside.flat[0]) and inside.flat[0] != outside.flat[0])


def rotations(graph: ir.Graph) -> Iterator[Obstacle]:
    """Queries and keys that are rotated between the layer that makes them and the product or the attention that reads them."""
    for node in list(graph):
        product = is_a(node, "MatMul") and len(activations(node)) == 2
        for value in activations(node)[:2] if product or is_a(node, *FUSED) else ():
            while (step := _moved_or_scaled(value)) is not None:
                value = step
            merge = value.producer()
            if merge is None or not _is_rotation(value):
                continue
            yield obstacle(ROTARY, merge)
            source = _unrotated(value)
            if source is None:
                stand_in(merge, value, _leaves(value))
            else:
                ir.convenience.replace_all_uses_with(value, source)


def _moved_or_scaled(value: ir.Value) -> ir.Value | None:
    """What a value is moved, or multiplied by a number, from."""
    view = view_above(value)
    scaled = times_number(value)
    return operand(view, 0) if view is not None else None if scaled is None else scaled[0]


def _combined(value: ir.Value) -> list[ir.Value]:
    """The operands of an operator that only moves, scales, adds or joins; none for any other."""
    if view_above(value) is not None or produced_by(value, "Neg", "Concat", "Add", "Sub", "Mul") is not None:
        node = value.producer()
        read = [] if node is None else activations(node)
        return read if node is None or not is_a(node, "Mul") or len(read) == 1 else []
    return []


def _cone(value: ir.Value) -> list[ir.Value]:
    """A value and all that it is combined of, nearest first."""
    cone = [value]
    for entry in cone:
        cone += [above for above in dict.fromkeys(_combined(entry)) if above not in cone]
    return cone


def _leaves(value: ir.Value) -> list[ir.Value]:
    return [entry for entry in _cone(value) if not _combined(entry)]


def _is_rotation(value: ir.Value) -> bool:
    """Whether a value joins or adds several parts of one source, of which some were multiplied by numbers of token and channel."""
    cone = _cone(value)
    turned = any(_turns(entry) for entry in cone)
    return turned and len(_combined(value)) > 1 and sum(not _combined(entry) for entry in cone) == 1


def _turns(value: ir.Value) -> bool:
    node = produced_by(value, "Mul")
    arrays = [] if node is None else [array for entry in node.inputs if (array := constant(entry)) is not None]
    return any(sum(size > 1 for size in array.shape) > 1 for array in arrays)


def _unrotated(value: ir.Value) -> ir.Value | None:
    """Of the same shape, what a value was before it was taken apart and turned."""
    for entry in _cone(value)[1:]:
        node = entry.producer()
        turned = node is not None and is_a(node, "Mul", "Neg", "Concat", "Add", "Sub")
        if shape_of(entry) == shape_of(value) and not turned:
            return entry
    return None


def learned_queries(graph: ir.Graph) -> Iterator[Obstacle]:
    """Attention with more queries than keys, which do not depend on the input."""
    for node in list(graph):
        if not is_a(node, "Softmax"):
            continue
        product = _product_above(operand(node, 0))
        if product is None or len(activations(product)) != 1:
            continue
        queries, keys = shape_of(node.outputs[0])[-2:]
        if queries <= keys:
            continue
        context = _product_below(node.outputs[0])
        if context is not None:
            yield obstacle(LEARNED_QUERY, node)
            stand_in(context, context.outputs[0], [operand(context, 1), *activations(product)])


def _product_above(value: ir.Value) -> ir.Node | None:
    """The nearest matrix product that a value is computed from."""
    return next((node for entry in _above([value]) if (node := produced_by(entry, "MatMul")) is not None), None)


def _product_below(value: ir.Value, depth: int = 8) -> ir.Node | None:
    """The product of probabilities, through what only moves them, with values that are computed."""
    for node in readers(value):
        if is_a(node, "MatMul") and len(activations(node)) == 2:
            return node
        below = _product_below(node.outputs[0], depth - 1) if depth and view_above(node.outputs[0]) is not None else None
        if below is not None:
            return below
    return None
