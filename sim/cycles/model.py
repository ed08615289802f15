"""Predicted execution of a program: its instructions as tasks of the event simulation, and what comes of it by layer and by unit.

Every cycle of the total belongs to one instruction and is one of four kinds. Compute: the array multiplies, or a loop of another
unit starts an iteration. Fill: a pipeline fills or drains. Memory: the unit waits for weights or for external memory; so does a
pass of the array that has nothing left to multiply while the next tile's weights are loaded. Waiting: the descriptor is not there
yet, the instruction is handed to its unit, or a pass multiplies nothing because its epilogue or attention's other work is longer.
Compute of other units than the array is vector work that is not hidden behind the array.

Nothing here is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from edgeflow.hw.architecture import LINE_BYTES, Architecture
from edgeflow.hw.boards import Board
from edgeflow.hw.cost import Count, Cycles, Loop, Unknown
from edgeflow.hw.fit import unit_resources
from edgeflow.hw.graph import Graph
from edgeflow.hw.layer_names import layer_names
from edgeflow.hw.memoize import RememberedFields
from edgeflow.hw.ops import node_macs, unit
from edgeflow.hw.ops.base import Instruction
from edgeflow.hw.program import DESCRIPTOR_BYTES, Program, Step
from edgeflow.sim.cycles.ddr import Ddr, ddr
from edgeflow.sim.cycles.events import Fetcher, Phase, Schedule, Task, simulate

DESCRIPTOR_QUEUE = 4  # descriptors between the two processes of the top function
DISPATCH_CYCLES = 4  # to read a descriptor from the queue, choose its unit, start it and see it done
PARAMETERS = "parameters"  # the loop of the header library that takes parameters from the weight stream

ASSUMPTIONS = (
    "Cycles are predicted by simulating the schedule that the units' formulas state; nothing was measured on a board or by a "
    "synthesis tool.",
    "Instructions run one after another; the next ones' descriptors and weights are fetched meanwhile.",
    "Efficiency and latency of the memory are the board file's assumptions; processors and other masters do not use it.",
    "The clock is a target: no timing analysis has been run.",
)


@dataclass(frozen=True)
class Traffic:
    """Bytes that cross the AXI ports: weights and constants read, activations read and written, descriptors read."""

    weights: int
    read: int
    written: int
    descriptors: int

    @property
    def total(self) -> int:
        """All bytes."""
        return self.weights + self.read + self.written + self.descriptors

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(
            self.weights + other.weights,
            self.read + other.read,
            self.written + other.written,
            self.descriptors + other.descriptors,
        )


@dataclass(frozen=True)
class InstructionCycles:
    """One instruction on the timeline, in clock cycles.

    ``start``: when the one before ends; ``begin``: when its unit starts. ``parts``: the loops of the unit as its formula states
    them; the rest of the time until its end is late words. ``fetched`` are the cycles (not whole ones) at which its descriptor was
    asked for and was there, its first word of weights came, and its last. ``node`` is the model's own node, ``output`` the tensor
    that it works on, ``hidden`` the cycles of its work that run beside the instruction before and count there, ``array`` whether it
    is a pass of the array, ``rate`` its multiply-accumulates a cycle at most.
    """

    index: int
    unit: str
    node: str
    output: str
    array: bool
    rate: int
    start: int
    begin: int
    waiting: int
    compute: int
    fill: int
    memory: int
    macs: int
    parts: Mapping[str, int]
    hidden: int
    traffic: Traffic
    fetched: tuple[float, float, float, float]

    @property
    def cycles(self) -> int:
        """Length on the timeline."""
        return self.waiting + self.compute + self.fill + self.memory

    @property
    def end(self) -> int:
        """When the next one may start."""
        return self.start + self.cycles


@dataclass(frozen=True)
class LayerCycles:
    """A node of the integer graph: the sum of its instructions (none where the output is a view of the input), and of those that
    the compiler put before it. ``vector``: its cycles outside the array. ``hidden``: cycles of its work that run beside the
    layer before and count there. ``rate``: multiply-accumulates a cycle that the array can do in the layer's precision."""

    name: str
    output: str
    op: str
    macs: int
    rate: int
    instructions: int
    compute: int
    memory: int
    fill: int
    waiting: int
    vector: int
    hidden: int
    traffic: Traffic

    @property
    def cycles(self) -> int:
        """Clock cycles for one sample."""
        return self.compute + self.memory + self.fill + self.waiting


@dataclass(frozen=True)
class Limits:
    """Cycles that no schedule can go below: the array at one product a multiplier and cycle (two in the 4-bit mode), and the memory
    moving each byte of weights, constants and activations that the program moves."""

    macs: int
    ddr: int

    @property
    def cycles(self) -> int:
        """The larger one."""
        return max(self.macs, self.ddr)


