"""No command opens a connection, or writes anywhere but to its output, the cache and the folder for temporary files.

Every call that could is watched by a library that is loaded before the C library (``watch_calls.cpp``), in the command's process
and in all of its children.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest
from tiny_transformer import Tiny

SOURCE = Path(__file__).parents[1] / "shared" / "watch_calls.cpp"
SHARED_MEMORY = "/dev/shm/"  # where worker processes meet
DEVICES = ("/dev/null", "/dev/tty")
# Where one of these is set onnxruntime takes the machine for a builder of continuous integration, and reports nothing.
OF_BUILDERS = (
    *("CI", "TF_BUILD", "GITHUB_ACTIONS", "GITLAB_CI", "TRAVIS", "CIRCLECI", "APPVEYOR", "CODEBUILD_BUILD_ID", "JENKINS_URL"),
    *("TEAMCITY_VERSION", "BUILD_ID"),
)
EXPLORATION = ("--pi", "16", "--po", "16", "--epilogue", "8", "--vector", "8", "--weight-ports", "1,2", "--jobs", "2")


@dataclass(frozen=True)
class Call:
    """A watched call and the absolute path, or the host, that it was for."""

    name: str
    target: str


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("watch") / "watch.so"
    subprocess.run(["g++", "-std=c++17", "-O1", "-fPIC", "-shared", "-w", "-o", path, SOURCE, "-ldl"], check=True)
    return path


Watch = Callable[..., list[Call]]


@pytest.fixture
def kept(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A cache of all of these tests, or of the one that clears it."""
    shared = tmp_path_factory.getbasetemp().parent / "watched-cache"
    own = tmp_path_factory.mktemp("cache")
    return own if "[cache]" in request.node.name else shared


