"""How far the integer network is from the float model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeflow.quant.inputs import decode_outputs, encode_inputs
from edgeflow.quant.ptq import Quantized
from edgeflow.quant.session import FloatSession
from edgeflow.quant.sqnr import signal_to_noise, tensor_sqnr
from edgeflow.sim.executor import Executor

Array = NDArray[Any]
Progress = Callable[[str, int, int], None]
LAYER_SAMPLES = 8  # per-layer figures: every intermediate tensor is held in memory
BATCH = 16


@dataclass(frozen=True)
class Accuracy:
    """``sqnr_db`` by network output; ``top1_agreement``: share of samples whose largest class is the float model's (None where no
    output is a vector of classes); ``layers``: SQNR in dB by integer tensor."""

    samples: int
    sqnr_db: Mapping[str, float]
    top1_agreement: float | None
    layers: Mapping[str, float]


def float_outputs(model: ir.Model, inputs: Mapping[str, Array], progress: Progress | None = None) -> dict[str, Array]:
    """The float model's outputs, by onnxruntime."""
    names = [str(value.name) for value in model.graph.outputs]
    session = FloatSession(model, names)
    count = len(next(iter(inputs.values())))
    parts = []
    for i in range(0, count, BATCH):
        parts.append(session.run({name: value[i : i + BATCH] for name, value in inputs.items()}))
        if progress is not None:
            progress("running the float model", min(i + BATCH, count), count)
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def top1_agreement(expected: Mapping[str, Array], found: Mapping[str, Array]) -> float | None:
    """Share of equal largest classes over all outputs that are vectors ``(samples, classes)``; None if there is none."""
    pairs = [(expected[name], found[name]) for name in expected if expected[name].ndim == 2 and expected[name].shape[1] > 1]
    if not pairs:
        return None
    return float(np.mean([np.mean(a.argmax(axis=1) == b.argmax(axis=1)) for a, b in pairs]))


def evaluate(model: ir.Model, quantized: Quantized, inputs: Mapping[str, Array], progress: Progress) -> Accuracy:
    """Run checked inputs through the float model and the integer graph and compare outputs and layers."""
    graph = quantized.graph
    expected = float_outputs(model, inputs, progress)
    words = encode_inputs(graph, inputs)
    progress("running the integer network", 0, 1)
    found = decode_outputs(graph, Executor(graph).run(words))
    few = {name: value[:LAYER_SAMPLES] for name, value in inputs.items()}
    layers = tensor_sqnr(model, quantized, few)
    progress("running the integer network", 1, 1)
    return Accuracy(
        samples=len(next(iter(inputs.values()))),
        sqnr_db={name: signal_to_noise(expected[name], found[name]) for name in graph.outputs},
        top1_agreement=top1_agreement(expected, found),
        layers=layers,
    )
