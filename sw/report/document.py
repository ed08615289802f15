"""Builds the report document (``report.json``) from what the pipeline has made."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Literal, Protocol

from edgeflow.hw.accelerator_options import SHARE
from edgeflow.hw.architecture import LINE_BYTES
from edgeflow.hw.boards import Board
from edgeflow.hw.cost import RESOURCE_NAMES, Count, Unknown
from edgeflow.hw.fit import known_resources, unit_resources
from edgeflow.hw.format_version import FORMAT
from edgeflow.hw.graph import Graph, Node
from edgeflow.hw.layer_names import layer_names
from edgeflow.hw.ops import operator
from edgeflow.hw.program import DESCRIPTOR_BYTES, HEADER_BYTES, Allocation, Program, Stay
from edgeflow.hw.scratchpad_core import BANKS, WIDE_STEP, narrow_step
from edgeflow.quant.convert.conversion import Contribution
from edgeflow.quant.convert.decisions import Selection
from edgeflow.quant.formats.ranges import TensorRange
from edgeflow.quant.integers.compensate import LayerErrors
from edgeflow.sim.cycles import ASSUMPTIONS, CycleReport, LayerCycles, Point, roofline
from edgeflow.sw.measure.samples import Samples
from edgeflow.sw.report import schema
from edgeflow.sw.report.execution import limits, timeline, traffic, unit_cycles

TRACE_FILE = "trace.json.gz"

_LAYER = "index into layers; -1 before the first, the number of layers after the last"
_VALUE = "real value in ranges, integer in proof"
_PRIMITIVES = "FPGA primitives, estimated"

_RATIO = "decibels of signal power over quantization error power"

_CYCLES = "clock cycles for one sample, predicted"

UNITS = {
    "clock_mhz": "MHz, a target",
    "macs": "multiply-accumulates for one sample",
    "cycles": _CYCLES,
    "compute_cycles": _CYCLES,
    "memory_cycles": _CYCLES,
    "fill_cycles": _CYCLES,
    "waiting_cycles": _CYCLES,
    "vector_cycles": _CYCLES,
    "parts": _CYCLES,
    "mac_cycles": "clock cycles for one sample, a lower bound",
    "ddr_cycles": "clock cycles for one sample, a lower bound",
    "start_cycle": "clock cycles since the start of the sample",
    "end_cycle": "clock cycles since the start of the sample",
    "cycle": "clock cycles since the start of the sample",
    "lines": "lines of 64 bytes",
    "gops": "useful 10^9 operations a second, two a multiply-accumulate, predicted",
    "gops_per_dsp": "useful 10^9 operations a second over all DSP slices, predicted",
    "peak_gops": "10^9 operations a second at 8 bit",
    "quad_gops": "10^9 operations a second at 4 bit",
    "usable_gb_s": "10^9 bytes per second",
    "intensity": "useful operations for each byte of external memory",
    "latency_ms": "milliseconds for one sample, predicted",
    "fps": "samples per second, predicted",
    "mac_utilization": "useful multiply-accumulates over cycles x PI x PO, the array's at 8 bit",
    "instructions": "descriptors of the program",
    "dsp": _PRIMITIVES,
    "lut": _PRIMITIVES,
    "ff": _PRIMITIVES,
    "bram36": _PRIMITIVES,
    "uram": _PRIMITIVES,
    "used": _PRIMITIVES,
    "known": _PRIMITIVES,
    "available": "FPGA primitives of the device",
    "sqnr_db": _RATIO,
    "nearest_db": _RATIO,
    "bias_correction_db": _RATIO,
    "input_correction_db": _RATIO,
    "compensated_db": _RATIO,
    "with_db": _RATIO,
    "without_db": _RATIO,
    "top1_agreement": "share of samples whose largest class equals the float model's, 0 to 1",
    "top1_accuracy": "share of samples whose largest class is the label, 0 to 1",
    "float_top1_accuracy": "share of samples whose largest class is the label, 0 to 1",
    "held_out": "samples",
    "samples": "samples",
    "shape": "elements along each axis, for one sample",
    "weight_bits": "bits",
    "activation_bits": "bits",
    "bits": "bits, the sign included",
    "width_bits": "bits, the sign included",
    "needed_bits": "bits, the sign included",
    "axi_bits": "bits",
    "weight_bytes": "bytes",
    "traffic_bytes": "bytes for one sample",
    "read_bytes": "bytes for one sample",
    "written_bytes": "bytes for one sample",
    "descriptor_bytes": "bytes for one sample",
    "narrow_bytes": "bytes",
    "wide_bytes": "bytes",
    "external_bytes": "bytes",
    "capacity_bytes": "bytes",
    "least_bytes": "bytes",
    "banks": "memories that each read and write a line in the same cycle",
    "peak_live_bytes": "bytes",
    "program_bytes": "bytes",
    "start_byte": "bytes",
    "bytes": "bytes",
    "minimum": _VALUE,
    "maximum": _VALUE,
    "clip_low": _VALUE,
    "clip_high": _VALUE,
    "first_layer": _LAYER,
    "last_layer": _LAYER,
    "layer": _LAYER,
    "parameters": "weights",
    "trace": "trace of the Hessian of the loss with respect to the layer's weights",
    "trace_error": "standard error of the trace",
    "omega": "expected rise of the loss",
    "cost": "in the front's own unit",
    "costs": "in the unit of the front of that cost",
    "limit": "in the budget's own unit",
    "reached": "in the budget's own unit",
    "reference": "in the budget's own unit",
    "bounded": "accelerators",
    "simulated": "accelerators",
    "pi": "input channels in a cycle",
    "po": "output channels in a cycle",
    "epilogue": "outputs requantized in a cycle",
    "slots": "steps of pi inputs",
    "weight_ports": "ports",
    "narrow_lines": "lines of 64 bytes",
    "wide_lines": "lines of 64 bytes",
    "stream_lines": "lines of 64 bytes",
    "precisions": "bits",
    "dsp_bits": "bits",
    "vector": "elements in a cycle",
    "max_channels": "channels",
    "max_tokens": "tokens",
    "max_head": "channels",
    "ddr_gb_s": "10^9 bytes per second, peak",
    "ddr_efficiency": "share of the peak, 0 to 1, assumed",
    "ddr_latency_ns": "nanoseconds, assumed",
    "axi_ports": "ports",
    "axi_burst_words": "words",
    "options": "as the run file states them",
    "timings_s": "seconds of the compiler's steps on the machine that ran it",
}


class Reference(Protocol):
    """What the report needs of :class:`edgeflow.sw.measure.reference.Reference`."""

    @property
    def kind(self) -> Literal["original", "canonical"]:
        """Which model accuracy is measured against."""

    @property
    def note(self) -> str | None:
        """Why, or how it ran."""


class Accuracy(Protocol):
    """What the report needs of :class:`edgeflow.sw.measure.accuracy.Accuracy`."""

    @property
    def sqnr_db(self) -> Mapping[str, float]:
        """dB by network output."""

    @property
    def top1_agreement(self) -> float | None:
        """Share of equal largest classes; None where no output is a vector of classes."""

    @property
    def top1_accuracy(self) -> float | None:
        """Share of samples whose largest class is the label; None where labels are not known."""

    @property
    def float_top1_accuracy(self) -> float | None:
        """The same of the float model."""

    @property
    def layers(self) -> Mapping[str, float]:
        """dB by integer tensor."""


@dataclass(frozen=True)
class ReportInputs:
    """What the report is made of. ``accuracy`` on the unseen ones of ``samples``, None without any; ``timings``: seconds by
    pipeline step; ``rounding`` and ``techniques``: what the techniques of quantization brought; ``selection``: which were
    left out where; ``bits``: what fewer than 8 did."""

    model: str
    board: Board
    clock_mhz: float
    graph: Graph
    program: Program
    cycles: CycleReport
    ranges: Mapping[str, TensorRange]
    accuracy: Accuracy | None
    reference: Reference
    samples: Samples
    warnings: Sequence[str]
    timings: Mapping[str, float]
    rounding: Mapping[str, LayerErrors] = field(default_factory=dict)
    techniques: Sequence[Contribution] = ()
    bits: schema.Bits | None = None
    selection: Selection | None = None
    selection_note: str = ""
    search: schema.Search | None = None
    run: schema.Run | None = None


def build(inputs: ReportInputs) -> schema.Report:
    """The report document, validated."""
    cycles, program, board = inputs.cycles, inputs.program, inputs.board
    resources = _resources(inputs)
    return schema.Report(
        version=FORMAT,
        edgeflow=metadata.version("edgeflow"),
        run=inputs.run,
        trace_file=TRACE_FILE,
        model=inputs.model,
        board=board.name,
        clock_mhz=float(inputs.clock_mhz),
        macs=cycles.macs,
        cycles=cycles.cycles,
        latency_ms=cycles.latency_ms,
        fps=cycles.fps,
        mac_utilization=cycles.mac_utilization,
        gops=cycles.gops,
        gops_per_dsp=None if isinstance(cycles.gops_per_dsp, Unknown) else cycles.gops_per_dsp,
        **{f"{kind}_cycles": count for kind, count in cycles.split().items()},
        limits=limits(cycles),
        traffic=traffic(cycles),
        instructions=len(program.steps),
        resources=resources,
        unit_resources=[
            schema.UnitResources(unit=name, part_of=r.part_of or None, **{n: _number(getattr(r, n)) for n in RESOURCE_NAMES})
            for name, r in unit_resources(program.architecture).items()
        ],
        calibration=_calibration(inputs.samples),
        reference=schema.ReferenceModel(kind=inputs.reference.kind, note=inputs.reference.note),
        accuracy=_accuracy(inputs),
        quantization=_quantization(inputs),
        bits=inputs.bits,
        layers=_layers(inputs),
        unit_cycles=unit_cycles(cycles),
        timeline=timeline(cycles),
        ranges=[
            schema.Range(
                tensor=r.name,
                bits=r.bits,
                granularity=r.granularity,
                observer=r.method,
                minimum=float(r.minimum),
                maximum=float(r.maximum),
                clip_low=float(r.clip_low),
                clip_high=float(r.clip_high),
            )
            for r in inputs.ranges.values()
        ],
        proof=_proof(inputs.graph),
        memory=_memory(program, inputs.graph),
        device=schema.Device(
            title=board.title,
            part=board.part,
            family=board.family,
            ddr_gb_s=board.ddr_gb_s,
            ddr_efficiency=board.ddr_efficiency,
            ddr_latency_ns=board.ddr_latency_ns,
            axi_ports=board.axi_ports,
            axi_bits=board.axi_bits,
            axi_burst_words=board.axi_burst_words,
        ),
        accelerator=schema.Accelerator(
            **program.architecture.model_dump(mode="json", include=set(schema.Accelerator.model_fields))
        ),
        search=inputs.search,
        timings_s={name: float(seconds) for name, seconds in inputs.timings.items()},
        warnings=[*inputs.warnings, *_own_warnings(inputs, resources)],
        assumptions=list(ASSUMPTIONS),
        units=UNITS,
    )


def _number(count: Count) -> int | None:
    return None if isinstance(count, Unknown) else count


def _resources(inputs: ReportInputs) -> schema.ResourceTable:
    units, known = unit_resources(inputs.program.architecture), known_resources(inputs.program.architecture)
    table = {}
    for name, available in inputs.board.resources.items():
        reasons: dict[str, list[str]] = {}
        for unit, resources in units.items():
            count = getattr(resources, name)
            if isinstance(count, Unknown):
                reasons.setdefault(count.reason, []).append(unit)
        reason = "; ".join(f"{why} ({', '.join(who)})" for why, who in reasons.items()) or None
        used = None if reason else known[name]
        table[name] = schema.Resource(used=used, available=available, known=known[name], reason=reason)
    return schema.ResourceTable(**table)


def _own_warnings(inputs: ReportInputs, resources: schema.ResourceTable) -> list[str]:
    warnings = []
    if inputs.reference.kind == "canonical":
        warnings.append(
            f"The reference is EdgeFlow's canonical model, which was not compared with the original one: {inputs.reference.note}"
        )
    own = all(line.method == "given" for line in inputs.ranges.values())
    if inputs.samples.random and not own:
        warnings.append(
            "No calibration data was given: ranges were chosen on seeded random inputs, and the network's outputs mean nothing; "
            "pass --calib with real samples."
        )
    warnings += inputs.samples.warnings
    if not own:
        warnings += inputs.samples.guesses
    unknown = []
    for name, r in resources:
        if r.known > r.available:
            warnings.append(f"The accelerator takes {r.known} {name.upper()}, the board has {r.available}: it does not fit.")
        elif r.known > SHARE * r.available:
            warnings.append(
                f"The accelerator takes {r.known} of {r.available} {name.upper()}, more than {SHARE:.0%}: hard to route."
            )
        if r.used is None:
            unknown.append(name.upper())
    if unknown:
        warnings.append(f"Not known before synthesis: {', '.join(unknown)}. Whether they fit the board has not been checked.")
    return warnings


def _ratio(value: float | None, missing: str) -> tuple[float | None, str | None]:
    """A ratio in dB as JSON can hold it, with a note where it is not a finite number."""
    if value is None:
        return None, missing
    if value == math.inf:
        return None, schema.EXACT
    if not math.isfinite(value):
        return None, "the float signal is zero"
    return float(value), None


def _calibration(samples: Samples) -> schema.Calibration:
    unseen = samples.unseen
    held_out = len(unseen) if unseen is not None and unseen.origin == "held_out" else 0
    return schema.Calibration(data="random" if samples.random else "user", samples=len(samples), held_out=held_out)


def _nothing_measured(samples: Samples) -> str:
    return f"not meaningful: {samples.reason}"


def _accuracy(inputs: ReportInputs) -> schema.AccuracyTable:
    accuracy, unseen = inputs.accuracy, inputs.samples.unseen
    if accuracy is None or unseen is None:
        note = _nothing_measured(inputs.samples)
        return schema.AccuracyTable(
            data=None,
            samples=0,
            sqnr_db=None,
            top1_agreement=None,
            top1_accuracy=None,
            float_top1_accuracy=None,
            meaningful=False,
            note=note,
            outputs=[schema.OutputAccuracy(name=name, sqnr_db=None, note=note) for name in inputs.graph.outputs],
        )
    outputs = []
    for name, value in accuracy.sqnr_db.items():
        ratio, note_here = _ratio(value, "not compared")
        outputs.append(schema.OutputAccuracy(name=name, sqnr_db=ratio, note=note_here))
    finite = [o.sqnr_db for o in outputs if o.sqnr_db is not None]
    return schema.AccuracyTable(
        data=unseen.origin,
        samples=len(unseen),
        samples_sha256=unseen.digest(),
        sqnr_db=min(finite, default=None),
        top1_agreement=accuracy.top1_agreement,
        top1_accuracy=accuracy.top1_accuracy,
        float_top1_accuracy=accuracy.float_top1_accuracy,
        meaningful=True,
        note=None,
        outputs=outputs,
    )


def _quantization(inputs: ReportInputs) -> schema.Quantization:
    rounding = [
        schema.Rounding(
            tensor=name,
            nearest_db=e.nearest_db,
            bias_correction_db=e.bias_correction_db,
            input_correction_db=e.input_correction_db,
            compensated_db=e.compensated_db,
        )
        for name, e in inputs.rounding.items()
    ]
    techniques = [
        schema.Technique(
            technique=line.technique,
            output=output,
            with_db=_ratio(ratio, "")[0],
            without_db=_ratio(line.without_db[output], "")[0],
        )
        for line in inputs.techniques
        for output, ratio in line.with_db.items()
    ]
    return schema.Quantization(rounding=rounding, techniques=techniques, selection=_selection(inputs))


def _selection(inputs: ReportInputs) -> schema.Selection | None:
    selection = inputs.selection
    if selection is None:
        return schema.Selection(note=inputs.selection_note) if inputs.selection_note else None
    decisions = [
        schema.Decision(
            technique=line.technique,
            with_db=_ratio(line.with_db, "")[0],
            without_db=_ratio(line.without_db, "")[0],
            sites=line.sites,
            left_out=list(line.left_out),
        )
        for line in selection.decisions
    ]
    return schema.Selection(
        all_db=_ratio(selection.all_db, "")[0],
        none_db=_ratio(selection.none_db, "")[0],
        chosen_db=_ratio(selection.chosen_db, "")[0],
        samples=selection.samples,
        trials=selection.trials,
        trials_allowed=selection.allowed,
        decisions=decisions,
        note=selection.note or None,
    )


def _layers(inputs: ReportInputs) -> list[schema.Layer]:
    points = {point.layer: point for point in roofline(inputs.cycles).layers}
    pairs = zip(inputs.graph.nodes, inputs.cycles.layers, strict=True)
    return [_layer(inputs, node, layer, points.get(i)) for i, (node, layer) in enumerate(pairs)]


def _layer(inputs: ReportInputs, node: Node, layer: LayerCycles, point: Point | None) -> schema.Layer:
    graph, cycles = inputs.graph, inputs.cycles
    ratio: float | None
    note: str | None
    accuracy = inputs.accuracy
    if accuracy is None:
        ratio, note = None, _nothing_measured(inputs.samples)
    else:
        ratio, note = _ratio(accuracy.layers.get(node.output), "no tensor of the float model corresponds")
    return schema.Layer(
        name=layer.name,
        tensor=layer.output,
        op=layer.op,
        unit=operator(node).instruction.name if layer.instructions else "view",
        shape=list(graph.tensors[node.output].shape),
        macs=layer.macs,
        cycles=layer.cycles,
        compute_cycles=layer.compute,
        memory_cycles=layer.memory,
        fill_cycles=layer.fill,
        waiting_cycles=layer.waiting,
        vector_cycles=layer.vector,
        mac_utilization=layer.macs / (layer.cycles * cycles.mac_units) if layer.macs and layer.cycles else None,
        instructions=layer.instructions,
        weight_bits=_weight_bits(graph, node),
        activation_bits=graph.tensors[node.output].qtype.bits,
        weight_bytes=layer.traffic.weights,
        traffic_bytes=layer.traffic.total,
        intensity=point.intensity if point else None,
        gops=point.gops if point else None,
        sqnr_db=ratio,
        sqnr_note=note,
    )


def _weight_bits(graph: Graph, node: Node) -> int | None:
    """Bits of the layer's largest constant matrix; one that a port always takes (a weight) before one that it may take."""
    ports = operator(node).ports
    matrices = []
    for i, value in graph.node_constants(node).items():
        if value.ndim >= 2:
            always = i < len(ports) and ports[i].constant
            matrices.append((always, value.size, graph.tensors[node.inputs[i]].qtype.bits))
    return max(matrices)[2] if matrices else None


