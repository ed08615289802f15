"""``report.html``: one self-contained page, rendered from the report document alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import jinja2

from edgeflow.sw.report import charts, svg, timeline
from edgeflow.sw.report.schema import Report

GLOSSARY = {
    "predicted": "Simulated from the units' formulas and the board file's memory. Nothing was measured on a board.",
    "latency": "Time from the first instruction to the last for one sample, at the target clock.",
    "MAC": "Multiply-accumulate: one multiplication and one addition.",
    "MAC utilization": "Useful multiply-accumulates divided by those that the array could have done at 8 bit in the same "
    "cycles. The 4-bit mode does two where 8 bit does one: with it the figure may pass 100 %.",
    "GOPS": "10^9 useful operations a second; a multiply-accumulate is two.",
    "compute": "Cycles in which the array multiplies, or a loop of another unit starts an iteration.",
    "fill": "Cycles in which a pipeline fills or drains.",
    "memory wait": "Cycles in which a unit waits for weights or for external memory, or the array only loads weights.",
    "waiting": "Cycles until an instruction's descriptor is there and its unit has been started, and those in which the array "
    "multiplies nothing because its epilogue or attention's other work is longer.",
    "vector": "Cycles of units other than the array: nothing else computes meanwhile.",
    "roofline": "What arithmetic (the flat lines) and memory (the slope) allow, by the operations done for each byte moved.",
    "SQNR": "Signal-to-quantization-noise ratio in decibels: 10 log10 of signal power over the power of the difference between the "
    "integer network and the float model. 20 dB more is a tenth of the error.",
    "top-1 agreement": "Share of samples for which the integer network and the float model name the same class.",
    "top-1 accuracy": "Share of samples for which the integer network names the class of the label.",
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


def tested(report: Report) -> str:
    """The samples that accuracy was measured on."""
    source = "held out of the calibration data" if report.accuracy.data == "held_out" else "of test data"
    return f"{report.accuracy.samples:,} samples {source}"


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
        overview_chart=timeline.overview_chart(report, charts.unit_colours(report)),
        detail_chart=timeline.detail_chart(report, charts.unit_colours(report)),
        roofline_chart=timeline.roofline_chart(report, charts.unit_colours(report)),
        kinds=charts.kinds,
        tested=tested,
        layer_chart=charts.layer_chart(report),
        range_chart=charts.range_chart(report.ranges),
        memory_chart=charts.memory_chart(report.memory, report.layers),
        storage={charts.storage_class(p.bits) for p in report.memory.placements},
        repeated={name for name, count in Counter(layer.name for layer in report.layers).items() if count > 1},
        tightest=charts.tightest(report),
        slowest=max((layer.cycles for layer in report.layers), default=1) or 1,
        resource_names={"dsp": "DSP", "bram36": "BRAM36", "uram": "URAM", "lut": "LUT", "ff": "FF"},
    )
