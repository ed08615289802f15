"""A run as a file: everything that makes a build, as TOML, to be read, changed and run again.

Top-level keys are ``model``, ``output`` and the options of :class:`~edgeflow.sw.flow.options.CompileOptions`; ``dims``, ``sizes``
and ``quantization`` are tables, the last with tables ``layers`` and ``without`` for the bits and techniques of single layers. Paths
are relative to the file. The table ``made`` is what EdgeFlow writes into the ``run.toml`` of a build: with which command, versions
and when it was made, and the SHA-256 of the files that went in, which must be the same when it is run again.
"""

from __future__ import annotations

import hashlib
import os
import platform
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.errors import InputError
from edgeflow.hw.format_version import FORMAT, check_format
from edgeflow.hw.renamed import current_names
from edgeflow.sw.files.arrays import Archive, write_npz
from edgeflow.sw.files.build import QDQ_MODEL, hash_file
from edgeflow.sw.files.presence import missing_run
from edgeflow.sw.flow.options import CompileOptions
from edgeflow.sw.importer.model_sources import ModelFile
from edgeflow.sw.importer.original import files_of
from edgeflow.sw.measure.reference import LARGEST, MODEL
from edgeflow.sw.measure.samples import UserData
from edgeflow.sw.report.schema import Run

RUN_FILE = "run.toml"
DATA_FILES = ("calibration.npz", "test.npz")  # written beside it where the data lies in no file of the user's
PATHS = ("model", "calibration", "test", "overlay", "output")
PACKAGES = ("edgeflow", "numpy", "onnx", "onnxruntime", "onnx-ir", "onnxscript", "scipy", "numba")
LABELS = "labels"


@dataclass(frozen=True)
class RunFile:
    """What a run file asks for: ``options`` as CompileOptions takes them; ``sha256`` of files, by the option that names them."""

    path: Path
    model: Path | None
    output: Path | None
    options: Mapping[str, Any]
    sha256: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()  # options whose data was too large to be kept

    def check(self, options: Mapping[str, Any]) -> None:
        """InputError unless the files that ``options`` name are the same as when the run file was written."""
        for name in self.missing:
            if name in options:
                raise InputError(f"{self.path}: the {name} data was too large to be kept: give it again")
        for name, digest in self.sha256.items():
            path = options.get(name)
            if path is None:
                continue
            file = Path(path)
            if not file.is_file():
                raise InputError(f"{self.path}: {name} = {str(file)!r} is not there any more: put it back, or give another")
            if _digest(name, file) != digest:
                raise InputError(
                    f"{self.path}: {name} = {str(file)!r} is not the file that the run was made with (its SHA-256 differs):"
                    " put that back, or take the table made out of the run file"
                )


def read_run(path: str | os.PathLike[str]) -> RunFile:
    """A run file; InputError where it cannot be read, is no TOML or was written by another version. Options are checked where they
    are made into CompileOptions."""
    file = Path(path)
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise missing_run(file) from error
    except OSError as error:
        raise InputError(f"run file {file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"run file {file} is not valid TOML: {error}") from error
    document = current_names("run file key", document)
    origin = document.pop("made", None)
    if origin is not None:
        check_format(origin.get("format") if isinstance(origin, dict) else None, f"run file {file}")
    for name in (*PATHS, "board", "bits"):
        value = document.get(name)
        if name in PATHS and value is not None and not isinstance(value, str):
            raise InputError(f"run file {file}: {name} must be a path, in quotes")
        if isinstance(value, str) and (name in PATHS or (_is_board_file(value) if name == "board" else value.endswith(".json"))):
            document[name] = str(file.parent / value)
    model, output = document.pop("model", None), document.pop("output", None)
    facts = origin or {}
    return RunFile(
        file,
        None if model is None else Path(model),
        None if output is None else Path(output),
        document,
        facts.get("sha256", {}),
        tuple(facts.get("not_kept", ())),
    )


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
        if _is_board_file(self.options.board):
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
        return _joined(self.model.digests) if file == self.model.path.resolve() else _digest(name, file)

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


def _is_board_file(board: str) -> bool:
    """Whether a board is a file of the user's, as ``load_board`` sees it."""
    return board.lower().endswith(".toml") or "/" in board or "\\" in board


def _is_file(folder: Path, value: Any) -> bool:
    return isinstance(value, str) and (folder / value).is_file()


def _digest(name: str, file: Path) -> str:
    """SHA-256 of a file, and of a model's external data with it."""
    files = files_of(file) if name == "model" else [file]
    return _joined([hash_file(part) for part in files])


def _joined(digests: Sequence[str]) -> str:
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
