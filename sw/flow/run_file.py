"""Writing the run file of a build (sw/flow/run_reading.py says what it holds), with the data that lies in no file of the user's."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.format_version import FORMAT
from edgeflow.sw.files.arrays import Archive, write_npz
from edgeflow.sw.files.build import QDQ_MODEL
from edgeflow.sw.flow.options import CompileOptions
from edgeflow.sw.flow.run_reading import PATHS, digest_of, is_board_file, joined
from edgeflow.sw.importer.model_sources import ModelFile
from edgeflow.sw.measure.reference import LARGEST, MODEL
from edgeflow.sw.measure.samples import UserData
from edgeflow.sw.report.schema import Run

RUN_FILE = "run.toml"
DATA_FILES = ("calibration.npz", "test.npz")  # written beside it where the data lies in no file of the user's
PACKAGES = ("edgeflow", "numpy", "onnx", "onnxruntime", "onnx-ir", "onnxscript", "scipy", "numba")
LABELS = "labels"


@dataclass(frozen=True)
class Recipe:
    """What a build is made of, to be written into it. ``quantized``: the model was quantized beforehand."""

    options: CompileOptions
    model: ModelFile
    calibration: UserData | None
    test: UserData | None
    command: str
    quantized: bool = False

    def write(self, folder: Path) -> dict[str, Any]:
        """Write ``run.toml`` into a build folder that has everything it names, with the data that lies in no file of the user's;
        returns what it holds."""
        if self.quantized:
            options: dict[str, Any] = {"model": QDQ_MODEL, "calibration": "golden.npz"}
            rest = {"bits", "budget", "quantization"}
        else:
            options = {"model": str(self.model.path.resolve()) if self.model.users_own else MODEL}
            rest = set()
        lost: list[str] = []
        for name, data in (("calibration", self.calibration), ("test", self.test)):
            if data is not None and not (self.quantized and name == "calibration"):
                lost += self._data(folder, name, data, options)
        dumped = self.options.model_dump(
            mode="json", exclude_none=True, exclude={"calibration", "test", "labels", "test_labels", "overlay", *rest}
        )
        options |= _without_empty(dumped)
        if is_board_file(self.options.board):
            options["board"] = str(Path(self.options.board).resolve())
        overlay = self.options.overlay
        if overlay is not None:
            options["overlay"] = "overlay.json" if isinstance(overlay, Architecture) else str(overlay.resolve())
        files = [name for name in (*PATHS, "board") if _is_file(folder, options.get(name))]
        origin: dict[str, Any] = {
            "command": self.command,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "format": FORMAT,
            "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES},
            "sha256": {name: self._digest(name, folder / options[name]) for name in files},
        }
        if lost:
            origin["not_kept"] = lost
        tables: dict[str, Any] = {name: options.pop(name) for name in ("dims", "sizes", "quantization") if name in options}
        document = {**options, **tables, "made": origin}
        (folder / RUN_FILE).write_text(tomli_w.dumps(document), encoding="utf-8")
        return document

    def _digest(self, name: str, file: Path) -> str:
        return joined(self.model.digests) if file == self.model.path.resolve() else digest_of(name, file)

    def _data(self, folder: Path, name: str, data: UserData, options: dict[str, Any]) -> list[str]:
        """Enter into ``options`` where the data of an option lies; data from memory is written into the folder. Returns the
        option's name if the data is too large for that."""
        labels_name = LABELS if name == "calibration" else f"test_{LABELS}"
        source, labels = getattr(self.options, name), getattr(self.options, labels_name)
        path = source.path if isinstance(source, Archive) else source if isinstance(source, str | os.PathLike) else None
        if path is not None and (labels is None or isinstance(labels, str)):
            options[name] = str(Path(path).resolve())
            if labels is not None:
                options[labels_name] = labels
            return []
        arrays = {key: np.asarray(array) for key, array in data.arrays.items()}
        if data.labels is not None:
            key = LABELS
            while key in arrays:
                key += "_"
            arrays[key], options[labels_name] = np.asarray(data.labels), key
        options[name] = f"{name}.npz"
        if sum(array.nbytes for array in arrays.values()) > LARGEST:
            return [name]
        write_npz(folder / f"{name}.npz", arrays)
        return []


def run_section(document: Mapping[str, Any]) -> Run:
    """What a report says of the run file that a build holds."""
    options = {name: value for name, value in document.items() if name != "made"}
    origin = document["made"]
    return Run(
        command=origin["command"],
        date=origin["date"],
        options=dict(_dotted(options)),
        versions=origin["versions"],
        sha256=origin["sha256"],
    )


def _dotted(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _without_empty(table: Mapping[str, Any]) -> dict[str, Any]:
    pruned = {name: _without_empty(value) if isinstance(value, Mapping) else value for name, value in table.items()}
    return {name: value for name, value in pruned.items() if value not in ({}, [])}


def _is_file(folder: Path, value: Any) -> bool:
    return isinstance(value, str) and (folder / value).is_file()
