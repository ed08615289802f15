"""Seeded random stand-ins for calibration data, for a first look at a model without any."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.inputs import InputSpec, model_inputs
from edgeflow.quant.canonical.masks import vocabulary

RANDOM_SAMPLES = 16


def random_inputs(model: ir.Model, samples: int, seed: int) -> dict[str, NDArray[Any]]:
    """Inputs ``(samples, *shape)``: standard normal values, integers of their whole type, ids over the whole vocabulary, masks
    of random length.

    Accuracy on such data means nothing: it only exercises the arithmetic.
    """
    rng = np.random.default_rng(seed)
    return {spec.name: _draw(model, spec, samples, rng) for spec in model_inputs(model)}


def _draw(model: ir.Model, spec: InputSpec, samples: int, rng: np.random.Generator) -> NDArray[Any]:
    shape = (samples, *spec.shape)
    dtype = np.dtype(spec.dtype)
    if spec.real:
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max + 1, size=shape).astype(np.float32)
    rows = vocabulary(FloatGraph(model), spec.name)
    if rows is not None:
        return rng.integers(0, rows, size=shape).astype(dtype)
    if spec.mask is not None or dtype.kind in "biu":  # a key mask: every sample attends to a prefix of its tokens
        length = rng.integers(1, shape[-1] + 1, size=(*shape[:-1], 1))
        on, off = (1, 0) if spec.mask is None else spec.mask.usual(dtype)
        return np.where(np.arange(shape[-1]) < length, on, off).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)
