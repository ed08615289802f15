"""Predicted execution of a program: its instructions as commands of the processes in time, and what comes of it by layer and by
unit.

Every cycle of the total belongs to one instruction, the one that all of its processes finish next, and is one of four kinds.
Compute: the array multiplies, or a loop of another unit starts an iteration. Fill: a pipeline fills or drains, or processes
behind the array finish its rows. Memory: the unit waits for words of weights or for external memory; so does a pass of the array
that has nothing left to multiply while weights for later ones are stored. Waiting: the command is not there yet, or what the
array multiplies, or room for what it makes. Compute of other units than the array is vector work that is not hidden behind the
array.

Nothing here is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property

from edgeflow.hw.architecture import LINE_BYTES, Architecture
from edgeflow.hw.array_core import ArrayCore
from edgeflow.hw.boards import Board
from edgeflow.hw.commands import Phase
from edgeflow.hw.cost import Count, Unknown
from edgeflow.hw.fit import unit_resources
from edgeflow.hw.graph import Graph
from edgeflow.hw.layer_names import layer_names
from edgeflow.hw.memoize import RememberedFields
from edgeflow.hw.ops import node_macs, unit
from edgeflow.hw.ops.base import Instruction
from edgeflow.hw.process_depths import loop_depth
from edgeflow.hw.program import DESCRIPTOR_BYTES, Program, Step
from edgeflow.hw.stream_depths import stream_depths
from edgeflow.sim.cycles.ddr import Ddr, ddr
from edgeflow.sim.cycles.fetching import Fetcher
from edgeflow.sim.cycles.timeline import Execution, Schedule, Task, simulate

PRODUCTS, SEQUENCER = "products", "instructions"  # loops whose stages the gate does not say
DECODE_CYCLES = 4  # from an instruction to its commands

ASSUMPTIONS = (
    "Cycles are predicted by simulating the accelerator's processes and streams with the iterations that the units' formulas "
    "state; nothing was measured on a board or by a synthesis tool.",
    "Depths of pipelines are those of an open analysis of the emitted C++ (the schedule gate).",
    "Efficiency and latency of the memory are the board file's assumptions; processors and other masters do not use it.",
    "Of two clients of the scratchpad that want one bank in one cycle, neither is predicted to wait.",
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

    ``start``: when those before are done; ``begin``: when its foremost process begins, no earlier than that; ``end``: when all of
    its processes are done. ``parts``: the loops of that process within this time. ``fetched`` are the cycles (not whole ones) at
    which its descriptor was asked for and was there, its first word of weights came, and its last. ``node`` is the model's own
    node, ``output`` the tensor that it works on, ``hidden`` the cycles of its work that run beside the instructions before and
    count there, ``array`` whether it is a pass of the array, ``rate`` its multiply-accumulates a cycle at most.
    """

    index: int
    unit: str
    node: str
    output: str
    array: bool
    rate: int
    start: int
    begin: int
    end: int
    waiting: int
    compute: int
    fill: int
    memory: int
    parts: Mapping[str, int]
    hidden: int
    traffic: Traffic
    fetched: tuple[float, float, float, float]

    @property
    def cycles(self) -> int:
        """Length on the timeline."""
        return self.end - self.start


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
    return _simulated(program, board, clock_mhz, detail=False)[1].cycles


def _simulated(program: Program, board: Board, clock_mhz: float, *, detail: bool = True) -> tuple[Ddr, Schedule]:
    """The memory, and what happens when."""
    architecture = program.architecture
    memory = ddr(board, architecture, clock_mhz)
    depth = _depths(architecture, board, clock_mhz)
    depths = stream_depths(architecture)
    fetcher = Fetcher(
        queue=depths["program"],
        capacity=depths["words"],
        word_bytes=architecture.stream_bytes,
        program_depth=depth("fetch program"),
        words_depth=depth("fetch words"),
    )
    task = _tasks(architecture)
    tasks = [task(step.instruction) for step in program.steps]
    return memory, simulate(tasks, fetcher, memory, depth, depths, detail=detail)


def _depths(architecture: Architecture, board: Board, clock_mhz: float) -> Callable[[str], int]:
    """Pipeline stages of loops by name: those of the array's core, and of all others those that the gate finds."""
    core = ArrayCore.of(architecture).latency

    @cache
    def depth(loop: str) -> int:
        own = {PRODUCTS: core, SEQUENCER: DECODE_CYCLES}
        return own[loop] if loop in own else loop_depth(loop, board.family, clock_mhz)

    return depth


