"""The memory planner: every node finds its operands on chip, for any scratchpad that is large enough for one block."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflow.hw.architecture import BYTES, HALVES, NIBBLES, Architecture
from edgeflow.hw.arrays import IntArray
from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.graph import Format, Graph, Node, QType, TensorType
from edgeflow.hw.ops import make_node
from edgeflow.hw.ops.add import Add
from edgeflow.hw.ops.attention import Attention
from edgeflow.hw.ops.base import Operator, instruction_layouts
from edgeflow.hw.ops.concat import Concat
from edgeflow.hw.ops.dma import CONSTANTS, LOAD, STORE
from edgeflow.hw.ops.layernorm import LayerNorm, reciprocal_root_seeds
from edgeflow.hw.ops.linear import Linear
from edgeflow.hw.ops.select import Select
from edgeflow.hw.program import format_lines
from edgeflow.sw.compiler.instructions import Operand
from edgeflow.sw.compiler.network import OUTPUT, Network, Operation
from edgeflow.sw.compiler.placement import Placement, plan, working_set
from edgeflow.sw.compiler.row_blocks import Blocks
from edgeflow.sw.compiler.schedule import Computation, Schedule, Transfer
from edgeflow.sw.compiler.storage import storages

ALL_UNITS = tuple(layout.name for layout in instruction_layouts())
ROWS = 12


@dataclass
class Builder:
    """A graph made node by node; constants have the right shapes only."""

    tensors: dict[str, TensorType] = field(default_factory=dict)
    constants: dict[str, IntArray] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)

    def tensor(self, name: str, shape: tuple[int, ...], bits: int, *, constant: bool = False) -> str:
        self.tensors[name] = TensorType(shape, QType(bits, True, 1.0))
        if constant:
            self.constants[name] = np.full(shape, len(self.constants) % (1 << (bits - 1)), dtype=np.int64)
        return name

    def node(self, op: Operator, inputs: list[str]) -> str:
        name = f"t{len(self.nodes)}"
        out = op.infer([self.tensors[n].format for n in inputs])
        self.nodes.append(make_node(op, inputs, self.tensor(name, out.shape, out.bits), f"/{name}"))
        return name

    def linear(self, x: str, channels: int, bits: int, residual: str | None = None, weight_bits: int = 8) -> str:
        at = f"c{len(self.nodes)}"
        weight = self.tensor(f"{at}.w", (channels, self.tensors[x].shape[-1]), weight_bits, constant=True)
        vectors = [self.tensor(f"{at}.{v}", (channels,), 32, constant=True) for v in "bm"]
        op = Linear(8, bits, True, False, 0, 0, residual is not None, int(residual is not None), 0, False)
        return self.node(op, [x, weight, *vectors, *([residual] if residual else [])])

    def layernorm(self, x: str, bits: int) -> str:
        at, channels = f"c{len(self.nodes)}", self.tensors[x].shape[-1]
        sizes = (("gain", channels), ("offset", channels), ("seed", 192))
        parameters = [self.tensor(f"{at}.{what}", (size,), 18, constant=True) for what, size in sizes]
        self.constants[parameters[-1]] = reciprocal_root_seeds()
        mean = (channels - 1).bit_length()
        return self.node(LayerNorm(0, 1, mean, 0, 8, 0, bits, True), [x, *parameters][: len(LayerNorm.ports)])

    def add(self, a: str, b: str) -> str:
        return self.node(Add(1, 0, 1, 0, 16, True), [a, b])

    def graph(self, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Graph:
        return Graph("drawn", inputs, outputs, self.tensors, self.constants, tuple(self.nodes))


def drawn(seed: int) -> Graph:
    """A random network: tokens of 8 and 16 bits through layers, residuals, attention, views and broadcasts."""
    rng = np.random.default_rng(seed)
    b = Builder()
    narrow = [b.tensor("image", (ROWS, 64), 8)]
    wide = [b.tensor("stream", (ROWS, 64), 16)]
    pairs: list[str] = []  # 4 bits
    rows = [b.tensor("constant", (ROWS, 64), 16, constant=True), b.tensor("row", (64,), 16, constant=True)]
    inputs = ("image", "stream")

    def pick(names: list[str]) -> str:
        return names[int(rng.integers(max(0, len(names) - 4), len(names)))]

    for _ in range(int(rng.integers(3, 14))):
        kind = int(rng.integers(0, 9))
        if kind == 0:
            wide.append(b.linear(pick(narrow), 64, 16, residual=pick(wide)))
        elif kind == 1:
            narrow.append(b.linear(pick(narrow), 64, 8, residual=pick([*narrow, *wide, "constant"])))
        elif kind == 2:
            hidden = b.linear(pick(narrow), int(rng.choice([128, 200, 256])), 8)
            wide.append(b.linear(hidden, 64, 16, residual=pick(wide)))
        elif kind == 3:
            narrow.append(b.layernorm(pick(wide), 8))
        elif kind == 4:
            pairs.append(b.layernorm(pick(wide), 4))
        elif kind == 5 and pairs:
            source = pick(pairs)
            wide.append(b.linear(source, 64, 16, weight_bits=4))
            pairs.append(b.linear(source, 64, 4, weight_bits=4))
        elif kind == 6:
            wide.append(b.add(pick(wide), pick([*wide, *rows])))
        elif kind == 7:
            at = f"c{len(b.nodes)}"
            shapes = (("e", (8,)), ("m", (1,)), ("n", (1,)))
            parameters = [b.tensor(f"{at}.{what}", shape, 18, constant=True) for what, shape in shapes]
            op = Attention(1, 3, 8, 0, 0, 8, True, False)
            narrow.append(b.node(op, [pick(narrow), pick(narrow), pick(narrow), *parameters]))
        elif kind == 8:
            start = int(rng.integers(0, ROWS // 2))
            half = b.node(Select(0, start, start + ROWS // 2, False), [pick(wide)])
            b.layernorm(half, 8)
            b.add(half, b.node(Select(0, 0, ROWS // 2, False), [pick(wide)]))
            token = b.tensor(f"c{len(b.nodes)}", (1, 64), 16, constant=True)
            parts = [token, half, b.add(half, half), b.linear(b.layernorm(half, 8), 64, 16)]
            b.layernorm(b.node(Concat(0), [parts[i] for i in rng.permutation(4)[: rng.integers(2, 5)]]), 8)
    if not b.nodes:
        b.layernorm("stream", 8)
    computed = [n.output for n in b.nodes]
    outputs = {computed[-1], computed[int(rng.integers(0, len(computed)))]}
    return b.graph(inputs, tuple(sorted(outputs)))


Tag = tuple[str, int]  # a line of a tensor


class Tracker:
    """Follows every line through a schedule: each must be where an operation looks for it."""

    def __init__(self, placement: Placement, narrow: int) -> None:
        self.placement = placement
        self.storage = placement.storage
        self.network = placement.storage.network
        self.narrow = narrow
        self.scratch: dict[int, Tag] = {}
        self.external: dict[int, Tag] = {}
        self.transfers: list[Transfer] = []
        for name in self.network.graph.inputs:
            line = placement.external[name]
            self.external |= {line + i: (name, i) for i in range(self.storage.activations[name].lines)}

    def run(self) -> None:
        """Every action of every operation."""
        schedule = Schedule(self.placement)
        for operation in self.network.executed:
            for action in schedule.actions(operation):
                if isinstance(action, Computation):
                    self.compute(action)
                    continue
                self.move(action)
                if action.completes == operation.node.output and self.copies(operation):
                    self.copied(operation, self.placement.blocks[operation.number])

    def move(self, action: Transfer) -> None:
        """Lines from one memory to another."""
        self.transfers.append(action)
        for n in range(action.lines):
            near, far = action.scratch_line + n, action.offset + n
            if action.mode == CONSTANTS:
                self.scratch[near] = (action.tensor, far)
                continue
            far += self.placement.external[action.tensor]
            if action.mode == LOAD:
                self.scratch[near] = self.external[far]
            else:
                self.external[far] = self.scratch[near]

    def compute(self, action: Computation) -> None:
        """An operation or a block of its rows: finds its operands and writes its output."""
        operation, operands, number = action.operation, action.operands, action.operation.number
        whole = self.network.operations[number]
        out = operation.operator.infer(operation.formats)
        blocks, split = self.placement.blocks.get(number), operation.split
        written = dict(self.tags(whole.node.output, out, operands[OUTPUT], operation.first_row))
        for index, operand in operands.items():
            if index == OUTPUT:
                continue
            name = operation.name(index)
            part = blocks is not None and split is not None and index in split.inputs
            start = operation.first_row if part else 0
            for i, (line, tag) in enumerate(self.tags(name, operation.formats[index], operand, start)):
                assert self.scratch.get(line) == tag, f"node {number} finds {self.scratch.get(line)} for {tag}"
                # An output overwrites nothing that is read later, but for the residual's own line.
                moved = name in self.network.joins and name in self.storage.aliases
                over = index in whole.operator.overwritable(whole.formats)
                assert line not in written or moved or (over and list(written)[i] == line)
        self.scratch.update(written)

    def copies(self, operation: Operation) -> bool:
        """Whether an operation is done by transfers alone."""
        return operation.number in self.placement.blocks and operation.split is not None and operation.split.copies

    def copied(self, operation: Operation, blocks: Blocks) -> None:
        """The rows of an operation's inputs lie one after another: they are those of its output."""
        output = operation.node.output
        away = OUTPUT in blocks.streamed
        memory = self.external if away else self.scratch
        span = self.placement.span(output, operation.number)
        assert away or span is not None
        line = self.placement.lines[span] if span is not None and not away else self.placement.external[output]
        i = 0
        for name in operation.node.inputs:
            base, offset = self.storage.base(name)
            for n in range(format_lines(self.network.formats[name])):
                assert memory[line + i] == (base, offset + n)
                memory[line + i] = (output, i)
                i += 1

    def tags(self, name: str, format: Format, operand: Operand, row: int) -> list[tuple[int, Tag]]:
        base, offset = self.storage.base(name)
        offset += self.storage.row(name, row)
        lines = range(operand.line, operand.line + format_lines(format, operand.storage))
        assert all((line < self.narrow) == (operand.storage != HALVES) for line in lines)
        return [(line, (base, offset + i)) for i, line in enumerate(lines)]


