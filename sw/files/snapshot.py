"""A build folder as it was at one moment: every file is hashed as it is read, and its bytes are what is used from then on.

The manifest is read first. A file is what the manifest says, or it is not used: whatever replaces a folder while it is read, the
parts of two builds never mix.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from edgeflow.hw.errors import InputError
from edgeflow.hw.renamed import current_names

MANIFEST = "manifest.json"
KEPT = 1 << 24
"""Bytes of a file up to which its contents stay in memory once they are checked; a larger one is checked again when it is used."""
_PIECE = 1 << 20


class Snapshot:
    """The files of a build folder, as its manifest lists them; InputError for a folder that is no build, or a damaged one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        check_folder(folder)
        self._identity = _identity(folder)
        self._kept: dict[str, bytes] = {}
        try:
            self._document = b"".join(_pieces(folder / MANIFEST))
        except FileNotFoundError:
            raise no_build(folder) from None
        except OSError as error:
            raise InputError(f"{folder / MANIFEST} cannot be read: {error.strerror}") from error
        self.manifest = json_object(self._document, folder / MANIFEST)

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """The SHA-256 of every file, by its path in the folder with forward slashes."""
        files = self.manifest.get("files")
        if not isinstance(files, dict) or not all(isinstance(digest, str) and _inside(name) for name, digest in files.items()):
            raise InputError(f"{self.folder / MANIFEST} is damaged: compile the model again")
        return files

    def check(self) -> None:
        """Read every file; InputError for one that is not there, or not what the manifest says."""
        for name in self.digests:
            self._read(name, keep=False)

    def read(self, name: str) -> bytes:
        """The contents of a file; InputError as for :meth:`check`."""
        kept = self._kept.get(name)
        return self._read(name, keep=True) if kept is None else kept

    def _read(self, name: str, *, keep: bool) -> bytes:
        digest, pieces, size = hashlib.sha256(), [], 0
        if name not in self.digests:
            raise InputError(f"build {self.folder} lacks {name}: compile the model again")
        try:
            for piece in _pieces(self.folder / name):
                digest.update(piece)
                size += len(piece)
                if keep or size <= KEPT:
                    pieces.append(piece)
                else:
                    pieces.clear()
        except OSError as error:
            self._refuse_replaced()
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                raise InputError(f"build {self.folder} lacks {name}: compile the model again") from error
            raise InputError(f"build {self.folder}: {name} cannot be read: {error.strerror}") from error
        if digest.hexdigest() != self.digests[name]:
            self._refuse_replaced()
            raise InputError(f"build {self.folder}: {name} was changed after compilation: compile the model again")
        content = b"".join(pieces)
        if size <= KEPT:
            self._kept[name] = content
        return content

    def _refuse_replaced(self) -> None:
        """InputError if what lies there now is not the build whose manifest was read."""
        try:
            now = b"".join(_pieces(self.folder / MANIFEST))
        except OSError:
            now = b""
        if now != self._document or _identity(self.folder) != self._identity:
            raise InputError(f"build {self.folder} was replaced while it was read: run the command again")


@dataclass(frozen=True)
class SnapshotPath:
    """A name in a snapshot, which stands for a ``pathlib.Path`` (``hw.named_contents.Readable``)."""

    snapshot: Snapshot
    name: str = ""

    def __truediv__(self, name: str, /) -> SnapshotPath:
        return SnapshotPath(self.snapshot, f"{self.name}/{name}" if self.name else name)

    def __str__(self) -> str:
        return str(self.snapshot.folder / self.name)

    def with_suffix(self, suffix: str, /) -> SnapshotPath:
        """What lies beside this under a name with another ending."""
        return SnapshotPath(self.snapshot, str(PurePosixPath(self.name).with_suffix(suffix)))

    def read_bytes(self) -> bytes:
        """The contents, checked; InputError where they are not what the manifest says."""
        return self.snapshot.read(self.name)

    def read_text(self) -> str:
        """The contents as text; InputError where they are none."""
        try:
            return self.read_bytes().decode()
        except UnicodeDecodeError as error:
            raise InputError(f"{self} is damaged: compile the model again") from error


def check_folder(folder: Path) -> None:
    """InputError unless there is a folder."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give a build folder that edgeflow compile wrote")


def no_build(folder: Path) -> InputError:
    """What is said of a folder without a manifest."""
    return InputError(f"{folder} is not an EdgeFlow build (it has no {MANIFEST}): give a folder that edgeflow compile wrote")


def json_object(content: bytes, where: object) -> dict[str, Any]:
    """The object in a JSON document of a build; InputError where there is none."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} cannot be read ({error}): compile the model again") from error
    if not isinstance(document, dict):
        raise InputError(f"{where} is damaged: compile the model again")
    return current_names("JSON key", document)


def _pieces(file: Path) -> Iterator[bytes]:
    """The contents of a regular file. What is none would be waited for, or never end."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", buffering=0) as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        while piece := stream.read(_PIECE):
            yield piece


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        facts = folder.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name
