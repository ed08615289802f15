"""The user's cache folder: compiled C simulations, finished steps of compilations, compiled loops.

What lies there is executed (libraries) or unpickled (steps), so it is the user's alone: the folders are private, files of other
users are not looked at, and a file's name holds the SHA-256 of its contents, which are checked before they are used. A file that is
damaged is removed. A cache that cannot be used keeps nothing, and everything works without it, only slower.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

PARTS = {
    "csim": "compiled C simulations",
    "steps": "finished steps of compilations",
    "loops": "compiled loops of simulator and quantization",
    "fonts": "matplotlib's list of fonts",
}
"""The folders, and what they hold."""
LIMIT = 2_000_000_000
"""Bytes of everything together, unless the user sets another limit."""
_LIMIT_FILE = "limit"
_UNFINISHED = "."
_ABANDONED_SECONDS = 3600  # after which nobody goes on writing an unfinished file
_DIGITS = 32


class Sink(Protocol):
    """What can be written to."""

    def write(self, content: bytes, /) -> int:
        """Take some bytes; returns how many."""


@dataclass(frozen=True)
class Usage:
    """What a part of the cache holds."""

    part: str
    files: int
    bytes: int


def root() -> Path | None:
    """``$EDGEFLOW_CACHE``, ``$XDG_CACHE_HOME/edgeflow`` or ``~/.cache/edgeflow``; None for a user who has no home."""
    own, shared = os.environ.get("EDGEFLOW_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if own:
        return Path(own)
    try:
        return (Path(shared) if shared else Path.home() / ".cache") / "edgeflow"
    except RuntimeError:
        return None


def folder(part: str) -> Path | None:
    """A part's folder, made if it is not there, for this user alone; None where it cannot be."""
    above = root()
    if above is None:
        return None
    try:
        above.parent.mkdir(parents=True, exist_ok=True)
        for path in (above, above / part):
            path.mkdir(mode=0o700, exist_ok=True)
        facts = (above / part).lstat()
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
            return None
        if facts.st_mode & 0o077:
            (above / part).chmod(0o700)
    except OSError:
        return None
    return above / part


def store(part: str, key: str, suffix: str, write: Callable[[Sink], object]) -> Path | None:
    """Keep what ``write`` writes, whole or not at all; None where the cache cannot be written."""
    place = folder(part)
    if place is None:
        return None
    temporary = place / f"{_UNFINISHED}{secrets.token_hex(8)}"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                hashed = _Hashed(file)
                write(hashed)
            target = place / f"{key}-{hashed.digest.hexdigest()[:_DIGITS]}{suffix}"
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError:
        return None
    return target


def load(part: str, key: str, suffix: str) -> tuple[Path, bytes] | None:
    """The file that is kept under a key and its contents, checked to be those that were stored; None if there is none."""
    place = folder(part)
    if place is None:
        return None
    with contextlib.suppress(OSError):
        for name in os.listdir(place):
            if name.startswith(f"{key}-") and name.endswith(suffix):
                content = _checked(place / name, name.removesuffix(suffix)[-_DIGITS:])
                if content is not None:
                    return place / name, content
    return None


def remove(part: str, key: str) -> None:
    """Remove what is kept under a key."""
    place = folder(part)
    if place is not None:
        with contextlib.suppress(OSError):
            for name in os.listdir(place):
                if name.startswith(f"{key}-"):
                    (place / name).unlink(missing_ok=True)


def usage() -> list[Usage]:
    """What every part holds; unfinished files included."""
    sizes = {part: [facts.st_size for _, facts in _files(part)] for part in PARTS}
    return [Usage(part, len(bytes_), sum(bytes_)) for part, bytes_ in sizes.items()]


def limit() -> int:
    """Bytes that everything together may take."""
    above = root()
    try:
        return LIMIT if above is None else int((above / _LIMIT_FILE).read_text())
    except (OSError, ValueError):
        return LIMIT


def set_limit(size: int) -> None:
    """Remember a limit, in bytes, and hold the cache to it; OSError where that cannot be written."""
    above = root()
    if above is None:
        raise OSError("this user has no home folder for a cache")
    above.mkdir(mode=0o700, parents=True, exist_ok=True)
    (above / _LIMIT_FILE).write_text(f"{size}\n")
    trim()


def trim(size: int | None = None) -> None:
    """Remove abandoned files, and those unused for the longest time until at most ``size`` bytes (the limit) are left."""
    allowed, now = limit() if size is None else size, time.time()
    kept = []
    for part in PARTS:
        for path, facts in _files(part):
            if not path.name.startswith(_UNFINISHED):
                kept.append((facts.st_mtime, facts.st_size, path))
            elif now - facts.st_mtime > _ABANDONED_SECONDS:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
    total = sum(line[1] for line in kept)
    for _, taken, path in sorted(kept):
        if total <= allowed:
            return
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            total -= taken


def clear() -> None:
    """Remove everything that is kept; OSError where that cannot be."""
    for part in PARTS:
        for path, _ in _files(part):
            path.unlink(missing_ok=True)


def _files(part: str) -> Iterator[tuple[Path, os.stat_result]]:
    above = root()
    if above is None:
        return
    with contextlib.suppress(OSError), os.scandir(above / part) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                facts = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(facts.st_mode):
                    yield Path(entry.path), facts


def _checked(file: Path, digest: str) -> bytes | None:
    """The contents of a file of this user's whose digest is as its name says; another is removed."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid():
            return None
        content = stream.read()
    if hashlib.sha256(content).hexdigest()[:_DIGITS] == digest:
        with contextlib.suppress(OSError):
            os.utime(file)
        return content
    file.unlink(missing_ok=True)
    return None


class _Hashed:
    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def write(self, content: bytes) -> int:
        self.digest.update(content)
        return self.file.write(content)
