"""The C++ that EdgeFlow emits has no findings, and the linter really looks at it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.lint import Finding, lint
from edgeflow.hw.ops import instruction_layouts
from edgeflow.sim.headers import native_include
from edgeflow.sw.codegen import write_overlay


def overlay(folder: Path) -> Path:
    """Emit an accelerator with every unit."""
    write_overlay(folder, Architecture(units=tuple(layout.name for layout in instruction_layouts())))
    return folder


def findings(folder: Path) -> list[Finding]:
    return lint([folder / "edgeflow_top.cpp"], [native_include()[0], folder / "include"])


def test_emitted_code_is_synthesizable(tmp_path: Path) -> None:
    assert findings(overlay(tmp_path / "hls")) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "rule"),
    [
        ("edgeflow_top.cpp", "#pragma HLS PIPELINE II=1", "#pragma HLS PIPLINE II=1", "unknown-pragma"),
        ("edgeflow_top.cpp", "ARRAY_PARTITION variable=words", "ARRAY_PARTITION variable=wrods", "pragma-variable"),
        ("include/edgeflow/linear.hpp", "#pragma HLS LOOP_TRIPCOUNT", "#pragma HLS LATENCY", "loop-bound"),
        ("include/edgeflow/linear.hpp", "#pragma HLS INLINE off", "double scale;", "floating-point"),
    ],
)
def test_a_fault_in_emitted_code_is_found(tmp_path: Path, file: str, old: str, new: str, rule: str) -> None:
    folder = overlay(tmp_path / "hls")
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))
    assert {(finding.rule, finding.file) for finding in findings(folder)} == {(rule, (folder / file).resolve())}
