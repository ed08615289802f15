"""The Pareto front of an exploration: latency against DSP slices, LUTs, block memories and bits, as a table and as figures."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeflow.sw.search.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Point = Mapping[str, Any]

# What a point costs besides its latency: column, label of the axis, value.
COSTS: Mapping[str, tuple[str, Callable[[Point], float]]] = {
    "dsp": ("DSP slices", lambda point: float(point["resources"]["dsp"])),
    "lut": ("LUTs", lambda point: float(point["resources"]["lut"])),
    "bram36": ("block memories (RAMB36)", lambda point: float(point["resources"]["bram36"])),
    "bits": ("bits of weights", lambda point: float(point["bits"])),
}
PLAIN = "W8A8"
COLOURS = ("#0b6e99", "#c8521a", "#3c8031", "#7b4fa3", "#8a6d00", "#6b7480")  # of precisions; those beyond share the last
LABELS = 6  # most labels on a front
COLUMNS = (
    "precision",
    "bits",
    "activation_bits",
    "pi",
    "po",
    "epilogue",
    "vector",
    "weight_ports",
    "narrow_lines",
    "wide_lines",
    "clock_mhz",
)


def front(points: Sequence[Point], cost: Callable[[Point], float]) -> list[Point]:
    """The points that no other beats, cheapest first: none with at most their cost has a shorter latency, or the same."""
    best_points: list[Point] = []
    best = math.inf
    for point in sorted(points, key=lambda p: (cost(p), p["latency_ms"])):
        if point["latency_ms"] < best:
            best = point["latency_ms"]
            best_points.append(point)
    return best_points


def point_name(point: Point) -> str:
    """A point's precision and array, such as ``W4A4 16 x 32``."""
    return f"{point['precision']} {point['pi']} x {point['po']}"


def fastest_plain(points: Sequence[Point]) -> Point | None:
    """The fastest point with 8 bits everywhere, of equal ones that with the fewest DSP slices; None where there is none."""
    plain = [p for p in points if p["runs"] and p["precision"] == PLAIN]
    return min(plain, key=lambda p: (p["latency_ms"], COSTS["dsp"][1](p)), default=None)


def write_front(folder: Path, header: Mapping[str, Any], points: Sequence[Point]) -> dict[str, Any]:
    """Write ``pareto.json``, ``pareto.csv``, ``pareto.png`` and ``pareto.svg``; returns the JSON document.

    ``fronts`` lists for each cost the keys of the points on the front, ``plain`` is the key of the fastest point with 8 bits
    everywhere, null where none runs or was explored. Points that do not run carry their reason and are not drawn.
    """
    running = sorted((p for p in points if p["runs"]), key=lambda p: p["latency_ms"])
    fronts = {name: [p["key"] for p in front(running, cost)] for name, (_, cost) in COSTS.items()}
    plain = fastest_plain(running)
    document = {
        "predicted": True,
        "model": header["model"],
        "board": header["board"],
        "units": {"latency_ms": "milliseconds for one sample", "clock_mhz": "MHz", "gops_per_dsp": "10^9 operations a second"},
        "fronts": fronts,
        "plain": None if plain is None else plain["key"],
        "points": [*running, *(p for p in points if not p["runs"])],
    }
    _whole(folder / "pareto.json", lambda file: file.write_text(json.dumps(document, indent=1) + "\n"))
    _whole(folder / "pareto.csv", lambda file: _write_csv(file, running, fronts))
    if running:
        _draw(folder, drawing(header, running))
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


def drawing(header: Mapping[str, Any], points: Sequence[Point]) -> Figure:
    """A panel for each cost that differs between points: latency against it, every point and the front."""
    panels = {name: c for name, c in COSTS.items() if len({c[1](p) for p in points}) > 1} or {"dsp": COSTS["dsp"]}
    precisions = dict.fromkeys(p["precision"] for p in sorted(points, key=lambda p: (-p["bits"], -p["activation_bits"])))
    colours = {name: COLOURS[min(i, len(COLOURS) - 1)] for i, name in enumerate(precisions)}
    plain = fastest_plain(points)
    figure = new_figure(1 + 4.6 * len(panels), 4.4)
    for axes, (label, cost) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.values(), strict=True):
        for precision, colour in colours.items():
            own = [p for p in points if p["precision"] == precision]
            axes.scatter([cost(p) for p in own], [p["latency_ms"] for p in own], s=12, color=colour, alpha=0.45, label=precision)
        best = front(points, cost)
        x, y = [cost(p) for p in best], [p["latency_ms"] for p in best]
        axes.step(x, y, where="post", color="#4a545f", linewidth=1.0, zorder=2)
        axes.scatter(x, y, s=26, color=[colours[p["precision"]] for p in best], edgecolors="black", zorder=3, label="front")
        middle = (min(map(cost, points)) + max(map(cost, points))) / 2
        for p in best[:: -(-len(best) // LABELS)]:
            place, right = (cost(p), p["latency_ms"]), cost(p) > middle
            side = {"ha": "right" if right else "left", "xytext": (-4 if right else 4, 4)}  # away from the nearer edge
            axes.annotate(point_name(p), place, textcoords="offset points", fontsize=7, **side)
        if plain is not None:
            # hollow, large and behind the front: a point in the same place, or it itself, is seen inside
            at = {"s": 230, "marker": "*", "zorder": 2.5, "facecolors": "none", "edgecolors": colours[PLAIN], "linewidths": 1.4}
            axes.scatter([cost(plain)], [plain["latency_ms"]], label="fastest of 8 bits", **at)
        axes.set_xlabel(label)
        axes.set_ylabel("predicted latency, ms")
        axes.set_yscale("log")
        axes.grid(True, which="both", linewidth=0.3)
        axes.legend(frameon=False)
    figure.suptitle(f"{header['model']} on {header['board']}: predicted, not measured", parse_math=False)
    return figure


def _draw(folder: Path, figure: Figure) -> None:
    for suffix in ("png", "svg"):
        _whole(folder / f"pareto.{suffix}", lambda file: figure.savefig(file, dpi=150, format=file.suffix[1:]))


def _whole(file: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place, then put it there."""
    temporary = file.with_name(f".unfinished-{file.name}")
    write(temporary)
    temporary.replace(file)