@dataclass(frozen=True)
class CycleReport:
    """Predicted execution of one sample. ``mac_units``: 8-bit multiply-accumulates that the array (PI x PO) can do in a cycle;
    ``dsp``: DSP slices of the whole accelerator."""

    instructions: tuple[InstructionCycles, ...]
    layers: tuple[LayerCycles, ...]
    schedule: Schedule
    memory: Ddr
    mac_units: int
    dsp: Count
    stream_bytes: int
    stream_lines: int
    clock_mhz: float

    @property
    def cycles(self) -> int:
        """Clock cycles for one sample."""
        return self.schedule.cycles

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates of one sample."""
        return sum(layer.macs for layer in self.layers)

    @property
    def mac_utilization(self) -> float:
        """Useful multiply-accumulates over those that the array could have done in all cycles at 8 bit.

        The 4-bit mode does two where the 8-bit mode does one: with it the figure may pass 1."""
        return self.macs / (self.cycles * self.mac_units) if self.cycles else 0.0

    @property
    def latency_ms(self) -> float:
        """Milliseconds for one sample at the target clock."""
        return self.cycles / (self.clock_mhz * 1e3)

    @property
    def fps(self) -> float:
        """Samples a second, one after another."""
        return 1e3 / self.latency_ms if self.cycles else 0.0

    @property
    def gops(self) -> float:
        """Useful operations (two a multiply-accumulate), 10^9 a second."""
        return 2 * self.macs * self.fps / 1e9

    @property
    def gops_per_dsp(self) -> float | Unknown:
        """Useful 10^9 operations a second over all DSP slices that the accelerator takes."""
        if isinstance(self.dsp, Unknown):
            return self.dsp
        return self.gops / self.dsp if self.dsp else Unknown("the accelerator takes no DSP slices")

    @cached_property
    def traffic(self) -> Traffic:
        """Everything that crosses the AXI ports for one sample."""
        return sum((layer.traffic for layer in self.layers), Traffic(0, 0, 0, 0))

    @cached_property
    def limits(self) -> Limits:
        """The least cycles that arithmetic and memory allow."""
        products = sum(layer.macs / layer.rate for layer in self.layers)
        moved = self.traffic.total - self.traffic.descriptors
        return Limits(math.ceil(products), math.ceil(moved / self.memory.shared))

    def split(self) -> dict[str, int]:
        """All cycles by kind: compute, memory, fill, waiting; they add up to the total."""
        return {kind: sum(getattr(i, kind) for i in self.instructions) for kind in ("compute", "memory", "fill", "waiting")}

    def by_unit(self) -> dict[str, int]:
        """Cycles of every unit in use, the busiest first."""
        cycles: dict[str, int] = {}
        for i in self.instructions:
            cycles[i.unit] = cycles.get(i.unit, 0) + i.cycles
        return dict(sorted(cycles.items(), key=lambda item: -item[1]))

    def beside(self) -> dict[str, int]:
        """Cycles of work by unit that run beside the array's products, and so take no time of their own."""
        cycles: dict[str, int] = {}
        for i in self.instructions:
            if i.hidden:
                cycles[i.unit] = cycles.get(i.unit, 0) + i.hidden
        return cycles

    def exposed(self) -> dict[str, int]:
        """Cycles of the units other than the array, the busiest first: what is not hidden behind it."""
        array = {i.unit for i in self.instructions if i.array}
        return {name: cycles for name, cycles in self.by_unit().items() if name not in array}

    def parts(self) -> dict[str, dict[str, int]]:
        """Cycles of each unit's loops, filling included, with ``late words`` of weights or external memory and ``start``: waiting
        for descriptors and for being started."""
        by_unit: dict[str, dict[str, int]] = {name: {} for name in self.by_unit()}
        for i in self.instructions:
            parts = by_unit[i.unit]
            late = i.end - i.begin - sum(i.parts.values())
            for name, cycles in (*i.parts.items(), ("late words", late), ("start", i.begin - i.start)):
                parts[name] = parts.get(name, 0) + cycles
        return by_unit


def predicted_cycles(program: Program, board: Board, clock_mhz: float) -> int:
    """The cycles of :func:`estimate` alone."""
    return _simulated(program, board, clock_mhz)[2].cycles


def _simulated(program: Program, board: Board, clock_mhz: float) -> tuple[list[Cycles], Ddr, Schedule]:
    """The formulas of a program's instructions, the memory, and what happens when."""
    architecture = program.architecture
    memory = ddr(board, architecture, clock_mhz)
    formula = _formulas(architecture)
    formulas = [formula(step.instruction) for step in program.steps]
    tasks = list(_tasks(program.steps, formulas, architecture, memory))
    fetcher = Fetcher(
        descriptor=memory.latency + math.ceil(DESCRIPTOR_BYTES / min(architecture.word_bytes, memory.shared)),
        queue=DESCRIPTOR_QUEUE,
        capacity=architecture.stream_lines * LINE_BYTES // architecture.stream_bytes,
        word_bytes=architecture.stream_bytes,
    )
    return formulas, memory, simulate(tasks, fetcher, memory)


