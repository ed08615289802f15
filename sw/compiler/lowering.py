"""Lowering: the integer graph becomes a program for one accelerator."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgeflow.hw.architecture import LINE_BYTES, NIBBLES, Architecture, round_up, slots_of, storage_bytes
from edgeflow.hw.arrays import Array, IntArray
from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.graph import Format, Graph, Node
from edgeflow.hw.memoize import Remembered
from edgeflow.hw.ops import operator
from edgeflow.hw.ops.base import Constants, Instruction, LoweringContext, Packed
from edgeflow.hw.ops.dma import CONSTANTS, DMA, LOAD, STORE, transfer
from edgeflow.hw.program import Allocation, Program, Stay, Step, format_lines, natural_storage, pack_rows, stride_lines
from edgeflow.sw.compiler.placement import OUTPUT, Blocks, Placement, plan
from edgeflow.sw.compiler.row_blocks import block_constants, block_formats
from edgeflow.sw.compiler.storage import legalize, views
from edgeflow.sw.compiler.weight_image import Image, SizedImage, WeightImage
from edgeflow.sw.compiler.weight_prefetch import link

LISTED = 4  # nodes that a message names


@dataclass(frozen=True)
class Operand:
    """Where one operand of the instructions being lowered starts, and how it is stored."""

    line: int
    storage: int


class NodeContext:
    """The :class:`~edgeflow.hw.ops.base.LoweringContext` of one node, or of one block of its rows."""

    def __init__(
        self, node: Node, architecture: Architecture, operands: Mapping[int, Operand], image: Image, first_row: int
    ) -> None:
        self._node = node
        self._architecture = architecture
        self._operands = operands
        self._image = image
        self._first_row = first_row

    @property
    def architecture(self) -> Architecture:
        return self._architecture

    @property
    def first_row(self) -> int:
        return self._first_row

    def address(self, index: int) -> int:
        return self._operands[index].line

    def output_address(self) -> int:
        return self._operands[OUTPUT].line

    def storage(self, index: int) -> int:
        return self._operands[index].storage

    def output_storage(self) -> int:
        return self._operands[OUTPUT].storage

    def place(self, what: str, data: Array) -> int:
        return self._image.place(f"{self._node.output}/{what}", data)

    def place_rows(self, what: str, data: IntArray, format: Format) -> int:
        return self.place(what, pack_rows(data, format))

    def stream(self, what: str, *data: Array | Packed) -> tuple[int, int]:
        return self._image.stream(f"{self._node.output}/{what}", *data)

    def require(self, condition: bool, message: str) -> None:
        _require(condition, self._node, message)


def _require(condition: bool, node: Node, message: str) -> None:
    if not condition:
        raise UnsupportedError(f"node {node.origin} ({node.op}): {message}")


def operands_on_chip(graph: Graph, node: Node) -> dict[int, str]:
    """A node's operands that have a place of their own in the scratchpad or in external memory: activations, and the constants that
    its unit reads from the scratchpad. The other constants lie in the weight image."""
    op = operator(node)
    given = {i: name for i, name in enumerate(node.inputs) if name not in graph.constants or op.on_chip_constant(i)}
    return given | {OUTPUT: node.output}


def instructions(node: Node, formats: Sequence[Format], constants: Constants, context: LoweringContext) -> list[Instruction]:
    """A node, or a block of its rows, as instructions. A constant that the unit reads from the scratchpad is like any other operand
    there."""
    op = operator(node)
    return op.lower(formats, {i: value for i, value in constants.items() if not op.on_chip_constant(i)}, context)


class _Lowering:
    """A program under construction. ``tensors``: names of which the program says that they are complete; copies have none."""

    def __init__(
        self, graph: Graph, tensors: Collection[str], architecture: Architecture, placement: Placement, image: Image
    ) -> None:
        self.graph = graph
        self.tensors = tensors
        self.architecture = architecture
        self.placement = placement
        self.image = image
        self.steps: list[Step] = []

    def numbers(self) -> Iterator[int]:
        """The nodes that are lowered: all but views."""
        for number, node in enumerate(self.graph.nodes):
            if node.output not in self.placement.aliases or node.output in self.placement.joined:
                yield number

    def node(self, number: int) -> None:
        """Loads, instructions and stores of one node."""
        node = self.graph.nodes[number]
        unit = operator(node).instruction.name
        for needed in (unit, DMA.name):
            has = needed in self.architecture.units
            _require(has, node, f"the overlay has no {needed} unit (units: {', '.join(self.architecture.units)})")
        for span, line in self.placement.lines.items():
            if span.first == number and span.operand is None and self.placement.activations[span.tensor].begun != number:
                self._load(node, span.tensor, 0, line, span.lines)
        blocks = self.placement.blocks.get(number)
        if blocks is None:
            constants = self.graph.node_constants(node)
            self._instructions(number, self.graph.formats(node), constants, self._operands(number, None, 0), self._known(node), 0)
        else:
            self._blocks(number, blocks)
        whole = self.placement.span(node.output, number)
        if whole is not None and node.output in self.placement.external:
            self._store(node, node.output, 0, self.placement.lines[whole], whole.lines, None)

    def _known(self, node: Node) -> str | None:
        return node.output if node.output in self.tensors else None

    def _blocks(self, number: int, blocks: Blocks) -> None:
        node, split = self.graph.nodes[number], blocks.split
        if split.copies:
            self._copies(number, blocks)
            return
        for start in range(0, split.rows, blocks.rows):
            stop = min(start + blocks.rows, split.rows)
            operands = self._operands(number, blocks, start)
            for index in sorted(blocks.streamed - {OUTPUT}):
                name = node.inputs[index]
                self._load(node, name, start, operands[index].line, self._rows_lines(name, stop - start))
            formats = block_formats(self.graph, node, split, start, stop)
            constants = block_constants(self.graph, node, split, start, stop)
            whole = self._known(node) if stop == split.rows else None
            if OUTPUT in blocks.streamed:
                self._instructions(number, formats, constants, operands, None, start)
                lines = self._rows_lines(node.output, stop - start)
                self._store(node, node.output, start, operands[OUTPUT].line, lines, whole)
            else:
                self._instructions(number, formats, constants, operands, whole, start)

    def _copies(self, number: int, blocks: Blocks) -> None:
        """The rows of a node's inputs one after another, by transfers alone."""
        node = self.graph.nodes[number]
        base = node.output
        target = self._line(base, number, OUTPUT if OUTPUT in blocks.streamed else None)
        first = 0
        for index, name in enumerate(node.inputs):
            rows = self.graph.tensors[name].format.rows
            for row in range(0, rows, blocks.rows):
                count, start = min(blocks.rows, rows - row), first + row
                lines = self._rows_lines(base, count)
                whole = self._known(node) if start + count == blocks.split.rows else None
                away = name in self.graph.constants or index in blocks.streamed
                if OUTPUT not in blocks.streamed:
                    self._load(node, name, row, target + self._row(base, start), lines, whole)
                elif away:
                    self._load(node, name, row, target, lines)
                    self._store(node, base, start, target, lines, whole)
                else:
                    source, offset = self._base(name)
                    line = self._line(source, number, None) + offset + self._row(name, row)
                    self._store(node, base, start, line, lines, whole)
            first += rows

    def _instructions(
        self,
        number: int,
        formats: Sequence[Format],
        constants: Constants,
        operands: Mapping[int, Operand],
        completes: str | None,
        first_row: int,
    ) -> None:
        node = self.graph.nodes[number]
        context = NodeContext(node, self.architecture, operands, self.image, first_row)
        made = instructions(node, formats, constants, context)
        self.steps += [Step(ins, node.origin, completes if i == len(made) - 1 else None) for i, ins in enumerate(made)]

    def _base(self, name: str) -> tuple[str, int]:
        return self.placement.aliases.get(name, (name, 0))

    def _storage(self, name: str) -> int:
        held = self.placement.activations.get(self._base(name)[0])
        return natural_storage(self.graph.tensors[name].format.bits) if held is None else held.storage

    def _row(self, name: str, row: int) -> int:
        """Lines from the start of a tensor to a row."""
        storage = self._storage(name)
        return (row // 2 if storage == NIBBLES else row) * stride_lines(self.graph.tensors[name].format.channels, storage)

    def _rows_lines(self, name: str, rows: int) -> int:
        f = self.graph.tensors[name].format
        return format_lines(Format((rows, f.channels), f.bits, f.signed), self._storage(name))

    def _operands(self, number: int, blocks: Blocks | None, start: int) -> dict[int, Operand]:
        """Places of a node's operands, or of their part of the block that starts at row ``start``."""
        node = self.graph.nodes[number]
        op = operator(node)
        found: dict[int, Operand] = {}
        for index, name in operands_on_chip(self.graph, node).items():
            base, offset = self._base(name)
            if blocks is not None and (index == OUTPUT or index in blocks.split.inputs):
                offset += self._row(name, start)
            if blocks is not None and index == blocks.split.elements:
                offset += start * storage_bytes(self.graph.tensors[name].format.bits) // LINE_BYTES
            if index != OUTPUT and op.ports[index].external and name not in self.graph.constants:
                line = self.placement.external[base] + offset
            elif blocks is not None and index in blocks.streamed:
                line = self._line(base, number, index)
            else:
                line = self._line(base, number, None) + offset
            found[index] = Operand(line, self._storage(name))
        return found

    def _line(self, base: str, number: int, operand: int | None) -> int:
        span = self.placement.span(base, number, operand)
        if span is None:
            raise AssertionError(f"{base} has no place in the scratchpad at node {number}")
        return self.placement.lines[span]

    def _load(self, node: Node, name: str, row: int, line: int, lines: int, completes: str | None = None) -> None:
        base, offset = self._base(name)
        offset += self._row(name, row)
        if base in self.graph.constants:
            packed = pack_rows(self.graph.constants[base], self.graph.tensors[base].format, self._storage(base))
            instruction = transfer(CONSTANTS, self.image.place(base, packed) + offset, line, lines)
        else:
            instruction = transfer(LOAD, self.placement.external[base] + offset, line, lines)
        self.steps.append(Step(instruction, node.origin, completes))

    def _store(self, node: Node, name: str, row: int, line: int, lines: int, completes: str | None) -> None:
        instruction = transfer(STORE, self.placement.external[name] + self._row(name, row), line, lines)
        self.steps.append(Step(instruction, node.origin, completes))

    def allocations(self) -> tuple[Allocation, ...]:
        """Every activation, views included, in order of computation; then the constants that come to lie in the scratchpad."""
        end = len(self.graph.nodes)
        fixed = [name for name, t in self.placement.activations.items() if t.constant]
        made = []
        for name in [*self.graph.inputs, *(node.output for node in self.graph.nodes), *fixed]:
            base, offset = self._base(name)
            t, f = self.placement.activations[base], self.graph.tensors[name].format
            spans = {s: line for s, line in self.placement.lines.items() if s.tensor == base}
            whole = min((s for s in spans if s.operand is None), key=lambda s: s.first, default=None)
            held = whole is not None and (t.produced < 0 or whole.first == t.begun)
            external = self.placement.external.get(base)
            last = end if t.output else max([t.produced, *t.touches, *t.reads])
            stays = tuple(Stay(line, s.lines, s.first, s.last) for s, line in sorted(spans.items(), key=lambda i: i[0].first))
            made.append(
                Allocation(
                    tensor=name,
                    line=spans[whole] + offset if whole is not None and held else None,
                    external=None if external is None else external + offset,
                    lines=format_lines(f, t.storage),
                    storage=t.storage,
                    shape=f.shape,
                    bits=f.bits,
                    signed=f.signed,
                    first=t.produced,
                    last=last,
                    view_of=base if name != base else None,
                    stays=stays if name == base else (),
                )
            )
        return tuple(made)


class _Transfers(_Lowering):
    """The transfers of a program, without the instructions of its operators."""

    def _instructions(
        self,
        number: int,
        formats: Sequence[Format],
        constants: Constants,
        operands: Mapping[int, Operand],
        completes: str | None,
        first_row: int,
    ) -> None:
        pass


def lower(graph: Graph, architecture: Architecture) -> Program:
    """A program that computes ``graph`` on ``architecture``; UnsupportedError lists what does not fit it and why."""
    image = WeightImage(architecture)
    lowering = Prepared(graph).lowered(architecture, image)
    steps = link(lowering.steps, architecture)
    return Program(architecture, steps, image.encode(), lowering.allocations(), image.parameters, graph.inputs, graph.outputs)


class Prepared:
    """A graph that is looked at on many accelerators: what several of them have in common is made once.

    ``legal``: the graph as it is lowered. ``placement``: its memory plan on an accelerator.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.legal = legalize(graph)
        self.placement = Remembered(lambda architecture: plan(self.legal, architecture))

    def lowered(self, architecture: Architecture, image: Image) -> _Lowering:
        """All nodes lowered, the weight image's contents handed to ``image``."""
        lowering = _Lowering(self.legal, self.graph.tensors, architecture, self._placement(architecture), image)
        problems: list[str] = []
        for number in lowering.numbers():
            try:
                lowering.node(number)
            except UnsupportedError as error:
                problems.append(str(error))
        if problems:
            raise UnsupportedError(_refusal(self.graph, architecture, problems))
        return lowering

    def outline(self, architecture: Architecture) -> Program:
        """The program's instructions alone, without weights and memory map: to predict how long it runs."""
        steps = link(self.lowered(architecture, SizedImage(architecture)).steps, architecture)
        return Program(architecture, steps, b"", (), (), self.graph.inputs, self.graph.outputs)

    def transfers(self, architecture: Architecture) -> list[Instruction]:
        """The program's transfers between scratchpad and external memory."""
        placement = self._placement(architecture)
        lowering = _Transfers(self.legal, self.graph.tensors, architecture, placement, SizedImage(architecture))
        for number in lowering.numbers():
            lowering.node(number)
        return [step.instruction for step in lowering.steps]

    def _placement(self, architecture: Architecture) -> Placement:
        try:
            return self.placement(architecture)
        except UnsupportedError as error:
            raise UnsupportedError(_refusal(self.graph, architecture, [str(error)])) from None


def _refusal(graph: Graph, architecture: Architecture, problems: Sequence[str]) -> str:
    sizes = {name: (need, getattr(architecture, name)) for name, need in demands(graph).items()}
    del sizes["max_tokens"]  # more keys come in blocks
    short = [f"{name} {need}, not {limit}" for name, (need, limit) in sizes.items() if need > limit]
    held = stationary(graph, architecture.max_tokens)
    slots = 2 * max((slots_of(lengths, architecture.pi) for lengths in held), default=0)
    short += [f"slots {slots}, not {architecture.slots}"] if slots > architecture.slots else []
    lacking = [unit for unit in units(graph) if unit not in architecture.units]
    wanted = "; ".join([*short, *(f"unit {unit}" for unit in lacking)])
    more = f"; and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
    needs = f" (it needs {wanted})" if wanted else ""
    return f"the accelerator cannot run this model{needs}: {'; '.join(problems[:LISTED])}{more}"


def demands(graph: Graph) -> dict[str, int]:
    """The smallest static sizes of an accelerator that runs the graph, and its units, as Architecture fields."""
    found = {"max_channels": 64, "max_tokens": 64, "max_head": 64}
    legal = legalize(graph)
    for node in legal.nodes:
        for name, value in operator(node).demands(legal.formats(node)).items():
            found[name] = max(found[name], value)
    return {name: round_up(value, 64) for name, value in found.items()}


def stationary(graph: Graph, max_tokens: int) -> frozenset[tuple[int, ...]]:
    """Lengths of the vectors that the array holds together, for each layer; attention takes ``max_tokens`` keys at a time."""
    legal = legalize(graph)
    return frozenset(held for n in legal.nodes if (held := operator(n).stationary(legal.formats(n), max_tokens)))


def units(graph: Graph) -> tuple[str, ...]:
    """Names of the instructions that the graph uses, in order of opcode, and the DMA unit."""
    legal = legalize(graph)
    aliases = views(legal)
    used = [operator(node).instruction for node in legal.nodes if node.output not in aliases]
    layouts = {layout.opcode: layout.name for layout in [*used, DMA]}
    return tuple(layouts[opcode] for opcode in sorted(layouts))
