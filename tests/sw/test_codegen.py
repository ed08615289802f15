"""The emitted HLS project: it compiles without warnings, the linter finds nothing, golden texts stand."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from operator_harness import ARCHITECTURES, case_graph, case_inputs, operator_cases, reference

from edgeflow.hw.lint import lint_project
from edgeflow.sim import csim
from edgeflow.sim.headers import native_include
from edgeflow.sw.compiler.codegen import overlay_sources
from edgeflow.sw.compiler.component_project import write_component_project
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
    write_component_project(folder, program, part="xck26-sfvc784-2LV-c", clock_mhz=200.0, samples=samples)
    return folder


def test_emitted_code_is_synthesizable(project: Path) -> None:
    findings = lint_project(project)
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
    for file in sorted((project / "components").glob("*.cpp")):
        done = subprocess.run([csim.compiler(), *flags, *include, str(file)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[:2000]


def test_generated_texts_match_golden_files(request: pytest.FixtureRequest) -> None:
    """Refresh with ``pytest --refresh-golden`` after a wanted change. Of the components two are kept: the one with registers, and
    one that has neither those nor memories."""
    sources = overlay_sources(ARCHITECTURE)
    kept = [name for name in sources if "/" not in name or name.endswith(("/sequence.cpp", "/load.cpp"))]
    for name, text in ((name, sources[name]) for name in kept):
        path = GOLDEN / f"{name}.txt"
        if request.config.getoption("--refresh-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        assert text == path.read_text(), f"{name} changed: look at the difference, then run pytest --refresh-golden"


def test_library_build_is_cached(project: Path) -> None:
    first = csim.build(project)
    same = first.stat().st_ino
    assert csim.build(project) == first
    assert first.stat().st_ino == same


def test_sources_that_do_not_compile_are_a_toolchain_error(project: Path, tmp_path: Path) -> None:
    from edgeflow.hw.errors import ToolchainError

    shutil.copytree(project, tmp_path / "hls")
    (tmp_path / "hls" / "components" / "load.cpp").write_text("int main( {")
    with pytest.raises(ToolchainError, match="does not compile"):
        csim.build(tmp_path / "hls")


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