def _proof(graph: Graph) -> list[schema.RegisterProof]:
    registers, names = [], layer_names(graph)
    for node in graph.nodes:
        for r in operator(node).registers(graph.formats(node), graph.node_constants(node)):
            registers.append(
                schema.RegisterProof(
                    layer=names[node.output],
                    tensor=node.output,
                    intermediate=r.name,
                    width_bits=r.width.bits,
                    needed_bits=r.width.needed(r.minimum, r.maximum),
                    minimum=r.minimum,
                    maximum=r.maximum,
                )
            )
    return registers


def _memory(program: Program, graph: Graph) -> schema.Memory:
    stays = [stay for a in program.allocations for stay in a.stays]
    live = [_covered([s for s in stays if s.first <= moment <= s.last]) for moment in {s.first for s in stays}]
    layer = _layer_at(program, graph)
    narrow, wide = program.scratch_lines
    lines = program.architecture.narrow_lines, program.architecture.wide_lines
    return schema.Memory(
        narrow=_banks(lines[0], narrow_step(program.architecture.precisions)),
        wide=_banks(lines[1], WIDE_STEP),
        narrow_bytes=narrow * LINE_BYTES,
        wide_bytes=wide * LINE_BYTES,
        external_bytes=program.external_lines * LINE_BYTES,
        peak_live_bytes=max(live, default=0) * LINE_BYTES,
        weight_bytes=len(program.weights),
        program_bytes=HEADER_BYTES + DESCRIPTOR_BYTES * len(program.steps),
        placements=[p for a in program.allocations for p in _placements(a, program.architecture.narrow_lines, layer)],
    )


