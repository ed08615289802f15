"""Error of every layer: signal to quantization noise ratio between the float model and the integer graph."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from edgeflow.hw.arrays import Array
from edgeflow.hw.progress import Progress
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.inputs import encode_inputs
from edgeflow.quant.canonical.session import FloatSession
from edgeflow.quant.convert.conversion import Quantized
from edgeflow.quant.convert.observe import valid_tokens
from edgeflow.sim.executor import Executor

BATCH = 4  # samples of which every intermediate tensor is held at a time


def signal_to_noise(expected: Array, actual: Array) -> float:
    """``10 log10(sum f^2 / sum (f - q)^2)`` in dB; infinite where the arrays are equal, NaN where ``expected`` is all zero."""
    f = np.asarray(expected, dtype=np.float64)
    return _decibel(float(np.sum(f * f)), float(np.sum((f - actual) ** 2)))


def tensor_sqnr(
    model: ir.Model, quantized: Quantized, arrays: Mapping[str, Array], progress: Progress | None = None
) -> dict[str, float]:
    """SQNR in dB, as :func:`signal_to_noise`, of every integer tensor that stands for one the float model computes.

    ``arrays`` are checked model inputs. Tokens that the key mask excludes do not count.
    """
    float_graph, graph = FloatGraph(model), quantized.graph
    wanted = {t: c for t, c in quantized.correspondence.items() if c.name not in float_graph.inputs}
    session = FloatSession(model, sorted({c.name for c in wanted.values()}))
    executor = Executor(graph)
    valid = valid_tokens(float_graph, arrays)
    signal, noise = dict.fromkeys(wanted, 0.0), dict.fromkeys(wanted, 0.0)
    samples = len(next(iter(arrays.values())))
    for start in range(0, samples, BATCH):
        piece = slice(start, min(start + BATCH, samples))
        inputs = {name: array[piece] for name, array in arrays.items()}
        expected = session.run(inputs)
        actual = executor.run_all(encode_inputs(graph, inputs), list(wanted))
        for tensor, line in wanted.items():
            f = expected[line.name].astype(np.float64)
            q = line.real(graph.tensors[tensor], actual[tensor])
            if valid is not None and f.ndim >= 3 and f.shape[1] == valid.shape[1]:
                f, q = f[valid[piece]], q[valid[piece]]
            signal[tensor] += float(np.sum(f * f))
            noise[tensor] += float(np.sum((f - q) ** 2))
        if progress is not None:
            progress("compare", piece.stop, samples)
    return {tensor: _decibel(signal[tensor], noise[tensor]) for tensor in wanted}


def _decibel(signal: float, noise: float) -> float:
    if signal == 0.0:
        return float("nan")
    return float("inf") if noise == 0.0 else float(10.0 * np.log10(signal / noise))
