"""Which samples set a network's numbers, and which measure how accurate it is.

Figures that are measured on the samples that set ranges and rounding flatter the network: unseen data may clip where these do not.
So a part of the calibration data is held out of calibration, or the user gives test data; where neither can be, nothing is
measured.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeflow.hw.arrays import Array
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.inputs import distinct
from edgeflow.quant.canonical.labels import check_labels
from edgeflow.quant.canonical.masks import key_masks, keyless_samples
from edgeflow.quant.ptq import checked_data
from edgeflow.sw.measure.random_data import RANDOM_SAMPLES, random_inputs
from edgeflow.sw.measure.screening import ENOUGH, far_samples, guesses, real_inputs

Origin = Literal["held_out", "test"]
HELD_OUT = 4  # one in so many


@dataclass(frozen=True)
class UserData:
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

    def digest(self) -> str:
        """SHA-256 of the samples: names, types, shapes and values of the arrays."""
        digest = hashlib.sha256()
        for name, array in sorted(self.arrays.items()):
            digest.update(f"{name} {array.dtype} {array.shape} ".encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def rows(self, chosen: NDArray[np.bool_]) -> Unseen:
        """Some of the samples."""
        return Unseen(self.origin, _rows(self.arrays, chosen), None if self.labels is None else self.labels[chosen])


@dataclass(frozen=True)
class Samples:
    """``calibration`` (checked arrays) sets ranges and rounding, ``labels`` are its classes if they are known; ``unseen`` measures,
    or is None for the ``reason`` given. ``random``: nobody gave calibration data. ``warnings`` are about the data, a line each;
    ``guesses`` are those that only matter where the data sets ranges."""

    calibration: dict[str, Array]
    labels: NDArray[np.int64] | None
    unseen: Unseen | None
    reason: str
    random: bool
    warnings: tuple[str, ...] = ()
    guesses: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.calibration.values())))


def choose_samples(model: ir.Model, calibration: UserData | None, test: UserData | None, seed: int) -> Samples:
    """Check the data for a canonical model, and say which of it sets numbers and which measures.

    Samples of which no key takes part measure nothing. A sample far from the others is left out, with a warning. With ``test`` data
    all of ``calibration`` sets numbers; without, a quarter of its distinct samples is held out, from ``ENOUGH`` of them on. Without
    calibration data the numbers are set by seeded random data. CalibrationError for data or labels that do not fit.
    """
    samples = _chosen(model, calibration, test, seed)
    unseen = samples.unseen
    if unseen is None:
        return samples
    keyless = keyless_samples(key_masks(FloatGraph(model)), unseen.arrays)
    if not keyless.any():
        return samples
    what = f"{len(np.flatnonzero(keyless))} of the {len(unseen)} samples that measure accuracy"
    reason = "leave no key that takes part, where softmax has no meaning"
    if keyless.all():
        return replace(samples, unseen=None, reason=f"all samples that would measure accuracy {reason}")
    warnings = (*samples.warnings, f"{what} {reason}: left out; the model's outputs and the network's differ there")
    return replace(samples, unseen=unseen.rows(~keyless), warnings=warnings)


def _chosen(model: ir.Model, calibration: UserData | None, test: UserData | None, seed: int) -> Samples:
    if calibration is None:
        drawn = random_inputs(model, RANDOM_SAMPLES, seed)
        unseen = None if test is None else _tested(model, test)
        return Samples(drawn, None, unseen, "random data; give real samples (--calib, --test)", random=True)
    arrays, labels = _checked(model, calibration)
    names = real_inputs(FloatGraph(model))
    far = far_samples(arrays, names)
    warnings = tuple(line.warning(calibration.what, left_out=line.certain) for line in far)
    odd = sorted({number for line in far if line.certain for number in line.samples})
    if odd:
        kept = np.isin(np.arange(len(next(iter(arrays.values())))), odd, invert=True)
        arrays, labels = _rows(arrays, kept), None if labels is None else labels[kept]
    doubts = tuple(guesses(arrays, names, calibration.what, left_out=len(odd)))
    if test is not None:
        unseen, repeated = _without(_tested(model, test), arrays)
        if unseen is None:
            reason = f"every sample of {test.what} is a calibration sample, too; give samples that calibrate nothing (--test)"
            return Samples(arrays, labels, None, reason, random=False, warnings=warnings, guesses=doubts)
        if repeated:
            warnings += (f"{test.what}: {repeated} samples are calibration samples, too: left out of accuracy",)
        return Samples(arrays, labels, unseen, "", random=False, warnings=warnings, guesses=doubts)
    groups = distinct(arrays)
    count = int(groups.max()) + 1
    if count + len(odd) < ENOUGH:
        few = f"{count} {'distinct ' if count < len(groups) else ''}calibration sample{'s are' if count > 1 else ' is'} too few"
        reason = f"{few} to hold some out (from {ENOUGH} on); give more (--calib) or test data (--test)"
        return Samples(arrays, labels, None, reason, random=False, warnings=warnings, guesses=doubts)
    held = held_out(groups, seed)
    return Samples(
        calibration=_rows(arrays, ~held),
        labels=None if labels is None else labels[~held],
        unseen=Unseen("held_out", _rows(arrays, held), None if labels is None else labels[held]),
        reason="",
        random=False,
        warnings=warnings,
        guesses=doubts,
    )


def held_out(groups: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Which samples are held out: a seeded choice of a quarter of the distinct ones, with all their copies."""
    count = int(groups.max()) + 1
    chosen = np.random.default_rng([seed, count]).choice(count, count // HELD_OUT, replace=False)
    return np.isin(groups, chosen)


def _checked(model: ir.Model, data: UserData) -> tuple[dict[str, Array], NDArray[np.int64] | None]:
    arrays = checked_data(model, data.arrays, data.what)
    if data.labels is None:
        return arrays, None
    samples = len(next(iter(arrays.values())))
    return arrays, check_labels(FloatGraph(model), np.asarray(data.labels), samples, f"{data.what}: labels")


def _tested(model: ir.Model, data: UserData) -> Unseen:
    return Unseen("test", *_checked(model, data))


def _without(unseen: Unseen, calibration: Mapping[str, Array]) -> tuple[Unseen | None, int]:
    """Test samples that are no calibration samples, None if there is none, and how many are."""
    count = len(next(iter(calibration.values())))
    groups = distinct({name: np.concatenate([array, unseen.arrays[name]]) for name, array in calibration.items()})
    new = np.isin(groups[count:], groups[:count], invert=True)
    repeated = int(np.count_nonzero(~new))
    if not repeated:
        return unseen, 0
    if not new.any():
        return None, repeated
    return unseen.rows(new), repeated


def _rows(arrays: Mapping[str, Array], chosen: NDArray[np.bool_]) -> dict[str, Array]:
    return {name: array[chosen] for name, array in arrays.items()}
