"""The charts of ``report.html`` that tell of quantization: bits and error by layer, sensitivities, fronts, rounding."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from edgeflow.sw.report.schema import BitChoice, Front, FrontPoint, KeptBudget, Layer, LayerSensitivity, Report, Rounding
from edgeflow.sw.report.svg import Axis, drawing, round_step, si, size, tag, tooltip

WIDTH = 960
LEFT, RIGHT = 108, 10
ROW = 26  # height of a strip of cells
LEGIBLE = 15  # width from which on a cell has its number in it
BITS = (  # the most bits, a colour class, and what it stands for
    (3, "q2", "2 or 3 bits"),
    (4, "q4", "4 bits"),
    (7, "q6", "5 to 7 bits"),
    (8, "q8", "8 bits"),
    (64, "q16", "more than 8 bits"),
)
ERRORS = (  # the least ratio in dB, a colour class, and what it stands for
    (40.0, "e0", "40 dB and more"),
    (30.0, "e1", "30 to 40 dB"),
    (20.0, "e2", "20 to 30 dB"),
    (-math.inf, "e3", "below 20 dB"),
)
LEVELS = 8  # shades of a sensitivity


def bits_class(bits: int) -> str:
    """The colour class of a number of bits: the fewer, the stronger."""
    return next(name for most, name, _ in BITS if bits <= most)


def cells_used(report: Report) -> list[tuple[str, str]]:
    """Classes of the cells that occur in the strips, and what they stand for."""
    layers = multiplied(report)
    used = {bits_class(bits) for layer in layers for bits in (layer.weight_bits, layer.activation_bits) if bits is not None}
    used |= {_error_class(layer.sqnr_db) for layer in layers if layer.sqnr_db is not None}
    return [(name, text) for _, name, text in (*BITS, *ERRORS) if name in used]


def multiplied(report: Report) -> list[Layer]:
    """The layers that bits cost something in: those with multiply-accumulates."""
    return [layer for layer in report.layers if layer.macs]


def bits_chart(report: Report) -> Markup:
    """Strips over the layers with multiply-accumulates: bits of weights and of the output, and what they cost in SQNR."""
    layers = multiplied(report)
    number = {layer.tensor: i for i, layer in enumerate(report.layers)}
    x = Axis(0, max(len(layers), 1), LEFT, WIDTH - RIGHT)
    slot = x(1) - x(0)
    known = [layer.sqnr_db for layer in layers if layer.sqnr_db is not None]
    rows = ["weight bits", "output bits"] + (["SQNR, dB"] if known else [])
    parts = [tag("text", name, x=LEFT - 8, y=row * (ROW + 4) + 21, text_anchor="end") for row, name in enumerate(rows)]
    for i, layer in enumerate(layers):
        marks = [tooltip(f"{number[layer.tensor]}  {layer.name}", *_bits_text(layer))]
        for row, bits in enumerate((layer.weight_bits, layer.activation_bits)):
            marks.extend(_cell(x(i), row, slot, None if bits is None else (bits_class(bits), str(bits))))
        if known:
            ratio = layer.sqnr_db
            shade = None if ratio is None else (_error_class(ratio), f"{ratio:.0f}")
            marks.extend(_cell(x(i), 2, slot, shade))
        parts.append(tag("a", *marks, href=f"#layer-{number[layer.tensor]}", tabindex="-1"))
    bottom = len(rows) * (ROW + 4) + 4
    label = "layers with multiply-accumulates, in order of execution"
    parts.append(tag("text", label, x=(LEFT + WIDTH - RIGHT) / 2, y=bottom + 14, text_anchor="middle"))
    return drawing(
        WIDTH, bottom + 20, "Bits and signal-to-quantization-noise ratio of every layer that multiplies", *parts, role="group"
    )


def _bits_text(layer: Layer) -> tuple[str, ...]:
    weights = "no weights" if layer.weight_bits is None else f"weights {layer.weight_bits} bits"
    ratio = f"SQNR {layer.sqnr_db:.1f} dB" if layer.sqnr_db is not None else f"SQNR: {layer.sqnr_note}"
    return f"{weights}, output {layer.activation_bits} bits", ratio


def _error_class(ratio: float) -> str:
    return next(name for least, name, _ in ERRORS if ratio >= least)


def _cell(left: float, row: int, slot: float, content: tuple[str, str] | None) -> Iterator[Markup]:
    top, gap = 4 + row * (ROW + 4), min(2.0, slot * 0.15)
    kind, text = content or ("none", "")
    yield tag("rect", x=left, y=top, width=slot - gap, height=ROW, rx=2, class_=f"{kind} cell")
    if text and slot >= LEGIBLE:
        yield tag("text", text, x=left + (slot - gap) / 2, y=top + ROW / 2 + 4, text_anchor="middle", class_=f"on-{kind}")


def sensitivity_chart(choice: BitChoice) -> Markup:
    """A column a layer of the float model, a row a choice of bits: expected rise of the loss as shades, what was taken framed."""
    layers = choice.layers
    pairs = sorted({(o.weight_bits, o.activation_bits) for layer in layers for o in layer.omega}, reverse=True)
    one_width = len({activation for _, activation in pairs}) == 1
    values = [o.omega for layer in layers for o in layer.omega if o.omega > 0]
    low, high = (math.log10(min(values)), math.log10(max(values))) if values else (0.0, 1.0)
    height = 20
    x = Axis(0, max(len(layers), 1), LEFT, WIDTH - RIGHT)
    slot = x(1) - x(0)
    parts: list[Markup] = []
    for row, (weight, activation) in enumerate(pairs):
        name = f"{weight} bits" if one_width else f"W{weight} A{activation}"
        parts.append(tag("text", name, x=LEFT - 8, y=row * height + 18, text_anchor="end"))
    frames: list[Markup] = []
    for i, layer in enumerate(layers):
        for o in layer.omega:
            row = pairs.index((o.weight_bits, o.activation_bits))
            level = _level(o.omega, low, high)
            taken = (o.weight_bits, o.activation_bits) == (layer.weight_bits, layer.activation_bits)
            text = tooltip(
                layer.name,
                f"weights {o.weight_bits} bits, input {o.activation_bits} bits: rise of the loss {o.omega:.3g}",
                *(["taken"] if taken else []),
            )
            place = {"x": x(i), "y": float(4 + row * height), "width": slot - min(2.0, slot * 0.15), "height": float(height - 2)}
            parts.append(tag("rect", text, **place, rx=2, class_=f"s{level} cell"))
            if taken:
                frames.append(tag("rect", **place, rx=2, class_="taken"))
    bottom = len(pairs) * height + 4
    label = "layers of the float model, in order"
    parts.append(tag("text", label, x=(LEFT + WIDTH - RIGHT) / 2, y=bottom + 16, text_anchor="middle"))
    return drawing(WIDTH, bottom + 22, "Sensitivity of every layer to every choice of bits", *parts, *frames)


def _level(omega: float, low: float, high: float) -> int:
    if omega <= 0 or high == low:
        return 0
    return min(LEVELS - 1, int(LEVELS * (math.log10(omega) - low) / (high - low)))


def chosen_omega(layer: LayerSensitivity) -> float | None:
    """The expected rise of the loss with the bits that a layer has; None where that was not computed."""
    bits = layer.weight_bits, layer.activation_bits
    return next((o.omega for o in layer.omega if (o.weight_bits, o.activation_bits) == bits), None)


def front_chart(choice: BitChoice) -> Markup:
    """A panel for each cost: the least expected rise of the loss, equal bits for all layers, what was taken, and limits."""
    fronts, gap = choice.fronts, 84
    width = (WIDTH - LEFT - RIGHT - gap * (len(fronts) - 1)) / max(len(fronts), 1)
    values = [p.omega for f in fronts for p in (*f.points, *f.uniform, f.taken) if p.omega > 0]
    low, high = (math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))) if values else (0, 1)
    y = Axis(low, max(high, low + 1), 250, 30)
    limits = {budget.name: budget for budget in choice.budgets}
    parts: list[Markup] = [tag("text", "expected rise of the loss", x=0, y=14, class_="title")]
    for i, front in enumerate(fronts):
        left = LEFT + i * (width + gap)
        parts.extend(_front_panel(front, y, left, left + width, limits.get(front.cost)))
    return drawing(WIDTH, 300, "Fronts of expected loss against cost, with the allocation that was taken", *parts)


def _front_panel(front: Front, y: Axis, left: float, right: float, limit: KeptBudget | None) -> Iterator[Markup]:
    points = [*front.points, *front.uniform, front.taken]
    costs = [p.cost for p in points] + ([limit.limit] if limit else [])
    low, high = min(costs), max(costs)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    x = Axis(low - margin, high + margin, left, right)
    for power in range(int(y.low), int(y.high) + 1):
        yield tag("line", x1=left, x2=right, y1=y(power), y2=y(power), class_="grid")
        yield tag("text", f"{10.0**power:.0e}".replace("e-0", "e-"), x=left - 8, y=y(power) + 4, text_anchor="end")
    scale = 1024.0 if front.unit == "bytes" else 1.0
    for value in (scale * tick for tick in Axis(x.low / scale, x.high / scale, left, right).ticks(4)):
        yield tag("text", _cost(value, front.unit), x=x(value), y=266, text_anchor="middle")
    predicted = ", predicted" if front.cost == "latency" else ""
    yield tag("text", f"{front.cost} ({front.unit}{predicted})", x=(left + right) / 2, y=286, text_anchor="middle")
    if limit is not None:
        text = f"limit {limit.budget}: {_cost(limit.limit, front.unit)}"
        yield tag("line", tooltip(text), x1=x(limit.limit), x2=x(limit.limit), y1=30, y2=250, class_="capacity")
    steps: list[str] = []
    for before, point in zip([None, *front.points], front.points, strict=False):
        steps += [f"{x(point.cost):.1f},{_height(y, before.omega):.1f}"] if before is not None else []
        steps.append(f"{x(point.cost):.1f},{_height(y, point.omega):.1f}")
    yield tag("polyline", points=" ".join(steps), class_="front")
    for kind, name, radius, line in (("ring", "equal bits", 4.0, front.uniform), ("seen", "front", 3.2, front.points)):
        for p in line:
            yield tag("circle", _point_text(name, p, front), cx=x(p.cost), cy=_height(y, p.omega), r=radius, class_=kind)
    taken = front.taken
    yield tag("circle", _point_text("taken", taken, front), cx=x(taken.cost), cy=_height(y, taken.omega), r=6.0, class_="chosen")


def _height(y: Axis, omega: float) -> float:
    return y(math.log10(omega)) if omega > 0 else y.start


def _point_text(name: str, point: FrontPoint, front: Front) -> Markup:
    return tooltip(f"{name}: {_cost(point.cost, front.unit)}", f"rise of the loss {point.omega:.3g}")


def _cost(value: float, unit: str) -> str:
    return size(round(value)) if unit == "bytes" else f"{value:.3g}\u00a0{unit}" if unit == "ms" else si(value)


STEPS = (
    ("nearest_db", "rounded to nearest", "hollow"),
    ("bias_correction_db", "bias corrected", "c6"),
    ("input_correction_db", "fitted to the quantized input", "c2"),
    ("compensated_db", "errors compensated", "c0"),
)


def rounding_chart(rounding: Sequence[Rounding]) -> Markup:
    """For every layer with compensated rounding its SQNR after each step."""
    ratios = [getattr(line, name) for line in rounding for name, _, _ in STEPS]
    low, high = math.floor(min(ratios) / 5) * 5, math.ceil(max(ratios) / 5) * 5
    y = Axis(low, max(high, low + 5), 200, 26)
    x = Axis(0, len(rounding), LEFT, WIDTH - RIGHT)
    parts = [tag("text", "SQNR of the layer alone, dB", x=0, y=14, class_="title")]
    for value in y.ticks(4):
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(value), y2=y(value), class_="grid"))
        parts.append(tag("text", si(value), x=LEFT - 8, y=y(value) + 4, text_anchor="end"))
    slot = x(1) - x(0)
    for i, line in enumerate(rounding):
        values = [getattr(line, name) for name, _, _ in STEPS]
        lines = (f"{value:.1f} dB {text}" for value, (_, text, _) in zip(values, STEPS, strict=True))
        marks = [
            tooltip(line.tensor, *lines),
            tag("rect", x=x(i), y=26, width=slot, height=174, class_="hover"),
            tag("line", x1=x(i + 0.5), x2=x(i + 0.5), y1=y(min(values)), y2=y(max(values)), class_="axis"),
        ]
        radius = min(max(slot * 0.22, 1.8), 4.5)
        for value, (_, _, kind) in zip(values, STEPS, strict=True):
            marks.append(tag("circle", cx=x(i + 0.5), cy=y(value), r=radius, class_=kind))
        parts.append(tag("g", *marks))
    step = max(1, int(round_step(max(len(rounding), 1) / 20)))
    for i in range(0, len(rounding), step):
        parts.append(tag("text", str(i), x=x(i + 0.5), y=216, text_anchor="middle"))
    label = "layers with compensated rounding, in order of execution"
    parts.append(tag("text", label, x=(LEFT + WIDTH - RIGHT) / 2, y=232, text_anchor="middle"))
    return drawing(WIDTH, 238, "What each step of rounding brought every layer", *parts)
