"""The timeline as a trace for Perfetto or chrome://tracing: a track for the layers, for the descriptors and the weights that are
fetched, for the array and for every other unit, and counters for the weight stream's queue and the AXI ports. Times are
microseconds at the target clock."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from edgeflow.hw.architecture import LINE_BYTES
from edgeflow.sim.cycles.model import CycleReport, InstructionCycles

Event = dict[str, Any]

LAYERS, DESCRIPTORS, FETCH, FIRST_UNIT = 1, 2, 3, 4  # tracks


def chrome_trace(report: CycleReport) -> dict[str, Any]:
    """The trace as a document in the Trace Event Format.

    Slices of a unit's track are instructions, with their loops, weights' and memory's delays in ``args`` (cycles). A slice's
    waiting for its descriptor lies before it. Counters: lines of weights in the queue, and 10^9 bytes a second on the weight ports
    and on the other ports.
    """
    array = {i.unit for i in report.instructions if i.array}
    units = sorted(report.by_unit(), key=lambda name: (name not in array, name))
    tracks = {"layers": LAYERS, "descriptors": DESCRIPTORS, "fetch": FETCH} | {name: FIRST_UNIT + i for i, name in enumerate(units)}
    events: list[Event] = [_named("process_name", 0, {"name": f"EdgeFlow, predicted at {report.clock_mhz:g} MHz"})]
    for name, track in tracks.items():
        events.append(_named("thread_name", track, {"name": name}))
        events.append(_named("thread_sort_index", track, {"sort_index": track}))
    events.extend(_layers(report))
    for i in report.instructions:
        events.extend(_fetch(report, i))
        events.append(_run(report, i, tracks[i.unit]))
    events.extend(_counters(report))
    return {"traceEvents": events, "displayTimeUnit": "ns", "otherData": {"cycles": report.cycles, "predicted": True}}


def _named(kind: str, track: int, args: Event) -> Event:
    return {"ph": "M", "name": kind, "pid": 1, "tid": track, "args": args}


def _slice(report: CycleReport, name: str, track: int, start: float, end: float, args: Event) -> Event:
    scale = 1 / report.clock_mhz
    return {"ph": "X", "name": name, "pid": 1, "tid": track, "ts": start * scale, "dur": (end - start) * scale, "args": args}


def _layers(report: CycleReport) -> Iterator[Event]:
    """A slice for every stretch of instructions of one layer: several for a layer that is computed in blocks of rows."""
    layers = {layer.output: (number, layer) for number, layer in enumerate(report.layers)}
    for output, stretch in groupby(report.instructions, key=lambda i: i.output):
        instructions = list(stretch)
        number, layer = layers[output]
        first, last = instructions[0], instructions[-1]
        args = {"layer": number, "operator": layer.op, "output": output, "instructions": len(instructions)}
        args |= {"cycles of the whole layer": layer.cycles, "macs of the whole layer": layer.macs}
        yield {**_slice(report, layer.name, LAYERS, first.begin, last.end, args), "cat": layer.op}


def _fetch(report: CycleReport, i: InstructionCycles) -> Iterator[Event]:
    asked, descriptor, first, last = i.fetched
    yield _slice(report, "descriptor", DESCRIPTORS, asked, descriptor, {"instruction": i.index})
    if last > first:
        yield _slice(report, f"weights of {i.node}", FETCH, first, last, {"instruction": i.index})


def _run(report: CycleReport, i: InstructionCycles, track: int) -> Event:
    kinds = {kind: getattr(i, kind) for kind in ("compute", "fill", "memory", "waiting")}
    loops = {f"{name} (cycles)": cycles for name, cycles in i.parts.items()}
    args = {"instruction": i.index, "output": i.output, **kinds, **loops, "bytes": i.traffic.total}
    return {**_slice(report, i.node, track, i.begin, i.end, args), "cat": i.unit}


def _counters(report: CycleReport) -> Iterator[Event]:
    words_a_line = LINE_BYTES / report.stream_bytes
    to_gb_s = report.clock_mhz / 1e3
    before: tuple[float, ...] = ()
    for sample in report.schedule.samples:
        time = sample.time / report.clock_mhz
        queue = round(sample.level / words_a_line, 3)
        yield {"ph": "C", "name": "weight stream queue", "pid": 1, "tid": 0, "ts": time, "args": {"lines": queue}}
        ports = (round(sample.weights * to_gb_s, 4), round(sample.data * to_gb_s, 4))
        if ports != before:
            args = {"weights": ports[0], "activations and constants": ports[1]}
            yield {"ph": "C", "name": "DDR ports, GB/s", "pid": 1, "tid": 0, "ts": time, "args": args}
            before = ports


def trace_file(report: CycleReport, *, compressed: bool = False) -> bytes:
    """The contents of a file with :func:`chrome_trace` as JSON, or the same as gzip; Perfetto and chrome://tracing open either."""
    content = f"{json.dumps(chrome_trace(report))}\n".encode()
    return gzip.compress(content, 6, mtime=0) if compressed else content
