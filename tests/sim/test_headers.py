"""Where the C simulation's headers are found."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeflow.hw.errors import ToolchainError
from edgeflow.sim import csim, headers


def test_both_paths_lead_to_one_ap_int_and_to_our_headers() -> None:
    for folders in (headers.native_include(), headers.exact_include()):
        assert sum((folder / "ap_int.h").is_file() for folder in folders) == 1
        assert next(folder.name for folder in folders if (folder / "hls_stream.h").is_file()) == "simulation"
        assert (folders[-1] / "edgeflow").is_dir()
    native, exact = (
        [f for f in folders if (f / "ap_int.h").is_file()] for folders in (headers.native_include(), headers.exact_include())
    )
    assert native != exact


def test_missing_exact_headers_name_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "find_spec", lambda _name: None)
    with pytest.raises(ToolchainError, match=r"pip install 'edgeflow\[exact\]'"):
        headers.exact_include()


def test_a_wheel_without_the_headers_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(headers, "find_spec", lambda _name: package)
    with pytest.raises(ToolchainError, match=r"has no ap_int\.h"):
        headers.exact_include()


def test_compiler_that_does_not_run_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(ToolchainError, match=r"false --version fails; install g\+\+, or set CXX"):
        csim.build(tmp_path)
