"""The charts of ``report.html`` as inline SVG, drawn from the report document. Colours are classes that the style sheet defines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from edgeflow.sw.report.schema import Layer, Memory, Range, Report
from edgeflow.sw.report.svg import Axis, drawing, round_step, si, size, tag, thousands, tooltip

WIDTH = 960
LEFT, RIGHT = 74, 10  # margins for the labels of the vertical axis, and none
PANEL = 150  # height of a memory
MAGNIFIED = 3  # times what is used, from which on a memory is not drawn in full
MEMORIES = {"narrow": "scratchpad, up to 8 bit", "wide": "scratchpad, 9 to 16 bit", "external": "external memory"}
COLOURS = 7  # classes c0 to c6; units beyond share the last


def unit_colours(report: Report) -> dict[str, str]:
    """A colour class for every unit, the busiest first."""
    return {u.unit: f"c{min(i, COLOURS - 1)}" for i, u in enumerate(report.unit_cycles)}


def layer_chart(report: Report) -> Markup:
    """Two panels over the layers in order of execution: cycles as columns, signal-to-noise ratio as dots."""
    layers, colours = report.layers, unit_colours(report)
    x = Axis(0, len(layers), LEFT, WIDTH - RIGHT)
    cycles, sqnr = (24, 190), (238, 380)
    parts = [
        *_panel("cycles", _cycle_axis(layers, *cycles), cycles[0]),
        *_panel("SQNR, dB", _sqnr_axis(layers, *sqnr), sqnr[0]),
        *_layer_ticks(x, len(layers), sqnr[1]),
    ]
    y, z = _cycle_axis(layers, *cycles), _sqnr_axis(layers, *sqnr)
    slot = x(1) - x(0)
    for i, layer in enumerate(layers):
        colour = colours.get(layer.unit, "hollow")
        ratio = f"SQNR {layer.sqnr_db:.1f} dB" if layer.sqnr_db is not None else f"SQNR: {layer.sqnr_note}"
        share = layer.cycles / max(report.cycles, 1)
        marks = [
            tooltip(f"{i}  {layer.name}", f"{layer.op}, {thousands(layer.cycles)} cycles ({share:.1%})", kinds(layer), ratio),
            tag("rect", x=x(i), y=cycles[0], width=slot, height=sqnr[1] - cycles[0], class_="hover"),
        ]
        if layer.cycles:
            width = min(max(slot * 0.72, 1.2), 30.0)
            top = min(y(layer.cycles), cycles[1] - 1.0)
            marks.append(tag("rect", x=x(i + 0.5) - width / 2, y=top, width=width, height=cycles[1] - top, rx=1, class_=colour))
        radius = min(max(slot * 0.28, 1.8), 4.5)
        if layer.sqnr_db is not None:
            marks.append(tag("circle", cx=x(i + 0.5), cy=z(max(layer.sqnr_db, z.low)), r=radius, class_=colour))
        elif layer.sqnr_note is not None and layer.sqnr_note.startswith("exact"):
            marks.append(tag("circle", cx=x(i + 0.5), cy=float(sqnr[0]), r=radius, class_="hollow"))
        parts.append(tag("a", *marks, href=f"#layer-{i}", tabindex="-1"))
    label = "Cycles and signal-to-quantization-noise ratio of every layer"
    return drawing(WIDTH, sqnr[1] + 34, label, *parts, role="group")


def kinds(layer: Layer) -> str:
    """A layer's cycles by kind, those that occur."""
    named = {
        "computing": layer.compute_cycles,
        "filling": layer.fill_cycles,
        "waiting for memory": layer.memory_cycles,
        "waiting for its turn": layer.waiting_cycles,
    }
    return ", ".join(f"{thousands(cycles)} {name}" for name, cycles in named.items() if cycles) or "no cycles"


def _cycle_axis(layers: Sequence[Layer], top: int, bottom: int) -> Axis:
    highest = max((layer.cycles for layer in layers), default=1) or 1
    step = round_step(highest / 4)
    return Axis(0, math.ceil(highest / step) * step, bottom, top)


