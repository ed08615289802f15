"""The reader of Japanese Vowels and its messages, the post-norm model, and the shipped example."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgeflow.hw.errors import InputError
from edgeflow.models import vowels

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "japanese_vowels"
HEAD = "# a comment\n@problemName JapaneseVowels\n@data\n"


def line(series: np.ndarray, label: object) -> str:
    return ":".join([*(",".join(map(repr, channel.tolist())) for channel in series), str(label)]) + "\n"


def test_reads_series_with_their_slopes(tmp_path: Path) -> None:
    time = np.arange(25.0)
    series = np.stack([slope * time for slope in range(12)]) / 64
    (tmp_path / "JapaneseVowels_eq_TEST.ts").write_text(HEAD + line(series, 9) + line(-series, 1))
    utterances = vowels.load_vowels("test", tmp_path)
    assert utterances.features.shape == (2, 25, 24)
    assert utterances.features.dtype == np.float32
    assert utterances.speakers.tolist() == [8, 0]
    unit = 2.0**-12
    np.testing.assert_allclose(utterances.features[0, :, :12], series.T, atol=unit / 2)
    np.testing.assert_allclose(utterances.features[0, 2:-2, 12:], np.broadcast_to(np.arange(12) / 64, (21, 12)), atol=unit / 2)
    assert np.all(utterances.features / unit == np.round(utterances.features / unit))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD, "holds no series"),
        (HEAD + line(np.zeros((11, 25)), 1), r"line 4: expected 12 series of 25 numbers.*\(11, 25\)"),
        (HEAD + line(np.zeros((12, 24)), 1), r"line 4: expected 12 series of 25 numbers.*\(12, 24\)"),
        (HEAD + line(np.zeros((12, 25)), 10), "a class from 1 to 9, not .* 10"),
        (HEAD + line(np.zeros((12, 25)), "two"), "line 4: invalid literal"),
        (HEAD + line(np.full((12, 25), np.nan), 1), "line 4: expected"),
        (HEAD + line(np.zeros((12, 25)), 1) + "1,2:1,2,3:1\n", "line 5"),
    ],
)
def test_refuses_other_files_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "JapaneseVowels_eq_TRAIN.ts").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        vowels.load_vowels("train", tmp_path)
    assert "\n" not in str(caught.value)


def test_says_which_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"JapaneseVowels_eq_TRAIN\.ts: cannot be read"):
        vowels.load_vowels("train", tmp_path)


def test_the_shipped_model_has_the_recorded_accuracy() -> None:
    metrics = json.loads((EXAMPLE / "metrics.json").read_text())
    session = onnxruntime.InferenceSession(EXAMPLE / "model.onnx", providers=["CPUExecutionProvider"])
    with np.load(EXAMPLE / "test.npz") as archive:
        features, labels = archive["features"], archive["label"]
    assert features.shape == (metrics["test_npz_utterances"], vowels.FRAMES, vowels.CHANNELS)
    classes = session.run(["logits"], {"features": features})[0].argmax(axis=1)
    assert float(np.mean(classes == labels)) == metrics["float_top1_on_test_npz"]
    assert metrics["float_top1"] > 0.97
    with np.load(EXAMPLE / "calibration.npz") as archive:
        assert archive["features"].shape == (metrics["calibration_npz_utterances"], vowels.FRAMES, vowels.CHANNELS)


def test_folding_the_normalisation_changes_nothing() -> None:
    torch = pytest.importorskip("torch")
    from edgeflow.models.postnorm import SeriesConfig, SeriesTransformer

    torch.manual_seed(0)
    model = SeriesTransformer(SeriesConfig(4, 5, 3, dim=12, depth=1, heads=3, hidden=8)).eval()
    series = torch.randn(6, 5, 4) * torch.tensor([1.0, 10.0, 0.1, 3.0]) + 2.0
    mean, std = series.mean(dim=(0, 1)), series.std(dim=(0, 1))
    expected = model((series - mean) / std)
    model.fold_input_normalisation(mean, std)
    torch.testing.assert_close(model(series), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="positive"):
        model.fold_input_normalisation(mean, 0 * std)
