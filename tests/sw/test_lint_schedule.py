"""``edgeflow lint --schedule``: the table, the findings, the document, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import loop_projects as projects
import pytest
from command_line import Terminal

pytest.importorskip("ziglang", reason="clang comes with edgeflow[schedule]")


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


def test_a_sound_loop_passes(terminal: Terminal, tmp_path: Path) -> None:
    outcome = terminal.run("lint", "--schedule", projects.write_project(tmp_path, projects.SOUND))
    assert (outcome.status, outcome.err) == (0, "")
    assert "sum_words" in outcome.out
    assert "ultrascale-plus at 300.03 MHz: 2.43 ns a cycle" in outcome.out
    assert "every one of 1 loops has a schedule" in outcome.out


def test_a_broken_loop_is_named_with_what_to_do(terminal: Terminal, tmp_path: Path) -> None:
    folder = projects.write_project(tmp_path, projects.LONG_RECURRENCE)
    outcome = terminal.run("lint", "--schedule", folder)
    assert (outcome.status, outcome.err) == (1, "")
    line = projects.line_of(projects.LONG_RECURRENCE, "value = value *")
    assert f"edgeflow_top.cpp:{line}: error: powers: value takes " in outcome.out
    assert "compute it an iteration ahead" in outcome.out
    quiet = terminal.run("lint", "--schedule", folder, "--quiet").out.splitlines()
    assert [": error: " in shown for shown in quiet] == [True]


def test_the_document_has_every_loop(terminal: Terminal, tmp_path: Path) -> None:
    folder = projects.write_project(tmp_path, projects.TWO_WRITES)
    outcome = terminal.run("lint", "--schedule", folder, "--json")
    document = json.loads(outcome.out)
    assert (outcome.status, document["passed"], document["family"]) == (1, False, "ultrascale-plus")
    (loop,) = document["loops"]
    assert (loop["name"], loop["interval"]) == ("fill_row", 1)
    assert [(one["kind"], one["variable"]) for one in loop["findings"]] == [("ports", "row")]
    (row,) = (one for one in loop["memories"] if one["variable"] == "row")
    assert (row["reads"], row["writes"], row["storage"]) == (0, 2, "ram_s2p")


def test_board_and_clock_come_before_the_script(terminal: Terminal, tmp_path: Path) -> None:
    folder = projects.write_project(tmp_path, projects.SOUND)
    (folder / "run_hls.tcl").unlink()
    assert "--board and --clock" in terminal.refused("lint", "--schedule", folder)
    outcome = terminal.run("lint", "--schedule", folder, "--board", "pynq-z2", "--clock", "100")
    assert outcome.status == 0
    assert "series-7 at 100 MHz: 7.30 ns a cycle" in outcome.out


def test_a_folder_without_code_is_refused(terminal: Terminal, tmp_path: Path) -> None:
    assert "edgeflow_top.cpp" in terminal.refused("lint", "--schedule", tmp_path, "--board", "kv260", "--clock", "250")
