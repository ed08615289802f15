"""A comparison of builds as one self-contained page."""

from __future__ import annotations

import math

from markupsafe import Markup

from edgeflow.sw.report import svg
from edgeflow.sw.report.comparison import Comparison
from edgeflow.sw.report.comparison_text import Strip, against_first, figures, setting, strips, verdicts
from edgeflow.sw.report.pages import page
from edgeflow.sw.report.schema import Layer

WIDTH, LEFT, RIGHT = 960, 62, 10
ROW, GAP = 24, 4  # height of a build's line, and what lies between two
FAINTEST = 0.08  # opacity of the least value, so that it is seen

LEGENDS = {
    "weight bits": "Bits of constant matrices: the darker, the more. Blank: the layer has none.",
    "output bits": "Bits of what the layers compute: the darker, the more.",
    "cycles": "Predicted cycles: the darker, the more.",
    "error": "Signal-to-quantization-noise ratio against the float model: the darker, the larger the error. Blank: not measured.",
}


def comparison_page(comparison: Comparison) -> str:
    """The page as a string; it refers to nothing outside itself."""
    return page(
        "comparison.html.j2",
        {"thousands": svg.thousands, "breakable": svg.breakable, "setting": setting},
        comparison=comparison,
        figures=figures(comparison),
        differences=against_first(comparison),
        verdicts=verdicts(comparison),
        strips=[(strip.kind, LEGENDS[strip.kind], _chart(comparison, strip), _range(strip)) for strip in strips(comparison)],
    )


def _chart(comparison: Comparison, strip: Strip) -> Markup:
    """A line of cells for every build, a cell for every layer: the same colours mean the same values in all lines."""
    layers = comparison.layers
    x = svg.Axis(0, max(len(layers), 1), LEFT, WIDTH - RIGHT)
    slot = x(1) - x(0)
    parts = []
    for line, (build, values) in enumerate(zip(comparison.builds, strip.values, strict=True)):
        top = float(line * (ROW + GAP))
        parts.append(svg.tag("text", build.label, x=LEFT - 12, y=top + 16, text_anchor="end", class_="title"))
        for i, (row, value) in enumerate(zip(layers, values, strict=True)):
            layer = row.layers[line]
            if layer is None:
                continue
            cell = {"x": x(i) + 0.3, "y": top, "width": max(slot - 0.6, 0.6), "height": float(ROW)}
            name = svg.tooltip(f"{build.label}, layer {i}: {row.name}", f"{row.tensor}, {row.op}", _said(strip, layer))
            if value is None:
                parts.append(svg.tag("rect", name, class_="unmeasured", **cell))
                continue
            kind = "heat error" if strip.kind == "error" else "heat"
            parts.append(svg.tag("rect", name, class_=kind, style=f"fill-opacity:{_darkness(strip, value):.2f}", **cell))
            if strip.unit == "bits" and slot >= 14:
                parts.append(svg.tag("text", f"{value:.0f}", x=x(i + 0.5), y=top + 16, text_anchor="middle", class_="inside"))
    bottom = len(comparison.builds) * (ROW + GAP)
    step = max(1, int(svg.round_step(max(len(layers), 1) / 20)))
    for i in range(0, len(layers), step):
        parts.append(svg.tag("text", str(i), x=x(i + 0.5), y=float(bottom + 12), text_anchor="middle"))
    return svg.drawing(WIDTH, bottom + 18, f"{strip.kind} of every layer of every build", *parts)


def _known(strip: Strip) -> list[float]:
    return [value for values in strip.values for value in values if value is not None]


def _darkness(strip: Strip, value: float) -> float:
    """Opacity of a value's cell: bits by their logarithm (1 to 16), cycles from 0, error between the extremes."""
    known = _known(strip)
    if strip.unit == "bits":
        share = math.log2(max(value, 1)) / 4
        return min(max(0.6 * share, FAINTEST), 0.8)
    low, high = (0.0 if strip.kind == "cycles" else min(known)), max(known)
    share = (value - low) / (high - low) if high > low else 1.0
    return FAINTEST + (1 - FAINTEST) * (1 - share if strip.kind == "error" else share)


def _range(strip: Strip) -> str:
    """The extremes in words."""
    known = _known(strip)
    if strip.kind == "error":
        return f"{min(known):.1f} to {max(known):.1f} dB."
    return f"{svg.thousands(int(min(known)))} to {svg.thousands(int(max(known)))} {strip.unit}."


def _said(strip: Strip, layer: Layer) -> str:
    match strip.kind:
        case "weight bits":
            return "no constant matrix" if layer.weight_bits is None else f"weights of {layer.weight_bits} bits"
        case "output bits":
            return f"outputs of {layer.activation_bits} bits"
        case "cycles":
            return f"{svg.thousands(layer.cycles)} cycles"
    return f"SQNR {layer.sqnr_db:.1f} dB" if layer.sqnr_db is not None else f"SQNR: {layer.sqnr_note or 'not measured'}"
