"""The machine that EdgeFlow runs on, and others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeflow.hw import host


def test_processors_without_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.processors() >= 1
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # as on macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert host.processors() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert host.processors() == 1


def test_the_instruction_set_tells_processors_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sets = []
    for flags in ("fpu avx2", "fpu avx2 avx512f", None):
        monkeypatch.setattr(host, "_DESCRIPTION", tmp_path / "cpuinfo")
        (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t: {flags}\n" if flags else "processor : 0\n")
        host.instruction_set.cache_clear()
        sets.append(host.instruction_set())
    host.instruction_set.cache_clear()
    assert len(set(sets)) == 3
