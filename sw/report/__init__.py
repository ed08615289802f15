"""The report of a build: ``report.json`` (schema in :mod:`.schema`), ``report.html``, made from nothing but the former, and the
timeline as a trace."""

from __future__ import annotations

import json
from pathlib import Path

from edgeflow.hw.errors import InputError
from edgeflow.sim.cycles import trace_file
from edgeflow.sw.report.document import TRACE_FILE, ReportInputs, build
from edgeflow.sw.report.html import render
from edgeflow.sw.report.schema import Report

__all__ = ["TRACE_FILE", "Report", "ReportInputs", "build", "parse_report", "read_report", "render", "write_report"]


def write_report(folder: Path, inputs: ReportInputs) -> Report:
    """Write ``report.json``, ``report.html`` and the timeline's trace into a folder."""
    report = build(inputs)
    (folder / TRACE_FILE).write_bytes(trace_file(inputs.cycles, compressed=True))
    (folder / "report.json").write_text(json.dumps(report.model_dump(mode="json"), indent=1, allow_nan=False) + "\n")
    (folder / "report.html").write_text(render(report), encoding="utf-8")
    return report


def read_report(folder: Path) -> Report:
    """The report of a build folder; InputError if it is missing or of another version."""
    path = folder / "report.json"
    try:
        return parse_report(path.read_text(), path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): compile the model again") from error


def parse_report(text: str | bytes, path: object) -> Report:
    """The report that lies at ``path`` as ``text``; InputError if it is of another version, or damaged."""
    try:
        return Report.model_validate_json(text)
    except ValueError as error:
        raise InputError(f"{path} is not a report of this EdgeFlow version: compile the model again") from error
