"""The timeline and the roofline of ``report.html`` as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from edgeflow.sw.report.schema import Report, Span
from edgeflow.sw.report.svg import Axis, drawing, si, tag, thousands, tooltip

WIDTH = 960
LEFT, RIGHT = 108, 10
ROW, GAP = 20, 6  # height of a track, and what lies between two
CURVE = 54  # height of the queue's curve


def overview_chart(report: Report, colours: dict[str, str]) -> Markup:
    """The whole sample: a track a unit, a bar for every stretch in which it works for one layer."""
    tracks = [u.unit for u in report.unit_cycles]
    x = Axis(0, max(report.cycles, 1), LEFT, WIDTH - RIGHT)
    bottom = 8 + len(tracks) * (ROW + GAP)
    parts = [*_time_axis(x, report, 8, bottom), *_tracks(report, tracks, report.timeline.overview, x, 8, colours)]
    return drawing(WIDTH, bottom + 38, "Timeline of the whole sample by unit", *parts)


def detail_chart(report: Report, colours: dict[str, str]) -> Markup:
    """One block of the network: fetched weights, the queue that they wait in, and the units, instruction by instruction."""
    line = report.timeline
    spans = [*line.detail, *line.fetches]
    start, end = min((s.start_cycle for s in spans), default=0), max((s.end_cycle for s in spans), default=1)
    x = Axis(start, max(end, start + 1), LEFT, WIDTH - RIGHT)
    used = {s.track for s in line.detail}
    tracks = ["fetch", *(u.unit for u in report.unit_cycles if u.unit in used)]
    top = 8 + CURVE + 2 * GAP
    bottom = top + len(tracks) * (ROW + GAP)
    parts = [
        *_time_axis(x, report, 8, bottom),
        *_queue(report, x, 8),
        *_tracks(report, tracks, spans, x, top, {**colours, "fetch": "seen"}),
    ]
    return drawing(WIDTH, bottom + 38, "Timeline of one block of the network by instruction", *parts)


def _time_axis(x: Axis, report: Report, top: int, bottom: int) -> Iterator[Markup]:
    """Vertical lines at round numbers of microseconds."""
    scale = report.clock_mhz  # cycles a microsecond
    micro = Axis(x.low / scale, x.high / scale, x.start, x.stop)
    for value in micro.ticks(8):
        yield tag("line", x1=micro(value), x2=micro(value), y1=top, y2=bottom, class_="grid")
        yield tag("text", f"{value:g}", x=micro(value), y=bottom + 16, text_anchor="middle")
    label = f"microseconds at {scale:g} MHz, predicted"
    yield tag("text", label, x=(LEFT + WIDTH - RIGHT) / 2, y=bottom + 33, text_anchor="middle")


def _tracks(
    report: Report, tracks: Sequence[str], spans: Sequence[Span], x: Axis, top: int, colours: dict[str, str]
) -> Iterator[Markup]:
    rows = {name: top + i * (ROW + GAP) for i, name in enumerate(tracks)}
    for name, y in rows.items():
        yield tag("text", name, x=LEFT - 8, y=y + ROW - 6, text_anchor="end")
        yield tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y + ROW + 0.5, y2=y + ROW + 0.5, class_="grid")
    for span in spans:
        left, right = x(span.start_cycle), x(span.end_cycle)
        layer = report.layers[span.layer]
        count = span.end_cycle - span.start_cycle
        what = f"weights of layer {span.layer}" if span.track == "fetch" else f"layer {span.layer}"
        yield tag(
            "rect",
            tooltip(f"{what}: {layer.name}", f"{layer.op}, {thousands(count)} cycles from {thousands(span.start_cycle)}"),
            x=left,
            y=rows[span.track],
            width=max(right - left - 0.3, 0.4),
            height=ROW,
            class_=f"{colours[span.track]} span",
        )


def _queue(report: Report, x: Axis, top: int) -> Iterator[Markup]:
    """The queue's level as an area below its capacity."""
    most = report.accelerator.stream_lines
    y = Axis(0, most, top + CURVE, top)
    yield tag("text", "weights queued", x=LEFT - 8, y=top + CURVE / 2 + 4, text_anchor="end")
    yield tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(most), y2=y(most), class_="grid")
    yield tag("text", f"{most} lines", x=LEFT + 4, y=y(most) + 11, class_="small")
    points = report.timeline.queue
    if points:
        line = " ".join(f"{x(p.cycle):.1f},{y(p.lines):.1f}" for p in points)
        base = f"{x(points[-1].cycle):.1f},{y(0):.1f} {x(points[0].cycle):.1f},{y(0):.1f}"
        highest = max(p.lines for p in points)
        yield tag(
            "polygon", tooltip("weight stream's queue", f"at most {highest:.0f} lines"), points=f"{line} {base}", class_="area"
        )


