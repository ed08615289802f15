"""The emitted HLS project: it compiles, its testbench passes and can fail, the linter finds nothing, golden texts stand."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from operator_harness import ARCHITECTURES, case_graph, case_inputs, operator_cases, reference

from edgeflow.hw.lint import lint
from edgeflow.sim import csim
from edgeflow.sim.headers import native_include
from edgeflow.sw.compiler.codegen import overlay_sources, write_hls
from edgeflow.sw.compiler.lowering import lower
from edgeflow.sw.compiler.network import Network

GOLDEN = Path(__file__).parent / "golden"
ARCHITECTURE = ARCHITECTURES["16x16 axi128"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An HLS project whose program is one linear layer."""
    folder = tmp_path_factory.mktemp("project")
    case = operator_cases("linear")[2]
    inputs, outputs = case_inputs(case), reference(case)
    samples = [({"in0": inputs["in0"][i]}, {"out": outputs[i]}) for i in range(len(outputs))]
    program = lower(Network(case_graph(case)), ARCHITECTURE)
    write_hls(folder, program, part="xck26-sfvc784-2LV-c", clock_mhz=200.0, samples=samples)
    return folder


@pytest.fixture(scope="module")
def testbench(project: Path) -> Path:
    binary = project / "testbench"
    include = [f"-I{f}" for f in (project, project / "include", *native_include())]
    sources = [str(project / "testbench.cpp"), str(project / "edgeflow_top.cpp")]
    command = [csim.compiler(), "-std=c++14", "-O1", "-Wno-unknown-pragmas", *include, "-o", str(binary), *sources]
    subprocess.run(command, check=True)
    return binary


def run(testbench: Path, data: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([testbench, data], capture_output=True, text=True, check=False)


def test_testbench_passes_on_golden_data(project: Path, testbench: Path) -> None:
    done = run(testbench, project / "data")
    assert done.stdout.startswith("0 of ")
    assert done.returncode == 0


def test_testbench_sees_one_wrong_byte(project: Path, testbench: Path, tmp_path: Path) -> None:
    for file in (project / "data").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    raw = bytearray((tmp_path / "output_1.bin").read_bytes())
    raw[8] ^= 1  # the first word of the record behind its line and length
    (tmp_path / "output_1.bin").write_bytes(bytes(raw))
    done = run(testbench, tmp_path)
    assert done.stdout.startswith("1 of ")
    assert done.returncode == 1


def test_testbench_needs_its_data(testbench: Path, tmp_path: Path) -> None:
    done = run(testbench, tmp_path)
    assert done.returncode == 2
    assert "cannot open" in done.stderr


def test_emitted_code_is_synthesizable(project: Path) -> None:
    findings = lint([project / "edgeflow_top.cpp"], [project, project / "include", *native_include()])
    assert not findings, "\n".join(f"{f.file}:{f.line}: {f.rule}: {f.message}" for f in findings)


def test_emitted_code_compiles_without_warnings(project: Path) -> None:
    include = [f"-I{f}" for f in (project, project / "include")] + [f"-isystem{f}" for f in native_include()[:2]]
    flags = [
        "-std=c++14",
        "-fsyntax-only",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wno-unknown-pragmas",
        "-Wno-unused-parameter",
        "-Wno-unused-label",
    ]
    done = subprocess.run(
        [csim.compiler(), *flags, *include, str(project / "edgeflow_top.cpp")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[:2000]


def test_tcl_names_part_clock_and_every_file(project: Path) -> None:
    text = (project / "run_hls.tcl").read_text()
    assert "set_part xck26-sfvc784-2LV-c" in text
    assert "create_clock -period 5.000" in text
    for line in text.splitlines():
        for word in line.split():
            if word.startswith("$folder/") and word.endswith(".cpp"):
                assert (project / word.removeprefix("$folder/")).is_file()


def test_generated_texts_match_golden_files(request: pytest.FixtureRequest) -> None:
    """Refresh with ``pytest --refresh-golden`` after a wanted change."""
    for name, text in overlay_sources(ARCHITECTURE).items():
        path = GOLDEN / f"{name}.txt"
        if request.config.getoption("--refresh-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        assert text == path.read_text(), f"{name} changed: look at the difference, then run pytest --refresh-golden"


def test_library_build_is_cached(project: Path) -> None:
    first = csim.build(project)
    same = first.stat().st_ino
    assert csim.build(project) == first
    assert first.stat().st_ino == same


def test_sources_that_do_not_compile_are_a_toolchain_error(project: Path, tmp_path: Path) -> None:
    from edgeflow.hw.errors import ToolchainError

    for file in [*project.glob("*.?pp"), *(project / "include" / "edgeflow").glob("*")]:
        target = tmp_path / file.relative_to(project)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(file.read_text())
    (tmp_path / "edgeflow_top.cpp").write_text("int main( {")
    with pytest.raises(ToolchainError, match="does not compile"):
        csim.build(tmp_path)


def test_padding_never_reaches_an_output(project: Path) -> None:
    """Garbage between the last channel and the end of a row changes nothing."""
    case = operator_cases("linear")[1]
    program = lower(Network(case_graph(case)), ARCHITECTURE)
    inputs = case_inputs(case)["in0"]
    with csim.CSimulation(program, csim.build(project)) as simulation:
        place = next(a for a in program.allocations if a.tensor == "in0")
        assert place.line is not None
        garbage = np.full(place.lines * 64, 0x55, dtype=np.uint8)
        simulation._library.edgeflow_csim_write(simulation._handle, place.line * 64, garbage.ctypes.data, garbage.size)
        clean = simulation.run({"in0": inputs[0]})["out"]
    np.testing.assert_array_equal(clean, reference(case)[0])
