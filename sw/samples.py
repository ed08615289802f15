"""Which samples set a network's numbers, and which measure how accurate it is.

Figures that are measured on the samples that set ranges and rounding flatter the network: unseen data may clip where these do not.
So a part of the calibration data is held out of calibration, or the user gives test data; where neither can be, nothing is
measured.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeflow.quant.float_graph import FloatGraph
from edgeflow.quant.labels import check_labels
from edgeflow.quant.ptq import checked_data
from edgeflow.sw.calibration import random_inputs

Array = NDArray[Any]
Origin = Literal["held_out", "test"]
ENOUGH = 64  # distinct samples, from which on some are held out
HELD_OUT = 4  # one in so many
RANDOM_SAMPLES = 16


@dataclass(frozen=True)
class Given:
    """Data as the user gave it: arrays by input name, class labels ``(samples,)`` if there are any, and its name in messages."""

    arrays: Mapping[str, Array]
    labels: Array | None = None
    what: str = "calibration data"


@dataclass(frozen=True)
class Unseen:
    """Checked samples that no number of the network depends on, with their class labels if they are known."""

    origin: Origin
    arrays: dict[str, Array]
    labels: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))


@dataclass(frozen=True)
class Samples:
    """``calibration`` (checked arrays) sets ranges and rounding, ``labels`` are its classes if they are known; ``unseen`` measures,
    or is None for the ``reason`` given. ``random``: nobody gave calibration data."""

    calibration: dict[str, Array]
    labels: NDArray[np.int64] | None
    unseen: Unseen | None
    reason: str
    random: bool

    def __len__(self) -> int:
        return len(next(iter(self.calibration.values())))


def choose_samples(model: ir.Model, calibration: Given | None, test: Given | None, seed: int) -> Samples:
    """Check the data for a canonical model, and say which of it sets numbers and which measures.

    With ``test`` data all of ``calibration`` sets numbers; without, a quarter of its distinct samples is held out, from ``ENOUGH``
    of them on. Without calibration data the numbers are set by seeded random data. CalibrationError for data or labels that do not
    fit.
    """
    if calibration is None:
        drawn = random_inputs(model, RANDOM_SAMPLES, seed)
        unseen = None if test is None else _tested(model, test)
        return Samples(drawn, None, unseen, "random data; give real samples (--calib, --test)", random=True)
    arrays, labels = _checked(model, calibration)
    if test is not None:
        return Samples(arrays, labels, _tested(model, test), "", random=False)
    groups = distinct(arrays)
    count = int(groups.max()) + 1
    if count < ENOUGH:
        few = f"{count} distinct calibration samples" if count < len(groups) else f"{count} calibration samples"
        reason = f"{few}, of {ENOUGH} some would be held out; give more (--calib) or test data (--test)"
        return Samples(arrays, labels, None, reason, random=False)
    held = held_out(groups, seed)
    unseen = Unseen("held_out", _rows(arrays, held), None if labels is None else labels[held])
    return Samples(_rows(arrays, ~held), None if labels is None else labels[~held], unseen, "", random=False)


def held_out(groups: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Which samples are held out: a seeded choice of a quarter of the distinct ones, with all their copies."""
    count = int(groups.max()) + 1
    chosen = np.random.default_rng([seed, count]).choice(count, count // HELD_OUT, replace=False)
    return np.isin(groups, chosen)


def distinct(arrays: Mapping[str, Array]) -> NDArray[np.int64]:
    """The number of every sample among the distinct ones, in the order of their first appearance."""
    numbers: dict[bytes, int] = {}
    found = []
    for i in range(len(next(iter(arrays.values())))):
        digest = hashlib.blake2b(digest_size=16)
        for array in arrays.values():
            digest.update(array[i].tobytes())
        found.append(numbers.setdefault(digest.digest(), len(numbers)))
    return np.array(found, dtype=np.int64)


def _checked(model: ir.Model, given: Given) -> tuple[dict[str, Array], NDArray[np.int64] | None]:
    arrays = checked_data(model, given.arrays, given.what)
    if given.labels is None:
        return arrays, None
    samples = len(next(iter(arrays.values())))
    return arrays, check_labels(FloatGraph(model), np.asarray(given.labels), samples, f"{given.what}: labels")


def _tested(model: ir.Model, given: Given) -> Unseen:
    return Unseen("test", *_checked(model, given))


def _rows(arrays: Mapping[str, Array], chosen: NDArray[np.bool_]) -> dict[str, Array]:
    return {name: array[chosen] for name, array in arrays.items()}
