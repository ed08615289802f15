"""Builds beside one another: figures, bits, cycles and error by layer, options that differ, and which is better in everything.

A build dominates another one if it is no worse on any axis and better on one. Axes are latency, every resource, the bytes of the
weight image, and the error of the outputs; what cannot be compared between these builds is no axis, and ``left_out`` says why.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from edgeflow.hw.cost import RESOURCE_NAMES
from edgeflow.hw.errors import InputError
from edgeflow.sw.files.build import CANONICAL_MODEL, Build, open_build
from edgeflow.sw.report import parse_report
from edgeflow.sw.report.schema import Layer, Report, Setting

MOST = len(ascii_uppercase)  # builds: each has a letter


@dataclass(frozen=True)
class ComparedBuild:
    """One of the builds: the ``label`` that stands for it, its folder and its report. ``canonical``: SHA-256 of its float model."""

    label: str
    folder: Path
    report: Report
    canonical: str


@dataclass(frozen=True)
class Axis:
    """What builds are compared by: a value for each, in the builds' order; ``lower``: whether less is better."""

    name: str
    unit: str
    lower: bool
    values: tuple[float, ...]

    def gain(self, first: int, second: int) -> float:
        """How much better the first build is than the second; 0 where both are equal."""
        a, b = self.values[first], self.values[second]
        return 0.0 if a == b else b - a if self.lower else a - b


@dataclass(frozen=True)
class Dominance:
    """``better`` is no worse than ``worse`` on every axis, and better on one (labels)."""

    better: str
    worse: str


@dataclass(frozen=True)
class LayerRow:
    """A layer, known by the tensor that it computes, as it is in every build; None where a build has no such layer."""

    tensor: str
    name: str
    op: str
    layers: tuple[Layer | None, ...]


