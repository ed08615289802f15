"""Finding padding masks by probing: what a mask subgraph computes, not how it is written.

Where something computed from one (batch, keys) input meets the rest of the network, the cut value is evaluated on masks of zeros
and ones, and on masks that hold other values of the input's type beside them: fractions, negative and large numbers, the constants
of the subgraph and their neighbours. A cut value that depends on each key's own mask value alone, and is there what a key that
takes part has or what one that does not has, is a padding mask in one of the known roles; which values do which goes with the input
(:class:`edgeflow.quant.canonical.masks.MaskValues`). The subgraph is replaced by an internal ``edgeflow::KeyMask(mask; kind,
layout)``, where ``mask`` is the input itself if anything but 0 takes part, else ``edgeflow::Attends`` of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeflow.hw.arrays import Array
from edgeflow.hw.errors import ModelError
from edgeflow.quant.canonical.masks import EXACT, MASK, MaskValues, attends_bounds
from edgeflow.sw.importer.bind import Shapes
from edgeflow.sw.importer.fold import influence, sample_inputs
from edgeflow.sw.importer.onnx_operators import traits
from edgeflow.sw.importer.runtime import cut_to, run, session, to_proto
from edgeflow.sw.rewrite.attention import MASKED
from edgeflow.sw.rewrite.base import DOMAIN, constant, initializer, shape_of

Role = tuple[str, str]
"""Kind (additive, keep, drop, factor, count) and layout (keys: last axis, tokens: second axis, sample: neither)."""
State = bool | None
"""Whether a key with a mask value takes part; None where the model does something else with the value."""

_RANDOM_MASKS = 4
_SEED = 7
_INTEGERS = (*range(-3, 13), 20, 50, 100, 127, 128, 255, 256, 1000, 10_000, 1_000_000, -4, -5, -10, -100, -128, -1000, -10_000)
_FRACTIONS = (1e-30, 1e-3, 0.1, 0.25, 0.3, 0.5, 0.7, 0.75, 0.9, 0.99, 1.01, 1.1, 1.5, 2.5, 1e9, 1e30)
_FEW = 16  # elements of a constant whose values are probed


def probe_masks(model: ir.Model, shapes: Shapes) -> None:
    """Replace every subgraph that turns a mask input into a padding mask by an internal KeyMask node."""
    graph = model.graph
    reach = influence(graph).value
    found: list[tuple[ir.Value, dict[ir.Value, Role], dict[float, State]]] = []
    for entry in graph.inputs:
        if len(shape_of(entry)) != 2:
            continue
        alone = frozenset((str(entry.name),))
        cut = [
            output for node in graph for output in node.outputs
            if reach[output] == alone and any(reach[user.outputs[0]] != alone for user, _ in output.uses())
        ]  # fmt: skip
        if cut:
            numbers = _constants_beside(node for node in graph if reach[node.outputs[0]] == alone)
            roles, states = _Probe(model, shapes, entry, cut, numbers).roles()
            if roles:
                found.append((entry, roles, states))
        if entry.dtype == ir.DataType.BOOL:
            _wrap_direct(graph, entry, [(user, at) for user, at in entry.uses() if reach[user.outputs[0]] != alone])
    for entry, roles, states in found:
        mask = _mask(graph, entry, states)
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


def _mask(graph: ir.Graph, entry: ir.Value, states: Mapping[float, State]) -> ir.Value:
    """The value that is not 0 exactly where a key takes part; what the input's values stand for becomes its metadata."""
    soft = any(state is None for number, state in states.items() if 0 < number < 1)
    meant = {number: state for number, state in states.items() if number >= 0 and not (soft and number != int(number))}
    direct = all(state is None or state == (number != 0) for number, state in meant.items())
    if direct:  # what would be taken for a key that takes part, and is none in the model, is refused
        states = {number: state if state == (number != 0) else None for number, state in states.items()}
    values = MaskValues(_intervals(states, True), _intervals(states, False))
    if direct and None not in states.values():
        return entry
    entry.metadata_props[MASK] = values.document()
    if direct:
        return entry
    low, high = attends_bounds(values)
    node = ir.node("Attends", [entry, initializer(low, "low"), initializer(high, "high")], domain=DOMAIN)
    node.outputs[0].shape, node.outputs[0].type = entry.shape, ir.TensorType(ir.DataType.BOOL)
    graph.insert_before(graph[0], node)
    return node.outputs[0]


