"""The parts of the report that tell of the predicted execution: limits, units, and the timeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeflow.hw.architecture import LINE_BYTES
from edgeflow.sim.cycles import CycleReport, InstructionCycles, LayerCycles, roofline
from edgeflow.sw.report import schema

SPANS = 600  # most spans of a timeline; beyond, neighbours of a track and layer are joined
LEVELS = 200  # stretches of the queue's curve, each with its lowest and highest point


def limits(cycles: CycleReport) -> schema.Limits:
    """What no schedule can pass."""
    roof = roofline(cycles)
    return schema.Limits(
        mac_cycles=cycles.limits.macs,
        ddr_cycles=cycles.limits.ddr,
        peak_gops=roof.peak_gops,
        quad_gops=roof.quad_gops,
        usable_gb_s=roof.ddr_gb_s,
    )


def traffic(cycles: CycleReport) -> schema.Traffic:
    """Bytes that cross the AXI ports for one sample."""
    total = cycles.traffic
    return schema.Traffic(
        weight_bytes=total.weights, read_bytes=total.read, written_bytes=total.written, descriptor_bytes=total.descriptors
    )


def unit_cycles(cycles: CycleReport) -> list[schema.UnitCycles]:
    """Cycles by unit, the busiest first, and what each spends them on."""
    parts, exposed = cycles.parts(), cycles.exposed()
    counts: dict[str, int] = {}
    for i in cycles.instructions:
        counts[i.unit] = counts.get(i.unit, 0) + 1
    return [
        schema.UnitCycles(
            unit=name,
            exposed=name in exposed,
            cycles=total,
            instructions=counts[name],
            parts={part: count for part, count in parts[name].items() if count},
        )
        for name, total in cycles.by_unit().items()
    ]


def timeline(cycles: CycleReport) -> schema.Timeline:
    """The whole sample by layer and unit, and one block of the network by instruction."""
    index = {layer.output: i for i, layer in enumerate(cycles.layers)}
    first, last = repeated_block(cycles.layers)
    own = [i for i in cycles.instructions if first <= index[i.output] <= last]
    start, end = (own[0].start, own[-1].end) if own else (0, 0)
    return schema.Timeline(
        first_layer=first,
        last_layer=last,
        overview=_joined([_span(i, index) for i in cycles.instructions], len(cycles.instructions)),
        detail=_limited([_span(i, index) for i in own]),
        fetches=_limited(list(_fetches(cycles, index, start, end))),
        queue=list(_queue(cycles, start, end)),
    )


def repeated_block(layers: Sequence[LayerCycles]) -> tuple[int, int]:
    """First and last index of one repetition of the network's repeated block: the middle one of the longest run of layers that
    repeats itself; all layers where nothing does."""
    kinds = [(layer.op, layer.macs, layer.instructions) for layer in layers]
    best = (0, 0, 0)  # layers covered, minus the period, where the run starts
    for period in range(2, len(kinds) // 2 + 1):
        run = 0
        for i in range(len(kinds) - period):
            run = run + 1 if kinds[i] == kinds[i + period] else 0
            if run >= period:
                best = max(best, (run + period, -period, i - run + 1))
    covered, period, start = best[0], -best[1], best[2]
    if not covered:
        return 0, len(layers) - 1
    first = start + (covered // period - 1) // 2 * period
    return first, first + period - 1


def _span(i: InstructionCycles, index: dict[str, int]) -> schema.Span:
    return schema.Span(track=i.unit, layer=index[i.output], start_cycle=i.begin, end_cycle=i.end)


def _fetches(cycles: CycleReport, index: dict[str, int], start: int, end: int) -> Iterator[schema.Span]:
    """The weights that are fetched between two cycles; descriptors and latency are the gaps between."""
    for i in cycles.instructions:
        _, _, first, last = i.fetched
        if last > first and last > start and first < end:
            yield schema.Span(
                track="fetch", layer=index[i.output], start_cycle=max(int(first), start), end_cycle=min(int(last) + 1, end)
            )


def _limited(spans: list[schema.Span]) -> list[schema.Span]:
    """At most about :data:`SPANS` spans."""
    return _joined(spans, -(-len(spans) // SPANS))


def _joined(spans: list[schema.Span], most: int) -> list[schema.Span]:
    """Neighbours of one track and layer as one span, up to ``most`` of them."""
    joined: list[schema.Span] = []
    count = 0
    for span in spans:
        last = joined[-1] if joined else None
        if last is not None and (last.track, last.layer) == (span.track, span.layer) and count < most:
            joined[-1] = last.model_copy(update={"end_cycle": span.end_cycle})
            count += 1
        else:
            joined.append(span)
            count = 1
    return joined


def _queue(cycles: CycleReport, start: int, end: int) -> Iterator[schema.QueueLevel]:
    """The queue's level between two cycles: the lowest and the highest point of every stretch."""
    lines = cycles.stream_bytes / LINE_BYTES
    stretches: dict[int, list[tuple[float, float]]] = {}
    for sample in cycles.schedule.samples:
        if start <= sample.time <= end:
            which = int((sample.time - start) * LEVELS / max(end - start, 1))
            stretches.setdefault(which, []).append((sample.time, sample.level * lines))
    for points in stretches.values():
        for time, level in sorted({min(points, key=lambda p: p[1]), max(points, key=lambda p: p[1])}):
            yield schema.QueueLevel(cycle=time, lines=level)
