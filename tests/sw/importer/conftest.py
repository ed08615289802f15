"""Fixtures of the importer's tests: models exported once a session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Exported = tuple[Any, Path, dict[str, Any]]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Exported]:
    """Export a case of the zoo by name, once: the case, the file, torch's own results."""
    pytest.importorskip("torch", reason="torch is not installed: pip install 'edgeflow[train]'")
    import exporter_zoo

    folder = tmp_path_factory.mktemp("exports")
    done: dict[str, Exported] = {}

    def get(name: str) -> Exported:
        if name.startswith(("hf", "bert")):
            pytest.importorskip("transformers", reason="transformers is not installed: pip install 'edgeflow[text]'")
        if name not in done:
            case = exporter_zoo.CASES[name]
            done[name] = (case, *exporter_zoo.export(case, folder))
        return done[name]

    return get
