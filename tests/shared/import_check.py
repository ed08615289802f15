"""A model imported and held to its original."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgeflow.sw.importer import agreement, import_model


def check(path: Path, inputs: dict[str, Any], **options: Any) -> tuple[ir.Model, Counter[str]]:
    """Import, compare with the original, return the model and its operator counts."""
    model = import_model(path, **options)
    worst = agreement(path, model, inputs)
    assert max(worst.values()) < 1e-5, worst
    return model, Counter(node.op_type for node in model.graph)
