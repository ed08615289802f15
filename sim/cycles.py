"""Predicted cycles of a program: an analytic estimate from the units' formulas.

Instructions run one after another. Each takes the fetch of its descriptor, then the trip counts that its unit's formula states
(:meth:`Operator.cycles`: every AXI word that a loop moves is one of its cycles). When the operands of a layer could not even once
be moved in that time, at the width of the AXI ports and the peak bandwidth of the board's memory, the layer waits for memory.

Nothing here is measured. The latency of memory bursts, refresh and arbitration are left out, so a board will take longer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeflow.hw.architecture import LINE_BYTES, Architecture, ceil_div
from edgeflow.hw.boards import Board
from edgeflow.hw.graph import Graph, Node
from edgeflow.hw.ops import node_macs, unit
from edgeflow.hw.program import DESCRIPTOR_BYTES, Program, Step, format_lines

ASSUMPTIONS = (
    "Cycles are predicted by formulas of trip counts; nothing was measured on a board or by a synthesis tool.",
    "Instructions run one after another; a unit's loads, computation and stores do not overlap unless its formula says so.",
    "The latency of AXI bursts, DRAM refresh and arbitration are left out: a board takes longer.",
    "The clock is a target: no timing analysis has been run.",
)


@dataclass(frozen=True)
class InstructionCycles:
    """One instruction on the timeline, in clock cycles.

    ``start``: when its descriptor is fetched; ``fetch``, ``compute`` and ``wait`` (for memory) follow one another. ``parts`` (the
    loop nests of the unit) add up to ``compute``. ``node`` is the model's own node, ``output`` the tensor that it works on.
    """

    index: int
    unit: str
    node: str
    output: str
    start: int
    fetch: int
    compute: int
    wait: int
    parts: Mapping[str, int]

    @property
    def cycles(self) -> int:
        """Length on the timeline."""
        return self.fetch + self.compute + self.wait


@dataclass(frozen=True)
class Traffic:
    """Bytes that a layer must move at least, each operand once: the weight image read, activations read, activations written."""

    weights: int
    read: int
    written: int

    @property
    def total(self) -> int:
        """All bytes."""
        return self.weights + self.read + self.written

    def cycles(self, architecture: Architecture, ddr_bytes_per_cycle: float) -> int:
        """The least cycles that this takes: weights, reads and writes have an AXI channel each, and share the memory."""
        axi = ceil_div(max(self.weights, self.read, self.written), architecture.word_bytes)
        return max(axi, int(-(-self.total // ddr_bytes_per_cycle)))


@dataclass(frozen=True)
class LayerCycles:
    """A node of the integer graph: the sum of its instructions (none where the output is a view of the input).

    ``memory`` is the least cycles that its traffic takes; ``wait = max(0, memory - compute)`` of them lie after the computation.
    """

    name: str
    output: str
    op: str
    macs: int
    instructions: int
    fetch: int
    compute: int
    memory: int
    wait: int
    traffic: Traffic

    @property
    def cycles(self) -> int:
        """Clock cycles for one sample."""
        return self.fetch + self.compute + self.wait


@dataclass(frozen=True)
class CycleReport:
    """Predicted execution of one sample. ``mac_units``: multiply-accumulates that the MAC array (PI x PO) can do in a cycle."""

    instructions: tuple[InstructionCycles, ...]
    layers: tuple[LayerCycles, ...]
    mac_units: int
    clock_mhz: float

    @property
    def cycles(self) -> int:
        """Clock cycles for one sample."""
        return sum(i.cycles for i in self.instructions)

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates of one sample."""
        return sum(layer.macs for layer in self.layers)

    @property
    def mac_utilization(self) -> float:
        """Useful multiply-accumulates over those that the MAC array could have done in all cycles."""
        return self.macs / (self.cycles * self.mac_units) if self.cycles else 0.0

    @property
    def latency_ms(self) -> float:
        """Milliseconds for one sample at the target clock."""
        return self.cycles / (self.clock_mhz * 1e3)

    @property
    def fps(self) -> float:
        """Samples a second, one after another."""
        return 1e3 / self.latency_ms if self.cycles else 0.0

    def by_unit(self) -> dict[str, int]:
        """Cycles of every unit in use, the busiest first."""
        found: dict[str, int] = {}
        for i in self.instructions:
            found[i.unit] = found.get(i.unit, 0) + i.cycles
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def parts(self) -> dict[str, dict[str, int]]:
        """Cycles of each unit's loop nests, with the ``fetch`` of its descriptors and its ``wait`` for memory."""
        found: dict[str, dict[str, int]] = {name: {} for name in self.by_unit()}
        for i in self.instructions:
            parts = found[i.unit]
            for name, cycles in {**i.parts, "fetch": i.fetch, "wait": i.wait}.items():
                parts[name] = parts.get(name, 0) + cycles
        return found