def follow(graph: Graph, narrow: int, wide: int) -> Tracker:
    """Plans a graph for memories of these sizes and checks every access."""
    a = Architecture(units=ALL_UNITS, narrow_lines=64, wide_lines=64).model_copy(
        update={"narrow_lines": narrow, "wide_lines": wide}
    )
    tracker = Tracker(plan(Network(graph), a), narrow)
    for span, line in tracker.placement.lines.items():
        start, end = (narrow, narrow + wide) if span.wide else (0, narrow)
        assert start <= line
        assert line + span.lines <= end
    tracker.run()
    for name in graph.outputs:
        for i in range(tracker.storage.activations[name].lines):
            assert tracker.external[tracker.placement.external[name] + i] == (name, i)
    return tracker


def transfers(tracker: Tracker, mode: int) -> int:
    """Lines that the program moves in one direction."""
    return sum(transfer.lines for transfer in tracker.transfers if transfer.mode == mode)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(0, 100), st.integers(0, 100))
def test_operands_are_where_nodes_look_for_them(seed: int, narrow: int, wide: int) -> None:
    graph = drawn(seed)
    with contextlib.suppress(UnsupportedError):  # whether a refusal is right is tested below
        follow(graph, narrow + 16, wide + 16)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1 << 32))
def test_with_enough_memory_only_inputs_and_outputs_move(seed: int) -> None:
    graph = drawn(seed)
    network = Network(graph)
    narrow, wide = working_set(network, Architecture(units=ALL_UNITS))
    tracker = follow(graph, max(narrow, 1), max(wide, 1))
    assert not tracker.placement.blocks
    held = {network.views.get(n, (n, 0))[0] for n in network.uses}
    assert transfers(tracker, LOAD) == sum(tracker.storage.activations[n].lines for n in graph.inputs if n in held)
    assert transfers(tracker, STORE) == sum(tracker.storage.activations[n].lines for n in graph.outputs)
    assert transfers(tracker, CONSTANTS) <= sum(t.lines for t in tracker.storage.activations.values() if t.constant)