def roofline_chart(report: Report, colours: dict[str, str]) -> Markup:
    """Operations for each byte of external memory against operations a second; a dot a layer, lines for the limits."""
    limits, layers = report.limits, [(i, layer) for i, layer in enumerate(report.layers) if layer.gops]
    roof = max(limits.peak_gops, limits.quad_gops or 0.0)
    total = sum(value for _, value in report.traffic)
    whole = 2 * report.macs / total if total else 0.0
    known = [layer.intensity for _, layer in layers if layer.intensity] + [whole or 1.0, limits.peak_gops / limits.usable_gb_s]
    low, high = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)) + 0.1)
    rates = [layer.gops for _, layer in layers if layer.gops]
    bottom_rate = math.floor(math.log10(min([*rates, roof / 10])))
    top, bottom = 26, 300
    x = Axis(low, high, LEFT, WIDTH - RIGHT)
    y = Axis(bottom_rate, math.log10(roof) + 0.15, bottom, top)
    parts = [tag("text", "GOPS", x=LEFT - 8, y=top - 8, class_="title", text_anchor="end")]
    for power in range(low, high + 1):
        parts.append(tag("line", x1=x(power), x2=x(power), y1=top, y2=bottom, class_="grid"))
        parts.append(tag("text", si(10.0**power), x=x(power), y=bottom + 16, text_anchor="middle"))
    for power in range(bottom_rate, math.floor(y.high) + 1):
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(power), y2=y(power), class_="grid"))
        parts.append(tag("text", si(10.0**power), x=LEFT - 8, y=y(power) + 4, text_anchor="end"))
    parts.extend(_roof(report, x, y))
    for i, layer in layers:
        if not layer.gops or not layer.intensity:
            continue
        place = x(math.log10(layer.intensity)), y(math.log10(layer.gops))
        colour = colours.get(layer.unit, "hollow")
        marks = (
            tooltip(f"{i}  {layer.name}", f"{layer.gops:.4g} GOPS at {layer.intensity:.4g} operations a byte"),
            tag("circle", cx=place[0], cy=place[1], r=4.0, class_=colour),
        )
        parts.append(tag("a", *marks, href=f"#layer-{i}", tabindex="-1"))
    if whole and report.gops:
        ring = tooltip("whole network", f"{report.gops:.4g} GOPS at {whole:.4g} operations a byte")
        across, up = x(math.log10(whole)), y(max(math.log10(report.gops), y.low))
        parts.append(tag("circle", ring, cx=across, cy=up, r=7.0, class_="hollow"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(tag("text", "useful operations for each byte of external memory", x=middle, y=bottom + 33, text_anchor="middle"))
    label = "Roofline: operations a byte against operations a second of every layer"
    return drawing(WIDTH, bottom + 38, label, *parts, role="group")


def _roof(report: Report, x: Axis, y: Axis) -> Iterator[Markup]:
    limits = report.limits
    bandwidth = math.log10(limits.usable_gb_s)
    roofs = [(limits.peak_gops, "8 bit")] + ([(limits.quad_gops, "4 bit")] if limits.quad_gops else [])
    for gops, name in roofs:
        height = math.log10(gops)
        knee = min(max(height - bandwidth, x.low), x.high)
        yield tag("line", x1=x(knee), x2=x(x.high), y1=y(height), y2=y(height), class_="limit")
        label = f"array at {name}: {gops:,.0f} GOPS"
        yield tag("text", label, x=x(x.high) - 6, y=y(height) - 6, text_anchor="end")
    highest = max(math.log10(gops) for gops, _ in roofs)
    left, right = max(x.low, y.low - bandwidth), min(x.high, highest - bandwidth)
    if left < right:
        yield tag("line", x1=x(left), x2=x(right), y1=y(left + bandwidth), y2=y(right + bandwidth), class_="limit")
        label, middle = f"memory: {limits.usable_gb_s:.3g} GB/s", (left + right) / 2
        yield tag("text", label, x=x(middle) - 8, y=y(middle + bandwidth) - 6, text_anchor="end")
