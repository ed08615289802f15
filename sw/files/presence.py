"""Files that a user names, looked for before anything is loaded that could read them."""

from __future__ import annotations

from pathlib import Path

from edgeflow.hw.errors import CalibrationError, InputError, ModelError
from edgeflow.sw.files.replacement import restore
from edgeflow.sw.files.snapshot import MANIFEST, check_folder, no_build

DATA_ADVICE = "write it with numpy.savez(FILE, NAME=ARRAY), one array for each model input"


def check_no_device(file: Path, what: str, error: type[InputError] = InputError) -> None:
    """An error for a device, which need never end: ``what`` and the file name it. Pipes are read."""
    if file.is_char_device() or file.is_block_device():
        raise error(f"{what}{file} is a device, not a file: give the path of a file")


def check_build(folder: Path) -> None:
    """InputError unless a folder looks like a build; its files are checked by who reads them."""
    if not folder.exists():
        restore(folder)
    check_folder(folder)
    if not (folder / MANIFEST).exists():
        raise no_build(folder)


def check_model(file: Path) -> None:
    """ModelError unless there is a file, or a pipe."""
    if not file.exists():
        raise missing_model(file)
    check_no_device(file, "", ModelError)
    if file.is_dir():
        raise ModelError(f"{file} is a folder; give the path of an ONNX model")


def check_data(file: Path | None, what: str) -> None:
    """CalibrationError for a file that is named and is not there; ``what`` says what it is for."""
    if file is not None and not file.exists():
        raise missing_data(file, what)


def missing_model(file: Path) -> ModelError:
    """What is said of a model that is not there."""
    return ModelError(f"{file}: no such file; give the path of an ONNX model")


def missing_data(file: Path, what: str) -> CalibrationError:
    """What is said of data that is not there; ``what`` says what it is for."""
    return CalibrationError(f"{what} {file} does not exist: {DATA_ADVICE}")


def missing_overlay(file: Path) -> InputError:
    """What is said of an overlay that is not there."""
    return InputError(f"overlay {file} does not exist: give the overlay.json of a build")


def missing_run(file: Path) -> InputError:
    """What is said of a run file that is not there."""
    return InputError(f"run file {file} does not exist: give the run.toml of a build, or one of your own")
