"""The components of an accelerator's processes: they compile, the linter finds nothing, and their testbenches replay recordings."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from array_networks import attending, mlp, stream
from component_projects import build_testbenches, record, replay, write_sources, written_places
from operator_harness import ARCHITECTURES

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.lint import lint_project
from edgeflow.hw.process_network import Kind, channels, processes
from edgeflow.sim import csim
from edgeflow.sim.headers import exact_include
from edgeflow.sw.compiler.codegen import overlay_files
from edgeflow.sw.compiler.components import components, identity

ARCHITECTURE = ARCHITECTURES["16x16 axi128"]
NAMES = {component.name: component for component in components(ARCHITECTURE)}
NETWORKS = {
    "attention": attending(150, 2, 16),
    "normalization": stream(21, 64, 300),
    "two rows at once": mlp(7, 96, 80, 4, 4),
}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("recordings")
    for name, graph in NETWORKS.items():
        record(folder / name, graph, ARCHITECTURE)
    return {name: folder / name / "hls" / "data" for name in NETWORKS}


@pytest.fixture(scope="module")
def testbenches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_testbenches(tmp_path_factory.mktemp("components"), ARCHITECTURE)


def test_recordings_are_replayed_without_a_difference(recordings: dict[str, Path], testbenches: Path) -> None:
    """Every process makes, call by call, the words that it made among the others; together the networks use all of them."""
    used = set()
    for name, data in recordings.items():
        for process, (status, different, compared) in replay(testbenches, data, NAMES).items():
            assert (status, different) == (0, 0), f"{name}, {process}: {different} of {compared}"
            used |= {process} if compared else set()
    assert used == set(NAMES)


@pytest.mark.parametrize("process", ["fetch_program", "multiply", "epilogue", "vector"])
def test_one_changed_word_is_noticed(process: str, recordings: dict[str, Path], testbenches: Path, tmp_path: Path) -> None:
    for file in recordings["attention"].iterdir():
        (tmp_path / file.name).symlink_to(file)
    path = tmp_path / f"{process}.streams"
    content = bytearray(path.read_bytes())
    content[written_places(bytes(content), NAMES[process], ARCHITECTURE.word_bytes)[-1]] ^= 1
    path.unlink()
    path.write_bytes(content)
    status, different, _ = replay(testbenches, tmp_path, [process])[process]
    assert (status, different) == (1, 1)


def test_a_recording_of_another_accelerator_is_refused(recordings: dict[str, Path], testbenches: Path, tmp_path: Path) -> None:
    (tmp_path / "track.streams").write_bytes((recordings["attention"] / "weigh.streams").read_bytes())
    done = subprocess.run([testbenches, "track", tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "track.streams is of another accelerator" in done.stderr


def test_a_recording_that_is_not_there_is_named(testbenches: Path, tmp_path: Path) -> None:
    done = subprocess.run([testbenches, "ask", tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, "cannot open" in done.stderr) == (2, True)


@pytest.mark.parametrize("architecture", [*sorted(ARCHITECTURES), "dma elementwise", "dma linear"])
def test_components_compile_with_the_exact_headers(architecture: str, tmp_path: Path) -> None:
    """Of accelerators with few units, too."""
    known = ARCHITECTURES.get(architecture, Architecture(units=tuple(architecture.split())))
    write_sources(tmp_path, known)
    lines = [f'#include "components/{component.name}.cpp"\n' for component in components(known)]
    (tmp_path / "all.cpp").write_text("".join(lines))
    include = [f"-I{path}" for path in (tmp_path, tmp_path / "include", *exact_include())]
    command = [csim.compiler(), "-std=c++14", "-fsyntax-only", "-w", *include, str(tmp_path / "all.cpp")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr[:500]) == (0, "")


def test_every_stream_and_port_is_an_interface_of_its_component() -> None:
    """A queue each, an AXI port each, and one component with registers."""
    sources = {name: content.decode() for name, content in overlay_files(ARCHITECTURE).items()}
    for process in processes():
        if process.name not in NAMES:
            continue
        text = sources[f"components/{process.name}.cpp"]
        assert text.count("#pragma HLS INTERFACE ap_fifo") == len(process.streams)
        assert text.count("#pragma HLS INTERFACE m_axi") == len(process.pointers(ARCHITECTURE.weight_ports))
        assert text.count("offset=off") == text.count("m_axi")
        controlled = process.kind is Kind.CONTROL
        assert text.count("s_axilite port=return") == int(controlled)
        assert text.count("ap_ctrl_none port=return") == int(not controlled)
        for name in process.streams:
            assert f"hls::stream<{channels()[name].type}>& {name}_stream" in text


def test_accelerators_of_other_sizes_have_other_identities() -> None:
    assert len({identity(architecture) for architecture in ARCHITECTURES.values()}) == len(ARCHITECTURES)


def test_the_linter_has_nothing_to_say(testbenches: Path) -> None:
    findings = lint_project(testbenches.parent)
    assert not findings, "\n".join(f"{f.file}:{f.line}: {f.rule}: {f.message}" for f in findings)


def test_the_linter_knows_the_top_functions(tmp_path: Path) -> None:
    """An interface of a function that is none, and an argument of one without an interface."""
    write_sources(tmp_path, ARCHITECTURE)
    path = tmp_path / "components" / "ask.cpp"
    text = path.read_text().replace("#pragma HLS INTERFACE ap_fifo port=wide_requests_stream\n", "")
    path.write_text(text + "void other() {\n#pragma HLS INTERFACE ap_ctrl_none port=return\n}\n")
    findings = [(finding.file.name, finding.rule) for finding in lint_project(tmp_path)]
    assert ("ask.cpp", "interface-missing") in findings
    assert ("ask.cpp", "interface-outside-top") in findings
