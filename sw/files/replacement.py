"""A build folder takes the place of another in one step, whatever happens meanwhile.

A new build is made in a working folder beside its target, under a lock that ends with the process. When it is whole, both exchange
their names in one call of the kernel (``renameat2`` with ``RENAME_EXCHANGE``): at every moment the target is one whole build. On
file systems that cannot, it takes two renames, and what a process that was killed between them left is put back by whoever looks
for the build next. Working folders without a lock belong to nobody any more: the next compilation removes them.

Two compilations into one folder at once do not meet: each has its own working folder, the target is always the whole build of the
one that finished last, and the other's is gone.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import secrets
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import cast

from edgeflow.hw.errors import OutputError
from edgeflow.sw.files.snapshot import MANIFEST

TEMPORARY = ".edgeflow-"
_OLD = "-old"
_TRIES = 20
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)


def not_writable(folder: Path, error: OSError) -> OutputError:
    """What to raise where an output folder cannot be made or written: the system's reason, or the file that stands in the way."""
    file = next((above for above in folder.parents if above.exists() and not above.is_dir()), None)
    reason = error.strerror if file is None else f"{file} is not a folder"
    return OutputError(f"output folder {folder} cannot be written: {reason}; choose another with -o")


@contextmanager
def new_build(target: Path) -> Iterator[Path]:
    """A working folder beside ``target`` that takes its place when the block ends without an error; else it vanishes.

    An existing build of EdgeFlow is replaced only then. OutputError if ``target`` is something else or cannot be written.
    """
    check_target(target)
    target = Path(os.path.realpath(target))
    fresh = [folder for folder in target.parents if not folder.exists()]
    try:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            restore(target)
            remove_leftovers(target)
        except OSError as error:
            raise not_writable(target, error) from error
        with _working_folder(target) as work:
            yield work
            check_target(target)
            with _uninterrupted():
                _replace(work, target)
                shutil.rmtree(work, ignore_errors=True)  # now the old build, if there was one
    except BaseException:
        for folder in fresh:
            with suppress(OSError):
                folder.rmdir()
        raise


def check_target(target: Path, mark: str = MANIFEST, what: str = "an EdgeFlow build") -> None:
    """OutputError unless ``target`` is new, empty, or ``what`` has the file ``mark``."""
    try:
        if target.is_dir():
            if any(target.iterdir()) and not (target / mark).is_file():
                raise OutputError(f"output folder {target} exists and is not {what}: choose another with -o, or remove it yourself")
        elif target.exists() or target.is_symlink():
            raise OutputError(f"output {target} exists and is not a folder: choose another with -o")
    except OSError as error:
        raise OutputError(f"output folder {target} cannot be read: {error.strerror}; choose another with -o") from error


def check_room(target: Path) -> None:
    """OutputError unless a folder can be made where ``target`` lies; nothing is left behind."""
    place = Path(os.path.realpath(target))
    try:
        above = next(folder for folder in place.parents if folder.exists())
        with _uninterrupted():
            room = _new_name(above / place.name)
            room.mkdir()
            room.rmdir()
    except OSError as error:
        raise not_writable(target, error) from error


def restore(target: Path) -> None:
    """Put back the build that a process was about to replace when it was killed between two renames."""
    if not os.path.lexists(target):
        for folder in _left(target):
            if folder.name.endswith(_OLD) and (folder / MANIFEST).is_file() and (lock := _locked(folder)) is not None:
                with suppress(OSError):
                    folder.rename(target)
                os.close(lock)
                return


