"""The roofline: operations a second that arithmetic intensity allows, and where the layers of a network lie below it.

S. Williams, A. Waterman, D. Patterson: Roofline, an insightful visual performance model, CACM 52(4), 2009.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeflow.sim.cycles.model import CycleReport


@dataclass(frozen=True)
class Point:
    """A layer: useful operations for each byte that crosses the AXI ports, useful 10^9 operations a second. ``layer`` counts the
    nodes of the integer graph."""

    layer: int
    name: str
    intensity: float
    gops: float


@dataclass(frozen=True)
class Roofline:
    """The limits: ``peak_gops`` of the array at 8 bit, ``quad_gops`` in its 4-bit mode if a layer uses it, ``ddr_gb_s`` that the
    memory delivers; and the layers that have multiply-accumulates, then the whole network."""

    peak_gops: float
    quad_gops: float | None
    ddr_gb_s: float
    layers: tuple[Point, ...]
    network: Point | None


def roofline(report: CycleReport) -> Roofline:
    """Points and limits of a predicted execution."""
    per_cycle = report.clock_mhz * 1e6 / 1e9  # cycles to 10^9 a second
    points = tuple(
        Point(i, layer.name, 2 * layer.macs / layer.traffic.total, 2 * layer.macs / layer.cycles * per_cycle)
        for i, layer in enumerate(report.layers)
        if layer.macs and layer.cycles
    )
    whole = Point(-1, "whole network", 2 * report.macs / report.traffic.total, report.gops) if points else None
    rates = {layer.rate for layer in report.layers if layer.macs}
    peak = 2 * report.mac_units * per_cycle
    quad = max(rates) / report.mac_units * peak if rates and max(rates) > report.mac_units else None
    return Roofline(peak, quad, report.memory.shared * per_cycle, points, whole)