def chain() -> Builder:
    """Layers on a residual stream: image (8 bits), then t0 (8 bits), t1 (16 bits)."""
    b = Builder()
    b.tensor("image", (ROWS, 64), 8)
    b.tensor("stream", (ROWS, 64), 16)
    return b


def test_a_residual_stream_takes_the_memory_of_one_tensor() -> None:
    b = chain()
    x = "stream"
    for _ in range(3):
        x = b.linear("image", 64, 16, residual=x)
        x = b.layernorm(b.add(x, b.tensor(f"row{x}", (64,), 16, constant=True)), 16)
    assert working_set(Network(b.graph(("image", "stream"), (x,))), Architecture(units=ALL_UNITS)) == (ROWS, 2 * ROWS)


def test_a_residual_that_is_read_later_is_not_written_over() -> None:
    b = chain()
    y = b.linear("image", 64, 16, residual="stream")
    last = b.add(y, "stream")
    assert working_set(Network(b.graph(("image", "stream"), (last,))), Architecture(units=ALL_UNITS)) == (ROWS, 4 * ROWS)


def test_rows_are_concatenated_in_place() -> None:
    b = chain()
    token = b.tensor("token", (1, 64), 16, constant=True)
    parts = [token, b.linear("image", 64, 16), b.linear("image", 64, 16)]
    last = b.layernorm(b.node(Concat(0), parts), 16)
    graph = b.graph(("image",), (last,))
    assert working_set(Network(graph), Architecture(units=ALL_UNITS)) == (ROWS, 2 * (2 * ROWS + 1))


