"""The vision transformer: its shapes, the folded normalisation, and both torch exporters."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="the reference models need torch: pip install 'edgeflow[train]'")

from edgeflow.models.vit import VisionTransformer, ViTConfig, deit_tiny  # noqa: E402

TINY = ViTConfig(image_size=8, channels=2, patch=4, dim=12, depth=2, heads=3, mlp_ratio=1.5, classes=5)


@pytest.fixture
def model() -> VisionTransformer:
    torch.manual_seed(3)
    return VisionTransformer(TINY).eval()


def test_deit_tiny_has_the_published_number_of_weights() -> None:
    assert sum(p.numel() for p in deit_tiny().parameters()) == 5_717_416


def test_tokens_count_the_class_token() -> None:
    assert ViTConfig().tokens == 50
    assert TINY.tokens == 5


@pytest.mark.parametrize(("change", "message"), [({"patch": 5}, "multiple of patch"), ({"heads": 7}, "multiple of heads")])
def test_impossible_shapes_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ViTConfig(**change)


def test_attention_sees_every_token(model: VisionTransformer) -> None:
    """A change in any one patch changes the logits, so no token is cut off from the class token."""
    image = torch.rand(1, 2, 8, 8)
    reference = model(image)
    for row in (0, 4):
        for column in (0, 4):
            changed = image.clone()
            changed[0, 0, row, column] += 1
            assert not torch.allclose(model(changed), reference, atol=1e-5)


def test_folded_normalisation_gives_the_same_logits(model: VisionTransformer) -> None:
    image = torch.rand(4, 2, 8, 8)
    expected = model((image - 0.3) / 0.4)
    model.fold_input_normalisation(0.3, 0.4)
    torch.testing.assert_close(model(image), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="std must be positive"):
        model.fold_input_normalisation(0.0, 0.0)


@pytest.mark.parametrize(("dynamo", "opset"), [(False, 17), (True, 18)])
def test_exports_agree_with_torch_at_any_batch(model: VisionTransformer, tmp_path: Path, dynamo: bool, opset: int) -> None:
    path = tmp_path / "model.onnx"
    batch: dict[str, object] = (
        {"dynamic_shapes": {"image": {0: torch.export.Dim("batch")}}}
        if dynamo
        else {"dynamic_axes": {"image": {0: "batch"}, "logits": {0: "batch"}}}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.rand(2, 2, 8, 8),),
            path,
            input_names=["image"],
            output_names=["logits"],
            opset_version=opset,
            dynamo=dynamo,
            verbose=False,
            **batch,
        )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count in (1, 3):
        image = np.random.default_rng(count).random((count, 2, 8, 8), np.float32)
        (logits,) = session.run(["logits"], {"image": image})
        np.testing.assert_allclose(logits, model(torch.from_numpy(image)).detach().numpy(), rtol=1e-4, atol=1e-5)
