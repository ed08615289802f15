"""A tiny transformer, its data and its build, and networks of the zoo, for the tests of the command line and of the Python API."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from command_line import Terminal, snapshot
from tiny_transformer import Tiny, tiny_inputs, tiny_transformer

if TYPE_CHECKING:
    import onnx_ir as ir
    from network_zoo import Arrays


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The tiny transformer and its calibration data on disk."""
    folder = tmp_path_factory.mktemp("tiny")
    onnx.save(tiny_transformer(), folder / "tiny.onnx")
    np.savez(folder / "calibration.npz", tokens=tiny_inputs())
    return Tiny(folder / "tiny.onnx", folder / "calibration.npz")


@pytest.fixture(scope="session")
def tiny_build(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good build of it; tests read it and leave it alone."""
    from edgeflow.sw.cli.main import main

    folder = tmp_path_factory.mktemp("tiny_build") / "build"
    assert main(["--quiet", "compile", str(tiny.model), "--calib", str(tiny.calibration), "-o", str(folder)]) == 0
    return folder


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str]) -> Terminal:
    """The command line."""
    return Terminal(capsys)


@pytest.fixture
def workplace(tiny_build: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder with a good build in ``build``; what is there when the test starts must be there, unchanged, when it ends."""
    shutil.copytree(tiny_build, tmp_path / "build")
    before = snapshot(tmp_path)
    yield tmp_path
    after = snapshot(tmp_path)
    assert {name: after.get(name) for name in before} == before
    assert not [name for name in after if ".edgeflow-" in name]


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[ir.Model, Arrays]]:
    """A network of the zoo by name, imported once, and its data."""
    pytest.importorskip("torch", reason="torch is not installed: pip install 'edgeflow[train]'")
    from network_zoo import NETWORKS

    from edgeflow.sw.importer import import_model

    folder, done = tmp_path_factory.mktemp("networks"), dict[str, "tuple[ir.Model, Arrays]"]()

    def get(name: str) -> tuple[ir.Model, Arrays]:
        if name.startswith(("hf", "bert")):
            pytest.importorskip("transformers", reason="transformers is not installed: pip install 'edgeflow[text]'")
        if name not in done:
            data = NETWORKS[name].data()
            shapes = {name: array.shape for name, array in data.items()}
            done[name] = import_model(NETWORKS[name].export(folder), shapes=shapes), data
        return done[name]

    return get
