"""Work grows no faster than the model: counted, for encoders of 2, 4 and 8 layers, of which each doubling adds twice as many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import edgeflow
from edgeflow.hw.boards import load_board
from edgeflow.models.encoders import EncoderShape, encoder
from edgeflow.sw.compiler.lowering import Compiler
from edgeflow.sw.compiler.network import Network
from edgeflow.sw.importer import import_model
from edgeflow.sw.importer.step import Step
from edgeflow.sw.rewrite.base import _AtAnchor
from edgeflow.sw.search.accelerator import spaces
from edgeflow.sw.search.latency_bound import Bound

DEPTHS = (2, 4, 8)


def model(depth: int, folder: Path) -> Path:
    """The file of an encoder with so many layers."""
    path = folder / f"{depth}.onnx"
    onnx.save(encoder(EncoderShape(9, 32, 2, "patches", class_token=True, depth=depth)), path)
    return path


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[type, str], Counter[str]]:
    """Counts the calls of methods from here on, by their names."""
    calls: Counter[str] = Counter()

    def count(owner: type, name: str) -> Counter[str]:
        method = getattr(owner, name)

        def counting(*arguments: Any, **options: Any) -> Any:
            calls[name] += 1
            return method(*arguments, **options)

        monkeypatch.setattr(owner, name, counting)
        return calls

    return count


def test_rules_look_at_every_node_a_fixed_number_of_times(counted: Callable[[type, str], Counter[str]], tmp_path: Path) -> None:
    counted(_AtAnchor, "match")
    counted(Step, "call")
    calls = counted(onnxruntime.InferenceSession, "__init__")
    counts = []
    for depth in DEPTHS:
        calls.clear()
        import_model(model(depth, tmp_path))
        counts.append(dict(calls))
    small, middle, large = (count.pop("match") for count in counts)
    assert large - middle == 2 * (middle - small) > 0
    assert counts[0] == counts[1] == counts[2]  # passes over the model, and sessions


def test_layers_that_are_alike_are_bounded_once(counted: Callable[[type, str], Counter[str]], tmp_path: Path) -> None:
    dims = onnx.load(model(DEPTHS[0], tmp_path)).graph.input[0].type.tensor_type.shape.dim
    data = np.random.default_rng(0).standard_normal((4, *(dim.dim_value for dim in dims[1:])), dtype=np.float32)
    config, board = edgeflow.quantization(selection_work=0), load_board("kv260")
    calls = counted(Bound, "_least")
    counts = []
    for depth in DEPTHS:
        path = model(depth, tmp_path)
        network = Network(edgeflow.quantize(edgeflow.load(path), data, config=config).graph)
        calls.clear()
        bound = Bound(Compiler(network), board, board.clock_mhz)
        space = next(iter(spaces(network, board, board.clock_mhz)))
        bound(space.largest(16, 16))
        counts.append(calls["_least"])
    assert 0 < counts[0] == counts[1] == counts[2]
