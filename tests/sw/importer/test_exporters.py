"""Every spelling that real exporters use arrives as the same canonical operators, with the same numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import exporter_zoo
import numpy as np
import onnx
import pytest

from edgeflow.sw.importer import agreement, import_model, run, session, verify_canonical

RELATIVE = 1e-4
"""Float tolerance: the canonical graph sums in another order than the original."""


@pytest.mark.parametrize("name", exporter_zoo.CASES)
def test_arrives_canonical_and_agrees(name: str, exported: Callable[[str], Any]) -> None:
    case, path, expected = exported(name)
    model = import_model(path)
    verify_canonical(model)
    assert dict(Counter(node.op_type for node in model.graph)) == case.counts
    inputs = case.inputs()
    results = run(session(model), inputs)
    for array, wanted in zip(results.values(), expected.values(), strict=True):
        np.testing.assert_allclose(array, wanted, rtol=RELATIVE, atol=RELATIVE * np.abs(wanted).max())
    if case.runs_in_onnxruntime:
        assert max(agreement(path, model, inputs).values()) <= RELATIVE * max(np.abs(w).max() for w in expected.values())


@pytest.mark.parametrize("name", ["vit-script17", "vit-fixed1", "bert-sdpa-script17", "prenorm-sequencefirst-script14"])
def test_every_sample_of_a_batch_is_computed_alone(name: str, exported: Callable[[str], Any]) -> None:
    case, path, _ = exported(name)
    runner = session(import_model(path))
    inputs = {key: np.concatenate([array, array[::-1], array[:1]]) for key, array in case.inputs().items()}
    together = run(runner, inputs)
    size = len(next(iter(inputs.values())))
    for sample in range(size):
        alone = run(runner, {key: array[sample : sample + 1] for key, array in inputs.items()})
        for key, array in alone.items():
            np.testing.assert_allclose(array[0], together[key][sample], rtol=RELATIVE, atol=1e-5)


def test_origins_name_nodes_of_the_file(exported: Callable[[str], Any]) -> None:
    _, path, _ = exported("vit-script14")
    original = {node.name: node.op_type for node in onnx.load(path).graph.node}
    model = import_model(path)
    pairs = [(node.op_type, original[node.metadata_props["edgeflow.origin"]]) for node in model.graph]
    assert ("Attention", "Softmax") in pairs
    assert ("Gelu", "Erf") in pairs
    assert ("Linear", "MatMul") in pairs
    assert ("PatchEmbed", "Conv") in pairs
    assert ("SelectTokens", "Gather") in pairs


def test_attention_keeps_its_scale_and_takes_the_mask_input(exported: Callable[[str], Any]) -> None:
    _, path, _ = exported("bert-sdpa-script17")
    attentions = [node for node in import_model(path).graph if node.op_type == "Attention"]
    for node in attentions:
        assert node.attributes["heads"].as_int() == exporter_zoo.HEADS
        np.testing.assert_allclose(node.attributes["scale"].as_float(), (exporter_zoo.DIM / exporter_zoo.HEADS) ** -0.5, rtol=1e-6)
        assert node.inputs[3] is not None
        assert node.inputs[3].name == "attention_mask"


def test_importing_twice_gives_the_same_bytes(exported: Callable[[str], Any]) -> None:
    from edgeflow.sw.importer import to_proto

    _, path, _ = exported("bert-eager-script14")
    first, second = (to_proto(import_model(path)).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def test_canonical_model_survives_a_file(exported: Callable[[str], Any], tmp_path: Path) -> None:
    from edgeflow.sw.importer import to_proto

    case, path, _ = exported("bert-eager-script14")
    model = import_model(path)
    saved = tmp_path / "canonical.onnx"
    onnx.save(to_proto(model), saved)
    assert max(agreement(saved, model, case.inputs()).values()) == 0.0


@pytest.mark.parametrize("version", [21, 22, 23, 24, 25])
def test_newer_operator_sets(version: int, exported: Callable[[str], Any], tmp_path: Path) -> None:
    case, path, _ = exported("vit-script18")
    converted = onnx.version_converter.convert_version(onnx.load(path), version)
    newer = tmp_path / "newer.onnx"
    onnx.save(converted, newer)
    model = import_model(newer)
    assert dict(Counter(node.op_type for node in model.graph)) == case.counts
    assert max(agreement(path, model, case.inputs()).values()) < 1e-4
