"""``report.html``: one self-contained page, rendered from the report document alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import jinja2

from edgeflow.sw.report import charts, svg
from edgeflow.sw.report.schema import Report

GLOSSARY = {
    "predicted": "Computed from formulas of trip counts. Nothing was measured on a board; memory latency is left out.",
    "latency": "Time from the first instruction to the last for one sample, at the target clock.",
    "MAC": "Multiply-accumulate: one multiplication and one addition.",
    "MAC utilization": "Useful multiply-accumulates divided by those that the MAC array could have done in the same cycles.",
    "SQNR": "Signal-to-quantization-noise ratio in decibels: 10 log10 of signal power over the power of the difference between the "
    "integer network and the float model. 20 dB more is a tenth of the error.",
    "top-1 agreement": "Share of samples for which the integer network and the float model name the same class.",
    "observer": "The rule that chose a range: the extremes seen (minmax), a percentile, or the clipping of least squared "
    "error (mse).",
    "clipped": "Values beyond the range saturate at its end.",
    "calibration": "Running sample inputs through the float model to see which ranges its tensors take.",
    "PI x PO": "The MAC array's size: PI input channels times PO output channels in one cycle.",
    "DSP": "A multiplier block of the FPGA.",
    "BRAM36": "A block memory of 36 kilobits.",
    "URAM": "A block memory of 288 kilobits (UltraRAM).",
    "view": "A tensor that already lies inside another one, so that nothing is moved.",
    "overflow proof": "For every intermediate value of the C++ the exact worst case over all possible inputs, for these weights, "
    "compared with the width of its register.",
}


def render(report: Report) -> str:
    """The page as a string; it refers to nothing outside itself."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).resolve().parent),
        autoescape=jinja2.select_autoescape(("j2",)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"si": svg.si, "size": svg.size, "thousands": svg.thousands, "breakable": svg.breakable}
    style = (Path(__file__).resolve().parent / "report.css").read_text()
    return environment.get_template("report.html.j2").render(
        report=report,
        style=style,
        glossary=GLOSSARY,
        colours=charts.unit_colours(report),
        layer_chart=charts.layer_chart(report),
        range_chart=charts.range_chart(report.ranges),
        memory_chart=charts.memory_chart(report.memory, report.layers),
        storage={charts.storage_class(p.bits) for p in report.memory.placements},
        repeated={name for name, count in Counter(layer.name for layer in report.layers).items() if count > 1},
        tightest=charts.tightest(report),
        slowest=max((layer.cycles for layer in report.layers), default=1) or 1,
        resource_names={"dsp": "DSP", "bram36": "BRAM36", "uram": "URAM", "lut": "LUT", "ff": "FF"},
    )