def test_pairs_of_rows_share_lines_where_only_linear_layers_read_them() -> None:
    b = chain()
    paired, weighed, shared = (b.layernorm("stream", 4) for _ in range(3))
    last = [
        b.linear(paired, 64, 16, weight_bits=4),
        b.linear(weighed, 64, 16, weight_bits=8),
        b.linear(shared, 64, 16, weight_bits=4),
    ]
    graph = b.graph(("image", "stream"), (*last, b.layernorm(shared, 8)))
    network = Network(graph)
    storage = storages(network, Architecture(units=ALL_UNITS))
    assert [storage[name] for name in (paired, weighed, shared)] == [NIBBLES, BYTES, BYTES]
    narrow = Architecture(units=ALL_UNITS, precisions=(8,))
    assert storages(network, narrow)[paired] == BYTES


def test_narrow_residuals_lie_in_the_wide_memory() -> None:
    b = chain()
    private, shared = b.linear("image", 64, 8), b.linear("image", 64, 8)
    last = [b.linear("image", 64, 8, residual=name) for name in (private, shared, "image")]
    network = Network(b.graph(("image",), (*last, b.layernorm(shared, 8))))
    assert [n.op for n in network.legal.nodes].count("requantize") == 2
    storage = storages(network, Architecture(units=ALL_UNITS))
    assert [storage[n.inputs[4]] for n in network.legal.nodes if n.output in last] == [HALVES] * 3
    assert (storage[private], storage[shared], storage["image"]) == (HALVES, BYTES, BYTES)


def test_what_cannot_be_split_is_refused_with_what_it_needs() -> None:
    b = chain()
    x = b.layernorm("stream", 8)
    parameters = [b.tensor(what, shape, 18, constant=True) for what, shape in (("e", (8,)), ("m", (1,)), ("n", (1,)))]
    y = b.node(Attention(1, 3, 8, 0, 0, 8, True, False), ["image", x, b.layernorm("stream", 8), *parameters])
    graph = b.graph(("image", "stream"), (y,))
    follow(graph, 2 * ROWS + 2, 4)
    message = f"node /t2 .attention. needs {4 * ROWS} lines of the narrow scratchpad, {2 * ROWS + 2} in blocks; the accelerator has"
    with pytest.raises(UnsupportedError, match=message):
        follow(graph, 2 * ROWS + 1, 4)


def test_a_tensor_leaves_between_its_uses() -> None:
    b = chain()
    old, new = b.linear("image", 64, 16), b.linear("image", 64, 16)
    x = b.add("stream", new)
    for _ in range(3):
        x = b.layernorm(x, 16)
    graph = b.graph(("image", "stream"), (b.add(b.add(x, "stream"), old),))
    assert working_set(Network(graph), Architecture(units=ALL_UNITS)) == (ROWS, 6 * ROWS)
    tracker = follow(graph, ROWS, 4 * ROWS)
    assert not tracker.placement.blocks
    assert transfers(tracker, STORE) == 2 * ROWS + 2 * ROWS
    assert transfers(tracker, LOAD) == ROWS + 2 * ROWS + 2 * ROWS


def test_an_input_leaves_rather_than_what_must_be_stored_first() -> None:
    b = chain()
    first = b.add("stream", b.linear("image", 64, 16))
    old = b.linear("image", 64, 16)
    x = b.add(first, b.linear("image", 64, 16))
    graph = b.graph(("image", "stream"), (b.add(b.add(x, "stream"), old),))
    assert working_set(Network(graph), Architecture(units=ALL_UNITS)) == (ROWS, 8 * ROWS)
    tracker = follow(graph, ROWS, 6 * ROWS)
    assert not tracker.placement.blocks
    assert transfers(tracker, STORE) == 2 * ROWS
    assert transfers(tracker, LOAD) == ROWS + 2 * 2 * ROWS
