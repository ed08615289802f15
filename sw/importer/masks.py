"""Finding padding masks by probing: what a mask subgraph computes, not how it is written.

Where something computed from one (batch, keys) input meets the rest of the network, the cut value is evaluated on masks of zeros
and ones, and on masks that hold other values of the input's type (mask_numbers.py says which). A cut value is a padding mask, in
one of the known roles, if each of its elements depends on the mask value of its own key alone and equals either the element of a
key that takes part or that of a key that does not. The mask values that are proven to do either are recorded with the input
(:class:`edgeflow.quant.canonical.masks.MaskValues`); all others are refused. The subgraph is replaced by an internal
``edgeflow::KeyMask(mask; kind, layout)``, where ``mask`` is the input itself if anything but 0 takes part, else
``edgeflow::Attends`` of it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeflow.hw.arrays import Array
from edgeflow.hw.errors import ModelError
from edgeflow.quant.canonical.masks import MASK, MaskValues, attends_bounds
from edgeflow.sw.importer.bind import Shapes
from edgeflow.sw.importer.fold import influence, sample_inputs
from edgeflow.sw.importer.mask_numbers import State, between, constants_beside, first_numbers, intervals, more_numbers, piecewise
from edgeflow.sw.importer.onnx_operators import traits
from edgeflow.sw.importer.runtime import cut_to, light_proto, run, session
from edgeflow.sw.rewrite.attention import MASKED
from edgeflow.sw.rewrite.base import DOMAIN, constant, initializer, shape_of

Role = tuple[str, str]
"""Kind (additive, keep, drop, factor, count) and layout (keys: last axis, tokens: second axis, sample: neither)."""
_RANDOM_MASKS = 4
_SEED = 7
_SPARE = 256  # runs at most to find the numbers that are no mask values


def probe_masks(model: ir.Model, shapes: Shapes) -> None:
    """Replace every subgraph that turns a mask input into a padding mask by an internal KeyMask node."""
    graph = model.graph
    reach = influence(graph).value
    probed: list[tuple[ir.Value, dict[ir.Value, Role], dict[float, State], bool]] = []
    for entry in graph.inputs:
        if len(shape_of(entry)) != 2:
            continue
        alone = frozenset((str(entry.name),))
        cut = [
            output for node in graph for output in node.outputs
            if reach[output] == alone and any(reach[user.outputs[0]] != alone for user, _ in output.uses())
        ]  # fmt: skip
        if cut:
            beside = [node for node in graph if reach[node.outputs[0]] == alone]
            whole = piecewise(beside, (value for value in reach if reach[value] == alone))
            roles, states = _Probe(model, shapes, entry, cut, constants_beside(beside), whole).roles()
            if roles:
                probed.append((entry, roles, states, whole))
        if entry.dtype == ir.DataType.BOOL:
            _wrap_direct(graph, entry, [(user, at) for user, at in entry.uses() if reach[user.outputs[0]] != alone])
    for entry, roles, states, whole in probed:
        mask = _mask(graph, entry, states, whole)
        for value, role in roles.items():
            _replace(graph, mask, value, role)


def _wrap_direct(graph: ir.Graph, entry: ir.Value, users: list[tuple[ir.Node, int]]) -> None:
    """A boolean input used as it is, as a condition."""
    if not users:
        return
    node = ir.node("KeyMask", [entry], {"kind": "keep", "layout": "keys"}, domain=DOMAIN)
    node.outputs[0].shape, node.outputs[0].type = entry.shape, entry.type
    graph.insert_before(graph[0], node)
    for user, position in users:
        user.replace_input_with(position, node.outputs[0])


def _replace(graph: ir.Graph, mask: ir.Value, value: ir.Value, role: Role) -> None:
    producer = value.producer()
    if producer is None:
        raise AssertionError("a cut value without producer")
    node = ir.node("KeyMask", [mask], {"kind": role[0], "layout": role[1]}, domain=DOMAIN)
    node.metadata_props.update(producer.metadata_props)
    node.outputs[0].shape, node.outputs[0].type = value.shape, value.type
    graph.insert_after(producer, node)
    ir.convenience.replace_all_uses_with(value, node.outputs[0])


def _mask(graph: ir.Graph, entry: ir.Value, states: Mapping[float, State], whole: bool) -> ir.Value:
    """The value that is not 0 exactly where a key takes part; what the input's values stand for becomes its metadata."""
    dtype = _dtype(entry)
    soft = any(state is None for number, state in states.items() if 0 < number < 1)
    meant = {number: state for number, state in states.items() if number >= 0 and not (soft and number != int(number))}
    direct = all(state is None or state == (number != 0) for number, state in meant.items())
    if direct:  # what would be taken for a key that takes part, and is none in the model, is refused
        states = {number: state if state == (number != 0) else None for number, state in states.items()}
    values = MaskValues(intervals(states, True, dtype, whole), intervals(states, False, dtype, whole))
    if direct and None not in states.values() and (whole or dtype.kind == "b"):
        return entry
    entry.metadata_props[MASK] = values.document()
    if direct:
        return entry
    low, high = attends_bounds(values)
    node = ir.node("Attends", [entry, initializer(low, "low"), initializer(high, "high")], domain=DOMAIN)
    node.outputs[0].shape, node.outputs[0].type = entry.shape, ir.TensorType(ir.DataType.BOOL)
    graph.insert_before(graph[0], node)
    return node.outputs[0]