def least_cycles(instructions: Iterable[Instruction], architecture: Architecture, memory: Ddr) -> float:
    """Cycles that instructions take at least in a program that :func:`estimate` predicts. Those between two that say when they
    are done run side by side, each process one after another: the busiest counts, where no word is late and the memory serves
    nobody else."""
    task, total = _tasks(architecture), 0.0
    busy: dict[str, float] = {}
    for instruction in instructions:
        commands = task(instruction).commands
        for command in commands:
            busy[command.process] = busy.get(command.process, 0.0) + sum(_least(one, memory) for one in command.phases)
        if any(command.notice for command in commands):
            total += max(busy.values())
            busy = {}
    return total + max(busy.values(), default=0.0)


def _least(one: Phase, memory: Ddr) -> float:
    moved = _moved(one) * memory.word_bytes / min(memory.port, memory.shared)
    entries = min(one.entries, 1) if one.port == "write" else one.entries
    return max(one.trips * one.interval, moved) + (entries * memory.latency if moved else 0)


def _moved(one: Phase) -> int:
    """AXI words that a loop moves through its port."""
    return (one.trips if one.words is None else one.words) if one.port else 0


def estimate(program: Program, graph: Graph, board: Board, clock_mhz: float) -> CycleReport:
    """Predict the cycles of one sample of ``graph`` as ``program`` computes it, with the board's memory at ``clock_mhz``."""
    architecture = program.architecture
    memory, schedule = _simulated(program, board, clock_mhz)
    macs = {node.output: node_macs(graph, node) for node in graph.nodes}
    owners = list(_owners(program, macs))
    mac_units = architecture.pi * architecture.po
    names, origins = layer_names(graph), {node.output: node.origin for node in graph.nodes}
    task = _tasks(architecture)
    instructions = []
    for index, (step, owner) in enumerate(zip(program.steps, owners, strict=True)):
        run, values, own = schedule.executions[index], step.instruction.values, task(step.instruction)
        kinds = _pass_kinds(run) if _is_pass(step) else _kinds(run)
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
                end=run.end,
                **kinds,
                parts=_parts(run, _is_pass(step)),
                hidden=_hidden(run),
                traffic=_traffic(step, own, architecture),
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


def _pass_kinds(run: Execution) -> dict[str, int]:
    """An instruction's own stretch of time by kind where it is a pass of the array: it multiplies, or something that multiplying
    waits for is late; then weights for later passes are still being stored; then its last rows run through the processes
    behind."""
    main = run.main
    first, last = (_within(run, main.begin), _within(run, main.end + 1)) if main.busy else (run.begin, run.begin)
    compute = min(main.busy, last - first)
    stored = max(_within(run, main.stored), last)
    return {
        "compute": compute,
        "memory": stored - last,
        "fill": run.end - stored,
        "waiting": first - run.start + (last - first - compute),
    }


def _kinds(run: Execution) -> dict[str, int]:
    """The same of any other instruction: its loops start iterations, wait for words or for external memory, or their pipelines
    fill."""
    main = run.main
    first, last = _within(run, main.begin), _within(run, main.end + 1)
    compute = min(main.busy, last - first)
    fill = min(main.drains, last - first - compute)
    return {
        "compute": compute,
        "memory": last - first - compute - fill,
        "fill": fill + run.end - last,
        "waiting": first - run.start,
    }


def _within(run: Execution, time: float) -> int:
    return min(max(math.floor(time), run.start), run.end)


def _parts(run: Execution, array: bool) -> dict[str, int]:
    """Cycles of the loops of an instruction's foremost process that lie within its own stretch of time; with those in which their
    pipelines drain, unless it is a pass of the array, which takes the next one meanwhile."""
    parts: dict[str, int] = {}
    for name, first, last, depth in run.main.phases:
        parts[name] = parts.get(name, 0) + _within(run, last + 1 + (0 if array else depth)) - _within(run, first)
    return {name: cycles for name, cycles in parts.items() if cycles}


def _hidden(run: Execution) -> int:
    """Cycles of an instruction's foremost process that lie before its own stretch of time, beside the instructions before."""
    return max(math.floor(min(run.main.end + 1, run.start) - run.main.begin), 0) if run.main.busy else 0


def _tasks(architecture: Architecture) -> Callable[[Instruction], Task]:
    """What any instruction asks of the processes; instructions that agree in what the formulas read have one and the same."""
    known: dict[tuple[int, int], RememberedFields[Task]] = {}

    def task(instruction: Instruction) -> Task:
        layout, words = instruction.layout, instruction.stream[1] * LINE_BYTES // architecture.stream_bytes
        remembered = known.get((layout.opcode, words))
        if remembered is None:
            own = unit(layout)
            remembered = known[layout.opcode, words] = RememberedFields(
                lambda values: Task(own.commands(values, architecture, words), own.process, words)
            )
        return remembered(instruction.values)

    return task


def _traffic(step: Step, task: Task, architecture: Architecture) -> Traffic:
    moved = {"constants": 0, "read": 0, "write": 0}
    for command in task.commands:
        for one in command.phases:
            if one.port:
                moved[one.port] += _moved(one) * architecture.word_bytes
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
