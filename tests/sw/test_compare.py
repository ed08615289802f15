"""Builds beside one another: the figures are the builds' own, dominance keeps its definition, what is no build is refused."""

from __future__ import annotations

import html as entities
import itertools
import json
import shutil
from collections.abc import Callable
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import edgeflow
from edgeflow.sw.files.build import write_manifest

EXAMPLE = Path(__file__).parents[2] / "examples" / "japanese_vowels"
Run = Any  # the fixture ``terminal``


def compiled(folder: Path, bits: int, **options: Any) -> Path:
    config = edgeflow.quantization(weight_bits=bits, activation_bits=bits, selection_work=0.0)
    options = {"calibration": EXAMPLE / "calibration.npz", **options}
    return edgeflow.compile(EXAMPLE / "model.onnx", output=folder, config=config, **options).folder


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped example on speech with 8 bits."""
    return compiled(tmp_path_factory.mktemp("wide") / "8 bits", 8)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with 4 bits."""
    return compiled(tmp_path_factory.mktemp("narrow") / "4 bits", 4)


def changed(build: Path, folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of a build with another report, and hashes to match."""
    shutil.copytree(build, folder)
    report = json.loads((folder / "report.json").read_text())
    change(report)
    (folder / "report.json").write_text(json.dumps(report))
    manifest = json.loads((folder / "manifest.json").read_text())
    write_manifest(folder, {name: value for name, value in manifest.items() if name not in ("format", "files")})
    return folder


def test_every_figure_is_the_builds_own(wide: Path, narrow: Path) -> None:
    comparison = edgeflow.compare(wide, edgeflow.open_build(narrow))
    reports = [edgeflow.open_build(folder).report for folder in (wide, narrow)]
    axes = {axis.name: axis for axis in comparison.axes}
    assert list(axes) == ["latency", "weights", "DSP", "LUT", "FF", "BRAM36", "URAM", "SQNR"]
    assert axes["latency"].values == tuple(r["latency_ms"] for r in reports)
    assert axes["weights"].values == tuple(r["memory"]["weight_bytes"] for r in reports)
    assert axes["LUT"].values == tuple(r["resources"]["lut"]["used"] for r in reports)
    assert axes["SQNR"].values == tuple(r["accuracy"]["sqnr_db"] for r in reports)
    assert not comparison.left_out
    for i, report in enumerate(reports):
        own = [row.layers[i] for row in comparison.layers if row.layers[i] is not None]
        assert [layer.model_dump(mode="json") for layer in own if layer] == report["layers"]
    assert {o.name: o.values for o in comparison.options} == {
        "quantization.weight_bits": (8, 4),
        "quantization.activation_bits": (8, 4),
    }
    assert comparison.notes == ()


def test_layers_that_only_one_build_has_stand_where_they_run(wide: Path, tmp_path: Path) -> None:
    def rename(report: dict[str, Any]) -> None:
        report["layers"][5]["tensor"] = "another"

    other = changed(wide, tmp_path / "b", rename)
    comparison = edgeflow.compare(wide, other)
    count = len(edgeflow.open_build(wide).report["layers"])
    assert [row.tensor for row in comparison.layers].index("another") == 5
    assert comparison.layers[5].layers[0] is None
    assert comparison.layers[6].layers[1] is None
    assert f"{count - 1} layers correspond in all builds" in comparison.notes[0]
    assert "2 do not: 1 only in A, 1 only in B" in comparison.notes[0]


def test_builds_of_different_models_say_so(wide: Path, tiny_build: Path, terminal: Run) -> None:
    comparison = edgeflow.compare(wide, tiny_build)
    layers = [len(edgeflow.open_build(folder).report["layers"]) for folder in (wide, tiny_build)]
    assert len(comparison.layers) == sum(layers)
    assert comparison.notes[0] == "The builds are of different float models: A model.onnx, B tiny.onnx."
    assert comparison.notes[1].startswith("0 layers correspond")
    assert "no accuracy was measured of B" in comparison.left_out["error"]
    shown = terminal.run("compare", wide, tiny_build).out
    assert "0 layers correspond" in shown
    assert "not measured" in shown


def better_by(report: dict[str, Any], **changes: float) -> None:
    """Change the figures that are axes."""
    for name, value in changes.items():
        if name == "weights":
            report["memory"]["weight_bytes"] += int(value)
        elif name == "sqnr":
            report["accuracy"]["sqnr_db"] += value
        elif name == "latency":
            report["latency_ms"] += value
        else:
            report["resources"][name]["used"] += int(value)


def test_dominance_is_no_worse_on_any_axis_and_better_on_one(wide: Path, tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"latency": 1.0},
        {"latency": 1.0, "sqnr": 2.0},
        {"lut": -5, "weights": -8, "sqnr": 1.0},
        {"latency": 1.0},
    ]
    folders = [changed(wide, tmp_path / str(i), partial(better_by, **each)) for i, each in enumerate(changes)]
    comparison = edgeflow.compare(*folders)
    costs = [(c.get("latency", 0), c.get("weights", 0), c.get("lut", 0), -c.get("sqnr", 0)) for c in changes]
    expected = {
        (x, y)
        for (x, a), (y, b) in itertools.permutations(zip("ABCDE", costs, strict=True), 2)
        if a != b and all(p <= q for p, q in zip(a, b, strict=True))
    }
    assert {(d.better, d.worse) for d in comparison.dominated} == expected
    assert expected == {("A", "B"), ("A", "E"), ("D", "A"), ("D", "B"), ("D", "E"), ("C", "B"), ("C", "E")}
    assert comparison.equal == (("B", "E"),)


def test_error_is_an_axis_only_on_the_same_samples(wide: Path, narrow: Path, tmp_path: Path) -> None:
    fewer = changed(narrow, tmp_path / "other", lambda r: r["accuracy"].update(samples_sha256="0" * 64, samples=7))
    comparison = edgeflow.compare(wide, fewer)
    assert "SQNR" not in {axis.name for axis in comparison.axes}
    assert comparison.left_out["error"] == "accuracy was measured on different samples (A 32 held out, B 7 held out)"
    unknown = changed(narrow, tmp_path / "unknown", lambda r: r["accuracy"].update(samples_sha256=None))
    assert "is not known of every build" in edgeflow.compare(wide, unknown).left_out["error"]


def test_equal_samples_have_equal_hashes_and_others_do_not(wide: Path, narrow: Path, tmp_path: Path) -> None:
    def digest(folder: Path) -> str:
        return str(edgeflow.open_build(folder).report["accuracy"]["samples_sha256"])

    assert digest(wide) == digest(narrow)
    assert digest(compiled(tmp_path / "seed", 8, seed=1)) != digest(wide)


def test_unknown_resources_and_other_devices_are_no_axes(wide: Path, tmp_path: Path) -> None:
    unknown = changed(wide, tmp_path / "unknown", lambda r: r["resources"]["ff"].update(used=None, reason="not known"))
    comparison = edgeflow.compare(wide, unknown)
    assert comparison.left_out == {"FF": "not known before synthesis of B"}
    assert "FF" not in {axis.name for axis in comparison.axes}
    other = changed(wide, tmp_path / "other", lambda r: (r["device"].update(family="zynq7000"), r.update(board="pynq-z2")))
    comparison = edgeflow.compare(wide, other)
    assert set(comparison.left_out) == {"DSP", "LUT", "FF", "BRAM36", "URAM"}
    assert "different boards" in comparison.notes[0]


def test_the_terminal_shows_it_in_80_columns(wide: Path, narrow: Path, terminal: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeflow.sw.cli import console

    monkeypatch.setattr(console, "FILE_WIDTH", 80)
    outcome = terminal.run("compare", wide, narrow)
    assert outcome.status == 0
    lines = outcome.out.splitlines()
    assert max(map(len, lines)) <= 80
    reports = [edgeflow.open_build(folder).report for folder in (wide, narrow)]
    rows = {line.split("  ")[0].strip(): line.split() for line in lines}
    assert [rows["cycles"][1], rows["cycles"][2]] == [f"{r['cycles']:,}" for r in reports]
    count = len(reports[0]["layers"])
    strips = [line for line in lines if line.startswith(("A  ", "B  ")) and len(line) <= count + 3 and "bits:" not in line]
    assert len(strips) == 8
    for line, report in zip(strips[:2], reports, strict=True):
        bits = [layer["weight_bits"] for layer in report["layers"]]
        assert line[3:].rstrip() == "".join(" " if b is None else str(b) if b < 10 else "+" for b in bits).rstrip()
    highest = max(layer["cycles"] for report in reports for layer in report["layers"])
    for line, report in zip(strips[4:6], reports, strict=True):
        assert [i for i, mark in enumerate(line[3:]) if mark == "█" and report["layers"][i]["cycles"] == highest] == [
            i for i, layer in enumerate(report["layers"]) if layer["cycles"] == highest
        ]


def test_many_builds_still_fit_80_columns(wide: Path, terminal: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeflow.sw.cli import console

    monkeypatch.setattr(console, "FILE_WIDTH", 80)
    folders = [wide, *(changed(wide, tmp_path / f"b{i}", partial(better_by, weights=i)) for i in range(1, 9))]
    monkeypatch.chdir(tmp_path)
    lines = terminal.run("compare", *folders).out.splitlines()
    assert max(len(line) for line in lines) <= 80
    assert sum(line.strip().startswith("weights, bytes") for line in lines) > 1


def test_json_is_the_comparison(wide: Path, narrow: Path, terminal: Run) -> None:
    document = json.loads(terminal.run("compare", wide, narrow, "--json").out)
    assert document == edgeflow.compare(wide, narrow).document() | {"builds": document["builds"]}
    assert [b["folder"] for b in document["builds"]] == [str(wide), str(narrow)]
    reports = [edgeflow.open_build(folder).report for folder in (wide, narrow)]
    assert [b["cycles"] for b in document["builds"]] == [r["cycles"] for r in reports]
    assert [layer["builds"]["B"]["sqnr_db"] for layer in document["layers"] if layer["builds"]["B"]] == [
        layer["sqnr_db"] for layer in reports[1]["layers"]
    ]


class Page(HTMLParser):
    """Texts and references of a page; every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells = 0
        self.references: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "wbr", "link"):
            self.open.append(tag)
        values = dict(attrs)
        self.cells += tag == "rect" and "heat" in (values.get("class") or "")
        self.references += [values[name] or "" for name in ("href", "src") if name in values]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else(wide: Path, narrow: Path, terminal: Run, tmp_path: Path) -> None:
    outcome = terminal.run("compare", wide, narrow, "--html", tmp_path / "c.html", "--json")
    assert json.loads(outcome.out)["html"] == str(tmp_path / "c.html")
    text = (tmp_path / "c.html").read_text()
    page = Page(text)
    assert all(reference.startswith("#") for reference in page.references)
    layers = [layer for folder in (wide, narrow) for layer in edgeflow.open_build(folder).report["layers"]]
    known = [sum(layer[name] is not None for layer in layers) for name in ("weight_bits", "activation_bits", "cycles", "sqnr_db")]
    assert page.cells == sum(known)
    assert "is no axis" not in text


