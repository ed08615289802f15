"""The Fashion-MNIST reader and its messages, and the samples shipped with the example."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgeflow.hw.errors import InputError
from edgeflow.models import data

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "fashion_mnist_vit"
needs_fashion_mnist = pytest.mark.skipif(
    not data.has_fashion_mnist(), reason="Fashion-MNIST is not installed: apt-get install dataset-fashion-mnist"
)


def write_test_split(folder: Path, pixels: bytes, labels: bytes) -> None:
    """Write a test split by hand: images compressed, labels plain; both are accepted."""
    header = struct.pack(">HBBIII", 0, 8, 3, 10_000, 28, 28)
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + pixels, 1))
    (folder / "t10k-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, 10_000) + labels)


def test_reads_idx_files_by_folder_and_by_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    pixels = random.integers(0, 256, (10_000, 28, 28), np.uint8)
    labels = random.integers(0, 10, 10_000, np.uint8)
    write_test_split(tmp_path, pixels.tobytes(), labels.tobytes())
    loaded = data.load_fashion_mnist("test", tmp_path)
    assert np.array_equal(loaded.pixels, pixels)
    assert np.array_equal(loaded.labels, labels)
    assert loaded.labels.dtype == np.int64
    images = loaded.images(np.array([7, 9]))
    assert images.shape == (2, 1, 28, 28)
    assert np.array_equal(images[1, 0], pixels[9].astype(np.float32) / np.float32(255))
    monkeypatch.setenv(data.DATA_VARIABLE, str(tmp_path))
    assert np.array_equal(data.load_fashion_mnist("test").labels, labels)
    assert not data.has_fashion_mnist()  # the training split is missing


def test_missing_data_says_how_to_install(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="apt-get install dataset-fashion-mnist") as caught:
        data.load_fashion_mnist("train", tmp_path)
    assert "train-images-idx3-ubyte" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["short", "header", "gzip"])
def test_damaged_files_are_refused(tmp_path: Path, damage: str) -> None:
    pixels = bytes(10_000 * 784 - (damage == "short"))
    write_test_split(tmp_path, pixels, bytes(10_000))
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    if damage == "header":
        path.write_bytes(gzip.compress(b"\0\0\x09" + gzip.decompress(path.read_bytes())[3:], 1))
    elif damage == "gzip":
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="t10k-images-idx3-ubyte"):
        data.load_fashion_mnist("test", tmp_path)


def test_samples_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "sample.npz"
    with pytest.raises(InputError, match="give a test npz"):
        data.load_samples(path)
    np.savez(path, image=np.zeros((2, 1, 28, 28), np.float32))
    with pytest.raises(InputError, match="label"):
        data.load_samples(path)
    np.savez(path, image=np.zeros((2, 28, 28), np.float32), label=np.zeros(2, np.int64))
    with pytest.raises(InputError, match=r"\(2, 1, 28, 28\)"):
        data.load_samples(path)


@needs_fashion_mnist
def test_the_installed_set_is_fashion_mnist() -> None:
    """Balanced classes and the recorded pixel statistics: properties of the published set."""
    training, test = data.load_fashion_mnist("train"), data.load_fashion_mnist("test")
    assert np.bincount(training.labels).tolist() == [6000] * 10
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert round(float(training.pixels.mean() / 255), 4) == data.PIXEL_MEAN
    assert round(float(training.pixels.std() / 255), 4) == data.PIXEL_STD


def test_the_shipped_model_reaches_its_recorded_accuracy() -> None:
    metrics = json.loads((EXAMPLE / "metrics.json").read_text())
    assert metrics["float_top1"] >= 0.89
    assert metrics["float_top1_images"] == 10_000
    assert metrics["epochs"] == metrics["epochs_planned"]
    model = EXAMPLE / metrics["model"]
    assert model.stat().st_size < 3_000_000
    image, label = data.load_samples(EXAMPLE / "test.npz")
    assert len(label) == metrics["test_npz_images"]
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 1, 28, 28]
    predicted = session.run(["logits"], {"image": image})[0].argmax(1)
    # Float kernels differ between processors: a near tie may fall either way.
    assert abs(float((predicted == label).mean()) - metrics["float_top1_on_test_npz"]) <= 0.002


@needs_fashion_mnist
def test_the_shipped_samples_are_real_images_of_the_right_split() -> None:
    def keys(images: np.ndarray) -> list[bytes]:
        return [image.tobytes() for image in images]

    test, training = data.load_fashion_mnist("test"), data.load_fashion_mnist("train")
    image, label = data.load_samples(EXAMPLE / "test.npz")
    labels = dict(zip(keys(test.images()), test.labels.tolist(), strict=True))
    assert [labels[key] for key in keys(image)] == label.tolist()
    with np.load(EXAMPLE / "calibration.npz") as archive:
        calibration = archive["image"]
    assert calibration.dtype == np.float32
    assert set(keys(calibration)) <= set(keys(training.images()))
