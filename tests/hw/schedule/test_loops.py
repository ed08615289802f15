"""Loops that no scheduler could take are refused by name, variable and line; sound ones pass."""

from __future__ import annotations

from pathlib import Path

import loop_projects as projects
import pytest

from edgeflow.hw.errors import InputError, ToolchainError, UnsupportedError
from edgeflow.hw.schedule import Schedule, compiler
from edgeflow.hw.schedule.analysis import project_target, schedule_project
from edgeflow.hw.schedule.claims import Kept

pytest.importorskip("ziglang", reason="clang comes with edgeflow[schedule]")


def scheduled(folder: Path, body: str, clock_mhz: float = 300.0, **options: object) -> Schedule:
    """The schedule of one loop on UltraScale+."""
    kept = options.get("kept", {})
    assert isinstance(kept, dict)
    return schedule_project(projects.write_project(folder, body), "zynq-ultrascale+", clock_mhz, kept=kept)


@pytest.mark.parametrize("name", ["SOUND", "ONE_WRITE", "LONG_DISTANCE", "LANES"])
def test_sound_loops_pass(tmp_path: Path, name: str) -> None:
    result = scheduled(tmp_path, getattr(projects, name))
    assert result.passed, "\n".join(map(str, result.all_findings))
    assert len(result.loops) == 1


BROKEN = [
    ("LONG_RECURRENCE", "recurrence", "powers", "value", "value = value *"),
    ("TWO_WRITES", "ports", "fill_row", "row", "row[word & 63] = 0"),
    ("SHORT_DISTANCE", "recurrence", "filter_ring", "ring", "ring[n & 63] ="),
    ("INDEPENDENT", "claim", "filter_ring", "ring", "const ap_int<18> before"),
    ("HISTOGRAM", "recurrence", "count_bins", "bins", "bins[bin] = bins[bin] + 1"),
    ("TWO_READS", "ports", "take_words", "words", "total = words.read()"),
]


@pytest.mark.parametrize(("name", "kind", "loop", "variable", "line"), BROKEN)
def test_broken_loops_are_named(tmp_path: Path, name: str, kind: str, loop: str, variable: str, line: str) -> None:
    body = getattr(projects, name)
    result = scheduled(tmp_path, body)
    assert not result.passed
    seen = [(one.kind, one.loop, one.variable, one.file, one.line) for one in result.errors]
    assert (kind, loop, variable, "edgeflow_top.cpp", projects.line_of(body, line)) in seen, "\n".join(map(str, result.errors))


def test_a_loop_that_fails_at_one_clock_passes_at_a_slower_one(tmp_path: Path) -> None:
    assert not scheduled(tmp_path / "fast", projects.HISTOGRAM, 300.0).passed
    slow = projects.HISTOGRAM.replace("II=1", "II=3")
    assert scheduled(tmp_path / "slow", slow, 300.0).passed


def test_a_late_read_of_a_stream_is_a_warning(tmp_path: Path) -> None:
    result = scheduled(tmp_path, projects.LATE_READ)
    assert result.passed
    assert [(one.kind, one.level, one.variable) for one in result.all_findings] == [("late-read", "warning", "words")]


def test_what_keeps_iterations_apart_covers_a_claim_of_independence(tmp_path: Path) -> None:
    far = {("filter_ring", "ring"): Kept(64, "the test")}
    near = {("filter_ring", "ring"): Kept(2, "the test")}
    assert scheduled(tmp_path / "far", projects.INDEPENDENT, kept=far).passed
    assert [one.kind for one in scheduled(tmp_path / "near", projects.INDEPENDENT, kept=near).errors] == ["distance"]


def test_a_sum_of_lanes_is_a_tree(tmp_path: Path) -> None:
    """Eight lanes take three adders one after another, not seven: with one more than fits, another cycle."""
    result = scheduled(tmp_path, projects.LANES)
    chained = scheduled(tmp_path / "chained", projects.LANES.replace("sum += lane[i];", "sum = ap_int<20>(sum ^ (sum + lane[i]));"))
    assert result.loops[0].depth < chained.loops[0].depth


def test_a_part_and_a_clock_come_from_the_script(tmp_path: Path) -> None:
    family, clock_mhz = project_target(projects.write_project(tmp_path, projects.SOUND))
    assert (family, round(clock_mhz)) == ("zynq-ultrascale+", 300)
    (tmp_path / "run_hls.tcl").unlink()
    with pytest.raises(InputError, match="--board and --clock"):
        project_target(tmp_path)


def test_without_the_extra_one_message_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "find_spec", lambda name: None if name == "ziglang" else object())
    with pytest.raises(ToolchainError, match=r"pip install 'edgeflow\[schedule\]' \(ziglang is missing\)"):
        scheduled(tmp_path, projects.SOUND)


def test_code_that_does_not_compile_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match=r"does not compile: .*edgeflow_top.cpp:5:\d+: error: ") as caught:
        scheduled(tmp_path, "    unknown_type x;\n    x = 1;\n")
    assert "\n" not in str(caught.value)


def test_a_folder_without_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no edgeflow_top.cpp"):
        schedule_project(tmp_path, "zynq-ultrascale+", 300.0)


def test_an_inner_loop_that_stays_is_refused(tmp_path: Path) -> None:
    head, _, tail = projects.LANES.partition("add_lanes:")
    body = head + "add_lanes:" + tail.replace("i < 8", "i < count").replace("#pragma HLS UNROLL\n", "")
    with pytest.raises(UnsupportedError, match="needs a constant trip count"):
        scheduled(tmp_path, body)
