"""Hugging Face's text encoders from torch to C++: every family, both torch exporters, base model and sequence classifier."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from operator_harness import ARCHITECTURES

import edgeflow
from edgeflow.models.hugging_face import FAMILIES, TOKENS, Encoder, export, sentences
from edgeflow.quant.canonical.inputs import decode_outputs, encode_inputs
from edgeflow.quant.techniques.sqnr import signal_to_noise
from edgeflow.sim.executor import Executor
from edgeflow.sw.importer import import_model, run, session

OVERLAY = ARCHITECTURES["16x16 axi128"]  # as in test_networks.py: one library serves both
RELATIVE = 1e-5
LEAST_DECIBEL = 12.0
ENCODERS = [Encoder(family, *rest) for family in FAMILIES for rest in (("base", "script"), ("classifier", "dynamo"))]
"""Each family with both exporters and both heads; scripts/check_hugging_face.py goes through all combinations."""
COMPILED = ("bert-base-script", "roberta-base-script", "mpnet-base-script", "albert-classifier-dynamo")

Exported = tuple[Path, dict[str, NDArray[Any]], list[NDArray[Any]]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Encoder], Exported]:
    """The file, inputs, and torch's results of an encoder, exported once."""
    pytest.importorskip("torch", reason="torch is not installed: pip install 'edgeflow[train]'")
    pytest.importorskip("transformers", reason="transformers is not installed: pip install 'edgeflow[text]'")
    folder = tmp_path_factory.mktemp("encoders")
    done: dict[str, Exported] = {}

    def get(encoder: Encoder) -> Exported:
        if encoder.name not in done:
            done[encoder.name] = export(encoder, folder)
        return done[encoder.name]

    return get


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: encoder.name)
def test_torch_onnxruntime_and_integers_agree(encoder: Encoder, exported: Callable[[Encoder], Exported]) -> None:
    path, inputs, expected = exported(encoder)
    assert not inputs["attention_mask"].all()
    model = import_model(path, dims={"sequence": TOKENS})
    original, canonical = run(session(path), inputs), run(session(model), inputs)
    for wanted, there, here in zip(expected, original.values(), canonical.values(), strict=True):
        largest = np.abs(wanted).max()
        np.testing.assert_allclose(there, wanted, rtol=0, atol=RELATIVE * largest)
        np.testing.assert_allclose(here, wanted, rtol=0, atol=RELATIVE * largest)
    quantized = edgeflow.quantize(model, sentences(encoder.family, 32, seed=2))
    others = sentences(encoder.family, 16, seed=3)
    floats = run(session(path), others)
    outputs = decode_outputs(quantized.graph, Executor(quantized.graph).run(encode_inputs(quantized.graph, others)))
    assert min(signal_to_noise(floats[name], outputs[name]) for name in floats) > LEAST_DECIBEL


@pytest.mark.parametrize("name", COMPILED)
def test_compiles_to_the_same_words(name: str, exported: Callable[[Encoder], Exported], tmp_path: Path) -> None:
    encoder = next(encoder for encoder in ENCODERS if encoder.name == name)
    path, _, _ = exported(encoder)
    build = edgeflow.compile(path, calibration=sentences(encoder.family, 16, seed=2), output=tmp_path / "build", overlay=OVERLAY)
    verification = edgeflow.verify(build, sentences(encoder.family, 4, seed=3))
    assert verification.passed
    assert verification.samples == 4
