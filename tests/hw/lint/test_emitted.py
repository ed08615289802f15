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
    return lint([folder / "edgeflow_top.cpp"], [folder, folder / "include", *headers])


def test_emitted_code_is_synthesizable(tmp_path: Path) -> None:
    assert findings(overlay(tmp_path / "hls"), native_include()) == []


@pytest.mark.skipif(find_spec("hls4ml") is None, reason="the vendor's ap_int headers come with hls4ml")
def test_emitted_code_is_synthesizable_with_the_vendor_headers(tmp_path: Path) -> None:
    assert findings(overlay(tmp_path / "hls"), exact_include()) == []


FAULTS = [
    ("edgeflow_top.cpp", "#pragma HLS PIPELINE II=1", "#pragma HLS PIPLINE II=1", "unknown-pragma"),
    ("edgeflow_top.cpp", "PARTITION variable=descriptor.word", "PARTITION variable=descriptr.word", "pragma-variable"),
    ("edgeflow_top.cpp", "bundle=gmem_constants", "bundle=gmem_program", "dataflow-channel"),
    ("edgeflow_top.cpp", "#pragma HLS INTERFACE s_axilite port=count", "", "interface-missing"),
    ("include/edgeflow/dma.hpp", "#pragma HLS LOOP_TRIPCOUNT", "#pragma HLS LATENCY", "loop-bound"),
    ("include/edgeflow/array.hpp", "#pragma HLS INLINE off", "double scale;", "floating-point"),
    ("include/edgeflow/layernorm.hpp", "#pragma HLS ARRAY_PARTITION", "#pragma HLS RESET", "memory-ports"),
    ("include/edgeflow/elementwise.hpp", "#pragma HLS DEPENDENCE variable=scratch.wide inter false", "", "loop-dependence"),
]


def test_faults_in_emitted_code_are_found(tmp_path: Path) -> None:
    folder = overlay(tmp_path / "hls")
    for file, old, new, _ in FAULTS:
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new, 1))
    reported = {(str(finding.file.relative_to(folder)), finding.rule) for finding in findings(folder, native_include())}
    assert reported >= {(file, rule) for file, _, _, rule in FAULTS}