def _banks(lines: int, least: int) -> schema.Banks:
    return schema.Banks(capacity_bytes=lines * LINE_BYTES, banks=BANKS, least_bytes=least * LINE_BYTES)


def _covered(stays: Sequence[Stay]) -> int:
    """Lines that stays take together; a result may replace one of its operands in place."""
    end = lines = 0
    for stay in sorted(stays, key=lambda s: s.line):
        lines += max(stay.line + stay.lines - max(end, stay.line), 0)
        end = max(end, stay.line + stay.lines)
    return lines


def _layer_at(program: Program, graph: Graph) -> Callable[[int], int]:
    """The layer in which the program's node of an index runs: copies that the compiler has put into the program belong to the layer
    after them."""
    own = {a.tensor: a.first for a in program.allocations if a.view_of is None}
    known = [(own[node.output], i) for i, node in enumerate(graph.nodes) if node.output in own]
    starts = [start for start, _ in known]

    def layer(index: int) -> int:
        at = bisect_left(starts, index)
        return -1 if index < 0 else known[at][1] if at < len(known) else len(graph.nodes)

    return layer


def _placements(allocation: Allocation, border: int, layer: Callable[[int], int]) -> Iterator[schema.Placement]:
    """Where an activation lies: its stays in the scratchpad, and its place in external memory."""
    a = allocation
    places: list[tuple[Literal["narrow", "wide", "external"], int, int, int, int]] = []
    if a.view_of is not None and a.line is not None:
        places.append(("wide" if a.line >= border else "narrow", a.line - border * (a.line >= border), a.lines, a.first, a.last))
    for stay in a.stays:
        wide = stay.line >= border
        places.append(("wide" if wide else "narrow", stay.line - border * wide, stay.lines, stay.first, stay.last))
    if a.external is not None:
        places.append(("external", a.external, a.lines, a.first, a.last))
    for memory, line, lines, first, last in places:
        yield schema.Placement(
            tensor=a.tensor,
            memory=memory,
            start_byte=line * LINE_BYTES,
            bytes=lines * LINE_BYTES,
            bits=a.bits,
            first_layer=layer(first),
            last_layer=layer(last),
            view_of=a.view_of,
        )
