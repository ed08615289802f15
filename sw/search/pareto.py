"""The Pareto front of an exploration: latency against DSP slices, block memories and bits, as a table and as figures."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeflow.sw.search.figures import new_figure

Point = Mapping[str, Any]

# What a point costs besides its latency: column, label of the axis, value.
COSTS: Mapping[str, tuple[str, Callable[[Point], float]]] = {
    "dsp": ("DSP slices", lambda point: float(point["resources"]["dsp"])),
    "bram36": ("block memories (RAMB36)", lambda point: float(point["resources"]["bram36"])),
    "bits": ("bits of weights and activations", lambda point: float(point["bits"])),
}
COLUMNS = ("bits", "pi", "po", "epilogue", "vector", "weight_ports", "narrow_lines", "wide_lines", "clock_mhz")


def front(points: Sequence[Point], cost: Callable[[Point], float]) -> list[Point]:
    """The points that no other beats, cheapest first: none with at most their cost has a shorter latency, or the same."""
    best_points: list[Point] = []
    best = math.inf
    for point in sorted(points, key=lambda p: (cost(p), p["latency_ms"])):
        if point["latency_ms"] < best:
            best = point["latency_ms"]
            best_points.append(point)
    return best_points


def write_front(folder: Path, header: Mapping[str, Any], points: Sequence[Point]) -> dict[str, Any]:
    """Write ``pareto.json``, ``pareto.csv``, ``pareto.png`` and ``pareto.svg``; returns the JSON document.

    ``fronts`` lists for each cost the keys of the points on the front. Points that do not run carry their reason and are not drawn.
    """
    running = sorted((p for p in points if p["runs"]), key=lambda p: p["latency_ms"])
    fronts = {name: [p["key"] for p in front(running, cost)] for name, (_, cost) in COSTS.items()}
    document = {
        "predicted": True,
        "model": header["model"],
        "board": header["board"],
        "units": {"latency_ms": "milliseconds for one sample", "clock_mhz": "MHz", "gops_per_dsp": "10^9 operations a second"},
        "fronts": fronts,
        "points": [*running, *(p for p in points if not p["runs"])],
    }
    _whole(folder / "pareto.json", lambda file: file.write_text(json.dumps(document, indent=1) + "\n"))
    _whole(folder / "pareto.csv", lambda file: _write_csv(file, running, fronts))
    if running:
        _draw(folder, header, running)
    return document


def _write_csv(file: Path, points: Sequence[Point], fronts: Mapping[str, Sequence[str]]) -> None:
    names = list(points[0]["resources"]) if points else []
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        on_front = [f"front_{name}" for name in fronts]
        writer.writerow(["latency_ms", "cycles", "mac_utilization", "gops_per_dsp", *COLUMNS, *names, *on_front])
        for p in points:
            marks = [int(p["key"] in keys) for keys in fronts.values()]
            values = [p["latency_ms"], p["cycles"], p["mac_utilization"], p["gops_per_dsp"], *(p[c] for c in COLUMNS)]
            writer.writerow([*values, *(p["resources"][name] for name in names), *marks])


def _draw(folder: Path, header: Mapping[str, Any], points: Sequence[Point]) -> None:
    """A panel for each cost that differs between points: latency against it, every point and the front."""
    panels = {name: c for name, c in COSTS.items() if len({c[1](p) for p in points}) > 1} or {"dsp": COSTS["dsp"]}
    figure = new_figure(1 + 4.6 * len(panels), 4.4)
    for axes, (label, cost) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.values(), strict=True):
        axes.scatter([cost(p) for p in points], [p["latency_ms"] for p in points], s=12, color="#9aa5b1", label="accelerators")
        best = front(points, cost)
        x, y = [cost(p) for p in best], [p["latency_ms"] for p in best]
        axes.step(x, y, where="post", color="#0b6e99", linewidth=1.2)
        axes.scatter(x, y, s=22, color="#0b6e99", zorder=3, label="front")
        axes.set_xlabel(label)
        axes.set_ylabel("predicted latency, ms")
        axes.set_yscale("log")
        axes.grid(True, which="both", linewidth=0.3)
        axes.legend(frameon=False)
    figure.suptitle(f"{header['model']} on {header['board']}: predicted, not measured", parse_math=False)
    for suffix in ("png", "svg"):
        _whole(folder / f"pareto.{suffix}", lambda file: figure.savefig(file, dpi=150, format=file.suffix[1:]))


def _whole(file: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place, then put it there."""
    temporary = file.with_name(f".unfinished-{file.name}")
    write(temporary)
    temporary.replace(file)