def least_cycles(instructions: Iterable[Instruction], architecture: Architecture, memory: Ddr) -> float:
    """Cycles that instructions, each on its own, take at least in a program that :func:`estimate` predicts: no word of the weight
    stream is late and the memory serves nobody else. Passes of the array count without what handing them over takes."""
    total = 0.0
    formula_of, phases_of = _formulas(architecture), _Phases(architecture, memory)
    for ins in instructions:
        for phase in phases_of(ins, formula_of(ins)):
            total += phase.latency + max(phase.cycles, phase.words, phase.bytes / memory.port)
        total += 0 if "chain" in ins.layout.names else DISPATCH_CYCLES
    return total


def estimate(program: Program, graph: Graph, board: Board, clock_mhz: float) -> CycleReport:
    """Predict the cycles of one sample of ``graph`` as ``program`` computes it, with the board's memory at ``clock_mhz``."""
    architecture = program.architecture
    formulas, memory, schedule = _simulated(program, board, clock_mhz)
    macs = {node.output: node_macs(graph, node) for node in graph.nodes}
    owners = list(_owners(program, macs))
    mac_units = architecture.pi * architecture.po
    names, origins = layer_names(graph), {node.output: node.origin for node in graph.nodes}
    instructions = []
    for index, (step, formula, owner) in enumerate(zip(program.steps, formulas, owners, strict=True)):
        run, values = schedule.executions[index], step.instruction.values
        compute, load, idle = _pass_split(formula, values) if _is_pass(step) else (formula.total - formula.fill, 0, 0)
        instructions.append(
            InstructionCycles(
                index=index,
                unit=step.instruction.layout.name,
                node=names[owner] if origins.get(owner) == step.node else step.node,
                output=owner,
                array=_is_pass(step),
                rate=mac_units * (2 if values.get("quad") else 1),
                start=run.start,
                begin=run.begin,
                waiting=run.begin - run.start + idle,
                compute=compute,
                fill=formula.fill,
                memory=run.end - run.begin - formula.total + load,
                macs=formula.macs,
                parts=formula.parts,
                hidden=formula.hidden,
                traffic=_traffic(step, formula, architecture),
                fetched=schedule.fetches[index],
            )
        )
    return CycleReport(
        tuple(instructions),
        tuple(_layers(graph, names, instructions, macs, mac_units)),
        schedule,
        memory,
        mac_units,
        _dsp(architecture),
        architecture.stream_bytes,
        architecture.stream_lines,
        clock_mhz,
    )


def _is_pass(step: Step) -> bool:
    """Whether an instruction is a pass of the array; only those can be chained."""
    return "chain" in step.instruction.layout.names


def _pass_split(formula: Cycles, values: Mapping[str, int]) -> tuple[int, int, int]:
    """The iterations of a pass of the array: those that multiply, then those that only load weights, then the rest."""
    trips = formula.total - formula.fill
    products = min(formula.inside.get("products", 0), trips)
    words = values["load_words"]
    load = min(max(values.get("load_delay", 0) + words - products, 0), words, trips - products)
    return products, load, trips - products - load


def _tasks(steps: tuple[Step, ...], formulas: list[Cycles], architecture: Architecture, memory: Ddr) -> Iterator[Task]:
    """What each instruction asks of the event simulation."""
    chained = False
    phases_of = _Phases(architecture, memory)
    for step, formula in zip(steps, formulas, strict=True):
        phases = phases_of(step.instruction, formula)
        yield Task(0 if chained else DISPATCH_CYCLES, phases, _stream_words(step.instruction, architecture))
        chained = bool(step.instruction.values.get("chain"))


def _stream_words(instruction: Instruction, architecture: Architecture) -> int:
    """Words of the weight stream that an instruction takes."""
    return instruction.stream[1] * LINE_BYTES // architecture.stream_bytes


def _formulas(architecture: Architecture) -> Callable[[Instruction], Cycles]:
    """The formula of any instruction; instructions that agree in what it reads have one and the same."""
    known: dict[int, RememberedFields[Cycles]] = {}

    def formula(instruction: Instruction) -> Cycles:
        layout = instruction.layout
        remembered = known.get(layout.opcode)
        if remembered is None:
            cycles = unit(layout).cycles
            remembered = known[layout.opcode] = RememberedFields(lambda values: cycles(values, architecture))
        return remembered(instruction.values)

    return formula