def _masks(batch: int, keys: int) -> Iterator[Array]:
    """Masks (batch, keys) of 0 and 1: all ones, each single zero, seeded random ones with at least one key in each sample."""
    yield np.ones((batch, keys))
    if keys > 1:
        for start in range(0, keys, batch):
            mask = np.ones((batch, keys))
            for sample in range(batch):
                mask[sample, (start + sample) % keys] = 0.0
            yield mask
    random = np.random.default_rng(_SEED)
    for _ in range(_RANDOM_MASKS):
        mask = (random.random((batch, keys)) < 0.5).astype(np.float64)
        mask[np.arange(batch), random.integers(0, keys, batch)] = 1.0
        yield mask


@dataclasses.dataclass
class _Cut:
    """What is known of a cut value: by layout, its element for each mask value, as long as there is one; whether it may count."""

    layouts: dict[str, dict[float, Any]]
    counts: bool

    @property
    def open(self) -> bool:
        return bool(self.layouts) or self.counts


class _Probe:
    """The cut values of one input under masks of all kinds."""

    def __init__(
        self, model: ir.Model, shapes: Shapes, entry: ir.Value, cut: Sequence[ir.Value], constants: Sequence[float], whole: bool
    ) -> None:
        self.model, self.entry, self.constants, self.whole = model, entry, constants, whole
        self.batch, self.keys = shape_of(entry)
        self.dtype = _dtype(entry)
        self.inputs = sample_inputs(model, shapes)
        self.cut = {value: _Cut({"keys": {}, "tokens": {}}, counts=True) for value in cut}
        self.spare = _SPARE
        self.rng = np.random.default_rng(_SEED)
        self._open()

    def _open(self) -> None:
        """A session of the cut values that may still be masks."""
        self.cut = {value: cut for value, cut in self.cut.items() if cut.open}
        self.names = [str(value.name) for value in self.cut]
        proto, weights = light_proto(self.model)
        self.runner = session(cut_to(proto, self.names), optimize=False, weights=weights) if self.names else None

    def roles(self) -> tuple[dict[ir.Value, Role], dict[float, State]]:
        """The role of every cut value that has one, and the state of every probed number."""
        counted = []
        for mask in _masks(self.batch, self.keys):
            arrays = self._take(mask)
            if arrays is None:
                return {}, {}
            counted.append((mask, arrays))
            if not all(cut.open for cut in self.cut.values()):
                self._open()
        first = first_numbers(self.dtype, self.constants)
        more = more_numbers(self.dtype, self.constants)
        failed = {number for number in first if self._failing_numbers([number], self._learn)} | self._failing_numbers(
            more, self._learn
        )
        roles, states = self._decide([0.0, 1.0, *first, *more], failed)
        if self.whole and states and self.dtype.kind != "b":
            drawn = between(states, self.dtype, self.rng)
            failed |= self._failing_numbers(drawn, self._learn)
            roles, states = self._decide([*states, *drawn], failed)
        if not roles:
            return {}, {}
        for value, cut in self.cut.items():
            if value in roles or not cut.counts or not all(_counts(arrays[value], mask, states) for mask, arrays in counted):
                continue
            roles[value] = ("count", "sample")
            known = [number for number, state in states.items() if state is not None and number not in (0.0, 1.0)]
            wrong = self._failing_numbers(known, functools.partial(self._count, value, states))
            states = {number: None if number in wrong else state for number, state in states.items()}
        return roles, states

    def _failing_numbers(self, numbers: Sequence[float], test: Callable[[Sequence[float]], bool]) -> set[float]:
        """The numbers that fail the test, found by halving a group that fails. A group is returned whole where it fails and its
        halves do not, or when no run is left."""
        size = max(1, self.batch * self.keys // 2)
        failed: set[float] = set()
        for start in range(0, len(numbers), size):
            failed |= self._failing(numbers[start : start + size], test)
        return failed

    def _failing(self, numbers: Sequence[float], test: Callable[[Sequence[float]], bool]) -> set[float]:
        if self.spare <= 0:
            return set(numbers)
        if test(numbers):
            return set()
        self.spare -= 1
        if len(numbers) == 1:
            return set(numbers)
        half = len(numbers) // 2
        return self._failing(numbers[:half], test) | self._failing(numbers[half:], test) or set(numbers)

    def _learn(self, numbers: Sequence[float]) -> bool:
        """Whether cut values depend on the keys' own mask values alone for these numbers, too, which are then remembered."""
        return self._take(self._mixed(numbers), narrow=True) is not None

    def _count(self, value: ir.Value, states: Mapping[float, State], numbers: Sequence[float]) -> bool:
        """Whether a cut value counts keys that take part, beside these numbers, too."""
        mask = self._mixed(numbers)
        arrays = self._run(mask)
        return arrays is not None and _counts(arrays[value], mask, states)

    def _mixed(self, numbers: Sequence[float]) -> Array:
        """A mask that holds every number twice at least where there is room: one number among zeros and ones, or numbers alone."""
        if len(numbers) > 1:
            return self.rng.permutation(np.resize(np.array(numbers), self.batch * self.keys)).reshape(self.batch, self.keys)
        mask = self.rng.choice([0.0, 1.0, *numbers], (self.batch, self.keys))
        mask[:, self.rng.integers(0, self.keys)] = numbers[0]
        return mask

    def _run(self, mask: Array) -> dict[ir.Value, Array] | None:
        """The cut values under a mask; None where the model does not accept it."""
        if self.runner is None:
            return None
        try:
            with np.errstate(invalid="ignore", over="ignore"):
                array = mask.astype(self.dtype)
            values = run(self.runner, {**self.inputs, str(self.entry.name): array}, self.names)
        except ModelError:
            return None
        return {value: values[str(value.name)] for value in self.cut}

    def _take(self, mask: Array, narrow: bool = False) -> dict[ir.Value, Array] | None:
        """Learn from one mask, and give the cut values. With ``narrow``, a mask that breaks a layout is dropped, not the layout."""
        arrays = self._run(mask)
        if arrays is None:
            return None
        learned: list[tuple[_Cut, str, dict[float, Any] | None]] = []
        for value, cut in self.cut.items():
            learned += [(cut, layout, _elements(arrays[value], mask, layout, known)) for layout, known in cut.layouts.items()]
            cut.counts &= _one_a_sample(arrays[value], self.batch)
        if narrow and any(entries is None for cut, _, entries in learned if cut.layouts):
            return None
        for cut, layout, entries in learned:
            if entries is None:
                del cut.layouts[layout]
            else:
                cut.layouts[layout].update(entries)
        return arrays

    def _decide(self, numbers: Sequence[float], failed: set[float]) -> tuple[dict[ir.Value, Role], dict[float, State]]:
        """The role of every cut value, from the elements learned for its layouts, and the state of every number in all of them."""
        roles: dict[ir.Value, Role] = {}
        states: dict[float, State] = {}
        for value, cut in self.cut.items():
            for layout, elements in cut.layouts.items():
                kind = _kind(value, elements)
                if kind is None:
                    continue
                own = {n: _state(kind, elements[n]) if n in elements and n not in failed else None for n in numbers}
                joint = own if not states else {n: states[n] if states[n] == own[n] else None for n in numbers}
                if {True, False} <= set(joint.values()):
                    roles[value], states = (kind, layout), joint
                    break
        return roles, states


def _dtype(entry: ir.Value) -> np.dtype[Any]:
    return np.dtype((entry.dtype or ir.DataType.FLOAT).numpy())


def _counts(array: Array, mask: Array, states: Mapping[float, State]) -> bool:
    """Whether an array holds, for every sample with keys that take part, their number."""
    count = np.array([[bool(states.get(float(number))) for number in row] for row in mask]).sum(axis=1)
    rows = array.reshape(len(mask), -1)[:, 0]
    return bool(np.allclose(rows[count > 0], count[count > 0], rtol=1e-6, atol=1e-6))


def _one_a_sample(array: Array, batch: int) -> bool:
    """Whether an array holds one number for each sample."""
    if array.ndim < 1 or array.shape[0] != batch or array.dtype.kind not in "fiu" or array.size == 0:
        return False
    rows = array.reshape(batch, -1)
    return bool(np.all((rows == rows[:, :1]) | (rows != rows)))


def _elements(array: Array, mask: Array, layout: str, known: Mapping[float, Any]) -> dict[float, Any] | None:
    """The element of ``array`` for each value of ``mask (batch, keys)``; None where one mask value has several elements, or another
    than the known one."""
    batch, keys = mask.shape
    if array.ndim < 2 or array.size == 0 or array.size % (batch * keys) or array.dtype.kind not in "bfiu":
        return None
    if layout == "keys" and array.shape[-1] == keys:
        full = array.reshape(batch, -1, keys)
    elif layout == "tokens" and array.shape[:2] == (batch, keys):
        full = array.reshape(batch, keys, -1).transpose(0, 2, 1)
    else:
        return None
    numbers, first, place = np.unique(mask, return_index=True, return_inverse=True)
    some = full[:, 0].reshape(-1)[first]
    elements = np.array([known.get(float(number), element) for number, element in zip(numbers, some, strict=True)], array.dtype)
    expected = elements[place.reshape(batch, 1, keys)]
    if not np.all((full == expected) | ((full != full) & (expected != expected))):
        return None
    return dict(zip(numbers.tolist(), elements, strict=True))


def _kind(value: ir.Value, elements: Mapping[float, Any]) -> str | None:
    """The kind of a cut value by its type, and by who reads it where types leave it open."""
    some = next(iter(elements.values()), None)
    if some is None:
        return None
    uses = list(value.uses())
    if isinstance(some, np.bool_):
        fills = [(constant(node.inputs[1]), constant(node.inputs[2])) for node, at in uses if traits(node).chooses and at == 0]
        dropped = fills and all(chosen is not None and np.all(chosen <= MASKED) for chosen, _ in fills)
        return "drop" if dropped else "keep"
    some_values = list(elements.values())
    additive = isinstance(some, np.floating) and 0 in some_values and any(number <= MASKED for number in some_values)
    multiplied = any(traits(node).multiplies for node, _ in uses)
    return "additive" if additive and not (multiplied and 1 in some_values) else "factor"


def _state(kind: str, element: Any) -> State:
    if kind in ("keep", "drop"):
        return bool(element) == (kind == "keep")
    if kind == "additive":
        return True if element == 0 else False if element <= MASKED else None
    return True if element == 1 else False if element == 0 else None
