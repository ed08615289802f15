"""A comparison of builds in words and rows, for the terminal and the page alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from edgeflow.hw.cost import RESOURCE_NAMES
from edgeflow.sw.report.comparison import Axis, Comparison
from edgeflow.sw.report.schema import EXACT, Layer, Report, Setting

Kind = Literal["weight bits", "output bits", "cycles", "error"]


@dataclass(frozen=True)
class Figure:
    """A row of the table of figures: its text for every build, and the positions of the builds whose figure is the best."""

    name: str
    texts: tuple[str, ...]
    best: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Strip:
    """What a heat strip shows: for every build its ``values`` by layer, in the order of the comparison's layers, None where nothing
    is known. ``unit``: of a value."""

    kind: Kind
    unit: str
    values: tuple[tuple[float | None, ...], ...]


def figures(comparison: Comparison) -> list[Figure]:
    """The headline figures, resources and bits of all builds."""
    reports = [build.report for build in comparison.builds]

    def row(name: str, text: Callable[[Report], str], axis: str = "") -> Figure:
        best = next((_best(a) for a in comparison.axes if a.name == axis), frozenset[int]())
        return Figure(name, tuple(map(text, reports)), best)

    def accuracy(text: Callable[[Report], str]) -> Callable[[Report], str]:
        return lambda r: text(r) if r.accuracy.meaningful else "not measured"

    rows = [
        row("model", lambda r: r.model) if len({r.model for r in reports}) > 1 else None,
        row("board", lambda r: r.board) if len({r.board for r in reports}) > 1 else None,
        row("clock, MHz", lambda r: f"{r.clock_mhz:g}"),
        row("array", lambda r: f"{r.accelerator.pi} x {r.accelerator.po}"),
        row("latency, ms", lambda r: f"{r.latency_ms:.4g}", "latency"),
        row("frames a second", lambda r: f"{r.fps:,.1f}", "latency"),
        row("cycles", lambda r: f"{r.cycles:,}"),
        row("MAC utilization, %", lambda r: f"{100 * r.mac_utilization:.1f}"),
        row("weights, bytes", lambda r: f"{r.memory.weight_bytes:,}", "weights"),
        *(row(name.upper(), _used(name), name.upper()) for name in RESOURCE_NAMES),
        row("SQNR, dB", accuracy(_sqnr), "SQNR"),
        _shares(comparison, "top-1 agreement, %", lambda r: r.accuracy.top1_agreement, ""),
        _shares(comparison, "top-1 accuracy, %", lambda r: r.accuracy.top1_accuracy, "top-1 accuracy"),
        *_layers_of_bits(reports, "layers with {}-bit weights", lambda layer: layer.weight_bits),
        *_layers_of_bits(reports, "layers with {}-bit outputs", lambda layer: layer.activation_bits),
    ]
    return [line for line in rows if line is not None]


def against_first(comparison: Comparison) -> list[str]:
    """What every further build gains and loses against the first, a line each."""
    first = comparison.labels[0]
    lines = []
    for i, label in enumerate(comparison.labels[1:], 1):
        parts = [text for axis in comparison.axes if (text := _difference(axis, i))]
        lines.append(f"{label} against {first}: {', '.join(parts) or 'equal on every axis'}")
    return lines


def verdicts(comparison: Comparison) -> list[str]:
    """Which build is dominated by which, on which axes, and what is none; a line each."""
    axes = ", ".join(axis.name for axis in comparison.axes)
    lines = [f"{d.worse} is dominated by {d.better}: no better on any axis, worse on one" for d in comparison.dominated]
    lines += [f"{a} and {b} are equal on every axis" for a, b in comparison.equal]
    if not lines:
        lines = ["no build is dominated by another: each is the better one somewhere"]
    lines.append(f"axes: {axes}")
    lines += [f"{name} is no axis: {reason}" for name, reason in comparison.left_out.items()]
    return lines


def strips(comparison: Comparison) -> list[Strip]:
    """Bits, cycles and error by layer; those of which nothing is known are left out."""

    def strip(kind: Kind, unit: str, value: Callable[[Layer], float | None]) -> Strip:
        each = [
            tuple(None if (layer := row.layers[i]) is None else value(layer) for row in comparison.layers)
            for i in range(len(comparison.builds))
        ]
        return Strip(kind, unit, tuple(each))

    every = (
        strip("weight bits", "bits", lambda layer: layer.weight_bits),
        strip("output bits", "bits", lambda layer: layer.activation_bits),
        strip("cycles", "cycles", lambda layer: layer.cycles),
        strip("error", "dB of SQNR", lambda layer: layer.sqnr_db),
    )
    return [strip for strip in every if any(value is not None for values in strip.values for value in values)]


def setting(value: Setting | None) -> str:
    """An option's value as a run file writes it; a dash where there is none."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _best(axis: Axis) -> frozenset[int]:
    """Positions of the best values of an axis; none where all are equal."""
    if len(set(axis.values)) == 1:
        return frozenset()
    best = (min if axis.lower else max)(axis.values)
    return frozenset(i for i, value in enumerate(axis.values) if value == best)


def _used(name: str) -> Callable[[Report], str]:
    def text(report: Report) -> str:
        resource = getattr(report.resources, name)
        return "unknown" if resource.used is None else f"{resource.used:,}"

    return text


def _sqnr(report: Report) -> str:
    if report.accuracy.sqnr_db is not None:
        return f"{report.accuracy.sqnr_db:.1f}"
    return "exact" if any(output.note == EXACT for output in report.accuracy.outputs) else "none"


def _shares(comparison: Comparison, name: str, share: Callable[[Report], float | None], axis: str) -> Figure | None:
    """A row of shares in per cent; None where no build has one."""
    values = [share(build.report) for build in comparison.builds]
    if all(value is None for value in values):
        return None
    best = next((_best(a) for a in comparison.axes if a.name == axis), frozenset[int]())
    return Figure(name, tuple("not measured" if value is None else f"{100 * value:.2f}" for value in values), best)


def _layers_of_bits(reports: Sequence[Report], name: str, bits: Callable[[Layer], int | None]) -> list[Figure]:
    """How many layers have each number of bits, a row for each."""
    counts = [[bits(layer) for layer in report.layers] for report in reports]
    kinds = sorted({kind for each in counts for kind in each if kind is not None})
    return [Figure(name.format(kind), tuple(str(each.count(kind) or "") for each in counts)) for kind in kinds]


def _difference(axis: Axis, other: int) -> str:
    """How a build differs from the first one on an axis, in words; empty where it does not."""
    before, after = axis.values[0], axis.values[other]
    if before == after:
        return ""
    match axis.name:
        case "latency":
            return f"{_per_cent(before, after)} {'faster' if after < before else 'slower'}"
        case "weights":
            return f"weights {_per_cent(before, after)} {'smaller' if after < before else 'larger'}"
        case "SQNR":
            if float("inf") in (before, after):
                return "outputs exact" if after > before else "outputs no longer exact"
            return f"SQNR {abs(after - before):.1f} dB {'lower' if after < before else 'higher'}"
        case "top-1 accuracy":
            return f"top-1 accuracy {100 * abs(after - before):.2f} points {'lower' if after < before else 'higher'}"
    return f"{abs(after - before):,.0f} {axis.name} {'fewer' if after < before else 'more'}"


def _per_cent(before: float, after: float) -> str:
    return f"{100 * abs(1 - after / before):.1f} %"