class _Phases:
    """The phases of instructions, made once for all that share a formula and ask the same of the weight stream."""

    def __init__(self, architecture: Architecture, memory: Ddr) -> None:
        self._architecture, self._memory = architecture, memory
        self._known: dict[tuple[int, int, int], tuple[Cycles, tuple[Phase, ...]]] = {}  # by the formula's identity: it is kept

    def __call__(self, instruction: Instruction, formula: Cycles) -> tuple[Phase, ...]:
        words = _stream_words(instruction, self._architecture)
        delay = instruction.values.get("load_delay", 0)  # cycles of a pass before it takes the first word
        key = (id(formula), words, delay)
        entry = self._known.get(key)
        if entry is None:
            phases = _phases(formula, words, min(delay, formula.total), self._architecture, self._memory)
            entry = self._known[key] = formula, tuple(phases)
        return entry[1]


def _phases(formula: Cycles, words: int, delay: int, architecture: Architecture, memory: Ddr) -> Iterator[Phase]:
    """The loops of an instruction in order. Words of the weight stream are taken one a cycle by the loop of the parameters, where
    there is one, otherwise by the first loop after ``delay`` cycles; loops that touch neither memory are one phase."""
    names = list(formula.loops)
    taker = PARAMETERS if PARAMETERS in formula.loops else names[0] if names else None
    if taker is None and words:
        yield Phase(0, words)
    quiet = 0
    for name, loop in formula.loops.items():
        taken = words if name == taker else 0
        if not loop.port and not taken:
            quiet += loop.cycles
            continue
        if quiet:
            yield Phase(quiet)
            quiet = 0
        if loop.port:
            yield Phase(loop.cycles, taken, _moved(formula, name, architecture), _latency(loop, memory))
        else:
            if delay:
                yield Phase(delay)
            yield Phase(min(taken, loop.cycles - delay), taken)
            quiet = max(loop.cycles - delay - taken, 0)
    if quiet:
        yield Phase(quiet)


def _latency(loop: Loop, memory: Ddr) -> int:
    """Cycles until the first word of every entry: a loop waits for its first word each time it is entered. Writes need not wait for
    their answer, but the unit is done only when the last one has come."""
    entries = min(loop.entries, 1) if loop.port == "write" else loop.entries
    return entries * memory.latency if loop.trips else 0


def _moved(formula: Cycles, name: str, architecture: Architecture) -> int:
    """Bytes that a loop moves through its port: a word an iteration, or as many as are counted inside it."""
    return formula.inside.get(f"{name} words", formula.loops[name].trips) * architecture.word_bytes


def _traffic(step: Step, formula: Cycles, architecture: Architecture) -> Traffic:
    moved = {"constants": 0, "read": 0, "write": 0}
    for name, loop in formula.loops.items():
        if loop.port:
            moved[loop.port] += _moved(formula, name, architecture)
    weights = step.instruction.stream[1] * LINE_BYTES + moved["constants"]
    return Traffic(weights, moved["read"], moved["write"], DESCRIPTOR_BYTES)


def _owners(program: Program, outputs: Mapping[str, int]) -> list[str]:
    """The node's output that each instruction works for: those before a completing one belong to it, those after the last to it."""
    owners: list[str] = []
    waiting = 0
    for step in program.steps:
        waiting += 1
        if step.completes in outputs:
            owners += [str(step.completes)] * waiting
            waiting = 0
    return owners + [owners[-1] if owners else ""] * waiting


def _layers(
    graph: Graph, names: Mapping[str, str], instructions: list[InstructionCycles], macs: Mapping[str, int], mac_units: int
) -> Iterator[LayerCycles]:
    by_output: dict[str, list[InstructionCycles]] = {}
    for i in instructions:
        by_output.setdefault(i.output, []).append(i)
    for node in graph.nodes:
        own = by_output.get(node.output, [])
        passes = [i for i in own if i.array]
        yield LayerCycles(
            name=names[node.output],
            output=node.output,
            op=node.op,
            macs=macs[node.output],
            rate=max((i.rate for i in passes), default=mac_units),
            instructions=len(own),
            compute=sum(i.compute for i in own),
            memory=sum(i.memory for i in own),
            fill=sum(i.fill for i in own),
            waiting=sum(i.waiting for i in own),
            vector=sum(i.cycles for i in own if not i.array),
            hidden=sum(i.hidden for i in own),
            traffic=sum((i.traffic for i in own), Traffic(0, 0, 0, 0)),
        )


def _dsp(architecture: Architecture) -> Count:
    """DSP slices of all units, or why they are not known."""
    counts = [resources.dsp for resources in unit_resources(architecture).values()]
    return next((c for c in counts if isinstance(c, Unknown)), sum(c for c in counts if not isinstance(c, Unknown)))
