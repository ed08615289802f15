"""Ctrl-C, wherever it falls: one line, exit status 130, and the build that was there before."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import numpy as np
import pytest
from command_line import STEP_LINES
from tiny_transformer import Tiny

from edgeflow.sw.cli.interrupts import terminable
from edgeflow.sw.files import replacement
from edgeflow.sw.flow import steps

if TYPE_CHECKING:
    from _typeshed import TraceFunction

INTERRUPT_AT = """
import dataclasses, os, signal, sys
import edgeflow.sw.flow.steps as steps
from edgeflow.sw.cli.main import main
when, where = sys.argv[1:3]
def wrap(step):
    def stepped(state):
        if (step.name, "before") == (when, where):
            os.kill(os.getpid(), signal.SIGINT)
        step.function(state)
        if (step.name, "after") == (when, where):
            os.kill(os.getpid(), signal.SIGINT)
    asked = step.name not in ("bits", "budgets") or when == step.name
    return dataclasses.replace(step, function=stepped, wanted=lambda request: asked)
steps.STEPS = tuple(wrap(step) for step in steps.STEPS)
sys.exit(main(sys.argv[3:]))
"""


@pytest.mark.parametrize(("step", "where"), [*((step.name, "before") for step in steps.STEPS), (steps.STEPS[-1].name, "after")])
def test_ctrl_c_at_any_step_leaves_the_old_build(tiny: Tiny, workplace: Path, step: str, where: str) -> None:
    options = ["compile", str(tiny.model), "--board", "zcu102", "-o", str(workplace / "build")]
    command = [sys.executable, "-c", INTERRUPT_AT, step, where, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, STEP_LINES.sub("", done.stderr)) == (130, "", "error: interrupted\n")
    assert [p.name for p in workplace.iterdir()] == ["build"]


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.3])
def test_ctrl_c_in_the_middle_of_the_real_command(tiny: Tiny, workplace: Path, delay: float) -> None:
    np.savez(workplace / "data.npz", tokens=np.random.default_rng(0).normal(size=(20_000, 5, 16)).astype(np.float32))
    command = [sys.executable, "-m", "edgeflow.sw.cli.main", "compile", str(tiny.model), "--calib", str(workplace / "data.npz")]
    child = subprocess.Popen([*command, "-o", str(workplace / "build")], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(workplace.glob(".edgeflow-*")):
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(delay)
    child.send_signal(signal.SIGINT)
    assert STEP_LINES.sub("", child.communicate(timeout=60)[1]) == "error: interrupted\n"
    assert child.returncode == 130
    assert sorted(p.name for p in workplace.iterdir()) == ["build", "data.npz"]


KILL = "os.kill(os.getpid(), signal.SIGINT); signal.sigtimedwait([], 10)"
WRONG_MOMENTS = {
    "code executed from text": f"exec({KILL!r})",  # imports do that; the interpreter, left to itself, would end by the signal
    "a finalizer": f"exec('class A:\\n def __del__(self): {KILL}\\nA()'); time.sleep(30)",
    "a callback from C": f"call = ctypes.CFUNCTYPE(None)(lambda: exec(compile({KILL!r}, 'llvmlite/x.py', 'exec')))\n"
    "    call(); time.sleep(30)",
}


@pytest.mark.parametrize("moment", WRONG_MOMENTS)
def test_ctrl_c_at_a_wrong_moment(moment: str, tmp_path: Path) -> None:
    """Where an exception would be printed and forgotten, it is raised later; the exit status says that it came."""
    (tmp_path / "interrupted.py").write_text(
        "import ctypes, os, signal, sys, time\n"
        "from edgeflow.sw.cli import main as cli\n"
        f"def run(words):\n    {WRONG_MOMENTS[moment]}\n"
        "cli._run = run\n"
        "sys.exit(cli.main())\n"
    )
    command = [sys.executable, "-m", "interrupted"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=20)
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")


def test_ctrl_c_waits_while_a_build_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = replacement._replace

    def interrupted(work: Path, target: Path) -> None:
        killer = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT))
        killer.start()
        killer.join()
        replace(work, target)

    monkeypatch.setattr(replacement, "_replace", interrupted)
    with pytest.raises(KeyboardInterrupt), replacement.new_build(tmp_path / "build") as folder:
        (folder / "manifest.json").write_text("{}")
    assert (tmp_path / "build" / "manifest.json").read_text() == "{}"
    assert [p.name for p in tmp_path.iterdir()] == ["build"]


def interrupt_at(moment: int, call: Callable[[], None]) -> bool:
    """Run ``call`` with SIGINT sent before the line of ``replacement`` that is number ``moment`` to be reached; whether it is."""
    lines = 0

    def line(_frame: FrameType, event: str, _argument: object) -> TraceFunction | None:
        nonlocal lines
        if event == "line":
            lines += 1
            if lines == moment:
                signal.raise_signal(signal.SIGINT)
        return line

    def function(frame: FrameType, _event: str, _argument: object) -> TraceFunction | None:
        return line if frame.f_code.co_filename == replacement.__file__ else None

    before = sys.gettrace()
    with suppress(KeyboardInterrupt), terminable():
        sys.settrace(function)
        try:
            call()
        finally:
            sys.settrace(before)
    return lines >= moment


@pytest.mark.parametrize("there", [False, True])
def test_nothing_is_left_by_ctrl_c_at_any_line(tmp_path: Path, there: bool) -> None:
    target = tmp_path / "above" / "build"
    if there:
        target.mkdir(parents=True)
        (target / "manifest.json").write_text("{}")

    def build() -> None:
        replacement.check_room(target)
        with replacement.new_build(target) as folder:
            (folder / "manifest.json").write_text("{}")

    moments = 0
    while interrupt_at(moments + 1, build):
        moments += 1
        assert [p.name for p in tmp_path.iterdir()] in ([], ["above"])
        assert not target.parent.exists() or [p.name for p in target.parent.iterdir()] == ["build"]
        if not there:
            shutil.rmtree(target.parent, ignore_errors=True)
    assert moments > 60


def test_what_c_code_makes_of_an_interruption_is_one() -> None:
    """A module whose initialization is interrupted raises an ImportError."""

    def load() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except BaseException as error:
            raise ImportError("initialization failed") from error

    with pytest.raises(KeyboardInterrupt), terminable():
        load()


def test_a_signal_behind_the_end_changes_nothing(tmp_path: Path) -> None:
    """The interpreter takes a while to end."""
    ends = "import atexit, os, signal, sys; from edgeflow.sw.cli.main import main; sys.argv[1:] = sys.argv[2:]; "
    ends += "atexit.register(os.kill, os.getpid(), int(sys.orig_argv[3])); sys.exit(main())"
    for number in (signal.SIGINT, signal.SIGTERM):
        command = [sys.executable, "-c", ends, str(int(number)), "boards"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        assert "kv260" in done.stdout
