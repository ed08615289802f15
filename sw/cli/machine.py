"""What the machine does to a command: streams that are closed or full, disks, a folder that is gone (memory: ``memory.py``).

None of it is an error of EdgeFlow's, and each is one line with exit status 2; a pipe that nobody reads any more ends a command with
141, the status that shells give to SIGPIPE.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys

from edgeflow.sw.cli.memory import out_of_memory

FAULT = 2
CLOSED_PIPE = 128 + signal.SIGPIPE
_REMEDIES = {
    errno.ENOSPC: "free some space, or choose another place",
    errno.EDQUOT: "free some space, or choose another place",
    errno.EROFS: "choose another place",
    errno.EMFILE: "allow more (ulimit -n)",
}


class _ClosedOutput:
    """Stands for a standard output that the process was started without."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        if text:
            raise OSError(errno.EBADF, "standard output is closed")
        return 0

    def flush(self) -> None:
        """Nothing was written."""

    def isatty(self) -> bool:
        """It is no terminal."""
        return False

    def fileno(self) -> int:
        raise OSError(errno.EBADF, "standard output is closed")


def repair_streams() -> None:
    """Open the null device where the process was started without a standard stream: the next file would get its number, and with it
    everything that is printed. Errors then go nowhere, and a command that prints a result fails."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
    if sys.stdout is None:
        sys.stdout = _ClosedOutput()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (for as long as the process lives)


def drop_output() -> None:
    """Send what is still to be printed nowhere: it cannot be written, and Python would try again at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError):
            os.dup2(null, number)
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
    os.close(null)


def fault(error: BaseException) -> str | None:
    """The message for an exception that the machine caused, such as a full disk; None for any other exception."""
    if (limit := out_of_memory(error)) is not None:
        return limit
    if not isinstance(error, OSError):
        return None
    if error.errno is None:
        return f"a file cannot be read or written: {error}"
    where = next((os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)), None)
    if error.errno == errno.ENOENT:
        try:
            os.getcwd()
        except OSError:
            return "the working folder does not exist any more: change into another"
    if where is None and _output_fails():
        where = "standard output"
    reason = (error.strerror or str(error)).rstrip(".")
    remedy = _REMEDIES.get(error.errno)
    text = (f"{where}: " if where else "") + reason[:1].lower() + reason[1:]
    return text + (f"; {remedy}" if remedy else "")


def _output_fails() -> bool:
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        return True
    return False
