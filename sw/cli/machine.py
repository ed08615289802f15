"""What the machine does to a command: streams that are closed or full, memory that is limited, a folder that is gone.

None of it is an error of EdgeFlow's, and each is one line with exit status 2; a pipe that nobody reads any more ends a command with
141, the status that shells give to SIGPIPE.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator

FAULT = 2
CLOSED_PIPE = 128 + signal.SIGPIPE
_INTERRUPTED = 128 + signal.SIGINT
_MEMORY = ("allocate memory", "out of memory", "unable to allocate", "bad_alloc", "bad allocation", "new thread", "pthread_create")
_UNDER_A_LIMIT = ("map segment", "load shared object")  # what loading a library says, for other reasons as well
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


def out_of_memory(error: BaseException) -> str | None:
    """What to say where memory is the reason of an exception, or of one that it came of; None for any other."""
    seen: BaseException | None = error
    limit = address_space()
    words = _MEMORY if limit is None else (*_MEMORY, *_UNDER_A_LIMIT)
    walked: set[int] = set()
    while seen is not None and id(seen) not in walked:  # an exception raised again may stand in its own context
        walked.add(id(seen))
        text = str(seen).lower()
        if isinstance(seen, MemoryError) or (
            isinstance(seen, ImportError | OSError | RuntimeError | SystemError) and any(word in text for word in words)
        ):
            if limit is not None:
                return f"out of memory: the address space is limited to {limit // 1_000_000} MB; raise the limit (ulimit -v)"
            return "out of memory: give fewer samples, or use a machine with more"
        seen = seen.__cause__ or seen.__context__
    return None


def supervised(run: Callable[[], int]) -> int | BaseException:
    """The exit status of ``run`` in a process of its own, or what ended that process.

    For where the address space is limited: libraries that are refused memory end the process, by a signal or with any exit status,
    or interrupt it (OpenBLAS), and nobody is left to say why.
    """
    watched = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
    signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, watched)
        try:
            status = run()
        except KeyboardInterrupt:
            status = _INTERRUPTED
        os.write(writer, bytes([status]))
        return status
    interrupted = False
    for info in _signals(watched):
        if info.si_signo == signal.SIGCHLD:
            if os.waitpid(child, os.WNOHANG)[0]:
                break
            continue
        interrupted |= info.si_signo == signal.SIGINT
        if info.si_code <= 0:  # by another process; what the terminal sends, the child gets as well
            os.kill(child, info.si_signo)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, watched)
    try:
        status = os.read(reader, 1)[0]
    except (BlockingIOError, IndexError):
        return KeyboardInterrupt() if interrupted else MemoryError()
    if status != _INTERRUPTED:
        return status
    return KeyboardInterrupt() if interrupted else MemoryError()


def _signals(watched: tuple[signal.Signals, ...]) -> Iterator[signal.struct_siginfo]:
    while True:
        yield signal.sigwaitinfo(watched)


def address_space() -> int | None:
    """Bytes that the process may map (``ulimit -v``); None for no limit."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def _output_fails() -> bool:
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        return True
    return False
