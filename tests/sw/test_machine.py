"""The machine fails: one clear line and exit status 2, never a traceback, an internal error or a signal."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from command_line import STEP_LINES, Terminal, snapshot
from tiny_transformer import Tiny

import edgeflow
from edgeflow.hw import tools
from edgeflow.sim import csim
from edgeflow.sw.cli.memory import needed

MAIN = f"{sys.executable} -m edgeflow.sw.cli.main"


def shell(script: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Bash, with ``edgeflow`` as a function."""
    text = f'edgeflow() {{ {MAIN} "$@"; }}\n{script}'
    return subprocess.run(["bash", "-c", text], capture_output=True, text=True, timeout=120, check=False, **options)  # type: ignore[call-overload,no-any-return]


def one_line(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert done.returncode == 2
    message = STEP_LINES.sub("", done.stderr)
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    for part in parts:
        assert part in message


# Streams


@pytest.mark.parametrize("options", ["", "--json"])
def test_a_closed_output(options: str) -> None:
    one_line(shell(f"edgeflow {options} boards >&-"), "standard output is closed")


@pytest.mark.parametrize("options", ["", "--json"])
def test_a_full_output(options: str) -> None:
    one_line(shell(f"edgeflow {options} boards >/dev/full"), "no space left on device")


def test_errors_that_cannot_be_shown() -> None:
    for stream in ("2>&-", "2>/dev/full", ">&- 2>&- <&-"):
        done = shell(f"edgeflow boards nothing {stream}")
        assert (done.returncode, done.stdout, done.stderr) == (2, "", "")
    assert shell("edgeflow boards <&- 2>&-").returncode == 0


def test_a_file_never_gets_the_number_of_a_closed_stream(tiny: Tiny, tmp_path: Path) -> None:
    """What is printed must not end up in a file that was opened under the number of the output."""
    done = shell(f"edgeflow -q compile {tiny.model} -o {tmp_path / 'b'} >&- 2>&- <&-")
    assert done.returncode == 0
    assert edgeflow.verify(tmp_path / "b").passed


@pytest.mark.parametrize("command", ["boards", "--json boards", "--help"])
def test_a_pipe_that_nobody_reads(command: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout:
        done = subprocess.run([*MAIN.split(), *command.split()], stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


# Folders and disks


def test_the_working_folder_is_gone(tiny: Tiny, tmp_path: Path) -> None:
    gone = f"mkdir {tmp_path / 'gone'}; cd {tmp_path / 'gone'}; rmdir {tmp_path / 'gone'}; "
    for command in (f"compile {tiny.model}", f"explore {tiny.model} -o x", f"export {tmp_path} -o y.onnx"):
        done = shell(gone + f"edgeflow {command}", cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.count("error: ") == 1
    one_line(shell(gone + f"edgeflow compile {tiny.model}"), "the working folder does not exist any more")


def test_a_disk_that_is_full_leaves_the_old_build(tiny: Tiny, workplace: Path) -> None:
    """A limit of the size of files stands for it: the system refuses to write more in the same way."""
    before = snapshot(workplace)
    for blocks in (1, 8, 16, 32):
        done = shell(f"ulimit -f {blocks}; edgeflow -q compile {tiny.model} -o {workplace / 'build'}")
        one_line(done, "file too large")
        assert snapshot(workplace) == before


def test_a_cache_that_is_full_or_closed_is_none(tiny_build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for place in ("/dev/full", tmp_path / "file", tmp_path / "file" / "below", "/proc/nothing"):
        monkeypatch.setenv("EDGEFLOW_CACHE", str(place))
        library = csim.build(tiny_build / "hls")
        assert library.is_file()
        assert csim.build(tiny_build / "hls") == library
    assert edgeflow.verify(tiny_build).passed


# Compilers


def compiler(folder: Path, script: str) -> str:
    """A compiler that knows its version and then does as the script says."""
    path = folder / "compiler"
    path.write_text(f'#!/bin/bash\n[ "$1" = --version ] && echo "compiler 1.0" && exit\n{script}\n')
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("script", "part"),
    [
        ("echo 'x.cpp:1: error: it is Monday' >&2; exit 1", "it is Monday"),
        ("exit 3", "exit status 3"),
        ("exit 0", "wrote no library"),
        ("kill -SEGV $$", "was ended by SIGSEGV"),
        ("head -c 100 /dev/urandom >&2; exit 1", "does not compile"),
        ('while [ "$1" != -o ]; do shift; done; echo none > "$2"', "cannot be loaded"),
        ("sleep 100 & sleep 100", "did not end within"),
    ],
)
def test_a_compiler_that_fails(
    terminal: Terminal, tiny_build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, part: str
) -> None:
    monkeypatch.setenv("CXX", compiler(tmp_path, script))
    monkeypatch.setenv("EDGEFLOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tools, "SECONDS", 1.0)
    began = time.monotonic()
    message = terminal.refused("verify", tiny_build)
    assert part in message
    assert "set CXX" in message
    assert time.monotonic() - began < 60


def test_a_compiler_that_is_none(terminal: Terminal, tiny_build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "script").write_text("no program")
    (tmp_path / "script").chmod(0o755)
    for name in (tmp_path / "script", tmp_path, tmp_path / "nothing", "true", "false"):
        monkeypatch.setenv("CXX", str(name))
        assert "C++ compiler" in terminal.refused("verify", tiny_build)


def test_a_hanging_compiler_ends_with_all_of_its_processes(tmp_path: Path) -> None:
    script = compiler(tmp_path, f"sleep 100 & echo $! > {tmp_path / 'child'}; wait")
    with pytest.raises(edgeflow.ToolchainError, match="did not end within 1 seconds; buy another"):
        tools.run_tool([script], "buy another", seconds=1)
    child = Path("/proc") / (tmp_path / "child").read_text().strip()
    deadline = time.monotonic() + 10
    while child.exists() and "\nState:\tZ" not in (child / "status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# Memory


ENOUGH = needed() // 1024
"""kB of address space with which a small model compiles."""


@pytest.mark.parametrize("kilobytes", [60_000, *range(100_000, 1_000_000, 100_000), 440_000, 460_000, 480_000, ENOUGH - 1])
def test_too_little_memory(tiny: Tiny, tmp_path: Path, kilobytes: int) -> None:
    """No library is asked to load, whose lines would come first, and which may hang."""
    done = shell(f"ulimit -v {min(kilobytes, ENOUGH - 1)}; edgeflow -q compile {tiny.model} -o {tmp_path / 'build'}")
    one_line(done, "out of memory: the address space is limited to", f"raise the limit (ulimit -v unlimited, or at least {ENOUGH})")
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize("more", [0, 20_000, 60_000])
def test_the_memory_that_a_message_names_is_enough(tiny: Tiny, tmp_path: Path, more: int) -> None:
    done = shell(f"ulimit -v {ENOUGH + more}; edgeflow -q compile {tiny.model} -o {tmp_path / 'build'}")
    assert (done.returncode, done.stderr) == (0, "")


def test_memory_that_onnxruntime_is_refused() -> None:
    """While it runs a model: its exceptions are of classes of their own, and name nodes, which may be called anything."""
    script = """
        import resource, sys
        import numpy as np, onnxruntime
        from onnx import TensorProto, helper
        from edgeflow.sw.cli.memory import out_of_memory
        wide = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        shape = helper.make_tensor_value_info("s", TensorProto.INT64, [2])
        node = helper.make_node("ConstantOfShape", ["s"], ["y"], name="bad_alloc")
        model = helper.make_model(helper.make_graph([node], "g", [shape], [wide]), opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        session = onnxruntime.InferenceSession(model.SerializeToString())
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, resource.RLIM_INFINITY))
        try:
            session.run(None, {"s": np.array([1 << 15, int(sys.argv[1])])})
        except Exception as error:
            print(out_of_memory(error))
    """
    for columns, message in ((1 << 18, "out of memory: the address space is limited to 4294 MB"), (-1, "None")):
        command = [sys.executable, "-c", textwrap.dedent(script), str(columns)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        assert done.stdout.startswith(message)


def test_commands_that_load_no_library_need_little_memory() -> None:
    for command in ("--help", "--version", "boards", "compile --help"):
        done = shell(f"ulimit -v 100000; edgeflow {command}")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout


def test_too_little_memory_is_one_document(tiny: Tiny, tmp_path: Path) -> None:
    done = shell(f"ulimit -v 150000; edgeflow --json compile {tiny.model} -o {tmp_path / 'build'}")
    assert json.loads(done.stdout)["error"]["exit_status"] == 2


def test_a_limit_that_is_enough_changes_nothing(tiny_build: Path, tmp_path: Path) -> None:
    limited = shell(f"ulimit -v 32000000; edgeflow --json report {tiny_build}")
    assert (limited.returncode, limited.stderr) == (0, "")
    assert json.loads(limited.stdout)["model"] == "tiny.onnx"
    assert shell("ulimit -v 32000000; edgeflow report nothing").returncode == 2
    shutil.copytree(tiny_build, tmp_path / "build")
    (tmp_path / "build" / "report.html").write_text("")
    one_line(shell(f"ulimit -v 32000000; edgeflow report {tmp_path / 'build'}"), "report.html")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_reach_a_limited_command(tiny: Tiny, workplace: Path, number: signal.Signals, status: int) -> None:
    script = f"ulimit -v 32000000; exec {MAIN} -q compile {tiny.model} -o {workplace / 'build'}"
    child = subprocess.Popen(["bash", "-c", script], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(workplace.glob(".edgeflow-*")):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    child.send_signal(number)
    assert child.communicate(timeout=60)[1] in ("error: interrupted\n", "error: terminated\n")
    assert child.returncode == status
    assert [p.name for p in workplace.iterdir()] == ["build"]


@pytest.mark.parametrize(("number", "exception"), [(signal.SIGINT, "KeyboardInterrupt"), (signal.SIGTERM, "Terminated")])
def test_a_limited_command_that_ends_for_no_signal_is_killed(number: signal.Signals, exception: str) -> None:
    """A library that hangs lets no handler of Python's run."""
    script = """
        import signal, time
        from edgeflow.sw.cli import memory
        def hang():
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
            print("hangs", flush=True)
            time.sleep(100)
        memory.GRACE_SECONDS = 0.5
        print(repr(memory.supervised(hang)))
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == "hangs\n"
        began = time.monotonic()
        watcher.send_signal(number)
        assert watcher.stdout.read() == f"{exception}()\n"
        assert 0.5 <= time.monotonic() - began < 30
