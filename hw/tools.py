"""Running compilers: they may be missing, fail, be killed, or never end, and each of that is one line."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence

from edgeflow.hw.errors import ToolchainError

SECONDS = 900
"""A compiler that takes longer than this has hung."""


def run_tool(command: Sequence[str], remedy: str, seconds: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command without input and return what it printed, whatever its exit status.

    ToolchainError, which ends in ``remedy``, where it does not start, runs longer than ``seconds`` (:data:`SECONDS`) or dies of a
    signal. All of its processes end with it.
    """
    allowed = SECONDS if seconds is None else seconds
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # a compiler's own children keep its pipes open: they are ended with it
        )
    except OSError as error:
        raise ToolchainError(f"{command[0]} does not run: {error.strerror}; {remedy}") from error
    try:
        out, err = child.communicate(timeout=allowed)
    except BaseException as error:
        _end(child)
        if isinstance(error, subprocess.TimeoutExpired):
            raise ToolchainError(f"{command[0]} did not end within {allowed:g} seconds; {remedy}") from error
        raise
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        raise ToolchainError(f"{command[0]} was ended by {name}, as happens where memory runs out; {remedy}")
    return subprocess.CompletedProcess(command, child.returncode, out, err)


def _end(child: subprocess.Popen[str]) -> None:
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        child.kill()
    child.communicate()
