"""The C++ that EdgeFlow emits has no findings, and the linter really looks at it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.lint import Finding, lint
from edgeflow.hw.ops import instruction_layouts
from edgeflow.sim.headers import exact_include, native_include
from edgeflow.sw.compiler.codegen import write_overlay


def overlay(folder: Path) -> Path:
    """Emit an accelerator with every unit."""
    write_overlay(folder, Architecture(units=tuple(layout.name for layout in instruction_layouts())))
    return folder


def findings(folder: Path, headers: list[Path]) -> list[Finding]:
    files = sorted((folder / "components").glob("*.cpp"))
    whole = folder / "components.cpp"
    whole.write_text("".join(f'#include "components/{file.name}"\n' for file in files))
    return lint([whole], [folder, folder / "include", *headers], top=[f"edgeflow_{file.stem}" for file in files])


def test_emitted_code_is_synthesizable(tmp_path: Path) -> None:
    assert findings(overlay(tmp_path / "hls"), native_include()) == []


@pytest.mark.skipif(find_spec("hls4ml") is None, reason="the vendor's ap_int headers come with hls4ml")
def test_emitted_code_is_synthesizable_with_the_vendor_headers(tmp_path: Path) -> None:
    assert findings(overlay(tmp_path / "hls"), exact_include()) == []


NETWORK = "include/edgeflow/network"
FAULTS = [
    (f"{NETWORK}/feed.hpp", "#pragma HLS PIPELINE II=1", "#pragma HLS PIPLINE II=1", "unknown-pragma"),
    (f"{NETWORK}/fetch.hpp", "PARTITION variable=descriptor.word", "PARTITION variable=descriptr.word", "pragma-variable"),
    ("components/sequence.cpp", "#pragma HLS INTERFACE s_axilite port=count bundle=control offset=0x58", "", "interface-missing"),
    ("include/edgeflow/dma.hpp", "#pragma HLS LOOP_TRIPCOUNT", "#pragma HLS LATENCY", "loop-bound"),
    (f"{NETWORK}/multiply.hpp", "RowSums<C> total;", "double scale; RowSums<C> total;", "floating-point"),
    (f"{NETWORK}/normalize.hpp", "#pragma HLS ARRAY_PARTITION variable=state.gain", "#pragma HLS RESET", "memory-ports"),
]


def test_faults_in_emitted_code_are_found(tmp_path: Path) -> None:
    folder = overlay(tmp_path / "hls")
    for file, old, new, _ in FAULTS:
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new, 1))
    reported = {(str(finding.file.relative_to(folder)), finding.rule) for finding in findings(folder, native_include())}
    assert reported >= {(file, rule) for file, _, _, rule in FAULTS}