@pytest.fixture
def watch(library: Path, kept: Path, tmp_path: Path) -> Watch:
    """Runs Python with these arguments, a home and a folder for temporary files of its own, and returns its calls."""

    def run(*arguments: object, status: int = 0) -> list[Call]:
        for name in ("home", "tmp", "cwd"):
            (tmp_path / name).mkdir(exist_ok=True)
        dropped = ("ORT_DISABLE_TELEMETRY", "EDGEFLOW_CACHE", "XDG_CACHE_HOME", "MPLCONFIGDIR", "COVERAGE_PROCESS_START")
        rest = {name: value for name, value in os.environ.items() if name not in (*dropped, *OF_BUILDERS)}
        own = {
            "HOME": tmp_path / "home",
            "TMPDIR": tmp_path / "tmp",
            "EDGEFLOW_CACHE": kept,
            "LD_PRELOAD": library,
            "WATCH_LOG": tmp_path / "log",
            "PYTHONDONTWRITEBYTECODE": 1,
        }
        command = [sys.executable, *map(str, arguments)]
        environment = rest | {name: str(value) for name, value in own.items()}
        done = subprocess.run(
            command, env=environment, cwd=tmp_path / "cwd", capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == status, done.stderr
        lines = (tmp_path / "log").read_text().splitlines() if (tmp_path / "log").exists() else []
        return [Call(*line.split("\t", 1)) for line in lines]

    return run


WITHOUT_THE_VARIABLE = """
import onnxruntime, sys, time
time.sleep(float(sys.argv[1]))
"""


def test_the_watch_sees_what_onnxruntime_does_by_itself(watch: Watch, tmp_path: Path) -> None:
    """Where this release of onnxruntime does it at all; the watch is held to seeing Python's own calls in any case."""
    calls = watch("-c", "import socket; open('x', 'w').close(); socket.getaddrinfo('localhost', 1)")
    assert Call("open", str(tmp_path / "cwd" / "x")) in calls
    assert Call("lookup", "localhost") in calls
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import os; os.rename(\"x\", \"y\")'])"
    assert Call("rename", str(tmp_path / "cwd" / "y")) in watch("-c", child)
    seconds, home = 0.5, str(tmp_path / "home")
    while not (calls := [c for c in watch("-c", WITHOUT_THE_VARIABLE, seconds) if c.target.startswith(home)]):
        seconds *= 2
        if seconds > 5:
            pins = (Path(__file__).parents[2] / "constraints.txt").read_text().split()
            assert f"onnxruntime=={version('onnxruntime')}" not in pins, "the pinned release does, and the watch must see it"
            pytest.skip("this release of onnxruntime writes nothing into the user's home")
    assert any("onnxruntime" in call.target for call in calls)


COMMANDS = {
    "compile": ("compile", "MODEL", "--calib", "DATA", "-o", "OUT/build"),
    "compile with chosen bits": ("compile", "MODEL", "--calib", "DATA", "-o", "OUT/b", "--bits", "fit", "--budget", "size=0.8x"),
    "compile, refused": ("compile", "DATA", "-o", "OUT/build"),
    "check": ("check", "MODEL"),
    "verify": ("verify", "BUILD"),
    "verify with the exact headers": ("verify", "BUILD", "--exact", "--samples", "1"),
    "simulate": ("simulate", "BUILD", "--inputs", "DATA", "--outputs", "OUT/y.npz"),
    "simulate in C++": ("simulate", "BUILD", "--inputs", "DATA", "--outputs", "OUT/y.npz", "--engine", "csim"),
    "simulate the original": ("simulate", "BUILD", "--inputs", "DATA", "--outputs", "OUT/y.npz", "--engine", "float"),
    "compare": ("compare", "BUILD", "OTHER", "--html", "OUT/comparison.html"),
    "export": ("export", "BUILD", "-o", "OUT/model.onnx", "--format", "qonnx"),
    "cycles": ("cycles", "BUILD", "--trace", "OUT/trace.json"),
    "explore": ("explore", "MODEL", "-o", "OUT/exploration", *EXPLORATION),
    "lint": ("lint", "BUILD"),
    "report": ("report", "BUILD", "--layers"),
    "boards": ("boards",),
    "cache": ("cache", "--limit", "1GB", "--clear"),
    "doctor": ("doctor",),
    "finetune": ("finetune", "MODEL", "--data", "DATA", "-o", "OUT/tuned.onnx", "--epochs", "1"),
}
NEEDS = {
    "compile with chosen bits": "torch",
    "finetune": "brevitas",
    "lint": "clang",
    "verify with the exact headers": "hls4ml",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_writes_only_where_it_should(
    name: str, watch: Watch, kept: Path, tiny: Tiny, tiny_build: Path, tmp_path: Path
) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    output = tmp_path / "out"
    output.mkdir()
    build = tmp_path / "kept" / "build"
    shutil.copytree(tiny_build, build)
    places = {"MODEL": tiny.model, "DATA": tiny.calibration, "BUILD": build, "OTHER": tiny_build}
    arguments = [str(places.get(word, word)).replace("OUT/", f"{output}/") for word in COMMANDS[name]]
    calls = watch("-m", "edgeflow.sw.cli.main", *arguments, status=2 if name.endswith("refused") else 0)
    assert [call for call in calls if call.name in ("connect", "lookup")] == []
    allowed = tuple(f"{folder}/" for folder in (output, kept, tmp_path / "tmp"))
    exact = {str(kept), *DEVICES}
    elsewhere = {
        call for call in calls if call.target not in exact and not call.target.startswith((*allowed, SHARED_MEMORY, "/proc/self/"))
    }
    assert elsewhere == set()
    assert list((tmp_path / "home").iterdir()) == []
    assert list((tmp_path / "cwd").iterdir()) == []
    if "OUT/" in " ".join(COMMANDS[name]) and not name.endswith("refused"):
        assert any(call.target.startswith(f"{output}/") for call in calls)


def test_temporary_files_go(watch: Watch, tiny: Tiny, tiny_build: Path, tmp_path: Path) -> None:
    watch("-m", "edgeflow.sw.cli.main", "verify", tiny_build)
    watch("-m", "edgeflow.sw.cli.main", "compile", tiny.model, "-o", tmp_path / "build")
    assert list((tmp_path / "tmp").iterdir()) == []