def _sqnr_axis(layers: Sequence[Layer], top: int, bottom: int) -> Axis:
    known = [layer.sqnr_db for layer in layers if layer.sqnr_db is not None]
    low, high = math.floor(min(known, default=0) / 10) * 10, math.ceil(max(known, default=40) / 10) * 10
    return Axis(low, max(high, low + 10), bottom, top)


def _panel(title: str, y: Axis, top: int) -> Iterator[Markup]:
    yield tag("text", title, x=0, y=top - 10, class_="title")
    for value in y.ticks(4):
        yield tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(value), y2=y(value), class_="grid")
        yield tag("text", si(value), x=LEFT - 8, y=y(value) + 4, text_anchor="end")


def _layer_ticks(x: Axis, count: int, bottom: int) -> Iterator[Markup]:
    step = max(1, int(round_step(max(count, 1) / 20)))
    for i in range(0, count, step):
        yield tag("text", str(i), x=x(i + 0.5), y=bottom + 16, text_anchor="middle")
    yield tag("text", "layer, in order of execution", x=(LEFT + WIDTH - RIGHT) / 2, y=bottom + 32, text_anchor="middle")


def range_chart(ranges: Sequence[Range]) -> Markup:
    """For every tensor the values seen (bar) and the values that its integers cover (band), on an area-sine scale."""
    top, bottom = 24, 270
    largest = max((max(abs(r.minimum), abs(r.maximum), abs(r.clip_low), abs(r.clip_high)) for r in ranges), default=1.0) or 1.0
    unit = 10.0 ** (math.floor(math.log10(largest)) - 1)  # linear up to about here, logarithmic beyond
    lowest = min((min(r.minimum, r.clip_low, -unit) for r in ranges), default=-1.0)
    y = Axis(math.asinh(lowest / unit) - 0.2, math.asinh(largest / unit) + 0.2, bottom, top)

    def place(value: float) -> float:
        return y(math.asinh(value / unit))

    x = Axis(0, max(len(ranges), 1), LEFT, WIDTH - RIGHT)
    slot = x(1) - x(0)
    parts: list[Markup] = [tag("text", "real value", x=0, y=top - 10, class_="title")]
    for value in _decades(unit, lowest, largest):
        kind = "axis" if value == 0 else "grid"
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=place(value), y2=place(value), class_=kind))
        parts.append(tag("text", f"{value:g}".replace("-", "\u2212"), x=LEFT - 8, y=place(value) + 4, text_anchor="end"))
    band, bar = min(slot * 0.84, 26.0), min(max(slot * 0.36, 1.2), 9.0)
    for i, r in enumerate(ranges):
        low, high = max(r.minimum, r.clip_low), min(r.maximum, r.clip_high)
        pieces = [(r.clip_low, r.clip_high, band, "band"), (low, high, bar, "seen")]
        pieces += [(r.clip_high, r.maximum, bar, "clipped")] if r.maximum > r.clip_high else []
        pieces += [(r.minimum, r.clip_low, bar, "clipped")] if r.minimum < r.clip_low else []
        marks = [
            tooltip(
                r.tensor,
                f"seen {r.minimum:.4g} to {r.maximum:.4g}",
                f"covered {r.clip_low:.4g} to {r.clip_high:.4g} in {r.bits} bits ({r.observer}, per {r.granularity})",
            ),
            tag("rect", x=x(i), y=top, width=slot, height=bottom - top, class_="hover"),
        ]
        for a, b, width, kind in pieces:
            height = max(place(a) - place(b), 1.0)
            marks.append(tag("rect", x=x(i + 0.5) - width / 2, y=place(b), width=width, height=height, class_=kind))
        parts.append(tag("g", *marks))
    label = tag("text", "tensor, in order of execution", x=(LEFT + WIDTH - RIGHT) / 2, y=bottom + 20, text_anchor="middle")
    return drawing(WIDTH, bottom + 28, "Range of every quantized tensor: values seen and values covered", *parts, label)


def _decades(unit: float, lowest: float, highest: float) -> list[float]:
    marks = [0.0]
    value = unit
    while value <= highest or value <= -lowest:
        marks += [value] if value <= highest else []
        marks += [-value] if value <= -lowest else []
        value *= 10
    return marks