def estimate(program: Program, graph: Graph, board: Board, clock_mhz: float) -> CycleReport:
    """Predict the cycles of one sample of ``graph`` as ``program`` computes it, with the board's memory at ``clock_mhz``."""
    architecture = program.architecture
    ddr = board.ddr_gb_s * 1e3 / clock_mhz  # bytes a cycle
    fetch = ceil_div(DESCRIPTOR_BYTES, architecture.word_bytes)
    steps = _steps_by_output(program)
    instructions: list[InstructionCycles] = []
    layers: list[LayerCycles] = []
    start = 0
    for node in graph.nodes:
        own = steps.get(node.output, ())
        formulas = [unit(s.instruction.layout).cycles(s.instruction.values, architecture) for s in own]
        traffic = _traffic(graph, program, node) if own else Traffic(0, 0, 0)
        compute, memory = sum(c.total for c in formulas), traffic.cycles(architecture, ddr)
        wait = max(0, memory - compute)
        for i, (step, formula) in enumerate(zip(own, formulas, strict=True)):
            last = wait if i == len(own) - 1 else 0
            name = step.instruction.layout.name
            instructions.append(
                InstructionCycles(
                    len(instructions), name, node.origin, node.output, start, fetch, formula.total, last, dict(formula.parts)
                )
            )
            start += instructions[-1].cycles
        macs = node_macs(graph, node)
        layers.append(
            LayerCycles(
                node.origin, node.output, node.op, macs, len(own), fetch * len(own), compute, memory, wait if own else 0, traffic
            )
        )
    return CycleReport(tuple(instructions), tuple(layers), architecture.pi * architecture.po, clock_mhz)


def _steps_by_output(program: Program) -> dict[str, tuple[Step, ...]]:
    """Instructions by the tensor that they compute; those before a completing one belong to it."""
    found: dict[str, tuple[Step, ...]] = {}
    open_steps: list[Step] = []
    for step in program.steps:
        open_steps.append(step)
        if step.completes is not None:
            found[step.completes] = tuple(open_steps)
            open_steps = []
    return found


def _traffic(graph: Graph, program: Program, node: Node) -> Traffic:
    formats = graph.formats(node)
    read = [format_lines(f) for name, f in zip(node.inputs, formats, strict=True) if name not in graph.constants]
    weights = sum(p.bytes for p in program.parameters if p.name.startswith(f"{node.output}/"))
    return Traffic(weights, sum(read) * LINE_BYTES, format_lines(graph.tensors[node.output].format) * LINE_BYTES)


def chrome_trace(report: CycleReport) -> dict[str, Any]:
    """The timeline as a Chrome or Perfetto trace: one track a unit, times in microseconds."""
    tracks = {"descriptor fetch": 0, "memory wait": 1}
    tracks |= {name: 2 + i for i, name in enumerate(report.by_unit())}
    events: list[dict[str, Any]] = [
        {
            "ph": "M",
            "name": "process_name",
            "pid": 1,
            "tid": 0,
            "args": {"name": f"EdgeFlow, predicted at {report.clock_mhz:g} MHz"},
        }
    ]
    for name, track in tracks.items():
        events.append({"ph": "M", "name": "thread_name", "pid": 1, "tid": track, "args": {"name": name}})
        events.append({"ph": "M", "name": "thread_sort_index", "pid": 1, "tid": track, "args": {"sort_index": track}})
    for i in report.instructions:
        pieces = (("descriptor fetch", i.fetch), (i.unit, i.compute), ("memory wait", i.wait))
        time = i.start
        for name, cycles in pieces:
            if cycles:
                events.append(
                    {
                        "ph": "X",
                        "name": i.node,
                        "cat": i.unit,
                        "pid": 1,
                        "tid": tracks[name],
                        "ts": time / report.clock_mhz,
                        "dur": cycles / report.clock_mhz,
                        "args": {
                            "instruction": i.index,
                            "output": i.output,
                            "cycles": cycles,
                            **({f"{part} (cycles)": n for part, n in i.parts.items()} if name == i.unit else {}),
                        },
                    }
                )
            time += cycles
    return {"traceEvents": events, "displayTimeUnit": "ns", "otherData": {"cycles": report.cycles, "predicted": True}}


def write_trace(report: CycleReport, path: Path) -> None:
    """Write :func:`chrome_trace` as JSON; open it in chrome://tracing or Perfetto."""
    path.write_text(json.dumps(chrome_trace(report)) + "\n")
