"""Post-training quantization: a canonical float model and calibration data become an integer graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from edgeflow.hw.progress import Progress
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.inputs import check_ids, model_data, without_copies
from edgeflow.quant.canonical.masks import token_ids
from edgeflow.quant.convert.conversion import Quantized, convert
from edgeflow.quant.convert.decisions import joined
from edgeflow.quant.convert.fixed_formats import check_options, has_fixed_formats
from edgeflow.quant.convert.observe import observe
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.techniques.ablation import contributions
from edgeflow.quant.techniques.selection import select

__all__ = ["Quantized", "checked_data", "quantize"]


def checked_data(model: ir.Model, data: Mapping[str, NDArray[Any]], what: str = "calibration data") -> dict[str, NDArray[Any]]:
    """The arrays as a canonical model wants them (see ``check_inputs``), token ids within their vocabularies; CalibrationError,
    which names the data by ``what``, otherwise."""
    arrays, graph = model_data(model, data, what), FloatGraph(model)
    for name, rows in token_ids(graph).items():
        check_ids(name, arrays[name], rows - 1, what)
    return arrays


def quantize(
    model: ir.Model,
    calibration: Mapping[str, NDArray[Any]],
    config: QuantizationConfig | None = None,
    progress: Progress | None = None,
) -> Quantized:
    """Quantize a canonical model (see sw/importer) on calibration data, which has an array for every model input, samples first.

    Copies of a sample count once.
    ``progress(what, done, total)`` is called from time to time. Raises CalibrationError where the data does not fit the model,
    UnsupportedError where the accelerator has no form of a node or too few bits for the model's numbers, and
    InputError where the configuration asks for other bits than those that a quantized model brings along.
    """
    config = config or QuantizationConfig()
    arrays = without_copies(checked_data(model, calibration))
    graph = FloatGraph(model)
    check_options(graph, config)
    chosen, note = None, ""
    if config.selection_work and not has_fixed_formats(graph):
        chosen, note = select(graph, arrays, config, progress)
        if chosen is not None:
            config = config.model_copy(update={"without": joined(config.without, chosen.without)})
    statistics = observe(graph, arrays, config, progress)
    quantized = convert(graph, statistics, arrays, config, progress)
    quantized = replace(quantized, selection=chosen, selection_note=note)
    if not config.ablation:
        return quantized
    return replace(quantized, contributions=contributions(graph, statistics, arrays, config, quantized, progress))
