"""Files that commands write: whole or not at all, through what is no regular file, and never in its place.

A regular file is written beside its place and then takes it. A device, a pipe, or a name of an open file such as ``/dev/stdout`` is
written to as it is. A link stays, and what it points to is written.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from edgeflow.hw.errors import OutputError

_LINKS = 40  # after which the system, too, gives up


def check_writable(path: str | os.PathLike[str]) -> None:
    """OutputError unless a file can be written where ``path`` says; nothing is left behind."""
    file = Path(path)
    with _refusing(file):
        if file.is_dir():
            raise OutputError(f"output {file} is a folder: give a file name")
        if _written_through(file):
            if not os.access(file, os.W_OK):
                raise OutputError(f"output {file} cannot be written: permission denied; choose another place")
            return
        target = Path(os.path.realpath(file))
        if not target.parent.is_dir():
            raise OutputError(f"output {file} cannot be written: {file.parent} is not a folder; create it or choose another")
        temporary = _beside(target)
        try:
            temporary.touch(exist_ok=False)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_file(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Let ``write`` write a file, whole or not at all; OutputError if it cannot be written."""
    file = Path(path)
    check_writable(file)
    with _refusing(file):
        if _written_through(file):
            with open(os.open(file, os.O_WRONLY | os.O_CLOEXEC), "wb") as stream:
                write(stream)
            return
        target = Path(os.path.realpath(file))
        temporary = _beside(target)
        try:
            with temporary.open("xb") as stream:
                write(stream)
                with contextlib.suppress(FileNotFoundError):
                    os.fchmod(stream.fileno(), stat.S_IMODE(target.stat().st_mode))
            temporary.replace(target)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file, whole or not at all; OutputError if it cannot be written."""
    write_file(path, lambda file: file.write(content))


@contextlib.contextmanager
def _refusing(file: Path) -> Iterator[None]:
    try:
        yield
    except NotADirectoryError as error:
        where = f"{file.parent} is not a folder; create it or choose another"
        raise OutputError(f"output {file} cannot be written: {where}") from error
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise OutputError(f"output {file} cannot be written: {reason}; choose another place") from error


def _beside(file: Path) -> Path:
    return file.with_name(f".edgeflow-{file.name}-{secrets.token_hex(4)}")


def _written_through(file: Path) -> bool:
    """Whether a name stands for something that must not be replaced: no regular file, or one that is open under ``/proc``."""
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            return True
    except (FileNotFoundError, NotADirectoryError):
        return False
    name = os.path.abspath(file)
    for _ in range(_LINKS):
        folder = os.path.realpath(os.path.dirname(name))
        name = os.path.join(folder, os.path.basename(name))
        if folder.startswith("/proc/"):
            return True
        if not os.path.islink(name):
            return False
        name = os.path.join(folder, os.readlink(name))
    return False