def test_names_in_the_page_are_escaped(wide: Path, tmp_path: Path) -> None:
    other = changed(wide, tmp_path / "<b>", lambda r: r["layers"][0].update(name="<script>", tensor="</svg>"))
    text = edgeflow.compare(wide, other).html()
    assert "<script>" not in text
    assert entities.escape("<script>") in text
    Page(text)


@pytest.fixture
def builds(wide: Path, narrow: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The builds under short names."""
    (tmp_path / "a").symlink_to(wide)
    (tmp_path / "b").symlink_to(narrow)
    return tmp_path / "a", tmp_path / "b"


def test_what_cannot_be_compared_is_one_line(builds: tuple[Path, Path], terminal: Run, tmp_path: Path) -> None:
    a, b = builds
    assert terminal.refused("compare", a) == "a comparison needs two builds or more: give another build folder"
    assert "are the same build: give each build once" in terminal.refused("compare", a, b, a)
    (tmp_path / "empty").mkdir()
    assert "is not an EdgeFlow build" in terminal.refused("compare", a, tmp_path / "empty")
    assert "is not a folder" in terminal.refused("compare", a, tmp_path / "nothing")
    odd = changed(b, tmp_path / "odd", lambda r: r.pop("layers"))
    assert "is not a report of this EdgeFlow version" in terminal.refused("compare", a, odd)
    assert "is not a folder; create it" in terminal.refused("compare", a, b, "--html", tmp_path / "nowhere" / "c.html")
    assert "too many" in terminal.refused("compare", *[a] * 27)
    assert "missing argument" in terminal.refused("compare")


def test_the_summary_names_bits_and_limits(wide: Path, narrow: Path, terminal: Run) -> None:
    shown = [" ".join(terminal.run("report", folder).out.split()) for folder in (wide, narrow)]
    for text, folder in zip(shown, (wide, narrow), strict=True):
        report = edgeflow.open_build(folder).report
        layers, cycles = report["layers"], report["cycles"]
        for bits in {layer["weight_bits"] for layer in layers} - {None}:
            assert f"{bits} ({sum(layer['weight_bits'] == bits for layer in layers)})" in text
        predicted = " ".join(terminal.run("cycles", folder).out.split())
        for name, key in (("arithmetic", "mac_cycles"), ("memory", "ddr_cycles")):
            least = report["limits"][key]
            assert f"{name} {least:,} cycles at least ({100 * least / cycles:.1f} %)" in text
            assert f"{name} {least:,} cycles at least ({100 * least / cycles:.1f} %)" in predicted
        outside = 100 * sum(layer["vector_cycles"] for layer in layers) / cycles
        assert f"outside the array {outside:.1f} % of the cycles, loading and storing included, most for " in text
    assert "bits weights 8 (" in shown[0]
    assert "bits weights 4 (" in shown[1]
    assert ("against 8 bits" in shown[0], "against 8 bits" in shown[1]) == (False, True)
