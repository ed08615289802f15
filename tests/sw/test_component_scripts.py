"""The scripts of a project of components run to their ends under tclsh, with procedures in the place of the vendor's commands."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from operator_harness import ARCHITECTURES

from edgeflow.hw.process_network import Kind, processes
from edgeflow.sw.compiler.component_project import component_files, synthesized

ARCHITECTURE = ARCHITECTURES["8x12 axi64"]
NAMES = [component.name for component in synthesized(ARCHITECTURE)]
TCLSH = shutil.which("tclsh")
pytestmark = pytest.mark.skipif(TCLSH is None, reason="tclsh is not installed")

# Whatever Tcl does not know is written down, and answers with nothing.
RECORDER = """
proc unknown {args} { puts $::record [join $args \\x1f]; return "" }
proc exit {args} { close $::record; uplevel #0 [list _exit {*}$args] }
"""


def run(script: Path, where: Path, **environment: str) -> tuple[int, str, list[list[str]]]:
    """Exit status, errors, and the commands with their arguments."""
    record = where / "record"
    driver = where / "driver.tcl"
    head = f'rename exit _exit\nset record [open "{record}" w]\n{RECORDER}'
    driver.write_text(f"{head}\nsource [lindex $argv 0]\nclose $record\n")
    assert TCLSH is not None
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EDGEFLOW_")} | environment
    done = subprocess.run([TCLSH, driver, script], cwd=where, env=clean, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr, [line.split("\x1f") for line in record.read_text().splitlines()]


@pytest.fixture(scope="module", params=["hls", "a folder with spaces"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with recordings, though empty ones, of all components but one."""
    folder: Path = tmp_path_factory.mktemp("project") / str(request.param)
    for name, content in component_files(ARCHITECTURE, part="xck26-sfvc784-2LV-c", clock_mhz=300.0).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "data").mkdir()
    for name in (*(f"{name}.streams" for name in NAMES if name != "divide"), "program.bin", "weights.bin", "input_0.bin"):
        (folder / "data" / name).touch()
    return folder


def named(calls: Sequence[Sequence[str]], command: str) -> list[list[str]]:
    return [list(call[1:]) for call in calls if call[0] == command]


def test_every_component_is_synthesized(project: Path, tmp_path: Path) -> None:
    status, errors, calls = run(project / "run_hls.tcl", tmp_path)
    assert (status, errors) == (0, "")
    assert named(calls, "set_top") == [[f"edgeflow_{name}"] for name in NAMES]
    assert named(calls, "open_project") == [["-reset", f"edgeflow_{name}"] for name in NAMES]
    counts = {command: len(named(calls, command)) for command in ("csynth_design", "export_design", "close_project", "set_part")}
    assert set(counts.values()) == {len(NAMES)}
    assert set(map(tuple, named(calls, "set_part"))) == {("xck26-sfvc784-2LV-c",)}
    assert set(map(tuple, named(calls, "create_clock"))) == {("-period", "3.333", "-name", "default")}
    assert {process.name for process in processes() if process.kind is not Kind.CORE} == set(NAMES)


def test_what_is_simulated(project: Path, tmp_path: Path) -> None:
    """What has a recording; circuits only where the tool promises an end."""
    _, _, calls = run(project / "run_hls.tcl", tmp_path)
    tops = [call for call in calls if call[0] in ("set_top", "csim_design", "cosim_design")]
    simulated: dict[str, list[str]] = {}
    for call in tops:
        if call[0] == "set_top":
            now = simulated.setdefault(call[1].removeprefix("edgeflow_"), [])
        else:
            now.append(call[0])
    assert simulated.pop("divide") == []
    assert simulated.pop("epilogue") == ["csim_design"]
    assert set(map(tuple, simulated.values())) == {("csim_design", "cosim_design")}


def test_every_file_is_there(project: Path, tmp_path: Path) -> None:
    _, _, calls = run(project / "run_hls.tcl", tmp_path)
    files = [next(argument for argument in call if argument.startswith("/")) for call in named(calls, "add_files")]
    assert all(Path(file).is_file() for file in files)
    for name in NAMES:
        assert files.count(str(project / "components" / f"{name}.cpp")) == 1
        assert files.count(str(project / "testbenches" / f"{name}.cpp")) == 1
    assert [file for file in files if file.endswith("program.bin")] == [str(project / "data" / "program.bin")]
    flags = {call[call.index("-cflags") + 1] for call in named(calls, "add_files") if "-cflags" in call}
    assert flags == {f'-std=c++14 -I"{project}" -I"{project}/include"'}


def test_steps_and_components_can_be_chosen(project: Path, tmp_path: Path) -> None:
    status, _, calls = run(project / "run_hls.tcl", tmp_path, EDGEFLOW_STEPS="csynth", EDGEFLOW_COMPONENTS="load vector")
    assert status == 0
    assert named(calls, "set_top") == [["edgeflow_load"], ["edgeflow_vector"]]
    assert len(named(calls, "csynth_design")) == 2
    assert not {call[0] for call in calls} & {"csim_design", "cosim_design", "export_design"}


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("EDGEFLOW_STEPS", "csynth sim", "EDGEFLOW_STEPS has no step sim: csim, csynth, cosim or export"),
        ("EDGEFLOW_COMPONENTS", "multiply", "EDGEFLOW_COMPONENTS has no component multiply"),
    ],
)
def test_unknown_steps_and_components_are_refused(variable: str, value: str, message: str, project: Path, tmp_path: Path) -> None:
    status, errors, calls = run(project / "run_hls.tcl", tmp_path, **{variable: value})
    assert status == 1
    assert message in errors
    assert calls == []


def test_everything_is_packaged_as_one_ip(project: Path, tmp_path: Path) -> None:
    for name in NAMES:
        folder = tmp_path / f"edgeflow_{name}" / "solution" / "syn" / "verilog"
        folder.mkdir(parents=True)
        (folder / f"edgeflow_{name}.v").touch()
    status, errors, calls = run(project / "package_ip.tcl", tmp_path)
    assert (status, errors) == (0, "")
    added = " ".join(word for call in named(calls, "add_files") for word in call)
    for name in NAMES:
        assert added.count(f"edgeflow_{name}/solution/syn/verilog/edgeflow_{name}.v") == 1
    for file in (project / "rtl").iterdir():
        assert added.count(f"/rtl/{file.name}") == 1
    assert len(named(calls, "ipx::package_project")) == 1
    buses = [call[call.index("-busif") + 1] for call in named(calls, "ipx::associate_bus_interfaces")]
    ports = ("descriptors", "weights_0", "weights_1", "constants", "memory")
    assert buses == ["s_axi_control", *(f"m_axi_gmem_{name}" for name in ports)]
    offsets = [call[1] for call in named(calls, "set_property") if call[0] == "address_offset"]
    assert len(offsets) == len(set(offsets)) == 10
    assert len(named(calls, "ipx::save_core")) == 1


def test_a_component_without_verilog_is_named(project: Path, tmp_path: Path) -> None:
    status, errors, calls = run(project / "package_ip.tcl", tmp_path)
    assert status == 1
    assert "edgeflow_fetch_program/solution/syn/verilog has no Verilog: run run_hls.tcl with the step csynth" in errors
    assert not named(calls, "ipx::package_project")
