"""The reference models at full size, where their files are present, and canonical models as input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgeflow.models.wheels import cache_folder
from edgeflow.sw.importer import agreement, import_model, to_proto

SHIPPED = Path(__file__).parents[3] / "examples" / "fashion_mnist_vit"


def block_counts(depth: int) -> dict[str, int]:
    """Canonical operators of ``depth`` encoder blocks."""
    return {"Linear": 6 * depth, "Attention": depth, "Gelu": depth, "LayerNormalization": 2 * depth, "Add": 2 * depth}


def test_shipped_vit() -> None:
    model = import_model(SHIPPED / "model.onnx")
    counts = Counter(node.op_type for node in model.graph)
    wanted = block_counts(counts["Attention"]) | {"PatchEmbed": 1, "ConstantTokens": 1, "Concat": 1, "SelectTokens": 1}
    wanted["Linear"] += 1
    wanted["LayerNormalization"] += 1
    wanted["Add"] += 1
    assert counts == wanted
    with np.load(SHIPPED / "test.npz") as data:
        inputs = {"image": data["image"][:16].astype(np.float32)}
    assert max(agreement(SHIPPED / "model.onnx", model, inputs).values()) < 1e-4


def test_minilm() -> None:
    path = cache_folder() / "minilm" / "model.onnx"
    if not path.exists():
        pytest.skip(f"{path} is not there: run scripts/export_models.py minilm")
    model = import_model(path)
    wanted = block_counts(6) | {"Embedding": 2, "MeanPool": 1}
    wanted["Add"] += 2
    wanted["LayerNormalization"] += 1
    assert Counter(node.op_type for node in model.graph) == wanted
    random = np.random.default_rng(0)
    tokens = int(str(list(model.graph.inputs[0].shape or ())[1]))
    mask = np.ones((2, tokens), np.int64)
    mask[0, tokens // 3 :] = 0
    ids = random.integers(1, 30000, (2, tokens))
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    assert max(agreement(path, model, inputs).values()) < 1e-4


@pytest.mark.parametrize("name", ["vit-script17", "bert-sdpa-script17", "hfdeit-eager-script14", "silu-script14"])
def test_a_canonical_model_is_imported_as_itself(name: str, exported: Callable[[str], Any], tmp_path: Path) -> None:
    case, path, _ = exported(name)
    once = import_model(path)
    saved = tmp_path / "canonical.onnx"
    onnx.save(to_proto(once), saved)
    twice = import_model(saved)
    assert [node.op_type for node in twice.graph] == [node.op_type for node in once.graph]
    assert max(agreement(once, twice, case.inputs()).values()) < 1e-5
