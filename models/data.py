"""Fashion-MNIST (Xiao et al., arXiv 1708.07747): the full set from its IDX files, and the shipped npz samples.

The IDX layout is that of MNIST: two zero bytes, a type byte (8 = unsigned byte), the number of dimensions, each
dimension as a big-endian 32-bit integer, then the values.
"""

from __future__ import annotations

import gzip
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgeflow.hw.errors import InputError

DATA_VARIABLE = "EDGEFLOW_FASHION_MNIST"
DEFAULT_FOLDER = Path("/usr/share/datasets/fashion-mnist")
# Mean and standard deviation of all training pixels in [0, 1].
PIXEL_MEAN, PIXEL_STD = 0.2860, 0.3530

_PREFIX = {"train": "train", "test": "t10k"}
_COUNT = {"train": 60_000, "test": 10_000}


@dataclass(frozen=True)
class LabelledImages:
    """``pixels`` uint8 (count, 28, 28) and ``labels`` int64 (count,) in 0..9."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def images(self, indices: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.float32]:
        """The model's input: float32 (count, 1, 28, 28), pixel / 255."""
        return self.pixels[indices, None].astype(np.float32) / np.float32(255)


def fashion_mnist_folder(folder: str | Path | None = None) -> Path:
    """Where the IDX files are: ``folder``, else the environment variable, else the Debian package's folder."""
    return Path(folder or os.environ.get(DATA_VARIABLE) or DEFAULT_FOLDER)


def has_fashion_mnist(folder: str | Path | None = None) -> bool:
    """Whether all four IDX files are there, compressed or not."""
    place = fashion_mnist_folder(folder)
    return all(
        _find(place, f"{prefix}-{kind}") is not None
        for prefix in _PREFIX.values()
        for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
    )


def load_fashion_mnist(split: Literal["train", "test"], folder: str | Path | None = None) -> LabelledImages:
    """Read the 60,000 training or 10,000 test images.

    Raises InputError, saying how to get the data, when a file is missing, truncated or not an IDX file.
    """
    place = fashion_mnist_folder(folder)
    pixels = _read_idx(place, f"{_PREFIX[split]}-images-idx3-ubyte", (_COUNT[split], 28, 28))
    labels = _read_idx(place, f"{_PREFIX[split]}-labels-idx1-ubyte", (_COUNT[split],))
    return LabelledImages(pixels, labels.astype(np.int64))


def load_samples(path: str | Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Read a shipped test sample: ``image`` float32 (count, 1, 28, 28) in [0, 1] and ``label`` int64 (count,).

    Raises InputError when the file is missing or does not hold these two arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            image, label = archive["image"], archive["label"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: cannot read arrays 'image' and 'label' ({error}); give a test npz") from error
    if image.shape != (len(label), 1, 28, 28) or image.dtype != np.float32:
        raise InputError(
            f"{path}: image must be float32 ({len(label)}, 1, 28, 28), not {image.dtype} {image.shape}; give a test npz"
        )
    return image, label.astype(np.int64)


def _find(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _read_idx(folder: Path, name: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    path = _find(folder, name)
    if path is None:
        raise InputError(
            f"{folder / name}[.gz]: Fashion-MNIST is not there; run 'apt-get install dataset-fashion-mnist' "
            f"or name its folder in {DATA_VARIABLE}"
        )
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read ({error}); install dataset-fashion-mnist again") from error
    header = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
    if not data.startswith(header) or len(data) != len(header) + int(np.prod(shape)):
        raise InputError(f"{path}: not the expected IDX file of shape {shape}; install dataset-fashion-mnist again")
    return np.frombuffer(data, np.uint8, offset=len(header)).reshape(shape)
