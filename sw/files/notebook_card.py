"""A build on a card, for notebooks: what it is, how fast, how exact, how large."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any


def card(folder: Path, report: Mapping[str, Any]) -> str:
    """HTML of the headline figures of a ``report.json``; names in it are escaped."""
    rows = [
        ("model", str(report["model"])),
        ("board", f"{report['board']} at {report['clock_mhz']:g} MHz"),
        ("latency", f"{report['latency_ms']:.3f} ms, {report['fps']:,.0f} frames a second (predicted)"),
        ("accuracy", _accuracy(report["accuracy"])),
        ("resources", ", ".join(_resource(name, entry) for name, entry in report["resources"].items())),
        ("report", str(folder / "report.html")),
    ]
    cells = "".join(f"<tr><th style='text-align:left'>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows)
    return f"<table><caption>EdgeFlow build</caption>{cells}</table>"


def _accuracy(accuracy: Mapping[str, Any]) -> str:
    if not accuracy["meaningful"]:
        return "not measured"
    figures = [
        f"{output['name']} {output['note'] if output['sqnr_db'] is None else format(output['sqnr_db'], '.1f') + ' dB'}"
        for output in accuracy["outputs"]
    ]
    if accuracy["top1_agreement"] is not None:
        figures.append(f"top-1 agreement {accuracy['top1_agreement']:.2%}")
    if accuracy["top1_accuracy"] is not None:
        figures.append(f"top-1 {accuracy['top1_accuracy']:.2%} (float {accuracy['float_top1_accuracy']:.2%})")
    return f"{', '.join(figures)} on {accuracy['samples']:,} samples"


def _resource(name: str, entry: Mapping[str, Any]) -> str:
    used = entry["used"]
    text = f"{name} {entry['known']:,} or more" if used is None else f"{name} {used:,}"
    return f"{text} of {entry['available']:,}"
