"""Explorations from the command line: the points, going on after an interruption, the front, and what is refused."""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import edgeflow
from edgeflow.hw.boards import load_board
from edgeflow.hw.errors import ClusterError
from edgeflow.hw.fit import limits
from edgeflow.sw.search import explore as exploration
from edgeflow.sw.search.pareto import COSTS, drawing, front

Run = Any  # the fixture ``terminal``
SIZES = ("--pi", "8,16", "--po", "16,24,32", "--epilogue", "4,8", "--vector", "4", "--weight-ports", "1")


def command(tiny: Any, folder: Path, *more: object) -> tuple[object, ...]:
    return ("explore", tiny.model, "--calib", tiny.calibration, "--board", "zcu102", "-o", folder, "--jobs", 1, *SIZES, *more)


@pytest.fixture(scope="module")
def done(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished exploration; tests leave it alone."""
    from edgeflow.sw.cli.main import main

    folder = tmp_path_factory.mktemp("explore") / "out"
    assert main(["--quiet", *map(str, command(tiny, folder))]) == 0
    return folder


def points(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "points.jsonl").read_text().splitlines()[1:]]


def test_every_point_of_the_grid_is_there(done: Path) -> None:
    grid = points(done)
    shapes = {(p["pi"], p["po"], p["epilogue"]) for p in grid}
    assert shapes == {(pi, po, e) for pi in (8, 16) for po in (16, 24, 32) for e in (4, 8)}
    assert len(grid) == len(shapes)
    allowed = limits(load_board("zcu102"))
    for p in grid:
        assert p["runs"]
        assert p["latency_ms"] == pytest.approx(p["cycles"] / (p["clock_mhz"] * 1e3))
        assert all(p["resources"][name] <= allowed[name] for name in allowed)
        assert (p["precision"], p["bits"], p["activation_bits"]) == ("W8A8", 8, 8)


def test_points_are_what_compile_predicts(tiny: Any, done: Path, tmp_path: Path) -> None:
    p = points(done)[3]
    sizes = {name: p[name] for name in ("pi", "po", "epilogue", "vector", "weight_ports")}
    build = edgeflow.compile(tiny.model, board="zcu102", calibration=tiny.calibration, output=tmp_path / "b", sizes=sizes)
    assert build.report["cycles"] == p["cycles"]
    assert {name: r["used"] for name, r in build.report["resources"].items()} == p["resources"]


def test_the_front_is_what_nothing_beats(done: Path) -> None:
    document = json.loads((done / "pareto.json").read_text())
    by_key = {p["key"]: p for p in document["points"]}
    assert document["predicted"] is True
    for name, (_, cost) in COSTS.items():
        on = set(document["fronts"][name])
        for key, p in by_key.items():
            better = [
                q
                for q in by_key.values()
                if cost(q) <= cost(p)
                and q["latency_ms"] <= p["latency_ms"]
                and (cost(q), q["latency_ms"]) != (cost(p), p["latency_ms"])
            ]
            assert key not in on or not better
            assert key in on or better or any((cost(by_key[k]), by_key[k]["latency_ms"]) == (cost(p), p["latency_ms"]) for k in on)


def test_equal_points_are_on_the_front_once() -> None:
    equal = [
        {"key": str(n), "latency_ms": latency, "resources": {"dsp": dsp}}
        for n, (dsp, latency) in enumerate([(2, 1.0), (1, 2.0), (2, 1.0), (3, 1.0)])
    ]
    assert [p["key"] for p in front(equal, COSTS["dsp"][1])] == ["1", "0"]


def test_tables_and_figures(done: Path) -> None:
    document = json.loads((done / "pareto.json").read_text())
    with (done / "pareto.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(document["points"])
    assert [float(r["latency_ms"]) for r in rows] == sorted(p["latency_ms"] for p in document["points"])
    for name in COSTS:
        assert sum(int(r[f"front_{name}"]) for r in rows) == len(document["fronts"][name])
    assert (done / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (done / "pareto.svg").read_text()
    assert not [f for f in done.iterdir() if "unfinished" in f.name]


def test_it_goes_on_where_it_stopped(terminal: Run, tiny: Any, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated: list[str] = []
    evaluate = exploration.evaluate

    def counting(network: Any, job: Any) -> Any:
        evaluated.append(job[0])
        if len(evaluated) == 5:
            raise ClusterError("the workers are gone")
        return evaluate(network, job)

    monkeypatch.setattr(exploration, "evaluate", counting)
    assert terminal.refused(*command(tiny, tmp_path / "out")) == "the workers are gone"
    kept = points(tmp_path / "out")
    assert [p["key"] for p in kept] == evaluated[:4]
    with (tmp_path / "out" / "points.jsonl").open("a") as file:
        file.write('{"key": "cut sh')  # as a killed process leaves it
    outcome = terminal.run(*command(tiny, tmp_path / "out"), "--json")
    assert outcome.status == 0
    document = json.loads(outcome.out)
    assert document["resumed"] == 4
    assert len(evaluated) == 5 + 8
    assert not set(evaluated[5:]) & {p["key"] for p in kept}
    assert sorted(points(tmp_path / "out"), key=lambda p: str(p["key"])) == sorted(points(done), key=lambda p: str(p["key"]))
    again = json.loads(terminal.run(*command(tiny, tmp_path / "out"), "--json").out)
    assert (again["resumed"], len(evaluated)) == (12, 13)
    more = json.loads(terminal.run(*command(tiny, tmp_path / "out"), "--clock", "100,300", "--json").out)
    assert (more["resumed"], len(more["points"])) == (12, 24)


@pytest.fixture
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed", reason="pip install 'edgeflow[dask]'")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
    ) as local:
        yield local


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="pip install 'edgeflow[dask]'")
def test_a_cluster_finds_the_same(terminal: Run, tiny: Any, done: Path, tmp_path: Path, cluster: Any) -> None:
    arguments = [a for a in command(tiny, tmp_path / "out") if a not in ("--jobs", 1)]
    assert terminal.run(*arguments, "--scheduler", cluster.scheduler_address).status == 0
    assert sorted(points(tmp_path / "out"), key=lambda p: str(p["key"])) == sorted(points(done), key=lambda p: str(p["key"]))


def test_two_processes_find_the_same(terminal: Run, tiny: Any, done: Path, tmp_path: Path) -> None:
    outcome = terminal.run(*command(tiny, tmp_path / "out", "--jobs", 2))
    assert (outcome.status, outcome.err) == (0, "")
    assert "front of predicted latency" in outcome.out
    assert sorted(points(tmp_path / "out"), key=lambda p: str(p["key"])) == sorted(points(done), key=lambda p: str(p["key"]))


def test_the_default_grid_tries_every_array_that_fits(done: Path) -> None:
    from edgeflow.hw.graph import Graph
    from edgeflow.sw.compiler.network import Network
    from edgeflow.sw.search.accelerator import spaces

    network, board = Network(Graph.load(done / "bits-W8A8")), load_board("ultra96-v2")
    tried = exploration.architectures(network, board, exploration.Grid((200.0,)))
    assert {(a.pi, a.po) for a in tried} == set(next(spaces(network, board, 200.0)).arrays())
    assert len(set(tried)) == len(tried)
    assert len({a.vector for a in tried}) > 3


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--pi", "12"), ("no accelerator has pi = 12", "4, 8, 16, 32, 64")),
        (("--pi", "8,x"), ("--pi '8,x'", "separated by commas")),
        (("--clock", "0"), ("--clock '0'", "positive")),
        (("--share", "1.5"), ("share 1.5", "at most 1")),
        (("--share", "0.001"), ("zcu102 is too small", "0% of the device")),
        (("--scheduler", "tcp://127.0.0.1:1", "--jobs", "2"), ("--jobs", "--scheduler", "leave one of them out")),
        (("--pi", "64", "--po", "64"), ("grid fits board zcu102", "smaller sizes")),
        (("--board", "zcu103"), ("zcu102",)),
    ],
)
def test_what_cannot_be_is_refused(
    terminal: Run, tiny: Any, tmp_path: Path, options: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    arguments = ("explore", tiny.model, "--calib", tiny.calibration, "--board", "zcu102", "-o", tmp_path / "out", *options)
    message = terminal.refused(*arguments)
    assert all(part in message for part in parts), message
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_left_alone(terminal: Run, tiny: Any, done: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    assert "is not an exploration" in terminal.refused(*command(tiny, tmp_path / "mine"))
    assert [f.name for f in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    before = (done / "points.jsonl").read_bytes()
    message = terminal.refused(*command(tiny, done, "--board", "kv260"))
    assert "another exploration (board, board_sha256 changed)" in message
    assert (done / "points.jsonl").read_bytes() == before


def test_a_missing_model_leaves_nothing(terminal: Run, tmp_path: Path) -> None:
    message = terminal.refused("explore", tmp_path / "none.onnx", "-o", tmp_path / "out")
    assert "none.onnx" in message
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def precisions(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished exploration of 4 and of 8 bits."""
    from edgeflow.sw.cli.main import main

    folder = tmp_path_factory.mktemp("precisions") / "out"
    assert main(["--quiet", *map(str, command(tiny, folder, "--weight-bits", "4,8"))]) == 0
    return folder


def test_several_precisions_are_explored_together(tiny: Any, done: Path, precisions: Path, tmp_path: Path) -> None:
    grid = points(precisions)
    assert {(p["precision"], p["bits"], p["activation_bits"]) for p in grid} == {("W4A4", 4, 4), ("W8A8", 8, 8)}
    wide = {(p["pi"], p["po"], p["epilogue"]): p["cycles"] for p in grid if p["bits"] == 8}
    assert wide == {(p["pi"], p["po"], p["epilogue"]): p["cycles"] for p in points(done)}
    p = next(p for p in grid if p["bits"] == 4)
    sizes = {name: p[name] for name in ("pi", "po", "epilogue", "vector", "weight_ports")}
    config = edgeflow.quantization(weight_bits=4, activation_bits=4, selection_work=0.0)
    options = {"board": "zcu102", "calibration": tiny.calibration, "config": config, "sizes": sizes}
    assert edgeflow.compile(tiny.model, output=tmp_path / "b", **options).report["cycles"] == p["cycles"]


def test_a_precision_is_added_to_an_exploration(terminal: Run, tiny: Any, done: Path, precisions: Path, tmp_path: Path) -> None:
    shutil.copytree(done, tmp_path / "out")
    document = json.loads(terminal.run(*command(tiny, tmp_path / "out", "--weight-bits", "4,8"), "--json").out)
    assert (document["resumed"], len(document["points"])) == (12, 24)
    assert sorted(points(tmp_path / "out"), key=lambda p: str(p["key"])) == sorted(points(precisions), key=lambda p: str(p["key"]))
    again = json.loads(terminal.run(*command(tiny, tmp_path / "out", "--weight-bits", "8"), "--json").out)
    assert (again["resumed"], {p["precision"] for p in again["points"]}) == (12, {"W8A8"})
    kept = (tmp_path / "out" / "points.jsonl").read_text()
    assert kept.count('"weight_bits": 4') == 1
    (tmp_path / "out" / "points.jsonl").write_text(kept.replace('"weight_bits": 4', '"weight_bits": 3'))
    refused = terminal.refused(*command(tiny, tmp_path / "out", "--weight-bits", "4"))
    assert "another exploration (quantization changed)" in refused


def test_labels_stay_within_their_panels(precisions: Path) -> None:
    document = json.loads((precisions / "pareto.json").read_text())
    figure = drawing(document, [p for p in document["points"] if p["runs"]])
    figure.canvas.draw()
    for axes in figure.axes:
        panel = axes.get_window_extent()
        labels = [text.get_window_extent() for text in axes.texts]
        assert labels
        assert all(panel.x0 <= label.x0 and label.x1 <= panel.x1 for label in labels)


def test_the_mark_of_the_fastest_point_of_8_bits_covers_none(precisions: Path) -> None:
    document = json.loads((precisions / "pareto.json").read_text())
    figure = drawing(document, [p for p in document["points"] if p["runs"]])
    for axes in figure.axes:
        drawn: dict[str, Any] = {str(c.get_label()): c for c in axes.collections}
        star, dots = drawn["fastest of 8 bits"], drawn["front"]
        assert len(star.get_facecolors()) == 0
        assert star.get_zorder() < dots.get_zorder()
        assert star.get_sizes()[0] > 4 * dots.get_sizes()[0]


def test_the_fastest_point_of_8_bits_is_marked(terminal: Run, tiny: Any, precisions: Path, tmp_path: Path) -> None:
    document = json.loads((precisions / "pareto.json").read_text())
    by_key = {p["key"]: p for p in document["points"]}
    plain = by_key[document["plain"]]
    assert plain["precision"] == "W8A8"
    assert plain["latency_ms"] == min(p["latency_ms"] for p in by_key.values() if p["precision"] == "W8A8")
    drawing = (precisions / "pareto.svg").read_text()
    assert "<!-- fastest of 8 bits -->" in drawing
    assert "<!-- LUTs -->" in drawing
    fastest = min(by_key.values(), key=lambda p: p["latency_ms"])
    assert f"<!-- {fastest['precision']} " in drawing
    shown = terminal.run(*command(tiny, precisions, "--weight-bits", "4,8")).out
    assert f"fastest of 8 bits  W8A8 {plain['pi']} x {plain['po']}: {plain['latency_ms']:.3f} ms" in shown
    only = json.loads(terminal.run(*command(tiny, tmp_path / "out", "--weight-bits", "4", "--activation-bits", "8", "--json")).out)
    assert {p["precision"] for p in only["points"]} == {"W4A8"}
    assert only["plain"] is None


def test_impossible_bits_are_refused(terminal: Run, tiny: Any, tmp_path: Path) -> None:
    assert "2 to 8 bits, not 9" in terminal.refused(*command(tiny, tmp_path / "out", "--weight-bits", "8,9"))
    assert "numbers separated by commas" in terminal.refused(*command(tiny, tmp_path / "out", "--activation-bits", "few"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content",
    [
        b'{"quantization": []}\n',
        b'{"quantization": 4}\n',
        b"[" * 100_000 + b"\n",
        b'{"quantization": {}}\n5\n',
        b'{"quantization": {}}\n{}\n',
        b"\xff\n",
    ],
    ids=["list", "number", "brackets", "a number for a point", "an empty point", "no text"],
)
def test_points_that_somebody_damaged_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "points.jsonl").write_bytes(content)
    with pytest.raises(edgeflow.InputError, match="is damaged: remove it, or choose another folder with -o"):
        exploration.read_points(tmp_path / "points.jsonl", {"quantization": {}})


def test_a_last_line_that_was_cut_within_a_character_is_removed(tmp_path: Path) -> None:
    file = tmp_path / "points.jsonl"
    file.write_bytes(b'{"quantization": {}}\n' + "ä".encode()[:1])
    assert exploration.read_points(file, {"quantization": {}}) == []
    assert file.read_bytes() == b'{"quantization": {}}\n'
