"""Errors of a model say which file it is in, wherever they are raised."""

from __future__ import annotations

import os
from dataclasses import replace

from edgeflow.hw.errors import ModelError, UnsupportedError


def placed(path: str | os.PathLike[str], error: ModelError) -> ModelError:
    """The error with the path at its front, unless that is there already; a diagnosis is that of the path."""
    file = os.fspath(path)
    if isinstance(error, UnsupportedError) and error.diagnosis is not None:
        return UnsupportedError(replace(error.diagnosis, model=file))
    where = f"{file}: "
    kind = UnsupportedError if isinstance(error, UnsupportedError) else ModelError
    return error if str(error).startswith(where) else kind(where + str(error))