@dataclass(frozen=True)
class ChangedOption:
    """An option, input file or version that is not the same in all builds; None where a build has none."""

    name: str
    values: tuple[Setting | None, ...]


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` finds. ``equal``: pairs of labels that no axis tells apart; ``left_out``: why something is no axis, by
    its name; ``notes``: what to keep in mind."""

    builds: tuple[ComparedBuild, ...]
    axes: tuple[Axis, ...]
    left_out: Mapping[str, str]
    dominated: tuple[Dominance, ...]
    equal: tuple[tuple[str, str], ...]
    layers: tuple[LayerRow, ...]
    options: tuple[ChangedOption, ...]
    notes: tuple[str, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The builds' labels."""
        return tuple(build.label for build in self.builds)

    def document(self) -> dict[str, Any]:
        """The comparison as JSON can hold it; values of an output without error are null."""
        return {
            "builds": [{"label": b.label, "folder": str(b.folder), **_headline(b.report)} for b in self.builds],
            "axes": [
                {"name": a.name, "unit": a.unit, "better": "lower" if a.lower else "higher", "values": self._by_label(a.values)}
                for a in self.axes
            ],
            "left_out": dict(self.left_out),
            "dominated": [{"better": d.better, "worse": d.worse} for d in self.dominated],
            "equal": [list(pair) for pair in self.equal],
            "options": [{"name": o.name, "values": self._by_label(o.values)} for o in self.options],
            "layers": [
                {"tensor": r.tensor, "name": r.name, "op": r.op, "builds": self._by_label(map(_layer, r.layers))}
                for r in self.layers
            ],
            "notes": list(self.notes),
        }

    def html(self) -> str:
        """The comparison as a page that refers to nothing outside itself."""
        from edgeflow.sw.report.comparison_page import comparison_page

        return comparison_page(self)

    def _by_label(self, values: Iterable[Any]) -> dict[str, Any]:
        return dict(zip(self.labels, values, strict=True))


def compare(builds: Sequence[Build | str | os.PathLike[str]]) -> Comparison:
    """Compare two builds or more; InputError for what is no build, is damaged, or is there twice."""
    opened = tuple(_opened(builds))
    axes, left_out = _axes(opened)
    pairs = [(i, j) for i in range(len(opened)) for j in range(len(opened)) if i != j]
    label = [build.label for build in opened]
    no_worse = {(i, j): all(axis.gain(i, j) >= 0 for axis in axes) for i, j in pairs}
    layers = _layers(opened)
    return Comparison(
        builds=opened,
        axes=axes,
        left_out=left_out,
        dominated=tuple(Dominance(label[i], label[j]) for i, j in pairs if no_worse[i, j] and not no_worse[j, i]),
        equal=tuple((label[i], label[j]) for i, j in pairs if i < j and no_worse[i, j] and no_worse[j, i]),
        layers=layers,
        options=_options(opened),
        notes=tuple(_notes(opened, layers)),
    )


def _opened(builds: Sequence[Build | str | os.PathLike[str]]) -> Iterator[ComparedBuild]:
    folders = [build.folder if isinstance(build, Build) else Path(build) for build in builds]
    if len(folders) < 2:
        raise InputError("a comparison needs two builds or more: give another build folder")
    if len(folders) > MOST:
        raise InputError(f"{len(folders)} builds are too many for one comparison: give at most {MOST}")
    places: dict[Path, Path] = {}
    for folder in folders:
        before = places.setdefault(folder.resolve(), folder)
        if before is not folder:
            raise InputError(f"{folder} and {before} are the same build: give each build once")
    for label, build in zip(ascii_uppercase, builds, strict=False):
        one = build if isinstance(build, Build) else open_build(build)
        one.require_complete()
        report = parse_report((one.files / "report.json").read_bytes(), one.folder / "report.json")
        yield ComparedBuild(label, one.folder, report, one.snapshot.digests.get(CANONICAL_MODEL, ""))


def _axes(builds: Sequence[ComparedBuild]) -> tuple[tuple[Axis, ...], dict[str, str]]:
    """The axes on which these builds can be compared, and why others are none."""
    reports = [build.report for build in builds]
    axes = [
        Axis("latency", "ms", True, tuple(r.latency_ms for r in reports)),
        Axis("weights", "bytes", True, tuple(float(r.memory.weight_bytes) for r in reports)),
    ]
    left_out = {}
    families = list(dict.fromkeys(r.device.family for r in reports))
    for name in RESOURCE_NAMES:
        counts = [getattr(r.resources, name) for r in reports]
        unknown = [build.label for build, count in zip(builds, counts, strict=True) if count.used is None]
        if len(families) > 1:
            left_out[name.upper()] = f"the devices have other primitives ({', '.join(families)})"
        elif unknown:
            left_out[name.upper()] = f"not known before synthesis of {', '.join(unknown)}"
        else:
            axes.append(Axis(name.upper(), "primitives", True, tuple(float(count.used) for count in counts)))
    error, reason = _error_axis(builds)
    if error is None:
        left_out["error"] = reason
    else:
        axes.append(error)
    return tuple(axes), left_out


def _error_axis(builds: Sequence[ComparedBuild]) -> tuple[Axis | None, str]:
    """SQNR of the worst output against one float model, or top-1 accuracy where the float models differ; None and why not where
    the builds were not measured on the same samples."""
    tables = [build.report.accuracy for build in builds]
    blind = [build.label for build, table in zip(builds, tables, strict=True) if not table.meaningful]
    if blind:
        return None, f"no accuracy was measured of {', '.join(blind)} (no data that no number of the network depends on)"
    if None in {table.samples_sha256 for table in tables}:
        return None, "which samples accuracy was measured on is not known of every build: compile the models again"
    if len({table.samples_sha256 for table in tables}) > 1:
        measured = ", ".join(f"{b.label} {t.samples:,} {t.data}" for b, t in zip(builds, tables, strict=True))
        return None, f"accuracy was measured on different samples ({measured.replace('held_out', 'held out')})"
    if len({build.canonical for build in builds}) == 1:
        ratios = tuple(_sqnr(build.report) for build in builds)
        if None not in ratios:
            return Axis("SQNR", "dB", False, tuple(ratio for ratio in ratios if ratio is not None)), ""
        return None, "no output has a finite SQNR"
    shares = tuple(table.top1_accuracy for table in tables)
    if None not in shares:
        return Axis("top-1 accuracy", "share", False, tuple(share for share in shares if share is not None)), ""
    return None, "the float models differ, and so does what SQNR is measured against (labels would give top-1 accuracy: --labels)"


def _sqnr(report: Report) -> float | None:
    """SQNR of the worst output, infinite where all are exact; None where the float signal is zero."""
    table = report.accuracy
    if table.sqnr_db is not None:
        return table.sqnr_db
    exact = all((output.note or "").startswith("exact") for output in table.outputs)
    return float("inf") if exact and table.outputs else None


def _layers(builds: Sequence[ComparedBuild]) -> tuple[LayerRow, ...]:
    """Every layer of any build once, in the first build's order; what only others have stands behind what they have before it.
    Layers correspond that compute tensors of one name and shape."""
    own = [{(layer.tensor, *layer.shape): layer for layer in build.report.layers} for build in builds]
    order = list(own[0])
    for layers in own[1:]:
        place = 0 if any(key in own[0] for key in layers) else len(order)
        known = {key: i for i, key in enumerate(order)}
        behind: dict[int, list[tuple[Any, ...]]] = {}
        for key in layers:
            if key in known:
                place = known[key] + 1
            else:
                behind.setdefault(place, []).append(key)
        order = [key for i in range(len(order) + 1) for key in (*behind.get(i, ()), *order[i : i + 1])]
    rows = []
    for key in order:
        same = tuple(layers.get(key) for layers in own)
        first = next(layer for layer in same if layer is not None)
        rows.append(LayerRow(first.tensor, first.name, first.op, same))
    return tuple(rows)


def _options(builds: Sequence[ComparedBuild]) -> tuple[ChangedOption, ...]:
    """Options that differ. A file counts by its contents, wherever it lies."""
    runs = [build.report.run for build in builds]
    changed: list[ChangedOption] = []

    def collect(prefix: str, tables: Sequence[Mapping[str, Any]], shown: Callable[[int, str], Setting | None]) -> None:
        for name in dict.fromkeys(name for table in tables for name in table):
            if len({repr(table.get(name)) for table in tables}) > 1:
                changed.append(ChangedOption(prefix + name, tuple(shown(i, name) for i in range(len(tables)))))

    options = [{} if run is None else dict(run.options) for run in runs]
    hashes = [{} if run is None else dict(run.sha256) for run in runs]
    files = {name for table in hashes for name in table}
    plain = [{name: value for name, value in table.items() if name not in files} for table in options]
    collect("", hashes, lambda i, name: _file(options[i].get(name), hashes[i].get(name)))
    collect("", plain, lambda i, name: plain[i].get(name))
    versions = [{} if run is None else run.versions for run in runs]
    collect("version of ", versions, lambda i, name: versions[i].get(name))
    return tuple(changed)


def _file(path: Setting | None, digest: str | None) -> str | None:
    """A file's name and the beginning of its SHA-256."""
    return None if path is None else f"{Path(str(path)).name}, {digest[:8] if digest else 'not known'}"


def _notes(builds: Sequence[ComparedBuild], layers: Sequence[LayerRow]) -> Iterator[str]:
    if len({build.canonical for build in builds}) > 1:
        yield "The builds are of different float models: " + ", ".join(f"{b.label} {b.report.model}" for b in builds) + "."
    boards = {build.report.board for build in builds}
    if len(boards) > 1:
        yield "The builds are for different boards: " + ", ".join(f"{b.label} {b.report.board}" for b in builds) + "."
    common = sum(None not in row.layers for row in layers)
    if common < len(layers):
        lonely = [row for row in layers if row.layers.count(None) == len(builds) - 1]
        alone = [f"{sum(r.layers[i] is not None for r in lonely)} only in {build.label}" for i, build in enumerate(builds)]
        same = f"{common} layers correspond in all builds (they compute a tensor of one name and shape)"
        yield f"{same}, {len(layers) - common} do not: {', '.join(alone)}."
    without = [build.label for build in builds if build.report.run is None]
    if without:
        yield f"Nothing is known of the options of {', '.join(without)}."


def _headline(report: Report) -> dict[str, Any]:
    names = ("model", "board", "clock_mhz", "macs", "cycles", "latency_ms", "fps", "mac_utilization", "gops")
    return {
        **{name: getattr(report, name) for name in names},
        "accelerator": {name: getattr(report.accelerator, name) for name in ("pi", "po", "epilogue", "vector", "weight_ports")},
        "resources": {name: getattr(report.resources, name).used for name in RESOURCE_NAMES},
        "weight_bytes": report.memory.weight_bytes,
        "accuracy": report.accuracy.model_dump(mode="json"),
    }


def _layer(layer: Layer | None) -> dict[str, Any] | None:
    names = {"macs", "cycles", "weight_bits", "activation_bits", "sqnr_db", "sqnr_note"}
    return None if layer is None else layer.model_dump(mode="json", include=names)
