"""Every error that EdgeFlow raises on purpose.

::

    EdgeFlowError                 base class; never raised itself
    +-- InputError                what the user gave is wrong (exit status 2)
    |   +-- ModelError            the model file
    |   |   +-- UnsupportedError  a valid model that uses what EdgeFlow cannot compile
    |   +-- CalibrationError      calibration or simulation data
    |   +-- BoardError            a board name or board file
    |   +-- OutputError           an output folder or file
    +-- ClusterError              worker processes or a cluster of them (exit status 2)
    +-- ToolchainError            a compiler or header is missing or failed (exit status 2)
    +-- VerificationError         a check that was asked for failed (exit status 1)

Messages name what is wrong, where (file, node, option) and what to do, in one line.
"""

from __future__ import annotations

from edgeflow.hw.diagnosis import Diagnosis


class EdgeFlowError(Exception):
    """Base class of the errors that EdgeFlow raises on purpose; ``exit_status`` is the command line's."""

    exit_status = 2


class InputError(EdgeFlowError):
    """What the user gave is wrong."""


class ModelError(InputError):
    """The model file cannot be read or is not valid."""


class UnsupportedError(ModelError):
    """The model is valid but uses something that EdgeFlow cannot compile.

    ``diagnosis`` says why, cause by cause, where the import has looked into it.
    """

    def __init__(self, message: str | Diagnosis) -> None:
        self.diagnosis = message if isinstance(message, Diagnosis) else None
        super().__init__(message if isinstance(message, str) else message.line())


class CalibrationError(InputError):
    """Calibration or simulation data does not fit the model."""


class BoardError(InputError):
    """A board name or board file is wrong."""


class OutputError(InputError):
    """An output folder or file cannot be written or is not EdgeFlow's."""


class ClusterError(EdgeFlowError):
    """Worker processes, or a cluster's scheduler or workers, cannot be reached, do not fit, or died."""


class ToolchainError(EdgeFlowError):
    """A compiler, header or tool is missing, or it failed."""


class VerificationError(EdgeFlowError):
    """A check that the user asked for failed."""

    exit_status = 1
