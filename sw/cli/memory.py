"""Little memory: what a limited address space (``ulimit -v``) must hold, and one line where memory is refused.

Libraries that are refused memory print lines of their own, end the process by a signal or with any exit status, interrupt it, or
ask again without end (OpenBLAS). So commands load none where the limit is less than what these need, and below any limit they run
in a process that another one watches.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

from edgeflow.hw.host import processors
from edgeflow.sw.cli.interrupts import Terminated

GRACE_SECONDS = 10.0  # until a command that was asked to end is killed
_BASE = 640 << 20
"""Bytes of address space that libraries and a small compilation take whatever the number of threads (measured: 660 MB)."""
_A_PROCESSOR = 192 << 20
"""Bytes that the threads for one processor take: a buffer of 34 MB in each of two copies of OpenBLAS, three stacks, and an arena of
64 MB of the C library's (measured: 157 MB)."""
_LIBRARIES = ("numpy", "onnx", "onnx_ir", "onnxruntime", "scipy", "llvmlite", "numba", "torch", "matplotlib")
_INTERRUPTED = 128 + signal.SIGINT
_MEMORY = ("allocate memory", "out of memory", "unable to allocate", "bad_alloc", "bad allocation", "new thread", "pthread_create")
_UNDER_A_LIMIT = ("map segment", "load shared object")  # what loading a library says, for other reasons as well


def address_space() -> int | None:
    """Bytes that the process may map (``ulimit -v``); None for no limit."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def needed() -> int:
    """Bytes of address space with which libraries load on this machine and a small model compiles."""
    return _BASE + _A_PROCESSOR * processors()


def refuse_libraries() -> None:
    """From now on importing a library that needs much memory is a MemoryError, if the address space is too small for it."""
    limit = address_space()
    if limit is not None and limit < needed():
        sys.meta_path.insert(0, _Refusal())


class _Refusal(MetaPathFinder):
    """Stands before the finders of modules."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """No module; MemoryError for a library's."""
        if fullname.partition(".")[0] in _LIBRARIES:
            raise MemoryError(f"{fullname} is not loaded")


def out_of_memory(error: BaseException) -> str | None:
    """What to say where memory is the reason of an exception, or of one that it came of; None for any other."""
    seen: BaseException | None = error
    limit = address_space()
    words = _MEMORY if limit is None else (*_MEMORY, *_UNDER_A_LIMIT)
    walked: set[int] = set()
    while seen is not None and id(seen) not in walked:  # an exception raised again may stand in its own context
        walked.add(id(seen))
        text = str(seen).lower().rpartition("status message: ")[2]  # onnxruntime names nodes before
        speaks = isinstance(seen, ImportError | OSError | RuntimeError | SystemError) or (
            limit is not None and type(seen).__module__.startswith("onnxruntime.")
        )
        if isinstance(seen, MemoryError) or (speaks and any(word in text for word in words)):
            return "out of memory: give fewer samples, or use a machine with more" if limit is None else _too_little(limit)
        seen = seen.__cause__ or seen.__context__
    return None


def _too_little(limit: int) -> str:
    text = f"out of memory: the address space is limited to {limit // 1_000_000} MB"
    if limit >= needed():
        return f"{text}; raise the limit (ulimit -v unlimited)"
    return (
        f"{text}, and even a small model takes {-(-needed() // 1_000_000)} MB with {processors()} processors; "
        f"raise the limit (ulimit -v unlimited, or at least {needed() // 1024})"
    )


def supervised(run: Callable[[], int]) -> int | BaseException:
    """The exit status of ``run`` in a process of its own, or what ended that process.

    SIGINT and SIGTERM reach it, and where it has not ended :data:`GRACE_SECONDS` later, SIGKILL.
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
    asked = _watch(child, watched)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, watched)
    ended: BaseException = KeyboardInterrupt() if signal.SIGINT in asked else MemoryError()
    try:
        status = os.read(reader, 1)[0]
    except (BlockingIOError, IndexError):
        return Terminated() if asked == {signal.SIGTERM} else ended
    return ended if status == _INTERRUPTED else status


def _watch(child: int, watched: tuple[signal.Signals, ...]) -> set[int]:
    """Pass signals on to a child until it has ended; which ones came."""
    asked: set[int] = set()
    patience: float | None = None  # until when the child may take to end
    while True:
        if patience is None:
            info = signal.sigwaitinfo(watched)
        elif (left := signal.sigtimedwait(watched, max(0.0, patience - time.monotonic()))) is not None:
            info = left
        else:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return asked
        if info.si_signo == signal.SIGCHLD:
            if os.waitpid(child, os.WNOHANG)[0]:
                return asked
            continue
        asked.add(info.si_signo)
        patience = patience or time.monotonic() + GRACE_SECONDS
        if info.si_code <= 0:  # by another process; what the terminal sends, the child gets as well
            os.kill(child, info.si_signo)