def _intervals(states: Mapping[float, State], wanted: bool) -> tuple[tuple[float, float], ...]:
    """Runs of neighbouring probed numbers with the wanted state, as closed intervals."""
    found: list[list[float]] = []
    inside = False
    for number in sorted(states):
        if states[number] is not wanted:
            inside = False
        elif inside:
            found[-1][1] = number
        else:
            found.append([number, number])
            inside = True
    return tuple((low, high) for low, high in found)


def _constants_beside(nodes: Iterator[ir.Node]) -> list[float]:
    """Numbers that a mask's subgraph compares with, or computes with."""
    found: set[float] = set()
    for node in nodes:
        for value in node.inputs:
            array = constant(value)
            if array is not None and array.size <= _FEW and array.dtype.kind in "fiu":
                found.update(float(number) for number in array.reshape(-1) if np.isfinite(number))
    return sorted(found)


def probed_numbers(dtype: np.dtype[Any], constants: Sequence[float]) -> list[float]:
    """Values of a type to probe a mask with, zero and one not among them, with the neighbours of each where a rule may change."""
    if dtype.kind == "b":
        return []
    numbers = {float(number) for number in _INTEGERS} | set(constants)
    if dtype.kind == "f":
        single = np.finfo(np.float32)
        numbers |= {sign * number for number in _FRACTIONS for sign in (-1.0, 1.0)}
        near = [*constants, 0.0, 0.5, 1.0]
        numbers |= {float(np.nextafter(np.float32(number), np.float32(side))) for number in near for side in (-np.inf, np.inf)}
        numbers |= {float(single.min), float(single.max)}
        numbers = {float(np.float32(number)) for number in numbers if abs(number) <= single.max}
    else:
        info = np.iinfo(dtype)
        numbers |= {np.floor(number) + step for number in constants for step in (-1.0, 0.0, 1.0, 2.0)}
        numbers |= {max(float(info.min), -EXACT), min(float(info.max), EXACT)}
        numbers = {number for number in numbers if number == int(number) and info.min <= int(number) <= info.max}
    return sorted(numbers - {0.0, 1.0})


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

    def __init__(self, model: ir.Model, shapes: Shapes, entry: ir.Value, cut: Sequence[ir.Value], numbers: Sequence[float]) -> None:
        self.model, self.entry, self.numbers = model, entry, numbers
        self.batch, self.keys = shape_of(entry)
        self.dtype = np.dtype((entry.dtype or ir.DataType.FLOAT).numpy())
        self.inputs = sample_inputs(model, shapes)
        self.cut = {value: _Cut({"keys": {}, "tokens": {}}, counts=True) for value in cut}
        self.counted: list[tuple[Array, dict[ir.Value, Array]]] = []
        self._open()

    def _open(self) -> None:
        """A session of the cut values that may still be masks."""
        self.cut = {value: cut for value, cut in self.cut.items() if cut.open}
        self.names = [str(value.name) for value in self.cut]
        self.runner = session(cut_to(to_proto(self.model), self.names), optimize=False) if self.names else None

    def roles(self) -> tuple[dict[ir.Value, Role], dict[float, State]]:
        """The role of every cut value that has one, and the state of every probed number."""
        for mask in _masks(self.batch, self.keys):
            if self.runner is None or not self._take(mask):
                return {}, {}
            if not all(cut.open for cut in self.cut.values()):
                self._open()
        failed = {number for number in probed_numbers(self.dtype, self.numbers) if not self._try(number)}
        return self._decide(failed)

    def _try(self, number: float) -> bool:
        """Probe a number among zeros and ones; False where the model does not accept it, or computes something else there."""
        rng = np.random.default_rng([_SEED, abs(hash(number)) % (1 << 32)])
        mask = rng.choice([0.0, 1.0, number], (self.batch, self.keys))
        mask[:, rng.integers(0, self.keys)] = number
        return self.runner is not None and self._take(mask, narrow=True)

    def _take(self, mask: Array, narrow: bool = False) -> bool:
        """Learn from one mask. With ``narrow``, a number that breaks a layout is dropped, not the layout."""
        if self.runner is None:
            return False
        try:
            with np.errstate(invalid="ignore"):
                given = mask.astype(self.dtype)
            found = run(self.runner, {**self.inputs, str(self.entry.name): given}, self.names)
        except ModelError:
            return False
        arrays = {value: found[str(value.name)] for value in self.cut}
        learned: list[tuple[_Cut, str, dict[float, Any] | None]] = []
        for value, cut in self.cut.items():
            learned += [(cut, layout, _elements(arrays[value], mask, layout, known)) for layout, known in cut.layouts.items()]
            cut.counts &= _one_a_sample(arrays[value], self.batch)
        if narrow and any(made is None for cut, _, made in learned if cut.layouts):
            return False
        for cut, layout, made in learned:
            if made is None:
                del cut.layouts[layout]
            else:
                cut.layouts[layout].update(made)
        counts = {value: arrays[value].reshape(self.batch, -1)[:, :1] for value, cut in self.cut.items() if cut.counts}
        self.counted.append((mask, counts))
        return True

    def _decide(self, failed: set[float]) -> tuple[dict[ir.Value, Role], dict[float, State]]:
        numbers = [0.0, 1.0, *(n for n in probed_numbers(self.dtype, self.numbers) if n not in failed)]
        roles: dict[ir.Value, Role] = {}
        states: dict[float, State] = {}
        for value, cut in self.cut.items():
            for layout, elements in cut.layouts.items():
                kind = _kind(value, elements)
                if kind is None:
                    continue
                own = {number: _state(kind, elements[number]) if number in elements else None for number in numbers}
                joint = own if not states else {n: states[n] if states[n] == own[n] else None for n in numbers}
                if {True, False} <= set(joint.values()):
                    roles[value], states = (kind, layout), joint
                    break
        if not roles:
            return {}, {}
        for value, cut in self.cut.items():
            if value in roles or not cut.counts:
                continue
            wrong = self._miscounted(value, states)
            if wrong is not None:
                roles[value] = ("count", "sample")
                states = {number: None if number in wrong else state for number, state in states.items()}
        return roles, states | dict.fromkeys(failed)

    def _miscounted(self, value: ir.Value, states: Mapping[float, State]) -> set[float] | None:
        """Numbers beside which a value is not the count of keys that take part; None where it is not even for zeros and ones."""
        wrong: set[float] = set()
        for mask, arrays in self.counted:
            present = {float(number) for number in np.unique(mask)}
            known = {number: states.get(number) for number in present}
            if None in known.values() or value not in arrays:
                continue
            count = np.vectorize(known.__getitem__, otypes=[np.float64])(mask).sum(axis=1).reshape(self.batch, 1)
            rows = count[:, 0] > 0
            if not np.allclose(arrays[value][rows], count[rows], rtol=1e-6, atol=1e-6):
                if present <= {0.0, 1.0}:
                    return None
                wrong |= present - {0.0, 1.0}
        return wrong