def storage_class(bits: int) -> str:
    """The colour class of a tensor by the size of its elements in memory: darker is wider."""
    return "m0" if bits <= 8 else "m1" if bits <= 16 else "m2"


def memory_chart(memory: Memory, layers: Sequence[Layer]) -> Markup:
    """Activations as rectangles, a panel for each memory in use: when they are alive (layers) and where they lie (bytes), below the
    line of what the memory holds."""
    end, top = len(layers), 40
    x = Axis(-1, end + 1, LEFT, WIDTH - RIGHT)
    parts: list[Markup] = []
    panels = (
        ("narrow", memory.narrow_bytes, memory.narrow.capacity_bytes),
        ("wide", memory.wide_bytes, memory.wide.capacity_bytes),
        ("external", memory.external_bytes, None),
    )
    for name, used, capacity in panels:
        if used:
            whole = capacity is not None and capacity <= MAGNIFIED * used
            y = Axis(0, capacity if whole and capacity is not None else used, top + PANEL, top)
            parts.extend(_memory_panel(memory, name, y, x, end))
            if capacity is not None:
                parts.extend(_capacity_line(used, capacity, y.stop - (0 if whole else 14)))
            top += PANEL + 50
    bottom = top - 50
    ticks = max(1, int(round_step(max(end, 1) / 20)))
    for i in range(0, end, ticks):
        parts.append(tag("text", str(i), x=x(i + 0.5), y=bottom + 16, text_anchor="middle"))
    parts.append(tag("text", "layer", x=(LEFT + WIDTH - RIGHT) / 2, y=bottom + 32, text_anchor="middle"))
    return drawing(WIDTH, bottom + 38, "Activations in every memory: lifetime and address", *parts)


def _capacity_line(used: int, capacity: int, y: float) -> Iterator[Markup]:
    yield tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="capacity")
    times = capacity / used
    much = f", {times:.3g} times what is used: not to scale" if capacity > MAGNIFIED * used else ""
    yield tag("text", f"capacity {size(capacity)}{much}", x=WIDTH - RIGHT, y=y - 5, text_anchor="end")


def _memory_panel(memory: Memory, name: str, y: Axis, x: Axis, end: int) -> Iterator[Markup]:
    highest = int(y.high)
    yield tag("text", MEMORIES[name], x=0, y=y.stop - 19, class_="title")
    step = 2 ** math.ceil(math.log2(max(highest, 4) / 4))
    for value in range(0, highest + 1, step):
        yield tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(value), y2=y(value), class_="grid")
        yield tag("text", size(value) if value else "0", x=LEFT - 8, y=y(value) + 4, text_anchor="end")
    for p in memory.placements:
        if p.view_of is not None or p.memory != name:
            continue
        left, right = x(p.first_layer), x(min(p.last_layer, end) + 1)
        height = y(p.start_byte) - y(p.start_byte + p.bytes)
        when = f"layers {max(p.first_layer, 0)} to {min(p.last_layer, end - 1)}"
        yield tag(
            "rect",
            tooltip(p.tensor, f"{size(p.bytes)} at byte {thousands(p.start_byte)}, {p.bits} bits", when),
            x=left + 0.5,
            y=y(p.start_byte + p.bytes) + 0.5,
            width=max(right - left - 1, 0.8),
            height=max(height - 1, 0.8),
            class_=f"{storage_class(p.bits)} block",
        )


@dataclass(frozen=True)
class Tightest:
    """One kind of intermediate value: its width, the most bits that any layer needs, and that layer."""

    name: str
    width: int
    needed: int
    layer: str


def tightest(report: Report) -> list[Tightest]:
    """For every kind of intermediate value the layer that comes closest to its width, the widest first."""
    closest: dict[tuple[str, int], Tightest] = {}
    for r in report.proof:
        key = (r.intermediate, r.width_bits)
        if key not in closest or r.needed_bits > closest[key].needed:
            closest[key] = Tightest(r.intermediate, r.width_bits, r.needed_bits, r.layer)
    return sorted(closest.values(), key=lambda line: (-line.width, line.name))