def remove_leftovers(target: Path) -> None:
    """Remove the working folders beside ``target`` whose processes are gone."""
    for folder in _left(target):
        lock = _locked(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


@contextmanager
def locked_folder(folder: Path, doing: str) -> Iterator[None]:
    """Hold a folder that grows while the block runs, made if it is not there, and removed if nothing came into it.

    OutputError where it cannot be made, or where another process holds it, which ``doing`` names.
    """
    fresh = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise not_writable(folder, error) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(
                f"output folder {folder} is in use: {doing} writes into it; wait for it, or choose another with -o"
            ) from error
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(lock)
        if fresh:
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def _working_folder(target: Path) -> Iterator[Path]:
    """A new folder beside ``target`` whose lock is held while the block runs, and that vanishes if it ends by an error."""
    held: list[int] = []
    work = None
    try:
        try:
            for _ in range(_TRIES):
                with _uninterrupted():
                    fresh = _new_name(target)
                    fresh.mkdir()
                    work = fresh
                    with suppress(OSError):
                        held.append(_open(work))
                        with suppress(OSError):  # a file system without locks: nobody takes the folder for abandoned there, either
                            fcntl.flock(held[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
                if held and work.exists():
                    break  # nobody who cleans up came between
            else:
                raise OSError(errno.EBUSY, "a working folder beside it vanishes")
        except OSError as error:
            raise not_writable(target, error) from error
        yield work
    except BaseException:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)
        raise
    finally:
        for lock in held:
            os.close(lock)


def _new_name(target: Path) -> Path:
    """A name beside ``target`` for a folder of this process: what a process leaves there, the next one finds by it."""
    return target.parent / f"{TEMPORARY}{target.name}-{secrets.token_hex(4)}"


def _left(target: Path) -> list[Path]:
    pattern = re.compile(re.escape(f"{TEMPORARY}{target.name}-") + f"[0-9a-f]{{8}}({_OLD})?")
    try:
        return [target.parent / name for name in os.listdir(target.parent) if pattern.fullmatch(name)]
    except OSError:
        return []


def _locked(folder: Path) -> int | None:
    """A descriptor that holds the lock of a folder of this user's; None where another process has it, or locks are not known."""
    try:
        lock = _open(folder)
    except OSError:
        return None
    try:
        if os.fstat(lock).st_uid == os.geteuid():
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
    except OSError:
        pass
    os.close(lock)
    return None


def _open(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Keep Ctrl-C waiting: between two renames neither folder would be in place.

    Blocking the signal in this thread would not do: the operating system then hands it to a thread of a numerical library, and
    Python interrupts the main thread all the same.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    ending = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)  # the last is one of the others, put off
    before = {number: signal.signal(number, lambda n, _: waiting.append(n)) for number in ending}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        if waiting:
            signal.raise_signal(waiting[0])


def _replace(work: Path, target: Path) -> None:
    """Put ``work`` in the place of ``target``; what was there is where ``work`` was, or gone."""
    try:
        for _ in range(_TRIES):
            try:
                if not os.path.lexists(target):
                    work.rename(target)
                elif not _exchange(work, target):
                    _two_renames(work, target)
                return
            except FileExistsError:
                continue  # another compilation has put its build there in between
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTEMPTY) or not work.exists():
                    raise
        raise OSError(errno.EBUSY, "others replace it all the time")
    except OSError as error:
        raise OutputError(f"output folder {target} cannot be replaced: {error.strerror}; choose another with -o") from error


def _two_renames(work: Path, target: Path) -> None:
    old = work.with_name(f"{work.name}{_OLD}")
    lock = _locked(target)  # nobody puts it back, or takes it for abandoned, while this process lives
    try:
        target.rename(old)
        try:
            work.rename(target)
        except BaseException:
            old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        if lock is not None:
            os.close(lock)


def _exchange(work: Path, target: Path) -> bool:
    """Exchange two names in one step; False where the system or the file system cannot."""
    function = _renameat2()
    if function is None:
        return False
    if function(_AT_FDCWD, os.fsencode(work), _AT_FDCWD, os.fsencode(target), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT:
        return False
    raise OSError(number, os.strerror(number))


@cache
def _renameat2() -> Callable[[int, bytes, int, bytes, int], int] | None:
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return cast("Callable[[int, bytes, int, bytes, int], int]", function)
