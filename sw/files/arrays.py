"""Arrays on disk: ``.npz`` files keyed by the model's own tensor names.

Of an archive's members only those that are asked for are unpacked, and only after their headers have said how large they are.
"""

from __future__ import annotations

import io
import lzma
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from tokenize import TokenError
from typing import IO, BinaryIO

import numpy as np

from edgeflow.hw.arrays import Array
from edgeflow.hw.errors import CalibrationError
from edgeflow.hw.reading import reading
from edgeflow.sw.files.presence import DATA_ADVICE, check_no_device, missing_data
from edgeflow.sw.files.writing import write_file

LARGEST_UNPACKED = 1 << 30
"""Bytes that arrays of a small file may take."""
TIMES_PACKED = 100
"""How many bytes more they may take for each byte of the file."""
_ENCRYPTED = 1  # of a member's flags
_LONGEST_HEADER = 1 << 14  # bytes; NumPy itself takes 10,000


class Archive(dict[str, Array]):
    """Arrays of an ``.npz`` file, which know where they come from; ``members`` are all that are in it, also those not read."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.members: tuple[str, ...] = ()


def described(arrays: Mapping[str, Array], what: str) -> str:
    """What the arrays are, for messages: with their file, if they come from one."""
    return f"{what} {arrays.path}" if isinstance(arrays, Archive) else what


def read_npz(
    path: str | os.PathLike[str],
    what: str = "data",
    wanted: Callable[[], Collection[str]] | None = None,
    also: Collection[str] = (),
) -> Archive:
    """Arrays of an ``.npz`` file by name; ``what`` says in messages what they are for.

    Where the file holds all that are ``wanted``, those are read and those of ``also`` that are there, and nothing else is looked
    at; otherwise all are, and whoever wants them says what is missing. Python objects are never unpickled. CalibrationError if the
    file is missing, is not an ``.npz``, is truncated, damaged or protected by a password, holds nothing, or if what is read are no
    numbers or would take more than :data:`LARGEST_UNPACKED` bytes and :data:`TIMES_PACKED` times the file.
    """
    file = Path(path)
    name = f"{what} {file}"
    check_no_device(file, f"{what} ", CalibrationError)
    if file.is_dir():
        raise CalibrationError(f"{name} is a folder: give an .npz file; {DATA_ADVICE}")
    arrays = Archive(file)
    try:
        with file.open("rb") as stream:
            if not zipfile.is_zipfile(stream):
                stream.seek(0)
                reason = "is truncated or damaged" if stream.read(4) == b"PK\x03\x04" else "is not an .npz file"
                raise CalibrationError(f"{name} {reason}: {DATA_ADVICE}")
            with _opened(stream, name) as archive:
                members = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
                arrays.members = tuple(members)
                needed = () if wanted is None or len(members) == 1 else wanted()
                if needed and members.keys() >= set(needed):
                    members = {key: entry for key, entry in members.items() if key in needed or key in also}
                _check_size(archive, members, os.fstat(stream.fileno()).st_size, name)
                for key, entry in members.items():
                    arrays[key] = _read(archive, entry, f"{name}: {key!r}")
    except FileNotFoundError as error:
        raise missing_data(file, what) from error
    except (zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError) as error:
        raise CalibrationError(f"{name} is truncated or damaged: write it again") from error
    except OSError as error:
        raise CalibrationError(f"{name} cannot be read: {error.strerror or _one_line(error)}") from error
    if not arrays:
        raise CalibrationError(f"{name} holds no arrays: {DATA_ADVICE}")
    return arrays


def _opened(stream: IO[bytes], name: str) -> zipfile.ZipFile:
    with reading(name, "write it again", CalibrationError):  # names that are no UTF-8, say
        return zipfile.ZipFile(stream)


def _check_size(archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], packed: int, name: str) -> None:
    """CalibrationError for arrays that are no numbers, or more bytes than a file of this size may hold, before one is unpacked."""
    limit = LARGEST_UNPACKED + TIMES_PACKED * packed
    total = 0
    for key, entry in members.items():
        where = f"{name}: {key!r}"
        if entry.flag_bits & _ENCRYPTED:
            raise CalibrationError(f"{where} is protected by a password: write it without one")
        shape, dtype, header = _header(archive, entry, where)
        if any(type(size) is not int for size in shape):
            raise CalibrationError(f"{where} has shape {shape}, whose sizes must be integers: write it again")
        if any(size.bit_length() > 63 for size in shape):  # too long to be printed, perhaps
            raise CalibrationError(f"{where} has a shape of sizes that no array has: write it again")
        if dtype.hasobject:
            raise CalibrationError(f"{where} holds Python objects, which are never unpickled; store it as numbers")
        if dtype.kind not in "biuf":
            raise CalibrationError(f"{where} has type {dtype}; only numbers and booleans can be used")
        if header + math.prod(shape) * dtype.itemsize != entry.file_size:
            raise CalibrationError(f"{where} does not have as many bytes as its shape {shape} says: write it again")
        total += entry.file_size
        if total > limit:
            raise CalibrationError(
                f"{name}: its arrays take {total:,} bytes or more; at most {limit:,} are supported ({LARGEST_UNPACKED >> 20:,} MiB"
                f" and {TIMES_PACKED} times the file): give fewer samples, or save them uncompressed (numpy.savez)"
            )


def _header(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, where: str) -> tuple[tuple[int, ...], np.dtype[np.generic], int]:
    """Shape and type of an array, and the bytes of its header."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        with archive.open(entry) as stream:
            beginning = io.BytesIO(stream.read(_LONGEST_HEADER))  # NumPy reads as much as a header says that it has
        version = np.lib.format.read_magic(beginning)
        if version not in readers:
            raise CalibrationError(f"{where} is written in a newer format than numbers need: {DATA_ADVICE}")
        with suppress(MemoryError, RecursionError, SyntaxError, TypeError, TokenError):
            # A header is Python's text for a dictionary, whose parser has no memory for many brackets or signs.
            shape, _, dtype = readers[version](beginning)
            return shape, dtype, beginning.tell()
    except NotImplementedError as error:
        raise CalibrationError(f"{where} is compressed in an unknown way ({_one_line(error)}): {DATA_ADVICE}") from error
    except ValueError as error:
        raise CalibrationError(f"{where} cannot be read ({_one_line(error)}): write it again") from error
    raise CalibrationError(f"{where} has a header that cannot be read: write it again")


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, where: str) -> Array:
    try:
        with archive.open(entry) as stream:
            return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
    except (ValueError, OverflowError) as error:
        raise CalibrationError(f"{where} cannot be read ({_one_line(error)}): write it again") from error


def take_labels(arrays: dict[str, Array], key: str, what: str) -> Array:
    """Remove the class labels ``(samples,)`` from the arrays and return them; CalibrationError if there is no such array or it
    holds no labels."""
    if key not in arrays:
        there = arrays.members if isinstance(arrays, Archive) else arrays
        raise CalibrationError(f"{what}: option --labels names {key!r}, but the arrays are {', '.join(sorted(there))}")
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
