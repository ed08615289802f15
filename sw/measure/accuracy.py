"""How far the integer network is from the float model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeflow.hw.arrays import Array
from edgeflow.hw.progress import Progress
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.inputs import decode_outputs, encode_inputs
from edgeflow.quant.canonical.labels import class_outputs
from edgeflow.quant.canonical.session import FloatSession
from edgeflow.quant.convert.conversion import Quantized
from edgeflow.quant.convert.observe import valid_tokens
from edgeflow.quant.techniques.sqnr import signal_to_noise, tensor_sqnr
from edgeflow.sim.executor import Executor
from edgeflow.sw.measure.reference import Reference
from edgeflow.sw.measure.samples import Unseen

LAYER_SAMPLES = 8  # per-layer figures: every intermediate tensor is held in memory
BATCH = 16


@dataclass(frozen=True)
class Accuracy:
    """``sqnr_db`` and ``top1_agreement`` of the outputs as :class:`Agreement`; ``layers``: SQNR in dB by integer tensor;
    ``top1_accuracy`` and ``float_top1_accuracy``: share of samples whose largest class is the label, of the integer network and of
    the float model, None where labels are not known."""

    sqnr_db: Mapping[str, float]
    top1_agreement: float | None
    layers: Mapping[str, float]
    top1_accuracy: float | None = None
    float_top1_accuracy: float | None = None


def float_outputs(model: ir.Model, inputs: Mapping[str, Array], progress: Progress | None = None) -> dict[str, Array]:
    """The canonical model's outputs, by onnxruntime."""
    names = [str(value.name) for value in model.graph.outputs]
    session = FloatSession(model, names)
    count = len(next(iter(inputs.values())))
    parts = []
    for i in range(0, count, BATCH):
        parts.append(session.run({name: value[i : i + BATCH] for name, value in inputs.items()}))
        if progress is not None:
            progress("running the float model", min(i + BATCH, count), count)
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


@dataclass(frozen=True)
class Agreement:
    """``sqnr_db`` by network output, over the tokens that the key mask lets through; ``top1``: share of samples whose largest class
    is the float model's, None where no output is a vector of classes."""

    sqnr_db: Mapping[str, float]
    top1: float | None


def agreement(
    model: ir.Model, inputs: Mapping[str, Array], expected: Mapping[str, Array], actual: Mapping[str, Array]
) -> Agreement:
    """Compare the integer network's outputs with the float model's. Vectors from a linear layer or softmax count as classes."""
    graph = FloatGraph(model)
    valid = valid_tokens(graph, inputs)
    classes = class_outputs(graph)
    sqnr, shares = {}, []
    for name in graph.outputs:
        f, q = expected[name], actual[name]
        if name in classes:
            shares.append(np.mean(f.argmax(axis=1) == q.argmax(axis=1)))
        if valid is not None and f.ndim == 3 and f.shape[:2] == valid.shape:
            f, q = f[valid], q[valid]
        sqnr[name] = signal_to_noise(f, q)
    return Agreement(sqnr, float(np.mean(shares)) if shares else None)


def evaluate(model: ir.Model, quantized: Quantized, unseen: Unseen, reference: Reference, progress: Progress) -> Accuracy:
    """Run unseen samples through the reference and the integer graph and compare outputs; layers with the canonical model's."""
    graph, inputs = quantized.graph, unseen.arrays
    expected = reference.outputs(inputs, progress)
    words = encode_inputs(graph, inputs)
    progress("running the integer network", 0, 1)
    actual = decode_outputs(graph, Executor(graph).run(words))
    few = {name: value[:LAYER_SAMPLES] for name, value in inputs.items()}
    layers = tensor_sqnr(model, quantized, few)
    progress("running the integer network", 1, 1)
    close = agreement(model, inputs, expected, actual)
    if unseen.labels is None:
        return Accuracy(close.sqnr_db, close.top1, layers)
    output = class_outputs(FloatGraph(model))[0]
    ours, floats = (float(np.mean(values[output].argmax(axis=1) == unseen.labels)) for values in (actual, expected))
    return Accuracy(close.sqnr_db, close.top1, layers, ours, floats)
