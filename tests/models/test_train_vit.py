"""The training recipe: augmentation, the learning rate, exact resumption, and what the export writes."""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install 'edgeflow[train]'")

import train_vit  # noqa: E402

from edgeflow.models.data import LabelledImages  # noqa: E402
from edgeflow.models.vit import ViTConfig  # noqa: E402


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The training script as a module, on a hundred random images and a tiny model."""

    def images(split: str, _: object) -> LabelledImages:
        random = np.random.default_rng(len(split))
        return LabelledImages(random.integers(0, 256, (96, 28, 28), np.uint8), random.integers(0, 10, 96))

    def small(**fields: Any) -> ViTConfig:
        return ViTConfig(**{"patch": 14, "dim": 8, "heads": 2, "depth": 1, **fields})

    monkeypatch.setattr(train_vit, "load_fashion_mnist", images)
    monkeypatch.setattr(train_vit, "ViTConfig", small)
    monkeypatch.setattr(train_vit, "CALIBRATION_IMAGES", 8)
    monkeypatch.setattr(train_vit, "TEST_IMAGES", 16)
    return train_vit


def options(folder: Path, **changes: object) -> argparse.Namespace:
    fields = {"data": None, "output": folder / "out", "runs": folder / "runs", "epochs": 3, "batch": 32, "seed": 4}
    return argparse.Namespace(**(fields | {"resume": False} | changes))


def test_augmented_images_are_shifts_and_mirrors(recipe: ModuleType) -> None:
    images = torch.rand(64, 1, 28, 28)
    background = -recipe.PIXEL_MEAN / recipe.PIXEL_STD
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1), value=background)
    augmented = recipe.augment(images, torch.Generator().manual_seed(0))
    seen = set()
    for index in range(64):
        for row in range(3):
            for column in range(3):
                window = padded[index, :, row : row + 28, column : column + 28]
                for mirrored in (False, True):
                    # mirrored columns are read first and shifted then
                    if torch.equal(augmented[index], window.flip(2) if mirrored else window):
                        seen.add((index, row, column, mirrored))
    assert {entry[0] for entry in seen} == set(range(64))
    assert {entry[1:3] for entry in seen} == {(row, column) for row in range(3) for column in range(3)}
    assert {entry[3] for entry in seen} == {False, True}


def test_the_learning_rate_warms_up_and_falls_to_zero(recipe: ModuleType) -> None:
    factors = [recipe.rate_factor(step, 1000) for step in range(1001)]
    peak = recipe.WARMUP_STEPS
    assert max(factors) == factors[peak] == 1
    assert all(a < b for a, b in pairwise(factors[:peak]))
    assert all(a > b for a, b in pairwise(factors[peak:]))
    assert factors[-1] == pytest.approx(0, abs=1e-12)


def test_an_interrupted_run_resumes_to_the_same_weights(
    recipe: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe.train(options(tmp_path / "straight"))
    measure, calls = recipe.accuracy, []

    def interrupted(*arguments: object) -> float:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return float(measure(*arguments))

    monkeypatch.setattr(recipe, "accuracy", interrupted)
    broken = options(tmp_path / "broken")
    with pytest.raises(KeyboardInterrupt):
        recipe.train(broken)
    recipe.train(options(tmp_path / "broken", resume=True))
    assert len(calls) == 4
    straight, resumed = (torch.load(tmp_path / name / "runs" / "last.pt") for name in ("straight", "broken"))
    assert straight["epoch"] == resumed["epoch"] == 3
    for name, value in straight["model"].items():
        assert torch.equal(value, resumed["model"][name]), name


def test_export_writes_model_samples_and_metrics(recipe: ModuleType, tmp_path: Path) -> None:
    args = options(tmp_path, epochs=1)
    with pytest.raises(recipe.EdgeFlowError, match="no checkpoint to export"):
        recipe.export(args)
    recipe.train(args)
    recipe.export(args)
    assert sorted(path.name for path in args.output.iterdir()) == [
        "calibration.npz",
        "metrics.json",
        "model.onnx",
        "test.npz",
    ]
    metrics = json.loads((args.output / "metrics.json").read_text())
    test = recipe.load_fashion_mnist("test", None)
    state = torch.load(args.runs / "last.pt")
    model = recipe.VisionTransformer(recipe.ViTConfig(**state["config"]))
    model.load_state_dict(state["model"])
    assert metrics["float_top1"] == recipe.accuracy(model, test)
    assert metrics["float_top1_images"] == 96
    with np.load(args.output / "test.npz") as archive:
        assert archive["image"].shape == (16, 1, 28, 28)
        assert archive["label"].shape == (16,)
