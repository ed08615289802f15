"""Signals that end a command become exceptions, once, where they unwind what is under way."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import PurePath
from types import FrameType

_AGAIN = 0.02  # seconds until a signal that came at a wrong moment is looked at again
_SWALLOWING = ("llvmlite", "weakref.py")  # folder or file of code that C calls back, and whose exceptions it only prints


class Terminated(BaseException):
    """SIGTERM arrived: unwinds like Ctrl-C, so that unfinished output is removed."""


class _KeyboardInterrupt(KeyboardInterrupt):
    """SIGINT arrived. A class of its own: where the interpreter's own exception falls into an ``exec()``, it ends by the signal
    even after the exception was handled, and the exit status that was returned is lost."""


@contextlib.contextmanager
def terminable(*, last: bool = False) -> Iterator[None]:
    """Turn SIGTERM and, where nobody else handles it, SIGINT into exceptions while the block runs (in the main thread; signals
    reach no other). An exception that would be swallowed, in a finalizer or in a callback from C, is raised a little later; what C
    code makes of it, an ImportError of a module that was being loaded, becomes it again. ``last``: the process ends after the
    block, with the status that it has by then: signals are ignored from there on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    told: list[type[BaseException]] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if number != signal.SIGALRM:
            waiting[:] = [number]
        if not waiting:
            return
        if _swallows(frame):
            signal.setitimer(signal.ITIMER_REAL, _AGAIN)
            return
        told.append(_KeyboardInterrupt if waiting.pop() == signal.SIGINT else Terminated)
        raise told[-1]

    numbers = [signal.SIGTERM, signal.SIGALRM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        numbers.append(signal.SIGINT)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    except Exception as error:
        if told:
            raise told[-1] from error
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if last else handler or signal.SIG_DFL)


def _swallows(frame: FrameType | None) -> bool:
    """Whether an exception that is raised in a frame may be printed and forgotten by what called one of the frames above it."""
    while frame is not None:
        code = frame.f_code
        if code.co_name == "__del__" or any(part in _SWALLOWING for part in PurePath(code.co_filename).parts):
            return True
        frame = frame.f_back
    return False
