"""Data as a user has it: an ``.npz`` file, arrays by input name, one array, or batches of them, made into arrays by input name.

Batches may come from anything that can be iterated once, such as a generator or a torch DataLoader: they are written to temporary
files as they come and mapped from there, so that no more than one of them is in memory.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import ArrayLike

from edgeflow.hw.arrays import Array, Arrays
from edgeflow.hw.errors import CalibrationError
from edgeflow.sw.files.arrays import Archive, read_npz

Batch = Mapping[str, ArrayLike] | Sequence[ArrayLike] | ArrayLike
Data = str | os.PathLike[str] | Mapping[str, ArrayLike] | ArrayLike | Iterable[Batch]
"""An ``.npz`` file; arrays ``(samples, ...)`` by input name; the array of a model with one input; or batches, each a mapping, the
arrays of the inputs in the model's order, or one array."""
Names = Callable[[], Sequence[str]]
"""The names of a model's inputs, in the model's order, asked for where the data has none."""

FORMS = "give an .npz file, arrays by input name, or batches of them"


def read_data(data: Data, names: Names, what: str = "calibration data", labels: str | None = None) -> Arrays:
    """The arrays of ``data`` by input name, samples first; ``what`` names it in messages. Of a file the arrays of the inputs and of
    ``labels`` are read, where it has all inputs.

    A batch with more arrays than the model has inputs, such as the pairs (inputs, labels) of a DataLoader: the first ones are the
    inputs, and a UserWarning says that the others are not used. CalibrationError where the data has none of these forms.
    """
    if isinstance(data, str | os.PathLike):
        return read_npz(Path(data), what, names, () if labels is None else (labels,))
    if isinstance(data, Archive):
        return data
    if isinstance(data, Mapping):
        return {str(name): to_array(value, f"{what}: input {name!r}") for name, value in data.items()}
    if hasattr(data, "__array__"):
        return _in_order((data,), names(), what)[0]
    if isinstance(data, bytes) or not isinstance(data, Iterable):
        raise CalibrationError(f"{what} cannot be a {type(data).__name__}: {FORMS}")
    return _spooled(data, names, what)


def to_array(value: ArrayLike, what: str) -> Array:
    """A NumPy array of a value, a torch tensor on any device included; CalibrationError where it is none."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise CalibrationError(f"{what} is no array ({' '.join(str(error).split())}): {FORMS}") from error
    if array.dtype.kind not in "biufc":
        raise CalibrationError(f"{what} has type {array.dtype}; only numbers and booleans can be used")
    return array


def _in_order(batch: Sequence[Any], names: Sequence[str], what: str) -> tuple[dict[str, Array], int]:
    """Arrays in the model's order by name, and how many more there are."""
    if len(batch) < len(names):
        few = f"{len(batch)} array{'s' if len(batch) > 1 else ''} for the {len(names)} inputs {', '.join(names)}"
        raise CalibrationError(f"{what} has {few}: give arrays by input name")
    arrays = {name: to_array(value, f"{what}: input {name!r}") for name, value in zip(names, batch, strict=False)}
    return arrays, len(batch) - len(names)


class _Spool:
    """The batches of one input, on disk."""

    def __init__(self, what: str, array: Array) -> None:
        self.what, self.dtype, self.shape, self.samples = what, array.dtype, array.shape[1:], 0
        self.file: IO[bytes] = tempfile.TemporaryFile(prefix="edgeflow-")  # noqa: SIM115 (closed by _spooled)

    def add(self, array: Array) -> None:
        if array.shape[1:] != self.shape or array.dtype != self.dtype:
            this, first = f"{array.dtype} {array.shape}", f"{self.dtype} (samples, {', '.join(map(str, self.shape))})"
            raise CalibrationError(f"{self.what}: a batch is {this}, the first one was {first}: make all samples alike")
        self.file.write(array.tobytes())
        self.samples += len(array)

    def mapped(self) -> Array:
        """The samples; the mapping outlives the file's name and its handle."""
        self.file.flush()
        shape = (self.samples, *self.shape)
        return np.memmap(self.file, self.dtype, "r", shape=shape) if np.prod(shape) else np.empty(shape, self.dtype)


def _spooled(batches: Iterable[Any], names: Names, what: str) -> dict[str, Array]:
    spools: dict[str, _Spool] = {}
    try:
        unused = _write(batches, names, what, spools)
        arrays = {name: spool.mapped() for name, spool in spools.items()}
    finally:
        for spool in spools.values():
            spool.file.close()
    if unused:
        others = "the other one is" if unused == 1 else f"the other {unused} are"
        warnings.warn(
            f"{what}: of the {len(spools) + unused} arrays of a batch the first are {', '.join(spools)}; {others} not used"
            " (class labels have an option of their own)",
            stacklevel=2,
        )
    return arrays


def _write(batches: Iterable[Any], names: Names, what: str, spools: dict[str, _Spool]) -> int:
    """Write all batches into ``spools``, which are made here; returns how many arrays of a batch are not used."""
    unused = 0
    for number, batch in enumerate(batches):
        where = f"{what}, batch {number}"
        if isinstance(batch, Mapping):
            arrays = {str(name): to_array(value, f"{where}: input {name!r}") for name, value in batch.items()}
        else:
            together = isinstance(batch, tuple | list) and (not batch or np.ndim(batch[0]) > 0)
            arrays, unused = _in_order(batch if together else (batch,), names(), where)
        if number == 0:
            spools |= {name: _Spool(f"{what}: input {name!r}", array) for name, array in arrays.items()}
        if arrays.keys() != spools.keys():
            raise CalibrationError(f"{where} has {', '.join(arrays)}, the first had {', '.join(spools)}: make all batches alike")
        for name, array in arrays.items():
            if not array.ndim:
                raise CalibrationError(f"{where}: input {name!r} is a single number: {FORMS}")
            spools[name].add(array)
    if not spools:
        raise CalibrationError(f"{what} has no batches: {FORMS}")
    return unused
