"""The boundary to other libraries: what they raise while input is read becomes one error of EdgeFlow's, with file and place."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import numpy as np
from pydantic import ValidationError

from edgeflow.hw.arrays import Array
from edgeflow.hw.errors import EdgeFlowError, InputError

_OWN = "edgeflow"
COMPILE_AGAIN = "compile the model again"
"""What to do about a file of a build that is damaged."""


@contextmanager
def reading(place: object, advice: str, error: type[InputError] = InputError) -> Iterator[None]:
    """Turn what another library raises in the block into ``error``: "``place``: first line of the cause; ``advice``".

    The block calls other libraries and builtins, nothing else: an exception out of a function of EdgeFlow that the block calls is
    an error of ours, and is raised as it is. So are EdgeFlow's own errors, interrupts and a lack of memory.
    """
    try:
        yield
    except (EdgeFlowError, MemoryError):
        raise
    except Exception as problem:
        # The first two frames are this generator's and the block's.
        if problem.__traceback__ is None or _is_ours(problem.__traceback__.tb_next):
            raise
        cause: BaseException = problem
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise error(f"{place}: {first_line(cause)}; {advice}") from problem


def read_arrays(content: bytes, place: object) -> dict[str, Array]:
    """The arrays of an ``.npz`` file of a build by name; InputError where it is damaged. Python objects are never unpickled."""
    arrays = {}
    with reading(place, COMPILE_AGAIN), np.load(io.BytesIO(content), allow_pickle=False) as archive:
        for name in archive.files:
            arrays[name] = np.asarray(archive[name])
    return arrays


def _is_ours(block: TracebackType | None) -> bool:
    """Whether an exception came out of a function of EdgeFlow that the block called."""
    frame = None if block is None else block.tb_next
    while frame is not None:
        if str(frame.tb_frame.f_globals.get("__name__", "")).partition(".")[0] == _OWN:
            return True
        frame = frame.tb_next
    return False


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or its type where it has none; of what pydantic found first, the place and what."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        return f"{place}: {first['msg']}" if place else first["msg"]
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
