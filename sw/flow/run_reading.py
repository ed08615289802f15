"""Reading a run file: everything that makes a build, as TOML, to be read, changed and run again.

Top-level keys are ``model``, ``output`` and the options of :class:`~edgeflow.sw.flow.options.CompileOptions`; ``dims``, ``sizes``
and ``quantization`` are tables, the last with tables ``layers`` and ``without`` for the bits and techniques of single layers. Paths
are relative to the file. The table ``made`` is what EdgeFlow writes into the ``run.toml`` of a build: with which command, versions
and when it was made, and the SHA-256 of the files that went in, which must be the same when it is run again.

Nothing heavy is imported here: options are checked before anything is loaded that could fulfil them.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeflow.hw.errors import InputError
from edgeflow.hw.format_version import check_format
from edgeflow.hw.renamed import current_names
from edgeflow.sw.files.presence import check_no_device, missing_run

PATHS = ("model", "calibration", "test", "overlay", "output")


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
            if digest_of(name, file) != digest:
                raise InputError(
                    f"{self.path}: {name} = {str(file)!r} is not the file that the run was made with (its SHA-256 differs):"
                    " put that back, or take the table made out of the run file"
                )


def read_run(path: str | os.PathLike[str]) -> RunFile:
    """A run file; InputError where it cannot be read, is no TOML or was written by another version. Options are checked where they
    are made into CompileOptions."""
    file = Path(path)
    check_no_device(file, "run file ")
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise missing_run(file) from error
    except OSError as error:
        raise InputError(f"run file {file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, a number of thousands of digits, too deep
        raise InputError(f"run file {file} is not valid TOML: {error}") from error
    document = current_names("run file key", document)
    origin = document.pop("made", None)
    if origin is not None:
        check_format(origin.get("format") if isinstance(origin, dict) else None, f"run file {file}")
    for name in (*PATHS, "board", "bits"):
        value = document.get(name)
        if isinstance(value, str) and "\0" in value:
            raise InputError(f"run file {file}: {name} has a null character, which no path has; write the path as it is")
        if name in PATHS and value is not None and not isinstance(value, str):
            raise InputError(f"run file {file}: {name} must be a path, in quotes")
        if isinstance(value, str) and (name in PATHS or (is_board_file(value) if name == "board" else value.endswith(".json"))):
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


def is_board_file(board: str) -> bool:
    """Whether a board is a file of the user's, as ``load_board`` sees it."""
    return board.lower().endswith(".toml") or "/" in board or "\\" in board


def digest_of(name: str, file: Path) -> str:
    """SHA-256 of a file, and of a model's external data with it."""
    from edgeflow.sw.files.build import hash_file
    from edgeflow.sw.importer.original import files_of

    files = files_of(file) if name == "model" else [file]
    return joined([hash_file(part) for part in files])


def joined(digests: Sequence[str]) -> str:
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
