"""What ``edgeflow cycles`` shows: a prediction as a document, and drawn for a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeflow.hw.cost import Unknown
from edgeflow.sw.cli.console import facts, table
from edgeflow.sw.cli.summaries import least_cycles

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from edgeflow.sim.cycles import CycleReport, LayerCycles, Traffic


def prediction(report: CycleReport) -> dict[str, Any]:
    """The figures as JSON: cycles by kind, unit and layer; limits; ``gops_per_dsp`` null with a reason where it is unknown."""
    each = report.gops_per_dsp
    unknown = isinstance(each, Unknown)
    return {
        "predicted": True,
        "cycles": report.cycles,
        **report.split(),
        "clock_mhz": report.clock_mhz,
        "latency_ms": report.latency_ms,
        "fps": report.fps,
        "macs": report.macs,
        "mac_utilization": report.mac_utilization,
        "gops": report.gops,
        "dsp": None if isinstance(report.dsp, Unknown) else report.dsp,
        "gops_per_dsp": None if unknown else each,
        "gops_per_dsp_unknown": each.reason if isinstance(each, Unknown) else None,
        "limits": {"mac_cycles": report.limits.macs, "ddr_cycles": report.limits.ddr},
        "traffic_bytes": _bytes(report.traffic),
        "units": report.by_unit(),
        "hidden": report.beside(),
        "not_hidden": report.exposed(),
        "layers": [_layer(report, layer) for layer in report.layers],
    }


def _bytes(traffic: Traffic) -> dict[str, int]:
    return {
        "weights": traffic.weights,
        "read": traffic.read,
        "written": traffic.written,
        "descriptors": traffic.descriptors,
    }


def _layer(report: CycleReport, layer: LayerCycles) -> dict[str, Any]:
    return {
        "name": layer.name,
        "output": layer.output,
        "op": layer.op,
        "macs": layer.macs,
        "instructions": layer.instructions,
        "cycles": layer.cycles,
        "compute": layer.compute,
        "memory": layer.memory,
        "fill": layer.fill,
        "waiting": layer.waiting,
        "vector": layer.vector,
        "traffic_bytes": layer.traffic.total,
        "mac_utilization": _utilization(report, layer),
    }


def _utilization(report: CycleReport, layer: LayerCycles) -> float | None:
    return layer.macs / (layer.cycles * report.mac_units) if layer.macs and layer.cycles else None


def predicted(out: RichConsole, report: CycleReport, trace: Path | None) -> None:
    """Cycles by layer, split by what they go to, then the totals and the limits."""
    total = max(report.cycles, 1)
    table(
        out,
        ("layer", "operator", ">MACs", ">cycles", ">share", ">compute", ">memory", ">fill", ">waiting", ">MAC use"),
        [_row(report, layer, total) for layer in report.layers],
        optional=(">fill", ">waiting", ">memory", ">compute"),
    )
    facts(out, [*_totals(report, total), *_limits(report), *_vector_work(report, total), *_trace(trace)])


def _row(report: CycleReport, layer: LayerCycles, total: int) -> tuple[str, ...]:
    use = _utilization(report, layer)
    counts = (layer.compute, layer.memory, layer.fill, layer.waiting)
    return (
        layer.name,
        layer.op,
        f"{layer.macs:,}" if layer.macs else "",
        f"{layer.cycles:,}",
        f"{100 * layer.cycles / total:.1f} %",
        *(f"{count:,}" if count else "" for count in counts),
        "" if use is None else f"{100 * use:.1f} %",
    )


def _totals(report: CycleReport, total: int) -> list[tuple[str, str]]:
    split = ", ".join(f"{kind} {count:,} ({100 * count / total:.1f} %)" for kind, count in report.split().items())
    each = report.gops_per_dsp
    per_dsp = f"unknown a DSP: {each.reason}" if isinstance(each, Unknown) else f"{each:.3f} a DSP over all {report.dsp:,}"
    return [
        ("cycles", f"{report.cycles:,} (predicted, as are all figures here)"),
        ("split", split),
        ("latency", f"{report.latency_ms:.3f} ms at {report.clock_mhz:g} MHz, {report.fps:,.1f} frames a second"),
        ("MAC utilization", f"{100 * report.mac_utilization:.1f} % of {report.mac_units:,} multiply-adds of 8 bit a cycle"),
        ("GOPS", f"{report.gops:,.1f} useful, {per_dsp}"),
    ]


def _limits(report: CycleReport) -> list[tuple[str, str]]:
    limits, bound = report.limits, "arithmetic" if report.limits.macs >= report.limits.ddr else "memory"
    each = f"{least_cycles(limits.macs, limits.ddr, max(report.cycles, 1))} for {report.traffic.total / 1e6:,.2f} MB"
    off = f"; {report.cycles / limits.cycles:.2f} times the limit of {bound}" if limits.cycles else ""
    return [("limits", each + off)]


def _vector_work(report: CycleReport, total: int) -> list[tuple[str, str]]:
    def listed(units: dict[str, int]) -> str:
        return ", ".join(f"{unit} {n:,} ({100 * n / total:.1f} %)" for unit, n in units.items())

    rows = (("beside the array", report.beside()), ("not hidden behind the array", report.exposed()))
    return [(name, listed(units)) for name, units in rows if units]


def _trace(trace: Path | None) -> list[tuple[str, str]]:
    return [("trace", f"{trace} (open it in Perfetto or chrome://tracing)")] if trace is not None else []
