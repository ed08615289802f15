"""What every technique of post-training quantization brings: the network quantized again with one of them left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from edgeflow.hw.progress import Progress
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.inputs import decode_outputs, encode_inputs
from edgeflow.quant.canonical.session import FloatSession
from edgeflow.quant.convert.conversion import Contribution, Quantized, convert
from edgeflow.quant.formats.config import TECHNIQUES, QuantizationConfig
from edgeflow.quant.formats.statistics import Statistics
from edgeflow.quant.techniques.sqnr import signal_to_noise
from edgeflow.sim.executor import Executor

SAMPLES = 64  # of the calibration data that the outputs are compared on


def contributions(
    graph: FloatGraph,
    statistics: dict[str, Statistics],
    arrays: Mapping[str, NDArray[Any]],
    config: QuantizationConfig,
    quantized: Quantized,
    progress: Progress | None = None,
) -> tuple[Contribution, ...]:
    """A line for each technique that ``config`` has switched on, from the first samples of the checked calibration ``arrays``."""
    few = {name: array[:SAMPLES] for name, array in arrays.items()}
    expected = FloatSession(graph.model, graph.outputs).run(few)

    def decibel(candidate: Quantized) -> dict[str, float]:
        outputs = decode_outputs(candidate.graph, Executor(candidate.graph).run(encode_inputs(candidate.graph, few)))
        return {name: signal_to_noise(expected[name], outputs[name]) for name in graph.outputs}

    options = config.model_dump()
    techniques = [name for name, off in TECHNIQUES.items() if any(options[key] != value for key, value in off.items())]
    whole = decibel(quantized)
    lines = []
    for i, name in enumerate(techniques):
        without = convert(graph, statistics, arrays, config.model_copy(update=dict(TECHNIQUES[name])))
        lines.append(Contribution(name, whole, decibel(without)))
        if progress is not None:
            progress("leave out techniques", i + 1, len(techniques))
    return tuple(lines)
