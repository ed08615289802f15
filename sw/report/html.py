"""``report.html``: one self-contained page, rendered from the report document alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edgeflow.sw.report import charts, quantization_charts, svg, timeline
from edgeflow.sw.report.pages import FOLDER, page
from edgeflow.sw.report.schema import Layer, Report, Technique
from edgeflow.sw.report.svg import size

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
    "sensitivity": "The rise of the loss that a layer's rounding errors lead to expect: the trace of the Hessian times the mean "
    "square of the errors.",
    "front": "The allocations of bits that no other one beats in both, cost and expected loss.",
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


def bit_label(report: Report) -> str:
    """Bits of weights and of activations, as short as can be; those of more than 8 bits are the residual stream and outputs."""
    layers = quantization_charts.multiplied(report)
    widths = {
        "W": {layer.weight_bits for layer in layers if layer.weight_bits is not None},
        "A": {layer.activation_bits for layer in report.layers if layer.activation_bits <= 8},
    }
    texts = [name + "–".join(map(str, sorted({min(bits), max(bits)}))) for name, bits in widths.items() if bits]
    return "\u00a0".join(texts) or "–"


def worst_layer(report: Report) -> tuple[int, Layer] | None:
    """The layer with the lowest SQNR, and its number."""
    measured = [(i, layer) for i, layer in enumerate(report.layers) if layer.sqnr_db is not None]
    return min(measured, key=lambda pair: pair[1].sqnr_db or 0.0, default=None)


def brought_most(techniques: Sequence[Technique]) -> float:
    """The largest difference in dB that one of the techniques makes."""
    pairs = ((t.with_db, t.without_db) for t in techniques)
    return max((abs(a - b) for a, b in pairs if a is not None and b is not None), default=0.0)


def scratchpad_size(report: Report) -> str:
    """Why the scratchpad is as large as it is, in words."""
    memory = report.memory
    blocks = next((u.bram36 for u in report.unit_resources if u.unit == "scratchpad"), None)
    used, built = memory.narrow_bytes + memory.wide_bytes, memory.narrow.capacity_bytes + memory.wide.capacity_bytes
    least = memory.narrow.least_bytes + memory.wide.least_bytes
    text = f"The scratchpad holds {size(built)}, of which the network uses {size(used)}."
    if blocks is not None:
        text = f"The scratchpad's {blocks} block memories hold {size(built)}, of which the network uses {size(used)}."
    text += (
        f" In every cycle {memory.narrow.banks} lines of 64 bytes are read and as many written, so it has that many banks, each as"
        f" wide as a line, and grows by {size(memory.narrow.least_bytes)} for up to 8 bit and by {size(memory.wide.least_bytes)}"
        " for 16 bit"
    )
    return f"{text}: {size(least)} is the least that it can be." if built == least else f"{text}."


def render(report: Report) -> str:
    """The page as a string; it refers to nothing outside itself."""
    colours, tightest = charts.unit_colours(report), charts.tightest(report)
    choice, rounding = report.bits.choice if report.bits else None, report.quantization.rounding
    return page(
        "report.html.j2",
        {"si": svg.si, "size": svg.size, "thousands": svg.thousands, "breakable": svg.breakable},
        report=report,
        script=(FOLDER / "report.js").read_text(),
        glossary=GLOSSARY,
        colours=colours,
        overview_chart=timeline.overview_chart(report, colours),
        detail_chart=timeline.detail_chart(report, colours),
        roofline_chart=timeline.roofline_chart(report, colours),
        kinds=charts.kinds,
        tested=tested,
        layer_chart=charts.layer_chart(report),
        range_chart=charts.range_chart(report.ranges),
        memory_chart=charts.memory_chart(report.memory, report.layers),
        scratchpad_size=scratchpad_size(report),
        storage={charts.storage_class(p.bits) for p in report.memory.placements},
        bit_label=bit_label(report),
        bits_chart=quantization_charts.bits_chart(report),
        cells_used=quantization_charts.cells_used(report),
        sensitivity_chart=quantization_charts.sensitivity_chart(choice) if choice else "",
        front_chart=quantization_charts.front_chart(choice) if choice and choice.fronts else "",
        chosen_omega=quantization_charts.chosen_omega,
        brought_most=brought_most,
        rounding_chart=quantization_charts.rounding_chart(rounding) if rounding else "",
        rounding_steps=quantization_charts.STEPS,
        worst_layer=worst_layer(report),
        repeated={name for name, count in Counter(layer.name for layer in report.layers).items() if count > 1},
        tightest=tightest,
        closest=min(tightest, key=lambda line: line.width - line.needed, default=None),
        slowest=max((layer.cycles for layer in report.layers), default=1) or 1,
        resource_names={"dsp": "DSP", "bram36": "BRAM36", "uram": "URAM", "lut": "LUT", "ff": "FF"},
    )