def _one_a_sample(array: Array, batch: int) -> bool:
    """Whether an array holds one number for each sample."""
    if array.ndim < 1 or array.shape[0] != batch or array.dtype.kind not in "fiu" or array.size == 0:
        return False
    rows = array.reshape(batch, -1)
    return bool(np.all((rows == rows[:, :1]) | (rows != rows)))


def _elements(array: Array, mask: Array, layout: str, known: Mapping[float, Any]) -> dict[float, Any] | None:
    """The element of ``array`` for each value of ``mask (batch, keys)``; None where there is none, or it is not the known one."""
    batch, keys = mask.shape
    if array.ndim < 2 or array.size == 0 or array.size % (batch * keys) or array.dtype.kind not in "bfiu":
        return None
    if layout == "keys" and array.shape[-1] == keys:
        full, spread = array.reshape(batch, -1, keys), mask[:, None, :]
    elif layout == "tokens" and array.shape[:2] == (batch, keys):
        full, spread = array.reshape(batch, keys, -1), mask[:, :, None]
    else:
        return None
    spread = np.broadcast_to(spread, full.shape)
    found: dict[float, Any] = {}
    for number in np.unique(mask):
        here = full[spread == number]
        first = known.get(float(number), here[0])
        if not np.all((here == first) | ((here != here) & (first != first))):
            return None
        found[float(number)] = first
    return found


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
