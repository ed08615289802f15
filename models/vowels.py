"""Japanese Vowels (Kudo, Toyama and Shimbo, Pattern Recognition Letters 20, 1999): nine speakers say two vowels.

Each utterance is a series of 12 linear-prediction cepstral coefficients. The wheel of aeon carries them, interpolated to 25 frames:
270 utterances for training, 370 for tests. The features of a frame are its coefficients and their slopes over time, as speech
recognition has them (Furui, IEEE TASSP 34, 1986). They are not normalised: the range of the largest channel is 25 times that of the
smallest.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgeflow.hw.errors import InputError
from edgeflow.models.wheels import WheelFiles

_FILES = {"train": "JapaneseVowels_eq_TRAIN.ts", "test": "JapaneseVowels_eq_TEST.ts"}
AEON = WheelFiles("aeon", "1.6.0", "aeon/datasets/data/JapaneseVowels/", tuple(_FILES.values()))

COEFFICIENTS, FRAMES, SPEAKERS = 12, 25, 9
CHANNELS = 2 * COEFFICIENTS
FRACTION_BITS = 12  # of the features: fixed point, as an integer front end delivers them
REACH = 2  # frames to either side that a slope is fitted to


@dataclass(frozen=True)
class Utterances:
    """``features`` float32 (count, 25, 24), the coefficients and then their slopes; ``speakers`` int64 (count,) in 0..8."""

    features: NDArray[np.float32]
    speakers: NDArray[np.int64]


def load_vowels(split: Literal["train", "test"], folder: str | Path | None = None) -> Utterances:
    """Read the 270 training or the 370 test utterances from ``folder``, or from the wheel, which is fetched once.

    Raises InputError where a file is missing or is not the expected series, ToolchainError where the wheel cannot be fetched.
    """
    place = AEON.fetch() if folder is None else Path(folder)
    cepstra, speakers = _read_series(place / _FILES[split])
    return Utterances(features(cepstra), speakers)


def features(cepstra: NDArray[np.float64]) -> NDArray[np.float32]:
    """Coefficients ``(count, frames, 12)`` and their slopes per frame, by least squares over five frames, the ends repeated."""
    padded = np.pad(cepstra, ((0, 0), (REACH, REACH), (0, 0)), mode="edge")
    frames = cepstra.shape[1]
    steps = range(-REACH, REACH + 1)
    slopes = np.sum([step * padded[:, REACH + step : REACH + step + frames] for step in steps], axis=0)
    slopes /= sum(step * step for step in steps)
    unit = 2.0**FRACTION_BITS
    return (np.round(np.concatenate([cepstra, slopes], axis=-1) * unit) / unit).astype(np.float32)


def _read_series(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Series ``(count, 25, 12)`` and classes from 0 of a file in the ``ts`` form: a line has its channels, then its class, between
    colons."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give the folder of the files of JapaneseVowels, or none") from error
    series, classes = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith(("#", "@")):
            continue
        *channels, label = line.split(":")
        try:
            values = np.array([channel.split(",") for channel in channels], dtype=np.float64)
            speaker = int(label)
        except ValueError as error:
            raise InputError(f"{path}, line {number}: {error}; give the file of JapaneseVowels as aeon has it") from error
        if values.shape != (COEFFICIENTS, FRAMES) or not 1 <= speaker <= SPEAKERS or not np.isfinite(values).all():
            raise InputError(
                f"{path}, line {number}: expected {COEFFICIENTS} series of {FRAMES} numbers and a class from 1 to {SPEAKERS}, not"
                f" {values.shape} and {speaker}; give the file of JapaneseVowels as aeon has it"
            )
        series.append(values.T)
        classes.append(speaker - 1)
    if not series:
        raise InputError(f"{path}: holds no series; give the file of JapaneseVowels as aeon has it")
    return np.stack(series), np.array(classes, dtype=np.int64)
