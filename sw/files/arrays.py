"""Arrays on disk: ``.npz`` files keyed by the model's own tensor names."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from edgeflow.hw.arrays import Array
from edgeflow.hw.errors import CalibrationError
from edgeflow.sw.files.presence import DATA_ADVICE, missing_data
from edgeflow.sw.files.writing import write_file


class Archive(dict[str, Array]):
    """The arrays of an ``.npz`` file, which know where they come from."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path


def described(arrays: Mapping[str, Array], what: str) -> str:
    """What the arrays are, for messages: with their file, if they come from one."""
    return f"{what} {arrays.path}" if isinstance(arrays, Archive) else what


def read_npz(path: str | os.PathLike[str], what: str = "data") -> Archive:
    """The arrays of an ``.npz`` file by name; ``what`` says in messages what they are for.

    Python objects are never unpickled. CalibrationError if the file is missing, is not an ``.npz``, is truncated or damaged, holds
    arrays of Python objects, or holds nothing.
    """
    file = Path(path)
    name = f"{what} {file}"
    advice = DATA_ADVICE
    if file.is_dir():
        raise CalibrationError(f"{name} is a folder: give an .npz file; {advice}")
    arrays = Archive(file)
    key = ""
    try:
        with file.open("rb") as stream:
            if not zipfile.is_zipfile(stream):
                stream.seek(0)
                reason = "is truncated or damaged" if stream.read(4) == b"PK\x03\x04" else "is not an .npz file"
                raise CalibrationError(f"{name} {reason}: {advice}")
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as archive:
                for key in archive.files:
                    arrays[key] = np.asarray(archive[key])
    except FileNotFoundError as error:
        raise missing_data(file, what) from error
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise CalibrationError(f"{name} is truncated or damaged: write it again") from error
    except ValueError as error:
        if "pickle" in str(error) or "Object arrays" in str(error):
            raise CalibrationError(
                f"{name}: {key!r} holds Python objects, which are never unpickled; store it as numbers"
            ) from error
        raise CalibrationError(f"{name}: {key!r} cannot be read ({_one_line(error)}): write it again") from error
    except OSError as error:
        raise CalibrationError(f"{name} cannot be read: {error.strerror or _one_line(error)}") from error
    if not arrays:
        raise CalibrationError(f"{name} holds no arrays: {advice}")
    for key, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise CalibrationError(f"{name}: {key!r} has type {array.dtype}; only numbers and booleans can be used")
    return arrays


def take_labels(arrays: dict[str, Array], key: str, what: str) -> Array:
    """Remove the class labels ``(samples,)`` from the arrays and return them; CalibrationError if there is no such array or it
    holds no labels."""
    if key not in arrays:
        raise CalibrationError(f"{what}: option --labels names {key!r}, but the arrays are {', '.join(sorted(arrays))}")
    labels = arrays.pop(key)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise CalibrationError(
            f"{what}: labels {key!r} are {labels.dtype} of shape {labels.shape}; give one integer for each sample, shape (samples,)"
        )
    return labels


def top1_accuracy(outputs: Mapping[str, Array], labels: Array) -> float:
    """Share of samples whose largest class is the label; CalibrationError unless one output is ``(samples, classes)``."""
    classes = [value for value in outputs.values() if value.ndim == 2 and value.shape[1] > 1]
    if len(classes) != 1:
        raise CalibrationError(f"option --labels needs one output (samples, classes); the model has {len(classes)}: leave it out")
    if len(labels) != len(classes[0]):
        raise CalibrationError(f"option --labels: {len(labels)} labels do not match {len(classes[0])} samples")
    return float(np.mean(classes[0].argmax(axis=1) == labels))


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, Array]) -> None:
    """Write arrays by name, whole or not at all; OutputError if the file cannot be written."""

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, np.asarray(array), allow_pickle=False)

    write_file(path, write)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
